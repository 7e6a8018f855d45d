//! Rendering for a prompt, read again by a real XML parser.

use std::{
    collections::BTreeMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use quick_xml::{
    XmlVersion,
    events::{BytesStart, Event},
    reader::Reader,
};
use umi_core::{
    BlockType, CoreLimits, CoreMemory, Entity, EntityType, Memory, MemoryBuilder, MemoryConfig, Scope, StorageBackend,
    Timestamp, Turn, Uuid,
};

use crate::{
    engine::{accepted, run},
    fields::Fields,
};

/// After so many inputs the memory is a new one, so that it stays small.
const INPUTS_PER_MEMORY: usize = 500;
/// More than every document needs.
const BUDGET_TOKENS: usize = 100_000_000;
/// Working values longer than this are named with their size alone.
const SHOWN_VALUE_BYTES: usize = 1024;

/// An element as the parser reads it. The text is its own, without its children's.
#[derive(Debug, Default)]
struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
    text: String,
    children: Vec<Self>,
}

impl Element {
    fn open(start: &BytesStart<'_>) -> Self {
        let attributes = start.attributes().map(|attribute| {
            let attribute = attribute.expect("every attribute is well formed");
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).expect("every reference resolves");
            assert!(value.chars().all(is_allowed), "{value:?}");
            (attribute.key.as_ref().to_owned(), value.into_owned())
        });
        Self { name: start.name().as_ref().to_owned(), attributes: attributes.collect(), ..Self::default() }
    }

    fn child(&self, name: &str) -> &Self {
        let mut found = self.children.iter().filter(|child| child.name == name);
        let child = found.next().unwrap_or_else(|| panic!("no <{name}> in {self:?}"));
        assert!(found.next().is_none(), "two <{name}> in {self:?}");
        child
    }

    /// Says that it is a leaf of this text and these attributes; those of `None` are not there.
    fn expect(&self, name: &str, text: &str, attributes: &[(&str, Option<&str>)]) {
        assert_eq!((self.name.as_str(), self.text.as_str()), (name, as_parsed(text).as_str()));
        assert!(self.children.is_empty(), "{self:?}");
        for (name, value) in attributes {
            assert_eq!(self.attributes.get(*name).cloned(), value.map(as_parsed), "{name}");
        }
    }
}

/// Parses a document of one root element and nothing else.
fn parse(xml: &str) -> Element {
    let mut reader = Reader::from_str(xml);
    let mut stack = vec![Element::default()];
    loop {
        let event = reader.read_event().unwrap_or_else(|error| panic!("{error} in {xml:?}"));
        let (inner, closed) = match event {
            Event::Start(start) => {
                stack.push(Element::open(&start));
                continue;
            }
            Event::Empty(start) => (None, Some(Element::open(&start))),
            Event::End(_) => (None, stack.pop()),
            Event::Text(text) => (Some(text.xml10_content().into_owned()), None),
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().expect("a reference names a character");
                let character = character.unwrap_or_else(|| match reference.as_ref() {
                    "amp" => '&',
                    "lt" => '<',
                    "gt" => '>',
                    other => panic!("unexpected entity {other}"),
                });
                (Some(character.to_string()), None)
            }
            Event::Eof => break,
            other => panic!("unexpected {other:?}"),
        };
        let outer = stack.last_mut().expect("the parser checks that tags match");
        outer.text.extend(inner);
        outer.children.extend(closed);
    }
    let mut outside = stack.pop().expect("the parser checks that tags match");
    assert!(stack.is_empty() && outside.text.is_empty() && outside.children.len() == 1, "{outside:?}");
    outside.children.remove(0)
}

/// The characters of XML 1.0.
fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}')
}

/// The text as a parser must give it back.
fn as_parsed(text: &str) -> String {
    text.chars().map(|c| if is_allowed(c) { c } else { '\u{FFFD}' }).collect()
}

/// Blocks of core memory: each a kind, an importance, a label, a content.
pub fn core_xml(data: &[u8]) {
    let mut fields = Fields::new(data);
    let mut core = CoreMemory::new(CoreLimits::default());
    for _ in 0..fields.byte() % 8 {
        let (kind, importance) = (fields.byte(), f64::from(fields.byte()) / 255.0);
        let (label, content) = (fields.maybe(), fields.text());
        let kind = BlockType::ALL[usize::from(kind) % BlockType::ALL.len()];
        let before = core.clone();
        let set = core.set_block(kind, &content, label.as_deref(), Some(importance), Timestamp::UNIX_EPOCH);
        if accepted(set).is_none() {
            assert_eq!(core, before, "a refused block changed something");
        }
    }
    let document = parse(&core.render());
    assert_eq!(document.name, "core_memory");
    assert_eq!(document.text.trim(), "");
    expect_blocks(&document, &core);
    assert!(core.render_markdown().starts_with("# Core Memory\n"));
}

fn expect_blocks(document: &Element, core: &CoreMemory) {
    assert_eq!(document.children.len(), core.blocks().len());
    for (element, block) in document.children.iter().zip(core.blocks()) {
        let content = format!("\n{}\n", block.content);
        let kind = block.block_type.as_str();
        element.expect("block", &content, &[("type", Some(kind)), ("label", block.label.as_deref())]);
    }
}

/// The document of [`Memory::context`]: a core block, a working value, a fact and an episode.
pub fn prompt_xml(data: &[u8]) {
    static MEMORY: Mutex<Option<(Memory, usize)>> = Mutex::new(None);
    let mut current = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    if current.as_ref().is_none_or(|(_, inputs)| *inputs >= INPUTS_PER_MEMORY) {
        *current = Some((run(memory()).expect("a memory can be made"), 0));
    }
    let Some((memory, inputs)) = current.as_mut() else { return };
    *inputs += 1;
    run(document(memory, *inputs, Fields::new(data)));
}

async fn memory() -> umi_core::Result<Memory> {
    static CONFIG: LazyLock<MemoryConfig> = LazyLock::new(MemoryConfig::default);
    MemoryBuilder::new().storage(StorageBackend::in_memory()).config(CONFIG.clone()).build().await
}

async fn document(memory: &Memory, number: usize, mut fields: Fields<'_>) {
    let user = format!("user {number}");
    let session = fields.maybe();
    let mut scope = accepted(Scope::new().with_user(&user)).expect("a good name");
    if let Some(session) = &session {
        let Some(narrowed) = accepted(scope.clone().with_session(session)) else { return };
        scope = narrowed;
    }
    let handle = memory.scoped(&scope).expect("the handle is open");
    let (kind, content, label) = (fields.byte(), fields.text(), fields.maybe());
    let kind = BlockType::ALL[usize::from(kind) % BlockType::ALL.len()];
    let _refused = accepted(handle.core().set_block(kind, &content, label.as_deref(), None).await);
    let (key, value) = (fields.text(), fields.bytes());
    let entry = accepted(handle.working().set(&key, value.to_vec(), None).await);

    let mut turn = Turn::new(fields.text());
    (turn.role, turn.name, turn.source) = (fields.maybe(), fields.maybe(), fields.maybe());
    let said = accepted(handle.remember(turn.clone()).await);
    let (name, attribute, source, content) = (fields.text(), fields.maybe(), fields.maybe(), fields.text());
    let fact = Entity::new(Uuid::nil(), Timestamp::UNIX_EPOCH, EntityType::Topic, &name, &content);
    let fact = accepted(fact).map(|mut fact| {
        (fact.attribute, fact.source) = (attribute, source);
        fact
    });
    let known = match &fact {
        Some(fact) => accepted(handle.add_entity(fact.clone(), &Scope::new()).await),
        None => None,
    };

    let xml = handle.context().budget_tokens(BUDGET_TOKENS).into_future().await.expect("what is stored is rendered");
    let document = parse(&xml);
    assert_eq!(document.name, "memory");
    expect_blocks(document.child("core_memory"), &handle.core().snapshot().await.expect("it can be read"));
    let working = document.child("working_memory");
    assert_eq!(working.children.len(), usize::from(entry.is_some()));
    if let Some(element) = working.children.first() {
        match std::str::from_utf8(value) {
            Ok(text) if text.len() <= SHOWN_VALUE_BYTES => element.expect("entry", text, &[("key", Some(&key))]),
            _ => element.expect("entry", "", &[("key", Some(&key)), ("bytes", Some(&value.len().to_string()))]),
        }
    }
    let recalled = document.child("recalled");
    for child in &recalled.children {
        match (child.name.as_str(), &fact) {
            ("fact", Some(fact)) => child.expect(
                "fact",
                &fact.content,
                &[
                    ("subject", Some(&fact.name)),
                    ("attribute", fact.attribute.as_deref()),
                    ("source", fact.source.as_deref()),
                ],
            ),
            ("episode", _) => child.expect(
                "episode",
                &turn.text,
                &[
                    ("role", Some(turn.role.as_deref().unwrap_or("user"))),
                    ("name", turn.name.as_deref()),
                    ("session", session.as_deref()),
                    ("source", turn.source.as_deref()),
                ],
            ),
            _ => panic!("unexpected {child:?}"),
        }
    }
    assert_eq!(recalled.children.iter().filter(|child| child.name == "fact").count(), usize::from(known.is_some()));
    // Without a query the latest turns of a session are shown.
    let episodes = recalled.children.iter().filter(|child| child.name == "episode").count();
    assert!(episodes <= usize::from(said.is_some()) && (session.is_none() || episodes == usize::from(said.is_some())));
    accepted(handle.forget_scope(true, &Scope::new()).await).expect("a scope can be forgotten");
}
