//! Language models: the clients of the services, a caller's function, and what they are asked and answer.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use pyo3::{
    exceptions::PyTypeError,
    intern,
    prelude::*,
    types::{PyBytes, PyDict, PyList, PyString},
};
use umi_core::{
    self as core, AnswerSchema, AnthropicModel, Error, ErrorKind, HttpOptions, LanguageModel, Message, MessagePart,
    MessageRole, OpenAIEmbedder, OpenAIModel, Result, SimLanguageModel,
};

use crate::{
    convert::{Real, Text, Whole, dict_of, shown, shown_or_none, wrong_type},
    error::{IntoPyResult, PythonError},
    functions::Function,
    providers::EmbeddingProvider,
    runtime::Operation,
};

/// What a model is asked: instructions, messages, and the form of its answer.
#[pyclass(frozen, module = "umi")]
pub(crate) struct CompletionRequest {
    inner: core::CompletionRequest,
}

#[pymethods]
impl CompletionRequest {
    #[new]
    #[pyo3(
        signature = (messages, *, system=Text(String::new()), schema=None, schema_name=None, max_tokens=None),
        text_signature = "(messages, *, system='', schema=None, schema_name=None, max_tokens=None)"
    )]
    fn new(
        messages: &Bound<'_, PyAny>,
        system: Text,
        schema: Option<Bound<'_, PyDict>>,
        schema_name: Option<Text>,
        max_tokens: Option<Whole>,
    ) -> PyResult<Self> {
        let mut inner = core::CompletionRequest::default();
        inner.system = system.0;
        inner.messages = read_messages(messages)?;
        inner.max_tokens = max_tokens.map(tokens).transpose()?;
        match (schema, schema_name) {
            (Some(schema), name) => {
                let name = name.map_or_else(|| "answer".to_owned(), |name| name.0);
                inner = inner.with_answer(AnswerSchema::new(name, read_schema(&schema)?));
            }
            (None, Some(_)) => return Err(Error::invalid_input("a schema_name is given without a schema")).py(),
            (None, None) => {}
        }
        Ok(Self { inner })
    }

    /// The instructions.
    #[getter]
    fn system(&self) -> &str {
        &self.inner.system
    }

    /// The messages: `{"role": …, "content": …}`, the content a text, or a list of texts and images.
    #[getter]
    fn messages<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let messages: Vec<_> = self.inner.messages.iter().map(|said| message(py, said)).collect::<PyResult<_>>()?;
        PyList::new(py, messages)
    }

    /// The words of the last message.
    #[getter]
    fn prompt(&self) -> String {
        let parts = self.inner.messages.last().map(|message| message.parts.as_slice()).unwrap_or_default();
        let texts = parts.iter().filter_map(|part| match part {
            MessagePart::Text(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    /// The JSON Schema that the answer has to fit, or None for free text.
    #[getter]
    fn schema<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(answer) = &self.inner.answer else { return Ok(None) };
        json(py)?.call_method1(intern!(py, "loads"), (answer.schema.to_string(),)).map(Some)
    }

    /// What the answer is, as an identifier (`facts`, say), or None for free text.
    #[getter]
    fn schema_name(&self) -> Option<&str> {
        self.inner.answer.as_ref().map(|answer| answer.name.as_str())
    }

    /// The most tokens of the answer, or None for the provider's own limit.
    #[getter]
    fn max_tokens(&self) -> Option<u32> {
        self.inner.max_tokens
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.inner == other.inner
    }

    fn __repr__(&self) -> String {
        format!(
            "CompletionRequest(prompt={}, system={}, schema_name={})",
            shown(&self.prompt()),
            shown(&self.inner.system),
            shown_or_none(self.schema_name())
        )
    }
}

/// What a model answered. `input_tokens` and `output_tokens` make its `usage`, of one request.
#[pyclass(frozen, module = "umi")]
pub(crate) struct Completion {
    inner: core::Completion,
}

#[pymethods]
impl Completion {
    #[new]
    #[pyo3(
        signature = (text, *, input_tokens=Whole(0), output_tokens=Whole(0), is_cut=false),
        text_signature = "(text, *, input_tokens=0, output_tokens=0, is_cut=False)"
    )]
    fn new(text: Text, input_tokens: Whole, output_tokens: Whole, is_cut: bool) -> PyResult<Self> {
        let (read, written) = (input_tokens.size("input_tokens")? as u64, output_tokens.size("output_tokens")? as u64);
        let usage = core::Usage::new(read, written, 1);
        Ok(Self { inner: core::Completion::new(text.0).with_usage(usage).with_cut(is_cut) })
    }

    /// The text; JSON where a schema was asked for.
    #[getter]
    fn text(&self) -> &str {
        &self.inner.text
    }

    /// What the service counted: a `Usage`.
    #[getter]
    fn usage<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let usage = self.inner.usage;
        let class = py.import(intern!(py, "umi._results"))?.getattr(intern!(py, "Usage"))?;
        class.call1((usage.input_tokens, usage.output_tokens, usage.requests))
    }

    /// The service's id of the request, or None.
    #[getter]
    fn request_id(&self) -> Option<&str> {
        self.inner.request_id.as_deref()
    }

    /// Whether the answer ended because it reached its limit of tokens.
    #[getter]
    fn is_cut(&self) -> bool {
        self.inner.is_cut
    }

    /// The answer to a request with a schema, as Python's `json` reads it.
    fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json(py)?.call_method1(intern!(py, "loads"), (&self.inner.text,))
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.inner == other.inner
    }

    fn __repr__(&self) -> String {
        let request_id = shown_or_none(self.request_id());
        format!("Completion(text={}, request_id={request_id})", shown(&self.inner.text))
    }
}

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
    /// Raises a `ProviderError` when the service fails.
    fn complete(&self, request: &Bound<'_, PyAny>) -> PyResult<Operation> {
        let request = match request.cast::<CompletionRequest>() {
            Ok(request) => request.get().inner.clone(),
            Err(_) if request.is_instance_of::<PyString>() => {
                core::CompletionRequest::new("", request.extract::<Text>()?.0)
            }
            Err(_) => return Err(wrong_type("CompletionRequest or str", request)),
        };
        let model = Arc::clone(&self.inner);
        let work = async move { model.complete(&request).await };
        Ok(Operation::new(work, |py, inner: core::Completion| Ok(Py::new(py, Completion { inner })?.into_any())))
    }

    /// Answers a request, or a text alone, and blocks meanwhile.
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
        signature = (api_key=None, *, model=None, base_url=None, max_tokens=Whole(4096), timeout=Real(60.0), max_retries=Whole(2), max_concurrency=Whole(8)),
        text_signature = "(api_key=None, *, model=None, base_url=None, max_tokens=4096, timeout=60.0, max_retries=2, max_concurrency=8)"
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
        signature = (api_key=None, *, model=None, base_url=None, max_tokens=Whole(4096), timeout=Real(60.0), max_retries=Whole(2), max_concurrency=Whole(8)),
        text_signature = "(api_key=None, *, model=None, base_url=None, max_tokens=4096, timeout=60.0, max_retries=2, max_concurrency=8)"
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
/// call, else on a loop of its own thread. What it raises is the cause of the `ProviderError`.
#[pyclass(frozen, extends = LanguageModelProvider, module = "umi")]
pub(crate) struct CallableProvider;

#[pymethods]
impl CallableProvider {
    #[new]
    #[pyo3(signature = (r#fn, *, name=Text("callable".to_owned())), text_signature = "(fn, *, name='callable')")]
    fn new(r#fn: &Bound<'_, PyAny>, name: Text) -> PyResult<PyClassInitializer<Self>> {
        let name = model_name(name)?;
        let shown = format!("name={}", shown(&name));
        let inner = Arc::new(CallableModel { function: Function::new(r#fn)?, name });
        Ok(PyClassInitializer::from(LanguageModelProvider { inner, shown }).add_subclass(Self))
    }
}

/// A model that answers by simple rules, for tests and simulations: facts of plain English sentences, relations by
/// shared words. One seed gives the same answers twice.
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

fn read_answer(answer: &Bound<'_, PyAny>) -> PyResult<core::Completion> {
    if let Ok(completion) = answer.cast::<Completion>() {
        return Ok(completion.get().inner.clone());
    }
    if answer.is_instance_of::<PyString>() {
        return Ok(core::Completion::new(answer.extract::<Text>()?.0));
    }
    if answer.is_instance_of::<PyDict>() {
        return Ok(core::Completion::new(dumped(answer)?));
    }
    Err(wrong_type("str, dict or Completion", answer))
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
        signature = (api_key=None, *, model=None, dimensions=None, base_url=None, timeout=Real(60.0), max_retries=Whole(2), batch_size=Whole(100)),
        text_signature = "(api_key=None, *, model=None, dimensions=None, base_url=None, timeout=60.0, max_retries=2, batch_size=100)"
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

#[expect(clippy::disallowed_methods, reason = "the bindings pass the core what the environment says")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// The key that was given, else that of the environment.
fn key_or(key: Option<Text>, name: &str) -> PyResult<String> {
    key.map(|key| key.0)
        .or_else(|| variable(name))
        .ok_or_else(|| {
            Error::invalid_input(format!("no API key is given, and the environment has no `{name}`"))
                .with_hint(format!("set {name}, or give `api_key`"))
        })
        .py()
}

fn model_name(name: Text) -> PyResult<String> {
    if name.0.trim().is_empty() {
        return Err(Error::invalid_input("the name of a model is empty")).py();
    }
    Ok(name.0)
}

fn tokens(number: Whole) -> PyResult<u32> {
    match u32::try_from(number.0) {
        Ok(tokens) if tokens > 0 => Ok(tokens),
        _ => Err(Error::invalid_input(format!("max_tokens is `{}`, it must lie between 1 and {}", number.0, u32::MAX)))
            .py(),
    }
}

fn options(timeout: Real, max_retries: Whole, max_concurrency: Option<Whole>) -> PyResult<HttpOptions> {
    let timeout = Duration::try_from_secs_f64(timeout.0)
        .map_err(|error| {
            Error::invalid_input(format!("timeout is `{}`, it must lie between 0 and a day, in seconds", timeout.0))
                .with_source(error)
        })
        .py()?;
    let max_retries = u32::try_from(max_retries.size("max_retries")?).unwrap_or(u32::MAX);
    // As the vendors' SDKs do.
    let mut options = HttpOptions::default().with_system_proxy(true).with_timeout(timeout).py()?;
    // A service that answers at once and goes on thinking is given the same time.
    options = options.with_read_timeout(timeout).py()?;
    options = options.with_max_retries(max_retries).py()?;
    match max_concurrency {
        Some(places) => options.with_max_concurrency(places.size("max_concurrency")?).py(),
        None => Ok(options),
    }
}

fn json(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import(intern!(py, "json"))
}

fn dumped(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = value.py();
    let options = dict_of!(py, "ensure_ascii" => false, "allow_nan" => false);
    Ok(json(py)?.call_method(intern!(py, "dumps"), (value,), Some(&options))?.extract::<Text>()?.0)
}

fn read_schema(schema: &Bound<'_, PyDict>) -> PyResult<serde_json::Value> {
    dumped(schema)?
        .parse()
        .map_err(|error: serde_json::Error| Error::invalid_input("the schema is not JSON").with_source(error))
        .py()
}

fn read_messages(messages: &Bound<'_, PyAny>) -> PyResult<Vec<Message>> {
    if messages.is_instance_of::<PyString>() {
        return Ok(vec![Message::user(messages.extract::<Text>()?.0)]);
    }
    let read: Vec<Message> = messages.try_iter()?.map(|message| read_message(&message?)).collect::<PyResult<_>>()?;
    if read.last().is_none_or(|message| message.role != MessageRole::User) {
        return Err(Error::invalid_input("the last message of a request is the user's")).py();
    }
    Ok(read)
}

fn read_message(message: &Bound<'_, PyAny>) -> PyResult<Message> {
    let py = message.py();
    let message = message.cast::<PyDict>().map_err(|_| wrong_type("dict", message))?;
    let field = |name: &str| {
        message
            .get_item(name)?
            .ok_or_else(|| crate::error::to_py(py, &Error::invalid_input(format!("a message lacks its `{name}`"))))
    };
    let role = match field("role")?.extract::<Text>()?.0.as_str() {
        "user" => MessageRole::User,
        "assistant" => MessageRole::Assistant,
        other => {
            let other: String = other.chars().take(64).collect();
            return Err(Error::invalid_input(format!("the role of a message is `{other}`, not user or assistant")))
                .py();
        }
    };
    let content = field("content")?;
    if content.is_instance_of::<PyString>() {
        return Ok(Message::new(role, vec![MessagePart::Text(content.extract::<Text>()?.0)]));
    }
    let parts = content.try_iter()?.map(|part| read_part(&part?)).collect::<PyResult<_>>()?;
    Ok(Message::new(role, parts))
}

fn read_part(part: &Bound<'_, PyAny>) -> PyResult<MessagePart> {
    if part.is_instance_of::<PyString>() {
        return Ok(MessagePart::Text(part.extract::<Text>()?.0));
    }
    let Ok(part) = part.cast::<PyDict>() else { return Err(wrong_type("str or dict", part)) };
    if let (Some(media_type), Some(data)) = (part.get_item("media_type")?, part.get_item("data")?) {
        let data: &[u8] = data.extract().map_err(|_| wrong_type("bytes", &data))?;
        return Ok(MessagePart::Image { media_type: media_type.extract::<Text>()?.0, data: Arc::from(data) });
    }
    match part.get_item("text")? {
        Some(text) => Ok(MessagePart::Text(text.extract::<Text>()?.0)),
        None => Err(PyTypeError::new_err("a part of a message is a text, or a dict of media_type and data")),
    }
}

fn message<'py>(py: Python<'py>, message: &Message) -> PyResult<Bound<'py, PyDict>> {
    let role = if message.role == MessageRole::Assistant { "assistant" } else { "user" };
    if let [MessagePart::Text(text)] = message.parts.as_slice() {
        return Ok(dict_of!(py, "role" => role, "content" => text));
    }
    let parts = PyList::empty(py);
    for part in &message.parts {
        match part {
            MessagePart::Text(text) => parts.append(dict_of!(py, "text" => text))?,
            MessagePart::Image { media_type, data } => {
                parts.append(dict_of!(py, "media_type" => media_type, "data" => PyBytes::new(py, data)))?;
            }
            _ => return Err(Error::internal("a part of a message that the bindings do not know")).py(),
        }
    }
    Ok(dict_of!(py, "role" => role, "content" => parts))
}
