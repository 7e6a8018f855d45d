//! `MemoryConfig`.

use std::sync::Arc;

use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyDict, PyString},
};
use umi_core::{self as core, Error, TokenPrices};

use crate::{
    convert::{Fields, Real, Reduced, Ttl, Whole, dict_of, reduced, ttl_seconds},
    error::{IntoPyResult, PythonError},
    recall_options::limit,
};

const FIELDS: [&str; 13] = [
    "core_memory_bytes",
    "core_block_bytes",
    "working_memory_bytes",
    "working_memory_entries",
    "working_value_bytes",
    "working_memory_ttl",
    "recall_limit",
    "text_bytes",
    "index_memory_bytes",
    "embedding_cache_bytes",
    "deep_search",
    "token_counter",
    "token_prices",
];

/// Limits and defaults of a memory. An immutable value; the `with_…` methods give checked copies.
///
/// Sizes are in bytes. `core_memory_bytes` 4 KiB to 16 MiB, `core_block_bytes` None for the larger of 16 KiB and half
/// of it; `working_memory_bytes` keys and values, `working_memory_entries` of them, `working_value_bytes` one value;
/// `working_memory_ttl` a timedelta up to 7 days, or `math.inf`; `recall_limit` 1 to 1,000; `text_bytes` up to 10 MB;
/// `index_memory_bytes` the bound of the index in memory; `embedding_cache_bytes` what the vectors of texts that a remote
/// embedder saw last may take, 0 to keep none; `deep_search` lets a language model rewrite the queries of recalls that
/// do not say otherwise, and changes nothing where the memory has none; `token_counter` is a function from text to its
/// number of tokens; `token_prices` is what a million tokens read and a million written by the language model cost, in
/// whatever currency, so that `stats()` tells a cost.
#[pyclass(frozen, module = "umi")]
pub(crate) struct MemoryConfig {
    pub(crate) inner: core::MemoryConfig,
    block_bytes: Option<usize>,
    token_counter: Option<Py<PyAny>>,
}

/// What holds where nothing else is said.
fn standard() -> core::MemoryConfig {
    core::MemoryConfig::default()
}

fn counter(function: Py<PyAny>) -> core::TokenCounter {
    Arc::new(move |text: &str| {
        Python::attach(|py| {
            let count =
                function.bind(py).call1((text,)).and_then(|count| count.extract::<Whole>()).map_err(|error| {
                    Error::invalid_input("the token_counter failed").with_source(PythonError::new(error))
                })?;
            usize::try_from(count.0)
                .map_err(|_| Error::invalid_input(format!("the token_counter gave `{}`, which is negative", count.0)))
        })
    })
}

impl MemoryConfig {
    /// The limits and defaults of a memory that is given none.
    pub(crate) fn standard() -> Self {
        Self { inner: standard(), block_bytes: None, token_counter: None }
    }

    fn with<'py>(slf: &Bound<'py, Self>, name: &str, value: impl IntoPyObject<'py>) -> PyResult<Self> {
        let py = slf.py();
        let fields = slf.get().to_dict(py)?;
        fields.set_item(name, value)?;
        Self::from_dictionary(&fields)
    }
}

#[pymethods]
impl MemoryConfig {
    #[new]
    #[pyo3(signature = (
        core_memory_bytes=Whole::of(standard().core_limits().total_bytes), core_block_bytes=None,
        working_memory_bytes=Whole::of(standard().working_limits().max_bytes), working_memory_ttl=None,
        recall_limit=Whole::of(standard().recall_limit()), text_bytes=Whole::of(standard().text_bytes()),
        index_memory_bytes=None, deep_search=standard().deep_search(), token_counter=None,
        working_memory_entries=Whole::of(standard().working_limits().max_entries),
        working_value_bytes=Whole::of(standard().working_limits().value_bytes), token_prices=None,
        embedding_cache_bytes=Whole::of(standard().embedding_cache_bytes())
    ), text_signature = "(core_memory_bytes=32768, core_block_bytes=None, working_memory_bytes=1048576, \
        working_memory_ttl=None, recall_limit=10, text_bytes=100000, index_memory_bytes=None, deep_search=False, \
        token_counter=None, working_memory_entries=10000, working_value_bytes=65536, token_prices=None, \
        embedding_cache_bytes=16777216)")]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        core_memory_bytes: Whole,
        core_block_bytes: Option<Whole>,
        working_memory_bytes: Whole,
        working_memory_ttl: Option<Ttl>,
        recall_limit: Whole,
        text_bytes: Whole,
        index_memory_bytes: Option<Whole>,
        deep_search: bool,
        token_counter: Option<Bound<'_, PyAny>>,
        working_memory_entries: Whole,
        working_value_bytes: Whole,
        token_prices: Option<(Real, Real)>,
        embedding_cache_bytes: Whole,
    ) -> PyResult<Self> {
        let block_bytes = core_block_bytes.map(|bytes| bytes.size("core_block_bytes")).transpose()?;
        let index_bytes =
            index_memory_bytes.map_or(Ok(standard().index_memory_bytes()), |bytes| bytes.size("index_memory_bytes"))?;
        let mut inner = standard()
            .with_core_memory_bytes(core_memory_bytes.size("core_memory_bytes")?, block_bytes)
            .py()?
            .with_working_memory_bytes(working_memory_bytes.size("working_memory_bytes")?)
            .py()?
            .with_working_memory_entries(working_memory_entries.size("working_memory_entries")?)
            .py()?
            .with_working_value_bytes(working_value_bytes.size("working_value_bytes")?)
            .py()?
            .with_recall_limit(limit(recall_limit)?)
            .py()?
            .with_text_bytes(text_bytes.size("text_bytes")?)
            .py()?
            .with_index_memory_bytes(index_bytes)
            .py()?
            .with_embedding_cache_bytes(embedding_cache_bytes.size("embedding_cache_bytes")?)
            .py()?
            .with_deep_search(deep_search);
        if let Some(ttl) = working_memory_ttl {
            inner = inner.with_working_memory_ttl(ttl.0).py()?;
        }
        if let Some((input, output)) = token_prices {
            inner = inner.with_token_prices(TokenPrices::new(input.0, output.0).py()?);
        }
        if let Some(function) = &token_counter {
            if !function.is_callable() {
                return Err(PyTypeError::new_err("token_counter is not callable"));
            }
            inner = inner.with_token_counter(counter(function.clone().unbind()));
        }
        Ok(Self { inner, block_bytes, token_counter: token_counter.map(Bound::unbind) })
    }

    /// Bytes of core memory in all.
    #[getter]
    fn core_memory_bytes(&self) -> usize {
        self.inner.core_limits().total_bytes
    }

    /// Bytes of one block of core memory.
    #[getter]
    fn core_block_bytes(&self) -> usize {
        self.inner.core_limits().block_bytes
    }

    /// Bytes of working memory, keys and values.
    #[getter]
    fn working_memory_bytes(&self) -> usize {
        self.inner.working_limits().max_bytes
    }

    /// How many entries working memory holds.
    #[getter]
    fn working_memory_entries(&self) -> usize {
        self.inner.working_limits().max_entries
    }

    /// Bytes of one working value.
    #[getter]
    fn working_value_bytes(&self) -> usize {
        self.inner.working_limits().value_bytes
    }

    /// How long a working value lives that is given no time to live: a timedelta, or `math.inf`.
    #[getter]
    fn working_memory_ttl(&self) -> Ttl {
        Ttl(self.inner.working_limits().default_ttl)
    }

    /// How many results a recall gives that names no limit.
    #[getter]
    fn recall_limit(&self) -> usize {
        self.inner.recall_limit()
    }

    /// Bytes of one text to remember or query.
    #[getter]
    fn text_bytes(&self) -> usize {
        self.inner.text_bytes()
    }

    /// Bytes of the index in memory.
    #[getter]
    fn index_memory_bytes(&self) -> usize {
        self.inner.index_memory_bytes()
    }

    /// Bytes of the vectors of a remote embedder that are kept.
    #[getter]
    fn embedding_cache_bytes(&self) -> usize {
        self.inner.embedding_cache_bytes()
    }

    /// Whether a language model rewrites the query of a recall unless it is told.
    #[getter]
    fn deep_search(&self) -> bool {
        self.inner.deep_search()
    }

    /// The function that counts tokens, or None for the estimate by script.
    #[getter]
    fn token_counter(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.token_counter.as_ref().map(|function| function.clone_ref(py))
    }

    /// What a million tokens read and a million written cost, or None where that is not known.
    #[getter]
    fn token_prices(&self) -> Option<(f64, f64)> {
        self.inner.token_prices().map(|prices| (prices.input, prices.output))
    }

    /// A copy with other bytes of core memory.
    fn with_core_memory_bytes(slf: &Bound<'_, Self>, core_memory_bytes: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::with(slf, "core_memory_bytes", core_memory_bytes)
    }

    /// A copy with other bytes of one block; None for the larger of 16 KiB and half of core memory.
    fn with_core_block_bytes(slf: &Bound<'_, Self>, core_block_bytes: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::with(slf, "core_block_bytes", core_block_bytes)
    }

    /// A copy with other bytes of working memory.
    fn with_working_memory_bytes(slf: &Bound<'_, Self>, working_memory_bytes: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::with(slf, "working_memory_bytes", working_memory_bytes)
    }

    /// A copy with another number of entries of working memory.
    fn with_working_memory_entries(slf: &Bound<'_, Self>, working_memory_entries: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::with(slf, "working_memory_entries", working_memory_entries)
    }

    /// A copy with other bytes of one working value.
    fn with_working_value_bytes(slf: &Bound<'_, Self>, working_value_bytes: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::with(slf, "working_value_bytes", working_value_bytes)
    }

    /// A copy with another time to live of working values.
    fn with_working_memory_ttl(slf: &Bound<'_, Self>, working_memory_ttl: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::with(slf, "working_memory_ttl", working_memory_ttl)
    }

    /// A copy with another number of results.
    fn with_recall_limit(slf: &Bound<'_, Self>, recall_limit: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::with(slf, "recall_limit", recall_limit)
    }

    /// A copy with other bytes of one text.
    fn with_text_bytes(slf: &Bound<'_, Self>, text_bytes: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::with(slf, "text_bytes", text_bytes)
    }

    /// A copy with other bytes of the index.
    fn with_index_memory_bytes(slf: &Bound<'_, Self>, index_memory_bytes: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::with(slf, "index_memory_bytes", index_memory_bytes)
    }

    /// A copy with other bytes of the vectors of a remote embedder that are kept, or 0.
    fn with_embedding_cache_bytes(slf: &Bound<'_, Self>, embedding_cache_bytes: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::with(slf, "embedding_cache_bytes", embedding_cache_bytes)
    }

    /// A copy that lets a language model rewrite queries, or not.
    #[pyo3(signature = (deep_search=true))]
    fn with_deep_search(slf: &Bound<'_, Self>, deep_search: bool) -> PyResult<Self> {
        Self::with(slf, "deep_search", deep_search)
    }

    /// A copy with another function that counts tokens, or None.
    fn with_token_counter(slf: &Bound<'_, Self>, token_counter: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::with(slf, "token_counter", token_counter)
    }

    /// A copy with what a million tokens read and a million written cost, for the cost in `stats()`, or None.
    fn with_token_prices(slf: &Bound<'_, Self>, token_prices: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::with(slf, "token_prices", token_prices)
    }

    /// Its fields as plain values; the time to live in seconds, the function that counts tokens as it is.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        Ok(dict_of!(py,
            "core_memory_bytes" => self.core_memory_bytes(),
            "core_block_bytes" => self.block_bytes,
            "working_memory_bytes" => self.working_memory_bytes(),
            "working_memory_entries" => self.working_memory_entries(),
            "working_value_bytes" => self.working_value_bytes(),
            "working_memory_ttl" => ttl_seconds(self.inner.working_limits().default_ttl),
            "recall_limit" => self.recall_limit(),
            "text_bytes" => self.text_bytes(),
            "index_memory_bytes" => self.index_memory_bytes(),
            "embedding_cache_bytes" => self.embedding_cache_bytes(),
            "deep_search" => self.deep_search(),
            "token_counter" => self.token_counter(py),
            "token_prices" => self.token_prices(),
        ))
    }

    /// Makes a configuration from what `to_dict()` gave.
    #[staticmethod]
    #[pyo3(name = "from_dict")]
    fn from_dictionary(fields: &Bound<'_, PyDict>) -> PyResult<Self> {
        let py = fields.py();
        Fields::new("a configuration", fields, &FIELDS)?;
        let made = py.get_type::<Self>().call((), Some(fields))?.cast_into::<Self>()?;
        let made = made.get();
        Ok(Self { inner: made.inner.clone(), block_bytes: made.block_bytes, token_counter: made.token_counter(py) })
    }

    fn __eq__(&self, py: Python<'_>, other: &Self) -> PyResult<bool> {
        self.to_dict(py)?.eq(other.to_dict(py)?)
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        pyo3::types::PyTuple::new(py, self.to_dict(py)?.values())?.hash()
    }

    fn __copy__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __deepcopy__<'py>(slf: PyRef<'py, Self>, _memo: &Bound<'py, PyAny>) -> PyRef<'py, Self> {
        slf
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        reduced(slf)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let mut parts = Vec::new();
        for (name, value) in self.to_dict(py)?.iter() {
            let name = name.cast_into::<PyString>()?;
            // a function of the caller's tells its type alone: its own `repr` may be of any length and say anything
            let shown = match name.to_str()? {
                "token_counter" if !value.is_none() => format!("<{}>", value.get_type().name()?),
                _ => value.repr()?.to_str()?.to_owned(),
            };
            parts.push(format!("{}={shown}", name.to_str()?));
        }
        Ok(format!("MemoryConfig({})", parts.join(", ")))
    }
}
