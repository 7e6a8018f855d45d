//! What language models are asked and what they answer.

use std::sync::Arc;

use pyo3::{
    exceptions::PyTypeError,
    intern,
    prelude::*,
    types::{PyBytes, PyDict, PyList, PyString},
};
use umi_core::{self as core, AnswerSchema, Error, Message, MessagePart, MessageRole};

use crate::{
    convert::{Text, Whole, dict_of, shown, shown_or_none, wrong_type},
    error::IntoPyResult,
    settings::tokens,
};

/// What a model is asked: instructions, messages, and the form of its answer.
///
/// No message may be empty, the last one is the user's. The name of a schema is 1 to 64 ASCII letters, digits, `_` and
/// `-`; `answer` where there is none.
#[pyclass(frozen, module = "umi")]
pub(crate) struct CompletionRequest {
    pub(crate) inner: core::CompletionRequest,
}

impl CompletionRequest {
    /// Reads a request, or a text that is one.
    pub(crate) fn read(request: &Bound<'_, PyAny>) -> PyResult<core::CompletionRequest> {
        if let Ok(request) = request.cast::<Self>() {
            return Ok(request.get().inner.clone());
        }
        if !request.is_instance_of::<PyString>() {
            return Err(wrong_type("CompletionRequest or str", request));
        }
        let request = core::CompletionRequest::new("", request.extract::<Text>()?.0);
        request.check().py()?;
        Ok(request)
    }
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
        inner.check().py()?;
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

    /// The words of the last message, without its images.
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

/// What a model answered; also what a function of yours gives to `CallableProvider` to say what it took.
///
/// The tokens are those that the service counted, of the instructions, messages and schema (input) and of the answer
/// (output). `is_cut` says that the answer ended because it reached its limit of tokens.
#[pyclass(frozen, module = "umi")]
pub(crate) struct Completion {
    pub(crate) inner: core::Completion,
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

    /// The text; where a schema was asked for, what is to be its JSON, as the model wrote it.
    #[getter]
    fn text(&self) -> &str {
        &self.inner.text
    }

    /// What the service counted for this answer: a `Usage`.
    ///
    /// Its `requests` are all that it took, so more than 1 says that some were tried again. A service that counts no
    /// tokens has 0 of them, a function counts as one request.
    #[getter]
    fn usage<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let usage = self.inner.usage;
        let class = py.import(intern!(py, "umi._results"))?.getattr(intern!(py, "Usage"))?;
        class.call1((usage.input_tokens, usage.output_tokens, usage.requests))
    }

    /// The service's id of the request that succeeded, or None.
    #[getter]
    fn request_id(&self) -> Option<&str> {
        self.inner.request_id.as_deref()
    }

    /// Whether the answer ended because it reached its limit of tokens.
    #[getter]
    fn is_cut(&self) -> bool {
        self.inner.is_cut
    }

    /// The answer to a request with a schema, as Python's `json` reads it: a `ValueError` where it is no JSON.
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

/// What a function gave: words, the JSON of a dictionary, or all of a completion.
pub(crate) fn read_answer(answer: &Bound<'_, PyAny>) -> PyResult<core::Completion> {
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
    messages.try_iter()?.map(|message| read_message(&message?)).collect()
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
    let role = message.role.as_str();
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
