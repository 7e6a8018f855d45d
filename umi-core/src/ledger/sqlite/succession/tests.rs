//! What is forgotten of random stories, against what is left of them.

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::{
    embed::EmbeddingSpace,
    entity::{Entity, EntityType},
    ledger::{FactFilter, ForgetReach, Ledger, NewFact, Piece, sqlite::SqliteLedger},
    scope::Scope,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn id(number: i64) -> Uuid {
    Uuid::from_u128(u128::from(number.unsigned_abs()))
}

/// Says something at the time of its number, in one of a few sessions.
async fn say(ledger: &SqliteLedger, number: i64, content: &str, attribute: Option<&str>, session: &str) {
    let mut entity = Entity::new(id(number), at(number), EntityType::Person, "Ana", content).unwrap();
    entity.attribute = attribute.map(str::to_owned);
    entity.session = Some(session.to_owned());
    let piece = Piece { ordinal: 0, lexical: vec![1], vector: Some(vec![1, 2]) };
    let fact = NewFact { entity, piece, embed_job: None };
    ledger.record(&EmbeddingSpace::new("test", 2, ""), vec![fact]).await.unwrap();
}

async fn decide(ledger: &SqliteLedger, [new, other]: [i64; 2], evolution_type: EvolutionType) {
    let write = move |write: &mut Write<'_>| {
        let key = |number: i64| -> Stored<i64> {
            let id = rows::text(id(number));
            Ok(write.connection.query_row("SELECT sighting FROM sightings WHERE id = ?1", (id,), |row| row.get(0))?)
        };
        let (sighting, other, id) = (key(new)?, key(other)?, id(new * 1_000 + other));
        let (created_at, reason, confidence) = (at(new), "a model said so", 0.5);
        let new = NewDecision { id, user: "", sighting, other, evolution_type, reason, confidence, created_at };
        let places = decisions::insert(write, &new)?;
        decisions::recompute(write, &places, created_at)
    };
    ledger.write(0, write).await.unwrap();
}

/// (content, from, to) of every version, in the order of time.
async fn versions(ledger: &SqliteLedger) -> Vec<(String, i64, Option<i64>)> {
    let report = ledger.check().await.unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let all = FactFilter { limit: 100, ..FactFilter::default() };
    let facts = ledger.facts(&Scope::new(), &all).await.unwrap();
    let second = |time: Timestamp| time.as_second();
    facts.into_iter().map(|fact| (fact.content, second(fact.valid_from), fact.valid_to.map(second))).collect()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// Of facts beside one another, each is ended by the first of those that decisions lead to from it, over what was
    /// forgotten alone; and of what decisions lead to from one another, never two are current.
    #[test]
    fn what_decisions_lead_to_over_what_is_forgotten_ends_a_fact(
        arriving in Just((1..10_i64).collect::<Vec<_>>()).prop_shuffle(),
        decided in prop::collection::vec((any::<[Index; 2]>(), any::<bool>()), 1..14),
        forgotten in prop::collection::vec((any::<Index>(), 0..4_usize), 1..7),
    ) {
        block_on(async {
            let ledger = SqliteLedger::in_memory().unwrap();
            let (mut left, mut edges) = (arriving.clone(), BTreeSet::new());
            for &number in &arriving {
                say(&ledger, number, &format!("place {number}"), None, &format!("s{}", number % 4)).await;
            }
            let decided: Vec<_> = decided
                .into_iter()
                .map(|(ends, is_update)| (ends.map(|end| *end.get(&arriving)), is_update))
                .filter(|(ends, _)| ends[0] != ends[1])
                .collect();
            let (first, later) = decided.split_at(decided.len() / 2);
            for (batch, forgets) in [(first, 0..forgotten.len() / 2), (later, forgotten.len() / 2..forgotten.len())] {
                for &([one, two], is_update) in batch {
                    let is_there = left.contains(&one) && left.contains(&two);
                    if is_there && edges.insert((one.min(two), one.max(two))) {
                        let kind = if is_update { EvolutionType::Update } else { EvolutionType::Contradict };
                        decide(&ledger, [one, two], kind).await;
                    }
                }
                for (which, session) in &forgotten[forgets] {
                    if left.is_empty() {
                        break;
                    }
                    // One, or all of a session at once.
                    let which = *which.get(&left);
                    let gone: Vec<i64> = if *session == 0 {
                        left.iter().copied().filter(|number| number % 4 == which % 4).collect()
                    } else {
                        vec![which]
                    };
                    if *session == 0 {
                        let scope = Scope::new().with_session(format!("s{}", which % 4)).unwrap();
                        ledger.forget_scope(&scope, at(99)).await.unwrap();
                    } else {
                        ledger.forget(&Scope::new(), id(which), ForgetReach::Version, at(99)).await.unwrap();
                    }
                    left.retain(|number| !gone.contains(number));
                    for gone in gone {
                        let into: Vec<i64> = edges.iter().filter(|edge| edge.1 == gone).map(|edge| edge.0).collect();
                        let out: Vec<i64> = edges.iter().filter(|edge| edge.0 == gone).map(|edge| edge.1).collect();
                        edges.retain(|edge| edge.0 != gone && edge.1 != gone);
                        edges.extend(into.iter().flat_map(|&older| out.iter().map(move |&newer| (older, newer))));
                    }
                    let mut expected: Vec<_> = left
                        .iter()
                        .map(|&number| {
                            let ends = edges.iter().filter(|edge| edge.0 == number).map(|edge| edge.1).min();
                            (format!("place {number}"), number, ends)
                        })
                        .collect();
                    expected.sort_by_key(|(_, from, _)| *from);
                    assert_eq!(versions(&ledger).await, expected);
                }
            }
        });
    }

    /// Of a story in which each saying ends the one before, some in a slot that holds one value at a time and some
    /// beside it, some said twice and some again later, whatever is forgotten leaves a story of the rest: each ends
    /// where the next one begins, and the last one is current.
    #[test]
    fn a_story_without_some_of_it_is_the_story_of_the_rest(
        said in prop::collection::vec((0_u8..5, 0_i64..4, any::<bool>()), 1..12),
        forgotten in prop::collection::vec((any::<Index>(), any::<bool>()), 1..7),
    ) {
        block_on(async {
            let ledger = SqliteLedger::in_memory().unwrap();
            let mut story: Vec<(i64, u8, i64)> = Vec::new();
            for (number, (content, session, is_update)) in (1..).zip(said) {
                let attribute = |content: u8| (content < 2).then_some("home");
                let text = format!("place {content}");
                say(&ledger, number, &text, attribute(content), &format!("s{session}")).await;
                if let Some(&(last, before, _)) = story.last()
                    && before != content
                    && (attribute(before).is_none() || attribute(content).is_none())
                {
                    let kind = if is_update { EvolutionType::Update } else { EvolutionType::Contradict };
                    decide(&ledger, [number, last], kind).await;
                }
                story.push((number, content, session));
            }
            for (which, is_session) in forgotten {
                let all = versions(&ledger).await;
                if story.is_empty() {
                    assert!(all.is_empty());
                    break;
                }
                if is_session {
                    let (_, _, session) = *which.get(&story);
                    let scope = Scope::new().with_session(format!("s{session}")).unwrap();
                    ledger.forget_scope(&scope, at(99)).await.unwrap();
                    story.retain(|said| said.2 != session);
                } else {
                    // A version, with all of its sayings.
                    let (number, content, _) = *which.get(&story);
                    ledger.forget(&Scope::new(), id(number), ForgetReach::Version, at(99)).await.unwrap();
                    let (_, from, to) = all
                        .iter()
                        .rfind(|(of, from, _)| *of == format!("place {content}") && *from <= number)
                        .unwrap();
                    let is_in = |said: &(i64, u8, i64)| said.1 == content && *from <= said.0 && to.is_none_or(|to| said.0 < to);
                    story.retain(|said| !is_in(said));
                }
                let mut expected: Vec<(String, i64, Option<i64>)> = Vec::new();
                for (number, content, _) in &story {
                    let text = format!("place {content}");
                    if expected.last().is_none_or(|(last, ..)| *last != text) {
                        if let Some(last) = expected.last_mut() {
                            last.2 = Some(*number);
                        }
                        expected.push((text, *number, None));
                    }
                }
                assert_eq!(versions(&ledger).await, expected);
            }
        });
    }
}
