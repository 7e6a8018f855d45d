//! The embedder that reads a model from a folder.

#[cfg(feature = "full")]
use std::sync::Arc;

use pyo3::prelude::*;
#[cfg(feature = "full")]
use umi_core::{Embedder, LocalEmbedder};
#[cfg(not(feature = "full"))]
use umi_core::{Error, ErrorKind};

use crate::{
    error::IntoPyResult,
    providers::{EmbeddingProvider, Folder},
};

/// Vectors of a sentence-transformers model in a folder, computed here: a BERT encoder such as all-MiniLM-L6-v2.
///
/// The folder holds `config.json`, `tokenizer.json` and `model.safetensors`. Its name is the provider's name, so a
/// store is opened with a folder of the same name again. Nothing is downloaded.
///
/// Raises `InvalidInputError` that names the file and what of it is missing, malformed or not supported, and
/// `FeatureNotBuiltError`, with the command that adds it, in the light build.
#[pyclass(frozen, extends = EmbeddingProvider, module = "umi")]
pub(crate) struct LocalEmbeddingProvider;

#[pymethods]
impl LocalEmbeddingProvider {
    #[new]
    fn new(py: Python<'_>, folder: Folder) -> PyResult<PyClassInitializer<Self>> {
        Ok(PyClassInitializer::from(open(py, folder)?).add_subclass(Self))
    }
}

#[cfg(feature = "full")]
fn open(py: Python<'_>, folder: Folder) -> PyResult<EmbeddingProvider> {
    let inner: Arc<dyn Embedder> = Arc::new(py.detach(|| LocalEmbedder::open(folder.0)).py()?);
    Ok(EmbeddingProvider { inner })
}

#[cfg(not(feature = "full"))]
fn open(_: Python<'_>, _: Folder) -> PyResult<EmbeddingProvider> {
    let error = Error::new(ErrorKind::FeatureNotBuilt, "this build has no embedder for models in a folder");
    Err(error.with_hint(
        "pip install umi-memory-full, or from the source: pip install . \
         --config-settings=build-args=\"--profile wheel-full --features full\"",
    ))
    .py()
}
