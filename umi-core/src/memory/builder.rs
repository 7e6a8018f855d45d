//! [`MemoryBuilder`]: the parts of a memory, named one by one.

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock, atomic::AtomicBool},
};

use jiff::Timestamp;

use super::{
    Memory, Parts,
    config::MemoryConfig,
    jobs::Services,
    store::{IndexKind, Lease},
    tasks::Tasks,
    usage::UsageCounters,
};
use crate::{
    context,
    embed::{Embedder, cached::CachedEmbedder, sim::SimEmbedder, static_table::StaticEmbedder},
    error::{Error, ErrorKind, Result},
    ledger::sqlite::fork,
    llm::{LanguageModel, sim::SimLanguageModel},
    scope::Scope,
    world::{Clock, IDS, Ids, ManualClock, SeededIds, SystemClock},
};

/// The time at which a simulated memory begins.
const SIM_START: &str = "2026-01-01T00:00:00Z";

/// A new version 7 UUID from the process's own source, which every store uses unless it is simulated.
///
/// # Example
/// ```
/// use umi_core::{Timestamp, new_id};
/// let now = Timestamp::UNIX_EPOCH;
/// assert!(new_id(now) < new_id(now));
/// ```
pub fn new_id(now: Timestamp) -> uuid::Uuid {
    IDS.next(now)
}

/// Waits until no thread of this process uses a store, for a minute at most. Whoever forks calls it before, and
/// afterwards on the same thread [`after_fork_in_parent`] or [`after_fork_in_child`]; until then every call of a memory
/// waits.
///
/// A child that was forked without it, or while a use outlasted that minute, can open no store if its parent had one
/// open.
pub fn before_fork() {
    fork::before();
}

/// Lets the calls of other threads go on, also when the fork failed.
pub fn after_fork_in_parent() {
    fork::after_in_parent();
}

/// Draws a new seed for ids and lets go of what the child inherits, so that it can open the same stores anew. The
/// handles of the parent refuse to be used in it.
pub fn after_fork_in_child() {
    IDS.reseed();
    context::after_fork_in_child();
    fork::after_in_child();
}

/// Makes now, and not on first use, what all memories of a process share. May be called again.
///
/// A fork while another thread makes it would leave the child waiting for ever for a thread that it does not have, so
/// whoever may be forked calls this where no fork can happen.
pub fn prepare() {
    LazyLock::force(&IDS);
    super::store::prepare();
    fork::prepare();
}

/// Where a memory keeps its store.
///
/// # Example
/// ```
/// use umi_core::StorageBackend;
/// assert!(StorageBackend::sqlite("./umi_memory").folder().is_some());
/// assert!(StorageBackend::in_memory().folder().is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageBackend {
    folder: Option<PathBuf>,
    on_lance: bool,
}

impl StorageBackend {
    /// One SQLite database in a folder, which is made if it is missing.
    pub fn sqlite(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), on_lance: false }
    }

    /// The same, with an index on LanceDB beside the database, for stores that outgrow memory: `folder/lance`, which is
    /// made from the database by itself and again where it is missing or damaged. It follows in the background;
    /// [`Memory::flush`] and [`Memory::close`] write what is left. A folder that this process has open keeps the index
    /// that it was opened with.
    ///
    /// A build without the cargo feature `lance` names it and opens it not, see [`StorageBackend::check_built`].
    pub fn lance(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), on_lance: true }
    }

    /// No file: the store lives as long as its handles.
    pub fn in_memory() -> Self {
        Self { folder: None, on_lance: false }
    }

    /// Whether this build has what the backend needs.
    ///
    /// # Errors
    /// `FeatureNotBuilt` for [`StorageBackend::lance`] in a build without the cargo feature `lance`.
    pub fn check_built(&self) -> Result<()> {
        if !self.on_lance || cfg!(feature = "lance") {
            return Ok(());
        }
        Err(Error::new(ErrorKind::FeatureNotBuilt, "this build has no LanceDB").with_hint(
            "in Rust, build with the cargo feature `lance`; in Python, install `umi-memory-full`, or from the source \
             with: pip install . --config-settings=build-args=\"--profile wheel-full --features full\"",
        ))
    }

    /// The folder, or none in memory.
    pub fn folder(&self) -> Option<&std::path::Path> {
        self.folder.as_deref()
    }
}

/// Builds a [`Memory`] from its parts; what is not named has its default.
///
/// # Example
/// ```
/// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
/// use umi_core::{MemoryBuilder, MemoryConfig, Scope, StorageBackend};
/// let memory = MemoryBuilder::new()
///     .storage(StorageBackend::in_memory())
///     .config(MemoryConfig::default().with_recall_limit(50)?)
///     .scope(Scope::new().with_user("alice")?)
///     .build()
///     .await?;
/// assert_eq!(memory.scope().user(), Some("alice"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct MemoryBuilder {
    storage: StorageBackend,
    embedder: Option<Arc<dyn Embedder>>,
    model: Option<Arc<dyn LanguageModel>>,
    config: MemoryConfig,
    scope: Scope,
    clock: Option<Arc<dyn Clock>>,
    ids: Option<Arc<dyn Ids>>,
    seed: Option<u64>,
    reembed: bool,
}

impl Default for MemoryBuilder {
    fn default() -> Self {
        Self {
            storage: StorageBackend::sqlite("./umi_memory"),
            embedder: None,
            model: None,
            config: MemoryConfig::default(),
            scope: Scope::new(),
            clock: None,
            ids: None,
            seed: None,
            reembed: false,
        }
    }
}

impl MemoryBuilder {
    /// A builder of a store in `./umi_memory` with the bundled embedder.
    pub fn new() -> Self {
        Self::default()
    }

    /// A builder of a simulated memory: in memory, seeded ids and vectors, a model that answers by simple rules, a clock
    /// that stands at the start of 2026.
    pub fn sim(seed: u64) -> Self {
        Self { storage: StorageBackend::in_memory(), seed: Some(seed), ..Self::default() }
    }

    /// Keeps the store there.
    pub fn storage(self, storage: StorageBackend) -> Self {
        Self { storage, ..self }
    }

    /// Makes vectors with this embedder.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// use std::sync::Arc;
    /// use umi_core::{MemoryBuilder, OpenAIEmbedder, StorageBackend};
    /// # let key = "sk-…";
    /// let memory = MemoryBuilder::new()
    ///     .storage(StorageBackend::in_memory())
    ///     .embedder(Arc::new(OpenAIEmbedder::new(key)?))
    ///     .build()
    ///     .await?;
    /// assert_eq!(memory.embedder().space().dimensions, 1_536);
    /// # Ok(()) }
    /// ```
    pub fn embedder(self, embedder: Arc<dyn Embedder>) -> Self {
        Self { embedder: Some(embedder), ..self }
    }

    /// Finds facts with this model, relates them to stored ones and rewrites questions. Without one, what was said is
    /// found as it was said.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// use std::sync::Arc;
    /// use umi_core::{AnthropicModel, MemoryBuilder, StorageBackend};
    /// # let key = "sk-ant-…";
    /// let memory = MemoryBuilder::new()
    ///     .storage(StorageBackend::in_memory())
    ///     .language_model(Arc::new(AnthropicModel::new(key)?))
    ///     .build()
    ///     .await?;
    /// assert_eq!(memory.language_model().map(|model| model.name()), Some("anthropic:claude-sonnet-4-6"));
    /// # Ok(()) }
    /// ```
    pub fn language_model(self, model: Arc<dyn LanguageModel>) -> Self {
        Self { model: Some(model), ..self }
    }

    /// Uses these limits and defaults.
    pub fn config(self, config: MemoryConfig) -> Self {
        Self { config, ..self }
    }

    /// Reads and writes in this scope where a call names none.
    pub fn scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Takes times from this clock.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// Takes ids from this source, in the place of the process's own. No two openings of a store may be given the same
    /// ids.
    pub fn ids(self, ids: Arc<dyn Ids>) -> Self {
        Self { ids: Some(ids), ..self }
    }

    /// Allows an embedder of another space than the store's; [`Memory::reembed`] then moves the store to it. What is
    /// remembered before that is found by its words, with a warning, and embedded then.
    pub fn reembed(self, reembed: bool) -> Self {
        Self { reembed, ..self }
    }

    /// Looks at the store's folder and at the header of its database, and opens neither: what is wrong with them is
    /// known before [`MemoryBuilder::build`], which may have to wait. It takes some system calls, and no lock.
    ///
    /// A store that this process has open, or is opening or closing, is not looked at.
    ///
    /// # Errors
    /// `StoreIo` for a folder that cannot be made or written, or a database that cannot be; `CorruptStore` for one that
    /// is cut or is no database; `StoreVersion` for one of a newer version or of another program; `FeatureNotBuilt` as
    /// [`StorageBackend::check_built`].
    pub fn look(&self) -> Result<()> {
        self.storage.check_built()?;
        self.storage.folder().map_or(Ok(()), super::store::look)
    }

    /// Opens the store.
    ///
    /// # Errors
    /// `StoreIo`, `CorruptStore`, `StoreVersion` or `StoreLocked` of the folder; `EmbeddingSpace` when its vectors are
    /// of another embedder and `reembed` is not set; `FeatureNotBuilt` for [`StorageBackend::lance`] in a build without
    /// it.
    pub async fn build(self) -> Result<Memory> {
        self.storage.check_built()?;
        let embedder: Arc<dyn Embedder> = match (self.embedder, self.seed) {
            (Some(embedder), _) => embedder,
            (None, Some(seed)) => Arc::new(SimEmbedder::new(seed)),
            (None, None) => Arc::new(StaticEmbedder::new()),
        };
        let model = self.model.or_else(|| Some(Arc::new(SimLanguageModel::new(self.seed?)) as Arc<dyn LanguageModel>));
        let ids: Arc<dyn Ids> = match (self.ids, self.seed) {
            (Some(ids), _) => ids,
            (None, Some(seed)) => Arc::new(SeededIds::new(seed)),
            (None, None) => Arc::clone(&IDS) as Arc<dyn Ids>,
        };
        let clock: Arc<dyn Clock> = match (self.clock, self.seed) {
            (Some(clock), _) => clock,
            (None, Some(_)) => Arc::new(ManualClock::new(sim_start()?)),
            (None, None) => Arc::new(SystemClock),
        };
        let cache_bytes = self.config.embedding_cache_bytes();
        let embedder = if embedder.is_in_process() || cache_bytes == 0 {
            embedder
        } else {
            let secret = IDS.next(clock.now()).as_u128() as u64;
            Arc::new(CachedEmbedder::new(embedder, secret, cache_bytes))
        };
        let is_simulated = self.seed.is_some();
        let index_bytes = self.config.index_memory_bytes();
        let lease = match self.storage.folder() {
            Some(folder) => Lease::open(folder, index_kind(&self.storage, index_bytes, &clock, &ids)).await?,
            None => Lease::in_memory(index_bytes).await?,
        };
        let memory = Memory {
            lease: Arc::new(lease),
            parts: Arc::new(Parts {
                embedder,
                model,
                usage: UsageCounters::default(),
                is_simulated,
                config: self.config,
                clock,
                ids,
                background: Tasks::default(),
                services: Services::default(),
                reembed: self.reembed,
            }),
            scope: self.scope,
            pinned: false,
            closed: Arc::new(AtomicBool::new(false)),
            is_root: true,
        };
        if let Err(error) = memory.claim_space(self.reembed).await {
            // The store was opened for this handle; without it nobody would close it.
            if let Err(close) = memory.close().await {
                tracing::warn!(target: "umi::memory", kind = ?close.kind(), "a store that could not be used did not close cleanly");
            }
            return Err(error);
        }
        if !is_simulated {
            memory.start_crashed_jobs().await?;
        }
        Ok(memory)
    }
}

/// The index of a backend that this build has.
fn index_kind(storage: &StorageBackend, bytes: usize, clock: &Arc<dyn Clock>, ids: &Arc<dyn Ids>) -> IndexKind {
    #[cfg(feature = "lance")]
    if storage.on_lance {
        return IndexKind::Lance { bytes, clock: Arc::clone(clock), ids: Arc::clone(ids) };
    }
    let _ = (storage, clock, ids);
    IndexKind::Ram { bytes }
}

fn sim_start() -> Result<Timestamp> {
    SIM_START.parse().map_err(|error| Error::internal("the simulated start is no time").with_source(error))
}

impl Memory {
    /// Makes sure that the store's vectors and the embedder's are of one space.
    async fn claim_space(&self, reembed: bool) -> Result<()> {
        let own = self.parts.embedder.space();
        match self.ledger().active_space().await? {
            None => self.ledger().claim_space(own).await,
            Some(active) if active == *own || reembed => Ok(()),
            Some(active) => Err(active.mismatch(own)),
        }
    }
}
