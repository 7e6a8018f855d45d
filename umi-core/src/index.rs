//! Indexes: search structures derived from the ledger, which can be thrown away and rebuilt.

pub(crate) mod analysis;
#[cfg(test)]
mod contract;
#[cfg(feature = "lance")]
pub(crate) mod lance;
pub(crate) mod ram;
pub(crate) mod ranking;
mod tokens;
pub(crate) mod vector;

use std::{collections::BTreeSet, fmt};

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use crate::{entity::EntityType, episode::Kind, error::Result, ledger::Ledger, scope::Scope};

/// A question to an index. Its scope is resolved: no part stands for a handle's value any more.
#[derive(Clone)]
pub(crate) struct SearchQuery {
    /// Whose memory.
    pub scope: Scope,
    /// The question's words.
    pub text: String,
    /// The question's unit vector; none leaves the vector signal out.
    pub vector: Option<Vec<f32>>,
    /// How far the vector can be trusted in the absolute score, from 0 to 1.
    pub vector_trust: f32,
    /// Whether words count.
    pub use_text: bool,
    /// The kinds to give.
    pub kinds: BTreeSet<Kind>,
    /// The types of fact to give; none for all. Episodes are of type note.
    pub entity_types: Option<BTreeSet<EntityType>>,
    /// The time at which a fact must hold and by which an episode must have been said.
    pub valid_at: ValidAt,
    /// Episodes by `at`, facts by overlap, both ends included.
    pub time_range: Option<(Timestamp, Timestamp)>,
    /// The most hits to give.
    pub limit: usize,
    /// The least score to give.
    pub min_score: f64,
    /// Whether every signal is told.
    pub explain: bool,
}

/// Which versions a search reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValidAt {
    /// Facts that hold now; every episode.
    Now(Timestamp),
    /// Facts that held then; episodes said by then.
    AsOf(Timestamp),
    /// Facts that hold now or held once: none that begins later. Every episode.
    Until(Timestamp),
    /// Every version: a time range is given instead.
    Any,
}

/// A row that an index found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hit {
    /// The id of the episode or the version.
    pub id: Uuid,
    /// Fact or episode.
    pub kind: Kind,
    /// The absolute relevance, from 0 to 1.
    pub score: f64,
    /// What the rank was made of, in a fixed order: `lexical`, `vector` and `token`, each from 0 to 1, and `rank`. When
    /// every signal is asked for, what is added to them stands before `rank`: `spread`, `session`, `role`, `speaker`,
    /// `importance` and `wording`.
    pub signals: Vec<(&'static str, f64)>,
}

/// The state of an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexStats {
    /// Tenants that are loaded.
    pub users_loaded: u64,
    /// Rows that are loaded.
    pub rows_loaded: u64,
    /// Bytes in use.
    pub bytes: u64,
    /// The most bytes to use.
    pub bytes_limit: u64,
    /// Searches that were answered by a scan of the ledger because the tenant is over the bound.
    pub scans: u64,
    /// Tenants that were dropped to stay within the bound.
    pub evictions: u64,
    /// The lowest place in the feed that a loaded tenant stands at; none when nothing is loaded. That of the table for
    /// an index on LanceDB.
    pub watermark: Option<i64>,
    /// The state of the table, for an index on LanceDB that has one.
    pub lance: Option<LanceStats>,
}

/// The state of an index on LanceDB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LanceStats {
    /// Rows of the table: one for each piece of a text under each agent and session that said it.
    pub rows: u64,
    /// Rows that the vector index does not hold yet; they are searched exactly. All of them before there is one.
    pub unindexed_rows: u64,
    /// Files that hold the rows.
    pub fragments: u64,
    /// Versions of the table that are kept.
    pub versions: u64,
    /// Bytes of the table's folder after the last write.
    pub bytes_on_disk: u64,
    /// Changes behind the table's watermark that are held in memory, of the tenants in use.
    pub tail_rows: u64,
    /// Batches that this process wrote.
    pub commits: u64,
    /// Times that this process merged files.
    pub compactions: u64,
    /// Times that this process made or refreshed indexes of the table.
    pub indexings: u64,
    /// Bytes of old versions that this process removed.
    pub cleaned_bytes: u64,
    /// Times that this process made the table anew from the ledger.
    pub rebuilds: u64,
    /// Writes of this process that were refused because another one had written, or had the right to.
    pub conflicts: u64,
    /// Times that the table could not be read or written; searches were answered exactly from the ledger.
    pub failures: u64,
}

/// Finds rows by words and vectors.
#[async_trait]
pub(crate) trait Index: Send + Sync + fmt::Debug {
    /// The best rows, best first, after following the ledger up to its head; of equal ones the larger id first, which
    /// is the newer.
    async fn search(&self, ledger: &dyn Ledger, query: &SearchQuery) -> Result<Vec<Hit>>;
    /// Reads all that the ledger gives of a tenant, as a search would, and compares it with what is loaded of it. Gives a
    /// line for each row that does not decode or differs.
    async fn check(&self, ledger: &dyn Ledger, scope: &Scope, dimensions: Option<usize>) -> Result<Vec<String>>;
    /// The state of the index.
    fn stats(&self) -> IndexStats;
    /// Throws everything away; the next search loads again.
    fn clear(&self);
    /// Whether the index keeps something beside the ledger, which [`Index::feed`] and [`Index::purge`] write.
    fn is_durable(&self) -> bool {
        false
    }
    /// Whether so much has changed up to `head` that it is time for [`Index::feed`].
    fn is_due(&self, _head: i64) -> bool {
        false
    }
    /// Writes what changed in the ledger to where the index is kept. Where another process is at it, it is left to that.
    async fn feed(&self, _ledger: &dyn Ledger) -> Result<()> {
        Ok(())
    }
    /// Rewrites what the index keeps, so that no byte is left of what the ledger holds no more.
    ///
    /// # Errors
    /// `StoreLocked` while another process writes to it.
    async fn purge(&self, _ledger: &dyn Ledger) -> Result<()> {
        Ok(())
    }
}
