//! [`OpenAIModel`]: chat completions, of OpenAI and of any compatible server.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    AnswerSchema, COMPLETION_TOKENS, Completion, CompletionRequest, LanguageModel, Message, MessagePart, MessageRole,
    OPENAI_MODEL,
    http::{HttpOptions, Reply, Service},
    refusal::Problem,
};
use crate::{
    error::{Error, Result},
    memory::Usage,
    world::{Clock, Ids},
};

pub(crate) const BASE_URL: &str = "https://api.openai.com/v1";
pub(crate) const HOST: &str = "api.openai.com";

/// A model of OpenAI's chat completions, or of a compatible server.
///
/// An answer with a schema is asked for as `json_schema`; a server that refuses that is asked for a `json_object` with
/// the schema in the instructions, and one that refuses this too for words alone, then and from then on. So it is with
/// the field of the limit of tokens: `max_completion_tokens` for OpenAI, `max_tokens` for the others, and the other one
/// where it is refused.
///
/// # Example
/// ```
/// use umi_core::{HttpOptions, LanguageModel, OpenAIModel};
/// let base_url = Some("http://localhost:8000/v1");
/// let model = OpenAIModel::connect("sk-…", base_url, HttpOptions::default())?.with_model("qwen3");
/// assert_eq!(model.name(), "openai:qwen3");
/// # Ok::<(), umi_core::Error>(())
/// ```
pub struct OpenAIModel {
    service: Service,
    name: String,
    model: String,
    max_tokens: u32,
    manner: Manner,
}

/// What the server was found to take.
#[derive(Debug)]
struct Manner {
    /// A [`Form`].
    form: AtomicU8,
    /// Whether the limit of tokens is in `max_tokens`.
    is_old_limit: AtomicBool,
}

/// How the form of an answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Schema,
    Object,
    Words,
}

impl Form {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::Schema,
            1 => Self::Object,
            _ => Self::Words,
        }
    }

    /// What is asked for where this is refused.
    fn fallback(self) -> Option<Self> {
        match self {
            Self::Schema => Some(Self::Object),
            Self::Object => Some(Self::Words),
            Self::Words => None,
        }
    }
}

impl fmt::Debug for OpenAIModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAIModel")
            .field("model", &self.model)
            .field("base_url", &self.base_url())
            .finish_non_exhaustive()
    }
}

impl OpenAIModel {
    /// A client of the default model at OpenAI.
    ///
    /// # Errors
    /// `InvalidInput` when the key is empty or cannot be sent.
    pub fn new(api_key: &str) -> Result<Self> {
        Self::connect(api_key, None, HttpOptions::default())
    }

    /// A client of the default model, at this base URL (with `/v1`) and within these limits.
    ///
    /// # Errors
    /// `InvalidInput` when the key is empty or cannot be sent, or when the URL is not one of HTTP.
    pub fn connect(api_key: &str, base_url: Option<&str>, options: HttpOptions) -> Result<Self> {
        let base_url = base_url.unwrap_or(BASE_URL);
        let service = Service::new("openai", base_url, ("authorization", "Bearer "), api_key, options)?;
        let manner = Manner { form: AtomicU8::new(0), is_old_limit: AtomicBool::new(!service.is_host(HOST)) };
        let unnamed =
            Self { service, name: String::new(), model: String::new(), max_tokens: COMPLETION_TOKENS, manner };
        Ok(unnamed.with_model(OPENAI_MODEL))
    }

    /// Asks this model.
    #[must_use]
    pub fn with_model(self, model: impl Into<String>) -> Self {
        let model = model.into();
        Self { name: format!("openai:{model}"), model, ..self }
    }

    /// Limits answers to so many tokens where a request says nothing; 4,096 by default.
    #[must_use]
    pub fn with_max_tokens(self, max_tokens: u32) -> Self {
        Self { max_tokens, ..self }
    }

    /// Waits between two tries by this clock, for times with random parts of these ids.
    #[must_use]
    pub fn with_world(self, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        Self { service: self.service.with_world(clock, ids), ..self }
    }

    /// The model.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The base URL, without a password or query that it may hold.
    pub fn base_url(&self) -> String {
        self.service.shown_url()
    }

    /// The limits of its calls.
    pub fn options(&self) -> &HttpOptions {
        self.service.options()
    }

    fn body(&self, request: &CompletionRequest, form: Form, is_old_limit: bool) -> Value {
        let mut system = request.system.clone();
        if let Some(answer) = request.answer.as_ref().filter(|_| form != Form::Schema) {
            if !system.is_empty() {
                system.push_str("\n\n");
            }
            system.push_str(&told(answer));
        }
        let mut messages = Vec::with_capacity(request.messages.len() + 1);
        if !system.is_empty() {
            messages.push(json!({"role": "system", "content": system}));
        }
        messages.extend(request.messages.iter().map(message));
        let mut body = json!({"model": self.model, "messages": messages});
        let limit = if is_old_limit { "max_tokens" } else { "max_completion_tokens" };
        body[limit] = request.max_tokens.unwrap_or(self.max_tokens).into();
        if let Some(answer) = &request.answer {
            match form {
                Form::Schema => {
                    let schema = json!({"name": answer.name, "strict": true, "schema": answer.schema});
                    body["response_format"] = json!({"type": "json_schema", "json_schema": schema});
                }
                Form::Object => body["response_format"] = json!({"type": "json_object"}),
                Form::Words => {}
            }
        }
        body
    }

    /// Asks, and asks again in other ways where the server refuses one.
    async fn ask(&self, request: &CompletionRequest) -> Result<Reply> {
        let mut form = Form::of(self.manner.form.load(Ordering::Relaxed));
        let mut is_old_limit = self.manner.is_old_limit.load(Ordering::Relaxed);
        let (mut is_limit_changed, mut tried) = (false, 0);
        loop {
            let mut reply = self.service.post("chat/completions", &self.body(request, form, is_old_limit)).await?;
            reply.requests += tried;
            if reply.is_success() {
                if request.answer.is_some() {
                    self.manner.form.fetch_max(form as u8, Ordering::Relaxed);
                }
                if is_limit_changed {
                    self.manner.is_old_limit.store(is_old_limit, Ordering::Relaxed);
                }
                return Ok(reply);
            }
            tried = reply.requests;
            let problem = reply.problem();
            if !is_limit_changed && refuses_limit(reply.status, &problem) {
                (is_old_limit, is_limit_changed) = (!is_old_limit, true);
            } else if let Some(next) = form.fallback()
                && request.answer.is_some()
                && refuses_form(reply.status, &problem)
            {
                form = next;
            } else {
                return Err(self.service.refused(&reply));
            }
        }
    }

    fn completion(&self, reply: &Reply) -> Result<Completion> {
        let answer: Answer = serde_json::from_slice(&reply.body).map_err(|error| {
            self.service.misunderstood(reply, "gave an answer that is no chat completion").with_source(error)
        })?;
        let Some(choice) = answer.choices.into_iter().flatten().next() else {
            // Some servers tell of a failure with a status of success.
            if answer.error.is_some_and(|error| !error.is_null()) {
                return Err(self.service.refused(reply));
            }
            return Err(self.service.misunderstood(reply, "gave an answer without a choice"));
        };
        let usage = answer.usage.unwrap_or_default();
        let (read, written) = (usage.prompt_tokens.unwrap_or_default(), usage.completion_tokens.unwrap_or_default());
        let usage = Usage::new(read, written, reply.requests);
        let finish = choice.finish_reason.as_deref();
        let message = choice.message.unwrap_or_default();
        if let Some(refusal) = message.refusal.filter(|refusal| !refusal.is_empty()) {
            let refusal = self.service.redacted(&refusal);
            return Err(self.service.misunderstood(reply, &format!("refused to answer: {refusal}")).with_usage(usage));
        }
        if finish == Some("content_filter") {
            let withheld = self.service.misunderstood(reply, "withheld its answer because of a filter of content");
            return Err(withheld.with_usage(usage));
        }
        let text = message.content.map(Content::text).unwrap_or_default();
        let is_cut = finish == Some("length");
        if text.trim().is_empty() {
            return Err(self.service.unanswered(reply, is_cut).with_usage(usage));
        }
        Ok(Completion { text, usage, request_id: reply.request_id.clone(), is_cut })
    }
}

#[async_trait]
impl LanguageModel for OpenAIModel {
    fn name(&self) -> &str {
        &self.name
    }

    async fn complete(&self, request: &CompletionRequest) -> Result<Completion> {
        request.check()?;
        let is_shown_by_model = |message: &Message| {
            message.role == MessageRole::Assistant
                && message.parts.iter().any(|part| matches!(part, MessagePart::Image { .. }))
        };
        if request.messages.iter().any(is_shown_by_model) {
            return Err(Error::invalid_input("a message of the model holds an image")
                .with_hint("chat completions take images of the user alone"));
        }
        self.completion(&self.ask(request).await?)
    }
}

/// Whether a server says that it does not take the field of the limit of tokens.
fn refuses_limit(status: u16, problem: &Problem) -> bool {
    matches!(status, 400 | 422)
        && problem.names(&["max_tokens", "max_completion_tokens"])
        && problem.names(&[
            "unsupported",
            "not supported",
            "unknown",
            "unrecognized",
            "extra inputs",
            "not permitted",
            "instead",
        ])
}

/// Whether a server says that it does not take the form of the answer.
fn refuses_form(status: u16, problem: &Problem) -> bool {
    matches!(status, 400 | 404 | 415 | 422 | 500 | 501)
        && problem.names(&["response_format", "response format", "json_schema", "json_object", "structured output"])
}

/// The schema as an instruction.
fn told(answer: &AnswerSchema) -> String {
    format!("Answer with one JSON object and nothing else. It has to fit this JSON Schema:\n{}", answer.schema)
}

fn message(message: &Message) -> Value {
    let role = message.role.as_str();
    // Many compatible servers take no list of parts.
    if let [MessagePart::Text(text)] = message.parts.as_slice() {
        return json!({"role": role, "content": text});
    }
    let parts: Vec<Value> = message
        .parts
        .iter()
        .map(|part| match part {
            MessagePart::Text(text) => json!({"type": "text", "text": text}),
            MessagePart::Image { media_type, data } => json!({
                "type": "image_url",
                "image_url": {"url": format!("data:{media_type};base64,{}", STANDARD.encode(data))},
            }),
        })
        .collect();
    json!({"role": role, "content": parts})
}

#[derive(Deserialize)]
struct Answer {
    choices: Option<Vec<Choice>>,
    usage: Option<Counts>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    message: Option<Said>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Said {
    content: Option<Content>,
    refusal: Option<String>,
}

/// A text, or the parts that some servers make of it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<ContentPart>),
}

#[derive(Deserialize)]
struct ContentPart {
    #[serde(default)]
    text: String,
}

impl Content {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Parts(parts) => parts.into_iter().map(|part| part.text).collect(),
        }
    }
}

#[derive(Default, Deserialize)]
struct Counts {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

#[cfg(test)]
mod tests;
