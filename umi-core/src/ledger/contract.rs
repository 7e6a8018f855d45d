//! What every ledger must do. Each test runs over a file and over memory.

mod contexts;
mod decisions;
mod episodes;
mod facts;
mod feed;
mod memories;
mod succession;

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::{NewEpisode, NewFact, Piece, Recorded, sqlite::SqliteLedger, *};

/// A ledger under test; the folder goes with it.
struct Store {
    ledger: Arc<SqliteLedger>,
    _folder: Option<tempfile::TempDir>,
}

impl std::ops::Deref for Store {
    type Target = SqliteLedger;

    fn deref(&self) -> &SqliteLedger {
        &self.ledger
    }
}

/// Runs a test over each kind of ledger.
fn over_all<F: Future<Output = ()>>(test: impl Fn(Store) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = SqliteLedger::open(folder.path()).unwrap();
    runtime.block_on(test(Store { ledger: Arc::new(file), _folder: Some(folder) }));
    runtime.block_on(test(Store { ledger: Arc::new(SqliteLedger::in_memory().unwrap()), _folder: None }));
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn alice() -> Scope {
    Scope::new().with_user("alice").unwrap()
}

fn space() -> EmbeddingSpace {
    EmbeddingSpace::new("test", 2, "")
}

fn whole(text: &str) -> Piece {
    Piece { ordinal: 0, lexical: text.as_bytes().to_vec(), vector: Some(vec![1, 2]) }
}

/// An episode of Alice's.
fn episode(number: u128, second: i64, text: &str) -> NewEpisode {
    NewEpisode {
        episode: Episode { user: Some("alice".to_owned()), ..Episode::new(id(number), text, "user", at(second)) },
        pieces: vec![whole(text)],
        key: None,
        wants_vectors: true,
        embed_job: None,
        extract_job: None,
        attachment: None,
    }
}

/// A fact about Alice, said at a time.
fn fact(number: u128, second: i64, attribute: Option<&str>, content: &str) -> NewFact {
    let mut entity = Entity::new(id(number), at(second), EntityType::Person, "Alice", content).unwrap();
    entity.attribute = attribute.map(str::to_owned);
    entity.user = Some("alice".to_owned());
    NewFact { entity, piece: whole(content), embed_job: None }
}

impl Store {
    async fn say(&self, fact: NewFact) -> Recorded {
        self.record(&space(), vec![fact]).await.unwrap().remove(0)
    }

    async fn append_one(&self, new: NewEpisode) -> Appended {
        self.append(&space(), vec![new]).await.unwrap().remove(0)
    }

    /// (content, from, to) of a chain, in seconds.
    async fn chain_of(&self, number: u128) -> Vec<(String, i64, Option<i64>)> {
        let chain = self.history(&alice(), id(number)).await.unwrap();
        chain
            .into_iter()
            .map(|version| {
                (version.content, version.valid_from.as_second(), version.valid_to.map(Timestamp::as_second))
            })
            .collect()
    }

    async fn assert_sound(&self) {
        assert_eq!(self.check().await.unwrap().problems, Vec::<String>::new());
    }
}
