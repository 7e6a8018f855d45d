//! Embedding providers and storage backends.

use std::{borrow::Cow, fmt, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use pyo3::{
    buffer::PyBuffer,
    exceptions::{PyTypeError, PyUnicodeError},
    prelude::*,
    types::PyList,
};
use umi_core::{
    Embedder, EmbeddingSpace, Error, ErrorKind, OpenAIEmbedder, SimEmbedder, StaticEmbedder, StorageBackend,
    check_vectors,
};

use crate::{
    convert::{Real, Text, Whole, hash_of, shown, words},
    error::{IntoPyResult, PythonError},
    functions::Function,
    runtime::Operation,
    settings::{key_or, model_name, options, variable},
};

/// The most dimensions of a vector.
const DIMENSIONS: usize = 65_536;

/// What turns texts into vectors. Made through one of its subclasses.
#[pyclass(frozen, subclass, module = "umi")]
pub(crate) struct EmbeddingProvider {
    pub(crate) inner: Arc<dyn Embedder>,
}

#[pymethods]
impl EmbeddingProvider {
    /// The model's name.
    #[getter]
    fn name(&self) -> &str {
        &self.inner.space().model
    }

    /// The number of dimensions of a vector.
    #[getter]
    fn dimensions(&self) -> usize {
        self.inner.space().dimensions
    }

    /// Turns texts into vectors, in order. To be awaited.
    ///
    /// Raises `EmbeddingError` when the answer is not one vector a text, of `dimensions` finite numbers.
    fn embed(&self, texts: &Bound<'_, PyAny>) -> PyResult<Operation> {
        let (embedder, texts) = (Arc::clone(&self.inner), words(texts)?);
        let work = async move {
            if texts.is_empty() {
                return Ok(Vec::new());
            }
            let vectors = embedder.embed(&texts).await?;
            check_vectors(embedder.space(), texts.len(), &vectors)?;
            Ok(vectors)
        };
        Ok(Operation::new(work, |py, vectors: Vec<Vec<f32>>| Ok(PyList::new(py, vectors)?.into_any().unbind())))
    }

    /// Turns texts into vectors, in order, and blocks meanwhile.
    fn embed_sync(&self, py: Python<'_>, texts: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.embed(texts)?.wait(py, None)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let space = slf.get().inner.space();
        Ok(format!("{}(name={}, dimensions={})", slf.get_type().name()?, shown(&space.model), space.dimensions))
    }
}

/// The default: a table of word vectors that ships with the package. English first; no network, no download.
#[pyclass(frozen, extends = EmbeddingProvider, module = "umi")]
pub(crate) struct StaticEmbeddingProvider;

#[pymethods]
impl StaticEmbeddingProvider {
    #[new]
    fn new(py: Python<'_>) -> PyClassInitializer<Self> {
        let inner: Arc<dyn Embedder> = Arc::new(py.detach(StaticEmbedder::new));
        PyClassInitializer::from(EmbeddingProvider { inner }).add_subclass(Self)
    }
}

/// Vectors that depend on a seed and on the words of a text, for tests and simulations.
#[pyclass(frozen, extends = EmbeddingProvider, module = "umi")]
pub(crate) struct SimEmbeddingProvider;

#[pymethods]
impl SimEmbeddingProvider {
    #[new]
    #[pyo3(signature = (seed=Whole(0)), text_signature = "(seed=0)")]
    fn new(seed: Whole) -> PyResult<PyClassInitializer<Self>> {
        let seed = seed.size("seed")? as u64;
        let inner: Arc<dyn Embedder> = Arc::new(SimEmbedder::new(seed));
        Ok(PyClassInitializer::from(EmbeddingProvider { inner }).add_subclass(Self))
    }
}

/// Vectors from a function of yours: `fn(texts: list[str]) -> list[list[float]]`, plain or async.
///
/// A plain function runs in a worker thread, never on the event loop; an async one runs on the loop that awaits the
/// call, else on a loop of its own thread. Arrays are accepted. What it raises is the cause of the `EmbeddingError`.
#[pyclass(frozen, extends = EmbeddingProvider, module = "umi")]
pub(crate) struct CallableEmbeddingProvider;

#[pymethods]
impl CallableEmbeddingProvider {
    #[new]
    #[pyo3(signature = (r#fn, *, dimensions, name))]
    fn new(r#fn: &Bound<'_, PyAny>, dimensions: Whole, name: Text) -> PyResult<PyClassInitializer<Self>> {
        let function = Function::new(r#fn)?;
        let dimensions = dimensions.size("dimensions")?;
        if !(1..=DIMENSIONS).contains(&dimensions) {
            return Err(Error::invalid_input(format!(
                "dimensions is `{dimensions}`, it must lie between 1 and {DIMENSIONS}"
            )))
            .py();
        }
        if name.0.trim().is_empty() {
            return Err(Error::invalid_input("the name of an embedder is empty")
                .with_hint("name the model, because vectors of two models are never compared"))
            .py();
        }
        let embedder = CallableEmbedder { function, space: EmbeddingSpace::new(name.0, dimensions, "") };
        let inner: Arc<dyn Embedder> = Arc::new(embedder);
        Ok(PyClassInitializer::from(EmbeddingProvider { inner }).add_subclass(Self))
    }
}

struct CallableEmbedder {
    function: Function,
    space: EmbeddingSpace,
}

impl fmt::Debug for CallableEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallableEmbedder").field("space", &self.space).finish_non_exhaustive()
    }
}

impl CallableEmbedder {
    fn shown_name(&self) -> String {
        self.space.model.chars().take(64).collect()
    }
}

#[async_trait]
impl Embedder for CallableEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        &self.space
    }

    async fn embed(&self, texts: &[String]) -> umi_core::Result<Vec<Vec<f32>>> {
        let texts = texts.to_vec();
        let argument = |py: Python<'_>| Ok(PyList::new(py, texts)?.into_any().unbind());
        let answer = self.function.call(argument).await.map_err(|error| {
            let error = PythonError::new(error);
            Error::new(ErrorKind::Embedding, format!("embedder `{}` raised `{}`", self.shown_name(), error.class()))
                .with_hint("its cause is what it raised")
                .with_source(error)
        })?;
        Python::attach(|py| vectors(answer.bind(py))).map_err(|error| {
            let message = format!("embedder `{}` gave no rows of numbers", self.shown_name());
            Error::new(ErrorKind::Embedding, message)
                .with_hint("a function gives one list of numbers a text, in order")
                .with_source(PythonError::new(error))
        })
    }
}

/// Vectors of OpenAI's embeddings, or of a compatible server.
///
/// The key is that of `OPENAI_API_KEY` and the URL (with `/v1`) that of `OPENAI_BASE_URL` unless they are given. The
/// timeout is that of one try, in seconds. Dimensions that are not given are those that the model is known to have.
#[pyclass(frozen, extends = EmbeddingProvider, module = "umi")]
pub(crate) struct OpenAIEmbeddingProvider;

#[pymethods]
impl OpenAIEmbeddingProvider {
    #[new]
    #[pyo3(
        signature = (
            api_key=None, *, model=None, dimensions=None, base_url=None, timeout=Real(60.0), max_retries=Whole(2),
            batch_size=Whole(100)
        ),
        text_signature = "(api_key=None, *, model=None, dimensions=None, base_url=None, timeout=60.0, \
            max_retries=2, batch_size=100)"
    )]
    fn new(
        api_key: Option<Text>,
        model: Option<Text>,
        dimensions: Option<Whole>,
        base_url: Option<Text>,
        timeout: Real,
        max_retries: Whole,
        batch_size: Whole,
    ) -> PyResult<PyClassInitializer<Self>> {
        let key = key_or(api_key, "OPENAI_API_KEY")?;
        let url = base_url.map(|url| url.0).or_else(|| variable("OPENAI_BASE_URL"));
        let model = model.map(model_name).transpose()?;
        let dimensions = dimensions.map(|dimensions| dimensions.size("dimensions")).transpose()?;
        let options = options(timeout, max_retries, None)?;
        let client = OpenAIEmbedder::connect(&key, model.as_deref(), dimensions, url.as_deref(), options).py()?;
        let inner = Arc::new(client.with_batch_size(batch_size.size("batch_size")?).py()?);
        Ok(PyClassInitializer::from(EmbeddingProvider { inner }).add_subclass(Self))
    }
}

/// Reads rows of numbers: arrays through the buffer protocol, everything else as an iterable.
fn vectors(rows: &Bound<'_, PyAny>) -> PyResult<Vec<Vec<f32>>> {
    rows.try_iter()?.map(|row| vector(&row?)).collect()
}

fn vector(row: &Bound<'_, PyAny>) -> PyResult<Vec<f32>> {
    let py = row.py();
    if let Ok(buffer) = PyBuffer::<f32>::get(row) {
        return buffer.to_vec(py);
    }
    if let Ok(buffer) = PyBuffer::<f64>::get(row) {
        return Ok(buffer.to_vec(py)?.into_iter().map(|value| value as f32).collect());
    }
    row.try_iter()?.map(|value| Ok(value?.extract::<Real>()?.0 as f32)).collect()
}

/// The longest path that Linux takes; no other system takes a longer one.
const PATH_BYTES: usize = 4096;

/// A path that can name a folder.
pub(crate) struct Folder(pub(crate) PathBuf);

impl<'py> FromPyObject<'_, 'py> for Folder {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let path: PathBuf = value.extract().map_err(|cause: PyErr| {
            if cause.is_instance_of::<PyUnicodeError>(value.py()) {
                let error = Error::invalid_input("the path holds a lone surrogate that stands for no byte");
                return crate::error::to_py(value.py(), &error.with_source(PythonError::new(cause)));
            }
            cause
        })?;
        let name = path.as_os_str().as_encoded_bytes();
        if name.is_empty() {
            return Err(Error::invalid_input("the path is empty").with_hint("\".\" is the working folder")).py();
        }
        if name.len() > PATH_BYTES {
            let message = format!("the path has {} bytes, at most {PATH_BYTES} are allowed", name.len());
            return Err(Error::invalid_input(message).with_sizes(PATH_BYTES, name.len())).py();
        }
        if name.contains(&0) {
            let shown: String = path.to_string_lossy().chars().take(64).flat_map(char::escape_default).collect();
            return Err(Error::invalid_input(format!("the path `{shown}` holds a NUL"))).py();
        }
        Ok(Self(path))
    }
}

/// A store in a folder: one SQLite database. Made with `connect()`; the folder is made when a memory is opened.
#[pyclass(frozen, module = "umi")]
pub(crate) struct SqliteStorageBackend {
    inner: StorageBackend,
    folder: PathBuf,
}

#[pymethods]
impl SqliteStorageBackend {
    /// Names the folder of a store.
    #[staticmethod]
    #[pyo3(signature = (path=Folder("./umi_memory".into())), text_signature = "(path='./umi_memory')")]
    fn connect(path: Folder) -> Self {
        let folder = path.0;
        Self { inner: StorageBackend::sqlite(folder.clone()), folder }
    }

    /// The folder.
    #[getter]
    fn path(&self) -> Cow<'_, str> {
        self.folder.to_string_lossy()
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.inner == other.inner
    }

    fn __hash__(&self) -> u64 {
        hash_of(&self.folder)
    }

    fn __repr__(&self) -> String {
        format!("SqliteStorageBackend({})", shown(&self.path()))
    }
}

/// A store in a folder with an index on LanceDB beside the database, for stores that outgrow memory. Made with
/// `connect()`; the folder is made when a memory is opened.
#[pyclass(frozen, module = "umi")]
pub(crate) struct LanceStorageBackend {
    inner: StorageBackend,
    folder: PathBuf,
}

#[pymethods]
impl LanceStorageBackend {
    /// Names the folder of a store.
    ///
    /// Raises `FeatureNotBuiltError` in a build without LanceDB, with the command that adds it.
    #[staticmethod]
    #[pyo3(signature = (path=Folder("./umi_memory".into())), text_signature = "(path='./umi_memory')")]
    fn connect(path: Folder) -> PyResult<Self> {
        let folder = path.0;
        let inner = StorageBackend::lance(folder.clone());
        inner.check_built().py()?;
        Ok(Self { inner, folder })
    }

    /// The folder.
    #[getter]
    fn path(&self) -> Cow<'_, str> {
        self.folder.to_string_lossy()
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.inner == other.inner
    }

    fn __hash__(&self) -> u64 {
        hash_of(&self.folder)
    }

    fn __repr__(&self) -> String {
        format!("LanceStorageBackend({})", shown(&self.path()))
    }
}

/// A store without a file, which lives as long as its handles.
#[pyclass(frozen, module = "umi")]
pub(crate) struct InMemoryStorageBackend;

#[pymethods]
impl InMemoryStorageBackend {
    #[new]
    fn new() -> Self {
        Self
    }

    fn __repr__(&self) -> &'static str {
        "InMemoryStorageBackend()"
    }
}

/// One of the backends, as an argument.
pub(crate) struct Storage(pub(crate) StorageBackend);

impl<'py> FromPyObject<'_, 'py> for Storage {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(backend) = value.cast::<SqliteStorageBackend>() {
            return Ok(Self(backend.get().inner.clone()));
        }
        if let Ok(backend) = value.cast::<LanceStorageBackend>() {
            return Ok(Self(backend.get().inner.clone()));
        }
        if value.is_instance_of::<InMemoryStorageBackend>() {
            return Ok(Self(StorageBackend::in_memory()));
        }
        Err(PyTypeError::new_err("expected a storage backend, such as SqliteStorageBackend.connect(path)"))
    }
}
