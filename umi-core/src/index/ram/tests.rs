mod evaluation;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    embed::static_table::StaticTable,
    entity::EntityType,
    episode::Kind,
    error::ErrorKind,
    index::{ValidAt, analysis::AnalysedPiece, vector::Quantized},
    ledger::{IndexRow, Piece},
};

const NO_LIMIT: usize = 1 << 40;

/// A feed over rows in memory.
#[derive(Default)]
pub(super) struct Rows {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    head: i64,
    /// By `seq`: the tenant, and a row or the id of one that went.
    changes: BTreeMap<i64, (Option<String>, Result<IndexRow, Uuid>)>,
    reads: usize,
    page: Option<usize>,
}

impl Rows {
    pub(super) fn put(&self, user: Option<&str>, mut row: IndexRow) {
        let mut state = self.state.lock();
        state.head += 1;
        row.seq = state.head;
        let (head, id) = (state.head, row.id);
        state.changes.retain(|_, (_, change)| change.as_ref().map_or_else(|gone| *gone, |row| row.id) != id);
        state.changes.insert(head, (user.map(str::to_owned), Ok(row)));
    }

    fn remove(&self, user: Option<&str>, id: Uuid) {
        let mut state = self.state.lock();
        state.head += 1;
        let head = state.head;
        state.changes.retain(|_, (_, change)| change.as_ref().map_or_else(|gone| *gone, |row| row.id) != id);
        state.changes.insert(head, (user.map(str::to_owned), Err(id)));
    }
}

#[async_trait]
impl Feed for Rows {
    fn head(&self) -> Result<i64> {
        Ok(self.state.lock().head)
    }

    async fn changes(&self, scope: &Scope, after: i64, limit: usize) -> Result<Changes> {
        let mut state = self.state.lock();
        state.reads += 1;
        let limit = state.page.unwrap_or(limit);
        let mut out = Changes { head: state.head, ..Changes::default() };
        for (seq, (user, change)) in state.changes.range(after + 1..) {
            if user.as_deref() != scope.user() {
                continue;
            }
            if out.rows.len() + out.removed.len() == limit {
                out.has_more = true;
                break;
            }
            match change {
                Ok(row) => out.rows.push(row.clone()),
                Err(id) => out.removed.push(*id),
            }
            if out.rows.len() + out.removed.len() == limit {
                out.head = *seq;
            }
        }
        if !out.has_more {
            out.head = state.head;
        }
        Ok(out)
    }
}

pub(super) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn piece(analysed: AnalysedPiece) -> Piece {
    let table = StaticTable::shared();
    let vector = table.embed(&table.tokens(&analysed.text_to_embed));
    Piece { ordinal: analysed.ordinal, lexical: analysed.lexical, vector: Some(Quantized::new(&vector).encode()) }
}

pub(super) fn episode(
    number: u128,
    name: Option<&str>,
    role: &str,
    at: Timestamp,
    session: Option<&str>,
    text: &str,
) -> IndexRow {
    IndexRow {
        id: Uuid::from_u128(number),
        kind: Kind::Episode,
        seq: 0,
        origins: vec![(None, session.map(str::to_owned))],
        role: role.to_owned(),
        name: name.map(str::to_owned),
        entity_type: EntityType::Note,
        from: at,
        to: None,
        importance: 0.5,
        pieces: analysis::analyse_episode(name, at, text).into_iter().map(piece).collect(),
    }
}

fn fact(number: u128, name: &str, content: &str, from: Timestamp, to: Option<Timestamp>) -> IndexRow {
    IndexRow {
        id: Uuid::from_u128(number),
        kind: Kind::Fact,
        seq: 0,
        origins: vec![(None, None)],
        role: String::new(),
        name: Some(name.to_owned()),
        entity_type: EntityType::Person,
        from,
        to,
        importance: 0.5,
        pieces: vec![piece(analysis::analyse_fact(name, None, content, from))],
    }
}

pub(super) fn query(user: Option<&str>, text: &str) -> SearchQuery {
    let table = StaticTable::shared();
    let vector = table.embed(&table.tokens(&analysis::query_text(text)));
    SearchQuery {
        scope: Scope::from_parts(user.map(str::to_owned), None, None).unwrap(),
        text: text.to_owned(),
        vector: Some(vector),
        vector_trust: 1.0,
        use_text: true,
        kinds: BTreeSet::from([Kind::Fact, Kind::Episode]),
        entity_types: None,
        valid_at: ValidAt::Now(time("2025-01-01T00:00:00Z")),
        time_range: None,
        limit: 10,
        min_score: 0.0,
        explain: true,
    }
}

fn ids(hits: &[Hit]) -> Vec<u128> {
    hits.iter().map(|hit| hit.id.as_u128()).collect()
}

fn small_talk() -> Rows {
    let rows = Rows::default();
    let at = |minute: i64| time("2024-03-05T09:00:00Z") + jiff::SignedDuration::from_mins(minute);
    let talk = [
        ("Ana", "user", "How do I start tomatoes in a greenhouse?"),
        ("Umi", "assistant", "Sow them in March and keep them warm."),
        ("Ana", "user", "I bought twelve tomato seedlings last week."),
        ("Umi", "assistant", "Nice! Which variety did you choose?"),
        ("Ana", "user", "Roma, because my sister likes sauce."),
        ("Ana", "user", "東京タワーに行きました。"),
        ("Ana", "user", "Сегодня мы гуляли в парке с собакой."),
    ];
    for ((number, (name, role, text)), minute) in (1..).zip(talk).zip(0..) {
        rows.put(Some("ana"), episode(number, Some(name), role, at(minute), Some("s1"), text));
    }
    rows.put(Some("bob"), episode(100, None, "user", at(0), None, "Bob's tomato secret"));
    rows.put(None, episode(200, None, "user", at(0), None, "nobody's tomato"));
    rows
}

#[tokio::test]
async fn a_question_finds_its_turn_and_only_its_tenants() {
    let (rows, index) = (small_talk(), RamIndex::new(NO_LIMIT));
    let hits = index.search_feed(&rows, &query(Some("ana"), "tomato seedlings")).await.unwrap();
    assert_eq!((hits.len(), hits[0].id.as_u128()), (7, 3));
    assert!(hits.iter().all(|hit| (0.0..=1.0).contains(&hit.score)));
    assert!(hits[0].score > 0.3);
    let hits = index.search_feed(&rows, &query(None, "tomato")).await.unwrap();
    assert_eq!(ids(&hits), [200]);
    for (question, expected) in [("東京タワー", 6), ("в парке", 7)] {
        assert_eq!(index.search_feed(&rows, &query(Some("ana"), question)).await.unwrap()[0].id.as_u128(), expected);
    }
    assert!(index.search_feed(&rows, &query(Some("eve"), "tomato")).await.unwrap().is_empty());
}

#[tokio::test]
async fn signals_are_told_and_sum_to_the_rank() {
    let (rows, index) = (small_talk(), RamIndex::new(NO_LIMIT));
    let mut question = query(Some("ana"), "When did Ana buy the tomato seedlings?");
    let hits = index.search_feed(&rows, &question).await.unwrap();
    let signals: BTreeMap<_, _> = hits[0].signals.iter().copied().collect();
    let fused = 0.45 * signals["lexical"] + 0.55 * signals["vector"] + 0.8 * signals["token"];
    let rest: f64 =
        ["spread", "session", "role", "speaker", "importance", "wording"].map(|name| signals[name]).iter().sum();
    assert!((fused + rest - signals["rank"]).abs() < 1e-4, "{signals:?}");
    assert!((signals["role"] - 0.2).abs() < 1e-6 && (signals["speaker"] - 0.1).abs() < 1e-6, "{signals:?}");
    question.explain = false;
    let hits = index.search_feed(&rows, &question).await.unwrap();
    assert_eq!(
        hits[0].signals.iter().map(|signal| signal.0).collect::<Vec<_>>(),
        ["lexical", "vector", "token", "rank"]
    );
}

#[tokio::test]
async fn the_index_follows_changes_and_deletions() {
    let (rows, index) = (small_talk(), RamIndex::new(NO_LIMIT));
    let question = query(Some("ana"), "tomato seedlings");
    assert_eq!(index.search_feed(&rows, &question).await.unwrap()[0].id.as_u128(), 3);
    rows.remove(Some("ana"), Uuid::from_u128(3));
    let hits = index.search_feed(&rows, &question).await.unwrap();
    assert!(hits.len() == 6 && !ids(&hits).contains(&3));
    rows.put(
        Some("ana"),
        episode(8, None, "user", time("2024-03-01T00:00:00Z"), None, "tomato seedlings were sold out"),
    );
    assert_eq!(index.search_feed(&rows, &question).await.unwrap()[0].id.as_u128(), 8);
    rows.put(Some("ana"), episode(8, None, "user", time("2024-03-01T00:00:00Z"), None, "nothing of the kind"));
    let hits = index.search_feed(&rows, &question).await.unwrap();
    assert_eq!(ids(&hits).iter().filter(|&&id| id == 8).count(), 1);
    assert_ne!(hits[0].id.as_u128(), 8);
    let stats = index.stats();
    assert_eq!((stats.users_loaded, stats.rows_loaded, stats.scans, stats.evictions), (1, 7, 0, 0));
    assert_eq!(stats.watermark, Some(rows.head().unwrap()));
    assert!(stats.bytes > 0);
    index.clear();
    assert_eq!(index.stats().rows_loaded, 0);
    let again = index.search_feed(&rows, &question).await.unwrap();
    assert_eq!(ids(&again), ids(&hits));
}

#[tokio::test]
async fn facts_hold_in_their_time() {
    let (rows, index) = (Rows::default(), RamIndex::new(NO_LIMIT));
    let [early, middle, late] = ["2024-01-01T00:00:00Z", "2024-06-01T00:00:00Z", "2026-01-01T00:00:00Z"].map(time);
    rows.put(None, fact(1, "Ana", "works at Acme", early, Some(middle)));
    rows.put(None, fact(2, "Ana", "works at Globex", middle, Some(late)));
    rows.put(None, fact(3, "Ana", "works at Initech", late, None));
    rows.put(None, episode(4, None, "user", middle, None, "Ana works a lot"));
    let mut question = query(None, "Where does Ana work?");
    let mut found = async |change: &dyn Fn(&mut SearchQuery)| {
        change(&mut question);
        let mut found = ids(&index.search_feed(&rows, &question).await.unwrap());
        found.sort_unstable();
        found
    };
    assert_eq!(found(&|_| {}).await, [2, 4]);
    assert_eq!(found(&|query| query.valid_at = ValidAt::AsOf(early)).await, [1]);
    assert_eq!(found(&|query| query.valid_at = ValidAt::AsOf(late)).await, [3, 4]);
    assert_eq!(found(&|query| query.valid_at = ValidAt::Until(middle)).await, [1, 2, 4]);
    assert_eq!(found(&|query| query.valid_at = ValidAt::Until(early)).await, [1, 4], "every episode");
    assert_eq!(found(&|query| query.valid_at = ValidAt::Any).await, [1, 2, 3, 4]);
    assert_eq!(found(&|query| query.time_range = Some((early, early))).await, [1]);
    assert_eq!(found(&|query| query.time_range = Some((middle, middle))).await, [2, 4]);
    assert_eq!(found(&|query| query.kinds = BTreeSet::from([Kind::Fact])).await, [2]);
    assert_eq!(found(&|query| query.entity_types = Some(BTreeSet::from([EntityType::Task]))).await, [0; 0]);
}

#[tokio::test]
async fn scopes_narrow_by_any_origin() {
    let (rows, index) = (Rows::default(), RamIndex::new(NO_LIMIT));
    let mut shared = fact(1, "Ana", "likes tea", time("2024-01-01T00:00:00Z"), None);
    shared.origins = vec![(Some("a".into()), None), (Some("b".into()), Some("s".into()))];
    rows.put(Some("u"), shared);
    let mut other = fact(2, "Ana", "likes tea too", time("2024-01-01T00:00:00Z"), None);
    other.origins = vec![(Some("a".into()), Some("t".into()))];
    rows.put(Some("u"), other);
    for (agent, session, expected) in [
        (None, None, vec![1, 2]),
        (Some("a"), None, vec![1, 2]),
        (Some("b"), None, vec![1]),
        (Some("a"), Some("s"), vec![]),
        (Some("b"), Some("s"), vec![1]),
        (None, Some("t"), vec![2]),
        (None, Some("x"), vec![]),
    ] {
        let mut question = query(Some("u"), "tea");
        question.scope =
            Scope::from_parts(Some("u".into()), agent.map(str::to_owned), session.map(str::to_owned)).unwrap();
        let mut found = ids(&index.search_feed(&rows, &question).await.unwrap());
        found.sort_unstable();
        assert_eq!(found, expected, "{agent:?} {session:?}");
    }
}

#[tokio::test]
async fn each_signal_carries_alone() {
    let (rows, index) = (small_talk(), RamIndex::new(NO_LIMIT));
    let mut words = query(Some("ana"), "tomato seedlings");
    words.vector = None;
    let hits = index.search_feed(&rows, &words).await.unwrap();
    assert_eq!(hits[0].id.as_u128(), 3);
    assert!(hits[0].score > 0.5);
    let mut vector = query(Some("ana"), "tomato seedlings");
    vector.use_text = false;
    assert_eq!(index.search_feed(&rows, &vector).await.unwrap()[0].id.as_u128(), 3);
    vector.vector = None;
    assert!(index.search_feed(&rows, &vector).await.unwrap().is_empty());
    let mut other_space = query(Some("ana"), "tomato seedlings");
    other_space.vector = Some(vec![1.0; 3]);
    assert_eq!(index.search_feed(&rows, &other_space).await.unwrap()[0].id.as_u128(), 3);
}

#[tokio::test]
async fn the_least_score_filters_behind_the_ranking() {
    let (rows, index) = (small_talk(), RamIndex::new(NO_LIMIT));
    let mut question = query(Some("ana"), "tomato seedlings");
    let all = index.search_feed(&rows, &question).await.unwrap();
    question.min_score = 0.25;
    question.limit = 3;
    let hits = index.search_feed(&rows, &question).await.unwrap();
    let expected: Vec<u128> = all.iter().filter(|hit| hit.score >= 0.25).map(|hit| hit.id.as_u128()).take(3).collect();
    assert_eq!(ids(&hits), expected);
    assert!(!expected.is_empty() && expected.len() < 3);
}

#[tokio::test]
async fn a_tenant_over_the_bound_is_scanned_with_the_same_result() {
    let rows = small_talk();
    let long = "Step one: prepare the bed with fresh compost and water it well before you go on. ".repeat(12);
    rows.put(
        Some("ana"),
        episode(
            9,
            Some("Umi"),
            "assistant",
            time("2024-03-05T09:30:00Z"),
            Some("s1"),
            &format!("{long} Tomatoes go outside in late May."),
        ),
    );
    rows.put(Some("ana"), fact(10, "Ana", "grows tomatoes", time("2024-03-05T09:30:00Z"), None));
    rows.remove(Some("ana"), Uuid::from_u128(1));
    rows.state.lock().page = Some(3);
    let (loaded, scanned) = (RamIndex::new(NO_LIMIT), RamIndex::new(1_000));
    for text in ["When did Ana buy tomato seedlings?", "東京", "when do tomatoes go outside", "sister"] {
        let mut question = query(Some("ana"), text);
        for (use_text, has_vector) in [(true, true), (true, false), (false, true)] {
            question.use_text = use_text;
            question.vector =
                question.vector.filter(|_| has_vector).or(query(None, text).vector.filter(|_| has_vector));
            let one = loaded.search_feed(&rows, &question).await.unwrap();
            let other = scanned.search_feed(&rows, &question).await.unwrap();
            assert_eq!(ids(&one), ids(&other), "{text}");
            for (one, other) in one.iter().zip(&other) {
                assert!((one.score - other.score).abs() < 1e-6);
                for (one, other) in one.signals.iter().zip(&other.signals) {
                    assert!(one.0 == other.0 && (one.1 - other.1).abs() < 1e-4, "{text}: {one:?} {other:?}");
                }
            }
        }
    }
    assert_eq!((loaded.stats().scans, scanned.stats().scans), (0, 12));
    assert_eq!(scanned.stats().rows_loaded, 0);
}

#[tokio::test]
async fn tenants_not_used_for_longest_make_room() {
    let rows = Rows::default();
    for (user, number) in ["a", "b", "c"].into_iter().zip(1..) {
        for row in 0..20 {
            let text = format!("{user} said {row} things about tea");
            rows.put(Some(user), episode(number * 100 + row, None, "user", time("2024-03-05T09:00:00Z"), None, &text));
        }
    }
    let probe = RamIndex::new(NO_LIMIT);
    probe.search_feed(&rows, &query(Some("a"), "tea")).await.unwrap();
    let index = RamIndex::new(probe.tenants.lock().bytes() * 5 / 2);
    for user in ["a", "b", "a", "c"] {
        assert_eq!(index.search_feed(&rows, &query(Some(user), "tea")).await.unwrap().len(), 10);
    }
    let stats = index.stats();
    assert_eq!((stats.users_loaded, stats.evictions, stats.scans), (2, 1, 0));
    assert!(stats.bytes <= stats.bytes_limit);
    let loaded = index.tenants.lock().users();
    assert_eq!(loaded, [Some("a".to_owned()), Some("c".to_owned())]);
}

#[tokio::test]
async fn two_first_uses_at_once_load_each_row_once() {
    let (rows, index) = (small_talk(), RamIndex::new(NO_LIMIT));
    rows.state.lock().page = Some(2);
    let question = query(Some("ana"), "tomato");
    let all = futures::future::join_all((0..8).map(|_| index.search_feed(&rows, &question))).await;
    for hits in all {
        assert_eq!(hits.unwrap().len(), 7);
    }
    assert_eq!((index.stats().rows_loaded, rows.state.lock().reads), (7, 4));
}

#[tokio::test]
async fn no_more_searches_compute_at_once_than_there_are_cores() {
    let index = RamIndex::new(NO_LIMIT);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let searches = (0..64).map(|_| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        index.compute(move |_| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            (0..1_000).for_each(|_| std::thread::yield_now());
            running.fetch_sub(1, Ordering::SeqCst);
        })
    });
    futures::future::try_join_all(searches).await.unwrap();
    assert!((1..=available_parallelism().unwrap().get()).contains(&most.load(Ordering::SeqCst)), "{most:?}");
}

#[tokio::test]
async fn damaged_rows_are_told_and_leave_nothing_behind() {
    let (rows, index) = (small_talk(), RamIndex::new(NO_LIMIT));
    let question = query(Some("ana"), "tomato");
    index.search_feed(&rows, &question).await.unwrap();
    let mut damaged = episode(50, None, "user", time("2024-03-05T09:00:00Z"), None, "tomato");
    damaged.pieces[0].lexical.truncate(5);
    rows.put(Some("ana"), damaged);
    let error = index.search_feed(&rows, &question).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CorruptStore);
    rows.remove(Some("ana"), Uuid::from_u128(50));
    assert_eq!(index.search_feed(&rows, &question).await.unwrap().len(), 7);
}

#[tokio::test]
async fn vectors_of_another_space_replace_all_of_the_old_one() {
    let (rows, index) = (small_talk(), RamIndex::new(NO_LIMIT));
    let mut question = query(Some("ana"), "tomato seedlings");
    index.search_feed(&rows, &question).await.unwrap();
    let old: Vec<IndexRow> = rows
        .state
        .lock()
        .changes
        .values()
        .filter_map(|(user, row)| row.clone().ok().filter(|_| user.as_deref() == Some("ana")))
        .collect();
    for mut row in old {
        for piece in &mut row.pieces {
            piece.vector = Some(Quantized::new(&[1.0, row.id.as_u128() as f32]).encode());
        }
        rows.put(Some("ana"), row);
    }
    question.vector = Some(vec![1.0, 0.0]);
    question.use_text = false;
    let hits = index.search_feed(&rows, &question).await.unwrap();
    assert_eq!(hits.len(), 7);
    let best = hits.iter().max_by(|one, other| one.score.total_cmp(&other.score)).unwrap();
    assert_eq!(best.id.as_u128(), 1);
}

/// Long enough for pieces.
const LONG: &str = include_str!("tests/long.txt");

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8, u8),
    Remove(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let put = (0..12_u8, 0..6_u8, 0..90_u8).prop_map(|(id, text, minute)| Step::Put(id, text, minute));
    proptest::collection::vec(prop_oneof![3 => put, 1 => (0..12_u8).prop_map(Step::Remove)], 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn following_equals_loading_anew(steps in steps(), every in 1..6_usize) {
        let texts = ["tea at noon", "coffee with Ana?", "the tea house", "we went home", "tea tea tea", LONG];
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (rows, followed) = (Rows::default(), RamIndex::new(NO_LIMIT));
        let question = query(None, "who had tea");
        for (number, step) in steps.iter().enumerate() {
            match *step {
                Step::Put(id, text, minute) => {
                    let at = time("2024-03-05T09:00:00Z") + jiff::SignedDuration::from_mins(minute.into());
                    rows.put(None, episode(id.into(), None, "user", at, Some("s"), texts[usize::from(text)]));
                }
                Step::Remove(id) => rows.remove(None, Uuid::from_u128(id.into())),
            }
            if number % every == 0 {
                runtime.block_on(followed.search_feed(&rows, &question)).unwrap();
            }
        }
        let one = runtime.block_on(followed.search_feed(&rows, &question)).unwrap();
        let other = runtime.block_on(RamIndex::new(NO_LIMIT).search_feed(&rows, &question)).unwrap();
        prop_assert_eq!(one.len(), other.len());
        for (one, other) in one.iter().zip(&other) {
            prop_assert!(one.id == other.id, "{:?} {:?}", one, other);
            prop_assert!((one.score - other.score).abs() < 1e-6);
        }
    }
}
