use std::cell::Cell;

use proptest::prelude::*;

use super::*;
use crate::{
    entity::EntityType,
    error::Error,
    memory::tokens::estimate_tokens,
    xml::tests::{as_parsed, hostile_text, parse},
};

const CORE: &str = "<core_memory>\n</core_memory>";
const NOTHING: &str =
    "<memory>\n<core_memory>\n</core_memory>\n<working_memory>\n</working_memory>\n<recalled>\n</recalled>\n</memory>";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn fact(id: u128, content: &str) -> Entity {
    Entity::new(Uuid::from_u128(id), at(0), EntityType::Person, "Alice", content).unwrap()
}

fn episode(id: u128, seconds: i64, text: &str) -> Episode {
    Episode::new(Uuid::from_u128(id), text, "user", at(seconds))
}

fn prompt<'a>(facts: &'a [(Entity, f64)], episodes: &'a [(Episode, f64)], budget_tokens: usize) -> Prompt<'a> {
    Prompt {
        core: CORE,
        working: Vec::new(),
        facts: facts.iter().map(|(fact, score)| (fact, *score)).collect(),
        episodes: episodes.iter().map(|(episode, score)| (episode, *score)).collect(),
        refs: BTreeMap::new(),
        budget_tokens,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of a token counter")]
fn count_bytes(text: &str) -> Result<usize> {
    Ok(text.len())
}

#[test]
fn the_document_is_exact() {
    let mut employer = fact(1, "works at <Acme> & Co");
    employer.attribute = Some("employer".to_owned());
    employer.valid_from = "2025-03-01T09:00:00.75Z".parse().unwrap();
    employer.valid_to = Some("2026-01-01T00:00:00Z".parse().unwrap());
    employer.source = Some("mail://1?a&b".to_owned());
    let mut said = episode(3, 100, "I moved\nto \"Rome\"");
    (said.name, said.session) = (Some("Al \"A\"".to_owned()), Some("s1".to_owned()));
    said.source = Some("chat".to_owned());
    let facts = [(fact(2, "likes tea"), 0.2), (employer, 0.7)];
    let episodes = [(episode(4, 200, "later"), 0.9), (said, 0.1)];
    let mut prompt = prompt(&facts, &episodes, 10_000);
    let long = [b'x'; 1_025];
    prompt.working = vec![("task", b"write <it>"), ("blob", b"\xff\x00"), ("long", &long), ("k\"", b"")];
    assert_eq!(
        prompt.render(&count_bytes).unwrap(),
        r#"<memory>
<core_memory>
</core_memory>
<working_memory>
<entry key="blob" bytes="2"/>
<entry key="k&quot;"></entry>
<entry key="long" bytes="1025"/>
<entry key="task">write &lt;it&gt;</entry>
</working_memory>
<recalled>
<fact id="00000000-0000-0000-0000-000000000001" subject="Alice" type="person" attribute="employer" valid_from="2025-03-01T09:00:00Z" valid_to="2026-01-01T00:00:00Z" source="mail://1?a&amp;b">works at &lt;Acme&gt; &amp; Co</fact>
<fact id="00000000-0000-0000-0000-000000000002" subject="Alice" type="person" valid_from="1970-01-01T00:00:00Z">likes tea</fact>
<episode id="00000000-0000-0000-0000-000000000003" role="user" name="Al &quot;A&quot;" at="1970-01-01T00:01:40Z" session="s1" source="chat">I moved
to "Rome"</episode>
<episode id="00000000-0000-0000-0000-000000000004" role="user" at="1970-01-01T00:03:20Z">later</episode>
</recalled>
</memory>"#
    );
}

#[test]
fn no_budget_gives_the_core_alone_and_counts_nothing() {
    let facts = [(fact(1, "likes tea"), 1.0)];
    let mut prompt = prompt(&facts, &[], 0);
    prompt.working = vec![("a", b"1")];
    assert_eq!(prompt.render(&|_| Err(Error::internal("counted"))).unwrap(), NOTHING);
    prompt.budget_tokens = 1;
    assert_eq!(prompt.render(&count_bytes).unwrap(), NOTHING);
    assert!(prompt.render(&|_| Err(Error::invalid_input("broken"))).unwrap_err().is_invalid_input());
}

/// The bytes of the document that the budget covers.
fn covered(document: &str) -> usize {
    document.len() - "<memory>\n\n</memory>".len() - CORE.len()
}

#[test]
fn whole_items_are_taken_by_score_while_they_fit() {
    let facts = [(fact(1, "low"), 0.1), (fact(2, "top"), 0.9)];
    let episodes = [(episode(3, 5, &"long ".repeat(100)), 0.5), (episode(4, 6, "short"), 0.3)];
    let whole = prompt(&facts, &episodes, 100_000).render(&count_bytes).unwrap();
    let document = prompt(&facts, &episodes, covered(&whole) - 1).render(&count_bytes).unwrap();
    // the least of them does not fit
    assert!(document.contains(">top<") && document.contains("long long") && document.contains(">short<"));
    assert!(!document.contains(">low<"));
    // the long one does not fit and is no first item, so it is left out whole
    let document = prompt(&facts, &episodes, 400).render(&count_bytes).unwrap();
    assert!(document.contains(">top<") && document.contains(">short<") && !document.contains("long"), "{document}");
    assert!(covered(&document) <= 400);
}

#[test]
fn working_entries_come_before_what_was_recalled() {
    let facts = [(fact(1, "likes tea"), 1.0)];
    let mut prompt = prompt(&facts, &[], 90);
    prompt.working = vec![("b", b"2"), ("a", b"1")];
    let document = prompt.render(&count_bytes).unwrap();
    assert!(document.contains("<entry key=\"a\">1</entry>\n</working_memory>\n<recalled>\n</recalled>"), "{document}");
}

#[test]
fn an_oversized_best_item_is_cut_at_a_character() {
    let episodes = [(episode(1, 0, &"é".repeat(5_000)), 0.9), (episode(2, 0, "other"), 0.1)];
    let mut texts = std::collections::BTreeSet::new();
    for budget in 300..304 {
        let document = prompt(&[], &episodes, budget).render(&count_bytes).unwrap();
        assert!(covered(&document) <= budget && covered(&document) + 2 > budget, "{budget} {document}");
        let root = parse(&document);
        let items = &root.children[2].children;
        assert_eq!((items.len(), items[0].attribute("truncated")), (1, Some("true")));
        assert!(items[0].text.chars().all(|c| c == 'é'));
        texts.insert(items[0].text.clone());
    }
    assert!(texts.len() >= 2, "a larger budget shows more");
    let markup = prompt(&[], &episodes, 120).render(&count_bytes).unwrap();
    assert_eq!(markup, NOTHING, "not one character fits");
}

#[test]
fn a_counter_that_finds_more_in_the_whole_is_kept_to() {
    let facts = [(fact(1, "one"), 0.9), (fact(2, "two"), 0.8), (fact(3, "three"), 0.7)];
    // every element costs as many tokens as there are elements before it
    let count = |text: &str| Ok((1..=text.matches("<fact").count()).sum());
    let mut prompt = prompt(&facts, &[], 3);
    prompt.working = vec![("free", b"")];
    let document = prompt.render(&count).unwrap();
    assert!(document.contains("one") && document.contains("two") && !document.contains("three"), "{document}");
}

#[test]
fn the_first_part_does_not_depend_on_what_was_recalled() {
    let head = |document: &str| document.split("<recalled>").next().map(str::to_owned);
    let one = [(fact(1, "likes tea"), 1.0)];
    let two = [(episode(1, 0, "hello"), 1.0)];
    let documents = [prompt(&one, &[], 500), prompt(&[], &two, 500), prompt(&[], &[], 500)].map(|mut prompt| {
        prompt.working = vec![("a", b"1"), ("b", b"2")];
        head(&prompt.render(&|text| Ok(estimate_tokens(text))).unwrap())
    });
    assert!(documents[0] == documents[1] && documents[1] == documents[2]);
}

#[test]
fn counting_is_bounded_once_the_budget_is_spent() {
    let episodes: Vec<_> = (0..500).map(|id| (episode(id, 0, "some words"), 0.5)).collect();
    let (calls, count) = (Cell::new(0), |_: &str| Ok(1));
    let document = prompt(&[], &episodes, 11)
        .render(&|text| {
            calls.set(calls.get() + 1);
            count(text)
        })
        .unwrap();
    assert_eq!(document.matches("<episode ").count(), 10);
    assert_eq!(calls.get(), 1 + 10 + 1);
    assert!(document.contains("000000000009\"") && !document.contains("00000000000a\""), "ties break by id");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_text_leaves_its_element(
        working in proptest::collection::btree_map(hostile_text(), hostile_text(), 0..4),
        facts in proptest::collection::vec((hostile_text(), hostile_text(), 0.0..1.0_f64), 0..4),
        episodes in proptest::collection::vec((hostile_text(), hostile_text(), hostile_text(), 0.0..1.0_f64), 0..4),
        budget in prop_oneof![Just(1_000_000_usize), 0..2_000_usize],
    ) {
        let facts: Vec<(Entity, f64)> = facts.into_iter().enumerate().map(|(index, (name, content, score))| {
            let mut fact = fact(index as u128, "x");
            (fact.name, fact.content, fact.source, fact.attribute) = (name.clone(), content, Some(name.clone()), Some(name));
            (fact, score)
        }).collect();
        let episodes: Vec<(Episode, f64)> = episodes.into_iter().enumerate().map(|(index, (role, name, text, score))| {
            let mut episode = episode(100 + index as u128, 0, &text);
            (episode.role, episode.name, episode.session) = (role, Some(name.clone()), Some(name));
            (episode, score)
        }).collect();
        let mut prompt = prompt(&facts, &episodes, budget);
        prompt.working = working.iter().map(|(key, value)| (key.as_str(), value.as_bytes())).collect();
        let document = prompt.render(&count_bytes).unwrap();
        prop_assert!(covered(&document) <= budget.max(covered(NOTHING)));

        let root = parse(&document);
        let names: Vec<&str> = root.children.iter().map(|child| child.name.as_str()).collect();
        prop_assert_eq!(names, ["core_memory", "working_memory", "recalled"]);
        prop_assert_eq!((root.name.as_str(), root.attributes.len()), ("memory", 0));
        if budget == 1_000_000 {
            prop_assert_eq!(root.children[1].children.len(), working.len());
            prop_assert_eq!(root.children[2].children.len(), facts.len() + episodes.len());
        }
        for item in root.children[1].children.iter().chain(&root.children[2].children) {
            prop_assert!(item.children.is_empty());
        }
        for item in &root.children[1].children {
            let key = item.attribute("key");
            let (_, value) = working.iter().find(|(known, _)| key == Some(as_parsed(known).as_str())).unwrap();
            prop_assert!(item.text == as_parsed(value) || item.attribute("bytes").is_some());
        }
        for item in &root.children[2].children {
            let id = Uuid::parse_str(item.attribute("id").unwrap()).unwrap();
            let (attribute, expected, text) = if let Some((fact, _)) = facts.iter().find(|(fact, _)| fact.id == id) {
                ("subject", fact.name.as_str(), &fact.content)
            } else {
                let (episode, _) = episodes.iter().find(|(episode, _)| episode.id == id).unwrap();
                ("role", episode.role.as_str(), &episode.text)
            };
            prop_assert_eq!(item.attribute(attribute).map(str::to_owned), Some(as_parsed(expected)));
            let text = as_parsed(text);
            let truncated = item.attribute("truncated").is_some();
            prop_assert!(item.text == text || truncated && text.starts_with(&item.text), "{item:?}");
        }
    }
}
