//! Values at the edge: text without lone surrogates, numbers without surprises, aware times, JSON.

use std::{
    collections::hash_map::DefaultHasher,
    fmt::Write as _,
    hash::{Hash, Hasher},
    time::Duration,
};

use jiff::{Timestamp, tz::Offset};
use pyo3::{
    conversion::FromPyObjectOwned,
    exceptions::PyTypeError,
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyBool, PyDateTime, PyDelta, PyDict, PyFloat, PyInt, PyString, PyTzInfo},
};
use umi_core::{Error, TimeToLive};

use crate::error::{IntoPyResult, PythonError};

/// What `repr` shows of a text, in characters.
const SHOWN_CHARS: usize = 60;

pub(crate) fn wrong_type(expected: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let got = value.get_type().name().map_or_else(|_| "something else".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("expected {expected}, got {got}"))
}

/// A `str` that is valid Unicode.
pub(crate) struct Text(pub(crate) String);

impl<'py> FromPyObject<'_, 'py> for Text {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let text = value.cast::<PyString>().map_err(|_| wrong_type("str", &value))?;
        match text.to_str() {
            Ok(text) => Ok(Self(text.to_owned())),
            Err(cause) => Err(Error::invalid_input(format!(
                "a text holds a lone surrogate at index `{}`",
                cause.value(value.py()).getattr(intern!(value.py(), "start"))?
            ))
            .with_hint("decode its bytes with the right encoding, or with errors=\"replace\"")
            .with_source(PythonError::new(cause)))
            .py(),
        }
    }
}

/// A borrowed [`Text`], for what is called most often.
#[derive(Clone, Copy)]
pub(crate) struct Str<'a>(pub(crate) &'a str);

impl<'a, 'py> FromPyObject<'a, 'py> for Str<'a> {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        value
            .extract::<&'a str>()
            .map(Self)
            .map_err(|_| value.extract::<Text>().err().unwrap_or_else(|| wrong_type("str", &value)))
    }
}

/// A `bytes` object and nothing that might be read as one: a list of numbers is a mistake.
#[derive(Clone, Copy)]
pub(crate) struct Octets<'a>(pub(crate) &'a [u8]);

impl<'a, 'py> FromPyObject<'a, 'py> for Octets<'a> {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        value.extract::<&'a [u8]>().map(Self).map_err(|_| wrong_type("bytes", &value))
    }
}

/// An `int`, cut to 64 bits; a `bool` is not one.
#[derive(Clone, Copy)]
pub(crate) struct Whole(pub(crate) i64);

impl<'py> FromPyObject<'_, 'py> for Whole {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if value.is_instance_of::<PyBool>() || value.is_instance_of::<PyFloat>() {
            return Err(wrong_type("int", &value));
        }
        let whole = value.call_method0(intern!(value.py(), "__index__")).map_err(|_| wrong_type("int", &value))?;
        match whole.extract::<i64>() {
            Ok(number) => Ok(Self(number)),
            Err(_) if whole.lt(0)? => Ok(Self(i64::MIN)),
            Err(_) => Ok(Self(i64::MAX)),
        }
    }
}

impl Whole {
    /// A size as Python takes it.
    pub(crate) fn of(size: usize) -> Self {
        Self(i64::try_from(size).unwrap_or(i64::MAX))
    }

    /// The size that it names.
    pub(crate) fn size(self, what: &str) -> PyResult<usize> {
        usize::try_from(self.0)
            .map_err(|_| Error::invalid_input(format!("{what} is `{}`, it must not be negative", self.0)))
            .py()
    }
}

/// A `float` or `int`; a `bool` is neither.
#[derive(Clone, Copy)]
pub(crate) struct Real(pub(crate) f64);

impl<'py> FromPyObject<'_, 'py> for Real {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if value.is_instance_of::<PyBool>() || value.is_instance_of::<PyString>() {
            return Err(wrong_type("float", &value));
        }
        match value.extract::<f64>() {
            Ok(number) => Ok(Self(number)),
            Err(_) if value.is_instance_of::<PyInt>() => {
                Ok(Self(if value.lt(0)? { f64::NEG_INFINITY } else { f64::INFINITY }))
            }
            Err(_) => Err(wrong_type("float", &value)),
        }
    }
}

/// The first moment of a `datetime` in UTC.
const FIRST: Timestamp = Timestamp::constant(-62_135_596_800, 0);

/// An aware `datetime`, of any time zone on the way in and of UTC on the way out.
///
/// One beyond the last moment that can be kept, such as `datetime.max`, is that moment; so is one that is before the
/// year 1 in UTC the first, on the way out too.
#[derive(Clone, Copy)]
pub(crate) struct Time(pub(crate) Timestamp);

impl<'py> FromPyObject<'_, 'py> for Time {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let py = value.py();
        if !value.is_instance_of::<PyDateTime>() {
            return Err(wrong_type("datetime", &value));
        }
        // As the class itself has it, whatever a subclass makes of its own difference.
        let class = py.get_type::<PyDateTime>();
        if class.call_method1(intern!(py, "utcoffset"), (value,))?.is_none() {
            return Err(Error::invalid_input(format!("the datetime `{}` is naive", value.str()?))
                .with_hint("give it a time zone, as in datetime.now(timezone.utc)"))
            .py();
        }
        let micros = delta_micros(&class.call_method1(intern!(py, "__sub__"), (value, epoch(py)?))?)?;
        Timestamp::from_microsecond(micros.clamp(FIRST.as_microsecond(), last_microsecond())).map(Self).or_else(
            |error| {
                let message = format!("the datetime `{}` is out of range", value.str()?);
                Err(Error::invalid_input(message).with_source(error)).py()
            },
        )
    }
}

/// The last moment that can be kept, in whole seconds.
fn last_microsecond() -> i64 {
    Timestamp::MAX.as_second() * 1_000_000
}

impl<'py> IntoPyObject<'py> for Time {
    type Target = PyDateTime;
    type Output = Bound<'py, PyDateTime>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        let at = Offset::UTC.to_datetime(self.0.max(FIRST));
        let utc = PyTzInfo::utc(py)?;
        let small = |number: i8| number.unsigned_abs();
        let micros = at.subsec_nanosecond().unsigned_abs() / 1_000;
        PyDateTime::new(
            py,
            at.year().into(),
            small(at.month()),
            small(at.day()),
            small(at.hour()),
            small(at.minute()),
            small(at.second()),
            micros,
            Some(&utc),
        )
    }
}

fn epoch(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static EPOCH: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    EPOCH
        .get_or_try_init(py, || Ok(Time(Timestamp::UNIX_EPOCH).into_pyobject(py)?.into_any().unbind()))
        .map(|epoch| epoch.bind(py))
}

fn delta_micros(delta: &Bound<'_, PyAny>) -> PyResult<i64> {
    let py = delta.py();
    let part = |name| -> PyResult<i64> { delta.getattr(name)?.extract() };
    // the largest timedelta has 999,999,999 days, whose microseconds do not fit
    let days = part(intern!(py, "days"))?.saturating_mul(86_400_000_000);
    Ok(days
        .saturating_add(part(intern!(py, "seconds"))? * 1_000_000)
        .saturating_add(part(intern!(py, "microseconds"))?))
}

/// A `timedelta`, in microseconds.
#[derive(Clone, Copy)]
pub(crate) struct Delta(pub(crate) i64);

impl<'py> FromPyObject<'_, 'py> for Delta {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if !value.is_instance_of::<PyDelta>() {
            return Err(wrong_type("timedelta", &value));
        }
        delta_micros(&value).map(Self)
    }
}

impl Delta {
    /// The length of time; a negative one is refused.
    pub(crate) fn duration(self, what: &str) -> PyResult<Duration> {
        u64::try_from(self.0)
            .map(Duration::from_micros)
            .map_err(|_| Error::invalid_input(format!("{what} is `{}` microseconds, it must not be negative", self.0)))
            .py()
    }
}

/// A time to live: a `timedelta` or a number of seconds, `math.inf` for none.
#[derive(Clone, Copy)]
pub(crate) struct Ttl(pub(crate) TimeToLive);

impl<'py> FromPyObject<'_, 'py> for Ttl {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let seconds = if value.is_instance_of::<PyDelta>() {
            delta_micros(&value)? as f64 / 1_000_000.0
        } else {
            value.extract::<Real>().map_err(|_| wrong_type("timedelta or float", &value))?.0
        };
        TimeToLive::from_secs_f64(seconds).map(Self).py()
    }
}

impl<'py> IntoPyObject<'py> for Ttl {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        match self.0 {
            TimeToLive::Forever => Ok(PyFloat::new(py, f64::INFINITY).into_any()),
            TimeToLive::For(duration) => Ok(duration.into_pyobject(py)?.into_any()),
        }
    }
}

/// The seconds of a time to live; infinity for none.
pub(crate) fn ttl_seconds(ttl: TimeToLive) -> f64 {
    match ttl {
        TimeToLive::Forever => f64::INFINITY,
        TimeToLive::For(duration) => duration.as_secs_f64(),
    }
}

/// Reads a list of words; a single `str` is refused, because it would be read letter by letter.
pub(crate) fn words(value: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if value.is_instance_of::<PyString>() {
        return Err(wrong_type("an iterable of str", value));
    }
    value.try_iter()?.map(|word| Ok(word?.extract::<Text>()?.0)).collect()
}

/// A text as `repr` shows it: quoted and cut.
pub(crate) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN_CHARS).collect();
    let mut out = String::with_capacity(cut.len() + 4);
    out.push('\'');
    for character in cut.chars() {
        match character {
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            other if other.is_control() => {
                let _ = write!(out, "{}", other.escape_default());
            }
            other => out.push(other),
        }
    }
    if cut.len() < text.len() {
        out.push('…');
    }
    out.push('\'');
    out
}

/// A value that may be missing, as `repr` shows it.
pub(crate) fn shown_or_none(text: Option<&str>) -> String {
    text.map_or_else(|| "None".to_owned(), shown)
}

/// The hash of a value's fields; numbers with a fraction go through [`number`].
pub(crate) fn hash_of(fields: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    fields.hash(&mut hasher);
    hasher.finish()
}

/// A number in a form that can be hashed: zero and minus zero are equal, so they are one here too.
pub(crate) fn number(value: f64) -> u64 {
    (value + 0.0).to_bits()
}

/// What `__reduce__` gives: the function that makes a value again, and its argument.
pub(crate) type Reduced<'py> = (Bound<'py, PyAny>, (Bound<'py, PyAny>,));

/// Pickles and copies a value by way of its `to_dict()` and `from_dict()`.
pub(crate) fn reduced<'py, T>(value: &Bound<'py, T>) -> PyResult<Reduced<'py>> {
    let (py, value) = (value.py(), value.as_any());
    Ok((value.get_type().getattr(intern!(py, "from_dict"))?, (value.call_method0(intern!(py, "to_dict"))?,)))
}

/// `True` or `False`.
pub(crate) fn python_bool(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// The fields of a dictionary that a value is made from again.
pub(crate) struct Fields<'py> {
    dict: Bound<'py, PyDict>,
    what: &'static str,
}

impl<'py> Fields<'py> {
    /// Takes a dictionary of `what`, with its article, if it has no other keys than the known ones.
    pub(crate) fn new(what: &'static str, dict: &Bound<'py, PyDict>, known: &[&str]) -> PyResult<Self> {
        for key in dict.keys() {
            let name = match key.cast::<PyString>() {
                Ok(name) => name.to_string_lossy().into_owned(),
                Err(_) => key.repr()?.to_string_lossy().into_owned(),
            };
            if !key.is_instance_of::<PyString>() || !known.contains(&name.as_str()) {
                let shown: String = name.chars().take(64).collect();
                return Err(Error::invalid_input(format!("{what} has an unknown key `{shown}`"))
                    .with_hint(format!("known are: {}", known.join(", "))))
                .py();
            }
        }
        Ok(Self { dict: dict.clone(), what })
    }

    fn lacks(&self, name: &str) -> PyErr {
        let error = Error::invalid_input(format!("{} lacks its `{name}`", self.what));
        Python::attach(|py| crate::error::to_py(py, &error))
    }

    /// A field that must be there.
    pub(crate) fn get(&self, name: &str) -> PyResult<Bound<'py, PyAny>> {
        self.dict.get_item(name)?.ok_or_else(|| self.lacks(name))
    }

    /// A text that must be there.
    pub(crate) fn text(&self, name: &str) -> PyResult<String> {
        Ok(self.get(name)?.extract::<Text>()?.0)
    }

    /// A field that may be missing or `None`.
    pub(crate) fn optional(&self, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.dict.get_item(name)?.filter(|value| !value.is_none()))
    }

    /// A value in the place of which `default` stands where it is missing.
    pub(crate) fn get_or<T: FromPyObjectOwned<'py>>(&self, name: &str, default: T) -> PyResult<T> {
        match self.dict.get_item(name)? {
            Some(value) => value.extract().map_err(Into::into),
            None => Ok(default),
        }
    }

    /// A text that may be missing.
    pub(crate) fn optional_text(&self, name: &str) -> PyResult<Option<String>> {
        self.optional(name)?.map(|value| Ok(value.extract::<Text>()?.0)).transpose()
    }

    /// A time that may be missing: a `datetime`, or its text.
    pub(crate) fn optional_time(&self, name: &str) -> PyResult<Option<Timestamp>> {
        let Some(value) = self.optional(name)? else { return Ok(None) };
        if value.is_instance_of::<PyString>() {
            let text = value.extract::<Text>()?.0;
            return text
                .parse::<Timestamp>()
                .and_then(|time| {
                    Timestamp::from_microsecond(time.as_microsecond().clamp(FIRST.as_microsecond(), last_microsecond()))
                })
                .map(Some)
                .map_err(|error| {
                    let shown: String = text.chars().take(64).collect();
                    Error::invalid_input(format!("`{name}` is `{shown}`, which is not a time with an offset"))
                        .with_source(error)
                })
                .py();
        }
        Ok(Some(value.extract::<Time>()?.0))
    }

    /// A time that must be there.
    pub(crate) fn time(&self, name: &str) -> PyResult<Timestamp> {
        self.optional_time(name)?.ok_or_else(|| self.lacks(name))
    }
}

/// Makes a `dict` of names and values.
macro_rules! dict_of {
    ($py:expr, $($name:literal => $value:expr),* $(,)?) => {{
        let dict = pyo3::types::PyDict::new($py);
        $(dict.set_item(pyo3::intern!($py, $name), $value)?;)*
        dict
    }};
}
pub(crate) use dict_of;
