//! Metadata: a `dict` written as JSON in one pass.

use pyo3::{
    PyTypeInfo,
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};
use umi_core::{Error, METADATA_BYTES, METADATA_DEPTH, Metadata};

use crate::{
    convert::{Str, wrong_type},
    error::IntoPyResult,
};

/// A JSON object made of a `dict`. Whatever is not JSON is an `InvalidInputError`, which is a `ValueError`.
pub(super) struct JsonObject(pub(super) Metadata);

impl<'py> FromPyObject<'_, 'py> for JsonObject {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if !value.is_instance_of::<PyDict>() {
            return Err(wrong_type("metadata of type dict", &value));
        }
        let mut out = String::new();
        push(&mut out, &value, 0)?;
        Metadata::parse(&out).map(Self).py()
    }
}

fn push(out: &mut String, value: &Bound<'_, PyAny>, depth: usize) -> PyResult<()> {
    // both are told by `Metadata` with their sizes; here they end what a few lists that hold one another would make
    if depth > METADATA_DEPTH {
        let message = format!("metadata nests over {METADATA_DEPTH} levels deep or holds itself");
        return Err(Error::invalid_input(message)).py();
    }
    if out.len() > METADATA_BYTES {
        let message = format!("metadata has over {METADATA_BYTES} bytes of JSON, at most {METADATA_BYTES} are allowed");
        return Err(Error::invalid_input(message).with_sizes(METADATA_BYTES, out.len())).py();
    }
    if let Ok(text) = value.cast::<PyString>() {
        push_text(out, text)?;
    } else if value.is_none() {
        out.push_str("null");
    } else if let Ok(bit) = value.cast::<PyBool>() {
        out.push_str(if bit.is_true() { "true" } else { "false" });
    } else if value.is_instance_of::<PyInt>() {
        push_number::<PyInt>(out, value)?;
    } else if let Ok(number) = value.cast::<PyFloat>() {
        if !number.value().is_finite() {
            return Err(Error::invalid_input(format!("metadata is not JSON: the number `{}`", number.value()))).py();
        }
        push_number::<PyFloat>(out, value)?;
    } else if let Ok(dict) = value.cast::<PyDict>() {
        push_dict(out, dict, depth)?;
    } else if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        out.push('[');
        for (place, inner) in value.try_iter()?.enumerate() {
            if place > 0 {
                out.push(',');
            }
            push(out, &inner?, depth + 1)?;
        }
        out.push(']');
    } else {
        return Err(not_json("a value", value)?);
    }
    Ok(())
}

fn push_dict(out: &mut String, dict: &Bound<'_, PyDict>, depth: usize) -> PyResult<()> {
    out.push('{');
    for (place, (key, inner)) in dict.iter().enumerate() {
        let Ok(key) = key.cast::<PyString>() else { return Err(not_json("a key", &key)?) };
        if place > 0 {
            out.push(',');
        }
        push_text(out, key)?;
        out.push(':');
        push(out, &inner, depth + 1)?;
    }
    out.push('}');
    Ok(())
}

fn push_text(out: &mut String, text: &Bound<'_, PyString>) -> PyResult<()> {
    let text = text.extract::<Str<'_>>()?.0;
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
    Ok(())
}

/// Writes a number as its own class does, whatever a subclass such as an enumeration makes of it.
fn push_number<T: PyTypeInfo>(out: &mut String, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let digits = value.py().get_type::<T>().call_method1("__repr__", (value,))?;
    out.push_str(digits.extract::<Str<'_>>()?.0);
    Ok(())
}

fn not_json(what: &str, value: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let message = format!("metadata is not JSON: {what} of type `{}`", value.get_type().name()?);
    let error =
        Error::invalid_input(message).with_hint("keys are str; values are str, int, float, bool, None, list or dict");
    Ok(crate::error::to_py(value.py(), &error))
}
