//! `RememberOptions`.

use pyo3::{prelude::*, types::PyDict};
use umi_core::{self as core, Error, Wait};

use crate::{
    convert::{Fields, Real, Reduced, Str, dict_of, hash_of, number, python_bool, reduced},
    error::IntoPyResult,
};

const FIELDS: [&str; 6] =
    ["extract_entities", "generate_embeddings", "detect_evolutions", "importance", "wait", "track_evolution"];

/// How a text is remembered. An immutable value; the `with_…` and `without_…` methods give copies.
///
/// `extract_entities` and `detect_evolutions` are used by a language model; without one they change nothing.
/// `importance` is a prior of ranking, from 0 to 1; 0.5 is neutral. `wait` is "extracted" (until vectors and facts are
/// stored, or have failed with a warning) or "durable" (until the words are safe; `flush()` waits for the rest).
#[pyclass(frozen, module = "umi")]
#[derive(Clone)]
pub(crate) struct RememberOptions {
    pub(crate) inner: core::RememberOptions,
}

fn wait(name: &str) -> PyResult<Wait> {
    match name {
        "extracted" => Ok(Wait::Extracted),
        "durable" => Ok(Wait::Durable),
        other => {
            let shown: String = other.chars().take(64).collect();
            Err(Error::invalid_input(format!("unknown wait `{shown}`")).with_hint("known are: extracted, durable"))
        }
    }
    .py()
}

impl RememberOptions {
    fn with(&self, change: impl FnOnce(core::RememberOptions) -> core::RememberOptions) -> Self {
        Self { inner: change(self.inner.clone()) }
    }
}

#[pymethods]
impl RememberOptions {
    #[new]
    #[pyo3(signature = (
        extract_entities=true, generate_embeddings=true, detect_evolutions=None, importance=Real(0.5),
        wait=Str("extracted"), *, track_evolution=None
    ), text_signature = "(extract_entities=True, generate_embeddings=True, detect_evolutions=None, importance=0.5, \
        wait='extracted', *, track_evolution=None)")]
    fn new(
        extract_entities: bool,
        generate_embeddings: bool,
        detect_evolutions: Option<bool>,
        importance: Real,
        wait: Str<'_>,
        track_evolution: Option<bool>,
    ) -> PyResult<Self> {
        if let (Some(one), Some(two)) = (detect_evolutions, track_evolution)
            && one != two
        {
            return Err(Error::invalid_input("detect_evolutions and track_evolution are one option and differ")).py();
        }
        let inner = core::RememberOptions::default()
            .with_extract_entities(extract_entities)
            .with_generate_embeddings(generate_embeddings)
            .with_detect_evolutions(detect_evolutions.or(track_evolution).unwrap_or(true))
            .with_wait(self::wait(wait.0)?)
            .with_importance(importance.0)
            .py()?;
        Ok(Self { inner })
    }

    /// Whether a language model extracts facts.
    #[getter]
    fn extract_entities(&self) -> bool {
        self.inner.extract_entities()
    }

    /// Whether the text gets a vector. Without one it is found by its words.
    #[getter]
    fn generate_embeddings(&self) -> bool {
        self.inner.generate_embeddings()
    }

    /// Whether a language model relates new facts to old ones.
    #[getter]
    fn detect_evolutions(&self) -> bool {
        self.inner.detect_evolutions()
    }

    /// The same as `detect_evolutions`.
    #[getter]
    fn track_evolution(&self) -> bool {
        self.inner.detect_evolutions()
    }

    /// The prior of ranking, from 0 to 1.
    #[getter]
    fn importance(&self) -> f64 {
        self.inner.importance()
    }

    /// What the call waits for: extracted or durable.
    #[getter]
    fn wait(&self) -> &'static str {
        match self.inner.wait() {
            Wait::Durable => "durable",
            _ => "extracted",
        }
    }

    /// A copy that extracts facts, or not.
    #[pyo3(signature = (extract_entities=true))]
    fn with_extract_entities(&self, extract_entities: bool) -> Self {
        self.with(|options| options.with_extract_entities(extract_entities))
    }

    /// A copy that extracts no facts.
    fn without_extraction(&self) -> Self {
        self.with_extract_entities(false)
    }

    /// A copy that makes vectors, or not.
    #[pyo3(signature = (generate_embeddings=true))]
    fn with_generate_embeddings(&self, generate_embeddings: bool) -> Self {
        self.with(|options| options.with_generate_embeddings(generate_embeddings))
    }

    /// A copy that makes vectors.
    fn with_embeddings(&self) -> Self {
        self.with_generate_embeddings(true)
    }

    /// A copy that makes no vectors.
    fn without_embeddings(&self) -> Self {
        self.with_generate_embeddings(false)
    }

    /// A copy that relates new facts to old ones, or not.
    #[pyo3(signature = (detect_evolutions=true))]
    fn with_detect_evolutions(&self, detect_evolutions: bool) -> Self {
        self.with(|options| options.with_detect_evolutions(detect_evolutions))
    }

    /// A copy that does not relate new facts to old ones.
    fn without_evolution(&self) -> Self {
        self.with_detect_evolutions(false)
    }

    /// A copy with another prior of ranking, from 0 to 1.
    fn with_importance(&self, importance: Real) -> PyResult<Self> {
        Ok(Self { inner: self.inner.clone().with_importance(importance.0).py()? })
    }

    /// A copy that waits for something else: extracted or durable.
    fn with_wait(&self, wait: Str<'_>) -> PyResult<Self> {
        let wait = self::wait(wait.0)?;
        Ok(self.with(|options| options.with_wait(wait)))
    }

    /// Its fields as plain values.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        Ok(dict_of!(py,
            "extract_entities" => self.extract_entities(),
            "generate_embeddings" => self.generate_embeddings(),
            "detect_evolutions" => self.detect_evolutions(),
            "importance" => self.importance(),
            "wait" => self.wait(),
        ))
    }

    /// Makes options from what `to_dict()` gave.
    #[staticmethod]
    #[pyo3(name = "from_dict")]
    fn from_dictionary(fields: &Bound<'_, PyDict>) -> PyResult<Self> {
        let fields = Fields::new("a set of remember options", fields, &FIELDS)?;
        let wait = fields.optional_text("wait")?.unwrap_or_else(|| "extracted".to_owned());
        Self::new(
            fields.get_or("extract_entities", true)?,
            fields.get_or("generate_embeddings", true)?,
            fields.get_or("detect_evolutions", None)?,
            fields.get_or("importance", Real(0.5))?,
            Str(&wait),
            fields.get_or("track_evolution", None)?,
        )
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.inner == other.inner
    }

    fn __hash__(&self) -> u64 {
        let switches = (self.extract_entities(), self.generate_embeddings(), self.detect_evolutions());
        hash_of(&(switches, number(self.importance()), self.wait()))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        reduced(slf)
    }

    fn __repr__(&self) -> String {
        format!(
            "RememberOptions(extract_entities={}, generate_embeddings={}, detect_evolutions={}, importance={:?}, wait='{}')",
            python_bool(self.extract_entities()),
            python_bool(self.generate_embeddings()),
            python_bool(self.detect_evolutions()),
            self.importance(),
            self.wait()
        )
    }
}
