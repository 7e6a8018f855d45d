//! No read of one tenant shows anything of another.

use std::collections::BTreeSet;

use proptest::{prelude::*, test_runner::TestRunner};
use umi_core::{BlockType, FactChange, ForgetReach, ListOptions, Memory, Metadata, RecallOptions, Scope};

use crate::support::{fact, memory};

const NAMES: [Option<&str>; 4] = [None, Some("a"), Some("b"), Some("a' OR ''='")];

fn scope() -> impl Strategy<Value = Scope> {
    (0_usize..4, 0_usize..4, 0_usize..4).prop_map(|(user, agent, session)| {
        let name = |index: usize| NAMES[index].map(str::to_owned);
        Scope::from_parts(name(user), name(agent), name(session)).unwrap()
    })
}

/// The canaries that a text holds.
fn canaries(text: &str) -> BTreeSet<usize> {
    text.split("canary").skip(1).filter_map(|rest| rest.split('x').next()?.parse().ok()).collect()
}

#[test]
fn every_read_shows_what_its_scope_admits_and_nothing_else() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let config = ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&(prop::collection::vec(scope(), 1..8), prop::collection::vec(scope(), 1..5)), |(writers, readers)| {
            runtime.block_on(check(&writers, &readers));
            Ok(())
        })
        .unwrap();
}

async fn check(writers: &[Scope], readers: &[Scope]) {
    let memory = Memory::sim(7).await.unwrap();
    let (mut ids, mut shared_ids) = (Vec::new(), Vec::new());
    for (number, scope) in writers.iter().enumerate() {
        let handle = memory.scoped(scope).unwrap();
        let said = handle.remember(format!("episode canary{number}x")).await.unwrap();
        // every writer on a subject of its own, and all of them on one slot of one subject
        let own = fact(&format!("subject {number}"), Some("slot"), &format!("fact canary{number}x"), None);
        let known = handle.add_entity(own, &Scope::new()).await.unwrap();
        let mut shared = fact("shared subject", Some("slot"), &format!("shared canary{number}x"), None);
        shared.source = Some(format!("source canary{number}x"));
        let shared = handle.add_entity(shared, &Scope::new()).await.unwrap();
        // and each of them says one content, which is one version with a saying of each
        let mut same = fact("shared subject", None, "said by all", None);
        same.source = Some(format!("source canary{number}x"));
        same.metadata = Metadata::parse(&format!("{{\"canary{number}x\":1}}")).unwrap();
        let same = handle.add_entity(same, &Scope::new()).await.unwrap();
        for answer in [&shared, &same] {
            let shown = canaries(&format!("{:?} {:?}", answer.entities, answer.evolutions));
            let may =
                |&other: &usize| scope.admits(writers[other].user(), writers[other].agent(), writers[other].session());
            assert!(shown.contains(&number) && shown.iter().all(may), "answer to {scope}: {answer:?}");
        }
        handle.core().set_block(BlockType::Facts, &format!("core canary{number}x"), None, None).await.unwrap();
        handle.working().set("key", format!("working canary{number}x").into_bytes(), None).await.unwrap();
        ids.push([said.episode_ids[0], known.entities[0].id].map(|id| id.to_string()));
        shared_ids.push([shared.entities[0].id, same.entities[0].id].map(|id| id.to_string()));
    }
    for reader in readers {
        let admitted: BTreeSet<usize> = (0..writers.len())
            .filter(|&number| {
                let writer = &writers[number];
                reader.admits(writer.user(), writer.agent(), writer.session())
            })
            .collect();
        let handle = memory.scoped(reader).unwrap();
        let all = RecallOptions::default().with_limit(1_000).unwrap();
        let found = handle.recall_with("episode fact canary subject shared said", &all, &Scope::new()).await.unwrap();
        let seen: BTreeSet<usize> = found.iter().flat_map(|hit| canaries(&format!("{:?}", hit.entity))).collect();
        assert_eq!(seen, admitted, "recall of {reader}");
        for current in [true, false] {
            let options = ListOptions { current, limit: 1_000, ..ListOptions::default() };
            let facts = handle.list(&options, &Scope::new()).await.unwrap();
            let seen: BTreeSet<usize> = facts.iter().flat_map(|fact| canaries(&format!("{fact:?}"))).collect();
            assert_eq!(seen, admitted, "list of {reader}");
        }
        let episodes = handle.episodes(1_000, 0, &Scope::new()).await.unwrap();
        let seen: BTreeSet<usize> = episodes.iter().flat_map(|episode| canaries(&episode.text)).collect();
        assert_eq!(seen, admitted, "episodes of {reader}");
        let holding =
            handle.list(&ListOptions { limit: 1_000, ..ListOptions::default() }, &Scope::new()).await.unwrap();
        let count = handle.count(&Scope::new()).await.unwrap();
        assert_eq!(count, (holding.len() + admitted.len()) as u64);
        let xml = handle.context().query("canary episode fact").budget_tokens(100_000).await.unwrap();
        let latest = handle.context().budget_tokens(100_000).await.unwrap();
        for xml in [&xml, &latest] {
            // Core memory is the agent's, whatever the session.
            let core = |number: &usize| {
                let writer = &writers[*number];
                (writer.user(), writer.agent()) == (reader.user(), reader.agent())
            };
            let seen = canaries(xml);
            assert!(seen.iter().all(|number| admitted.contains(number) || core(number)), "context of {reader}: {xml}");
            assert!(admitted.is_empty() || !seen.is_disjoint(&admitted), "context of {reader}: {xml}");
        }
        for (number, ids) in shared_ids.iter().enumerate() {
            for id in ids {
                let known = handle.get(id, &Scope::new()).await.unwrap();
                let history = handle.history(id, &Scope::new()).await.unwrap();
                let evolutions = handle.evolutions(id, &Scope::new()).await.unwrap();
                let seen = canaries(&format!("{known:?} {history:?} {evolutions:?}"));
                assert!(seen.is_subset(&admitted), "{seen:?} of the shared subject to {reader}");
                assert!(!admitted.contains(&number) || seen.contains(&number), "{number} is kept from {reader}");
            }
        }
        for (number, ids) in ids.iter().enumerate() {
            for id in ids {
                let known = admitted.contains(&number);
                assert_eq!(handle.get(id, &Scope::new()).await.unwrap().is_some(), known, "get of {reader}");
                if !known {
                    assert!(handle.history(id, &Scope::new()).await.unwrap().is_empty());
                    assert!(handle.evolutions(id, &Scope::new()).await.unwrap().is_empty());
                    assert!(!handle.forget(id, ForgetReach::Chain, &Scope::new()).await.unwrap());
                    let refused = handle.update(id, FactChange::default(), &Scope::new()).await.unwrap_err();
                    assert!(refused.is_not_found());
                }
            }
        }
        assert!(handle.pending(&Scope::new()).await.unwrap().is_empty());
    }
    let count = memory.stats().await.unwrap().ledger;
    let tenants: BTreeSet<_> = writers.iter().map(Scope::user).collect();
    assert_eq!(
        (count.episodes, count.current_facts),
        (writers.len() as u64, (writers.len() + 2 * tenants.len()) as u64)
    );
}

#[tokio::test]
async fn a_scoped_handle_is_pinned_to_its_user() {
    let memory = memory().await;
    let alice = memory.scoped(&Scope::new().with_user("alice").unwrap()).unwrap();
    let bob = Scope::new().with_user("bob").unwrap();
    assert!(alice.recall_with("x", &RecallOptions::default(), &bob).await.unwrap_err().is_invalid_input());
    assert!(alice.remember("x").user("bob").unwrap().await.unwrap_err().is_invalid_input());
    assert!(alice.scoped(&bob).unwrap_err().is_invalid_input());
    alice.remember("x").user("alice").unwrap().session("s").unwrap().await.unwrap();
    assert_eq!(memory.count(&Scope::new()).await.unwrap(), 0);
}

#[tokio::test]
async fn forgetting_a_scope_takes_that_tenant_alone() {
    let memory = memory().await;
    for user in ["alice", "bob"] {
        let handle = memory.scoped(&Scope::new().with_user(user).unwrap()).unwrap();
        handle.remember("said").await.unwrap();
        handle.add_entity(fact("Ana", Some("home"), "Porto", None), &Scope::new()).await.unwrap();
        handle.core().set_block(BlockType::Human, "me", None, None).await.unwrap();
        handle.working().set("k", b"v".to_vec(), None).await.unwrap();
    }
    assert!(memory.forget_scope(false, &Scope::new()).await.unwrap_err().is_invalid_input());
    let alice = Scope::new().with_user("alice").unwrap();
    assert_eq!(memory.forget_scope(false, &alice).await.unwrap(), 2);
    let alice = memory.scoped(&alice).unwrap();
    assert_eq!(alice.count(&Scope::new()).await.unwrap(), 0);
    assert!(alice.core().get(BlockType::Human).await.unwrap().is_none());
    assert!(alice.core().versions(BlockType::Human).await.unwrap().is_empty());
    assert!(alice.working().keys().await.unwrap().is_empty());
    assert!(alice.recall("said").await.unwrap().is_empty());
    let bob = memory.scoped(&Scope::new().with_user("bob").unwrap()).unwrap();
    assert_eq!(bob.count(&Scope::new()).await.unwrap(), 2);
    assert_eq!(bob.working().get("k").await.unwrap().as_deref(), Some(&b"v"[..]));
}
