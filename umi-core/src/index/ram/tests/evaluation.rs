//! Evaluation against data that is no part of the repository: `UMI_LOCOMO` names a LoCoMo file, `UMI_GOLDEN` the
//! prototype's results. Run with `--ignored`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{super::*, NO_LIMIT, Rows, episode, query, time};

struct Conversation {
    id: String,
    rows: Rows,
    turns: BTreeMap<String, u128>,
    questions: Vec<(String, BTreeSet<u128>, i64)>,
}

#[expect(clippy::disallowed_methods, reason = "the data is outside of the repository")]
fn read(variable: &str) -> Value {
    let path = std::env::var(variable).expect("the variable names a file");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// `1:56 pm on 8 May, 2023`.
fn session_time(text: &str) -> jiff::Timestamp {
    let parts: Vec<&str> = text.split([' ', ':', ',']).filter(|part| !part.is_empty()).collect();
    let [hour, minute, half, _, day, month, year] = parts[..] else { panic!("{text}") };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|short| month.starts_with(short)).unwrap() + 1;
    let hour = hour.parse::<u32>().unwrap() % 12 + if half == "pm" { 12 } else { 0 };
    time(&format!("{year}-{month:02}-{:02}T{hour:02}:{minute}:00Z", day.parse::<u32>().unwrap()))
}

fn conversations(data: &Value) -> Vec<Conversation> {
    let read_one = |entry: &Value| {
        let (rows, mut turns) = (Rows::default(), BTreeMap::new());
        let talk = &entry["conversation"];
        let mut number = 0;
        for session in 1.. {
            let Some(list) = talk[format!("session_{session}")].as_array() else {
                if session > 60 {
                    break;
                }
                continue;
            };
            let start = session_time(talk[format!("session_{session}_date_time")].as_str().unwrap());
            for (second, turn) in (0..).zip(list) {
                number += 1;
                let mut text = turn["text"].as_str().unwrap().to_owned();
                if let Some(caption) = turn["blip_caption"].as_str().filter(|caption| !caption.is_empty()) {
                    text = format!("{text} [shares {caption}]");
                }
                let at = start + jiff::SignedDuration::from_secs(second);
                let session = format!("s{session}");
                rows.put(None, episode(number, turn["speaker"].as_str(), "user", at, Some(&session), &text));
                turns.insert(turn["dia_id"].as_str().unwrap().to_owned(), number);
            }
        }
        let questions = entry["qa"].as_array().unwrap().iter().filter_map(|question| {
            let named = question["evidence"].to_string();
            let evidence: BTreeSet<u128> = named
                .split(|c: char| !(c.is_ascii_alphanumeric() || c == ':'))
                .filter_map(|id| turns.get(id).copied())
                .collect();
            let text = question["question"].as_str()?.to_owned();
            (!evidence.is_empty()).then(|| (text, evidence, question["category"].as_i64().unwrap_or(0)))
        });
        Conversation {
            id: entry["sample_id"].as_str().unwrap().to_owned(),
            questions: questions.collect(),
            rows,
            turns,
        }
    };
    data.as_array().unwrap().iter().map(read_one).collect()
}

#[tokio::test]
#[ignore = "needs data that is no part of the repository"]
#[expect(clippy::print_stderr, reason = "the figures are what it is for")]
async fn recall_of_labelled_questions() {
    let conversations = conversations(&read("UMI_LOCOMO"));
    let (mut ten, mut one, mut count) = (0.0, 0.0, 0.0);
    let (mut own, mut other) = (Vec::new(), Vec::new());
    let indexes: Vec<RamIndex> = conversations.iter().map(|_| RamIndex::new(NO_LIMIT)).collect();
    for conversation in &conversations {
        let (mut here, mut asked) = (0.0, 0.0);
        for (text, evidence, _) in &conversation.questions {
            for (asked_in, index) in conversations.iter().zip(&indexes) {
                let hits = index.search_feed(&asked_in.rows, &query(None, text)).await.unwrap();
                let best = hits.iter().map(|hit| hit.score).fold(0.0, f64::max);
                if asked_in.id != conversation.id {
                    other.push(best);
                    continue;
                }
                own.push(best);
                let share = |limit: usize| {
                    let found = hits.iter().take(limit).filter(|hit| evidence.contains(&hit.id.as_u128())).count();
                    found as f64 / evidence.len() as f64
                };
                ten += share(10);
                one += share(1);
                here += share(10);
                asked += 1.0;
                count += 1.0;
            }
        }
        eprintln!("{}: recall@10 {:.2} of {asked}", conversation.id, 100.0 * here / asked);
    }
    let above: f64 = own
        .iter()
        .map(|own| {
            other
                .iter()
                .map(|other| if own > other { 1.0 } else { f64::from(u8::from(own >= other)) / 2.0 })
                .sum::<f64>()
        })
        .sum();
    let area = above / (own.len() * other.len()) as f64;
    eprintln!("recall@10 {:.2}, recall@1 {:.2}, area {area:.4}", 100.0 * ten / count, 100.0 * one / count);
    assert!(100.0 * ten / count >= 80.0 && 100.0 * one / count >= 40.0 && area >= 0.97);
}

#[tokio::test]
#[ignore = "needs data that is no part of the repository"]
#[expect(clippy::print_stderr, reason = "the figures are what it is for")]
async fn the_prototype_gives_the_same() {
    let golden = read("UMI_GOLDEN");
    let mut conversations = conversations(&read("UMI_LOCOMO"));
    let (rows, mut turns) = (Rows::default(), BTreeMap::new());
    for (number, item) in (1..).zip(golden["synthetic_items"].as_array().unwrap()) {
        let at = time(&format!("{}Z", item["at"].as_str().unwrap()));
        let text = |key: &str| item[key].as_str();
        let mut row = episode(number, text("name"), text("role").unwrap(), at, text("session"), text("text").unwrap());
        row.importance = item["importance"].as_f64().unwrap();
        rows.put(None, row);
        turns.insert(text("id").unwrap().to_owned(), number);
    }
    conversations.push(Conversation { id: "synthetic".into(), rows, turns, questions: Vec::new() });
    let mut largest: BTreeMap<&str, f64> = BTreeMap::new();
    for case in golden["queries"].as_array().unwrap() {
        let conversation = conversations.iter().find(|one| case["conversation"] == one.id.as_str()).unwrap();
        let text = case["query"].as_str().unwrap();
        let hits = RamIndex::new(NO_LIMIT).search_feed(&conversation.rows, &query(None, text)).await.unwrap();
        let expected = case["top"].as_array().unwrap();
        let wanted: Vec<u128> =
            expected.iter().map(|hit| conversation.turns[hit["dia_id"].as_str().unwrap()]).collect();
        let found: Vec<u128> = hits.iter().map(|hit| hit.id.as_u128()).collect();
        if wanted != found {
            eprintln!("{text}\n  wanted {wanted:?}\n  found  {found:?}");
        }
        for (expected, id) in expected.iter().zip(wanted) {
            let Some(hit) = hits.iter().find(|hit| hit.id.as_u128() == id) else {
                eprintln!("{text}: {id} is missing");
                continue;
            };
            let mut signals: BTreeMap<&str, f64> = hit.signals.iter().copied().collect();
            signals.insert("score", hit.score);
            for (ours, theirs) in [
                ("lexical", "lexical"),
                ("vector", "dense"),
                ("token", "token"),
                ("spread", "spread"),
                ("session", "session"),
                ("rank", "rank_value"),
                ("score", "score"),
            ] {
                let difference = (signals[ours] - expected[theirs].as_f64().unwrap()).abs();
                if difference > 0.02 {
                    eprintln!("{text}: {id} {ours} {} is not {}", signals[ours], expected[theirs]);
                }
                let most = largest.entry(ours).or_default();
                *most = most.max(difference);
            }
        }
    }
    eprintln!("largest differences: {largest:?}");
    assert!(largest.values().all(|difference| *difference < 0.1));
}
