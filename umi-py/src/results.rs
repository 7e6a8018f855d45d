//! What the calls of a memory give: `Recalled`, `Episode`, `Job`, and the parts of the results that live in Python.

use pyo3::{
    prelude::*,
    types::{PyDict, PyList, PyTuple},
};
use umi_core::{self as core, Kind, Metadata};

use crate::{
    convert::{Fields, Meta, Real, Time, dict_of, hash_of, shown, shown_or_none},
    entity::{self, Entity, EvolutionRelation},
    error::{IntoPyResult, to_value},
};

/// One result of a recall: an entity, how relevant it is, and where it comes from.
///
/// An episode shows itself as an entity of type `note`, its text whole in `content`.
#[pyclass(frozen, extends = Entity, module = "umi")]
pub(crate) struct Recalled {
    kind: Kind,
    score: f64,
    signals: Vec<(String, f64)>,
    role: Option<String>,
    speaker: Option<String>,
    at: core::Timestamp,
}

impl Recalled {
    pub(crate) fn make(recalled: core::Recalled) -> PyClassInitializer<Self> {
        let own = Self {
            kind: recalled.kind,
            score: recalled.score,
            signals: recalled.signals.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            role: recalled.role,
            speaker: recalled.speaker,
            at: recalled.at,
        };
        PyClassInitializer::from(Entity::from_core(recalled.entity)).add_subclass(own)
    }

    fn is_like(&self, other: &Self) -> bool {
        (self.kind, self.score, self.at) == (other.kind, other.score, other.at)
            && (&self.signals, &self.role, &self.speaker) == (&other.signals, &other.role, &other.speaker)
    }
}

#[pymethods]
impl Recalled {
    /// `fact` or `episode`.
    #[getter]
    fn kind(&self) -> &'static str {
        self.kind.as_str()
    }

    /// The absolute relevance, from 0 to 1.
    #[getter]
    fn score(&self) -> f64 {
        self.score
    }

    /// What the score and the rank were made of, by name; all of it with `explain=True`.
    #[getter]
    fn signals<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let signals = PyDict::new(py);
        for (name, value) in &self.signals {
            signals.set_item(name, value)?;
        }
        Ok(signals)
    }

    /// The speaker's part, or None for a fact.
    #[getter]
    fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    /// The speaker's name, or None.
    #[getter]
    fn speaker(&self) -> Option<&str> {
        self.speaker.as_deref()
    }

    /// When it was said, or from when on it is true, in UTC.
    #[getter]
    fn at(&self) -> Time {
        Time(self.at)
    }

    /// The ref of the item of a context that it comes from, or None.
    #[getter]
    fn r#ref(&self) -> Option<&str> {
        None
    }

    /// The entity alone.
    #[getter]
    fn entity(slf: PyRef<'_, Self>) -> Entity {
        Entity::from_core(slf.as_super().to_core())
    }

    /// Its fields as plain values, times as ISO 8601 text.
    fn to_dict(slf: PyRef<'_, Self>) -> PyResult<Bound<'_, PyDict>> {
        let py = slf.py();
        let fields = Entity::from_core(slf.as_super().to_core()).to_dictionary(py)?;
        let own = dict_of!(py,
            "kind" => slf.kind(),
            "score" => slf.score,
            "signals" => slf.signals(py)?,
            "role" => slf.role(),
            "speaker" => slf.speaker(),
            "at" => slf.at.to_string(),
            "ref" => slf.r#ref(),
        );
        fields.update(own.as_mapping())?;
        Ok(fields)
    }

    /// Makes a result from what `to_dict()` gave.
    #[staticmethod]
    #[pyo3(name = "from_dict")]
    fn from_dictionary(fields: &Bound<'_, PyDict>) -> PyResult<Py<Self>> {
        let py = fields.py();
        let fields = Fields::new("result", fields);
        let signals = fields.get("signals")?.cast_into::<PyDict>()?;
        let own = Self {
            kind: fields.text("kind")?.parse().py()?,
            score: fields.get("score")?.extract::<Real>()?.0,
            signals: signals
                .iter()
                .map(|(name, value)| Ok((name.extract()?, value.extract::<Real>()?.0)))
                .collect::<PyResult<_>>()?,
            role: fields.optional_text("role")?,
            speaker: fields.optional_text("speaker")?,
            at: fields.time("at")?,
        };
        let entity = Entity::from_core(Entity::from_fields(&fields)?);
        Py::new(py, PyClassInitializer::from(entity).add_subclass(own))
    }

    fn __eq__(slf: &Bound<'_, Self>, other: &Bound<'_, Self>) -> bool {
        let (one, two) = (slf.get(), other.get());
        one.is_like(two) && {
            let (one, two) = (slf.borrow().as_super().to_core(), other.borrow().as_super().to_core());
            one == two
        }
    }

    fn __copy__(slf: &Bound<'_, Self>) -> PyResult<Py<Self>> {
        let py = slf.py();
        let own = slf.get();
        let copy = Self {
            kind: own.kind,
            score: own.score,
            signals: own.signals.clone(),
            role: own.role.clone(),
            speaker: own.speaker.clone(),
            at: own.at,
        };
        let entity = Entity::from_core(slf.borrow().as_super().to_core());
        Py::new(py, PyClassInitializer::from(entity).add_subclass(copy))
    }

    fn __deepcopy__(slf: &Bound<'_, Self>, _memo: &Bound<'_, PyAny>) -> PyResult<Py<Self>> {
        Self::__copy__(slf)
    }

    fn __repr__(slf: PyRef<'_, Self>) -> String {
        let entity = slf.as_super().to_core();
        format!(
            "Recalled(kind='{}', score={:.3}, name={}, content={}, id='{}')",
            slf.kind.as_str(),
            slf.score,
            shown(&entity.name),
            shown(&entity.content),
            entity.id
        )
    }
}

/// A text as it was remembered, with who said it and when. An immutable value, never rewritten.
#[pyclass(frozen, module = "umi")]
pub(crate) struct Episode {
    inner: core::Episode,
}

#[pymethods]
impl Episode {
    /// The episode's id.
    #[getter]
    fn id(&self) -> String {
        self.inner.id.to_string()
    }

    /// What was said, verbatim.
    #[getter]
    fn text(&self) -> &str {
        &self.inner.text
    }

    /// The speaker's part: user, assistant, system, tool or another word.
    #[getter]
    fn role(&self) -> &str {
        &self.inner.role
    }

    /// The speaker's name, or None.
    #[getter]
    fn name(&self) -> Option<&str> {
        self.inner.name.as_deref()
    }

    /// When it was said, in UTC.
    #[getter]
    fn at(&self) -> Time {
        Time(self.inner.at)
    }

    /// When it was recorded, in UTC.
    #[getter]
    fn recorded_at(&self) -> Time {
        Time(self.inner.recorded_at)
    }

    /// The tenant, or None.
    #[getter]
    fn user(&self) -> Option<&str> {
        self.inner.user.as_deref()
    }

    /// The agent that recorded it, or None.
    #[getter]
    fn agent(&self) -> Option<&str> {
        self.inner.agent.as_deref()
    }

    /// The session that it belongs to, or None.
    #[getter]
    fn session(&self) -> Option<&str> {
        self.inner.session.as_deref()
    }

    /// Where it comes from, or None.
    #[getter]
    fn source(&self) -> Option<&str> {
        self.inner.source.as_deref()
    }

    /// The caller's own fields: a fresh copy.
    #[getter]
    fn metadata(&self) -> Meta {
        Meta(self.inner.metadata.clone())
    }

    /// A prior of ranking, from 0 to 1; 0.5 is neutral.
    #[getter]
    fn importance(&self) -> f64 {
        self.inner.importance
    }

    /// Its fields as plain values, times as ISO 8601 text.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        Ok(dict_of!(py,
            "id" => self.id(),
            "text" => self.text(),
            "role" => self.role(),
            "name" => self.name(),
            "at" => self.inner.at.to_string(),
            "recorded_at" => self.inner.recorded_at.to_string(),
            "user" => self.user(),
            "agent" => self.agent(),
            "session" => self.session(),
            "source" => self.source(),
            "metadata" => self.metadata(),
            "importance" => self.inner.importance,
        ))
    }

    /// Makes an episode from what `to_dict()` gave.
    #[staticmethod]
    #[pyo3(name = "from_dict")]
    fn from_dictionary(fields: &Bound<'_, PyDict>) -> PyResult<Self> {
        let fields = Fields::new("episode", fields);
        let id = entity::id(&fields.text("id")?)?;
        let mut inner = core::Episode::new(id, fields.text("text")?, fields.text("role")?, fields.time("at")?);
        inner.name = fields.optional_text("name")?;
        inner.recorded_at = fields.time("recorded_at")?;
        inner.user = fields.optional_text("user")?;
        inner.agent = fields.optional_text("agent")?;
        inner.session = fields.optional_text("session")?;
        inner.source = fields.optional_text("source")?;
        inner.metadata = fields.get("metadata")?.extract::<Meta>()?.0;
        inner.importance = fields.get("importance")?.extract::<Real>()?.0;
        Ok(Self { inner })
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyDict>,))> {
        Ok((slf.get_type().getattr("from_dict")?, (slf.get().to_dict(slf.py())?,)))
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.inner == other.inner
    }

    fn __hash__(&self) -> u64 {
        hash_of(&self.inner)
    }

    fn __copy__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __deepcopy__<'py>(slf: PyRef<'py, Self>, _memo: &Bound<'py, PyAny>) -> PyRef<'py, Self> {
        slf
    }

    fn __repr__(&self) -> String {
        format!(
            "Episode(text={}, role={}, name={}, at='{}', id='{}')",
            shown(self.text()),
            shown(self.role()),
            shown_or_none(self.name()),
            self.inner.at,
            self.inner.id
        )
    }
}

/// Work that was left for later. An immutable value.
#[pyclass(frozen, module = "umi")]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Job {
    id: String,
    kind: String,
    episode_id: Option<String>,
    attempts: u32,
    last_error: Option<String>,
    created_at: core::Timestamp,
}

impl From<core::Job> for Job {
    fn from(job: core::Job) -> Self {
        Self {
            id: job.id.to_string(),
            kind: job.kind.as_str().to_owned(),
            episode_id: job.episode_id.map(|id| id.to_string()),
            attempts: job.attempts,
            last_error: job.last_error,
            created_at: job.created_at,
        }
    }
}

#[pymethods]
impl Job {
    /// The job's id.
    #[getter]
    fn id(&self) -> &str {
        &self.id
    }

    /// What is to be done.
    #[getter]
    fn kind(&self) -> &str {
        &self.kind
    }

    /// The episode that it is about, or None for a fact that no episode said.
    #[getter]
    fn episode_id(&self) -> Option<&str> {
        self.episode_id.as_deref()
    }

    /// How often it was tried.
    #[getter]
    fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Why the last try failed, or None.
    #[getter]
    fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// When it was made, in UTC.
    #[getter]
    fn created_at(&self) -> Time {
        Time(self.created_at)
    }

    /// Its fields as plain values, times as ISO 8601 text.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        Ok(dict_of!(py,
            "id" => self.id(),
            "kind" => self.kind(),
            "episode_id" => self.episode_id(),
            "attempts" => self.attempts,
            "last_error" => self.last_error(),
            "created_at" => self.created_at.to_string(),
        ))
    }

    /// Makes a job from what `to_dict()` gave.
    #[staticmethod]
    #[pyo3(name = "from_dict")]
    fn from_dictionary(fields: &Bound<'_, PyDict>) -> PyResult<Self> {
        let fields = Fields::new("job", fields);
        Ok(Self {
            id: fields.text("id")?,
            kind: fields.text("kind")?,
            episode_id: fields.optional_text("episode_id")?,
            attempts: fields.get("attempts")?.extract()?,
            last_error: fields.optional_text("last_error")?,
            created_at: fields.time("created_at")?,
        })
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyDict>,))> {
        Ok((slf.get_type().getattr("from_dict")?, (slf.get().to_dict(slf.py())?,)))
    }

    fn __eq__(&self, other: &Self) -> bool {
        self == other
    }

    fn __hash__(&self) -> u64 {
        hash_of(self)
    }

    fn __copy__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __deepcopy__<'py>(slf: PyRef<'py, Self>, _memo: &Bound<'py, PyAny>) -> PyRef<'py, Self> {
        slf
    }

    fn __repr__(&self) -> String {
        format!(
            "Job(kind='{}', attempts={}, last_error={}, id='{}')",
            self.kind(),
            self.attempts,
            shown_or_none(self.last_error()),
            self.id
        )
    }
}

fn failures(py: Python<'_>, failures: Vec<core::StepFailure>) -> PyResult<Bound<'_, PyList>> {
    let list = PyList::empty(py);
    for failure in failures {
        let job = failure.job_id.map(|id| id.to_string());
        list.append((failure.step, to_value(py, &failure.error)?, job))?;
    }
    Ok(list)
}

fn usage(usage: core::Usage) -> (u64, u64, u64) {
    (usage.input_tokens, usage.output_tokens, usage.requests)
}

pub(crate) fn entities(py: Python<'_>, entities: Vec<core::Entity>) -> PyResult<Bound<'_, PyList>> {
    let entities: Vec<Py<Entity>> =
        entities.into_iter().map(|entity| Py::new(py, Entity::from_core(entity))).collect::<PyResult<_>>()?;
    PyList::new(py, entities)
}

pub(crate) fn relations(py: Python<'_>, found: Vec<core::EvolutionRelation>) -> PyResult<Bound<'_, PyList>> {
    let found: Vec<Py<EvolutionRelation>> =
        found.into_iter().map(|inner| Py::new(py, EvolutionRelation { inner })).collect::<PyResult<_>>()?;
    PyList::new(py, found)
}

pub(crate) fn episodes(py: Python<'_>, found: Vec<core::Episode>) -> PyResult<Bound<'_, PyList>> {
    let found: Vec<Py<Episode>> =
        found.into_iter().map(|inner| Py::new(py, Episode { inner })).collect::<PyResult<_>>()?;
    PyList::new(py, found)
}

pub(crate) fn jobs(py: Python<'_>, found: Vec<core::Job>) -> PyResult<Bound<'_, PyList>> {
    let found: Vec<Py<Job>> = found.into_iter().map(|inner| Py::new(py, Job::from(inner))).collect::<PyResult<_>>()?;
    PyList::new(py, found)
}

/// (`episode_ids`, entities, evolutions, warnings, usage)
pub(crate) fn remembered(py: Python<'_>, result: core::RememberResult) -> PyResult<Bound<'_, PyTuple>> {
    let ids: Vec<String> = result.episode_ids.iter().map(core::Uuid::to_string).collect();
    (
        ids,
        entities(py, result.entities)?,
        relations(py, result.evolutions)?,
        failures(py, result.warnings)?,
        usage(result.usage),
    )
        .into_pyobject(py)
}

/// (items, warnings, usage)
pub(crate) fn recalled(py: Python<'_>, results: core::RecallResults) -> PyResult<Bound<'_, PyTuple>> {
    let items: Vec<Py<Recalled>> =
        results.items.into_iter().map(|item| Py::new(py, Recalled::make(item))).collect::<PyResult<_>>()?;
    (PyList::new(py, items)?, failures(py, results.warnings)?, usage(results.usage)).into_pyobject(py)
}

/// Rows, bytes and the state of the index, as a dictionary.
pub(crate) fn stats(py: Python<'_>, stats: core::MemoryStats) -> PyResult<Bound<'_, PyDict>> {
    let (ledger, index) = (&stats.ledger, &stats.index);
    let space = dict_of!(py,
        "model" => &stats.embedding_space.model,
        "dimensions" => stats.embedding_space.dimensions,
        "digest" => &stats.embedding_space.digest,
    );
    let index = dict_of!(py,
        "users_loaded" => index.users_loaded,
        "rows_loaded" => index.rows_loaded,
        "bytes" => index.bytes,
        "bytes_limit" => index.bytes_limit,
        "scans" => index.scans,
        "evictions" => index.evictions,
        "lag" => stats.index_lag,
    );
    Ok(dict_of!(py,
        "path" => stats.path.as_ref().map(|path| path.to_string_lossy().into_owned()),
        "episodes" => ledger.episodes,
        "current_facts" => ledger.current_facts,
        "versions" => ledger.versions,
        "sightings" => ledger.sightings,
        "evolutions" => ledger.evolutions,
        "pieces" => ledger.pieces,
        "vectors" => ledger.vectors,
        "jobs" => ledger.jobs,
        "block_versions" => ledger.block_versions,
        "working_keys" => ledger.working_keys,
        "users" => ledger.users,
        "bytes_on_disk" => ledger.bytes_on_disk,
        "seq" => ledger.seq,
        "index_lag" => stats.index_lag,
        "index" => index,
        "embedder" => space,
    ))
}

/// The findings of a check, as a dictionary.
pub(crate) fn report(py: Python<'_>, report: core::CheckReport) -> PyResult<Bound<'_, PyDict>> {
    let checked = PyDict::new(py);
    for (table, rows) in &report.checked {
        checked.set_item(table, rows)?;
    }
    Ok(dict_of!(py, "ok" => report.problems.is_empty(), "problems" => report.problems, "checked" => checked))
}

/// An empty JSON object where the caller gave no metadata.
pub(crate) fn metadata_or_empty(metadata: Option<Meta>) -> Metadata {
    metadata.unwrap_or_default().0
}
