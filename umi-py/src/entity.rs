//! `Entity`.

use parking_lot::Mutex;
use pyo3::{
    intern,
    prelude::*,
    types::{PyDict, PyTuple},
};
use umi_core::{self as core, Clock, EntityType, Metadata, SystemClock};

use crate::{
    convert::{Fields, Real, Str, Text, Time, dict_of, shown},
    core_memory::text_or_none,
    error::{IntoPyResult, guarded},
    metadata::{Meta, from_json},
};

/// Reads an id.
pub(crate) fn id(text: &str) -> PyResult<core::Uuid> {
    core::Uuid::try_parse(text)
        .map_err(|error| core::Error::invalid_input(format!("`{}` is not an id", cut(text))).with_source(error))
        .py()
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The keys of an entity's dictionary.
pub(crate) const FIELDS: [&str; 20] = [
    "id",
    "entity_type",
    "name",
    "attribute",
    "content",
    "metadata",
    "confidence",
    "importance",
    "event_time",
    "document_time",
    "source",
    "valid_from",
    "valid_to",
    "last_seen",
    "created_at",
    "updated_at",
    "episode_id",
    "user",
    "agent",
    "session",
];

/// One version of one fact about a named subject.
///
/// An entity that was made by hand is stored with `memory.add_entity()`. Times are given and read as aware datetimes.
/// Changing an entity changes nothing in a store; `memory.update()` does.
#[pyclass(frozen, subclass, module = "umi")]
pub(crate) struct Entity {
    inner: Mutex<core::Entity>,
}

impl Entity {
    pub(crate) fn from_core(inner: core::Entity) -> Self {
        Self { inner: Mutex::new(inner) }
    }

    /// A copy as the core takes it.
    pub(crate) fn to_core(&self) -> core::Entity {
        self.inner.lock().clone()
    }

    fn read<T>(&self, read: impl FnOnce(&core::Entity) -> T) -> T {
        read(&self.inner.lock())
    }

    /// Changes a copy, and takes it when it is sound.
    fn edit(&self, edit: impl FnOnce(&mut core::Entity)) -> PyResult<()> {
        let mut inner = self.inner.lock();
        let mut edited = inner.clone();
        edit(&mut edited);
        edited.updated_at = SystemClock.now();
        guarded(|| edited.check())?;
        *inner = edited;
        Ok(())
    }

    pub(crate) fn to_dictionary<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let entity = self.to_core();
        Ok(dict_of!(py,
            "id" => entity.id.to_string(),
            "entity_type" => entity.entity_type.as_str(),
            "name" => entity.name,
            "attribute" => entity.attribute,
            "content" => entity.content,
            "metadata" => Meta(entity.metadata),
            "confidence" => entity.confidence,
            "importance" => entity.importance,
            "event_time" => entity.event_time.map(|time| time.to_string()),
            "document_time" => entity.document_time.map(|time| time.to_string()),
            "source" => entity.source,
            "valid_from" => entity.valid_from.to_string(),
            "valid_to" => entity.valid_to.map(|time| time.to_string()),
            "last_seen" => entity.last_seen.to_string(),
            "created_at" => entity.recorded_at.to_string(),
            "updated_at" => entity.updated_at.to_string(),
            "episode_id" => entity.episode_id.map(|id| id.to_string()),
            "user" => entity.user,
            "agent" => entity.agent,
            "session" => entity.session,
        ))
    }

    pub(crate) fn from_fields(fields: &Fields<'_>) -> PyResult<core::Entity> {
        let kind = fields.text("entity_type")?.parse::<EntityType>().py()?;
        let recorded_at = fields.time("created_at")?;
        let mut entity = core::Entity::new(
            id(&fields.text("id")?)?,
            recorded_at,
            kind,
            &fields.text("name")?,
            &fields.text("content")?,
        )
        .py()?;
        entity.attribute = fields.optional_text("attribute")?;
        entity.metadata = fields.get_or("metadata", Meta::default())?.0;
        entity.confidence = fields.get_or("confidence", Real(1.0))?.0;
        entity.importance = fields.get_or("importance", Real(0.5))?.0;
        entity.event_time = fields.optional_time("event_time")?;
        entity.document_time = fields.optional_time("document_time")?;
        entity.source = fields.optional_text("source")?;
        entity.valid_from = fields.optional_time("valid_from")?.or(entity.event_time).unwrap_or(recorded_at);
        entity.valid_to = fields.optional_time("valid_to")?;
        entity.last_seen = fields.optional_time("last_seen")?.unwrap_or(entity.valid_from);
        entity.updated_at = fields.optional_time("updated_at")?.unwrap_or(recorded_at);
        entity.episode_id = fields.optional_text("episode_id")?.map(|text| id(&text)).transpose()?;
        entity.user = fields.optional_text("user")?;
        entity.agent = fields.optional_text("agent")?;
        entity.session = fields.optional_text("session")?;
        entity.check().py()?;
        Ok(entity)
    }
}

#[pymethods]
impl Entity {
    #[new]
    #[pyo3(signature = (
        entity_type, name, content, *, attribute=None, metadata=None, confidence=Real(1.0), importance=Real(0.5),
        event_time=None, document_time=None, source=None
    ), text_signature = "(entity_type, name, content, *, attribute=None, metadata=None, confidence=1.0, \
        importance=0.5, event_time=None, document_time=None, source=None)")]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        entity_type: Str<'_>,
        name: Str<'_>,
        content: Str<'_>,
        attribute: Option<Text>,
        metadata: Option<Meta>,
        confidence: Real,
        importance: Real,
        event_time: Option<Time>,
        document_time: Option<Time>,
        source: Option<Text>,
    ) -> PyResult<Self> {
        guarded(|| {
            let now = SystemClock.now();
            let kind = entity_type.0.parse::<EntityType>()?;
            let mut entity = core::Entity::new(core::new_id(now), now, kind, name.0, content.0)?;
            entity.attribute = text_or_none(attribute.as_ref()).map(str::to_owned);
            entity.metadata = metadata.unwrap_or_default().0;
            entity.confidence = confidence.0;
            entity.importance = importance.0;
            entity.event_time = event_time.map(|time| time.0);
            entity.valid_from = entity.event_time.unwrap_or(now);
            entity.last_seen = entity.valid_from;
            entity.document_time = document_time.map(|time| time.0);
            entity.source = source.map(|source| source.0);
            entity.check()?;
            Ok(Self::from_core(entity))
        })
    }

    /// The version's id.
    #[getter]
    fn id(&self) -> String {
        self.read(|entity| entity.id.to_string())
    }

    /// The subject's id: the same for every fact of one (user, type, folded name).
    #[getter]
    fn subject_id(&self) -> String {
        self.read(|entity| entity.subject_id().to_string())
    }

    /// What kind of thing the subject is, in lower case.
    #[getter]
    fn entity_type(&self) -> &'static str {
        self.read(|entity| entity.entity_type.as_str())
    }

    /// The subject's name.
    #[getter]
    fn name(&self) -> String {
        self.read(|entity| entity.name.clone())
    }

    /// The slot that holds one value at a time, or None for a fact that stands beside others.
    #[getter]
    fn attribute(&self) -> Option<String> {
        self.read(|entity| entity.attribute.clone())
    }

    /// What is said about the subject.
    #[getter]
    fn content(&self) -> String {
        self.read(|entity| entity.content.clone())
    }

    #[setter]
    fn set_content(&self, content: Text) -> PyResult<()> {
        self.edit(|entity| entity.content = content.0)
    }

    /// The caller's own fields: a fresh copy, to be changed with `set_meta()`.
    #[getter]
    fn metadata(&self) -> Meta {
        Meta(self.read(|entity| entity.metadata.clone()))
    }

    /// How sure it is, from 0 to 1.
    #[getter]
    fn confidence(&self) -> f64 {
        self.read(|entity| entity.confidence)
    }

    /// A prior of ranking, from 0 to 1; 0.5 is neutral.
    #[getter]
    fn importance(&self) -> f64 {
        self.read(|entity| entity.importance)
    }

    /// When the fact happened or began, or None.
    #[getter]
    fn event_time(&self) -> Option<Time> {
        self.read(|entity| entity.event_time).map(Time)
    }

    #[setter]
    fn set_event_time(&self, time: Option<Time>) -> PyResult<()> {
        self.edit(|entity| {
            entity.event_time = time.map(|time| time.0);
            entity.valid_from = entity.event_time.unwrap_or(entity.recorded_at);
            entity.last_seen = entity.valid_from;
        })
    }

    /// When its source was written, or None.
    #[getter]
    fn document_time(&self) -> Option<Time> {
        self.read(|entity| entity.document_time).map(Time)
    }

    #[setter]
    fn set_document_time(&self, time: Option<Time>) -> PyResult<()> {
        self.edit(|entity| entity.document_time = time.map(|time| time.0))
    }

    /// Where it comes from: a URI or a free text, or None.
    #[getter]
    fn source(&self) -> Option<String> {
        self.read(|entity| entity.source.clone())
    }

    /// From when on it is true.
    #[getter]
    fn valid_from(&self) -> Time {
        Time(self.read(|entity| entity.valid_from))
    }

    /// Until when it is true; None while nothing has followed it.
    #[getter]
    fn valid_to(&self) -> Option<Time> {
        self.read(|entity| entity.valid_to).map(Time)
    }

    /// The event time of its latest saying.
    #[getter]
    fn last_seen(&self) -> Time {
        Time(self.read(|entity| entity.last_seen))
    }

    /// When it was first recorded.
    #[getter]
    fn created_at(&self) -> Time {
        Time(self.read(|entity| entity.recorded_at))
    }

    /// When it was last changed.
    #[getter]
    fn updated_at(&self) -> Time {
        Time(self.read(|entity| entity.updated_at))
    }

    /// The episode that it was said in, or None.
    #[getter]
    fn episode_id(&self) -> Option<String> {
        self.read(|entity| entity.episode_id).map(|id| id.to_string())
    }

    /// The tenant, or None.
    #[getter]
    fn user(&self) -> Option<String> {
        self.read(|entity| entity.user.clone())
    }

    /// The agent that recorded it, or None.
    #[getter]
    fn agent(&self) -> Option<String> {
        self.read(|entity| entity.agent.clone())
    }

    /// The session that it was recorded in, or None.
    #[getter]
    fn session(&self) -> Option<String> {
        self.read(|entity| entity.session.clone())
    }

    /// One of the caller's own fields, or `default`.
    #[pyo3(signature = (key, default=None))]
    fn get_meta<'py>(
        &self,
        py: Python<'py>,
        key: Str<'_>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.read(|entity| entity.metadata.get(key.0)) {
            Some(value) => from_json(py, &value).map(Some),
            None => Ok(default),
        }
    }

    /// Sets one of the caller's own fields to a JSON value.
    fn set_meta(&self, key: Str<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let one = PyDict::new(value.py());
        one.set_item(key.0, value)?;
        let one: Meta = one.extract()?;
        let merged: Metadata = self.read(|entity| entity.metadata.merged(&one.0)).py()?;
        self.edit(|entity| entity.metadata = merged)
    }

    /// Whether an event time or a document time is set.
    fn has_temporal_metadata(&self) -> bool {
        self.read(core::Entity::has_temporal_metadata)
    }

    /// Its fields as plain values, times as ISO 8601 text.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.to_dictionary(py)
    }

    /// Makes an entity from what `to_dict()` gave.
    #[staticmethod]
    #[pyo3(name = "from_dict")]
    fn from_dictionary(fields: &Bound<'_, PyDict>) -> PyResult<Self> {
        Self::from_fields(&Fields::new("an entity", fields, &FIELDS)?).map(Self::from_core)
    }

    fn __eq__(slf: &Bound<'_, Self>, other: &Bound<'_, Self>) -> bool {
        // one lock at a time: two threads may compare the same two the other way round
        slf.get_type().is(other.get_type()) && {
            let (own, other) = (slf.get().to_core(), other.get().to_core());
            own == other
        }
    }

    fn __copy__(&self) -> Self {
        Self::from_core(self.to_core())
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> Self {
        self.__copy__()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let py = slf.py();
        let fields = slf.call_method0(intern!(py, "to_dict"))?;
        Ok((slf.get_type().getattr(intern!(py, "from_dict"))?, PyTuple::new(py, [fields])?))
    }

    fn __repr__(&self) -> String {
        self.read(|entity| {
            format!(
                "Entity(entity_type='{}', name={}, content={}, id='{}')",
                entity.entity_type,
                shown(&entity.name),
                shown(&entity.content),
                entity.id
            )
        })
    }
}
