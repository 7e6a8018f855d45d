//! Facts in time: chains, late arrivals, updates, forgetting.

use proptest::{prelude::*, test_runner::TestRunner};
use umi_core::{Entity, EvolutionType, FactChange, ForgetReach, ListOptions, Memory, Metadata, Scope, Timestamp};

use crate::support::{fact, memory, memory_and_clock, minutes, user, year};

type Shape = Vec<(String, Timestamp, Option<Timestamp>, Timestamp)>;

fn shape(history: &[Entity]) -> Shape {
    history
        .iter()
        .map(|version| (version.content.clone(), version.valid_from, version.valid_to, version.last_seen))
        .collect()
}

async fn everything(memory: &Memory) -> Vec<Entity> {
    let options = ListOptions { current: false, limit: 1_000, ..ListOptions::default() };
    memory.list(&options, &Scope::new()).await.unwrap()
}

#[tokio::test]
async fn a_time_before_the_year_one_is_refused() {
    let memory = memory().await;
    let first: Timestamp = "0001-01-01T00:00:00Z".parse().unwrap();
    let before: Timestamp = "0000-12-31T23:59:59.999999Z".parse().unwrap();
    let mut entity = fact("Rome", None, "Rome was founded", Some(before));
    let error = memory.add_entity(entity.clone(), &Scope::new()).await.unwrap_err();
    assert!(error.is_invalid_input() && error.message().starts_with("event_time is `"), "{error}");
    (entity.event_time, entity.document_time) = (Some(first), Some(Timestamp::MIN));
    assert!(memory.add_entity(entity.clone(), &Scope::new()).await.unwrap_err().is_invalid_input());
    entity.document_time = Some(Timestamp::MAX);
    assert_eq!(memory.add_entity(entity, &Scope::new()).await.unwrap().entities[0].valid_from, first);
    assert!(memory.remember("Rome was founded.").at(before).await.unwrap_err().is_invalid_input());
    assert_eq!(memory.remember("Rome was founded.").at(first).await.unwrap().entities[0].valid_from, first);
}

#[tokio::test]
async fn a_late_arrival_takes_its_place_in_the_past_already_closed() {
    let memory = memory().await;
    for (start, employer) in [(2019, "Acme"), (2024, "Initech")] {
        memory.add_entity(fact("Tarek", Some("employer"), employer, Some(year(start))), &Scope::new()).await.unwrap();
    }
    let late = memory
        .add_entity(fact("ＴＡＲＥＫ ", Some("Employer"), "Globex", Some(year(2021))), &Scope::new())
        .await
        .unwrap();
    assert_eq!(late.entities[0].valid_to, Some(year(2024)));
    let relations: Vec<_> = late.evolutions.iter().map(|evolution| evolution.evolution_type).collect();
    assert_eq!(relations, [EvolutionType::Update, EvolutionType::Update]);
    let history = memory.history(&late.entities[0].id.to_string(), &Scope::new()).await.unwrap();
    assert_eq!(
        shape(&history),
        [
            ("Acme".to_owned(), year(2019), Some(year(2021)), year(2019)),
            ("Globex".to_owned(), year(2021), Some(year(2024)), year(2021)),
            ("Initech".to_owned(), year(2024), None, year(2024)),
        ]
    );
    let from_the_middle = memory.evolutions(&history[1].id.to_string(), &Scope::new()).await.unwrap();
    let ends: Vec<(String, String)> =
        from_the_middle.iter().map(|relation| (relation.source_id.clone(), relation.target_id.clone())).collect();
    let id = |index: usize| history[index].id.to_string();
    assert_eq!(ends, [(id(0), id(1)), (id(1), id(2))]);
}

#[test]
fn every_order_of_arrival_with_forgettings_in_between_gives_the_same_chain() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let facts = prop::collection::btree_map(2000_i16..2025, 0_u8..3, 2..7);
    let order = prop::collection::vec(any::<u16>(), 7);
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&(facts, order, prop::option::of(0_usize..7)), |(facts, order, forgotten)| {
            let facts: Vec<(i16, u8)> = facts.into_iter().collect();
            let mut shuffled: Vec<usize> = (0..facts.len()).collect();
            shuffled.sort_by_key(|&index| order[index]);
            let forgotten = forgotten.map(|index| index % facts.len());
            let in_order = runtime.block_on(told(&facts, &(0..facts.len()).collect::<Vec<_>>(), None));
            let out_of_order = runtime.block_on(told(&facts, &shuffled, forgotten));
            prop_assert_eq!(in_order, out_of_order);
            Ok(())
        })
        .unwrap();
}

/// Tells facts in an order. With `forgotten`, a fact of another content is told at that place and time, and forgotten.
async fn told(facts: &[(i16, u8)], order: &[usize], forgotten: Option<usize>) -> Shape {
    let memory = Memory::sim(1).await.unwrap();
    for (place, &index) in order.iter().enumerate() {
        let (start, content) = facts[index];
        if forgotten == Some(place) {
            let slip = fact("Tarek", Some("employer"), "a slip of the tongue", Some(year(start) + minutes(1)));
            let slip = memory.add_entity(slip, &Scope::new()).await.unwrap();
            assert!(
                memory.forget(&slip.entities[0].id.to_string(), ForgetReach::Version, &Scope::new()).await.unwrap()
            );
        }
        let entity = fact("Tarek", Some("employer"), &format!("employer {content}"), Some(year(start)));
        memory.add_entity(entity, &Scope::new()).await.unwrap();
    }
    assert!(memory.check().await.unwrap().problems.is_empty());
    shape(&everything(&memory).await)
}

#[tokio::test]
async fn facts_without_an_attribute_stand_beside_one_another_and_repeat_as_one() {
    let (memory, clock) = memory_and_clock().await;
    for content in ["likes tea", "likes jazz", "likes tea"] {
        memory.add_entity(fact("Ana", None, content, None), &Scope::new()).await.unwrap();
        clock.advance(minutes(1)).unwrap();
    }
    let facts = memory.list(&ListOptions::default(), &Scope::new()).await.unwrap();
    let contents: Vec<&str> = facts.iter().map(|fact| fact.content.as_str()).collect();
    assert_eq!(contents, ["likes tea", "likes jazz"]);
    assert_eq!(facts[0].last_seen, facts[0].valid_from + minutes(2));
}

#[tokio::test]
async fn an_update_makes_a_version_and_forgetting_it_restores_its_predecessor() {
    let (memory, clock) = memory_and_clock().await;
    let mut first = fact("Ana", None, "lives in Porto", None);
    first.metadata = Metadata::parse(r#"{"a":1,"b":1}"#).unwrap();
    let first = memory.add_entity(first, &Scope::new()).await.unwrap().entities.remove(0);
    clock.advance(minutes(1)).unwrap();
    let change = FactChange {
        content: Some("lives in Lisbon".to_owned()),
        metadata: Some(Metadata::parse(r#"{"b":2}"#).unwrap()),
        importance: Some(0.9),
        ..FactChange::default()
    };
    let second = memory.update(&first.id.to_string(), change, &Scope::new()).await.unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!((second.content.as_str(), second.metadata.as_str()), ("lives in Lisbon", r#"{"a":1,"b":2}"#));
    clock.advance(minutes(1)).unwrap();
    // an update of nothing but metadata is a version as well
    let change = FactChange { metadata: Some(Metadata::parse(r#"{"c":3}"#).unwrap()), ..FactChange::default() };
    let third = memory.update(&second.id.to_string(), change, &Scope::new()).await.unwrap();
    let history = memory.history(&first.id.to_string(), &Scope::new()).await.unwrap();
    assert_eq!(history.iter().map(|version| version.id).collect::<Vec<_>>(), [first.id, second.id, third.id]);
    let closed = memory.get(&first.id.to_string(), &Scope::new()).await.unwrap().unwrap();
    assert_eq!(closed.valid_to, Some(second.valid_from));

    for (id, now_current) in [(third.id, second.id), (second.id, first.id)] {
        assert!(memory.forget(&id.to_string(), ForgetReach::Version, &Scope::new()).await.unwrap());
        let current = memory.list(&ListOptions::default(), &Scope::new()).await.unwrap();
        assert_eq!(current.iter().map(|version| version.id).collect::<Vec<_>>(), [now_current]);
        let found = memory.recall("Where does Ana live?").await.unwrap();
        assert_eq!(found.iter().map(|hit| hit.entity.id).collect::<Vec<_>>(), [now_current]);
    }
    assert!(!memory.forget(&second.id.to_string(), ForgetReach::Version, &Scope::new()).await.unwrap());
    assert!(memory.forget(&first.id.to_string(), ForgetReach::Chain, &Scope::new()).await.unwrap());
    assert!(everything(&memory).await.is_empty());
}

#[tokio::test]
async fn what_stood_between_two_versions_is_forgotten_and_they_follow_one_another() {
    let memory = memory().await;
    let mut ids = Vec::new();
    for (start, employer) in [(2019, "Acme"), (2021, "Globex"), (2024, "Initech")] {
        let said = fact("Tarek", Some("employer"), employer, Some(year(start)));
        ids.push(memory.add_entity(said, &Scope::new()).await.unwrap().entities[0].id.to_string());
    }
    assert!(memory.forget(&ids[1], ForgetReach::Version, &Scope::new()).await.unwrap());
    // No other relation is in the store, so that the new one is given the key of one that goes.
    let relations = memory.evolutions(&ids[0], &Scope::new()).await.unwrap();
    let ends: Vec<_> = relations.iter().map(|relation| (&relation.source_id, &relation.target_id)).collect();
    assert_eq!(ends, [(&ids[0], &ids[2])]);
}

#[tokio::test]
async fn updates_of_what_is_not_there_are_refused() {
    let memory = memory().await;
    let episode = memory.remember("said").await.unwrap().episode_ids[0].to_string();
    let refused = memory.update(&episode, FactChange::default(), &Scope::new()).await.unwrap_err();
    assert!(refused.is_invalid_input(), "{refused}");
    for id in ["", "no-such-id", "01890000-0000-7000-8000-000000000000"] {
        let refused = memory.update(id, FactChange::default(), &Scope::new()).await.unwrap_err();
        assert!(refused.is_not_found(), "{refused}");
        assert!(memory.history(id, &Scope::new()).await.unwrap().is_empty());
        assert!(memory.evolutions(id, &Scope::new()).await.unwrap().is_empty());
        assert!(memory.get(id, &Scope::new()).await.unwrap().is_none());
        assert!(!memory.forget(id, ForgetReach::Version, &Scope::new()).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_of_one_attribute_leave_one_current_version() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Memory::open(folder.path()).await.unwrap(), Memory::open(folder.path()).await.unwrap());
    let write = |memory: Memory, employer: &'static str| async move {
        for number in 0..20 {
            let content = format!("{employer} {number}");
            memory.add_entity(fact("Tarek", Some("employer"), &content, None), &user("u")).await.unwrap();
        }
    };
    tokio::join!(write(one.clone(), "Acme"), write(two.clone(), "Globex"));
    assert_eq!(one.list(&ListOptions::default(), &user("u")).await.unwrap().len(), 1);
    assert_eq!(one.count(&user("u")).await.unwrap(), 1);
    assert!(two.check().await.unwrap().problems.is_empty());
}

#[tokio::test]
async fn an_update_of_a_closed_version_changes_what_holds_now() {
    let (memory, clock) = memory_and_clock().await;
    let say = async |content: &str, at| {
        let said = fact("Ana", Some("home"), content, at);
        memory.add_entity(said, &Scope::new()).await.unwrap().entities.remove(0).id.to_string()
    };
    let first = say("lives in Porto", Some(year(2020))).await;
    say("lives in Lisbon", Some(year(2024))).await;
    let planned = say("lives in Madrid", Some(year(2030))).await;
    for id in [&first, &planned] {
        clock.advance(minutes(1)).unwrap();
        let change = FactChange { importance: Some(0.9), ..FactChange::default() };
        let newer = memory.update(id, change, &Scope::new()).await.unwrap();
        assert_eq!((newer.content.as_str(), newer.importance), ("lives in Lisbon", 0.9));
        assert_eq!(newer.valid_to, Some(year(2030)));
        let found = memory.recall("Where does Ana live?").await.unwrap();
        assert_eq!(found.iter().map(|hit| hit.entity.id).collect::<Vec<_>>(), [newer.id]);
    }
    let history = memory.history(&first, &Scope::new()).await.unwrap();
    assert_eq!(
        history.iter().map(|version| version.valid_from.to_string()[..4].to_owned()).collect::<Vec<_>>(),
        ["2020", "2024", "2026", "2026", "2030"]
    );
    assert!(memory.check().await.unwrap().problems.is_empty());
}
