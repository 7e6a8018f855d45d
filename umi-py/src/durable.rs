//! The durable core and working memory behind `memory.core` and `memory.working`.

use std::future::Future;

use pyo3::{
    IntoPyObjectExt,
    prelude::*,
    types::{PyBytes, PyString},
};
use umi_core::{self as core, MemoryCore, MemoryWorking};

use crate::{
    convert::{Octets, Real, Text, Whole, ttl_seconds},
    core_memory::{Block, block_type},
    memory::{Engine, plain, text},
    runtime::Operation,
    working_memory::ttl_secs,
};

/// The durable core and working memory of an engine's scope.
#[pyclass(frozen, module = "umi._umi")]
pub(crate) struct Parts {
    engine: Py<Engine>,
}

impl Parts {
    pub(crate) fn new(engine: Py<Engine>) -> Self {
        Self { engine }
    }

    fn call_core<T, F>(
        &self,
        work: impl FnOnce(MemoryCore) -> F + Send + 'static,
        convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Operation>
    where
        T: Send + 'static,
        F: Future<Output = core::Result<T>> + Send + 'static,
    {
        self.engine.get().call(move |memory| work(memory.core()), convert)
    }

    fn call_working<T, F>(
        &self,
        work: impl FnOnce(MemoryWorking) -> F + Send + 'static,
        convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Operation>
    where
        T: Send + 'static,
        F: Future<Output = core::Result<T>> + Send + 'static,
    {
        self.engine.get().call(move |memory| work(memory.working()), convert)
    }
}

fn block(py: Python<'_>, inner: core::Block) -> PyResult<Py<PyAny>> {
    Block { inner }.into_py_any(py)
}

fn blocks(py: Python<'_>, found: Vec<core::Block>) -> PyResult<Py<PyAny>> {
    found.into_iter().map(|inner| Block { inner }).collect::<Vec<_>>().into_py_any(py)
}

#[pymethods]
impl Parts {
    // ---- durable core memory ---------------------------------------------------------------------------------

    /// Replaces a block.
    fn core_set_block(
        &self,
        r#type: Text,
        content: Text,
        label: Option<Text>,
        importance: Option<Real>,
    ) -> PyResult<Operation> {
        let kind = block_type(&r#type.0)?;
        let (label, importance) = (text(label), importance.map(|value| value.0));
        self.call_core(
            move |core| async move { core.set_block(kind, &content.0, label.as_deref(), importance).await },
            |py, _| Ok(py.None()),
        )
    }

    /// The content of a block.
    fn core_get_block(&self, r#type: Text) -> PyResult<Operation> {
        let kind = block_type(&r#type.0)?;
        self.call_core(
            move |core| async move { core.get(kind).await },
            |py, block| plain(py, block.map(|block| block.content)),
        )
    }

    /// Removes a block.
    fn core_remove_block(&self, r#type: Text) -> PyResult<Operation> {
        let kind = block_type(&r#type.0)?;
        self.call_core(move |core| async move { core.remove(kind).await }, plain)
    }

    /// Removes every block.
    fn core_clear(&self) -> PyResult<Operation> {
        self.call_core(move |core| async move { core.clear().await }, plain)
    }

    /// The blocks.
    fn core_blocks(&self) -> PyResult<Operation> {
        self.call_core(move |core| async move { Ok(core.snapshot().await?.blocks().to_vec()) }, blocks)
    }

    /// The blocks as XML.
    fn core_render(&self) -> PyResult<Operation> {
        self.call_core(
            move |core| async move { core.render().await },
            |py, xml| PyString::new(py, &xml).into_py_any(py),
        )
    }

    /// The blocks as Markdown.
    fn core_render_markdown(&self) -> PyResult<Operation> {
        self.call_core(move |core| async move { Ok(core.snapshot().await?.render_markdown()) }, plain)
    }

    /// The pair (`used_bytes`, `max_bytes`).
    fn core_usage(&self) -> PyResult<Operation> {
        self.call_core(
            move |core| async move {
                let snapshot = core.snapshot().await?;
                Ok((snapshot.used_bytes(), snapshot.max_bytes()))
            },
            plain,
        )
    }

    /// The versions of a block.
    fn core_versions(&self, r#type: Text) -> PyResult<Operation> {
        let kind = block_type(&r#type.0)?;
        self.call_core(move |core| async move { core.versions(kind).await }, blocks)
    }

    /// Restores a version.
    fn core_restore(&self, r#type: Text, version: Whole) -> PyResult<Operation> {
        let kind = block_type(&r#type.0)?;
        let version = version.size("version")? as u64;
        self.call_core(move |core| async move { core.restore(kind, version).await }, block)
    }

    // ---- durable working memory ------------------------------------------------------------------------------

    /// Writes a value.
    fn working_set(&self, key: Text, value: Octets<'_>, ttl: Option<Real>) -> PyResult<Operation> {
        let (value, ttl) = (value.0.to_vec(), ttl_secs(ttl)?);
        self.call_working(move |working| async move { working.set(&key.0, value, ttl).await }, plain)
    }

    /// The value of a key.
    fn working_get(&self, key: Text) -> PyResult<Operation> {
        self.call_working(
            move |working| async move { working.get(&key.0).await },
            |py, value| plain(py, value.map(|value| PyBytes::new(py, &value).unbind())),
        )
    }

    /// Deletes a key.
    fn working_delete(&self, key: Text) -> PyResult<Operation> {
        self.call_working(move |working| async move { working.delete(&key.0).await }, plain)
    }

    /// Whether a key is live.
    fn working_exists(&self, key: Text) -> PyResult<Operation> {
        self.call_working(move |working| async move { working.exists(&key.0).await }, plain)
    }

    /// The live keys.
    fn working_keys(&self) -> PyResult<Operation> {
        self.call_working(move |working| async move { working.keys().await }, plain)
    }

    /// The seconds that a key still lives.
    fn working_ttl(&self, key: Text) -> PyResult<Operation> {
        self.call_working(
            move |working| async move { working.ttl(&key.0).await },
            |py, ttl| plain(py, ttl.map(ttl_seconds)),
        )
    }

    /// Adds to a number.
    fn working_incr(&self, key: Text, delta: Whole) -> PyResult<Operation> {
        self.call_working(move |working| async move { working.incr(&key.0, delta.0).await }, plain)
    }

    /// Puts bytes behind a value.
    fn working_append(&self, key: Text, value: Octets<'_>) -> PyResult<Operation> {
        let value = value.0.to_vec();
        self.call_working(move |working| async move { working.append(&key.0, value).await }, plain)
    }

    /// Lets a time to live begin anew.
    fn working_touch(&self, key: Text, ttl: Option<Real>) -> PyResult<Operation> {
        let ttl = ttl_secs(ttl)?;
        self.call_working(move |working| async move { working.touch(&key.0, ttl).await }, plain)
    }

    /// Drops what has expired.
    fn working_cleanup_expired(&self) -> PyResult<Operation> {
        self.call_working(move |working| async move { working.cleanup_expired().await }, plain)
    }

    /// Deletes every key.
    fn working_clear(&self) -> PyResult<Operation> {
        self.call_working(move |working| async move { working.clear().await }, plain)
    }

    /// The triple (`used_bytes`, `entry_count`, `max_bytes`).
    fn working_usage(&self) -> PyResult<Operation> {
        self.call_working(
            move |working| async move {
                let (bytes, entries) = working.usage().await?;
                Ok((bytes, entries, working.limits().max_bytes))
            },
            plain,
        )
    }
}
