//! [`Encoder`]: an item into the parts of a message, one trait for what is built in and for what users bring.

use std::{
    borrow::Cow,
    io::Read,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use parking_lot::RwLock;

use self::cache::Cache;
pub use self::{
    decode::IMAGE_PIXELS,
    image::ImageReader,
    options::EncodeOptions,
    video::{FILM_FORMATS, FILM_TIME, Ffmpeg, VideoFacts, VideoReader},
};
use crate::{
    context::{
        files::open_file,
        items::Pixels,
        kinds::Kind,
        part::{Media, Part},
    },
    error::{Error, Result},
};

mod audio;
mod cache;
mod decode;
mod document;
mod image;
mod office;
mod options;
mod pdf;
mod pixels;
mod room;
mod svg;
mod text;
mod video;

pub(super) use self::{
    audio::audio_facts, cache::Key, decode::inspect, document::is_pdf, office::office_text, pdf::PdfFile,
    room::after_fork_in_child, text::read_text,
};

/// The largest image, document or sound that is read, in bytes.
pub const SOURCE_BYTES: usize = 256 * 1024 * 1024;

/// What an encoder reads.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// How it is called in what a model reads: the file's name, without its folder.
    pub name: &'a str,
    /// What it is.
    pub kind: Kind,
    /// Its media type, in lower case and without parameters.
    pub media_type: &'a str,
    /// Where its bytes are.
    pub content: Content<'a>,
}

/// Where the bytes of a [`Source`] are.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Content<'a> {
    /// In a file.
    Path(&'a Path),
    /// In memory.
    Bytes(&'a [u8]),
    /// In memory, decoded.
    Pixels(&'a Pixels),
}

impl<'a> Source<'a> {
    /// All bytes, where they are not more than `limit`.
    ///
    /// # Errors
    /// `File` where the file cannot be read, `Capacity` where it is larger, `InvalidInput` for pixels.
    pub fn read(&self, limit: usize) -> Result<Cow<'a, [u8]>> {
        match self.content {
            Content::Bytes(bytes) => {
                check_size(bytes.len() as u64, limit)?;
                Ok(Cow::Borrowed(bytes))
            }
            Content::Path(path) => {
                let failed = |cause| Error::file("cannot read", path, cause);
                let file = open_file(path).map_err(failed)?;
                let size = file.metadata().map_err(failed)?.len();
                check_size(size, limit)?;
                let mut bytes = Vec::with_capacity(size as usize);
                // The file may have grown since.
                file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
                check_size(bytes.len() as u64, limit)?;
                Ok(Cow::Owned(bytes))
            }
            Content::Pixels(_) => Err(Error::invalid_input("pixels have no encoded bytes")),
        }
    }
}

fn check_size(size: u64, limit: usize) -> Result<()> {
    if size <= limit as u64 {
        return Ok(());
    }
    Err(too_large("bytes", limit, size))
}

/// The error of something that is larger than its limit, refused before it takes memory.
pub(super) fn too_large(unit: &str, limit: usize, size: u64) -> Error {
    Error::new(crate::ErrorKind::Capacity, format!("has {size} {unit}, at most {limit} are read"))
        .with_sizes(limit, usize::try_from(size).unwrap_or(usize::MAX))
}

/// The error of bytes that are not what they should be.
pub(super) fn broken(what: &str) -> Error {
    Error::invalid_input(format!("cannot be read as {what}"))
}

/// Calls a decoder of others' making, whose panics over damaged bytes are errors here. What unwinds with an error of
/// its own gives it back.
pub(super) fn guarded<T>(what: &str, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|cause| match cause.downcast::<Error>() {
        Ok(error) => Err(*error),
        Err(_) => Err(broken(what).with_hint("its decoder gave up")),
    })
}

/// The size of an image in a smaller box.
pub(super) fn scaled_size(size: (u32, u32), sides: u32) -> (u32, u32) {
    pixels::fit(size, (sides, sides))
}

/// An encoded image in a smaller box, as it is to be seen.
pub(super) fn scale_media(media: &Media, sides: u32) -> Result<Media> {
    let decoded = decode::decode(&media.bytes, &media.media_type)?;
    let pixels = decoded.pixels.within(sides, sides)?.into_owned().oriented(decoded.orientation)?;
    if decoded.is_lossless { pixels.to_png() } else { pixels.to_jpeg(image::QUALITY as u8) }
}

/// Makes the parts of a message of an item.
pub trait Encoder: Send + Sync + std::fmt::Debug {
    /// The name by which it is chosen.
    fn name(&self) -> &str;

    /// The kind of item that it encodes.
    fn kind(&self) -> Kind;

    /// The names of the options that it takes. `None`: it looks after them by itself.
    fn options(&self) -> Option<&[&str]>;

    /// Whether the same bytes and options always give the same parts, so that they may be kept.
    fn is_pure(&self) -> bool {
        true
    }

    /// Makes the parts.
    ///
    /// # Errors
    /// Whatever makes the item unreadable; the caller adds the item's ref.
    fn encode(&self, source: &Source<'_>, options: &EncodeOptions) -> Result<Vec<Part>>;
}

/// The encoders by kind and name.
///
/// # Example
/// ```
/// use umi_core::context::{EncoderRegistry, Kind};
/// let registry = EncoderRegistry::default();
/// assert_eq!(registry.default_name(Kind::Image).as_deref(), Some("resize"));
/// assert!(registry.find(Kind::Image, "tyle").unwrap_err().to_string().contains("resize, tile"));
/// ```
#[derive(Debug)]
pub struct EncoderRegistry {
    encoders: RwLock<Vec<Arc<dyn Encoder>>>,
    cache: Cache,
    /// What models told, apart from what is encoded: it is small, and costs more to make.
    captions: Cache,
}

/// How much of what was encoded is kept where no other bound is set, in bytes.
const CACHE_BYTES: usize = 256 * 1024 * 1024;
/// How much is kept of what models told, in bytes.
const CAPTION_BYTES: usize = 16 * 1024 * 1024;

impl Default for EncoderRegistry {
    /// The built-in encoders.
    fn default() -> Self {
        let mut encoders: Vec<Arc<dyn Encoder>> = vec![
            Arc::new(document::Rasterize),
            Arc::new(document::PageText),
            Arc::new(document::Native),
            Arc::new(audio::Native),
        ];
        encoders.splice(0..0, image::encoders(None));
        encoders.extend(video::encoders(Arc::new(Ffmpeg::default())));
        encoders.extend(text::KINDS.map(|kind| Arc::new(text::Fenced(kind)) as Arc<dyn Encoder>));
        Self { encoders: RwLock::new(encoders), cache: Cache::new(CACHE_BYTES), captions: Cache::new(CAPTION_BYTES) }
    }
}

impl EncoderRegistry {
    /// Adds an encoder, in the place of one of the same kind and name.
    pub fn register(&self, encoder: Arc<dyn Encoder>) {
        let mut encoders = self.encoders.write();
        let same = |known: &&mut Arc<dyn Encoder>| known.kind() == encoder.kind() && known.name() == encoder.name();
        match encoders.iter_mut().find(same) {
            Some(known) => *known = encoder,
            None => encoders.push(encoder),
        }
        // What the one before made is not what this one makes.
        self.cache.clear();
    }

    /// Decodes images of formats that are not built in (HEIC, AVIF) with a reader from now on.
    pub fn read_images_with(&self, reader: Arc<dyn ImageReader>) {
        for encoder in image::encoders(Some(reader)) {
            self.register(encoder);
        }
    }

    /// Keeps at most so many bytes of what was encoded, 256 MiB by default; 0 keeps nothing, no captions either.
    pub fn set_cache_bytes(&self, bytes: usize) {
        self.cache.set_limit(bytes);
        self.captions.set_limit(bytes.min(CAPTION_BYTES));
    }

    /// What models told of contents, each as one text.
    pub(super) fn captions(&self) -> &Cache {
        &self.captions
    }

    /// How many bytes of what was encoded are kept, and how many may be.
    pub fn cache_bytes(&self) -> (usize, usize) {
        self.cache.bytes()
    }

    /// The parts that were made of the same bytes before, without making any.
    pub(super) fn kept(
        &self,
        source: &Source<'_>,
        encoder: &dyn Encoder,
        options: &EncodeOptions,
    ) -> Option<Arc<[Part]>> {
        // What is not known of a source is told when it is read.
        encoder
            .is_pure()
            .then(|| Key::new(source, encoder.name(), &options.to_json()).ok())
            .flatten()
            .and_then(|key| self.cache.get(&key))
    }

    /// Makes the parts of a source, or gives those that were made of the same bytes before.
    ///
    /// # Errors
    /// Those of the encoder, and `InvalidInput` for an option that it does not know.
    pub fn encode(&self, source: &Source<'_>, encoder: &dyn Encoder, options: &EncodeOptions) -> Result<Arc<[Part]>> {
        if let Some(known) = encoder.options() {
            let place = format!("encoder `{}`", encoder.name());
            options.check(known).map_err(|error| error.with_place(&place))?;
        }
        if !encoder.is_pure() {
            return Ok(encoder.encode(source, options)?.into());
        }
        let key = Key::new(source, encoder.name(), &options.to_json())?;
        if let Some(parts) = self.cache.get(&key) {
            return Ok(parts);
        }
        let parts: Arc<[Part]> = encoder.encode(source, options)?.into();
        self.cache.insert(key, parts.clone());
        Ok(parts)
    }

    /// Reads films with another reader from now on.
    pub fn read_video_with(&self, reader: Arc<dyn VideoReader>) {
        for encoder in video::encoders(reader) {
            self.register(encoder);
        }
    }

    /// The kinds and names of all encoders, or of those of one kind; the default of a kind comes first.
    pub fn list(&self, kind: Option<Kind>) -> Vec<(Kind, String)> {
        let mut names: Vec<(Kind, String)> = self
            .encoders
            .read()
            .iter()
            .filter(|encoder| kind.is_none_or(|kind| encoder.kind() == kind))
            .map(|encoder| (encoder.kind(), encoder.name().to_owned()))
            .collect();
        names.sort_by_key(|(kind, _)| *kind);
        names
    }

    /// The name of the encoder of a kind where none is named: of a kind without one of its own, the first that was
    /// registered.
    pub fn default_name(&self, kind: Kind) -> Option<String> {
        let own = match kind {
            Kind::Image => "resize",
            Kind::Video => "frames",
            Kind::Audio => "native",
            Kind::Document => "rasterize",
            kind if kind.is_text() => "text",
            _ => return self.list(Some(kind)).into_iter().next().map(|(_, name)| name),
        };
        Some(own.to_owned())
    }

    /// The encoder of this kind and name.
    ///
    /// # Errors
    /// `InvalidInput` with the known names.
    pub fn find(&self, kind: Kind, name: &str) -> Result<Arc<dyn Encoder>> {
        let encoders = self.encoders.read();
        let of_kind = || encoders.iter().filter(|encoder| encoder.kind() == kind);
        if let Some(encoder) = of_kind().find(|encoder| encoder.name() == name) {
            return Ok(encoder.clone());
        }
        let shown: String = name.chars().take(64).collect();
        let known: Vec<&str> = of_kind().map(|encoder| encoder.name()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(Error::invalid_input(format!("unknown encoder `{shown}` of kind `{kind}`"))
            .with_hint(format!("known ones: {known}")))
    }
}

#[cfg(test)]
pub(super) mod fixtures;
#[cfg(test)]
mod tests;
