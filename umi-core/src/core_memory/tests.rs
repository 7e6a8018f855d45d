use proptest::prelude::*;

use super::*;
use crate::xml::tests::{as_parsed, hostile_text, parse};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn core() -> CoreMemory {
    CoreMemory::new(CoreLimits::default())
}

#[test]
fn blocks_are_rendered_in_order_and_exactly() {
    let mut core = core();
    assert_eq!(core.render(), "<core_memory>\n</core_memory>");
    core.set_block(BlockType::Scratch, "", None, Some(1.0), NOW).unwrap();
    core.set_block(BlockType::Facts, "1 < 2 & 3 > 2", Some("a\" onload=\"x\n"), Some(-0.0), NOW).unwrap();
    core.set_block(BlockType::System, "</block></core_memory>", None, None, NOW).unwrap();
    assert_eq!(
        core.render(),
        "<core_memory>\n\
         <block type=\"system\" importance=\"0.50\">\n&lt;/block&gt;&lt;/core_memory&gt;\n</block>\n\
         <block type=\"facts\" label=\"a&quot; onload=&quot;x&#10;\" importance=\"0.00\">\n\
         1 &lt; 2 &amp; 3 &gt; 2\n</block>\n\
         <block type=\"scratch\" importance=\"1.00\">\n\n</block>\n\
         </core_memory>"
    );
}

#[test]
fn markdown_has_a_heading_a_block() {
    let mut core = core();
    assert_eq!(core.render_markdown(), "# Core Memory\n\n");
    core.set_block(BlockType::Facts, "Lives in Rome.", Some("at\nhome"), None, NOW).unwrap();
    core.set_block(BlockType::Human, "Alice", None, Some(0.9), NOW).unwrap();
    assert_eq!(
        core.render_markdown(),
        "# Core Memory\n\n## Human (importance: 0.90)\nAlice\n\n\
         ## Facts - at home (importance: 0.50)\nLives in Rome.\n\n"
    );
}

#[test]
fn an_edit_keeps_what_it_is_not_given_and_counts_versions() {
    let mut core = core();
    let first = core.set_block(BlockType::Human, "a", Some("who"), Some(0.9), NOW).unwrap();
    assert_eq!((first.version, first.label.as_deref(), first.importance), (1, Some("who"), 0.9));
    let later = "2026-01-02T00:00:00Z".parse().unwrap();
    let second = core.set_block(BlockType::Human, "b", None, None, later).unwrap();
    assert_eq!((second.version, second.label.as_deref(), second.importance), (2, Some("who"), 0.9));
    assert_eq!((second.content.as_str(), second.updated_at), ("b", later));
    assert_eq!(core.set_block(BlockType::Human, "c", Some(""), None, NOW).unwrap().label, None);
    assert_eq!(core.get_block(BlockType::Human).unwrap().version, 3);
    assert!(core.has_block(BlockType::Human) && !core.has_block(BlockType::Goals));
    assert!(core.remove_block(BlockType::Human) && !core.remove_block(BlockType::Human));
    assert!(core.is_empty());
}

#[test]
fn a_full_memory_refuses_and_stays_as_it_was() {
    let mut core = core();
    core.set_block(BlockType::Human, &"h".repeat(16_384), None, None, NOW).unwrap();
    core.set_block(BlockType::Facts, &"f".repeat(16_384), None, None, NOW).unwrap();
    assert_eq!((core.used_bytes(), core.available_bytes()), (32_768, 0));
    assert!((core.utilization() - 1.0).abs() < f64::EPSILON);
    let before = core.clone();

    let block = core.set_block(BlockType::Human, &"é".repeat(8_193), None, None, NOW).unwrap_err();
    assert_eq!(block.kind(), ErrorKind::Capacity);
    assert_eq!((block.details().limit, block.details().requested), (Some(16_384), Some(16_386)));
    assert!(block.hint().unwrap().contains("core_block_bytes"));

    let total = core.set_block(BlockType::Goals, "g", None, None, NOW).unwrap_err();
    assert_eq!(total.kind(), ErrorKind::Capacity);
    assert_eq!((total.details().limit, total.details().requested), (Some(32_768), Some(32_769)));
    assert!(total.hint().unwrap().contains("core_memory_bytes"));

    assert!(core.set_block(BlockType::Human, "", Some(&"l".repeat(65)), None, NOW).unwrap_err().is_invalid_input());
    for importance in [-0.1, 1.1, f64::NAN] {
        assert!(core.set_block(BlockType::Human, "", None, Some(importance), NOW).unwrap_err().is_invalid_input());
    }
    assert_eq!(core, before);

    core.set_block(BlockType::Human, "short", Some(&"l".repeat(64)), None, NOW).unwrap();
    core.set_block(BlockType::Goals, "g", None, None, NOW).unwrap();
    core.clear();
    assert_eq!((core.used_bytes(), core.max_bytes()), (0, 32_768));
}

#[test]
fn limits_are_checked() {
    assert_eq!(CoreLimits::new(32_768, None).unwrap(), CoreLimits::default());
    assert_eq!(CoreLimits::new(4_096, None).unwrap().block_bytes, 4_096);
    assert_eq!(CoreLimits::new(16 * 1024 * 1024, None).unwrap().block_bytes, 8 * 1024 * 1024);
    assert_eq!(CoreLimits::new(4_096, Some(1)).unwrap().block_bytes, 1);
    for (total, block) in
        [(100, None), (4_095, None), (16 * 1024 * 1024 + 1, None), (4_096, Some(0)), (4_096, Some(4_097))]
    {
        assert!(CoreLimits::new(total, block).unwrap_err().is_invalid_input(), "{total} {block:?}");
    }
    assert!(CoreLimits::new(100, None).unwrap_err().to_string().contains("from 4096 to 16777216"));
}

#[test]
fn stored_blocks_are_put_in_order_and_the_newest_counts() {
    let mut made = core();
    let old = made.set_block(BlockType::Goals, "old", None, None, NOW).unwrap();
    let new = made.set_block(BlockType::Goals, "new", None, None, NOW).unwrap();
    let human = made.set_block(BlockType::Human, "h", None, None, NOW).unwrap();
    assert_eq!(CoreMemory::from_blocks(CoreLimits::default(), vec![new, old, human]), made);
}

#[test]
fn block_types_are_read_in_any_case() {
    for kind in BlockType::ALL {
        assert_eq!(kind.to_string().to_uppercase().parse::<BlockType>().unwrap(), kind);
    }
    let error = "memo".parse::<BlockType>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown block type `memo` (known types: system, persona, human, facts, goals, scratch)"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_text_leaves_its_block(
        contents in proptest::collection::vec((0..6_usize, hostile_text(), hostile_text()), 0..8),
    ) {
        let mut core = core();
        for (kind, content, label) in &contents {
            let label = &label[..label.floor_char_boundary(LABEL_BYTES)];
            core.set_block(BlockType::ALL[*kind], content, Some(label), None, NOW).unwrap();
        }
        let root = parse(&core.render());
        prop_assert_eq!(root.name.as_str(), "core_memory");
        prop_assert_eq!(root.children.len(), core.blocks().len());
        for (element, block) in root.children.iter().zip(core.blocks()) {
            prop_assert_eq!(element.name.as_str(), "block");
            prop_assert!(element.children.is_empty());
            prop_assert_eq!(element.attribute("type"), Some(block.block_type.as_str()));
            prop_assert_eq!(element.attribute("label").map(str::to_owned), block.label.as_deref().map(as_parsed));
            prop_assert_eq!(&element.text, &format!("\n{}\n", as_parsed(&block.content)));
        }
    }
}
