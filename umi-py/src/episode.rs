//! `Episode` and `Job`.

use pyo3::{prelude::*, types::PyDict};
use umi_core as core;

use crate::{
    convert::{Fields, Real, Reduced, Time, dict_of, hash_of, reduced, shown, shown_or_none},
    entity::id,
    metadata::Meta,
};

const EPISODE: [&str; 12] =
    ["id", "text", "role", "name", "at", "recorded_at", "user", "agent", "session", "source", "metadata", "importance"];
const JOB: [&str; 6] = ["id", "kind", "episode_id", "attempts", "last_error", "created_at"];

/// A text as it was remembered, with who said it and when. An immutable value, never rewritten.
#[pyclass(frozen, module = "umi")]
pub(crate) struct Episode {
    pub(crate) inner: core::Episode,
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
        let fields = Fields::new("an episode", fields, &EPISODE)?;
        let id = id(&fields.text("id")?)?;
        let mut inner = core::Episode::new(id, fields.text("text")?, fields.text("role")?, fields.time("at")?);
        inner.name = fields.optional_text("name")?;
        inner.recorded_at = fields.optional_time("recorded_at")?.unwrap_or(inner.at);
        inner.user = fields.optional_text("user")?;
        inner.agent = fields.optional_text("agent")?;
        inner.session = fields.optional_text("session")?;
        inner.source = fields.optional_text("source")?;
        inner.metadata = fields.get_or("metadata", Meta::default())?.0;
        inner.importance = fields.get_or("importance", Real(0.5))?.0;
        Ok(Self { inner })
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        reduced(slf)
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.inner == other.inner
    }

    fn __hash__(&self) -> u64 {
        // equal episodes have one id, and two with one id seldom meet
        hash_of(&(self.inner.id, &self.inner.text))
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
#[derive(Clone, PartialEq, Hash)]
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

    /// How often it has failed; a service that is misconfigured, which refuses the key say, is not counted.
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
        let fields = Fields::new("a job", fields, &JOB)?;
        Ok(Self {
            id: fields.text("id")?,
            kind: fields.text("kind")?,
            episode_id: fields.optional_text("episode_id")?,
            attempts: fields.get_or("attempts", 0)?,
            last_error: fields.optional_text("last_error")?,
            created_at: fields.time("created_at")?,
        })
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        reduced(slf)
    }

    fn __eq__(&self, other: &Self) -> bool {
        self == other
    }

    fn __hash__(&self) -> u64 {
        hash_of(self)
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
