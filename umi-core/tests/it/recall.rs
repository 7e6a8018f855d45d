//! What was said is found, in every script, within its scope and time.

use umi_core::{EntityType, ErrorKind, Kind, Memory, RecallOptions, Scope};

use crate::support::{fact, memory, memory_and_clock, minutes, time, user, year};

async fn contents(memory: &Memory, query: &str, options: RecallOptions) -> Vec<String> {
    let found = memory.recall(query).options(options).await.unwrap();
    found.into_iter().map(|hit| hit.entity.content).collect()
}

#[tokio::test]
async fn every_language_finds_its_text() {
    let memory = memory().await;
    let texts = [
        ("The kiln arrives on Monday.", "When does the kiln arrive?"),
        ("Meine Großmutter wohnt in Köln.", "Großmutter Köln"),
        ("我昨天在上海买了一辆自行车。", "自行车"),
        ("東京タワーに登りました。", "東京タワー"),
        ("ฉันชอบกินข้าวเหนียวมะม่วง", "ข้าวเหนียว"),
        ("Моя сестра работает врачом.", "сестра врачом"),
        ("أخي يعيش في القاهرة", "القاهرة"),
        ("제 고양이 이름은 나비입니다.", "고양이"),
    ];
    for (text, _) in texts {
        memory.remember(text).await.unwrap();
    }
    for (text, query) in texts {
        for options in [RecallOptions::default(), RecallOptions::default().with_search(false, true).unwrap()] {
            let found = contents(&memory, query, options).await;
            assert_eq!(found.first().map(String::as_str), Some(text), "{query}");
        }
    }
}

#[tokio::test]
async fn limits_and_empty_questions() {
    let memory = memory().await;
    for number in 0..20 {
        memory.remember(format!("note {number} about tea")).await.unwrap();
    }
    assert!(memory.recall("").await.unwrap().is_empty());
    assert!(memory.recall("  \n").await.unwrap().is_empty());
    assert_eq!(memory.recall("tea").await.unwrap().len(), 10);
    assert_eq!(memory.recall("tea").limit(3).unwrap().await.unwrap().len(), 3);
    assert_eq!(memory.recall("tea").limit(0).unwrap_err().kind(), ErrorKind::InvalidLimit);
    assert_eq!(memory.recall("tea").limit(1_001).unwrap_err().kind(), ErrorKind::InvalidLimit);
    assert_eq!(memory.recall("x".repeat(100_001)).await.unwrap_err().kind(), ErrorKind::TextTooLong);
    let deep = RecallOptions::default().with_deep_search(Some(true));
    assert!(memory.recall("tea").options(deep).await.unwrap_err().is_invalid_input());
}

#[tokio::test]
async fn a_recall_follows_what_was_written_and_forgotten_since_the_last() {
    let memory = memory().await;
    let kept = memory.remember("The spare key is under the blue pot.").await.unwrap();
    assert_eq!(memory.recall("spare key").await.unwrap().len(), 1);
    let second = memory.remember("The spare key moved to the red pot.").await.unwrap();
    assert_eq!(memory.recall("spare key").await.unwrap().len(), 2);
    memory.forget(&second.episode_ids[0].to_string(), umi_core::ForgetReach::Version, &Scope::new()).await.unwrap();
    let found = memory.recall("spare key").await.unwrap();
    assert_eq!(found.iter().map(|hit| hit.entity.id).collect::<Vec<_>>(), kept.episode_ids);
}

#[tokio::test]
async fn facts_are_read_as_of_a_time() {
    let (memory, _clock) = memory_and_clock().await;
    for (start, employer) in [(2019, "Acme"), (2021, "Globex"), (2024, "Initech"), (2030, "Hooli")] {
        let content = format!("works at {employer}");
        memory.add_entity(fact("Tarek", Some("employer"), &content, Some(year(start))), &Scope::new()).await.unwrap();
    }
    let query = "Where does Tarek work?";
    // 2030 lies ahead: the version waits, and its predecessor is still read
    assert_eq!(contents(&memory, query, RecallOptions::default()).await, ["works at Initech"]);
    let as_of = |year_number| RecallOptions::default().with_as_of(year(year_number));
    assert_eq!(contents(&memory, query, as_of(2020)).await, ["works at Acme"]);
    assert_eq!(contents(&memory, query, as_of(2031)).await, ["works at Hooli"]);
    assert!(contents(&memory, query, as_of(2018)).await.is_empty());
    let range = RecallOptions::default().with_time_range(year(2020), year(2022)).unwrap();
    let mut found = contents(&memory, query, range).await;
    found.sort();
    assert_eq!(found, ["works at Acme", "works at Globex"]);
}

#[tokio::test]
async fn filters_choose_kinds_types_times_and_scores() {
    let (memory, clock) = memory_and_clock().await;
    memory.remember("Tarek said the shelves are oak.").at(year(2020)).await.unwrap();
    clock.advance(minutes(5)).unwrap();
    memory.remember("Tarek said the table is pine.").await.unwrap();
    memory.add_entity(fact("Tarek", None, "builds shelves", None), &Scope::new()).await.unwrap();
    let only = |options: RecallOptions| contents(&memory, "Tarek shelves", options);
    let facts = RecallOptions::default().with_include([Kind::Fact]).unwrap();
    assert_eq!(only(facts).await, ["builds shelves"]);
    let people = RecallOptions::default().with_entity_types([EntityType::Person]).unwrap();
    assert_eq!(only(people).await, ["builds shelves"]);
    let early = RecallOptions::default().with_time_range(year(2019), year(2021)).unwrap();
    assert_eq!(only(early).await, ["Tarek said the shelves are oak."]);
    let then = RecallOptions::default().with_as_of(time("2026-01-01T00:01:00Z"));
    assert_eq!(only(then).await, ["Tarek said the shelves are oak."]);
    let strict = RecallOptions::default().with_min_score(0.999).unwrap();
    assert!(contents(&memory, "quantum chromodynamics", strict).await.is_empty());
}

#[tokio::test]
async fn scores_are_absolute_and_explained() {
    let memory = memory().await;
    memory.remember("My sister Ana moved to Lisbon in spring.").user("alice").unwrap().await.unwrap();
    memory.remember("The printer needs new toner.").user("alice").unwrap().await.unwrap();
    let options = RecallOptions::default().with_explain(true);
    let found = memory.recall_with("Where did Ana move?", &options, &user("alice")).await.unwrap();
    assert!(found[0].entity.content.contains("Lisbon"));
    assert!(found.iter().all(|hit| (0.0..=1.0).contains(&hit.score)));
    assert!(found[0].score > 2.0 * found.last().unwrap().score, "{found:?}");
    for signal in ["lexical", "vector", "token"] {
        assert!(found[0].signals.iter().any(|(name, _)| *name == signal), "{:?}", found[0].signals);
    }
}

#[tokio::test]
async fn a_long_message_is_found_by_a_detail_in_its_middle() {
    let memory = memory().await;
    let filler = "The committee talked about budgets and plans for the coming year at some length. ".repeat(60);
    memory.remember(format!("{filler} The vault code is heliotrope. {filler}")).await.unwrap();
    for number in 0..30 {
        memory.remember(format!("Meeting {number}: budgets, plans and the coming year.")).await.unwrap();
    }
    let found = memory.recall("What is the vault code?").await.unwrap();
    assert!(found[0].entity.content.contains("heliotrope"));
}

#[tokio::test]
async fn a_score_means_the_same_in_scripts_that_the_table_cannot_read() {
    let memory = memory().await;
    for text in [
        "أخي يعيش في القاهرة ويعمل طبيبا",
        "我昨天在上海买了一辆自行车。",
        "東京タワーに登りました。",
        "My bicycle is in the shed.",
    ] {
        memory.remember(text).await.unwrap();
    }
    let best = async |query: &str| memory.recall(query).await.unwrap().iter().map(|hit| hit.score).fold(0.0, f64::max);
    for (answerable, noise) in
        [("أين يعيش أخي؟", "كم عدد سكان الصين؟"), ("自行车在哪里买的", "量子力学是什么"), ("東京タワー", "車の修理")]
    {
        let (own, other) = (best(answerable).await, best(noise).await);
        assert!(own >= 0.25 && other < 0.25, "{answerable} {own:.2}, {noise} {other:.2}");
    }
}
