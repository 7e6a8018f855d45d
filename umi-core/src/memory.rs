//! [`Memory`]: the handle that users hold, over one ledger, one index, one embedder and perhaps a language model.

mod builder;
mod candidates;
mod config;
mod context;
mod contexts;
mod core;
mod extraction;
mod facts;
mod held;
mod jobs;
mod maintenance;
mod options;
mod outage;
mod prompt;
mod recall;
mod recover;
mod remember;
mod request;
mod results;
mod store;
mod tasks;
mod tokens;
mod usage;
mod work;
mod working;

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;
use uuid::Uuid;

pub use self::{
    builder::{MemoryBuilder, StorageBackend, after_fork_in_child, after_fork_in_parent, before_fork, new_id, prepare},
    config::{INDEX_MEMORY_BYTES, MemoryConfig, RECALL_LIMIT, TEXT_BYTES, TokenCounter},
    context::{BUDGET_TOKENS, CONTEXT_IMAGES, MemoryContext},
    contexts::{ContextStore, LoadedContext, RememberedItem, StoredItem},
    core::MemoryCore,
    extraction::{RECALLED_SOURCE, recalled_source},
    facts::{FactChange, ListOptions},
    maintenance::{MemoryStats, Progress},
    options::{RecallOptions, RememberOptions, Wait},
    recall::Recall,
    recover::RecoverReport,
    remember::{REMEMBER_BATCH, Remember},
    request::{RememberRequest, Turn},
    results::{RecallResults, Recalled, RememberResult, StepFailure, Usage},
    tokens::estimate_tokens,
    usage::{ModelUsage, TokenPrices},
    working::MemoryWorking,
};
use self::{jobs::Services, store::Lease, tasks::Tasks, usage::UsageCounters};
use crate::{
    embed::Embedder,
    error::{Error, ErrorKind, Result},
    index::Index,
    ledger::Ledger,
    llm::LanguageModel,
    scope::Scope,
    world::{Clock, Ids},
};

/// A store of memories, through one scope. Cheap to clone; clones and [`Memory::scoped`] handles share the store.
///
/// The store closes when every handle that was opened or built is closed or dropped.
///
/// # Example
/// ```
/// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
/// use umi_core::Memory;
/// let memory = Memory::in_memory().await?;
/// memory.remember("I moved from Paris to Rome in May.").user("alice")?.await?;
/// let found = memory.recall("Where does she live?").user("alice")?.await?;
/// assert_eq!(found[0].entity.content, "I moved from Paris to Rome in May.");
/// assert!(memory.recall("Where does she live?").user("bob")?.await?.is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Memory {
    lease: Arc<Lease>,
    parts: Arc<Parts>,
    scope: Scope,
    pinned: bool,
    closed: Arc<AtomicBool>,
    is_root: bool,
}

/// What handles of one opening share beside the store.
struct Parts {
    embedder: Arc<dyn Embedder>,
    model: Option<Arc<dyn LanguageModel>>,
    /// What the model took.
    usage: UsageCounters,
    /// Whether one sequence of calls is to give the same bytes twice: then nothing is done at once with something else.
    is_simulated: bool,
    config: MemoryConfig,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    background: Tasks,
    /// What is known of the services that jobs need.
    services: Services,
    /// Whether it was opened to move the store to its embedder.
    reembed: bool,
}

impl Parts {
    /// How many things are done at once.
    fn concurrency(&self, most: usize) -> usize {
        if self.is_simulated { 1 } else { most }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("path", &self.lease.store.path)
            .field("scope", &self.scope)
            .field("embedder", &self.parts.embedder.space().model)
            .field("language_model", &self.parts.model.as_ref().map(|model| model.name()))
            .finish_non_exhaustive()
    }
}

impl Memory {
    /// Opens the store in a folder, which is made if it is missing, with the bundled embedder.
    ///
    /// A folder that this process has open gives another handle on the same store.
    ///
    /// # Errors
    /// `StoreIo`, `CorruptStore`, `StoreVersion` or `StoreLocked` of the folder; `EmbeddingSpace` when its vectors are
    /// of another embedder.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// use umi_core::Memory;
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path();
    /// let memory = Memory::open(path).await?;
    /// memory.remember("The kiln arrives on Monday.").await?;
    /// memory.close().await?;
    ///
    /// let memory = Memory::open(path).await?; // tomorrow, or in another process
    /// assert_eq!(memory.recall("kiln").await?.len(), 1);
    /// # memory.close().await?;
    /// # Ok(()) }
    /// ```
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        MemoryBuilder::new().storage(StorageBackend::sqlite(path)).build().await
    }

    /// A store that lives as long as its handles, with the bundled embedder.
    ///
    /// # Errors
    /// `Storage` when the database cannot be made.
    pub async fn in_memory() -> Result<Self> {
        MemoryBuilder::new().storage(StorageBackend::in_memory()).build().await
    }

    /// A store for tests: seeded ids, a clock that stands still, simulated vectors. One sequence of awaited calls gives
    /// the same bytes twice.
    ///
    /// # Errors
    /// `Storage` when the database cannot be made.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// use umi_core::Memory;
    /// let (one, same) = (Memory::sim(7).await?, Memory::sim(7).await?);
    /// let said = "Ana works at Acme.";
    /// assert_eq!(one.remember(said).await?.episode_ids, same.remember(said).await?.episode_ids);
    /// # Ok(()) }
    /// ```
    pub async fn sim(seed: u64) -> Result<Self> {
        MemoryBuilder::sim(seed).build().await
    }

    /// The scope that a call without a scope of its own reads and writes.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Limits and defaults.
    pub fn config(&self) -> &MemoryConfig {
        &self.parts.config
    }

    /// The clock that times are taken from.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.parts.clock
    }

    /// The embedder of this handle.
    pub fn embedder(&self) -> &Arc<dyn Embedder> {
        &self.parts.embedder
    }

    /// The language model of this handle, if it has one.
    pub fn language_model(&self) -> Option<&Arc<dyn LanguageModel>> {
        self.parts.model.as_ref()
    }

    /// The store's folder, or none in memory.
    pub fn path(&self) -> Option<&std::path::Path> {
        self.lease.store.path.as_deref()
    }

    /// A handle on the same store with parts of its scope replaced. A user that is named here is pinned: a call on the
    /// new handle cannot name another.
    ///
    /// # Errors
    /// `InvalidInput` when this handle is pinned to another user; `Closed` after close.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// # let memory = umi_core::Memory::in_memory().await?;
    ///
    /// use umi_core::Scope;
    /// let alice = memory.scoped(&Scope::new().with_user("alice")?)?;
    /// alice.remember("My passport is in the blue folder.").await?;
    /// assert_eq!(memory.recall("passport").user("alice")?.await?.len(), 1);
    /// assert!(alice.recall("passport").user("bob")?.await.is_err());
    /// # Ok(()) }
    /// ```
    pub fn scoped(&self, scope: &Scope) -> Result<Self> {
        self.check_open()?;
        let overlaid = self.resolve(scope)?;
        Ok(Self {
            lease: Arc::clone(&self.lease),
            parts: Arc::clone(&self.parts),
            scope: overlaid,
            pinned: self.pinned || scope.user().is_some(),
            closed: Arc::new(AtomicBool::new(false)),
            is_root: false,
        })
    }

    /// Whether this handle, or the one that it was made from, is closed.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire) || self.lease.is_closed()
    }

    /// Waits for everything that runs in the background, embedding and extraction included, and writes what an index on
    /// LanceDB lacks. What a cancelled call left undone is done too. What has failed is not tried again: see
    /// [`Memory::retry_pending`].
    ///
    /// # Errors
    /// `Closed` after close; `Storage` kinds when the ledger cannot be asked for what is left, or that index cannot be
    /// written.
    pub async fn flush(&self) -> Result<()> {
        self.check_open()?;
        self.parts.background.wait().await;
        self.lease.store.releases.wait().await;
        self.start_left_jobs().await?;
        self.parts.background.wait().await;
        self.lease.store.releases.wait().await;
        self.index().feed(self.ledger()).await
    }

    /// Starts to write what the index lacks, where it is time to.
    fn feed_index(&self) {
        if !self.index().is_durable() {
            return;
        }
        match self.ledger().head() {
            Ok(head) if self.index().is_due(head) => {}
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(target: "umi::memory", kind = ?error.kind(), "the ledger could not be asked what the index lacks");
                return;
            }
        }
        let store = Arc::clone(&self.lease.store);
        self.parts.background.spawn(async move {
            if let Err(error) = store.index.feed(store.ledger.as_ref()).await {
                tracing::warn!(target: "umi::memory", kind = ?error.kind(), "the index could not be written; it is tried again");
            }
        });
    }

    /// Refuses new calls, gives up embedding and extraction in the background, then lets go of the store. The requests
    /// that were under way are stopped; their jobs stay in the store, and the next opening runs them. Who wants them done
    /// calls [`Memory::flush`] before.
    ///
    /// A scoped handle closes only itself. Safe to repeat and to call at once from several tasks: each returns when the
    /// store was let go of. A cancelled call has begun to close, and the next one waits for the end of it. A handle that
    /// is dropped without it keeps the store open until what runs in the background has ended.
    ///
    /// # Errors
    /// `Storage` when the last writes cannot be made durable.
    pub async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        if !self.is_root {
            return Ok(());
        }
        self.lease.close(&self.parts.background).await
    }

    /// The scope of a call: its own parts over the handle's.
    fn resolve(&self, call: &Scope) -> Result<Scope> {
        if self.pinned && call.user().is_some() && call.user() != self.scope.user() {
            let shown = |user: Option<&str>| -> String { user.unwrap_or_default().chars().take(64).collect() };
            return Err(Error::invalid_input(format!(
                "this handle is pinned to user `{}`, a call on it cannot name user `{}`",
                shown(self.scope.user()),
                shown(call.user())
            ))
            .with_hint("use the handle that it was made from"));
        }
        Ok(self.scope.overlaid(call))
    }

    fn check_open(&self) -> Result<()> {
        if self.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "this memory is closed").with_hint("open it again"));
        }
        Ok(())
    }

    fn ledger(&self) -> &dyn Ledger {
        self.lease.store.ledger.as_ref()
    }

    fn index(&self) -> &dyn Index {
        self.lease.store.index.as_ref()
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    fn next_id(&self, now: Timestamp) -> Uuid {
        self.parts.ids.next(now)
    }
}

/// Reads an id; a text that is no UUID names nothing.
fn parse_id(id: &str) -> Option<Uuid> {
    Uuid::try_parse(id).ok()
}
