//! What the methods of a scan take: lists in a text, sizes, times, parameters of SQL.

use jiff::{Timestamp, civil, tz::TimeZone};
use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyBool, PyBytes, PyDateTime, PyFloat, PyInt, PyMapping, PyString},
};
use umi_core::{
    Error,
    context::{FileFilter, Kind, SqlParameters, SqlValue, parse_size},
};

use crate::{
    convert::{Text, Time, Whole, words, wrong_type},
    error::IntoPyResult,
};

/// Words: in one text, with commas between them, or in an iterable.
pub(super) struct Words(Vec<String>);

impl<'py> FromPyObject<'_, 'py> for Words {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if value.is_instance_of::<PyString>() {
            let text = value.extract::<Text>()?.0;
            return Ok(Self(text.split(',').map(|word| word.trim().to_owned()).collect()));
        }
        words(&value).map(Self).map_err(|error| {
            if error.is_instance_of::<PyTypeError>(value.py()) {
                wrong_type("str or an iterable of str", &value)
            } else {
                error
            }
        })
    }
}

/// The filter of kinds and extensions.
pub(super) fn kinds_and_extensions(kind: Option<Words>, ext: Option<Words>) -> PyResult<FileFilter> {
    let mut filter = FileFilter::new();
    if let Some(Words(names)) = kind {
        let kinds: Vec<Kind> = names.iter().map(|name| name.parse()).collect::<umi_core::Result<_>>().py()?;
        filter = filter.with_kinds(kinds);
    }
    Ok(match ext {
        Some(Words(extensions)) => filter.with_extensions(extensions),
        None => filter,
    })
}

/// A size: a number of bytes, or a text such as `1.5MB`.
pub(super) struct Size(pub(super) u64);

impl<'py> FromPyObject<'_, 'py> for Size {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if value.is_instance_of::<PyString>() {
            return parse_size(&value.extract::<Text>()?.0).map(Self).py();
        }
        let whole = value.extract::<Whole>().map_err(|_| wrong_type("int or str", &value))?;
        whole.size("a size in bytes").map(|size| Self(size as u64))
    }
}

/// A time: an aware `datetime`, or a text of one or of a day, which begins in UTC.
pub(super) fn moment(value: &Bound<'_, PyAny>) -> PyResult<Timestamp> {
    if !value.is_instance_of::<PyString>() {
        return value.extract::<Time>().map(|time| time.0).map_err(|error| {
            if error.is_instance_of::<PyTypeError>(value.py()) { wrong_type("datetime or str", value) } else { error }
        });
    }
    let text = value.extract::<Text>()?.0;
    let day = || text.parse::<civil::Date>().and_then(|day| day.to_zoned(TimeZone::UTC)).map(|day| day.timestamp());
    // A date parses out of a text with a time too, whose offset would be lost.
    let time = if text.trim().len() > 10 { text.parse::<Timestamp>() } else { day() };
    time.map_err(|error| {
        let shown: String = text.chars().take(64).collect();
        Error::invalid_input(format!("`{shown}` is neither a day nor a time with an offset"))
            .with_hint("such as `2026-01-31` or `2026-01-31T12:00:00Z`")
            .with_source(error)
    })
    .py()
}

/// The parameters of a query: a mapping of names, or a sequence.
#[derive(Default)]
pub(super) struct Parameters(pub(super) SqlParameters);

impl<'py> FromPyObject<'_, 'py> for Parameters {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(mapping) = value.cast::<PyMapping>() {
            let mut named = Vec::new();
            for pair in mapping.items()?.iter() {
                let (name, value) = pair.extract::<(Text, Bound<'_, PyAny>)>()?;
                named.push((name.0, parameter(&value)?));
            }
            return Ok(Self(SqlParameters::Named(named)));
        }
        if value.is_instance_of::<PyString>() || value.is_instance_of::<PyBytes>() {
            return Err(wrong_type("a sequence or a mapping of parameters", &value));
        }
        let values = value.try_iter().map_err(|_| wrong_type("a sequence or a mapping of parameters", &value))?;
        let values = values.map(|value| parameter(&value?)).collect::<PyResult<_>>()?;
        Ok(Self(SqlParameters::InOrder(values)))
    }
}

fn parameter(value: &Bound<'_, PyAny>) -> PyResult<SqlValue> {
    if value.is_none() {
        return Ok(SqlValue::Null);
    }
    if let Ok(truth) = value.cast::<PyBool>() {
        return Ok(SqlValue::Integer(truth.is_true().into()));
    }
    if value.is_instance_of::<PyInt>() {
        let refused = |_| Error::invalid_input("a parameter is an int of more than 64 bits");
        return value.extract::<i64>().map_err(refused).map(SqlValue::Integer).py();
    }
    if let Ok(real) = value.cast::<PyFloat>() {
        return Ok(SqlValue::Real(real.value()));
    }
    if value.is_instance_of::<PyString>() {
        return Ok(SqlValue::Text(value.extract::<Text>()?.0));
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(SqlValue::Bytes(bytes.as_bytes().to_vec()));
    }
    if value.is_instance_of::<PyDateTime>() {
        return Ok(SqlValue::Integer(value.extract::<Time>()?.0.as_microsecond()));
    }
    Err(wrong_type("None, bool, int, float, str, bytes or datetime as a parameter", value))
}
