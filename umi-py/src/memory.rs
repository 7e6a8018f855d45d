//! The engine behind `umi.Memory`: every call as an [`Operation`] that can be awaited or waited for.

use std::{future::Future, sync::Arc};

use futures::future::{Either, join_all};
use parking_lot::Mutex;
use pyo3::{IntoPyObjectExt, prelude::*};
use umi_core::{
    self as core, Error, ErrorKind, FactChange, ForgetReach, ListOptions, MemoryBuilder, context::GlobalRef,
};

use crate::{
    config::MemoryConfig,
    context::{BaseContext, saved},
    convert::{Delta, Real, Text, Time, Whole},
    durable::Parts,
    entity::Entity,
    error::IntoPyResult,
    logging,
    metadata::Meta,
    models::LanguageModelProvider,
    opening::Opening,
    providers::{EmbeddingProvider, Folder, Storage},
    recall_options::{RecallOptions, limit},
    remember_options::RememberOptions,
    request::{self, Batch, Common},
    results,
    runtime::{self, Operation, block_on},
    scope::{Scope, ScopeArgs},
    world::ManualClock,
};

/// A memory of the core, as one process holds it.
#[pyclass(frozen, module = "umi._umi")]
pub(crate) struct Engine {
    /// None only while it is dropped.
    opening: Option<Opening>,
    /// Kept because the core knows the caller's functions only as its own.
    config: Py<MemoryConfig>,
    process: u32,
}

impl Engine {
    fn new(opening: Opening, config: Py<MemoryConfig>) -> Self {
        Self { opening: Some(opening), config, process: std::process::id() }
    }

    /// The opening, if it was of this process.
    fn opening(&self) -> PyResult<&Opening> {
        if self.process != std::process::id() {
            return Err(Error::new(ErrorKind::Forked, "this memory was opened before a fork, in another process")
                .with_hint("open the store again in the child"))
            .py();
        }
        self.opening.as_ref().ok_or_else(|| Error::internal("an engine without a memory")).py()
    }

    /// An operation on the memory, which waits until it is open.
    pub(crate) fn call<T, F>(
        &self,
        work: impl FnOnce(core::Memory) -> F + Send + 'static,
        convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Operation>
    where
        T: Send + 'static,
        F: Future<Output = core::Result<T>> + Send + 'static,
    {
        let opening = self.opening()?;
        let work = if let Some(memory) = opening.known() {
            Either::Left(work(memory.py()?))
        } else {
            let opening = opening.clone();
            Either::Right(async move { work(opening.memory().await?).await })
        };
        Ok(Operation::new(work, convert))
    }
}

/// Closes memories at once, at the end of the interpreter; all of them have `patience` together.
///
/// What does not close in time, or fails to, is left as it is: what was acknowledged is durable without it.
#[pyfunction]
pub(crate) fn _close_all(py: Python<'_>, engines: Vec<Bound<'_, Engine>>, patience: Delta) -> PyResult<()> {
    let openings: Vec<Opening> = engines.iter().filter_map(|engine| engine.get().opening().ok().cloned()).collect();
    let patience = patience.duration("patience")?;
    let closing = async move {
        let all = join_all(openings.into_iter().map(|opening| async { opening.memory().await?.close().await }));
        drop(tokio::time::timeout(patience, all).await);
        Ok(())
    };
    block_on(py, None, closing)
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(opening) = self.opening.take() else { return };
        if self.process != std::process::id() {
            // the parent's threads are not here: what they hold can only be left as it is
            std::mem::forget(opening);
            return;
        }
        // Dropping the last handle may wait for threads, which may wait for the interpreter that is held here.
        match Python::attach(runtime::existing) {
            Some(handle) => drop(handle.spawn_blocking(move || drop(opening))),
            // the interpreter ends: what was acknowledged is durable
            None => std::mem::forget(opening),
        }
    }
}

/// Values that need no other conversion.
pub(crate) fn plain<T: for<'py> IntoPyObject<'py>>(py: Python<'_>, value: T) -> PyResult<Py<PyAny>> {
    value.into_py_any(py)
}

fn entity(py: Python<'_>, entity: core::Entity) -> PyResult<Py<PyAny>> {
    Entity::from_core(entity).into_py_any(py)
}

fn entities(py: Python<'_>, found: Vec<core::Entity>) -> PyResult<Py<PyAny>> {
    Ok(results::entities(py, found)?.into_any().unbind())
}

pub(crate) fn text(text: Option<Text>) -> Option<String> {
    text.map(|text| text.0)
}

#[pymethods]
impl Engine {
    /// Opens a store. Where `waits` is false, it may still be under way when this returns, after some milliseconds.
    #[staticmethod]
    #[pyo3(signature = (storage, llm, embedder, config, scope, clock, reembed, seed, waits))]
    #[expect(clippy::too_many_arguments, reason = "the Python layer gives them their names")]
    fn open(
        py: Python<'_>,
        storage: Option<Storage>,
        llm: Option<PyRef<'_, LanguageModelProvider>>,
        embedder: Option<PyRef<'_, EmbeddingProvider>>,
        config: Option<Py<MemoryConfig>>,
        scope: ScopeArgs,
        clock: Option<PyRef<'_, ManualClock>>,
        reembed: bool,
        seed: Option<Whole>,
        waits: bool,
    ) -> PyResult<Self> {
        logging::bridge(py)?;
        core::prepare(); // while attached, since a fork is too: none happens meanwhile
        let mut builder = match seed {
            Some(seed) => MemoryBuilder::sim(seed.size("seed")? as u64),
            None => MemoryBuilder::new(),
        }
        .scope(scope.0.clone())
        .reembed(reembed);
        if let Some(storage) = storage {
            builder = builder.storage(storage.0);
        }
        if let Some(llm) = llm {
            builder = builder.language_model(Arc::clone(&llm.inner));
        }
        if let Some(embedder) = embedder {
            builder = builder.embedder(Arc::clone(&embedder.inner));
        }
        let config = config.map_or_else(|| Py::new(py, MemoryConfig::standard()), Ok)?;
        builder = builder.config(config.get().inner.clone());
        if let Some(clock) = clock {
            builder = builder.clock(Arc::new(clock.inner.clone()));
        }
        let opening = if waits { Opening::wait(py, builder)? } else { Opening::begin(py, builder, scope.0)? };
        Ok(Self::new(opening, config))
    }

    /// A handle of another scope on the same store.
    fn scoped(&self, py: Python<'_>, scope: ScopeArgs) -> PyResult<Self> {
        Ok(Self::new(self.opening()?.scoped(py, scope.0)?, self.config.clone_ref(py)))
    }

    /// The limits and defaults that it was opened with.
    #[getter]
    fn config(&self, py: Python<'_>) -> Py<MemoryConfig> {
        self.config.clone_ref(py)
    }

    /// The scope of a call that names none.
    #[getter]
    fn scope(&self) -> PyResult<Scope> {
        Ok(Scope { inner: self.opening()?.scope().clone() })
    }

    /// The durable core and working memory of its scope.
    fn parts(slf: Bound<'_, Self>) -> Parts {
        Parts::new(slf.unbind())
    }

    /// Whether it was closed.
    #[getter]
    fn is_closed(&self) -> PyResult<bool> {
        Ok(self.opening()?.known().is_some_and(|memory| memory.is_ok_and(|memory| memory.is_closed())))
    }

    /// Whether its opening has ended, well or not.
    #[getter]
    fn is_settled(&self) -> PyResult<bool> {
        Ok(self.opening()?.known().is_some())
    }

    /// Waits until it is open.
    fn opened(&self) -> PyResult<Operation> {
        self.call(|_| async { Ok(()) }, plain)
    }

    /// The store's folder, or None in memory. Waits until it is open.
    #[getter]
    fn path(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let memory = block_on(py, None, self.opening()?.clone().memory())?;
        Ok(memory.path().map(|path| path.to_string_lossy().into_owned()))
    }

    /// Remembers a text or a conversation.
    #[expect(clippy::too_many_arguments, reason = "the Python layer gives them their names")]
    fn remember(
        &self,
        content: &Bound<'_, PyAny>,
        options: Option<PyRef<'_, RememberOptions>>,
        role: Option<Text>,
        name: Option<Text>,
        at: Option<Time>,
        metadata: Option<Meta>,
        source: Option<Text>,
        key: Option<Text>,
        scope: ScopeArgs,
    ) -> PyResult<Operation> {
        let common = Common { role: text(role), name: text(name), at, metadata, source: text(source) };
        let mut request = core::RememberRequest::conversation(request::turns(content, &common)?).with_scope(scope.0);
        if let Some(options) = options {
            request = request.with_options(options.inner.clone());
        }
        if let Some(key) = key {
            request = request.with_key(key.0);
        }
        self.call(
            move |memory| async move { memory.remember_request(request).await },
            |py, result| Ok(results::remembered(py, result)?.into_any().unbind()),
        )
    }

    /// Remembers the items of a batch in one transaction.
    fn remember_batch(&self, batch: &Bound<'_, Batch>) -> PyResult<Operation> {
        let requests = batch.get().take();
        self.call(
            move |memory| async move { memory.remember_batch(requests).await },
            |py, found| Ok(results::all_remembered(py, found)?.into_any().unbind()),
        )
    }

    /// Stores a fact.
    fn add_entity(&self, entity: &Bound<'_, Entity>, scope: ScopeArgs) -> PyResult<Operation> {
        let entity = entity.get().to_core();
        self.call(
            move |memory| async move { memory.add_entity(entity, &scope.0).await },
            |py, result| Ok(results::remembered(py, result)?.into_any().unbind()),
        )
    }

    /// Finds what is relevant to a query.
    fn recall(&self, query: Text, options: Option<PyRef<'_, RecallOptions>>, scope: ScopeArgs) -> PyResult<Operation> {
        let options = options.map(|options| options.inner.clone()).unwrap_or_default();
        self.call(
            move |memory| async move { memory.recall_with(&query.0, &options, &scope.0).await },
            |py, found| Ok(results::recalled(py, found)?.into_any().unbind()),
        )
    }

    /// Renders the XML document of a prompt.
    fn context(
        &self,
        query: Option<Text>,
        budget_tokens: Whole,
        options: Option<PyRef<'_, RecallOptions>>,
        scope: ScopeArgs,
    ) -> PyResult<Operation> {
        let options = options.map(|options| options.inner.clone());
        let budget = budget_tokens.size("budget_tokens")?;
        let query = text(query);
        self.call(
            move |memory| async move { memory.context_with(query.as_deref(), budget, options.as_ref(), &scope.0).await },
            plain,
        )
    }

    /// The XML document of a prompt and the images that it shows, as a context.
    fn context_items(
        &self,
        query: Option<Text>,
        budget_tokens: Whole,
        options: Option<PyRef<'_, RecallOptions>>,
        scope: ScopeArgs,
    ) -> PyResult<Operation> {
        let options = options.map(|options| options.inner.clone());
        let budget = budget_tokens.size("budget_tokens")?;
        let query = text(query);
        self.call(
            move |memory| async move {
                memory.context_items(query.as_deref(), budget, options.as_ref(), &scope.0).await
            },
            |py, context| Ok(Py::new(py, BaseContext::from_core(context))?.into_any()),
        )
    }

    /// Remembers the items of a context.
    fn remember_context(
        &self,
        context: &Bound<'_, BaseContext>,
        options: Option<PyRef<'_, RememberOptions>>,
        scope: ScopeArgs,
    ) -> PyResult<Operation> {
        let items = context.get().snapshot();
        let options = options.map(|options| options.inner.clone()).unwrap_or_default();
        self.call(
            move |memory| async move { memory.remember_context(&items, options, &scope.0).await },
            |py, result| Ok(results::remembered(py, result)?.into_any().unbind()),
        )
    }

    /// The item of a context that was remembered under a global ref.
    fn remembered_item(&self, reference: Text, scope: ScopeArgs) -> PyResult<Operation> {
        let reference: GlobalRef = reference.0.parse().py()?;
        self.call(
            move |memory| async move { memory.remembered_item(&reference, &scope.0).await },
            |py, found| match found {
                Some(found) => Ok(saved::remembered(py, &found)?.into_any().unbind()),
                None => Ok(py.None()),
            },
        )
    }

    /// An entity by its id.
    fn get(&self, id: Text, scope: ScopeArgs) -> PyResult<Operation> {
        self.call(
            move |memory| async move { memory.get(&id.0, &scope.0).await },
            |py, found| found.map_or_else(|| Ok(py.None()), |found| entity(py, found)),
        )
    }

    /// The chain of versions of an entity.
    fn history(&self, id: Text, scope: ScopeArgs) -> PyResult<Operation> {
        self.call(move |memory| async move { memory.history(&id.0, &scope.0).await }, entities)
    }

    /// The relations of an entity.
    fn evolutions(&self, id: Text, scope: ScopeArgs) -> PyResult<Operation> {
        self.call(
            move |memory| async move { memory.evolutions(&id.0, &scope.0).await },
            |py, found| Ok(results::relations(py, found)?.into_any().unbind()),
        )
    }

    /// Lists facts.
    fn list(
        &self,
        entity_type: Option<Text>,
        current: bool,
        as_of: Option<Time>,
        limit: Whole,
        offset: Whole,
        scope: ScopeArgs,
    ) -> PyResult<Operation> {
        let options = ListOptions {
            entity_type: entity_type.map(|name| name.0.parse()).transpose().py()?,
            current,
            as_of: as_of.map(|time| time.0),
            limit: self::limit(limit)?,
            offset: offset.size("offset")?,
        };
        self.call(move |memory| async move { memory.list(&options, &scope.0).await }, entities)
    }

    /// Lists episodes.
    fn episodes(&self, limit: Whole, offset: Whole, scope: ScopeArgs) -> PyResult<Operation> {
        let (limit, offset) = (self::limit(limit)?, offset.size("offset")?);
        self.call(
            move |memory| async move { memory.episodes(limit, offset, &scope.0).await },
            |py, found| Ok(results::episodes(py, found)?.into_any().unbind()),
        )
    }

    /// Makes a new version of a fact.
    fn update(
        &self,
        id: Text,
        content: Option<Text>,
        metadata: Option<Meta>,
        confidence: Option<Real>,
        importance: Option<Real>,
        scope: ScopeArgs,
    ) -> PyResult<Operation> {
        let change = FactChange {
            content: text(content),
            metadata: metadata.map(|metadata| metadata.0),
            confidence: confidence.map(|value| value.0),
            importance: importance.map(|value| value.0),
        };
        self.call(move |memory| async move { memory.update(&id.0, change, &scope.0).await }, entity)
    }

    /// Forgets a version, a chain or an episode.
    fn forget(&self, id: Text, chain: bool, scope: ScopeArgs) -> PyResult<Operation> {
        let reach = if chain { ForgetReach::Chain } else { ForgetReach::Version };
        self.call(move |memory| async move { memory.forget(&id.0, reach, &scope.0).await }, plain)
    }

    /// Forgets everything of a scope.
    fn forget_scope(&self, confirm: bool, scope: ScopeArgs) -> PyResult<Operation> {
        self.call(move |memory| async move { memory.forget_scope(confirm, &scope.0).await }, plain)
    }

    /// Lists jobs.
    fn pending(&self, scope: ScopeArgs) -> PyResult<Operation> {
        self.call(
            move |memory| async move { memory.pending(&scope.0).await },
            |py, found| Ok(results::jobs(py, found)?.into_any().unbind()),
        )
    }

    /// Runs the jobs.
    fn retry_pending(&self) -> PyResult<Operation> {
        self.call(move |memory| async move { memory.retry_pending().await }, plain)
    }

    /// Moves the vectors to this embedder.
    fn reembed(&self, progress: Option<Py<PyAny>>) -> PyResult<Operation> {
        self.call(
            move |memory| async move {
                let failure: Mutex<Option<PyErr>> = Mutex::new(None);
                let report = |done: u64, total: u64| {
                    let Some(progress) = &progress else { return };
                    if let Err(error) = Python::attach(|py| progress.call1(py, (done, total))) {
                        failure.lock().get_or_insert(error);
                    }
                };
                let done = memory.reembed(Some(&report)).await?;
                Ok((done, failure.into_inner()))
            },
            // the vectors are renewed all the same; what the caller's function raised is the caller's to see
            |py, (done, failure)| failure.map_or_else(|| plain(py, done), Err),
        )
    }

    /// Rewrites the store without what was forgotten.
    fn purge(&self) -> PyResult<Operation> {
        self.call(move |memory| async move { memory.purge().await }, plain)
    }

    /// Counts current facts and episodes.
    fn count(&self, scope: ScopeArgs) -> PyResult<Operation> {
        self.call(move |memory| async move { memory.count(&scope.0).await }, plain)
    }

    /// Figures of the store.
    fn stats(&self) -> PyResult<Operation> {
        self.call(
            move |memory| async move { memory.stats().await },
            |py, stats| Ok(results::stats(py, stats)?.into_any().unbind()),
        )
    }

    /// Copies the store.
    fn backup(&self, path: Folder) -> PyResult<Operation> {
        self.call(move |memory| async move { memory.backup(&path.0).await }, plain)
    }

    /// Checks the store.
    fn check(&self) -> PyResult<Operation> {
        self.call(
            move |memory| async move { memory.check().await },
            |py, report| Ok(results::report(py, report)?.into_any().unbind()),
        )
    }

    /// Saves what can be read of a damaged store into a new one.
    #[staticmethod]
    fn recover(
        py: Python<'_>,
        source: Folder,
        target: Folder,
        embedder: Option<PyRef<'_, EmbeddingProvider>>,
    ) -> PyResult<Operation> {
        logging::bridge(py)?;
        core::prepare(); // as in `open`
        let embedder = embedder.map(|embedder| Arc::clone(&embedder.inner));
        Ok(Operation::new(async move { core::Memory::recover(&source.0, &target.0, embedder).await }, |py, report| {
            Ok(results::recovered(py, report)?.into_any().unbind())
        }))
    }

    /// Waits for the background.
    fn flush(&self) -> PyResult<Operation> {
        self.call(move |memory| async move { memory.flush().await }, plain)
    }

    /// Closes the handle.
    fn close(&self) -> PyResult<Operation> {
        self.call(move |memory| async move { memory.close().await }, plain)
    }

    fn __repr__(&self) -> PyResult<String> {
        Ok(format!("{:?}", self.opening()?))
    }
}
