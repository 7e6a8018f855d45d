//! `CoreMemory` and `Block`.

use parking_lot::Mutex;
use pyo3::{
    prelude::*,
    types::{PyDict, PyList},
};
use umi_core::{self as core, Clock, CoreLimits, Error, SystemClock};

use crate::{
    convert::{Fields, Real, Reduced, Str, Text, Time, Whole, dict_of, hash_of, number, reduced, shown, shown_or_none},
    error::{IntoPyResult, guarded},
};

/// Reads the name of a kind of block.
pub(crate) fn block_type(name: &str) -> PyResult<core::BlockType> {
    name.parse::<core::BlockType>().py()
}

/// One block of core memory: an immutable value.
#[pyclass(frozen, module = "umi")]
#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) inner: core::Block,
}

#[pymethods]
impl Block {
    /// The kind of block: system, persona, human, facts, goals or scratch.
    #[getter]
    fn r#type(&self) -> &'static str {
        self.inner.block_type.as_str()
    }

    /// A short title, or None.
    #[getter]
    fn label(&self) -> Option<&str> {
        self.inner.label.as_deref()
    }

    /// The text.
    #[getter]
    fn content(&self) -> &str {
        &self.inner.content
    }

    /// How important it is, from 0 to 1; 0.5 unless it was set.
    #[getter]
    fn importance(&self) -> f64 {
        self.inner.importance
    }

    /// 1 for the first text of this kind, then one more with every edit.
    #[getter]
    fn version(&self) -> u64 {
        self.inner.version
    }

    /// When it was last edited, in UTC.
    #[getter]
    fn updated_at(&self) -> Time {
        Time(self.inner.updated_at)
    }

    /// Its fields as plain values, times as ISO 8601 text.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        Ok(dict_of!(py,
            "type" => self.r#type(),
            "label" => self.label(),
            "content" => self.content(),
            "importance" => self.inner.importance,
            "version" => self.inner.version,
            "updated_at" => self.inner.updated_at.to_string(),
        ))
    }

    /// Makes a block from what `to_dict()` gave.
    #[staticmethod]
    #[pyo3(name = "from_dict")]
    fn from_dictionary(fields: &Bound<'_, PyDict>) -> PyResult<Self> {
        let fields =
            Fields::new("a block", fields, &["type", "label", "content", "importance", "version", "updated_at"])?;
        let kind = block_type(&fields.text("type")?)?;
        let content = fields.text("content")?;
        let label = fields.optional_text("label")?;
        let importance = fields.optional("importance")?.map(|value| value.extract::<Real>()).transpose()?;
        let updated_at = fields.time("updated_at")?;
        // a scratch memory that is large enough knows how to check a block
        let limits = CoreLimits { total_bytes: usize::MAX, block_bytes: usize::MAX };
        let mut block = core::CoreMemory::new(limits)
            .set_block(kind, &content, label.as_deref(), importance.map(|value| value.0), updated_at)
            .py()?;
        block.version = fields.get_or("version", Whole(1))?.size("version")? as u64;
        Ok(Self { inner: block })
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.inner == other.inner
    }

    fn __hash__(&self) -> u64 {
        let own = &self.inner;
        hash_of(&(own.block_type, &own.label, &own.content, number(own.importance), own.version, own.updated_at))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        reduced(slf)
    }

    fn __repr__(&self) -> String {
        format!(
            "Block(type='{}', label={}, content={}, importance={:?}, version={})",
            self.r#type(),
            shown_or_none(self.label()),
            shown(self.content()),
            self.inner.importance,
            self.inner.version
        )
    }
}

/// Six typed blocks of text that are always in the model's prompt, in memory only.
///
/// The blocks are system, persona, human, facts, goals and scratch. Limits are in bytes of UTF-8 content: 32 KiB in
/// all unless it is told, and a block up to the larger of 16 KiB and half of that.
#[pyclass(frozen, module = "umi")]
pub(crate) struct CoreMemory {
    inner: Mutex<core::CoreMemory>,
    limits: CoreLimits,
}

impl CoreMemory {
    fn edit<T>(&self, edit: impl FnOnce(&mut core::CoreMemory) -> core::Result<T>) -> PyResult<T> {
        guarded(|| edit(&mut self.inner.lock()))
    }
}

#[pymethods]
impl CoreMemory {
    #[new]
    #[pyo3(
        signature = (max_size_bytes=Whole::of(CoreLimits::default().total_bytes), *, block_bytes=None),
        text_signature = "(max_size_bytes=32768, *, block_bytes=None)"
    )]
    fn new(max_size_bytes: Whole, block_bytes: Option<Whole>) -> PyResult<Self> {
        let block_bytes = block_bytes.map(|bytes| bytes.size("block_bytes")).transpose()?;
        let limits = CoreLimits::new(max_size_bytes.size("max_size_bytes")?, block_bytes).py()?;
        Ok(Self { inner: Mutex::new(core::CoreMemory::new(limits)), limits })
    }

    /// Replaces a block. A label or importance of None keeps the old one; an empty label takes it away.
    ///
    /// Raises `InvalidInputError` for an unknown type, a label over 64 bytes or an importance outside of 0 to 1, and
    /// `CapacityError` when the block or the whole would be over its limit. Nothing has changed then.
    #[pyo3(signature = (r#type, content, *, label=None, importance=None))]
    fn set_block(
        &self,
        r#type: Str<'_>,
        content: Str<'_>,
        label: Option<Str<'_>>,
        importance: Option<Real>,
    ) -> PyResult<()> {
        let kind = block_type(r#type.0)?;
        let (label, importance) = (label.map(|label| label.0), importance.map(|value| value.0));
        self.edit(|memory| memory.set_block(kind, content.0, label, importance, SystemClock.now()))?;
        Ok(())
    }

    /// Replaces a block and its label.
    fn set_block_with_label(&self, r#type: Str<'_>, label: Str<'_>, content: Str<'_>) -> PyResult<()> {
        self.set_block(r#type, content, Some(label), None)
    }

    /// The content of a block, or None.
    fn get_block(&self, r#type: Str<'_>) -> PyResult<Option<String>> {
        let kind = block_type(r#type.0)?;
        Ok(self.inner.lock().get_block(kind).map(|block| block.content.clone()))
    }

    /// Removes a block. Gives whether it was there.
    fn remove_block(&self, r#type: Str<'_>) -> PyResult<bool> {
        let kind = block_type(r#type.0)?;
        Ok(self.inner.lock().remove_block(kind))
    }

    /// Whether there is a block of this type.
    fn has_block(&self, r#type: Str<'_>) -> PyResult<bool> {
        let kind = block_type(r#type.0)?;
        Ok(self.inner.lock().has_block(kind))
    }

    /// Removes every block.
    fn clear(&self) {
        self.inner.lock().clear();
    }

    /// The blocks, in the order of rendering.
    fn blocks(&self) -> Vec<Block> {
        self.inner.lock().blocks().iter().map(|block| Block { inner: block.clone() }).collect()
    }

    /// The blocks as XML for a model's prompt. Content can never leave its element.
    fn render(&self) -> PyResult<String> {
        self.edit(|memory| Ok(memory.render()))
    }

    /// The blocks as Markdown.
    fn render_markdown(&self) -> PyResult<String> {
        self.edit(|memory| Ok(memory.render_markdown()))
    }

    /// The bytes of content in use.
    #[getter]
    fn used_bytes(&self) -> usize {
        self.inner.lock().used_bytes()
    }

    /// The bytes of content that fit in all.
    #[getter]
    fn max_bytes(&self) -> usize {
        self.limits.total_bytes
    }

    /// The bytes of content that fit into one block.
    #[getter]
    fn block_bytes(&self) -> usize {
        self.limits.block_bytes
    }

    /// The bytes of content that still fit.
    #[getter]
    fn available_bytes(&self) -> usize {
        self.inner.lock().available_bytes()
    }

    /// How full it is, from 0 to 1.
    #[getter]
    fn utilization(&self) -> f64 {
        self.inner.lock().utilization()
    }

    /// Its limits and blocks as plain values.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let blocks: Vec<Bound<'py, PyDict>> =
            self.blocks().iter().map(|block| block.to_dict(py)).collect::<PyResult<_>>()?;
        Ok(dict_of!(py,
            "max_size_bytes" => self.limits.total_bytes,
            "block_bytes" => self.limits.block_bytes,
            "blocks" => blocks,
        ))
    }

    /// Makes a core memory from what `to_dict()` gave.
    #[staticmethod]
    #[pyo3(name = "from_dict")]
    fn from_dictionary(fields: &Bound<'_, PyDict>) -> PyResult<Self> {
        let fields = Fields::new("a core memory", fields, &["max_size_bytes", "block_bytes", "blocks"])?;
        let size = fields.get_or("max_size_bytes", Whole::of(CoreLimits::default().total_bytes))?;
        let block_bytes = fields.optional("block_bytes")?.map(|value| value.extract::<Whole>()).transpose()?;
        let empty = Self::new(size, block_bytes)?;
        let Some(blocks) = fields.optional("blocks")? else { return Ok(empty) };
        let blocks = blocks
            .cast_into::<PyList>()?
            .iter()
            .map(|block| Ok(Block::from_dictionary(&block.cast_into::<PyDict>()?)?.inner))
            .collect::<PyResult<Vec<_>>>()?;
        let filled = core::CoreMemory::from_blocks(empty.limits, blocks);
        if filled.used_bytes() > filled.max_bytes() {
            let message = format!("the blocks have {} bytes, at most {} fit", filled.used_bytes(), filled.max_bytes());
            return Err(
                Error::new(core::ErrorKind::Capacity, message).with_sizes(filled.max_bytes(), filled.used_bytes())
            )
            .py();
        }
        Ok(Self { inner: Mutex::new(filled), limits: empty.limits })
    }

    fn __eq__(&self, other: &Self) -> bool {
        // one lock at a time: two threads may compare the same two the other way round
        let own = self.inner.lock().clone();
        let other = other.inner.lock().clone();
        own == other
    }

    fn __copy__(&self) -> Self {
        Self { inner: Mutex::new(self.inner.lock().clone()), limits: self.limits }
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> Self {
        self.__copy__()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        reduced(slf)
    }

    fn __repr__(&self) -> String {
        let inner = self.inner.lock();
        let kinds: Vec<&str> = inner.blocks().iter().map(|block| block.block_type.as_str()).collect();
        format!(
            "CoreMemory(blocks=[{}], used_bytes={}, max_bytes={})",
            kinds.join(", "),
            inner.used_bytes(),
            inner.max_bytes()
        )
    }
}

/// A [`Text`] that may be missing, as the core takes it.
pub(crate) fn text_or_none(text: Option<&Text>) -> Option<&str> {
    text.map(|text| text.0.as_str())
}
