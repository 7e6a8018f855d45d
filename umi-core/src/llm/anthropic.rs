//! [`AnthropicModel`]: the Messages API.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    ANTHROPIC_MODEL, AnswerSchema, COMPLETION_TOKENS, Completion, CompletionRequest, LanguageModel, MessagePart,
    http::{HttpOptions, Reply, Service},
};
use crate::{
    error::Result,
    memory::Usage,
    world::{Clock, Ids},
};

const BASE_URL: &str = "https://api.anthropic.com";
const API_VERSION: &str = "2023-06-01";

/// A model of Anthropic's Messages API, or of a server that speaks it.
///
/// An answer with a schema is asked for as the input of a tool that the model has to call. A server that refuses to
/// force the call (some models that think before they answer do) is asked without force, then and from then on.
///
/// # Example
/// ```
/// use umi_core::{AnthropicModel, LanguageModel};
/// let model = AnthropicModel::new("sk-ant-…")?.with_model("claude-haiku-4-5");
/// assert_eq!(model.name(), "anthropic:claude-haiku-4-5");
/// assert!(!format!("{model:?}").contains("sk-ant"));
/// # Ok::<(), umi_core::Error>(())
/// ```
pub struct AnthropicModel {
    service: Service,
    name: String,
    model: String,
    max_tokens: u32,
    /// Whether the server has refused to force the call of a tool.
    is_unforced: AtomicBool,
}

impl fmt::Debug for AnthropicModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnthropicModel")
            .field("model", &self.model)
            .field("base_url", &self.base_url())
            .finish_non_exhaustive()
    }
}

impl AnthropicModel {
    /// A client of the default model at Anthropic.
    ///
    /// # Errors
    /// `InvalidInput` when the key is empty or cannot be sent.
    pub fn new(api_key: &str) -> Result<Self> {
        Self::connect(api_key, None, HttpOptions::default())
    }

    /// A client of the default model, at this base URL (without `/v1`) and within these limits.
    ///
    /// # Errors
    /// `InvalidInput` when the key is empty or cannot be sent, or when the URL is not one of HTTP.
    ///
    /// # Example
    /// ```
    /// use std::time::Duration;
    /// use umi_core::{AnthropicModel, HttpOptions};
    /// let options = HttpOptions::default().with_timeout(Duration::from_secs(20))?.with_max_concurrency(4)?;
    /// let base_url = Some("https://gateway.example");
    /// let model = AnthropicModel::connect("sk-ant-…", base_url, options)?.with_max_tokens(2_048);
    /// assert_eq!(model.base_url(), "https://gateway.example");
    /// # Ok::<(), umi_core::Error>(())
    /// ```
    pub fn connect(api_key: &str, base_url: Option<&str>, options: HttpOptions) -> Result<Self> {
        let base_url = base_url.unwrap_or(BASE_URL).trim().trim_end_matches('/');
        let base_url = base_url.strip_suffix("/v1").unwrap_or(base_url);
        let service = Service::new("anthropic", base_url, ("x-api-key", ""), api_key, options)?
            .with_header("anthropic-version", API_VERSION);
        let unnamed = Self {
            service,
            name: String::new(),
            model: String::new(),
            max_tokens: COMPLETION_TOKENS,
            is_unforced: AtomicBool::new(false),
        };
        Ok(unnamed.with_model(ANTHROPIC_MODEL))
    }

    /// Asks this model.
    #[must_use]
    pub fn with_model(self, model: impl Into<String>) -> Self {
        let model = model.into();
        Self { name: format!("anthropic:{model}"), model, ..self }
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

    fn body(&self, request: &CompletionRequest, is_forced: bool) -> Value {
        let messages: Vec<Value> = request
            .messages
            .iter()
            .map(|message| {
                // The API takes no texts without words.
                let parts: Vec<Value> = message.parts.iter().filter(|part| !part.is_blank()).map(part).collect();
                json!({"role": message.role.as_str(), "content": parts})
            })
            .collect();
        let mut body = json!({
            "model": self.model,
            "max_tokens": request.max_tokens.unwrap_or(self.max_tokens),
            "messages": messages,
        });
        let mut system = request.system.clone();
        if let Some(answer) = &request.answer {
            body["tools"] = json!([tool(answer)]);
            body["tool_choice"] = if is_forced {
                json!({"type": "tool", "name": answer.name, "disable_parallel_tool_use": true})
            } else {
                let told = format!("Answer by calling the tool `{}` once, and with nothing else.", answer.name);
                system = if system.is_empty() { told } else { format!("{system}\n\n{told}") };
                json!({"type": "auto", "disable_parallel_tool_use": true})
            };
        }
        if !system.is_empty() {
            body["system"] = system.into();
        }
        body
    }

    fn completion(&self, request: &CompletionRequest, reply: &Reply) -> Result<Completion> {
        let answer: Answer = serde_json::from_slice(&reply.body).map_err(|error| {
            self.service.misunderstood(reply, "gave an answer that is no message").with_source(error)
        })?;
        let usage = answer.usage.unwrap_or_default();
        let read = [usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens];
        let read = read.into_iter().flatten().fold(0, u64::saturating_add);
        let usage = Usage::new(read, usage.output_tokens.unwrap_or_default(), reply.requests);
        if answer.stop_reason.as_deref() == Some("refusal") {
            return Err(self.service.misunderstood(reply, "refused to answer").with_usage(usage));
        }
        let is_cut = matches!(answer.stop_reason.as_deref(), Some("max_tokens" | "model_context_window_exceeded"));
        let input = answer
            .content
            .iter()
            .filter(|_| request.answer.is_some())
            .find_map(|block| block.input.as_ref().filter(|_| block.kind == "tool_use"));
        let text = match input {
            Some(input) => input.get().to_owned(),
            None => answer.content.iter().filter(|block| block.kind == "text").map(|block| &*block.text).collect(),
        };
        if text.trim().is_empty() {
            return Err(self.service.unanswered(reply, is_cut).with_usage(usage));
        }
        Ok(Completion { text, usage, request_id: reply.request_id.clone(), is_cut })
    }
}

#[async_trait]
impl LanguageModel for AnthropicModel {
    fn name(&self) -> &str {
        &self.name
    }

    async fn complete(&self, request: &CompletionRequest) -> Result<Completion> {
        request.check()?;
        let is_forced = !self.is_unforced.load(Ordering::Relaxed);
        let mut reply = self.service.post("v1/messages", &self.body(request, is_forced)).await?;
        if reply.status == 400 && is_forced && request.answer.is_some() && reply.problem().names(&["tool_choice"]) {
            let tried = reply.requests;
            reply = self.service.post("v1/messages", &self.body(request, false)).await?;
            reply.requests += tried;
            if reply.is_success() {
                self.is_unforced.store(true, Ordering::Relaxed);
            }
        }
        if !reply.is_success() {
            return Err(self.service.refused(&reply));
        }
        self.completion(request, &reply)
    }
}

fn part(part: &MessagePart) -> Value {
    match part {
        MessagePart::Text(text) => json!({"type": "text", "text": text}),
        MessagePart::Image { media_type, data } => json!({
            "type": "image",
            "source": {"type": "base64", "media_type": media_type, "data": STANDARD.encode(data)},
        }),
    }
}

fn tool(answer: &AnswerSchema) -> Value {
    json!({
        "name": answer.name,
        "description": "Takes the answer, in the form that its input has.",
        "input_schema": answer.schema,
    })
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    content: Vec<Block>,
    stop_reason: Option<String>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: String,
    /// As the model wrote it.
    input: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the protocol")]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
}

#[cfg(test)]
mod tests;
