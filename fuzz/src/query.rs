//! Queries: their analysis, and recall and context on a memory that is there.

use std::sync::LazyLock;

use umi_core::{Entity, EntityType, Kind, Memory, RecallOptions, Recalled, Scope, Timestamp, Uuid};

use crate::{
    engine::{accepted, run},
    fields::Fields,
};

const TEXTS: [&str; 12] = [
    "I moved from Paris to Rome in May.",
    "My sister Ana works at Acme & Co as a nurse.",
    "Do you remember what I told you about the boat?",
    "The password of the router is \"admin' OR 1=1 --\".",
    "We met on 2026-03-05 at 18:30 in the old harbour.",
    "NEAR(apples, pears) AND NOT title:bananas*",
    "Die Straße nach Köln war gesperrt; wir nahmen den Zug.",
    "昨日、東京で寿司を食べました。とても美味しかったです。",
    "Я живу в Москве уже десять лет.",
    "🦊🦊 the fox e\u{301}clair \u{202E}desrever\u{202C} zero\u{200B}width",
    "a_b-c.d/e:f snake_case camelCase HTTPServer2 don't x\u{0}y",
    "100% of 12,345.67 €",
];

static MEMORY: LazyLock<Memory> = LazyLock::new(|| run(prepared()).expect("the memory can be made"));

async fn prepared() -> umi_core::Result<Memory> {
    let memory = Memory::in_memory().await?;
    for user in ["alice", "bob"] {
        for (number, text) in TEXTS.iter().enumerate() {
            let session = format!("s{}", number / 4);
            memory.remember(format!("{text} ({user})")).user(user)?.session(&session)?.await?;
        }
        let scope = Scope::new().with_user(user)?;
        for (number, text) in TEXTS.iter().enumerate().step_by(3) {
            let mut fact = Entity::new(Uuid::nil(), Timestamp::UNIX_EPOCH, EntityType::Person, "Ana", text)?;
            fact.attribute = Some(format!("slot {}", number / 6));
            memory.add_entity(fact, &scope).await?;
        }
    }
    Ok(memory)
}

/// A choice of options and a query. What is found is the asking user's, in order, within the limit, and the same twice.
pub fn query(data: &[u8]) {
    let mut fields = Fields::new(data);
    let (choice, limit, score, text) = (fields.byte(), fields.byte(), fields.byte(), fields.text());
    let Some(options) = accepted(options(choice, limit, score)) else { return };
    let user = if choice & 1 == 0 { "alice" } else { "bob" };
    let scope = accepted(Scope::new().with_user(user)).expect("a good name");
    let recall = || accepted(run(MEMORY.recall_with(&text, &options, &scope)));
    let Some(found) = recall() else { return };
    assert_eq!(found.items, recall().expect("it was answered before").items);
    check(&found.items, &options, user);
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
    if choice & 0x80 != 0 {
        let context = run(MEMORY.context().query(&*text).scope(scope).options(options).into_future());
        accepted(context).expect("what can be recalled can be rendered");
    }
}

fn options(choice: u8, limit: u8, score: u8) -> umi_core::Result<RecallOptions> {
    let mut options = RecallOptions::default().with_limit(limit.into())?.with_min_score(f64::from(score) / 255.0)?;
    options = options.with_search(choice & 2 == 0, choice & 4 == 0)?.with_explain(choice & 8 != 0);
    if choice & 16 != 0 {
        options = options.with_include([Kind::Episode])?;
    }
    if choice & 32 != 0 {
        options = options.with_entity_types([EntityType::Person, EntityType::Note])?;
    }
    if choice & 64 != 0 {
        options = options.with_as_of(Timestamp::MAX).with_deep_search(Some(true));
    }
    Ok(options)
}

fn check(found: &[Recalled], options: &RecallOptions, user: &str) {
    assert!(found.len() <= options.limit().unwrap_or(usize::MAX));
    for item in found {
        assert_eq!(item.entity.user.as_deref(), Some(user));
        assert!((options.min_score()..=1.0).contains(&item.score), "score {}", item.score);
        assert!(item.signals.iter().all(|(_, value)| value.is_finite()), "{:?}", item.signals);
        assert!(options.include().contains(&item.kind));
    }
    let mut ids: Vec<Uuid> = found.iter().map(|item| item.entity.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), found.len(), "something was found twice");
}
