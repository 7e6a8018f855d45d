//! What is the table's own: the tail and its mask, fencing, indexes, rebuilding, purging.

use std::{path::PathBuf, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::oneshot, task::JoinHandle};

use super::*;
use crate::{
    embed::EmbeddingSpace,
    entity::{Entity, EntityType},
    episode::Kind,
    index::contract::{NO_LIMIT, at, episode, piece, query, scope, space},
    ledger::{ForgetReach, JobLease, NewFact, Owner, OwnerVectors, sqlite::SqliteLedger},
    world::{ManualClock, SeededIds},
};

/// Stops a feeder between its question for the right and its commit.
#[derive(Debug, Default)]
pub(super) struct Hook {
    stop: Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>,
}

impl Hook {
    pub(super) async fn before_commit(&self) {
        let stop = self.stop.lock().take();
        if let Some((reached, go_on)) = stop {
            reached.send(()).unwrap();
            drop(go_on.await);
        }
    }
}

struct Store {
    ledger: Arc<SqliteLedger>,
    clock: ManualClock,
    folder: tempfile::TempDir,
}

impl Store {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Arc::new(SqliteLedger::open(folder.path()).unwrap());
        Self { ledger, clock: ManualClock::new(at(0)), folder }
    }

    /// An index as another process would have it.
    fn index(&self, seed: u64, settings: Settings) -> Arc<LanceIndex> {
        let clock = Arc::new(self.clock.clone());
        Arc::new(LanceIndex::with(self.folder.path(), NO_LIMIT, clock, &SeededIds::new(seed), settings))
    }

    async fn say(&self, ids: std::ops::Range<u128>, text: impl Fn(u128) -> String) {
        let user = scope("u", "", "");
        let episodes = ids.map(|id| episode(id, &user, i64::try_from(id).unwrap(), &text(id))).collect();
        self.ledger.append(&space(), episodes).await.unwrap();
    }

    /// Has an agent say a fact, the same one each time.
    async fn learn(&self, id: u128, agent: &str) {
        let content = "works at Acme";
        let mut entity = Entity::new(Uuid::from_u128(id), at(1), EntityType::Person, "Ana", content).unwrap();
        entity.user = Some("u".to_owned());
        entity.agent = Some(agent.to_owned());
        let piece = piece(analysis::analyse_fact("Ana", None, content, at(1)));
        self.ledger.record(&space(), vec![NewFact { entity, piece, embed_job: None }]).await.unwrap();
    }

    /// Begins a feeding that stops where it is about to commit, until it is told to go on.
    async fn feed_up_to_a_commit(&self, index: &Arc<LanceIndex>) -> (JoinHandle<Result<()>>, oneshot::Sender<()>) {
        let (reached, at_commit) = oneshot::channel();
        let (go_on, going_on) = oneshot::channel();
        *index.hook.stop.lock() = Some((reached, going_on));
        let (index, ledger) = (Arc::clone(index), Arc::clone(&self.ledger));
        let feeding = tokio::spawn(async move { index.feed(&*ledger).await });
        at_commit.await.unwrap();
        (feeding, go_on)
    }

    async fn forget(&self, id: u128) {
        let user = scope("u", "", "");
        assert!(self.ledger.forget(&user, Uuid::from_u128(id), ForgetReach::Version, at(0)).await.unwrap());
    }

    async fn found(&self, index: &LanceIndex, text: &str, limit: usize) -> Vec<u128> {
        let question = SearchQuery { limit, ..query(&scope("u", "", ""), text) };
        index.search(&*self.ledger, &question).await.unwrap().iter().map(|hit| hit.id.as_u128()).collect()
    }

    async fn table_ids(&self, index: &LanceIndex) -> Vec<u128> {
        let place = self.ledger.feeder_place().await.unwrap().unwrap();
        let snapshot = index.read(&place).await.unwrap().unwrap();
        let rows = table::rows_of(&snapshot.table, Some("u")).await.unwrap();
        let mut ids: Vec<u128> = rows.iter().map(|(id, ..)| id.as_u128()).collect();
        ids.sort_unstable();
        ids
    }

    async fn assert_sound(&self, index: &LanceIndex) {
        let problems = index.check(&*self.ledger, &scope("u", "", ""), Some(space().dimensions)).await.unwrap();
        assert_eq!(problems, Vec::<String>::new());
    }

    /// Every file of the index.
    fn files(&self) -> Vec<PathBuf> {
        let mut open = vec![self.folder.path().join(FOLDER)];
        let mut files = Vec::new();
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { open.push(path) } else { files.push(path) }
            }
        }
        files
    }

    fn holds_bytes(&self, bytes: &[u8]) -> bool {
        let holds = |file: &PathBuf| {
            let content = std::fs::read(file).unwrap();
            content.windows(bytes.len()).any(|window| window == bytes)
        };
        self.files().iter().any(holds)
    }
}

type Damage = fn(&Store);

/// Every tenant is searched by way of the table.
fn always() -> Settings {
    Settings { exact_rows: 0, ..Settings::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn recall_needs_no_feeding_and_masks_what_the_table_still_holds() {
    let store = Store::new();
    let index = store.index(1, always());
    store.say(1..700, |id| format!("The red bicycle number {id} stands in the cellar")).await;
    store.say(700..701, |_| "A bicycle can be borrowed in the village".to_owned()).await;
    index.feed(&*store.ledger).await.unwrap();
    let commits = index.stats().lance.unwrap().commits;
    // More than a signal proposes, and all of them nearer than what is left.
    for id in 1..700 {
        store.forget(id).await;
    }
    store.say(701..702, |_| "The blue bicycle was sold".to_owned()).await;
    let mut found = store.found(&index, "red bicycle in the cellar", 10).await;
    found.sort_unstable();
    assert_eq!(found, [700, 701]);
    assert_eq!(index.stats().lance.unwrap().commits, commits, "no search waits for a commit");
    index.feed(&*store.ledger).await.unwrap();
    assert_eq!(store.table_ids(&index).await, [700, 701]);
    store.assert_sound(&index).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feeder_that_is_stopped_past_its_lease_brings_nothing_back() {
    let store = Store::new();
    let [stopped, other] = [1, 2].map(|seed| store.index(seed, always()));
    store.say(1..5, |id| format!("Note {id} about the garden")).await;
    stopped.feed(&*store.ledger).await.unwrap();
    store.say(5..7, |id| format!("Note {id} about the secret")).await;
    let (feeding, go_on) = store.feed_up_to_a_commit(&stopped).await;
    // While the lease lasts nobody else feeds.
    other.feed(&*store.ledger).await.unwrap();
    assert_eq!(store.table_ids(&other).await, [1, 2, 3, 4]);
    store.ledger.take_feeder(at(3_600), JobLease { holder: Uuid::from_u128(9), until: at(3_600) }).await.unwrap();
    // Its lease has ended by now, though the clock that it would renew it by stands still.
    store.forget(5).await;
    other.feed_to(&*store.ledger, Goal::Follow).await.unwrap();
    assert_eq!(store.table_ids(&other).await, [1, 2, 3, 4], "the third has the right until the same moment");
    store.clock.set(at(3_601));
    other.feed(&*store.ledger).await.unwrap();
    assert_eq!(store.table_ids(&other).await, [1, 2, 3, 4, 6]);
    go_on.send(()).unwrap();
    feeding.await.unwrap().unwrap();
    assert!(stopped.stats().lance.unwrap().conflicts > 0, "it was refused");
    for index in [&stopped, &other] {
        assert_eq!(store.table_ids(index).await, [1, 2, 3, 4, 6]);
        assert!(!store.found(index, "the secret", 10).await.contains(&5));
        store.assert_sound(index).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_openings_see_what_either_wrote() {
    let store = Store::new();
    let [one, other] = [1, 2].map(|seed| store.index(seed, always()));
    for round in 0..4_u128 {
        let first = round * 300 + 1;
        store.say(first..first + 300, |id| format!("Entry {id} of the diary of {round}")).await;
        let index = if round % 2 == 0 { &one } else { &other };
        index.feed(&*store.ledger).await.unwrap();
        for index in [&one, &other] {
            let newest = first + 299;
            assert!(store.found(index, &format!("entry {newest}"), 5).await.contains(&newest));
        }
    }
    let place = store.ledger.feeder_place().await.unwrap();
    other.purge(&*store.ledger).await.unwrap();
    assert_ne!(store.ledger.feeder_place().await.unwrap(), place);
    // The table that this one reads is gone; it takes the new one.
    assert!(store.found(&one, "entry 7", 5).await.contains(&7));
    store.assert_sound(&one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_missing_or_damaged_is_made_again() {
    let store = Store::new();
    store.say(1..400, |id| format!("Page {id} of the atlas shows an island")).await;
    let index = store.index(1, always());
    index.feed(&*store.ledger).await.unwrap();
    let damages: [(&str, Damage); 4] = [
        ("the folder is gone", |store| std::fs::remove_dir_all(store.folder.path().join(FOLDER)).unwrap()),
        ("the data is gone", |store| {
            let is_data = |file: &&PathBuf| file.components().any(|part| part.as_os_str() == "data");
            store.files().iter().filter(is_data).for_each(|file| std::fs::remove_file(file).unwrap());
        }),
        ("the data is cut", |store| {
            let is_data = |file: &&PathBuf| file.components().any(|part| part.as_os_str() == "data");
            store.files().iter().filter(is_data).for_each(|file| std::fs::write(file, b"cut").unwrap());
        }),
        ("everything is cut", |store| store.files().iter().for_each(|file| std::fs::write(file, b"").unwrap())),
    ];
    for (seed, (name, damage)) in (2..).zip(damages) {
        damage(&store);
        let index = store.index(seed, always());
        assert!(store.found(&index, "page 333", 5).await.contains(&333), "{name}");
        assert!(index.is_due(store.ledger.head().unwrap()), "{name}");
        index.feed(&*store.ledger).await.unwrap();
        if !store.table_ids(&index).await.is_empty() {
            store.assert_sound(&index).await;
        }
        assert_eq!(store.table_ids(&index).await.len(), 399, "{name}");
        assert!(store.found(&index, "page 333", 5).await.contains(&333), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn purging_leaves_no_byte_of_what_was_forgotten() {
    let store = Store::new();
    let settings = Settings { indexed_rows: 300, ..always() };
    let index = store.index(1, settings);
    store.say(1..400, |id| format!("The key {id} opens a door")).await;
    let user = scope("u", "", "");
    let owner = Owner { kind: Kind::Episode, id: Uuid::from_u128(77) };
    let row = store.ledger.index_rows(&user, &[owner]).await.unwrap().remove(0);
    let (values, scale) =
        crate::index::vector::decode(row.pieces[0].vector.as_ref().unwrap(), space().dimensions).unwrap();
    let vector: Vec<u8> = values.iter().flat_map(|&value| (f32::from(value) * scale).to_le_bytes()).collect();
    index.feed(&*store.ledger).await.unwrap();
    assert!(store.holds_bytes(&vector), "the search sees what is there");
    store.forget(77).await;
    index.feed(&*store.ledger).await.unwrap();
    assert!(store.holds_bytes(&vector), "an old version still has it");
    index.purge(&*store.ledger).await.unwrap();
    let id = table::key(Uuid::from_u128(77));
    let terms: Vec<String> =
        crate::index::analysis::analyse_query("77").terms.iter().map(|term| format!("{term:x}")).collect();
    for bytes in [&vector[..64], id.as_bytes()].into_iter().chain(terms.iter().map(String::as_bytes)) {
        assert!(!store.holds_bytes(bytes));
    }
    assert_eq!(store.table_ids(&index).await.len(), 398);
    store.assert_sound(&index).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_are_made_and_refreshed_and_files_merged_as_rows_grow() {
    let store = Store::new();
    let settings = Settings { indexed_rows: 600, unindexed_rows: 100, fragments: 6, ..always() };
    let index = store.index(1, settings);
    for round in 0..12_u128 {
        let first = round * 100 + 1;
        store.say(first..first + 100, |id| format!("Parcel {id} was sent to street {} in town {round}", id % 37)).await;
        index.feed(&*store.ledger).await.unwrap();
        let lance = index.stats().lance.unwrap();
        assert!(lance.fragments <= 7, "{lance:?}");
        assert_eq!(lance.indexings == 0, round < 5, "{lance:?}");
        let newest = first + 99;
        assert!(store.found(&index, &format!("parcel {newest}"), 5).await.contains(&newest));
        assert!(store.found(&index, "parcel 50", 5).await.contains(&50));
    }
    let lance = index.stats().lance.unwrap();
    assert!(lance.compactions > 0 && lance.unindexed_rows <= 220, "{lance:?}");
    store.assert_sound(&index).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_space_gets_another_table() {
    let store = Store::new();
    let index = store.index(1, always());
    store.say(1..50, |id| format!("Song {id} is about rain")).await;
    index.feed(&*store.ledger).await.unwrap();
    let other = EmbeddingSpace::new("other", 4, "");
    let owner = |id| Owner { kind: Kind::Episode, id: Uuid::from_u128(id) };
    let encoded = |id: u128| crate::index::vector::Quantized::new(&[1.0, id as f32, 0.5, 0.0]).encode();
    let vectors = (1..50).map(|id| OwnerVectors { owner: owner(id), vectors: vec![(0, encoded(id))] }).collect();
    store.ledger.put_vectors(&other, vectors).await.unwrap();
    assert!(store.ledger.activate_space(&other).await.unwrap());
    index.clear();
    let question = SearchQuery { vector: Some(vec![0.5, 0.5, 0.5, 0.5]), ..query(&scope("u", "", ""), "song 3") };
    for _ in 0..2 {
        let hits = index.search(&*store.ledger, &question).await.unwrap();
        assert!(hits.iter().any(|hit| hit.id == Uuid::from_u128(3)));
        index.feed(&*store.ledger).await.unwrap();
    }
    let place = store.ledger.feeder_place().await.unwrap().unwrap();
    assert_eq!(index.read(&place).await.unwrap().unwrap().dimensions, 4);
    store.assert_sound_with(&index, 4).await;
}

impl Store {
    async fn assert_sound_with(&self, index: &LanceIndex, dimensions: usize) {
        let problems = index.check(&*self.ledger, &scope("u", "", ""), Some(dimensions)).await.unwrap();
        assert_eq!(problems, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feeding_that_is_given_up_is_begun_again() {
    let store = Store::new();
    let index = store.index(1, always());
    store.say(1..100, |id| format!("Bird {id} sits on the roof")).await;
    let (reached, at_commit) = oneshot::channel();
    let (_go_on, going_on) = oneshot::channel();
    *index.hook.stop.lock() = Some((reached, going_on));
    {
        let mut feeding = Box::pin(index.feed(&*store.ledger));
        tokio::select! {
            _ = &mut feeding => panic!("it was to stop"),
            reached = at_commit => reached.unwrap(),
        }
    }
    tokio::time::timeout(Duration::from_mins(1), index.feed(&*store.ledger)).await.unwrap().unwrap();
    assert_eq!(store.table_ids(&index).await.len(), 99);
    store.assert_sound(&index).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feeder_that_is_stopped_leaves_no_part_of_a_fact_that_lost_a_saying() {
    let store = Store::new();
    let index = store.index(1, always());
    store.learn(1, "a").await;
    store.learn(2, "b").await;
    index.feed(&*store.ledger).await.unwrap();
    assert_eq!(store.table_ids(&index).await, [1, 1], "a part for each saying");
    store.ledger.forget_scope(&scope("u", "b", ""), at(2)).await.unwrap();
    let (feeding, go_on) = store.feed_up_to_a_commit(&index).await;
    // Another process takes the right: this commit succeeds, and what would follow does not.
    store.clock.set(at(60));
    let lease = JobLease { holder: Uuid::from_u128(9), until: at(3_600) };
    assert!(store.ledger.take_feeder(at(3_600), lease).await.unwrap().is_some());
    go_on.send(()).unwrap();
    feeding.await.unwrap().unwrap();
    store.clock.set(at(3_601));
    store.index(2, always()).feed(&*store.ledger).await.unwrap();
    assert_eq!(store.table_ids(&index).await, [1]);
    store.assert_sound(&index).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_go_however_few_of_them_a_process_makes() {
    let store = Store::new();
    let settings = Settings { kept_minutes: 0, ..always() };
    for round in 0..24 {
        let index = store.index(u64::try_from(round).unwrap(), settings.clone());
        store.say(round + 1..round + 2, |id| format!("Letter {id} came by post")).await;
        index.feed(&*store.ledger).await.unwrap();
        let lance = index.stats().lance.unwrap();
        assert!(lance.commits <= 2 && lance.versions < 16, "{lance:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feeding_that_failed_is_due_again_after_a_while() {
    let store = Store::new();
    let index = store.index(1, Settings { due_changes: 1, ..always() });
    store.say(1..5, |id| format!("Shell {id} lay on the beach")).await;
    let head = store.ledger.head().unwrap();
    assert!(index.is_due(head));
    let folder = store.folder.path().join(FOLDER);
    std::fs::write(&folder, "no folder").unwrap();
    index.feed(&*store.ledger).await.unwrap_err();
    assert!(!index.is_due(head), "not with the next search");
    store.clock.advance(Duration::from_secs(30)).unwrap();
    assert!(index.is_due(head));
    let lease = JobLease { holder: Uuid::from_u128(9), until: at(60) };
    let right = store.ledger.take_feeder(at(30), lease).await.unwrap().unwrap();
    index.feed(&*store.ledger).await.unwrap();
    assert!(!index.is_due(head), "another process feeds");
    store.ledger.release_feeder(right.fence, right.holder).await.unwrap();
    std::fs::remove_file(&folder).unwrap();
    index.feed(&*store.ledger).await.unwrap();
    store.say(5..7, |id| format!("Shell {id} lay on the beach")).await;
    assert!(index.is_due(store.ledger.head().unwrap()), "a feeding that succeeds ends the wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_fed_while_it_is_looked_for_is_taken() {
    let store = Store::new();
    let [reader, feeder] = [1, 2].map(|seed| store.index(seed, always()));
    store.say(1..5, |id| format!("Ticket {id} is for the opera")).await;
    let head = store.ledger.head().unwrap();
    store.say(5..7, |id| format!("Ticket {id} is for the opera")).await;
    feeder.feed(&*store.ledger).await.unwrap();
    let snapshot = reader.snapshot(&*store.ledger, head).await.unwrap().expect("the table can be read");
    assert!(snapshot.marker.watermark > head);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_have_no_vector_are_found_behind_the_others() {
    let store = Store::new();
    let index = store.index(1, always());
    let user = scope("u", "", "");
    let mut episodes: Vec<_> =
        (1..6).map(|id| episode(id, &user, i64::try_from(id).unwrap(), &format!("Walk {id} in the forest"))).collect();
    for episode in &mut episodes[3..] {
        episode.pieces.iter_mut().for_each(|piece| piece.vector = None);
    }
    store.ledger.append(&space(), episodes).await.unwrap();
    index.feed(&*store.ledger).await.unwrap();
    let mut found = store.found(&index, "violin", 20).await;
    found.sort_unstable();
    assert_eq!(found, [1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_of_long_turns_is_counted_in_bytes() {
    let store = Store::new();
    let index = store.index(1, always());
    let before = index.stats().bytes;
    store.say(1..2, |_| "The lecture on tides went on about the moon. ".repeat(2_000)).await;
    index.feed(&*store.ledger).await.unwrap();
    store.say(2..3, |_| "The lecture on winds went on about the sun. ".repeat(2_000)).await;
    store.found(&index, "lecture", 5).await;
    let user = scope("u", "", "");
    let owner = |id| Owner { kind: Kind::Episode, id: Uuid::from_u128(id) };
    let rows = store.ledger.index_rows(&user, &[owner(1), owner(2)]).await.unwrap();
    let pieces: usize = rows.iter().flat_map(|row| &row.pieces).map(|piece| piece.lexical.len()).sum();
    let held = index.stats().bytes - before;
    assert!(index.stats().lance.unwrap().tail_rows == 1 && held > pieces as u64 / 2, "{held} of {pieces}");
}
