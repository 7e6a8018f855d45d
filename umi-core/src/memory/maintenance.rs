//! The whole of a store: figures, copies, checks, a new embedding space, purging.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Memory, usage::ModelUsage};
use crate::{
    blocking::blocking,
    embed::EmbeddingSpace,
    error::{Error, ErrorKind, Result},
    index::IndexStats,
    ledger::{CheckReport, LedgerStats},
    scope::{Scope, restored},
};

/// How many owners are embedded between two transactions of a re-embedding.
const REEMBED_BATCH: usize = 64;

/// How many tenants are asked of the ledger at once by a check.
const TENANTS: usize = 1_000;
/// A check of the index ends behind so many findings.
const PROBLEMS: usize = 2_000;

/// The folder of an index on LanceDB in that of the store, in builds without it too.
const INDEX_FOLDER: &str = "lance";

/// Removes what a memory with an index on LanceDB has left in the folder. Whoever uses it makes it again.
fn remove_other_index(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(ErrorKind::StoreIo, format!("cannot remove `{}`", folder.display())).with_source(error))
        }
        _ => Ok(()),
    }
}

/// Figures of a store and of this handle's index.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// Rows by kind, and bytes.
    pub ledger: LedgerStats,
    /// The index's state.
    pub index: IndexStats,
    /// How far the index is behind the ledger, in changes; the next recall catches up.
    pub index_lag: i64,
    /// The space of this handle's embedder.
    pub embedding_space: EmbeddingSpace,
    /// What the language model took since this handle was opened.
    pub usage: ModelUsage,
    /// The folder, or none in memory.
    pub path: Option<PathBuf>,
}

/// Told how many of how many are done.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

impl Memory {
    /// Rows by kind, bytes, the index's state and lag, the embedder, what the language model took.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// # let memory = umi_core::Memory::in_memory().await?;
    ///
    /// memory.remember("The kiln arrives on Monday.").await?;
    /// let stats = memory.stats().await?;
    /// assert_eq!(stats.ledger.episodes, 1);
    /// assert!(stats.path.is_none() && stats.usage.cost.is_none());
    /// # Ok(()) }
    /// ```
    pub async fn stats(&self) -> Result<MemoryStats> {
        self.check_open()?;
        let ledger = self.ledger().stats().await?;
        let index = self.index().stats();
        Ok(MemoryStats {
            index_lag: index.watermark.map_or(0, |watermark| (ledger.seq - watermark).max(0)),
            ledger,
            index,
            embedding_space: self.parts.embedder.space().clone(),
            usage: self.parts.usage.read(self.parts.config.token_prices()),
            path: self.lease.store.path.clone(),
        })
    }

    /// Moves the store to this handle's embedder and gives how many rows were embedded. Can be repeated after a kill:
    /// it goes on where it stopped. Recall finds by words until the space flips, in one transaction, at the end.
    ///
    /// # Errors
    /// `Embedding` or `Provider` when the embedder fails; what was embedded is kept.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// use std::sync::Arc;
    /// use umi_core::{Memory, MemoryBuilder, SimEmbedder, StorageBackend};
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path();
    /// let memory = Memory::open(path).await?; // the bundled embedder
    /// memory.remember("The kiln arrives on Monday.").await?;
    /// memory.close().await?;
    ///
    /// let builder = MemoryBuilder::new().storage(StorageBackend::sqlite(path)).embedder(Arc::new(SimEmbedder::new(7)));
    /// let memory = builder.reembed(true).build().await?;
    /// assert_eq!(memory.reembed(None).await?, 1);
    /// # memory.close().await?;
    /// # Ok(()) }
    /// ```
    pub async fn reembed(&self, progress: Option<Progress<'_>>) -> Result<u64> {
        self.check_open()?;
        let space = self.parts.embedder.space().clone();
        let mut done = 0;
        // Counted once, because it looks at every piece.
        let total = match progress {
            Some(_) => self.ledger().count_without_vectors(&space).await?,
            None => 0,
        };
        loop {
            let owners = self.ledger().owners_without_vectors(&space, REEMBED_BATCH).await?;
            if owners.is_empty() {
                if self.ledger().activate_space(&space).await? {
                    self.index().clear();
                    return Ok(done);
                }
                // Somebody wrote between the two calls.
                continue;
            }
            let count = owners.len();
            let vectors = self.embed_owners(Arc::new(owners), 0..count).await?;
            self.ledger().put_vectors(&space, vectors).await?;
            done += count as u64;
            if let Some(progress) = progress {
                progress(done, total.max(done));
            }
        }
    }

    /// Rewrites the store so that no byte of what was forgotten, or of working keys that have expired, is left in its
    /// folder.
    ///
    /// # Errors
    /// `StoreLocked` (try again) while another process reads an old state, or writes to the index on LanceDB; `StoreIo`
    /// when there is no room.
    pub async fn purge(&self) -> Result<()> {
        self.check_open()?;
        self.ledger().purge(self.now()).await?;
        if self.index().is_durable() {
            return self.index().purge(self.ledger()).await;
        }
        match self.lease.store.path.clone() {
            Some(folder) => blocking(move || remove_other_index(&folder.join(INDEX_FOLDER))).await,
            None => Ok(()),
        }
    }

    /// Writes a consistent copy of the store, while it is in use, into a folder that is empty or not there.
    ///
    /// # Errors
    /// `InvalidInput` for a folder that holds something; `StoreIo` when it cannot be written.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// use umi_core::Memory;
    /// # let (store, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    /// let memory = Memory::open(store.path()).await?;
    /// memory.remember("The kiln arrives on Monday.").await?;
    /// memory.backup(&copies.path().join("monday")).await?;
    /// let copy = Memory::open(copies.path().join("monday")).await?;
    /// assert!(copy.check().await?.problems.is_empty());
    /// # copy.close().await?;
    /// # memory.close().await?;
    /// # Ok(()) }
    /// ```
    pub async fn backup(&self, to: &Path) -> Result<()> {
        self.check_open()?;
        self.ledger().backup(to).await
    }

    /// Verifies the whole store: pages, schema, references, every row, the feed, chains against sightings, that every
    /// text has its terms and vectors and that they decode, and the index against the ledger. Writes go on meanwhile; it
    /// reads one state of the ledger, row after row.
    ///
    /// # Errors
    /// `Storage` kinds when it cannot be read at all: what is damaged is in the report.
    pub async fn check(&self) -> Result<CheckReport> {
        self.check_open()?;
        let mut report = self.ledger().check().await?;
        if let Err(error) = self.check_index(&mut report).await {
            if error.kind() != ErrorKind::CorruptStore {
                return Err(error);
            }
            report.problems.push(format!("index: {}", error.message()));
        }
        Ok(report)
    }

    /// Reads every tenant as the index does, and compares what is loaded.
    async fn check_index(&self, report: &mut CheckReport) -> Result<()> {
        let dimensions = self.ledger().active_space().await?.map(|space| space.dimensions);
        let mut after: Option<String> = None;
        let mut checked = 0;
        loop {
            let tenants = self.ledger().tenants(after.as_deref(), TENANTS).await?;
            let Some(last) = tenants.last().cloned() else { break };
            after = Some(last);
            for tenant in tenants {
                checked += 1;
                let scope = Scope::from_parts(restored(tenant), None, None)?;
                let found = self.index().check(self.ledger(), &scope, dimensions).await?;
                report.problems.extend(found.into_iter().map(|line| format!("index: {line}")));
                if report.problems.len() > PROBLEMS {
                    report.problems.push("there may be more problems of the index".to_owned());
                    return Ok(());
                }
            }
        }
        report.checked.push(("users".to_owned(), checked));
        Ok(())
    }
}
