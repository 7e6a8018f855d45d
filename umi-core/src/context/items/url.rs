//! [`Url`]: an address that is passed on.

use std::path::Path;

use super::essence;
use crate::{
    context::{
        kinds::{Format, Kind, kind_of_media_type},
        refs::shown,
    },
    error::{Error, Result},
};

/// The longest URL, in bytes.
const URL_BYTES: usize = 16 * 1024;

/// An http or https address, with the media type of what is there where it is known.
///
/// # Example
/// ```
/// use umi_core::context::{Kind, Url};
/// let url = Url::new("https://example.com/a/photo.jpg?size=2", None)?;
/// assert_eq!((url.kind(), url.media_type()), (Kind::Image, Some("image/jpeg")));
/// assert!(Url::new("file:///etc/passwd", None).is_err());
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    text: Box<str>,
    media_type: Option<Box<str>>,
    kind: Kind,
}

impl Url {
    /// Checks an address. Its kind is that of `media_type`, or else that of the extension in its path.
    ///
    /// # Errors
    /// `InvalidInput` for another scheme than http and https, for what is not an address with a host, for white space
    /// and control characters, for one over 16 KiB and for what is not a media type.
    pub fn new(text: &str, media_type: Option<&str>) -> Result<Self> {
        if text.len() > URL_BYTES {
            let message = format!("a URL has {} bytes, at most {URL_BYTES} are allowed", text.len());
            return Err(Error::invalid_input(message).with_sizes(URL_BYTES, text.len()));
        }
        if text.contains(|character: char| character.is_whitespace() || character.is_control()) {
            return Err(Error::invalid_input(format!(
                "the URL `{}` has white space or a control character in it",
                shown(text)
            ))
            .with_hint("encode it, as %20"));
        }
        let parsed = reqwest::Url::parse(text).map_err(|error| {
            Error::invalid_input(format!("`{}` is not a URL: {error}", shown(text))).with_source(error)
        })?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(Error::invalid_input(format!("the URL `{}` is not one of http or https", shown(text)))
                .with_hint("add a file by its path"));
        }
        let (kind, media_type) = match media_type {
            Some(media_type) => {
                let media_type = essence(media_type)?;
                (kind_of_media_type(&media_type), Some(media_type))
            }
            None => Format::of_name(Path::new(parsed.path()))
                .map_or((Kind::Other, None), |format| (format.kind, Some(format.media_type.into()))),
        };
        Ok(Self { text: text.into(), media_type, kind })
    }

    /// The address, as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The media type, in lower case and without parameters.
    pub fn media_type(&self) -> Option<&str> {
        self.media_type.as_deref()
    }

    /// What kind of thing is there, as far as it is known.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for wrong in ["", "photo.jpg", "ftp://a/b", "https://", "https://a/b c", "https://a/\nb", "javascript:alert(1)"]
        {
            assert!(Url::new(wrong, None).unwrap_err().is_invalid_input(), "{wrong}");
        }
        assert_eq!(Url::new("http://a/b", None).unwrap().kind(), Kind::Other);
        assert_eq!(Url::new("http://a/b", Some("image/png")).unwrap().kind(), Kind::Image);
    }
}
