//! `WorkingMemory`.

use jiff::Timestamp;
use parking_lot::Mutex;
use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};
use umi_core::{self as core, Clock, SystemClock, TimeToLive, WorkingLimits};

use crate::{
    convert::{Fields, Octets, Real, Str, Ttl, Whole, dict_of, ttl_seconds},
    error::{IntoPyResult, guarded},
    world::ManualClock,
};

/// Reads `ttl_secs`: none is the default, infinity is forever.
pub(crate) fn ttl_secs(seconds: Option<Real>) -> PyResult<Option<TimeToLive>> {
    seconds.map(|seconds| TimeToLive::from_secs_f64(seconds.0)).transpose().py()
}

/// A key-value store of bytes, each with a time to live, in memory only.
///
/// What has expired counts for nothing and never makes a write fail. Limits: `max_bytes` of keys and values in all
/// (1 MiB), 10,000 entries, 64 KiB a value, 256 bytes a key; a time to live is above 0 and at most 7 days, or
/// `math.inf` for none.
#[pyclass(frozen, module = "umi")]
pub(crate) struct WorkingMemory {
    inner: Mutex<core::WorkingMemory>,
    limits: WorkingLimits,
    clock: Option<Py<ManualClock>>,
}

impl WorkingMemory {
    fn now(&self) -> Timestamp {
        self.clock.as_ref().map_or_else(|| SystemClock.now(), |clock| clock.get().inner.now())
    }

    fn edit<T>(&self, edit: impl FnOnce(&mut core::WorkingMemory, Timestamp) -> core::Result<T>) -> PyResult<T> {
        let now = self.now();
        guarded(|| edit(&mut self.inner.lock(), now))
    }

    /// Live keys with their values and the seconds that they still live, sorted.
    fn entries(&self) -> Vec<(String, Vec<u8>, f64)> {
        let now = self.now();
        let inner = self.inner.lock();
        let entry = |key: String| {
            let value = inner.get(&key, now)?.to_vec();
            let ttl = ttl_seconds(inner.ttl(&key, now)?);
            Some((key, value, ttl))
        };
        inner.keys(now).into_iter().filter_map(entry).collect()
    }
}

#[pymethods]
impl WorkingMemory {
    #[new]
    #[pyo3(
        signature = (max_bytes=Whole::of(WorkingLimits::default().max_bytes), default_ttl=None, clock=None),
        text_signature = "(max_bytes=1048576, default_ttl=None, clock=None)"
    )]
    fn new(max_bytes: Whole, default_ttl: Option<Ttl>, clock: Option<Py<ManualClock>>) -> PyResult<Self> {
        let standard = WorkingLimits::default();
        let limits = WorkingLimits {
            max_bytes: max_bytes.size("max_bytes")?,
            default_ttl: default_ttl.map_or(standard.default_ttl, |ttl| ttl.0),
            ..standard
        }
        .validated()
        .py()?;
        Ok(Self { inner: Mutex::new(core::WorkingMemory::new(limits)), limits, clock })
    }

    /// Writes a value. `ttl_secs` None is the default time to live, `math.inf` none.
    ///
    /// Raises `InvalidInputError` for a bad key or time to live and `CapacityError` when it does not fit; nothing has
    /// changed then.
    #[pyo3(signature = (key, value, ttl_secs=None))]
    fn set(&self, key: Str<'_>, value: Octets<'_>, ttl_secs: Option<Real>) -> PyResult<()> {
        let ttl = self::ttl_secs(ttl_secs)?;
        self.edit(|memory, now| memory.set(key.0, value.0, ttl, now))
    }

    /// The value of a live key, or None.
    fn get<'py>(&self, py: Python<'py>, key: Str<'_>) -> Option<Bound<'py, PyBytes>> {
        let now = self.now();
        self.inner.lock().get(key.0, now).map(|value| PyBytes::new(py, value))
    }

    /// Deletes a key. Gives whether it was live.
    fn delete(&self, key: Str<'_>) -> PyResult<bool> {
        self.edit(|memory, now| Ok(memory.delete(key.0, now)))
    }

    /// Whether a key is live.
    fn exists(&self, key: Str<'_>) -> bool {
        let now = self.now();
        self.inner.lock().exists(key.0, now)
    }

    /// The live keys, sorted.
    fn keys(&self) -> Vec<String> {
        let now = self.now();
        self.inner.lock().keys(now)
    }

    /// The seconds that a key still lives, `math.inf` for ever, None for one that is not there.
    fn ttl(&self, key: Str<'_>) -> Option<f64> {
        let now = self.now();
        self.inner.lock().ttl(key.0, now).map(ttl_seconds)
    }

    /// Adds to a decimal number and gives the sum; a missing key counts as 0. Keeps the key's own time to live.
    #[pyo3(
        signature = (key, delta=Whole(1), *, ttl_secs=None),
        text_signature = "($self, key, delta=1, *, ttl_secs=None)"
    )]
    fn incr(&self, key: Str<'_>, delta: Whole, ttl_secs: Option<Real>) -> PyResult<i64> {
        let ttl = self::ttl_secs(ttl_secs)?;
        self.edit(|memory, now| memory.incr(key.0, delta.0, ttl, now))
    }

    /// Puts bytes behind a value and gives its new length. Keeps the key's own time to live.
    #[pyo3(signature = (key, value, *, ttl_secs=None))]
    fn append(&self, key: Str<'_>, value: Octets<'_>, ttl_secs: Option<Real>) -> PyResult<usize> {
        let ttl = self::ttl_secs(ttl_secs)?;
        self.edit(|memory, now| memory.append(key.0, value.0, ttl, now))
    }

    /// Lets a key's time to live begin anew, with `ttl_secs` or its own. Gives whether it was live.
    #[pyo3(signature = (key, ttl_secs=None))]
    fn touch(&self, key: Str<'_>, ttl_secs: Option<Real>) -> PyResult<bool> {
        let ttl = self::ttl_secs(ttl_secs)?;
        self.edit(|memory, now| memory.touch(key.0, ttl, now))
    }

    /// Drops what has expired and gives how many keys that were.
    fn cleanup_expired(&self) -> PyResult<usize> {
        self.edit(|memory, now| Ok(memory.cleanup_expired(now)))
    }

    /// Deletes every key.
    fn clear(&self) {
        self.inner.lock().clear();
    }

    /// The bytes of live keys and values.
    #[getter]
    fn used_bytes(&self) -> usize {
        let now = self.now();
        self.inner.lock().used_bytes(now)
    }

    /// The bytes of keys and values that fit in all.
    #[getter]
    fn max_bytes(&self) -> usize {
        self.limits.max_bytes
    }

    /// The bytes that still fit.
    #[getter]
    fn available_bytes(&self) -> usize {
        let now = self.now();
        self.inner.lock().available_bytes(now)
    }

    /// The number of live keys.
    #[getter]
    fn entry_count(&self) -> usize {
        let now = self.now();
        self.inner.lock().entry_count(now)
    }

    /// Whether no key is live.
    #[getter]
    fn is_empty(&self) -> bool {
        self.entry_count() == 0
    }

    /// The time to live of a value that is given none: a timedelta, or `math.inf`.
    #[getter]
    fn default_ttl(&self) -> Ttl {
        Ttl(self.limits.default_ttl)
    }

    /// Its limits and live entries as plain values; times to live in seconds.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let entries = PyDict::new(py);
        for (key, value, ttl) in self.entries() {
            entries.set_item(key, dict_of!(py, "value" => PyBytes::new(py, &value), "ttl_secs" => ttl))?;
        }
        Ok(dict_of!(py,
            "max_bytes" => self.limits.max_bytes,
            "default_ttl" => ttl_seconds(self.limits.default_ttl),
            "entries" => entries,
        ))
    }

    /// Makes a working memory, on the system's clock, from what `to_dict()` gave; times to live count anew.
    #[staticmethod]
    #[pyo3(name = "from_dict")]
    fn from_dictionary(fields: &Bound<'_, PyDict>) -> PyResult<Self> {
        let fields = Fields::new("a working memory", fields, &["max_bytes", "default_ttl", "entries"])?;
        let standard = Whole::of(WorkingLimits::default().max_bytes);
        let made = Self::new(fields.get_or("max_bytes", standard)?, fields.get_or("default_ttl", None)?, None)?;
        let Some(entries) = fields.optional("entries")? else { return Ok(made) };
        for (key, entry) in entries.cast_into::<PyDict>()?.iter() {
            let entry = Fields::new("a working value", &entry.cast_into::<PyDict>()?, &["value", "ttl_secs"])?;
            let value = entry.get("value")?;
            made.set(key.extract::<Str<'_>>()?, value.extract()?, entry.get_or("ttl_secs", None)?)?;
        }
        Ok(made)
    }

    fn __eq__(&self, other: &Self) -> bool {
        let plain = |memory: &Self| -> Vec<(String, Vec<u8>)> {
            memory.entries().into_iter().map(|(key, value, _)| (key, value)).collect()
        };
        self.limits == other.limits && plain(self) == plain(other)
    }

    fn __copy__(&self, py: Python<'_>) -> Self {
        let clock = self.clock.as_ref().map(|clock| clock.clone_ref(py));
        Self { inner: Mutex::new(self.inner.lock().clone()), limits: self.limits, clock }
    }

    fn __deepcopy__(&self, py: Python<'_>, _memo: &Bound<'_, PyAny>) -> Self {
        self.__copy__(py)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyDict>,))> {
        Ok((slf.get_type().getattr("from_dict")?, (slf.get().to_dict(slf.py())?,)))
    }

    fn __repr__(&self) -> String {
        format!(
            "WorkingMemory(entry_count={}, used_bytes={}, max_bytes={})",
            self.entry_count(),
            self.used_bytes(),
            self.limits.max_bytes
        )
    }
}
