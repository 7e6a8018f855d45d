//! `RecallOptions`.

use pyo3::{
    prelude::*,
    types::{PyDict, PyString, PyTuple},
};
use umi_core::{self as core, EntityType, Error, ErrorKind, Kind, RECALL_LIMIT};

use crate::{
    convert::{Fields, Real, Reduced, Time, Whole, dict_of, hash_of, number, reduced, words},
    error::{IntoPyResult, PythonError},
};

const FIELDS: [&str; 10] = [
    "limit",
    "use_vector_search",
    "use_text_search",
    "deep_search",
    "time_range",
    "as_of",
    "entity_types",
    "include",
    "min_score",
    "explain",
];

/// What a recall reads and gives. An immutable value; the `with_…` methods give copies.
///
/// `limit` is 1 to 1,000, None the configuration's `recall_limit`. `as_of` reads what was true, and had been said, at a
/// time; `time_range` is (start, end), both included;
/// a time beyond 9999-12-30 22:00 UTC, such as `datetime.max`, means that last moment. `include` names "facts", "episodes" or both. `min_score` is an
/// absolute relevance from 0 to 1. `deep_search` lets a language model rewrite the query, None as the configuration says;
/// True without a model is an `InvalidInputError` of the recall.
#[pyclass(frozen, module = "umi")]
#[derive(Clone)]
pub(crate) struct RecallOptions {
    pub(crate) inner: core::RecallOptions,
}

/// The core's words for a limit, for numbers that are no size at all.
pub(crate) fn limit(limit: Whole) -> PyResult<usize> {
    usize::try_from(limit.0)
        .map_err(|_| {
            let message = format!("limit is `{}`, it must lie between 1 and {RECALL_LIMIT}", limit.0);
            Error::new(ErrorKind::InvalidLimit, message)
        })
        .py()
}

fn entity_types(types: &Bound<'_, PyAny>) -> PyResult<Vec<EntityType>> {
    words(types)?.iter().map(|word| word.parse::<EntityType>()).collect::<core::Result<_>>().py()
}

fn kinds(kinds: &Bound<'_, PyAny>) -> PyResult<Vec<Kind>> {
    words(kinds)?.iter().map(|word| word.parse::<Kind>()).collect::<core::Result<_>>().py()
}

/// The two ends of a range of time.
fn pair<'py>(range: &Bound<'py, PyAny>) -> PyResult<[Bound<'py, PyAny>; 2]> {
    range.extract().map_err(|error| {
        let error = Error::invalid_input("`time_range` is no pair of times").with_source(PythonError::new(error));
        crate::error::to_py(range.py(), &error)
    })
}

fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Episode => "episodes",
        _ => "facts",
    }
}

impl RecallOptions {
    fn with(&self, change: impl FnOnce(core::RecallOptions) -> core::Result<core::RecallOptions>) -> PyResult<Self> {
        Ok(Self { inner: change(self.inner.clone()).py()? })
    }
}

#[pymethods]
impl RecallOptions {
    #[new]
    #[pyo3(signature = (
        limit=None, use_vector_search=true, use_text_search=true, deep_search=None, time_range=None, as_of=None,
        entity_types=None, include=None, min_score=Real(0.0), explain=false
    ), text_signature = "(limit=None, use_vector_search=True, use_text_search=True, deep_search=None, \
        time_range=None, as_of=None, entity_types=None, include=('facts', 'episodes'), min_score=0.0, explain=False)")]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        limit: Option<Whole>,
        use_vector_search: bool,
        use_text_search: bool,
        deep_search: Option<bool>,
        time_range: Option<&Bound<'_, PyTuple>>,
        as_of: Option<Time>,
        entity_types: Option<&Bound<'_, PyAny>>,
        include: Option<&Bound<'_, PyAny>>,
        min_score: Real,
        explain: bool,
    ) -> PyResult<Self> {
        let mut options = core::RecallOptions::default().with_deep_search(deep_search).with_explain(explain);
        if let Some(limit) = limit {
            options = options.with_limit(self::limit(limit)?).py()?;
        }
        if let Some(range) = time_range {
            let [start, end] = pair(range.as_any())?;
            let (start, end): (Time, Time) = (start.extract()?, end.extract()?);
            options = options.with_time_range(start.0, end.0).py()?;
        }
        if let Some(time) = as_of {
            options = options.with_as_of(time.0);
        }
        if let Some(types) = entity_types {
            options = options.with_entity_types(self::entity_types(types)?).py()?;
        }
        if let Some(include) = include {
            options = options.with_include(kinds(include)?).py()?;
        }
        let inner = options
            .with_search(use_vector_search, use_text_search)
            .and_then(|options| options.with_min_score(min_score.0))
            .py()?;
        Ok(Self { inner })
    }

    /// The most results, or None for the configuration's.
    #[getter]
    fn limit(&self) -> Option<usize> {
        self.inner.limit()
    }

    /// Whether vectors find.
    #[getter]
    fn use_vector_search(&self) -> bool {
        self.inner.use_vector_search()
    }

    /// Whether words find.
    #[getter]
    fn use_text_search(&self) -> bool {
        self.inner.use_text_search()
    }

    /// Whether a language model rewrites the query, or None for the configuration's.
    #[getter]
    fn deep_search(&self) -> Option<bool> {
        self.inner.deep_search()
    }

    /// The range of time, both ends included, or None.
    #[getter]
    fn time_range(&self) -> Option<(Time, Time)> {
        self.inner.time_range().map(|(start, end)| (Time(start), Time(end)))
    }

    /// The time of truth, or None for now.
    #[getter]
    fn as_of(&self) -> Option<Time> {
        self.inner.as_of().map(Time)
    }

    /// The types of fact, or None for all.
    #[getter]
    fn entity_types<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let names = |types: &std::collections::BTreeSet<EntityType>| {
            PyTuple::new(py, types.iter().map(|kind| kind.as_str()).collect::<Vec<_>>())
        };
        self.inner.entity_types().map(names).transpose()
    }

    /// The kinds of result: facts, episodes or both.
    #[getter]
    fn include<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.inner.include().iter().map(|kind| plural(*kind)).collect::<Vec<_>>())
    }

    /// The least score of a result.
    #[getter]
    fn min_score(&self) -> f64 {
        self.inner.min_score()
    }

    /// Whether every signal of a result is told.
    #[getter]
    fn explain(&self) -> bool {
        self.inner.explain()
    }

    /// A copy with another number of results, 1 to 1,000.
    fn with_limit(&self, limit: Whole) -> PyResult<Self> {
        let limit = self::limit(limit)?;
        self.with(|options| options.with_limit(limit))
    }

    /// A copy that finds by vectors, or not.
    #[pyo3(signature = (use_vector_search=true))]
    fn with_vector_search(&self, use_vector_search: bool) -> PyResult<Self> {
        let text = self.use_text_search();
        self.with(|options| options.with_search(use_vector_search, text))
    }

    /// A copy that finds by words, or not.
    #[pyo3(signature = (use_text_search=true))]
    fn with_text_search(&self, use_text_search: bool) -> PyResult<Self> {
        let vector = self.use_vector_search();
        self.with(|options| options.with_search(vector, use_text_search))
    }

    /// A copy that lets a language model rewrite the query, or not.
    #[pyo3(signature = (deep_search=true))]
    fn with_deep_search(&self, deep_search: bool) -> PyResult<Self> {
        self.with(|options| Ok(options.with_deep_search(Some(deep_search))))
    }

    /// A copy that asks no language model.
    fn fast_only(&self) -> PyResult<Self> {
        self.with_deep_search(false)
    }

    /// A copy that reads only what was said, or was true, between two times, both included.
    fn with_time_range(&self, start: Time, end: Time) -> PyResult<Self> {
        self.with(|options| options.with_time_range(start.0, end.0))
    }

    /// A copy that reads what was true, and had been said, at a time.
    fn with_as_of(&self, as_of: Time) -> PyResult<Self> {
        self.with(|options| Ok(options.with_as_of(as_of.0)))
    }

    /// A copy that reads only facts of these types; an episode is of type note.
    fn with_entity_types(&self, entity_types: &Bound<'_, PyAny>) -> PyResult<Self> {
        let types = self::entity_types(entity_types)?;
        self.with(|options| options.with_entity_types(types))
    }

    /// A copy that gives facts, episodes or both.
    fn with_include(&self, include: &Bound<'_, PyAny>) -> PyResult<Self> {
        let kinds = kinds(include)?;
        self.with(|options| options.with_include(kinds))
    }

    /// A copy with another least score, from 0 to 1.
    fn with_min_score(&self, min_score: Real) -> PyResult<Self> {
        self.with(|options| options.with_min_score(min_score.0))
    }

    /// A copy that tells every signal, or not.
    #[pyo3(signature = (explain=true))]
    fn with_explain(&self, explain: bool) -> PyResult<Self> {
        self.with(|options| Ok(options.with_explain(explain)))
    }

    /// Its fields as plain values, times as ISO 8601 text.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let range = self.inner.time_range().map(|(start, end)| (start.to_string(), end.to_string()));
        Ok(dict_of!(py,
            "limit" => self.limit(),
            "use_vector_search" => self.use_vector_search(),
            "use_text_search" => self.use_text_search(),
            "deep_search" => self.deep_search(),
            "time_range" => range,
            "as_of" => self.inner.as_of().map(|time| time.to_string()),
            "entity_types" => self.entity_types(py)?,
            "include" => self.include(py)?,
            "min_score" => self.min_score(),
            "explain" => self.explain(),
        ))
    }

    /// Makes options from what `to_dict()` gave.
    #[staticmethod]
    #[pyo3(name = "from_dict")]
    fn from_dictionary(fields: &Bound<'_, PyDict>) -> PyResult<Self> {
        let py = fields.py();
        let fields = Fields::new("a set of recall options", fields, &FIELDS)?;
        let time_range = match fields.optional("time_range")? {
            Some(range) => {
                let [start, end] = pair(&range)?;
                let ends = dict_of!(py, "start" => start, "end" => end);
                let ends = Fields::new("a time range", &ends, &["start", "end"])?;
                Some((Time(ends.time("start")?), Time(ends.time("end")?)).into_pyobject(py)?)
            }
            None => None,
        };
        Self::new(
            fields.get_or("limit", None)?,
            fields.get_or("use_vector_search", true)?,
            fields.get_or("use_text_search", true)?,
            fields.get_or("deep_search", None)?,
            time_range.as_ref(),
            fields.optional_time("as_of")?.map(Time),
            fields.optional("entity_types")?.as_ref(),
            fields.optional("include")?.as_ref(),
            fields.get_or("min_score", Real(0.0))?,
            fields.get_or("explain", false)?,
        )
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.inner == other.inner
    }

    fn __hash__(&self) -> u64 {
        let own = &self.inner;
        let ways = (own.use_vector_search(), own.use_text_search(), own.deep_search(), own.explain());
        let times = (own.time_range(), own.as_of());
        hash_of(&(own.limit(), ways, times, own.entity_types(), own.include(), number(own.min_score())))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        reduced(slf)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let mut parts = Vec::new();
        for (name, value) in self.to_dict(py)?.iter() {
            parts.push(format!("{}={}", name.cast_into::<PyString>()?.to_str()?, value.repr()?.to_str()?));
        }
        Ok(format!("RecallOptions({})", parts.join(", ")))
    }
}
