//! What was said is kept, verbatim and once.

use umi_core::{Entity, ErrorKind, Metadata, RememberOptions, RememberRequest, Scope, Turn};

use crate::support::{fact, memory, memory_and_clock, minutes, user};

fn all() -> Scope {
    Scope::new()
}

#[tokio::test]
async fn a_text_is_kept_verbatim_with_who_said_it_and_when() {
    let (memory, clock) = memory_and_clock().await;
    let text = "  Ünïcode & <tags>\u{0}\n\tkept \u{1F600} ";
    let mut turn = Turn::new(text);
    turn.role = Some("assistant".to_owned());
    turn.name = Some("Juno".to_owned());
    turn.metadata = Metadata::parse(r#"{"z":1,"a":[12345678901234567890123]}"#).unwrap();
    turn.source = Some("chat://7".to_owned());
    let scope = user("alice").with_agent("juno").unwrap().with_session("s").unwrap();
    let result = memory.remember_request(RememberRequest::from(turn).with_scope(scope)).await.unwrap();
    assert_eq!(result.entity_count(), 1);
    assert_eq!(result.entities[0].content, text);
    clock.advance(minutes(1)).unwrap();
    let episodes = memory.episodes(10, 0, &user("alice")).await.unwrap();
    assert_eq!(episodes.len(), 1);
    let episode = &episodes[0];
    assert_eq!((episode.id, episode.text.as_str()), (result.episode_ids[0], text));
    assert_eq!((episode.role.as_str(), episode.name.as_deref()), ("assistant", Some("Juno")));
    assert_eq!((episode.agent.as_deref(), episode.session.as_deref()), (Some("juno"), Some("s")));
    assert_eq!(episode.metadata.as_str(), r#"{"z":1,"a":[12345678901234567890123]}"#);
    assert_eq!(episode.at, umi_core::Clock::now(&clock) - minutes(1));
    let note = memory.get(&episode.id.to_string(), &user("alice")).await.unwrap().unwrap();
    assert_eq!(note, episode.to_note());
}

#[tokio::test]
async fn a_key_makes_a_repeated_call_idempotent() {
    let memory = memory().await;
    let conversation = || RememberRequest::conversation(vec![Turn::new("one"), Turn::new("two")]).with_key("k");
    let first = memory.remember_request(conversation()).await.unwrap();
    let second = memory.remember_request(conversation()).await.unwrap();
    assert_eq!(first.episode_ids, second.episode_ids);
    assert_eq!(memory.count(&all()).await.unwrap(), 2);
    let other = memory.remember("three").key("single").await.unwrap();
    let refused = memory.remember("four").key("single").await.unwrap_err();
    assert!(refused.is_invalid_input(), "{refused}");
    assert_eq!(memory.count(&all()).await.unwrap(), 3);
    // forgetting frees the key, and another tenant's key is another key
    memory.forget(&other.episode_ids[0].to_string(), umi_core::ForgetReach::Version, &all()).await.unwrap();
    memory.remember("four").key("single").await.unwrap();
    memory.remember("five").key("single").user("bob").unwrap().await.unwrap();
}

#[tokio::test]
async fn bad_input_is_refused_and_nothing_is_written() {
    let memory = memory().await;
    let refused = |request: RememberRequest| {
        let memory = memory.clone();
        async move { memory.remember_request(request).await.unwrap_err().kind() }
    };
    assert_eq!(refused("".into()).await, ErrorKind::EmptyText);
    assert_eq!(refused(" \n\t\u{2003}".into()).await, ErrorKind::EmptyText);
    assert_eq!(refused("x".repeat(100_001).into()).await, ErrorKind::TextTooLong);
    assert_eq!(refused(RememberRequest::conversation(Vec::new())).await, ErrorKind::EmptyText);
    let half_bad = RememberRequest::conversation(vec![Turn::new("good"), Turn::new(" ")]);
    assert_eq!(refused(half_bad).await, ErrorKind::EmptyText);
    assert_eq!(refused(RememberRequest::from("x").with_key("k".repeat(300))).await, ErrorKind::InvalidInput);
    let batch = vec![RememberRequest::from("good"), RememberRequest::from("")];
    assert_eq!(memory.remember_batch(batch).await.unwrap_err().kind(), ErrorKind::EmptyText);
    assert!(RememberOptions::default().with_importance(f64::NAN).unwrap_err().is_invalid_input());
    let mut nameless: Entity = fact("x", None, "y", None);
    nameless.name = "n".repeat(257);
    assert!(memory.add_entity(nameless, &all()).await.unwrap_err().is_invalid_input());
    assert_eq!(memory.count(&all()).await.unwrap(), 0);
    assert_eq!(memory.stats().await.unwrap().ledger.episodes, 0);
}

#[tokio::test]
async fn many_items_are_remembered_in_order_and_a_bad_batch_stops_them() {
    let memory = memory().await;
    let mut reported = Vec::new();
    let items = (0..600).map(|number| RememberRequest::from(format!("item {number}")));
    let results = memory.remember_many(items, |done| reported.push(done)).await.unwrap();
    assert_eq!((results.len(), reported), (600, vec![256, 512, 600]));
    let last = memory.episodes(1, 599, &all()).await.unwrap();
    assert_eq!(last[0].text, "item 599");
    let items = (0..300).map(|number| RememberRequest::from(if number == 299 { "" } else { "fine" }));
    memory.remember_many(items, |_| ()).await.unwrap_err();
    assert_eq!(memory.count(&all()).await.unwrap(), 600 + 256);
}
