//! What becomes of an item on its way into a message: which encoder takes it, and what stands for it where none can.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use super::{Entry, MessageOptions, OnError, Provider, lead};
use crate::{
    context::{
        encode::{Content, EncodeOptions, Encoder, EncoderRegistry, IMAGE_PIXELS, Source, inspect},
        items::{Item, ItemSource},
        kinds::Kind,
        part::{Media, Part},
    },
    error::{Error, ErrorKind, Result},
};

/// Which encoder takes which kind, checked before any is called.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) provider: Provider,
    registry: &'a EncoderRegistry,
    encoders: BTreeMap<Kind, Arc<dyn Encoder>>,
    pub(super) options: MessageOptions,
    none: EncodeOptions,
}

impl<'a> Plan<'a> {
    pub(super) fn new(provider: Provider, registry: &'a EncoderRegistry, options: MessageOptions) -> Result<Self> {
        let mut encoders = BTreeMap::new();
        for (kind, name) in &options.encoders {
            encoders.insert(*kind, registry.find(*kind, name)?);
        }
        for kind in Kind::ALL {
            if !encoders.contains_key(&kind)
                && let Some(name) = registry.default_name(kind)
            {
                encoders.insert(kind, registry.find(kind, &name)?);
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

    /// What needs no work: texts, addresses, and what is kept of files.
    pub(super) fn kept(&self, item: &Item) -> Option<Result<Vec<Part>>> {
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

    pub(super) fn encode(&self, item: &Item) -> Result<Vec<Part>> {
        let kind = item.kind();
        let encoder = self.encoders.get(&kind).ok_or_else(|| {
            Error::invalid_input(format!("a file of the kind `{kind}` cannot be sent"))
                .with_hint("register an encoder of its kind, or add it as bytes of a media type that is known")
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
        if parts.is_empty() {
            return Err(Error::invalid_input(format!("encoder `{}` gave nothing", encoder.name())));
        }
        Ok(parts.iter().cloned().map(sized).collect())
    }

    /// The entry of an item whose parts the provider takes, or the error or the words in their place.
    pub(super) fn entry(&self, item: &Item, parts: Result<Vec<Part>>) -> Result<Entry> {
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
        Ok(Entry { role: item.role(), ref_id: item.ref_id(), place, lead: lead::of(item).into(), parts })
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
pub(super) fn in_its_place(error: Error, place: &str, on_error: OnError) -> Result<Vec<Part>> {
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
