//! Facts in time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn link(content: &str, from: i64, to: Option<i64>) -> (String, i64, Option<i64>) {
    (content.to_owned(), from, to)
}

#[test]
fn a_late_arrival_takes_its_place_in_the_past_already_closed() {
    over_all(async |store: Store| {
        store.say(fact(1, 10, Some("employer"), "Acme")).await;
        let newer = store.say(fact(2, 30, Some("Employer "), "Initech")).await;
        assert_eq!(newer.evolutions.len(), 1);
        assert_eq!(newer.evolutions[0].source_id, id(1).to_string());
        let late = store.say(fact(3, 20, Some("employer"), "Hooli")).await;
        assert_eq!(late.entity.valid_to, Some(at(30)));
        assert_eq!(late.evolutions.len(), 2);
        let expected = [link("Acme", 10, Some(20)), link("Hooli", 20, Some(30)), link("Initech", 30, None)];
        assert_eq!(store.chain_of(1).await, expected);
        let around = store.evolutions(&alice(), id(3)).await.unwrap();
        assert_eq!(
            around.iter().map(|one| one.target_id.clone()).collect::<Vec<_>>(),
            [3, 2].map(|n| id(n).to_string())
        );
        assert!(around[0].reason.contains("Acme") && around[0].reason.contains("Hooli"));
        store.assert_sound().await;
    });
}

#[test]
fn forgetting_a_version_restores_its_predecessor() {
    over_all(async |store: Store| {
        store.say(fact(1, 10, Some("employer"), "Acme")).await;
        store.say(fact(2, 30, Some("employer"), "Initech")).await;
        assert!(store.forget(&alice(), id(2), ForgetReach::Version, at(40)).await.unwrap());
        assert_eq!(store.chain_of(1).await, [link("Acme", 10, None)]);
        assert!(store.evolutions(&alice(), id(1)).await.unwrap().is_empty());
        assert!(!store.forget(&alice(), id(2), ForgetReach::Version, at(40)).await.unwrap());
        store.say(fact(3, 50, Some("employer"), "Hooli")).await;
        assert!(store.forget(&alice(), id(1), ForgetReach::Chain, at(60)).await.unwrap());
        assert_eq!(store.fact(&alice(), id(3)).await.unwrap(), None);
        assert_eq!(store.stats().await.unwrap().sightings, 0);
        store.assert_sound().await;
    });
}

#[test]
fn a_version_stays_while_one_saying_is_left() {
    over_all(async |store: Store| {
        store.append_one(episode(101, 10, "first")).await;
        store.append_one(episode(102, 20, "second")).await;
        for (number, second) in [(1, 10), (2, 20)] {
            let mut said = fact(number, second, Some("home"), "Rome");
            said.entity.episode_id = Some(id(100 + number));
            said.entity.confidence = 0.5 + number as f64 / 10.0;
            said.entity.metadata = Metadata::parse(&format!("{{\"n\":{number}}}")).unwrap();
            store.say(said).await;
        }
        let version = store.fact(&alice(), id(2)).await.unwrap().unwrap();
        assert_eq!((version.id, version.last_seen, version.confidence), (id(1), at(20), 0.7));
        assert_eq!((version.metadata.as_str(), version.episode_id), ("{\"n\":2}", Some(id(101))));
        assert!(store.forget(&alice(), id(101), ForgetReach::Version, at(30)).await.unwrap());
        let left = store.fact(&alice(), id(2)).await.unwrap().unwrap();
        assert_eq!((left.id, left.valid_from, left.episode_id), (id(2), at(20), Some(id(102))));
        assert_eq!(store.fact(&alice(), id(1)).await.unwrap(), None);
        store.assert_sound().await;
        store.forget(&alice(), id(102), ForgetReach::Version, at(30)).await.unwrap();
        assert_eq!(store.count(&alice(), at(99)).await.unwrap(), 0);
        let mut orphan = fact(9, 10, None, "x");
        orphan.entity.episode_id = Some(id(101));
        assert!(store.record(&space(), vec![orphan]).await.unwrap_err().is_not_found());
    });
}

#[test]
fn facts_without_an_attribute_stand_side_by_side_and_identical_ones_are_one() {
    over_all(async |store: Store| {
        store.say(fact(1, 20, None, "likes tea")).await;
        store.say(fact(2, 30, None, "likes jazz")).await;
        let same = store.say(fact(3, 10, None, "likes tea")).await;
        assert_eq!((same.entity.id, same.entity.valid_from, same.entity.last_seen), (id(1), at(10), at(20)));
        let all = FactFilter { valid_at: Some(at(40)), limit: 10, ..FactFilter::default() };
        assert_eq!(store.facts(&alice(), &all).await.unwrap().len(), 2);
        // an update closes the span; the old content said again inside of it joins, behind it stands alone
        let update = FactUpdate {
            id: id(1),
            new_id: id(4),
            content: Some("likes coffee".to_owned()),
            metadata: None,
            confidence: None,
            importance: None,
            piece: whole("likes coffee"),
            embed_job: None,
            now: at(50),
        };
        store.update(&space(), &alice(), update).await.unwrap();
        assert_eq!(store.chain_of(3).await, [link("likes tea", 10, Some(50)), link("likes coffee", 50, None)]);
        assert_eq!(store.say(fact(5, 45, None, "likes tea")).await.entity.id, id(1));
        assert_eq!(store.say(fact(6, 60, None, "likes tea")).await.entity.id, id(6));
        assert_eq!(store.facts(&alice(), &FactFilter { valid_at: Some(at(99)), ..all }).await.unwrap().len(), 3);
        store.assert_sound().await;
    });
}

#[test]
fn an_update_always_makes_a_version_with_its_own_values() {
    over_all(async |store: Store| {
        let mut said = fact(1, 100, Some("home"), "Rome");
        said.entity.metadata = Metadata::parse("{\"a\":1,\"b\":1}").unwrap();
        store.say(said).await;
        let update = FactUpdate {
            id: id(1),
            new_id: id(2),
            content: None,
            metadata: Some(Metadata::parse("{\"b\":2}").unwrap()),
            confidence: Some(0.25),
            importance: None,
            piece: whole("Rome"),
            embed_job: None,
            now: at(50),
        };
        let newer = store.update(&space(), &alice(), update.clone()).await.unwrap().entity;
        // never before the version that it follows
        assert_eq!((newer.id, newer.valid_from, newer.confidence), (id(2), at(100), 0.25));
        assert_eq!(newer.metadata.as_str(), "{\"a\":1,\"b\":2}");
        let other = Scope::new().with_user("bob").unwrap();
        let missing = store.update(&space(), &other, FactUpdate { new_id: id(3), ..update.clone() }).await;
        assert!(missing.unwrap_err().is_not_found());
        store.append_one(episode(101, 10, "words")).await;
        let refused = store.update(&space(), &alice(), FactUpdate { id: id(101), new_id: id(3), ..update }).await;
        assert!(refused.unwrap_err().is_invalid_input());
    });
}

#[test]
fn reads_keep_to_their_scope() {
    over_all(async |store: Store| {
        let mut said = fact(1, 10, Some("home"), "Rome");
        said.entity.agent = Some("a".to_owned());
        store.say(said).await;
        let mut again = fact(2, 20, Some("home"), "Rome");
        again.entity.session = Some("s".to_owned());
        store.say(again).await;
        for scope in [alice(), alice().with_agent("a").unwrap(), alice().with_session("s").unwrap()] {
            assert!(store.fact(&scope, id(1)).await.unwrap().is_some(), "{scope}");
        }
        let both = alice().with_agent("a").unwrap().with_session("s").unwrap();
        for scope in [Scope::new(), Scope::new().with_user("bob").unwrap(), both] {
            assert_eq!(store.fact(&scope, id(1)).await.unwrap(), None, "{scope}");
            assert!(store.history(&scope, id(1)).await.unwrap().is_empty());
            assert!(store.facts_by_id(&scope, &[id(1)]).await.unwrap().is_empty());
            assert!(!store.forget(&scope, id(1), ForgetReach::Chain, at(9)).await.unwrap());
            assert_eq!(store.count(&scope, at(99)).await.unwrap(), 0);
        }
        // forgetting one session takes its saying only
        assert_eq!(store.forget_scope(&alice().with_session("s").unwrap(), at(30)).await.unwrap(), 0);
        assert_eq!(store.fact(&alice(), id(1)).await.unwrap().unwrap().last_seen, at(10));
        assert_eq!(store.forget_scope(&alice(), at(30)).await.unwrap(), 1);
        store.assert_sound().await;
    });
}

#[test]
fn two_concurrent_writers_of_an_attribute_leave_one_current_version() {
    over_all(async |store: Store| {
        let writes = (0..40_u128).map(|number| {
            let ledger = Arc::clone(&store.ledger);
            let said = fact(number + 1, 10 + number as i64 / 2, Some("home"), &format!("city {}", number % 7));
            tokio::spawn(async move { ledger.record(&space(), vec![said]).await })
        });
        for write in writes.collect::<Vec<_>>() {
            write.await.unwrap().unwrap();
        }
        assert_eq!(store.stats().await.unwrap().current_facts, 1);
        store.assert_sound().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn every_order_of_arrival_with_forgettings_in_between_gives_the_same_chain(
        said in prop::collection::btree_map(0_i64..100, 0_u8..3, 2..9),
        forgotten in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        shuffle in Just((0..9_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let said: Vec<(i64, u8)> = said.into_iter().collect();
        let gone: Vec<usize> = forgotten.iter().map(|index| index.index(said.len())).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let chain = |order: Vec<usize>| runtime.block_on(async {
            let store = Store { ledger: Arc::new(SqliteLedger::in_memory().unwrap()), _folder: None };
            for index in order {
                let (second, content) = said[index];
                let number = index as u128 + 1;
                store.append_one(episode(100 + number, second, "said")).await;
                let mut new = fact(number, second, Some("home"), &content.to_string());
                new.entity.episode_id = Some(id(100 + number));
                new.entity.metadata = Metadata::parse(&format!("{{\"n\":{index}}}")).unwrap();
                store.say(new).await;
                if gone.contains(&index) {
                    store.forget(&alice(), id(100 + number), ForgetReach::Version, at(500)).await.unwrap();
                }
            }
            store.assert_sound().await;
            // what an index that follows the feed from its beginning knows
            let changes = store.changes(&alice(), 0, 1_000).await.unwrap();
            let facts = FactFilter { limit: 100, ..FactFilter::default() };
            let listed = store.facts(&alice(), &facts).await.unwrap();
            let shape: Vec<_> = listed.iter().map(|one| (
                one.content.clone(), one.valid_from, one.valid_to, one.last_seen, one.metadata.clone(), one.episode_id,
            )).collect();
            let indexed: BTreeMap<_, _> =
                changes.rows.iter().filter(|row| row.kind == Kind::Fact).map(|row| (row.id, (row.from, row.to))).collect();
            assert_eq!(indexed, listed.iter().map(|one| (one.id, (one.valid_from, one.valid_to))).collect());
            shape
        });
        let shuffled: Vec<usize> = shuffle.into_iter().filter(|&index| index < said.len()).collect();
        prop_assert_eq!(chain((0..said.len()).collect()), chain(shuffled));
    }
}

fn of_session(mut said: NewFact, session: &str) -> NewFact {
    said.entity.session = Some(session.to_owned());
    said
}

fn change(of: u128, new_id: u128, second: i64, content: Option<&str>) -> FactUpdate {
    FactUpdate {
        id: id(of),
        new_id: id(new_id),
        content: content.map(str::to_owned),
        metadata: None,
        confidence: None,
        importance: None,
        piece: whole(content.unwrap_or("kept")),
        embed_job: None,
        now: at(second),
    }
}

#[test]
fn a_narrowed_read_shows_a_relation_only_where_it_admits_both_ends() {
    over_all(async |store: Store| {
        store.say(of_session(fact(1, 10, Some("home"), "Rome"), "a")).await;
        let newer = store.say(of_session(fact(2, 20, Some("home"), "Oslo"), "b")).await;
        assert!(newer.evolutions.is_empty(), "the answer tells the session b what the session a said");
        let (a, b) = (alice().with_session("a").unwrap(), alice().with_session("b").unwrap());
        for scope in [&a, &b] {
            for number in [1, 2] {
                assert!(store.evolutions(scope, id(number)).await.unwrap().is_empty(), "{scope}");
            }
        }
        assert_eq!(store.evolutions(&alice(), id(1)).await.unwrap().len(), 1);
        let update = FactUpdate { content: Some("Kyiv".to_owned()), ..change(1, 3, 30, None) };
        assert!(store.update(&space(), &a, update).await.unwrap().evolutions.is_empty());
        let own = store.say(of_session(fact(4, 40, Some("home"), "Bern"), "a")).await.evolutions;
        assert_eq!((own.len(), own[0].reason.contains("Kyiv")), (1, true));
        assert_eq!(store.evolutions(&a, id(4)).await.unwrap(), own);
    });
}

#[test]
fn a_narrowed_read_shows_the_provenance_of_its_own_sayings_alone() {
    over_all(async |store: Store| {
        store.append_one(episode(101, 10, "in a")).await;
        for (number, session, source, confidence) in [(1, "a", Some("diary"), 0.9), (2, "b", None, 0.5)] {
            let mut said = of_session(fact(number, 10 * number as i64, Some("home"), "Rome"), session);
            said.entity.source = source.map(str::to_owned);
            said.entity.episode_id = source.map(|_| id(101));
            (said.entity.confidence, said.entity.importance) = (confidence, confidence);
            said.entity.metadata = Metadata::parse(&format!("{{\"{session}\":1}}")).unwrap();
            store.say(said).await;
        }
        // a second version, said in the session a alone
        store.say(of_session(fact(3, 50, Some("home"), "Oslo"), "a")).await;
        let b = alice().with_session("b").unwrap();
        let whole = store.fact(&alice(), id(1)).await.unwrap().unwrap();
        assert_eq!((whole.metadata.as_str(), whole.last_seen), ("{\"a\":1,\"b\":1}", at(20)));
        let filter = FactFilter { limit: 9, ..FactFilter::default() };
        let mut shown = vec![store.fact(&b, id(1)).await.unwrap().unwrap()];
        shown.extend(store.facts(&b, &filter).await.unwrap());
        shown.extend(store.facts_by_id(&b, &[id(1), id(2), id(3)]).await.unwrap());
        shown.extend(store.history(&b, id(2)).await.unwrap());
        assert_eq!(shown.len(), 4);
        for entity in shown {
            assert_eq!((entity.id, entity.valid_from, entity.valid_to), (id(1), at(10), Some(at(50))));
            assert_eq!((entity.metadata.as_str(), entity.session.as_deref()), ("{\"b\":1}", Some("b")));
            assert_eq!((entity.source, entity.episode_id, entity.last_seen), (None, None, at(20)));
            assert_eq!((entity.confidence, entity.importance, entity.recorded_at), (0.5, 0.5, at(20)));
        }
        let a = store.fact(&alice().with_session("a").unwrap(), id(2)).await.unwrap().unwrap();
        assert_eq!((a.source.as_deref(), a.confidence, a.last_seen), (Some("diary"), 0.9, at(10)));
        // an answer to a narrowed writer, too
        let again = store.say(of_session(fact(4, 30, Some("home"), "Rome"), "b")).await.entity;
        assert_eq!((again.id, again.metadata.as_str(), again.source), (id(1), "{\"b\":1}", None));
    });
}

#[test]
fn an_update_follows_what_holds_whichever_version_it_names() {
    over_all(async |store: Store| {
        let mut first = fact(1, 10, Some("home"), "Rome");
        first.entity.metadata = Metadata::parse("{\"a\":1}").unwrap();
        store.say(first).await;
        let mut second = fact(2, 20, Some("home"), "Oslo");
        second.entity.metadata = Metadata::parse("{\"b\":1}").unwrap();
        second.entity.confidence = 0.5;
        store.say(second).await;
        assert_eq!(store.current(&alice(), id(1), at(30)).await.unwrap().unwrap().id, id(2));
        let update = FactUpdate {
            importance: Some(0.9),
            metadata: Some(Metadata::parse("{\"c\":1}").unwrap()),
            ..change(1, 3, 30, None)
        };
        let third = store.update(&space(), &alice(), update).await.unwrap().entity;
        assert_eq!((third.id, third.content.as_str(), third.confidence), (id(3), "Oslo", 0.5));
        assert_eq!((third.metadata.as_str(), third.importance), ("{\"b\":1,\"c\":1}", 0.9));
        let expected = [link("Rome", 10, Some(20)), link("Oslo", 20, Some(30)), link("Oslo", 30, None)];
        assert_eq!(store.chain_of(1).await, expected);
        store.assert_sound().await;
    });
}

#[test]
fn an_update_leaves_what_is_planned_ahead_of_it() {
    over_all(async |store: Store| {
        store.say(fact(1, 10, Some("home"), "Rome")).await;
        store.say(fact(2, 90, Some("home"), "Oslo")).await;
        let kyiv = store.update(&space(), &alice(), change(2, 3, 30, Some("Kyiv"))).await.unwrap().entity;
        assert_eq!((kyiv.id, kyiv.valid_from, kyiv.valid_to), (id(3), at(30), Some(at(90))));
        // the clock stands still
        store.update(&space(), &alice(), change(1, 4, 30, Some("Bern"))).await.unwrap();
        // the same content as the plan, which keeps its own time and values
        let update =
            FactUpdate { metadata: Some(Metadata::parse("{\"k\":1}").unwrap()), ..change(1, 5, 50, Some("Oslo")) };
        let oslo = store.update(&space(), &alice(), update).await.unwrap().entity;
        assert_eq!((oslo.id, oslo.valid_from, oslo.metadata.as_str()), (id(5), at(50), "{\"k\":1}"));
        let expected = [
            link("Rome", 10, Some(30)),
            link("Kyiv", 30, Some(30)),
            link("Bern", 30, Some(50)),
            link("Oslo", 50, Some(90)),
            link("Oslo", 90, None),
        ];
        assert_eq!(store.chain_of(1).await, expected);
        store.assert_sound().await;
        store.forget(&alice(), id(5), ForgetReach::Version, at(60)).await.unwrap();
        assert_eq!(store.chain_of(1).await[2..], [link("Bern", 30, Some(90)), link("Oslo", 90, None)]);
        store.assert_sound().await;
    });
}

#[test]
fn a_narrowed_update_neither_shows_nor_undoes_what_another_session_said() {
    over_all(async |store: Store| {
        let mut first = of_session(fact(1, 10, Some("home"), "Rome"), "a");
        first.entity.metadata = Metadata::parse("{\"a\":1}").unwrap();
        store.say(first).await;
        store.say(of_session(fact(2, 20, Some("home"), "Oslo"), "b")).await;
        let a = alice().with_session("a").unwrap();
        let blind = FactUpdate { importance: Some(0.9), ..change(1, 3, 30, None) };
        assert!(store.update(&space(), &a, blind).await.unwrap_err().is_invalid_input());
        let kyiv = store.update(&space(), &a, change(1, 3, 30, Some("Kyiv"))).await.unwrap().entity;
        assert_eq!((kyiv.metadata.as_str(), kyiv.session.as_deref()), ("{\"a\":1}", Some("a")));
        let expected = [link("Rome", 10, Some(20)), link("Oslo", 20, Some(30)), link("Kyiv", 30, None)];
        assert_eq!(store.chain_of(1).await, expected);
        store.assert_sound().await;
    });
}

#[test]
fn forgetting_what_stood_between_two_repeats_makes_them_one() {
    over_all(async |store: Store| {
        store.say(fact(1, 10, None, "likes tea")).await;
        store.update(&space(), &alice(), change(1, 2, 50, Some("likes coffee"))).await.unwrap();
        assert_eq!(store.say(fact(3, 60, None, "likes tea")).await.entity.id, id(3));
        store.update(&space(), &alice(), change(3, 4, 80, Some("likes mate"))).await.unwrap();
        store.say(fact(5, 5, None, "likes jazz")).await;
        assert!(store.forget(&alice(), id(2), ForgetReach::Version, at(90)).await.unwrap());
        assert_eq!(store.chain_of(3).await, [link("likes tea", 10, Some(80)), link("likes mate", 80, None)]);
        assert_eq!(store.chain_of(1).await, store.chain_of(4).await);
        store.assert_sound().await;
        assert!(store.forget(&alice(), id(4), ForgetReach::Version, at(90)).await.unwrap());
        let all = FactFilter { valid_at: Some(at(99)), limit: 10, ..FactFilter::default() };
        let facts = store.facts(&alice(), &all).await.unwrap();
        assert_eq!(
            facts.iter().map(|fact| (fact.id, fact.last_seen)).collect::<Vec<_>>(),
            [(id(5), at(5)), (id(1), at(60))]
        );
        assert!(store.changes(&alice(), 0, 99).await.unwrap().removed.contains(&id(3)));
        store.assert_sound().await;
    });
}

#[test]
fn metadata_that_does_not_fit_to_its_version_is_refused() {
    over_all(async |store: Store| {
        let large = |number: u128, second, content: &str| {
            let mut said = fact(number, second, Some("home"), content);
            said.entity.metadata = Metadata::parse(&format!("{{\"{number}\":\"{}\"}}", "x".repeat(40_000))).unwrap();
            said
        };
        store.say(large(1, 10, "Rome")).await;
        let refused = store.record(&space(), vec![large(2, 20, "Rome")]).await.unwrap_err();
        assert!(refused.is_invalid_input(), "{refused}");
        assert_eq!(store.stats().await.unwrap().sightings, 1);
        store.say(fact(3, 20, Some("home"), "Rome")).await;
        // Forgetting is never refused: where it joins two that do not fit, the later one's metadata stands.
        store.say(fact(4, 30, Some("home"), "Oslo")).await;
        store.say(large(5, 40, "Rome")).await;
        store.forget(&alice(), id(4), ForgetReach::Version, at(50)).await.unwrap();
        let joined = store.fact(&alice(), id(1)).await.unwrap().unwrap();
        assert!(joined.metadata.get("5").is_some() && joined.metadata.get("1").is_none());
        store.assert_sound().await;
    });
}
