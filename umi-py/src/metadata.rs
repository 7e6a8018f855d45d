//! Metadata: a `dict` of Python and its JSON.

use pyo3::{
    exceptions::{PyRecursionError, PyValueError},
    intern,
    prelude::*,
    types::{PyDict, PyList, PyString, PyTuple},
};
use umi_core::{Error, METADATA_BYTES, METADATA_DEPTH, Metadata};

use crate::{
    convert::{Text, wrong_type},
    error::{IntoPyResult, PythonError},
};

/// What is over a limit is measured up to here, so that its size can be told, and no further.
const MEASURED_BYTES: usize = 2 * METADATA_BYTES;
const MEASURED_DEPTH: usize = 2 * METADATA_DEPTH;

/// A JSON object, made of a `dict`.
#[derive(Clone, Default)]
pub(crate) struct Meta(pub(crate) Metadata);

impl<'py> FromPyObject<'_, 'py> for Meta {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if !value.is_instance_of::<PyDict>() {
            return Err(wrong_type("dict", &value));
        }
        let mut left = MEASURED_BYTES;
        check(&value, 0, &mut left)?;
        let py = value.py();
        let options = PyDict::new(py);
        options.set_item(intern!(py, "ensure_ascii"), false)?;
        options.set_item(intern!(py, "allow_nan"), false)?;
        options.set_item(intern!(py, "separators"), (",", ":"))?;
        let dumped = json(py)?.call_method(intern!(py, "dumps"), (value,), Some(&options)).map_err(|cause| {
            if cause.is_instance_of::<PyValueError>(py) || cause.is_instance_of::<PyRecursionError>(py) {
                let message = format!("metadata is not JSON: {}", cause.value(py));
                return crate::error::to_py(py, &Error::invalid_input(message).with_source(PythonError::new(cause)));
            }
            cause
        })?;
        Ok(Self(Metadata::parse(&dumped.extract::<Text>()?.0).py()?))
    }
}

impl<'py> IntoPyObject<'py> for Meta {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        if self.0.is_empty() { Ok(PyDict::new(py).into_any()) } else { from_json(py, self.0.as_str()) }
    }
}

fn json(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import(intern!(py, "json"))
}

/// Reads a JSON text.
pub(crate) fn from_json<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    json(py)?.call_method1(intern!(py, "loads"), (text,))
}

/// Refuses what would not be the same JSON object again, or is far over the limits, before it is written out: a few
/// lists that hold one another name more values than fit into any memory. `left` is how many bytes of JSON may still
/// come; every value and every character takes at least one.
fn check(value: &Bound<'_, PyAny>, depth: usize, left: &mut usize) -> PyResult<()> {
    let text = value.cast::<PyString>().map_or(0, |text| text.len().unwrap_or_default());
    *left = left.checked_sub(text + 1).ok_or_else(|| too_long(value.py()))?;
    if let Ok(dict) = value.cast::<PyDict>() {
        check_depth(value.py(), depth)?;
        for (key, inner) in dict.iter() {
            // `json.dumps` turns the key 1 into "1" without a word, so that two keys may fall together
            if !key.is_instance_of::<PyString>() {
                return Err(wrong_type("a key of type str", &key));
            }
            check(&key, depth, left)?;
            check(&inner, depth + 1, left)?;
        }
    } else if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        check_depth(value.py(), depth)?;
        for inner in value.try_iter()? {
            check(&inner?, depth + 1, left)?;
        }
    }
    Ok(())
}

fn check_depth(py: Python<'_>, depth: usize) -> PyResult<()> {
    if depth < MEASURED_DEPTH {
        return Ok(());
    }
    let message = format!(
        "metadata nests over {MEASURED_DEPTH} levels deep or holds itself, at most {METADATA_DEPTH} levels are allowed"
    );
    Err(crate::error::to_py(py, &Error::invalid_input(message)))
}

fn too_long(py: Python<'_>) -> PyErr {
    let message = format!("metadata has over {MEASURED_BYTES} bytes of JSON, at most {METADATA_BYTES} are allowed");
    crate::error::to_py(py, &Error::invalid_input(message).with_sizes(METADATA_BYTES, MEASURED_BYTES + 1))
}
