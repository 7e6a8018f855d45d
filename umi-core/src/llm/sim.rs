//! A simulated language model: deterministic answers to what the engine asks, by simple patterns.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde_json::{Value, json};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Completion, CompletionRequest, LanguageModel, MessagePart};
use crate::{
    error::Result,
    evolve, expand, extract,
    fence::{self, Element},
    memory::{Usage, estimate_tokens},
};

/// Verbs that say the value of a slot, and the slot.
const SLOTS: [(&str, &str); 14] = [
    ("works at", "employer"),
    ("works for", "employer"),
    ("work at", "employer"),
    ("work for", "employer"),
    ("joined", "employer"),
    ("started at", "employer"),
    ("lives in", "home"),
    ("live in", "home"),
    ("moved to", "home"),
    ("is married to", "spouse"),
    ("am married to", "spouse"),
    ("was born on", "birthday"),
    ("works as", "role"),
    ("work as", "role"),
];
/// Verbs that say what can stand beside others.
const BESIDE: [&str; 12] =
    ["likes", "like", "loves", "love", "hates", "hate", "speaks", "speak", "owns", "own", "plays", "play"];
/// Words that no name begins with.
const NO_NAMES: [&str; 28] = [
    "i", "the", "a", "an", "my", "we", "he", "she", "it", "they", "this", "that", "and", "but", "on", "in", "at",
    "what", "where", "when", "who", "how", "why", "yes", "no", "thanks", "hello", "hi",
];
/// Words that say nothing about what a text is about.
const SMALL_WORDS: [&str; 40] = [
    "a", "an", "and", "are", "as", "at", "be", "by", "did", "do", "does", "for", "from", "has", "have", "he", "her",
    "his", "how", "i", "in", "is", "it", "my", "of", "on", "or", "she", "that", "the", "their", "they", "to", "was",
    "what", "when", "where", "who", "why", "with",
];
/// Words that end what was said before.
const DENIALS: [&str; 6] = ["not", "no", "never", "longer", "stopped", "anymore"];

/// A language model for tests and simulations: no network, and the same answer to the same request whenever its seed is
/// the same.
///
/// It finds facts in plain English sentences (names in capital letters, "works at", "lives in", "moved to", "likes" and
/// the like), relates facts of one subject by the words that they share, and rewrites questions. To a request for free
/// text it says that text's words back.
///
/// # Example
/// ```
/// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
/// use std::sync::Arc;
/// use umi_core::{MemoryBuilder, SimLanguageModel};
///
/// let memory = MemoryBuilder::sim(7).language_model(Arc::new(SimLanguageModel::new(7))).build().await?;
/// memory.remember("Ana works at Acme.").await?;
/// let result = memory.remember("Ana works at Globex.").await?;
/// assert_eq!(result.entities[0].attribute.as_deref(), Some("employer"));
/// assert!(result.has_evolutions());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct SimLanguageModel {
    seed: u64,
    name: String,
}

impl SimLanguageModel {
    /// A model whose confidences and whose order of rewrites depend on `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, name: format!("sim:sim-{seed}") }
    }

    fn answer(&self, request: &CompletionRequest) -> String {
        let data = data(request);
        let answer = match request.answer.as_ref().map(|answer| answer.name.as_str()) {
            Some(extract::SCHEMA) => json!({extract::SCHEMA: self.facts(data)}),
            Some(evolve::SCHEMA) => json!({evolve::SCHEMA: self.relations(data)}),
            Some(expand::SCHEMA) => self.rewrites(data),
            _ => return data.to_owned(),
        };
        answer.to_string()
    }

    /// A number from 0.6 to 0.99 that depends on the seed and a text.
    fn confidence(&self, text: &str) -> f64 {
        (60 + xxh3_64_with_seed(text.as_bytes(), self.seed) % 40) as f64 / 100.0
    }

    fn facts(&self, data: &str) -> Vec<Value> {
        let mut facts = Vec::new();
        let mut last_name: Option<String> = None;
        for earlier in fence::read(data, "data", "earlier") {
            for sentence in sentences(earlier.text) {
                last_name = names(sentence).pop().or(last_name);
            }
        }
        for turn in fence::read(data, "data", "turn") {
            let number: usize = turn.attribute("number").and_then(|number| number.parse().ok()).unwrap_or(1);
            for sentence in sentences(turn.text) {
                let Some((name, attribute, rest)) = statement(sentence, &turn, last_name.as_deref()) else {
                    last_name = names(sentence).pop().or(last_name);
                    continue;
                };
                let content = format!("{name} {rest}");
                facts.push(json!({
                    "turn": number, "type": "person", "name": name, "attribute": attribute, "content": content,
                    "confidence": self.confidence(&content), "event_time": date(sentence),
                }));
                last_name = Some(name);
            }
        }
        facts
    }

    /// Facts of one subject relate: by a denial as a contradiction, by most of their words as an update, by some of
    /// them as an extension.
    fn relations(&self, data: &str) -> Vec<Value> {
        let mut relations = Vec::new();
        let stored = fence::read(data, "data", "stored");
        for new in fence::read(data, "data", "new") {
            let number: usize = new.attribute("number").and_then(|number| number.parse().ok()).unwrap_or(1);
            let new_words = words(new.text);
            for old in &stored {
                let is_same_subject =
                    old.attribute("name").map(str::to_lowercase) == new.attribute("name").map(str::to_lowercase);
                let Some(id) = old.attribute("id").and_then(|id| Uuid::try_parse(id).ok()) else { continue };
                let name = words(old.attribute("name").unwrap_or_default());
                let shared = new_words.intersection(&words(old.text)).filter(|word| !name.contains(*word)).count();
                if !is_same_subject || shared == 0 || new.text == old.text {
                    continue;
                }
                let denies = |text: &str| words(text).iter().any(|word| DENIALS.contains(&word.as_str()));
                let kind = if denies(new.text) != denies(old.text) {
                    "contradict"
                } else if words(new.text).contains("now") {
                    "update"
                } else {
                    "extend"
                };
                relations.push(json!({
                    "new": number, "old": id.to_string(), "type": kind, "reason": format!("they share {shared} words"),
                    "confidence": self.confidence(&format!("{}\n{}", old.text, new.text)),
                }));
            }
        }
        relations
    }

    fn rewrites(&self, data: &str) -> Value {
        let questions = fence::read(data, "data", "question");
        let question = questions.first().map_or("", |question| question.text);
        let telling: Vec<&str> = question
            .split(|char: char| !char.is_alphanumeric())
            .filter(|word| !word.is_empty() && !SMALL_WORDS.contains(&word.to_lowercase().as_str()))
            .collect();
        let mut rewrites = vec![telling.join(" "), names(question).join(" ")];
        let is_plain = |word: &&str| !word.starts_with(char::is_uppercase);
        rewrites.push(telling.iter().copied().filter(is_plain).collect::<Vec<_>>().join(" "));
        rewrites.retain(|rewrite| !rewrite.is_empty());
        if !rewrites.is_empty() {
            let turn = self.seed as usize % rewrites.len();
            rewrites.rotate_left(turn);
        }
        let lower = question.to_lowercase();
        let is_past = ["before", "used to", "formerly", "once"].iter().any(|word| lower.contains(word));
        json!({expand::SCHEMA: rewrites, "past": is_past})
    }
}

#[async_trait]
impl LanguageModel for SimLanguageModel {
    fn name(&self) -> &str {
        &self.name
    }

    async fn complete(&self, request: &CompletionRequest) -> Result<Completion> {
        request.check()?;
        let text = self.answer(request);
        let tokens = |text: &str| estimate_tokens(text) as u64;
        let usage = Usage::new(tokens(&request.system) + tokens(data(request)), tokens(&text), 1);
        Ok(Completion::new(text).with_usage(usage))
    }
}

/// The words of the last message.
fn data(request: &CompletionRequest) -> &str {
    let parts = request.messages.last().map_or(&[][..], |message| message.parts.as_slice());
    parts
        .iter()
        .find_map(|part| match part {
            MessagePart::Text(text) => Some(text.as_str()),
            MessagePart::Image { .. } => None,
        })
        .unwrap_or_default()
}

fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split_inclusive(['.', '!', '?', '\n']);
    parts.map(str::trim).filter(|part| !part.is_empty() && !part.ends_with('?'))
}

/// Who or what a sentence is about, the slot that it fills, and what it says from its verb on.
fn statement(sentence: &str, turn: &Element<'_>, last: Option<&str>) -> Option<(String, Option<&'static str>, String)> {
    let body = sentence.trim_end_matches(['.', '!']);
    let lower = body.to_ascii_lowercase();
    let find = |verb: &str| lower.find(&format!(" {verb} ")).map(|place| place + 1);
    let slots = SLOTS.iter().filter_map(|(verb, slot)| Some((find(verb)?, Some(*slot))));
    let beside = BESIDE.iter().filter_map(|verb| Some((find(verb)?, None)));
    let denied =
        ["no longer", "does not", "do not", "stopped"].into_iter().filter_map(|verb| Some((find(verb)?, None)));
    let (place, slot) = slots.chain(beside).chain(denied).min_by_key(|(place, _)| *place)?;
    let (subject, said) = (body[..place].trim(), body[place..].trim());
    let speaker = || turn.attribute("name").or(turn.attribute("role")).unwrap_or("user").to_owned();
    let name = match subject.rsplit(|char: char| !char.is_alphanumeric()).next().unwrap_or_default() {
        "I" | "i" => speaker(),
        "He" | "he" | "She" | "she" | "They" | "they" => last?.to_owned(),
        _ => names(subject).pop()?,
    };
    Some((name, slot, said.to_owned()))
}

/// The runs of capitalised words in a text.
fn names(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut is_open = false;
    for word in text.split_whitespace() {
        let bare = word.trim_matches(|char: char| !char.is_alphanumeric());
        let bare = bare.strip_suffix("'s").unwrap_or(bare);
        let is_name =
            bare.chars().next().is_some_and(char::is_uppercase) && !NO_NAMES.contains(&bare.to_lowercase().as_str());
        match names.last_mut() {
            Some(name) if is_name && is_open => {
                name.push(' ');
                name.push_str(bare);
            }
            _ if is_name => names.push(bare.to_owned()),
            _ => {}
        }
        is_open = is_name && word.ends_with(char::is_alphanumeric);
    }
    names
}

/// The first date in a text, such as 2026-05-04.
fn date(text: &str) -> Option<&str> {
    let is_date = |word: &&str| {
        word.len() == 10
            && word.bytes().enumerate().all(|(place, byte)| match place {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            })
    };
    text.split(|char: char| !(char.is_ascii_digit() || char == '-')).find(is_date)
}

fn words(text: &str) -> BTreeSet<String> {
    text.split(|char: char| !char.is_alphanumeric())
        .map(str::to_lowercase)
        .filter(|word| !word.is_empty() && !SMALL_WORDS.contains(&word.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::extract::{ExtractedFact, Said, extract};

    async fn facts(earlier: &[&str], turns: &[(&str, Option<&str>)]) -> Vec<ExtractedFact> {
        let at: Timestamp = "2026-03-12T09:30:00Z".parse().unwrap();
        let said = |text, name| Said { role: "user", name, at, text };
        let earlier: Vec<_> = earlier.iter().map(|text| said(text, None)).collect();
        let turns: Vec<_> = turns.iter().map(|(text, name)| said(text, *name)).collect();
        let answer = extract(&SimLanguageModel::new(1), &earlier, &turns).await.unwrap();
        assert_eq!(answer.notes, Vec::<String>::new());
        answer.value
    }

    #[tokio::test]
    async fn plain_sentences_give_facts() {
        let facts = facts(
            &["I met Leo Brand today."],
            &[
                ("He lives in Graz. Where does he live? My sister Ana likes tea!", None),
                ("I work at Acme.", Some("Bo")),
            ],
        )
        .await;
        let short: Vec<_> = facts
            .iter()
            .map(|fact| (fact.turn, fact.name.as_str(), fact.attribute.as_deref(), fact.content.as_str()))
            .collect();
        assert_eq!(
            short,
            [
                (0, "Leo Brand", Some("home"), "Leo Brand lives in Graz"),
                (0, "Ana", None, "Ana likes tea"),
                (1, "Bo", Some("employer"), "Bo work at Acme"),
            ]
        );
    }

    #[tokio::test]
    async fn a_seed_fixes_every_answer() {
        let request = expand::request("Where did Ana live before Rome?", Timestamp::UNIX_EPOCH);
        let ask = async |seed: u64| SimLanguageModel::new(seed).complete(&request).await.unwrap().text;
        assert_eq!(ask(1).await, ask(1).await);
        assert_ne!(ask(1).await, ask(2).await);
        let answer = expand::parse(&ask(3).await, "Where did Ana live before Rome?").unwrap().value;
        assert!(answer.is_past && answer.rewrites.len() == 3, "{answer:?}");
    }
}
