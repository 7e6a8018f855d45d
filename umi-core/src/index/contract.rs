//! What every index must do. Each test runs over every kind of index, in every state that it can be in: membership and
//! filters are the same, ranks need not be.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use uuid::Uuid;

#[cfg(feature = "lance")]
use super::lance::{LanceIndex, Settings};
use super::{Index, SearchQuery, ValidAt, analysis, ram::RamIndex, vector::Quantized};
#[cfg(feature = "lance")]
use crate::world::SeededIds;
use crate::{
    embed::{EmbeddingSpace, static_table::StaticTable},
    entity::{Entity, EntityType},
    episode::{Episode, Kind},
    ledger::{ForgetReach, Ledger, NewEpisode, NewFact, Piece, sqlite::SqliteLedger},
    metadata::Metadata,
    scope::Scope,
    world::ManualClock,
};

pub(super) const NO_LIMIT: usize = 1 << 40;

/// When an index is fed in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In memory.
    Ram,
    /// Never: everything is in the tail.
    #[cfg(feature = "lance")]
    Unfed,
    /// Before each question.
    #[cfg(feature = "lance")]
    Fed,
    /// After every second change: some is in the table, some in the tail, and some of the table is masked.
    #[cfg(feature = "lance")]
    Between,
    /// Before each question, which another opening asks.
    #[cfg(feature = "lance")]
    Reopened,
    /// Before each question, with every index of the table.
    #[cfg(feature = "lance")]
    Indexed,
}

#[cfg(feature = "lance")]
const STATES: [State; 6] = [State::Ram, State::Unfed, State::Fed, State::Between, State::Reopened, State::Indexed];
#[cfg(not(feature = "lance"))]
const STATES: [State; 1] = [State::Ram];

/// A ledger and an index over it.
#[cfg_attr(not(feature = "lance"), expect(dead_code, reason = "only an index beside the ledger is opened again"))]
pub(super) struct Store {
    pub(super) ledger: SqliteLedger,
    pub(super) clock: ManualClock,
    pub(super) folder: tempfile::TempDir,
    index: Box<dyn Index>,
    state: State,
    changes: usize,
    ids: u128,
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// The space of the bundled table.
pub(super) fn space() -> EmbeddingSpace {
    EmbeddingSpace::new("table", StaticTable::shared().embed(&[]).len(), "")
}

pub(super) fn piece(analysed: analysis::AnalysedPiece) -> Piece {
    let table = StaticTable::shared();
    let vector = table.embed(&table.tokens(&analysed.text_to_embed));
    Piece { ordinal: analysed.ordinal, lexical: analysed.lexical, vector: Some(Quantized::new(&vector).encode()) }
}

/// An episode that was said at a second.
pub(super) fn episode(id: u128, scope: &Scope, second: i64, text: &str) -> NewEpisode {
    let episode = Episode {
        id: Uuid::from_u128(id),
        text: text.to_owned(),
        role: "user".to_owned(),
        name: None,
        at: at(second),
        recorded_at: at(second),
        user: scope.user().map(str::to_owned),
        agent: scope.agent().map(str::to_owned),
        session: scope.session().map(str::to_owned),
        source: None,
        metadata: Metadata::default(),
        importance: 0.5,
    };
    let pieces = analysis::analyse_episode(None, episode.at, text).into_iter().map(piece).collect();
    NewEpisode { episode, pieces, key: None, wants_vectors: true, embed_job: None, extract_job: None, attachment: None }
}

pub(super) fn query(scope: &Scope, text: &str) -> SearchQuery {
    let table = StaticTable::shared();
    SearchQuery {
        scope: scope.clone(),
        text: text.to_owned(),
        vector: Some(table.embed(&table.tokens(&analysis::query_text(text)))),
        vector_trust: 1.0,
        use_text: true,
        kinds: BTreeSet::from([Kind::Fact, Kind::Episode]),
        entity_types: None,
        valid_at: ValidAt::Now(at(1_000_000)),
        time_range: None,
        limit: 20,
        min_score: 0.0,
        explain: false,
    }
}

pub(super) fn scope(user: &str, agent: &str, session: &str) -> Scope {
    let part = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    Scope::from_parts(part(user), part(agent), part(session)).unwrap()
}

impl Store {
    fn new(state: State) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(at(0));
        let index = index(folder.path(), &clock, state);
        let ledger = SqliteLedger::open(folder.path()).unwrap();
        Self { ledger, clock, folder, index, state, changes: 0, ids: 0 }
    }

    /// A change was written.
    #[cfg_attr(
        not(feature = "lance"),
        expect(clippy::unused_async, reason = "LanceDB, where it is built in, is fed here")
    )]
    async fn changed(&mut self) {
        self.changes += 1;
        #[cfg(feature = "lance")]
        if self.state == State::Between && self.changes.is_multiple_of(2) {
            self.index.feed(&self.ledger).await.unwrap();
        }
    }

    async fn say(&mut self, scope: &Scope, second: i64, text: &str) -> u128 {
        self.ids += 1;
        self.ledger.append(&space(), vec![episode(self.ids, scope, second, text)]).await.unwrap();
        self.changed().await;
        self.ids
    }

    async fn learn(&mut self, scope: &Scope, second: i64, attribute: Option<&str>, content: &str) -> u128 {
        self.ids += 1;
        let mut entity =
            Entity::new(Uuid::from_u128(self.ids), at(second), EntityType::Person, "Ana", content).unwrap();
        entity.attribute = attribute.map(str::to_owned);
        entity.user = scope.user().map(str::to_owned);
        entity.agent = scope.agent().map(str::to_owned);
        entity.session = scope.session().map(str::to_owned);
        let piece = piece(analysis::analyse_fact("Ana", attribute, content, at(second)));
        let recorded = self.ledger.record(&space(), vec![NewFact { entity, piece, embed_job: None }]).await.unwrap();
        self.changed().await;
        recorded[0].entity.id.as_u128()
    }

    async fn forget(&mut self, scope: &Scope, id: u128) {
        let scope = Scope::from_parts(scope.user().map(str::to_owned), None, None).unwrap();
        let id = Uuid::from_u128(id);
        assert!(self.ledger.forget(&scope, id, ForgetReach::Version, at(0)).await.unwrap());
        self.changed().await;
    }

    /// The ids that a question finds, in their order.
    async fn find(&mut self, query: &SearchQuery) -> Vec<u128> {
        #[cfg(feature = "lance")]
        if matches!(self.state, State::Fed | State::Reopened | State::Indexed) {
            self.index.feed(&self.ledger).await.unwrap();
        }
        #[cfg(feature = "lance")]
        if self.state == State::Reopened {
            self.index = index(self.folder.path(), &self.clock, self.state);
        }
        let mut found: Vec<u128> =
            self.index.search(&self.ledger, query).await.unwrap().iter().map(|hit| hit.id.as_u128()).collect();
        found.sort_unstable();
        found
    }

    async fn assert_sound(&mut self, users: &[&str]) {
        for user in users {
            let scope = scope(user, "", "");
            let problems = self.index.check(&self.ledger, &scope, Some(space().dimensions)).await.unwrap();
            assert_eq!(problems, Vec::<String>::new(), "{:?}", self.state);
        }
    }
}

fn index(folder: &std::path::Path, clock: &ManualClock, state: State) -> Box<dyn Index> {
    #[cfg(feature = "lance")]
    if state != State::Ram {
        let settings = Settings {
            exact_rows: 0,
            indexed_rows: if state == State::Indexed { 1 } else { Settings::default().indexed_rows },
            unindexed_rows: 4,
            fragments: 4,
            ..Settings::default()
        };
        let clock = Arc::new(clock.clone());
        return Box::new(LanceIndex::with(folder, NO_LIMIT, clock, &SeededIds::new(u64::from(state as u8)), settings));
    }
    let _ = (folder, Arc::new(clock.clone()), state);
    Box::new(RamIndex::new(NO_LIMIT))
}

fn over_all<F: Future<Output = ()>>(test: impl Fn(Store) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for state in STATES {
        runtime.block_on(test(Store::new(state)));
    }
}

#[test]
fn a_question_finds_what_its_tenant_said_and_nobody_elses() {
    over_all(async |mut store| {
        let (alice, bob, nobody) = (scope("alice", "", ""), scope("bob", "", ""), scope("", "", ""));
        let tea = store.say(&alice, 1, "I drink green tea every morning").await;
        let cat = store.say(&alice, 2, "My cat is called Felix").await;
        let coffee = store.say(&bob, 3, "I drink coffee every morning").await;
        let own = store.say(&nobody, 4, "Somebody drinks water every morning").await;
        let ask = |scope: &Scope| query(scope, "what to drink in the morning");
        for (scope, expected) in [(&alice, vec![tea, cat]), (&bob, vec![coffee]), (&nobody, vec![own])] {
            assert_eq!(store.find(&ask(scope)).await, expected, "{:?}", store.state);
        }
        assert_eq!(store.find(&ask(&scope("carol", "", ""))).await, [0; 0]);
        let best = SearchQuery { limit: 1, ..query(&alice, "the cat") };
        assert_eq!(store.find(&best).await, [cat], "{:?}", store.state);
        store.assert_sound(&["alice", "bob", ""]).await;
    });
}

#[test]
fn agents_and_sessions_narrow_by_any_origin() {
    over_all(async |mut store| {
        let tea = store.learn(&scope("u", "a", "s"), 1, None, "likes tea").await;
        assert_eq!(store.learn(&scope("u", "b", "t"), 2, None, "likes tea").await, tea, "one version");
        let note = store.say(&scope("u", "a", "t"), 3, "Ana had tea again").await;
        for (agent, session, expected) in [
            ("", "", vec![tea, note]),
            ("a", "", vec![tea, note]),
            ("b", "", vec![tea]),
            ("b", "t", vec![tea]),
            ("a", "t", vec![note]),
            ("b", "s", vec![]),
            ("", "x", vec![]),
        ] {
            let found = store.find(&query(&scope("u", agent, session), "tea")).await;
            assert_eq!(found, expected, "{:?} `{agent}` `{session}`", store.state);
        }
        store.assert_sound(&["u"]).await;
    });
}

#[test]
fn facts_hold_in_their_time_and_kinds_and_types_filter() {
    over_all(async |mut store| {
        let user = scope("u", "", "");
        let acme = store.learn(&user, 100, Some("employer"), "works at Acme").await;
        let globex = store.learn(&user, 200, Some("employer"), "works at Globex").await;
        let planned = store.learn(&user, 2_000_000, Some("employer"), "works at Initech").await;
        let note = store.say(&user, 200, "Ana works a lot").await;
        let ask = query(&user, "Where does Ana work?");
        for (question, expected) in [
            (ask.clone(), vec![globex, note]),
            (SearchQuery { valid_at: ValidAt::AsOf(at(150)), ..ask.clone() }, vec![acme]),
            (SearchQuery { valid_at: ValidAt::AsOf(at(2_000_001)), ..ask.clone() }, vec![planned, note]),
            (SearchQuery { valid_at: ValidAt::Until(at(150)), ..ask.clone() }, vec![acme, note]),
            (SearchQuery { valid_at: ValidAt::Any, ..ask.clone() }, vec![acme, globex, planned, note]),
            (SearchQuery { valid_at: ValidAt::Any, time_range: Some((at(100), at(110))), ..ask.clone() }, vec![acme]),
            (
                SearchQuery { valid_at: ValidAt::Any, time_range: Some((at(200), at(300))), ..ask.clone() },
                vec![globex, note],
            ),
            (SearchQuery { kinds: BTreeSet::from([Kind::Fact]), ..ask.clone() }, vec![globex]),
            (SearchQuery { kinds: BTreeSet::from([Kind::Episode]), ..ask.clone() }, vec![note]),
            (SearchQuery { entity_types: Some(BTreeSet::from([EntityType::Task])), ..ask.clone() }, vec![]),
            (SearchQuery { entity_types: Some(BTreeSet::from([EntityType::Note])), ..ask.clone() }, vec![note]),
            (SearchQuery { vector: None, ..ask.clone() }, vec![globex, note]),
            (SearchQuery { use_text: false, ..ask.clone() }, vec![globex, note]),
            (SearchQuery { vector: None, use_text: false, ..ask.clone() }, vec![]),
            (SearchQuery { min_score: 1.1, ..ask.clone() }, vec![]),
        ] {
            assert_eq!(store.find(&question).await, expected, "{:?} {:?}", store.state, question.valid_at);
        }
        store.assert_sound(&["u"]).await;
    });
}

#[test]
fn what_is_forgotten_or_replaced_is_found_no_more() {
    over_all(async |mut store| {
        let user = scope("u", "", "");
        let ask = query(&user, "Where does Ana work?");
        let acme = store.learn(&user, 100, Some("employer"), "works at Acme").await;
        let note = store.say(&user, 150, "Ana works a lot").await;
        assert_eq!(store.find(&ask).await, [acme, note], "{:?}", store.state);
        let globex = store.learn(&user, 200, Some("employer"), "works at Globex").await;
        assert_eq!(store.find(&ask).await, [note, globex], "{:?}", store.state);
        store.forget(&user, note).await;
        assert_eq!(store.find(&ask).await, [globex], "{:?}", store.state);
        store.forget(&user, globex).await;
        assert_eq!(store.find(&ask).await, [acme], "its predecessor holds again: {:?}", store.state);
        store.forget(&user, acme).await;
        assert_eq!(store.find(&ask).await, [0; 0], "{:?}", store.state);
        store.assert_sound(&["u"]).await;
    });
}

#[test]
fn a_long_text_is_found_by_a_piece_of_it_once() {
    over_all(async |mut store| {
        let user = scope("u", "", "s");
        let filler = "The weather was as it always is at this time of the year, and nobody spoke about it. ".repeat(12);
        let long = store.say(&user, 1, &format!("{filler} My locker is number seventeen. {filler}")).await;
        let short = store.say(&user, 2, "We had lunch").await;
        let found = store.find(&query(&user, "number of the locker")).await;
        assert_eq!(found, [long, short], "{:?}", store.state);
        store.assert_sound(&["u"]).await;
    });
}

#[test]
fn neighbours_in_a_session_lend_to_an_answer() {
    over_all(async |mut store| {
        let user = scope("u", "", "s");
        for second in 0..60 {
            store.say(&user, second * 10_000, &format!("Item {second} of the list is a stone of another colour")).await;
        }
        let asked = store.say(&user, 700_000, "When is the dentist's appointment?").await;
        let answer = store.say(&user, 700_010, "Tuesday, ten o'clock.").await;
        let question = SearchQuery { limit: 2, ..query(&user, "When is the appointment with the dentist?") };
        assert_eq!(store.find(&question).await, [asked, answer], "{:?}", store.state);
    });
}
