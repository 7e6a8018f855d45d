//! The one mapping from [`umi_core::Error`] to the classes of `umi.exceptions`.

use std::{
    any::Any,
    error::Error as StdError,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
};

use pyo3::{
    exceptions::{PyException, PyRuntimeError},
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyDict, PyType},
};
use umi_core::{Error, ErrorKind};

static CLASSES: PyOnceLock<Vec<(ErrorKind, Py<PyType>)>> = PyOnceLock::new();

/// The class of a kind.
fn class_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidInput => "InvalidInputError",
        ErrorKind::EmptyText => "EmptyTextError",
        ErrorKind::TextTooLong => "TextTooLongError",
        ErrorKind::InvalidLimit => "InvalidLimitError",
        ErrorKind::Capacity => "CapacityError",
        ErrorKind::NotFound => "NotFoundError",
        ErrorKind::RefNotFound => "RefNotFoundError",
        ErrorKind::File => "FileError",
        ErrorKind::Storage => "StorageError",
        ErrorKind::CorruptStore => "CorruptStoreError",
        ErrorKind::StoreVersion => "StoreVersionError",
        ErrorKind::StoreLocked => "StoreLockedError",
        ErrorKind::StoreIo => "StoreIOError",
        ErrorKind::Embedding => "EmbeddingError",
        ErrorKind::EmbeddingSpace => "EmbeddingSpaceError",
        ErrorKind::Provider => "ProviderError",
        ErrorKind::RateLimit => "RateLimitError",
        ErrorKind::Authentication => "AuthenticationError",
        ErrorKind::ProviderTimeout => "ProviderTimeoutError",
        ErrorKind::ContextOverflow => "ContextOverflowError",
        ErrorKind::InvalidResponse => "InvalidResponseError",
        ErrorKind::Closed => "ClosedError",
        ErrorKind::Forked => "ForkedError",
        ErrorKind::FeatureNotBuilt => "FeatureNotBuiltError",
        ErrorKind::Internal => "InternalError",
        _ => "UmiError",
    }
}

/// Looks every class up, once, when the module is imported.
pub(crate) fn load_classes(py: Python<'_>) -> PyResult<()> {
    CLASSES.get_or_try_init(py, || {
        let module = py.import(intern!(py, "umi.exceptions"))?;
        ErrorKind::ALL
            .into_iter()
            .map(|kind| Ok((kind, module.getattr(class_name(kind))?.cast_into::<PyType>()?.unbind())))
            .collect::<PyResult<Vec<_>>>()
    })?;
    Ok(())
}

/// Makes the exception of an error, with its attributes and its cause. What is no error, such as Ctrl-C in a caller's
/// own code, is raised as it is.
pub(crate) fn to_py(py: Python<'_>, error: &Error) -> PyErr {
    if error.kind() == ErrorKind::Closed
        && let Some(python) = error.source().and_then(|source| source.downcast_ref::<PythonError>())
        && !python.error.is_instance_of::<PyException>(py)
    {
        return python.error.clone_ref(py);
    }
    match to_value(py, error) {
        Ok(value) => PyErr::from_value(value),
        Err(failure) => failure,
    }
}

/// The exception as an object, for results that hold one.
pub(crate) fn to_value<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    let kind = error.kind();
    let details = error.details();
    let special = if kind == ErrorKind::File { file_class(details.errno) } else { None };
    let known = CLASSES.get(py).and_then(|all| all.iter().find(|(other, _)| *other == kind));
    let class = if let Some((_, class)) = known.filter(|_| special.is_none()) {
        class.bind(py).clone()
    } else {
        let name = special.unwrap_or_else(|| class_name(kind));
        py.import(intern!(py, "umi.exceptions"))?.getattr(name)?.cast_into::<PyType>()?
    };
    let attributes = PyDict::new(py);
    attributes.set_item("hint", error.hint())?;
    attributes.set_item("limit", details.limit)?;
    attributes.set_item("requested", details.requested)?;
    attributes.set_item("errno", details.errno)?;
    attributes.set_item("filename", details.filename.as_deref())?;
    attributes.set_item("provider", details.provider.as_deref())?;
    attributes.set_item("status", details.status)?;
    attributes.set_item("request_id", details.request_id.as_deref())?;
    attributes.set_item("retry_after", details.retry_after.map(|wait| wait.as_secs_f64()))?;
    attributes.set_item("is_retryable", details.retryable.then_some(true))?;
    let value = class.call((error.message(),), Some(&attributes))?;
    if let Some(source) = error.source() {
        value.setattr(intern!(py, "__cause__"), cause(py, source)?)?;
    }
    Ok(value)
}

/// The class of an error about a file of the caller's, by what the operating system said, where it has one of its own.
fn file_class(errno: Option<i32>) -> Option<&'static str> {
    match io::Error::from_raw_os_error(errno?).kind() {
        io::ErrorKind::NotFound => Some("MissingFileError"),
        io::ErrorKind::IsADirectory => Some("IsFolderError"),
        io::ErrorKind::PermissionDenied => Some("FilePermissionError"),
        _ => None,
    }
}

fn cause<'py>(py: Python<'py>, source: &(dyn StdError + 'static)) -> PyResult<Bound<'py, PyAny>> {
    if let Some(python) = source.downcast_ref::<PythonError>() {
        return Ok(python.error.value(py).clone().into_any());
    }
    if let Some(error) = source.downcast_ref::<Error>() {
        return to_value(py, error);
    }
    let value = match source.downcast_ref::<std::io::Error>() {
        Some(error) => match error.raw_os_error() {
            Some(errno) => PyErr::new::<pyo3::exceptions::PyOSError, _>((errno, error.to_string())),
            None => PyErr::new::<pyo3::exceptions::PyOSError, _>(error.to_string()),
        },
        None => PyRuntimeError::new_err(source.to_string()),
    }
    .into_value(py)
    .into_bound(py)
    .into_any();
    if let Some(source) = source.source() {
        value.setattr(intern!(py, "__cause__"), cause(py, source)?)?;
    }
    Ok(value)
}

/// An exception of a caller's own code, on its way through the core as the cause of an [`Error`].
///
/// In words it is the name of its class and nothing else: its text may hold a key or what was to be remembered, and
/// words reach the log and the store. The exception itself is the `__cause__` of what Python sees.
pub(crate) struct PythonError {
    error: PyErr,
    class: String,
}

impl PythonError {
    pub(crate) fn new(error: PyErr) -> Self {
        let name = Python::attach(|py| error.get_type(py).name().map(|name| name.to_string()));
        let class = name.map_or_else(|_| "Exception".to_owned(), |name| name.chars().take(64).collect());
        Self { error, class }
    }

    /// The name of the exception's class.
    pub(crate) fn class(&self) -> &str {
        &self.class
    }
}

impl fmt::Debug for PythonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.class)
    }
}

impl fmt::Display for PythonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.class)
    }
}

impl StdError for PythonError {}

/// Turns the core's results into Python's.
pub(crate) trait IntoPyResult<T> {
    /// The value, or the exception of the error.
    fn py(self) -> PyResult<T>;
}

impl<T> IntoPyResult<T> for umi_core::Result<T> {
    fn py(self) -> PyResult<T> {
        self.map_err(|error| Python::attach(|py| to_py(py, &error)))
    }
}

/// What a panic says, as an error.
pub(crate) fn from_panic(panic: &(dyn Any + Send)) -> Error {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    Error::internal(format!("a defect of umi: {message}"))
}

/// Runs work that calls into the core, so that no panic of it reaches Python as one.
pub(crate) fn guarded<T>(work: impl FnOnce() -> umi_core::Result<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(from_panic(panic.as_ref()))).py()
}

/// Every kind of error with the exception that it becomes, for the tests.
#[pyfunction]
pub(crate) fn _error_kinds(py: Python<'_>) -> PyResult<Vec<(String, Py<PyAny>)>> {
    ErrorKind::ALL
        .into_iter()
        .map(|kind| {
            let error = Error::new(kind, "message")
                .with_hint("hint")
                .with_sizes(10, 20)
                .with_file(Some(28), "file")
                .with_provider("provider")
                .with_response(Some(429), Some("request".to_owned()), Some(std::time::Duration::from_millis(1_500)))
                .with_retryable(true)
                .with_source(Error::new(ErrorKind::Internal, "cause").with_source(std::io::Error::other("root")));
            Ok((format!("{kind:?}"), to_value(py, &error)?.unbind()))
        })
        .collect()
}

/// Panics behind the guard, for the tests.
#[pyfunction]
pub(crate) fn _panic() -> PyResult<()> {
    guarded(|| panic!("on purpose"))
}
