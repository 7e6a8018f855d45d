//! Language models: the clients of the services, a caller's function, and the simulated one.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use pyo3::prelude::*;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use umi_core::{self as core, AnthropicModel, Error, ErrorKind, LanguageModel, OpenAIModel, Result, SimLanguageModel};

use crate::{
    completions::{Completion, CompletionRequest, read_answer},
    convert::{Real, Text, Whole, shown},
    error::{IntoPyResult, PythonError},
    functions::Function,
    runtime::Operation,
    settings::{key_or, model_name, options, places, tokens, variable},
};

/// What answers requests. Made through one of its subclasses.
#[pyclass(frozen, subclass, module = "umi")]
pub(crate) struct LanguageModelProvider {
    pub(crate) inner: Arc<dyn LanguageModel>,
    shown: String,
}

#[pymethods]
impl LanguageModelProvider {
    /// The provider and the model, such as `anthropic:claude-sonnet-4-6`.
    #[getter]
    fn name(&self) -> &str {
        self.inner.name()
    }

    /// Answers a request, or a text alone. To be awaited; cancelling it stops the request.
    ///
    /// Raises `InvalidInputError` for an empty text, and a `ProviderError` when the service fails: one of its kinds,
    /// such as `InvalidResponseError` for an empty answer.
    fn complete(&self, request: &Bound<'_, PyAny>) -> PyResult<Operation> {
        let request = CompletionRequest::read(request)?;
        let model = Arc::clone(&self.inner);
        let work = async move { model.complete(&request).await };
        Ok(Operation::new(work, |py, inner: core::Completion| Ok(Py::new(py, Completion { inner })?.into_any())))
    }

    /// Answers a request, or a text alone, and blocks meanwhile. It raises what `complete` does.
    fn complete_sync(&self, py: Python<'_>, request: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.complete(request)?.wait(py, None)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        Ok(format!("{}({})", slf.get_type().name()?, slf.get().shown))
    }
}

/// A model of Anthropic's Messages API.
///
/// The key is that of `ANTHROPIC_API_KEY` and the URL (without `/v1`) that of `ANTHROPIC_BASE_URL` unless they are
/// given. The timeout is that of one try, in seconds.
#[pyclass(frozen, extends = LanguageModelProvider, module = "umi")]
pub(crate) struct AnthropicProvider;

#[pymethods]
impl AnthropicProvider {
    #[new]
    #[pyo3(
        signature = (
            api_key=None, *, model=None, base_url=None, max_tokens=Whole(4096), timeout=Real(60.0),
            max_retries=Whole(2), max_concurrency=Whole(8)
        ),
        text_signature = "(api_key=None, *, model=None, base_url=None, max_tokens=4096, timeout=60.0, \
            max_retries=2, max_concurrency=8)"
    )]
    fn new(
        api_key: Option<Text>,
        model: Option<Text>,
        base_url: Option<Text>,
        max_tokens: Whole,
        timeout: Real,
        max_retries: Whole,
        max_concurrency: Whole,
    ) -> PyResult<PyClassInitializer<Self>> {
        let key = key_or(api_key, "ANTHROPIC_API_KEY")?;
        let url = base_url.map(|url| url.0).or_else(|| variable("ANTHROPIC_BASE_URL"));
        let options = options(timeout, max_retries, Some(max_concurrency))?;
        let mut client = AnthropicModel::connect(&key, url.as_deref(), options).py()?;
        if let Some(model) = model {
            client = client.with_model(model_name(model)?);
        }
        let client = client.with_max_tokens(tokens(max_tokens)?);
        let shown = format!("model={}, base_url={}", shown(client.model()), shown(&client.base_url()));
        let base = LanguageModelProvider { inner: Arc::new(client), shown };
        Ok(PyClassInitializer::from(base).add_subclass(Self))
    }
}

/// A model of OpenAI's chat completions, or of a compatible server.
///
/// The key is that of `OPENAI_API_KEY` and the URL (with `/v1`) that of `OPENAI_BASE_URL` unless they are given. The
/// timeout is that of one try, in seconds.
#[pyclass(frozen, extends = LanguageModelProvider, module = "umi")]
pub(crate) struct OpenAIProvider;

#[pymethods]
impl OpenAIProvider {
    #[new]
    #[pyo3(
        signature = (
            api_key=None, *, model=None, base_url=None, max_tokens=Whole(4096), timeout=Real(60.0),
            max_retries=Whole(2), max_concurrency=Whole(8)
        ),
        text_signature = "(api_key=None, *, model=None, base_url=None, max_tokens=4096, timeout=60.0, \
            max_retries=2, max_concurrency=8)"
    )]
    fn new(
        api_key: Option<Text>,
        model: Option<Text>,
        base_url: Option<Text>,
        max_tokens: Whole,
        timeout: Real,
        max_retries: Whole,
        max_concurrency: Whole,
    ) -> PyResult<PyClassInitializer<Self>> {
        let key = key_or(api_key, "OPENAI_API_KEY")?;
        let url = base_url.map(|url| url.0).or_else(|| variable("OPENAI_BASE_URL"));
        let options = options(timeout, max_retries, Some(max_concurrency))?;
        let mut client = OpenAIModel::connect(&key, url.as_deref(), options).py()?;
        if let Some(model) = model {
            client = client.with_model(model_name(model)?);
        }
        let client = client.with_max_tokens(tokens(max_tokens)?);
        let shown = format!("model={}, base_url={}", shown(client.model()), shown(&client.base_url()));
        let base = LanguageModelProvider { inner: Arc::new(client), shown };
        Ok(PyClassInitializer::from(base).add_subclass(Self))
    }
}

/// A model that is a function of yours: `fn(request: CompletionRequest)`, plain or async.
///
/// It gives a `str`, a `dict` (the JSON that `request.schema` asks for) or a `Completion`.
///
/// A plain function runs in a worker thread, never on the event loop; an async one runs on the loop that awaits the
/// call, else on a loop of its own thread. What it raises is the cause of the `ProviderError`. No more than
/// `max_concurrency` calls run at once, 1 to 1,024; those beyond wait for their turn. There is no timeout: a function
/// that waits for something has to give up by itself.
#[pyclass(frozen, extends = LanguageModelProvider, module = "umi")]
pub(crate) struct CallableProvider;

#[pymethods]
impl CallableProvider {
    #[new]
    #[pyo3(
        signature = (r#fn, *, name=Text("callable".to_owned()), max_concurrency=Whole(8)),
        text_signature = "(fn, *, name='callable', max_concurrency=8)"
    )]
    fn new(r#fn: &Bound<'_, PyAny>, name: Text, max_concurrency: Whole) -> PyResult<PyClassInitializer<Self>> {
        let name = model_name(name)?;
        let shown = format!("name={}", shown(&name));
        let places = Places::new(places(max_concurrency)?);
        let inner = Arc::new(CallableModel { function: Function::new(r#fn)?, name, places });
        Ok(PyClassInitializer::from(LanguageModelProvider { inner, shown }).add_subclass(Self))
    }
}

/// A model that answers by simple rules, for tests and simulations.
///
/// It finds facts in plain English sentences, and relations by shared words. One seed gives the same answers twice.
#[pyclass(frozen, extends = LanguageModelProvider, module = "umi")]
pub(crate) struct SimLLMProvider;

#[pymethods]
impl SimLLMProvider {
    #[new]
    #[pyo3(signature = (seed=Whole(0)), text_signature = "(seed=0)")]
    fn new(seed: Whole) -> PyResult<PyClassInitializer<Self>> {
        let seed = seed.size("seed")? as u64;
        let base =
            LanguageModelProvider { inner: Arc::new(SimLanguageModel::new(seed)), shown: format!("seed={seed}") };
        Ok(PyClassInitializer::from(base).add_subclass(Self))
    }
}

#[derive(Debug)]
struct CallableModel {
    function: Function,
    name: String,
    places: Places,
}

/// The places for calls of one process: a forked child must not wait for those that its parent's calls hold.
#[derive(Debug)]
struct Places {
    most: usize,
    current: Mutex<(u32, Arc<Semaphore>)>,
}

impl Places {
    fn new(most: usize) -> Self {
        Self { most, current: Mutex::new((std::process::id(), Arc::new(Semaphore::new(most)))) }
    }

    /// Waits for a place, which is held until what it gives is dropped.
    async fn take(&self) -> Result<OwnedSemaphorePermit> {
        // Attached to the interpreter, so that no other thread forks while the lock is held.
        let places = Python::attach(|_| {
            let (process, mut current) = (std::process::id(), self.current.lock());
            if current.0 != process {
                *current = (process, Arc::new(Semaphore::new(self.most)));
            }
            Arc::clone(&current.1)
        });
        let gone = |error| Error::internal("the places for calls are gone").with_source(error);
        places.acquire_owned().await.map_err(gone)
    }
}

#[async_trait]
impl LanguageModel for CallableModel {
    fn name(&self) -> &str {
        &self.name
    }

    async fn complete(&self, request: &core::CompletionRequest) -> Result<core::Completion> {
        let inner = request.clone();
        let argument = |py: Python<'_>| Ok(Py::new(py, CompletionRequest { inner })?.into_any());
        let name: String = self.name.chars().take(64).collect();
        let _place = self.places.take().await?;
        let answer = self.function.call(argument).await.map_err(|error| {
            let error = PythonError::new(error);
            let message = format!("language model `{name}` raised `{}`", error.class());
            Error::new(ErrorKind::Provider, message)
                .with_hint("its cause is what it raised")
                .with_provider(&self.name)
                .with_source(error)
        })?;
        let mut completion = Python::attach(|py| read_answer(answer.bind(py))).map_err(|error| {
            let message = format!("language model `{name}` gave no answer");
            Error::new(ErrorKind::InvalidResponse, message)
                .with_hint("a function gives a str, a dict or a Completion")
                .with_provider(&self.name)
                .with_source(PythonError::new(error))
        })?;
        completion.usage.requests = completion.usage.requests.max(1);
        Ok(completion)
    }
}
