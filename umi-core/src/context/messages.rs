//! The items of a context in the form in which a provider takes them.
//!
//! Items are encoded in parallel; what a provider makes of the parts is a pure function of them.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use serde_json::{Map, Value};

use super::{
    collection::Snapshot,
    encode::{Content, EncodeOptions, Encoder, EncoderRegistry, IMAGE_PIXELS, Source, inspect},
    items::{Item, ItemSource, Role},
    kinds::Kind,
    parallel::in_parallel,
    part::{Media, Part},
};
use crate::error::{Error, ErrorKind, Result};

mod anthropic;
mod budget;
mod gemini;
mod lead;
mod openai;
mod pictures;
mod responses;

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

/// What becomes of an item that cannot be encoded, or that the provider does not take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnError {
    /// The call fails, with an error that names its ref.
    #[default]
    Raise,
    /// A text in its place says why.
    Placeholder,
}

impl FromStr for OnError {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "raise" => Ok(Self::Raise),
            "placeholder" => Ok(Self::Placeholder),
            other => {
                let shown: String = other.chars().take(64).collect();
                Err(Error::invalid_input(format!("on_error must be `raise` or `placeholder`, got `{shown}`")))
            }
        }
    }
}

/// How messages are made.
///
/// # Example
/// ```
/// use umi_core::context::{Kind, MessageOptions, OnError};
/// let options = MessageOptions::default()
///     .with_encoder(Kind::Image, "tile")
///     .with_budget_tokens(8_000)
///     .with_on_error(OnError::Placeholder);
/// assert_eq!(options.budget_tokens, Some(8_000));
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct MessageOptions {
    /// The encoders by kind, where they are not the defaults.
    pub encoders: BTreeMap<Kind, String>,
    /// The options of the encoders by kind.
    pub encoder_options: BTreeMap<Kind, EncodeOptions>,
    /// The most tokens that all items may take together, by an estimate.
    pub budget_tokens: Option<usize>,
    /// What becomes of an item that cannot be sent.
    pub on_error: OnError,
}

impl MessageOptions {
    /// Encodes items of a kind with the encoder of this name.
    #[must_use]
    pub fn with_encoder(mut self, kind: Kind, name: impl Into<String>) -> Self {
        self.encoders.insert(kind, name.into());
        self
    }

    /// Gives the encoder of a kind these options.
    #[must_use]
    pub fn with_encoder_options(mut self, kind: Kind, options: EncodeOptions) -> Self {
        self.encoder_options.insert(kind, options);
        self
    }

    /// Lets all items together take at most so many tokens.
    #[must_use]
    pub fn with_budget_tokens(self, tokens: usize) -> Self {
        Self { budget_tokens: Some(tokens), ..self }
    }

    /// Says what becomes of an item that cannot be sent.
    #[must_use]
    pub fn with_on_error(self, on_error: OnError) -> Self {
        Self { on_error, ..self }
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
        let entries = self.entries(provider, registry, options)?;
        Ok(match provider {
            Provider::OpenAi => openai::messages(&entries),
            Provider::OpenAiResponses => responses::messages(&entries),
            Provider::Anthropic => anthropic::messages(&entries),
            Provider::Gemini => gemini::messages(&entries),
        })
    }

    /// The arguments of a call of the provider's client, but for the model and its settings: an object.
    ///
    /// # Errors
    /// As [`Self::to_messages`].
    pub fn to_request(&self, provider: Provider, registry: &EncoderRegistry, options: &MessageOptions) -> Result<Node> {
        let entries = self.entries(provider, registry, options)?;
        Ok(match provider {
            Provider::OpenAi => Node::Object(vec![("messages", openai::messages(&entries))]),
            Provider::OpenAiResponses => Node::Object(vec![("input", responses::messages(&entries))]),
            Provider::Anthropic => anthropic::request(entries),
            Provider::Gemini => gemini::request(entries),
        })
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
        Ok(budget::count(provider, &self.entries(provider, registry, options)?))
    }

    fn entries(&self, provider: Provider, registry: &EncoderRegistry, options: &MessageOptions) -> Result<Vec<Entry>> {
        let plan = Plan::new(provider, registry, options)?;
        let items: Vec<&Item> = self.iter().collect();
        let mut entries = plan.encode_all(&items)?;
        if let Some(tokens) = options.budget_tokens {
            budget::fit(provider, &mut entries, tokens, options.on_error)?;
        }
        Ok(entries)
    }
}

/// Which encoder takes which kind, checked before any is called.
struct Plan<'a> {
    provider: Provider,
    registry: &'a EncoderRegistry,
    encoders: BTreeMap<Kind, Arc<dyn Encoder>>,
    options: &'a MessageOptions,
    none: EncodeOptions,
}

impl<'a> Plan<'a> {
    fn new(provider: Provider, registry: &'a EncoderRegistry, options: &'a MessageOptions) -> Result<Self> {
        let mut encoders = BTreeMap::new();
        for (kind, name) in &options.encoders {
            encoders.insert(*kind, registry.find(*kind, name)?);
        }
        for kind in Kind::ALL {
            if !encoders.contains_key(&kind)
                && let Some(name) = registry.default_name(kind)
            {
                encoders.insert(kind, registry.find(kind, name)?);
            }
        }
        for (kind, given) in &options.encoder_options {
            let known = encoders.get(kind).map(|encoder| (encoder.name(), encoder.options()));
            let (name, known) = known.unwrap_or(("", Some(&[])));
            if let Some(known) = known {
                given.check(known).map_err(|error| error.with_place(&format!("encoder `{name}` of kind `{kind}`")))?;
            }
        }
        Ok(Self { provider, registry, encoders, options, none: EncodeOptions::default() })
    }

    /// Encodes the items in their order: texts here, everything else on as many threads as there are processors.
    fn encode_all(&self, items: &[&Item]) -> Result<Vec<Entry>> {
        // What is kept needs no thread, and is looked up faster than one starts.
        let mut encoded: Vec<Option<Result<Vec<Part>>>> = items.iter().map(|item| self.kept(item)).collect();
        let cold: Vec<usize> = (0..items.len()).filter(|index| encoded[*index].is_none()).collect();
        let made = in_parallel(cold.len(), |place| self.encode(items[cold[place]]));
        for (index, parts) in cold.into_iter().zip(made) {
            encoded[index] = Some(parts);
        }
        let lost = || Err(Error::internal("an item was not encoded"));
        items.iter().zip(encoded).map(|(item, parts)| self.entry(item, parts.unwrap_or_else(lost))).collect()
    }

    /// What needs no work: texts, addresses, and what is kept of files.
    fn kept(&self, item: &Item) -> Option<Result<Vec<Part>>> {
        match item.source() {
            ItemSource::Text(_) => {
                let text = item.source().as_text().unwrap_or_default();
                Some(Ok(if text.is_empty() { Vec::new() } else { vec![Part::text(text)] }))
            }
            ItemSource::Url(url) => Some(Ok(vec![if url.kind().is_text() || url.kind() == Kind::Other {
                Part::text(url.as_str())
            } else {
                Part::Link {
                    url: url.as_str().into(),
                    kind: url.kind(),
                    media_type: url.media_type().map(str::to_owned),
                }
            }])),
            ItemSource::Path(path) => {
                let encoder = self.encoders.get(&item.kind())?;
                let name = name_of(item);
                let source = source(item, &name, Content::Path(path));
                Some(Ok(self.registry.kept(&source, &**encoder, self.options_of(item.kind()))?.to_vec()))
            }
            _ => None,
        }
    }

    fn options_of(&self, kind: Kind) -> &EncodeOptions {
        self.options.encoder_options.get(&kind).unwrap_or(&self.none)
    }

    fn encode(&self, item: &Item) -> Result<Vec<Part>> {
        let kind = item.kind();
        let encoder = self.encoders.get(&kind).ok_or_else(|| {
            Error::invalid_input(format!("a file of the kind `{kind}` cannot be sent"))
                .with_hint("add it as bytes with a media type, or register an encoder of its kind")
        })?;
        let name = name_of(item);
        let pixels;
        let content = match item.source() {
            ItemSource::Path(path) => Content::Path(path),
            ItemSource::Bytes(bytes) => Content::Bytes(bytes.as_slice()),
            ItemSource::Object(object) => {
                pixels = object.pixels(IMAGE_PIXELS as u64)?;
                Content::Pixels(&pixels)
            }
            _ => return Err(Error::internal("a text needs no encoder")),
        };
        let parts = self.registry.encode(&source(item, &name, content), &**encoder, self.options_of(kind))?;
        Ok(parts.iter().cloned().map(sized).collect())
    }

    /// The entry of an item whose parts the provider takes, or the error or the words in their place.
    fn entry(&self, item: &Item, parts: Result<Vec<Part>>) -> Result<Entry> {
        let checked = parts.and_then(|parts| {
            for part in &parts {
                if self.provider.part(part).is_none() {
                    return Err(self.not_taken(part));
                }
            }
            Ok(parts)
        });
        let name = item.name().map(|name| format!(" (`{}`)", name.chars().take(64).collect::<String>()));
        let place = format!("`{}`{}", item.ref_id(), name.unwrap_or_default());
        let parts = checked.or_else(|error| in_its_place(error, &place, self.options.on_error))?;
        Ok(Entry { role: item.role(), place, lead: lead::of(item).into(), parts })
    }

    fn not_taken(&self, part: &Part) -> Error {
        let what = match part {
            Part::Media(media) => media.media_type.clone(),
            Part::Link { media_type: Some(media_type), .. } => format!("an address of {media_type}"),
            _ => "an address".to_owned(),
        };
        let what: String = what.chars().take(96).collect();
        Error::new(ErrorKind::InvalidInput, format!("the format `{}` does not take {what}", self.provider))
            .with_hint("choose another encoder for its kind, or on_error=\"placeholder\"")
    }
}

/// What stands for an item that cannot be sent: the error with its place, or words.
fn in_its_place(error: Error, place: &str, on_error: OnError) -> Result<Vec<Part>> {
    match on_error {
        // Where the call was ended, the item is not at fault.
        OnError::Placeholder if error.kind() != ErrorKind::Closed => {
            Ok(vec![Part::text(format!("[not sent: {}]", error.message()))])
        }
        _ => Err(error.with_place(place)),
    }
}

/// A part with the size of its image, which an encoder of a user's does not say.
fn sized(part: Part) -> Part {
    match &part {
        Part::Media(media) if media.size.is_none() && media.media_type.starts_with("image/") => {
            match inspect(&media.bytes, &media.media_type) {
                Ok(seen) => Part::media(Media::clone(media).with_size(seen.width, seen.height)),
                Err(_) => part,
            }
        }
        _ => part,
    }
}

/// How a model reads of an item: by the name of its file, or by its ref with the extension of its media type.
fn name_of(item: &Item) -> Cow<'_, str> {
    item.name().unwrap_or_else(|| {
        let extension = match item.media_type() {
            Some("application/pdf") => ".pdf",
            Some("application/json") => ".json",
            Some("text/csv") => ".csv",
            Some("audio/wav") => ".wav",
            Some("audio/mpeg") => ".mp3",
            Some("video/mp4") => ".mp4",
            _ => "",
        };
        Cow::Owned(format!("{}{extension}", item.ref_id()))
    })
}

fn source<'a>(item: &'a Item, name: &'a str, content: Content<'a>) -> Source<'a> {
    Source { name, kind: item.kind(), media_type: item.media_type().unwrap_or("application/octet-stream"), content }
}

#[cfg(test)]
mod tests;
