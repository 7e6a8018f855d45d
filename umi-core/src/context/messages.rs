//! The items of a context in the form in which a provider takes them.
//!
//! Items are encoded in parallel; what a provider makes of the parts is a pure function of them.

use std::{fmt, str::FromStr, sync::Arc};

use serde_json::{Map, Value};

use super::{
    collection::Snapshot,
    encode::EncoderRegistry,
    items::Role,
    part::{Media, Part},
    refs::RefId,
};
use crate::error::{Error, Result};

mod anthropic;
mod budget;
mod gemini;
mod lead;
mod openai;
mod options;
mod pictures;
mod plan;
mod rendering;
mod responses;

use self::plan::{Plan, in_its_place};
pub use self::{
    options::{MessageOptions, OnError},
    rendering::Rendering,
};

/// Whose form messages have.
///
/// # Example
/// ```
/// use umi_core::context::Provider;
/// assert_eq!("openai-responses".parse::<Provider>()?, Provider::OpenAiResponses);
/// assert!("claude".parse::<Provider>().unwrap_err().to_string().contains("anthropic"));
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Provider {
    /// Chat completions of OpenAI and of every server that speaks it.
    OpenAi,
    /// The Responses API of OpenAI.
    OpenAiResponses,
    /// The Messages API of Anthropic.
    Anthropic,
    /// `generateContent` of Gemini.
    Gemini,
}

impl Provider {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::OpenAi, Self::OpenAiResponses, Self::Anthropic, Self::Gemini];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::OpenAiResponses => "openai-responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
        }
    }

    /// The form of a part, or none where the provider does not take it.
    fn part(self, part: &Part) -> Option<Node> {
        match self {
            Self::OpenAi => openai::part(part),
            Self::OpenAiResponses => responses::part(part),
            Self::Anthropic => anthropic::part(part),
            Self::Gemini => gemini::part(part),
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Provider {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|provider| provider.as_str() == text).ok_or_else(|| {
            let shown: String = text.chars().take(64).collect();
            Error::invalid_input(format!("unknown format `{shown}`"))
                .with_hint(format!("known ones: {}", Self::ALL.map(Self::as_str).join(", ")))
        })
    }
}

/// A value of a message. Unlike JSON it shares texts and bytes, so that they are copied once, into their last form.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Node {
    /// A word of the protocol.
    Word(&'static str),
    /// A text.
    Text(Arc<str>),
    /// Bytes in base 64.
    Base64(Arc<Media>),
    /// Bytes as a `data:` URL.
    DataUrl(Arc<Media>),
    /// Bytes, in JSON in base 64.
    Bytes(Arc<Media>),
    /// A list.
    List(Vec<Self>),
    /// An object, whose fields keep their order.
    Object(Vec<(&'static str, Self)>),
}

impl Node {
    fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// The value as JSON, with texts and bytes of its own.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Word(word) => Value::from(*word),
            Self::Text(text) => Value::from(&**text),
            Self::Base64(media) | Self::Bytes(media) => Value::from(media.base64()),
            Self::DataUrl(media) => Value::from(media.data_url()),
            Self::List(values) => Value::Array(values.iter().map(Self::to_json).collect()),
            Self::Object(fields) => Value::Object(
                fields.iter().map(|(key, value)| ((*key).to_owned(), value.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }
}

/// An item on its way into a message.
#[derive(Clone, Debug)]
struct Entry {
    role: Role,
    ref_id: RefId,
    /// How an error calls the item.
    place: String,
    /// The ref with the note and what else is known of it.
    lead: Arc<str>,
    parts: Vec<Part>,
}

impl Entry {
    /// The lead and the parts in the form of a provider. Every part has one, which was checked.
    fn nodes(&self, provider: Provider) -> impl Iterator<Item = Node> {
        let lead = provider.part(&Part::Text(self.lead.clone()));
        lead.into_iter().chain(self.parts.iter().filter_map(move |part| provider.part(part)))
    }

    fn is_system(&self) -> bool {
        self.role != Role::User
    }

    /// What stands before an item of another role than the user's, where a provider has no such role in its list.
    fn label(&self, provider: Provider) -> Option<Node> {
        self.is_system().then(|| provider.part(&Part::text(format!("[role={}]", self.role)))).flatten()
    }
}

impl Snapshot {
    /// The messages of all items, in the form of a provider's list.
    ///
    /// Where the list has no role for instructions, they are texts with a label; [`Self::to_request`] puts them where
    /// the provider wants them.
    ///
    /// # Errors
    /// `InvalidInput` for an encoder or an option that is not known; whatever makes an item unreadable, with its ref;
    /// `Capacity` where the budget is smaller than what may not be cut.
    ///
    /// # Example
    /// ```
    /// use umi_core::context::{Context, EncoderRegistry, MessageOptions, NewItem, Provider, Role};
    /// let context = Context::with_session("s1")?;
    /// context.add(NewItem::text("Be terse.").with_role(Role::System)?)?;
    /// context.add(NewItem::text("What is this?"))?;
    /// let (registry, options) = (EncoderRegistry::default(), MessageOptions::default());
    /// let messages = context.snapshot().to_messages(Provider::OpenAi, &registry, &options)?.to_json();
    /// assert_eq!(messages[0]["role"], "system");
    /// assert_eq!(messages[1]["content"][1]["text"], "What is this?");
    /// # Ok::<(), umi_core::Error>(())
    /// ```
    pub fn to_messages(
        &self,
        provider: Provider,
        registry: &EncoderRegistry,
        options: &MessageOptions,
    ) -> Result<Node> {
        self.rendering(provider, registry, options.clone())?.messages()
    }

    /// The arguments of a call of the provider's client, but for the model and its settings: an object.
    ///
    /// # Errors
    /// As [`Self::to_messages`].
    pub fn to_request(&self, provider: Provider, registry: &EncoderRegistry, options: &MessageOptions) -> Result<Node> {
        self.rendering(provider, registry, options.clone())?.request()
    }

    /// About how many tokens all items take with a provider, after what `options` asks for.
    ///
    /// # Errors
    /// As [`Self::to_messages`].
    pub fn count_tokens(
        &self,
        provider: Provider,
        registry: &EncoderRegistry,
        options: &MessageOptions,
    ) -> Result<usize> {
        self.rendering(provider, registry, options.clone())?.tokens()
    }

    /// The same in two steps: what is kept of earlier calls is found here, which takes no time that is worth a thread. What
    /// is changed or registered between the steps is not seen.
    ///
    /// # Errors
    /// `InvalidInput` for an encoder or an option that is not known.
    ///
    /// # Example
    /// ```
    /// use umi_core::context::{Context, EncoderRegistry, MessageOptions, NewItem, Provider};
    /// let (context, registry) = (Context::new(), EncoderRegistry::default());
    /// context.add(NewItem::text("What is this?"))?;
    /// let rendering = context.snapshot().rendering(Provider::OpenAi, &registry, MessageOptions::default())?;
    /// assert!(rendering.is_ready(), "a text needs no encoder");
    /// assert_eq!(rendering.messages()?.to_json()[0]["role"], "user");
    /// # Ok::<(), umi_core::Error>(())
    /// ```
    pub fn rendering<'a>(
        &self,
        provider: Provider,
        registry: &'a EncoderRegistry,
        options: MessageOptions,
    ) -> Result<Rendering<'a>> {
        Rendering::new(self.clone(), provider, registry, options)
    }
}

#[cfg(test)]
mod tests;
