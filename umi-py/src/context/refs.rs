//! `GlobalRef`, `Url`, and the view that a `RefNotFoundError` holds.

use pyo3::{intern, prelude::*, types::PyType};
use umi_core::context::{self as core, RefNotFound};

use crate::{
    convert::{Str, hash_of, shown},
    error::{IntoPyResult, guarded},
};

/// A ref with the session of its context, `<session>/<ref>`: an immutable value.
///
/// Raises `ValueError` for what is not one.
#[pyclass(frozen, module = "umi")]
pub(crate) struct GlobalRef {
    inner: core::GlobalRef,
}

#[pymethods]
impl GlobalRef {
    #[new]
    fn new(session_id: Str<'_>, ref_id: Str<'_>) -> PyResult<Self> {
        Ok(Self { inner: core::GlobalRef::new(session_id.0, ref_id.0.parse().py()?).py()? })
    }

    /// Reads `<session>/<ref>`.
    #[classmethod]
    #[pyo3(signature = (text, /))]
    fn parse(_cls: &Bound<'_, PyType>, text: Str<'_>) -> PyResult<Self> {
        Ok(Self { inner: text.0.parse().py()? })
    }

    /// The session's id.
    #[getter]
    fn session_id(&self) -> &str {
        self.inner.session_id()
    }

    /// The ref within the session.
    #[getter]
    fn ref_id(&self) -> String {
        self.inner.ref_id().to_string()
    }

    /// What kind of item it names, such as `image`.
    #[getter]
    fn kind(&self) -> &'static str {
        self.inner.ref_id().kind().as_str()
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.inner == other.inner
    }

    fn __hash__(&self) -> u64 {
        hash_of(&self.inner)
    }

    fn __str__(&self) -> String {
        self.inner.to_string()
    }

    fn __repr__(&self) -> String {
        format!("GlobalRef(session_id={}, ref_id='{}')", shown(self.session_id()), self.inner.ref_id())
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        Ok((slf.get_type().getattr(intern!(slf.py(), "parse"))?, (slf.get().__str__(),)))
    }
}

/// An http or https address, which a context passes on as it is and never fetches: an immutable value.
///
/// `str(url)` gives the address. Raises `ValueError` for anything else than an address of http or https.
#[pyclass(frozen, module = "umi")]
pub(crate) struct Url {
    pub(super) inner: core::Url,
}

impl Url {
    pub(super) fn new(url: &core::Url) -> Self {
        Self { inner: url.clone() }
    }
}

#[pymethods]
impl Url {
    #[new]
    #[pyo3(signature = (url, /, *, media_type=None))]
    fn from_text(url: Str<'_>, media_type: Option<Str<'_>>) -> PyResult<Self> {
        Ok(Self { inner: core::Url::new(url.0, media_type.map(|text| text.0)).py()? })
    }

    /// The media type of what is there: the one that was given, or that of the extension, or None.
    #[getter]
    fn media_type(&self) -> Option<&str> {
        self.inner.media_type()
    }

    /// What kind of thing is there, as far as it is known, such as `image`.
    #[getter]
    fn kind(&self) -> &'static str {
        self.inner.kind().as_str()
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.inner == other.inner
    }

    fn __hash__(&self) -> u64 {
        hash_of(&self.inner)
    }

    fn __str__(&self) -> &str {
        self.inner.as_str()
    }

    fn __repr__(&self) -> String {
        format!("Url({})", shown(self.inner.as_str()))
    }

    fn __getnewargs_ex__(&self) -> ((&str,), std::collections::BTreeMap<&'static str, &str>) {
        ((self.inner.as_str(),), self.inner.media_type().map(|text| ("media_type", text)).into_iter().collect())
    }
}

/// A ref that is not there and the items that were, made into text by `str()`.
#[pyclass(frozen, module = "umi._umi", name = "_MissingRef")]
pub(crate) struct MissingRef {
    inner: RefNotFound,
}

impl MissingRef {
    pub(super) fn new(inner: RefNotFound) -> Self {
        Self { inner }
    }
}

#[pymethods]
impl MissingRef {
    fn __str__(&self) -> PyResult<String> {
        guarded(|| Ok(self.inner.to_string()))
    }
}
