//! `Recalled`.

use pyo3::{prelude::*, types::PyDict};
use umi_core::{self as core, Kind};

use crate::{
    convert::{Fields, Real, Time, dict_of, shown},
    entity::{self, Entity},
    error::IntoPyResult,
};

/// The keys of a result's dictionary beside those of its entity.
const FIELDS: [&str; 7] = ["kind", "score", "signals", "role", "speaker", "at", "ref"];

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
    reference: Option<String>,
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
            reference: recalled.reference.map(|reference| reference.to_string()),
        };
        PyClassInitializer::from(Entity::from_core(recalled.entity)).add_subclass(own)
    }

    fn is_like(&self, other: &Self) -> bool {
        (self.kind, self.score, self.at) == (other.kind, other.score, other.at)
            && (&self.signals, &self.role, &self.speaker) == (&other.signals, &other.role, &other.speaker)
            && self.reference == other.reference
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

    /// The global ref of the item of a context that it comes from, or None; `memory.remembered_item(ref)` gives its content.
    #[getter]
    fn r#ref(&self) -> Option<&str> {
        self.reference.as_deref()
    }

    /// The `source` to remember its words under where an agent says them again: then no facts are taken from them a
    /// second time.
    #[getter]
    fn recalled_source(slf: PyRef<'_, Self>) -> String {
        core::recalled_source(slf.as_super().to_core().id)
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
        let fields = Fields::new("a result", fields, &[&entity::FIELDS[..], &FIELDS[..]].concat())?;
        let signals = match fields.optional("signals")? {
            Some(signals) => signals.cast_into::<PyDict>()?,
            None => PyDict::new(py),
        };
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
            reference: fields.optional_text("ref")?,
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
            reference: own.reference.clone(),
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
