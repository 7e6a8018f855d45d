//! [`Part`]: a piece of a message before any provider's form, text or media.

use std::{
    any::Any,
    fmt,
    sync::{Arc, OnceLock},
};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::kinds::{Kind, canonical};

/// What an encoder makes of an item: texts and media in the order in which the model reads them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Part {
    /// A text.
    Text(Arc<str>),
    /// Bytes of a media type that models read.
    Media(Arc<Media>),
    /// Something that the provider fetches by itself.
    Link {
        /// The address.
        url: Arc<str>,
        /// What is there.
        kind: Kind,
        /// Its media type, where one is known.
        media_type: Option<String>,
    },
}

impl Part {
    /// A text.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// Bytes of a media type.
    pub fn media(media: Media) -> Self {
        Self::Media(Arc::new(media))
    }

    /// The bytes that the part holds in memory.
    pub(crate) fn footprint(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            // The bindings keep the bytes and their text in base 64 beside them.
            Self::Media(media) => media.bytes.len() + media.bytes.len().div_ceil(3) * 4,
            Self::Link { url, .. } => url.len(),
        }
    }
}

/// Encoded media: an image, a document, sound or a film.
#[derive(Clone)]
pub struct Media {
    /// Its media type, such as `image/png`.
    pub media_type: String,
    /// The encoded bytes.
    pub bytes: Arc<[u8]>,
    /// The name of the file that it comes from, where it is handed on as it is.
    pub name: Option<String>,
    /// Width and height in pixels, of an image.
    pub size: Option<(u32, u32)>,
    /// How long it plays, in seconds.
    pub duration: Option<f64>,
    /// How many pages it has.
    pub pages: Option<usize>,
    memo: Arc<Memo>,
}

/// What the bindings keep beside encoded bytes: their own immutable forms of them, made once.
#[derive(Default)]
struct Memo {
    forms: [OnceLock<Box<dyn Any + Send + Sync>>; 3],
}

impl Media {
    /// Encoded bytes of a media type. Of one that has several names, `image/jpg` say, the usual one is kept.
    pub fn new(media_type: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Self {
        let media_type = media_type.into();
        let name = canonical(&media_type);
        Self {
            media_type: if name == media_type { media_type } else { name.to_owned() },
            bytes: bytes.into(),
            name: None,
            size: None,
            duration: None,
            pages: None,
            memo: Arc::default(),
        }
    }

    /// Adds the name of its file.
    #[must_use]
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Adds width and height in pixels.
    #[must_use]
    pub fn with_size(self, width: u32, height: u32) -> Self {
        Self { size: Some((width, height)), ..self }
    }

    /// Adds how long it plays, in seconds.
    #[must_use]
    pub fn with_duration(self, seconds: Option<f64>) -> Self {
        Self { duration: seconds, ..self }
    }

    /// Adds how many pages it has.
    #[must_use]
    pub fn with_pages(self, pages: usize) -> Self {
        Self { pages: Some(pages), ..self }
    }

    /// The bytes in base 64.
    pub fn base64(&self) -> String {
        STANDARD.encode(&self.bytes)
    }

    /// The bytes as a `data:` URL.
    pub fn data_url(&self) -> String {
        let mut url = format!("data:{};base64,", self.media_type);
        STANDARD.encode_string(&self.bytes, &mut url);
        url
    }

    /// The form `form` (0 to 2) of the bytes that a binding to another language made before, or makes now.
    ///
    /// It lives as long as the bytes do, so whatever hands it out has to make it immutable. No lock is held while it is
    /// made; of several that are made at once, one is kept.
    pub fn memo<T: Any + Send + Sync>(&self, form: usize, make: impl FnOnce() -> T) -> Option<&T> {
        let form = self.memo.forms.get(form)?;
        if form.get().is_none() {
            drop(form.set(Box::new(make())));
        }
        form.get()?.downcast_ref()
    }
}

impl PartialEq for Media {
    fn eq(&self, other: &Self) -> bool {
        (&self.media_type, &self.bytes, &self.name, self.size, self.pages)
            == (&other.media_type, &other.bytes, &other.name, other.size, other.pages)
    }
}

impl fmt::Debug for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Media")
            .field("media_type", &self.media_type)
            .field("bytes", &self.bytes.len())
            .field("name", &self.name)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_made_once_and_shared_by_clones() {
        let media = Media::new("image/png", *b"abc");
        assert_eq!(media.data_url(), "data:image/png;base64,YWJj");
        let clone = media.clone();
        assert_eq!(clone.memo(0, || 7), Some(&7));
        assert_eq!(media.memo(0, || 8), Some(&7));
        assert_eq!(media.memo(1, || 8), Some(&8));
        assert_eq!(media.memo(3, || 9), None, "there are three forms");
    }
}
