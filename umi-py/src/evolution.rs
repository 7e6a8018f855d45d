//! `EvolutionRelation`.

use pyo3::{prelude::*, types::PyDict};
use umi_core::{self as core, Clock, EvolutionType, SystemClock};

use crate::{
    convert::{Fields, Real, Reduced, Str, Time, dict_of, hash_of, number, reduced, shown},
    entity::id,
    error::{IntoPyResult, guarded},
};

const FIELDS: [&str; 7] = ["id", "source_id", "target_id", "evolution_type", "reason", "confidence", "created_at"];

/// How a newer entity (`target_id`) relates to an older one (`source_id`). An immutable value.
#[pyclass(frozen, module = "umi")]
pub(crate) struct EvolutionRelation {
    pub(crate) inner: core::EvolutionRelation,
}

#[pymethods]
impl EvolutionRelation {
    #[new]
    #[pyo3(
        signature = (source_id, target_id, evolution_type, reason=Str(""), confidence=Real(0.5)),
        text_signature = "(source_id, target_id, evolution_type, reason='', confidence=0.5)"
    )]
    fn new(
        source_id: Str<'_>,
        target_id: Str<'_>,
        evolution_type: Str<'_>,
        reason: Str<'_>,
        confidence: Real,
    ) -> PyResult<Self> {
        guarded(|| {
            let now = SystemClock.now();
            let kind = evolution_type.0.parse::<EvolutionType>()?;
            let id = core::new_id(now);
            let inner = core::EvolutionRelation::new(id, now, source_id.0, target_id.0, kind, reason.0, confidence.0)?;
            Ok(Self { inner })
        })
    }

    /// The relation's own id.
    #[getter]
    fn id(&self) -> String {
        self.inner.id.to_string()
    }

    /// The older entity's id.
    #[getter]
    fn source_id(&self) -> &str {
        &self.inner.source_id
    }

    /// The newer entity's id.
    #[getter]
    fn target_id(&self) -> &str {
        &self.inner.target_id
    }

    /// The kind of relation: update, extend, derive or contradict.
    #[getter]
    fn evolution_type(&self) -> &'static str {
        self.inner.evolution_type.as_str()
    }

    /// The same as `evolution_type`.
    #[getter]
    fn r#type(&self) -> &'static str {
        self.evolution_type()
    }

    /// Why, in at most 1,024 bytes.
    #[getter]
    fn reason(&self) -> &str {
        &self.inner.reason
    }

    /// How sure it is, from 0 to 1.
    #[getter]
    fn confidence(&self) -> f64 {
        self.inner.confidence
    }

    /// When it was found, in UTC.
    #[getter]
    fn created_at(&self) -> Time {
        Time(self.inner.created_at)
    }

    /// Whether its confidence is at least 0.8.
    fn is_high_confidence(&self) -> bool {
        self.inner.is_high_confidence()
    }

    /// Whether it is a sure contradiction, which somebody should settle.
    fn needs_resolution(&self) -> bool {
        self.inner.needs_resolution()
    }

    /// Whether it is a contradiction.
    fn is_conflict(&self) -> bool {
        self.inner.is_conflict()
    }

    /// Whether both entities stand: an extension or a derivation.
    fn is_additive(&self) -> bool {
        self.inner.is_additive()
    }

    /// Its fields as plain values, times as ISO 8601 text.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        Ok(dict_of!(py,
            "id" => self.id(),
            "source_id" => self.source_id(),
            "target_id" => self.target_id(),
            "evolution_type" => self.evolution_type(),
            "reason" => self.reason(),
            "confidence" => self.inner.confidence,
            "created_at" => self.inner.created_at.to_string(),
        ))
    }

    /// Makes a relation from what `to_dict()` gave.
    #[staticmethod]
    #[pyo3(name = "from_dict")]
    fn from_dictionary(fields: &Bound<'_, PyDict>) -> PyResult<Self> {
        let fields = Fields::new("a relation", fields, &FIELDS)?;
        let inner = core::EvolutionRelation::new(
            id(&fields.text("id")?)?,
            fields.time("created_at")?,
            &fields.text("source_id")?,
            &fields.text("target_id")?,
            fields.text("evolution_type")?.parse::<EvolutionType>().py()?,
            &fields.optional_text("reason")?.unwrap_or_default(),
            fields.get_or("confidence", Real(0.5))?.0,
        )
        .py()?;
        Ok(Self { inner })
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.inner == other.inner
    }

    fn __hash__(&self) -> u64 {
        let own = &self.inner;
        let confidence = number(own.confidence);
        hash_of(&(own.id, &own.source_id, &own.target_id, own.evolution_type, &own.reason, confidence, own.created_at))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        reduced(slf)
    }

    fn __repr__(&self) -> String {
        format!(
            "EvolutionRelation(source_id={}, target_id={}, evolution_type='{}', reason={}, confidence={:?})",
            shown(&self.inner.source_id),
            shown(&self.inner.target_id),
            self.inner.evolution_type,
            shown(&self.inner.reason),
            self.inner.confidence
        )
    }
}
