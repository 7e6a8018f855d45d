//! Language models: instructions and messages in, a text or one JSON object out.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::{
    error::{Error, Result},
    memory::Usage,
};

pub(crate) mod anthropic;
pub(crate) mod ask;
pub(crate) mod http;
mod lenient;
pub(crate) mod openai;
mod refusal;
pub(crate) mod scripted;
pub(crate) mod sim;

/// The model of [`AnthropicModel`](crate::AnthropicModel) where none is named.
pub const ANTHROPIC_MODEL: &str = "claude-sonnet-4-6";
/// The model of [`OpenAIModel`](crate::OpenAIModel) where none is named.
pub const OPENAI_MODEL: &str = "gpt-5.4-mini";
/// The model of [`OpenAIEmbedder`](crate::OpenAIEmbedder) where none is named.
pub const OPENAI_EMBEDDING_MODEL: &str = "text-embedding-3-small";
/// The most tokens of an answer where a request says nothing.
pub const COMPLETION_TOKENS: u32 = 4096;

/// The longest name of an answer's schema, in bytes.
const SCHEMA_NAME_BYTES: usize = 64;

/// Who says a message of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageRole {
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

impl MessageRole {
    /// The role as both vendors write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessagePart {
    /// Words.
    Text(String),
    /// An image as it is encoded in a file.
    Image {
        /// Such as `image/png`.
        media_type: String,
        /// The file's bytes.
        data: Arc<[u8]>,
    },
}

impl MessagePart {
    /// Whether it shows nothing.
    fn is_blank(&self) -> bool {
        match self {
            Self::Text(text) => text.trim().is_empty(),
            Self::Image { data, .. } => data.is_empty(),
        }
    }
}

/// A message of a request.
///
/// # Example
/// ```
/// use umi_core::{Message, MessagePart, MessageRole};
/// let shown = MessagePart::Image { media_type: "image/png".to_owned(), data: [0x89, 0x50].into() };
/// let message = Message::new(MessageRole::User, vec![MessagePart::Text("What is this?".to_owned()), shown]);
/// assert_eq!(message.parts.len(), 2);
/// assert_eq!(Message::user("Hello!").role, MessageRole::User);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Who says it.
    pub role: MessageRole,
    /// What is said, in order.
    pub parts: Vec<MessagePart>,
}

impl Message {
    /// A message of parts.
    pub fn new(role: MessageRole, parts: Vec<MessagePart>) -> Self {
        Self { role, parts }
    }

    /// Words of the one who asks.
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(MessageRole::User, vec![MessagePart::Text(text.into())])
    }

    /// Words of the model.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(MessageRole::Assistant, vec![MessagePart::Text(text.into())])
    }
}

/// The form that an answer is to have: one JSON object.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AnswerSchema {
    /// What the object is: `facts`, say. 1 to 64 ASCII letters, digits, `_` and `-`, which is what both vendors take.
    pub name: String,
    /// A JSON Schema of type `object`, in the subset that both vendors take: every property required, none beside them.
    pub schema: serde_json::Value,
}

impl AnswerSchema {
    /// Names a schema.
    pub fn new(name: impl Into<String>, schema: serde_json::Value) -> Self {
        Self { name: name.into(), schema }
    }
}

/// What a model is asked.
///
/// # Example
/// ```
/// use serde_json::json;
/// use umi_core::{AnswerSchema, CompletionRequest};
/// let schema = json!({
///     "type": "object",
///     "properties": {"city": {"type": "string"}},
///     "required": ["city"],
///     "additionalProperties": false,
/// });
/// let request = CompletionRequest::new("Find the city in the message.", "Ana lives in Lisbon.")
///     .with_answer(AnswerSchema::new("city", schema));
/// assert_eq!(request.answer.unwrap().name, "city");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CompletionRequest {
    /// The instructions; none where it is empty.
    pub system: String,
    /// The messages, at least one, the last of which is the user's. None is empty.
    pub messages: Vec<Message>,
    /// The form of the answer; none for free text.
    pub answer: Option<AnswerSchema>,
    /// The most tokens of the answer; none for the provider's own limit.
    pub max_tokens: Option<u32>,
}

impl CompletionRequest {
    /// Asks with instructions and one message.
    pub fn new(system: impl Into<String>, message: impl Into<String>) -> Self {
        Self { system: system.into(), messages: vec![Message::user(message)], ..Self::default() }
    }

    /// Asks for one JSON object.
    #[must_use]
    pub fn with_answer(self, answer: AnswerSchema) -> Self {
        Self { answer: Some(answer), ..self }
    }

    /// Checks what no service takes, as the models of this crate do before they ask.
    ///
    /// # Errors
    /// `InvalidInput` when there is no message, when one has no words and no image, when the last one is not the
    /// user's, when the answer's schema has a name of another form than it may have, and for a limit of no tokens.
    ///
    /// # Example
    /// ```
    /// use umi_core::CompletionRequest;
    /// assert!(CompletionRequest::new("Answer in a word.", "The capital of France?").check().is_ok());
    /// assert!(CompletionRequest::new("Answer in a word.", " ").check().unwrap_err().is_invalid_input());
    /// ```
    pub fn check(&self) -> Result<()> {
        if let Some(place) = self.messages.iter().position(|message| message.parts.iter().all(MessagePart::is_blank)) {
            return Err(Error::invalid_input(match self.messages.len() {
                1 => "the message of a request is empty or white space".to_owned(),
                _ => format!("message `{place}` of a request is empty or white space"),
            }));
        }
        if self.messages.last().is_none_or(|message| message.role != MessageRole::User) {
            return Err(Error::invalid_input("the last message of a request is the user's"));
        }
        if let Some(AnswerSchema { name, .. }) = &self.answer {
            let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            if !(1..=SCHEMA_NAME_BYTES).contains(&name.len()) || !name.bytes().all(is_letter) {
                let shown = ask::shown(name);
                return Err(Error::invalid_input(format!("the name of the answer's schema is `{shown}`"))
                    .with_hint(format!("1 to {SCHEMA_NAME_BYTES} ASCII letters, digits, `_` and `-` are allowed")));
            }
        }
        if self.max_tokens == Some(0) {
            return Err(Error::invalid_input("max_tokens is `0`, it must be at least 1"));
        }
        Ok(())
    }
}

/// What a model answered.
///
/// # Example
/// ```
/// use umi_core::{Completion, Usage};
/// let answer = Completion::new("Paris").with_usage(Usage::new(12, 1, 1));
/// assert_eq!((answer.text.as_str(), answer.usage.output_tokens, answer.is_cut), ("Paris", 1, false));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Completion {
    /// The text; for a request with an [`AnswerSchema`] what is to be its JSON, as the model wrote it: it may be
    /// wrapped in words, and cut.
    pub text: String,
    /// The tokens that the service counted for this answer, and the requests that it took: tries that failed are
    /// counted among these, and no service counts their tokens.
    pub usage: Usage,
    /// The service's id of the request that succeeded; none where it gives none.
    pub request_id: Option<String>,
    /// Whether the answer ended because it reached its limit of tokens.
    pub is_cut: bool,
}

impl Completion {
    /// An answer of this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Says what it took.
    #[must_use]
    pub fn with_usage(self, usage: Usage) -> Self {
        Self { usage, ..self }
    }

    /// Says that it ended because it reached its limit of tokens.
    #[must_use]
    pub fn with_cut(self, is_cut: bool) -> Self {
        Self { is_cut, ..self }
    }
}

/// Answers requests.
///
/// # Example
/// ```
/// use std::sync::Arc;
/// use umi_core::{Completion, CompletionRequest, LanguageModel, MemoryBuilder, Result, Usage, async_trait};
///
/// /// In its place stands a client of another vendor, say.
/// #[derive(Debug)]
/// struct Mute;
///
/// #[async_trait]
/// impl LanguageModel for Mute {
///     fn name(&self) -> &str {
///         "mute"
///     }
///
///     async fn complete(&self, request: &CompletionRequest) -> Result<Completion> {
///         // The name of the schema says what is asked for: the answer is one JSON object with a list of that name.
///         let list = request.answer.as_ref().map_or("facts", |answer| answer.name.as_str());
///         Ok(Completion::new(format!(r#"{{"{list}": []}}"#)).with_usage(Usage::new(0, 0, 1)))
///     }
/// }
///
/// # #[tokio::main(flavor = "multi_thread")] async fn main() -> Result<()> {
/// let memory = MemoryBuilder::sim(7).language_model(Arc::new(Mute)).build().await?;
/// let result = memory.remember("Hello!").await?;
/// assert_eq!((result.usage.requests, result.warnings.len()), (1, 0));
/// # Ok(()) }
/// ```
#[async_trait]
pub trait LanguageModel: Send + Sync + fmt::Debug {
    /// The provider and the model, such as `anthropic:claude-sonnet-4-6`.
    fn name(&self) -> &str;

    /// Answers a request. Dropping the future stops the request.
    ///
    /// # Errors
    /// `InvalidInput` for a request that [`CompletionRequest::check`] refuses; else the kinds of a provider:
    /// `RateLimit`, `Authentication`, `ProviderTimeout`, `ContextOverflow`, `InvalidResponse` (for an empty answer too,
    /// which the engine asks for once more), and `Provider` for all else.
    async fn complete(&self, request: &CompletionRequest) -> Result<Completion>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_service_takes_is_refused() {
        let with = |messages: Vec<Message>| CompletionRequest { messages, ..CompletionRequest::default() };
        let image = |data: &[u8]| MessagePart::Image { media_type: "image/png".to_owned(), data: data.into() };
        let shown = |parts: Vec<MessagePart>| with(vec![Message::new(MessageRole::User, parts)]);
        let named = |name: &str| {
            CompletionRequest::new("", "x").with_answer(AnswerSchema::new(name, serde_json::json!({"type": "object"})))
        };
        for wrong in [
            with(vec![]),
            CompletionRequest::new("system", ""),
            CompletionRequest::new("system", " \n\t"),
            with(vec![Message::user("x"), Message::assistant(""), Message::user("y")]),
            with(vec![Message::user("x"), Message::assistant("y")]),
            shown(vec![]),
            shown(vec![image(&[])]),
            named(""),
            named("the facts"),
            named("fäcts"),
            named("facts\n"),
            named(&"x".repeat(65)),
            CompletionRequest { max_tokens: Some(0), ..CompletionRequest::new("", "x") },
        ] {
            assert!(wrong.check().unwrap_err().is_invalid_input(), "{wrong:?}");
        }
        for right in [
            CompletionRequest::new("", "x"),
            with(vec![Message::user("x"), Message::assistant("y"), Message::user("z")]),
            shown(vec![image(&[1])]),
            shown(vec![MessagePart::Text(String::new()), MessagePart::Text("x".to_owned())]),
            named("Facts_of-2026"),
            named(&"x".repeat(64)),
        ] {
            right.check().unwrap();
        }
    }

    #[tokio::test]
    async fn every_model_refuses_to_ask_nothing() {
        let models: [Box<dyn LanguageModel>; 4] = [
            Box::new(anthropic::AnthropicModel::new("key").unwrap()),
            Box::new(openai::OpenAIModel::new("key").unwrap()),
            Box::new(scripted::ScriptedModel::new(["an answer"])),
            Box::new(sim::SimLanguageModel::new(1)),
        ];
        for model in models {
            let error = model.complete(&CompletionRequest::new("", " ")).await.unwrap_err();
            assert_eq!(error.message(), "the message of a request is empty or white space", "{}", model.name());
        }
    }
}
