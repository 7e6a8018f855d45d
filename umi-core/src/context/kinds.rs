//! [`Kind`] and [`Format`]: the one table of what an item is, by extension first and by its bytes where that is silent.

use std::{
    fmt,
    io::{self, Read},
    path::Path,
    str::FromStr,
};

use self::table::{EXTENSIONS, NAMES, TEXT};
use super::{files::open_file, refs::shown};
use crate::error::{Error, Result};

mod table;

/// How much of a file is read to tell what it is, in bytes.
const SAMPLE_BYTES: usize = 8 * 1024;
/// The longest extension and the longest file name that the tables hold, in bytes.
const NAME_BYTES: usize = 16;

/// What kind of thing an item is.
///
/// # Example
/// ```
/// use umi_core::context::Kind;
/// assert_eq!("image".parse::<Kind>()?, Kind::Image);
/// assert_eq!(Kind::Image.prefix(), "img");
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// A still or animated picture.
    Image,
    /// Moving pictures.
    Video,
    /// Sound.
    Audio,
    /// A PDF, or a file of an office program.
    Document,
    /// Source code.
    Code,
    /// Structured data, such as JSON or CSV.
    Data,
    /// Settings, such as TOML or YAML.
    Config,
    /// Plain text.
    Text,
    /// Anything else.
    Other,
}

impl Kind {
    /// Every kind, in the order in which they are listed.
    pub const ALL: [Self; 9] = [
        Self::Image,
        Self::Video,
        Self::Audio,
        Self::Document,
        Self::Code,
        Self::Data,
        Self::Config,
        Self::Text,
        Self::Other,
    ];

    /// The kind's name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Document => "document",
            Self::Code => "code",
            Self::Data => "data",
            Self::Config => "config",
            Self::Text => "text",
            Self::Other => "other",
        }
    }

    /// What the refs of this kind begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Image => "img",
            Self::Video => "vid",
            Self::Audio => "aud",
            Self::Document => "doc",
            Self::Code => "code",
            Self::Data => "data",
            Self::Config => "cfg",
            Self::Text => "txt",
            Self::Other => "obj",
        }
    }

    /// The kind whose refs begin with `prefix`.
    pub fn from_prefix(prefix: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.prefix() == prefix)
    }

    /// Whether an item of this kind is read as text.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Code | Self::Data | Self::Config | Self::Text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = Error;

    /// Reads a name, in lower case.
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            Error::invalid_input(format!("unknown kind `{}`", shown(text)))
                .with_hint(format!("known kinds: {}", Self::ALL.map(Self::as_str).join(", ")))
        })
    }
}

/// A kind with its media type.
///
/// # Example
/// ```
/// use umi_core::context::{Format, Kind};
/// let format = Format::of_extension("JPG").unwrap();
/// assert_eq!((format.kind, format.media_type), (Kind::Image, "image/jpeg"));
/// assert_eq!(Format::of_bytes(b"\x00\x01\x02").kind, Kind::Other);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The kind.
    pub kind: Kind,
    /// The media type without parameters, in lower case.
    pub media_type: &'static str,
}

impl Format {
    const fn new(kind: Kind, media_type: &'static str) -> Self {
        Self { kind, media_type }
    }

    /// What an extension says, in any case and without its period.
    pub fn of_extension(extension: &str) -> Option<Self> {
        look_up(&EXTENSIONS, extension)
    }

    /// What the name of a file says: its extension, or the whole name where it is one of the few that are known by it,
    /// such as `Makefile`.
    pub fn of_name(path: &Path) -> Option<Self> {
        if let Some(extension) = path.extension() {
            return Self::of_extension(extension.to_str()?);
        }
        look_up(&NAMES, path.file_name()?.to_str()?)
    }

    /// What a file is, by its name, or by its first bytes where that says nothing.
    ///
    /// # Errors
    /// Those of opening and reading the file, which is done only where its name says nothing.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        if let Some(format) = Self::of_name(path) {
            return Ok(format);
        }
        let mut sample = Vec::with_capacity(SAMPLE_BYTES);
        open_file(path)?.take(SAMPLE_BYTES as u64).read_to_end(&mut sample)?;
        Ok(Self::of_bytes(&sample))
    }

    /// What bytes are by their look: the beginning of a file is enough.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let sample = &bytes[..bytes.len().min(SAMPLE_BYTES)];
        let found = infer::get(sample);
        if is_text(sample) {
            // Signatures of two letters ("BM" of a bitmap) are words in a text; only those of texts count there.
            return match found.map(|found| found.mime_type()) {
                Some("application/pdf") => Self::new(Kind::Document, "application/pdf"),
                Some("application/rtf") => Self::new(Kind::Document, "application/rtf"),
                Some("text/html") => Self::new(Kind::Code, "text/html"),
                Some("text/xml") => Self::new(Kind::Data, "application/xml"),
                Some("text/x-shellscript") => Self::new(Kind::Code, "text/x-shellscript"),
                _ => Self::new(Kind::Text, "text/plain"),
            };
        }
        let Some(found) = found else { return OTHER };
        by_media_type(found.mime_type()).unwrap_or_else(|| {
            let kind = match found.matcher_type() {
                infer::MatcherType::Image => Kind::Image,
                infer::MatcherType::Video => Kind::Video,
                infer::MatcherType::Audio => Kind::Audio,
                infer::MatcherType::Book | infer::MatcherType::Doc => Kind::Document,
                _ => Kind::Other,
            };
            Self::new(kind, found.mime_type())
        })
    }
}

const OTHER: Format = Format::new(Kind::Other, "application/octet-stream");

/// The kind of what has a media type, which is given in lower case and without parameters.
pub(crate) fn kind_of_media_type(media_type: &str) -> Kind {
    if let Some(format) = by_media_type(media_type) {
        return format.kind;
    }
    match media_type.split_once('/') {
        Some(("image", _)) => Kind::Image,
        Some(("video", _)) => Kind::Video,
        Some(("audio", _)) => Kind::Audio,
        Some((_, subtype)) if subtype.ends_with("+json") || subtype.ends_with("+xml") => Kind::Data,
        Some(("text", _)) => Kind::Text,
        _ => Kind::Other,
    }
}

/// The one name of a media type that has several; those that Python's `mimetypes`, browsers and `infer` use among them.
pub(crate) fn canonical(media_type: &str) -> &str {
    match media_type {
        "image/jpg" | "image/pjpeg" => "image/jpeg",
        "image/x-png" => "image/png",
        "image/x-ms-bmp" => "image/bmp",
        "application/x-pdf" => "application/pdf",
        "audio/x-wav" | "audio/wave" | "audio/vnd.wave" | "audio/x-pn-wav" => "audio/wav",
        "audio/mp3" | "audio/x-mp3" | "audio/x-mpeg" | "audio/mpeg3" => "audio/mpeg",
        "audio/m4a" | "audio/x-m4a" => "audio/mp4",
        "audio/x-flac" => "audio/flac",
        "audio/x-aac" | "audio/aacp" => "audio/aac",
        "audio/x-aiff" => "audio/aiff",
        "application/ogg" => "audio/ogg",
        "video/x-m4v" => "video/mp4",
        "text/json" => "application/json",
        "text/xml" => "application/xml",
        "text/yaml" | "text/x-yaml" | "application/x-yaml" => "application/yaml",
        "text/rtf" => "application/rtf",
        other => other,
    }
}

fn by_media_type(media_type: &str) -> Option<Format> {
    let canonical = canonical(media_type);
    if canonical == TEXT.media_type {
        return Some(TEXT); // sources of programs have it too
    }
    // Several extensions of one other media type are of one kind, which a test holds the table to.
    EXTENSIONS.iter().map(|(_, format)| *format).find(|format| format.media_type == canonical)
}

/// Whether a sample is text: UTF-8, but for a character that its end may cut, without control characters.
fn is_text(sample: &[u8]) -> bool {
    let valid = match std::str::from_utf8(sample) {
        Ok(_) => sample,
        Err(error) if error.error_len().is_none() && sample.len() == SAMPLE_BYTES => &sample[..error.valid_up_to()],
        Err(_) => return false,
    };
    valid.iter().all(|byte| !matches!(byte, 0..=0x08 | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f))
}

fn look_up(table: &[(&str, Format)], name: &str) -> Option<Format> {
    let mut lower = [0_u8; NAME_BYTES];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name.as_bytes());
    lower.make_ascii_lowercase();
    let found = table.binary_search_by(|(known, _)| known.as_bytes().cmp(lower)).ok()?;
    Some(table[found].1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_tables_are_sorted_and_a_media_type_is_of_one_kind() {
        assert!(EXTENSIONS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(EXTENSIONS.iter().chain(&NAMES).all(|(name, _)| name.len() <= NAME_BYTES));
        let mut kinds = BTreeMap::new();
        for (extension, format) in EXTENSIONS.iter().filter(|(_, format)| format.media_type != "text/plain") {
            assert_eq!(*kinds.entry(format.media_type).or_insert(format.kind), format.kind, "{extension}");
        }
        assert_eq!(kind_of_media_type("text/plain"), Kind::Text);
    }

    #[test]
    fn a_name_is_read_in_any_case_and_only_where_it_is_known() {
        let kind = |name: &str| Format::of_name(Path::new(name)).map(|format| format.kind);
        assert_eq!(kind("a/b.PNG"), Some(Kind::Image));
        assert_eq!(kind("c.json"), Some(Kind::Data));
        assert_eq!(kind("c.csv"), Some(Kind::Data));
        assert_eq!(kind("c.toml"), Some(Kind::Config));
        assert_eq!(kind("c.yaml"), Some(Kind::Config));
        assert_eq!(kind("main.rs"), Some(Kind::Code));
        assert_eq!(kind("Makefile"), Some(Kind::Code));
        assert_eq!(kind(".env"), Some(Kind::Config));
        assert_eq!(kind("x.tar.gz"), Some(Kind::Other));
        assert_eq!(kind("x.unheardof"), None);
        assert_eq!(kind("README"), None);
        assert_eq!(kind(&format!("x.{}", "y".repeat(300))), None);
    }

    #[test]
    fn bytes_are_known_by_their_look() {
        let kind = |bytes: &[u8]| Format::of_bytes(bytes).kind;
        assert_eq!(kind(b""), Kind::Text);
        assert_eq!(kind("BMW is a maker of cars, and über alles".as_bytes()), Kind::Text);
        assert_eq!(kind(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), Kind::Image);
        assert_eq!(kind(b"%PDF-1.7\n"), Kind::Document);
        assert_eq!(kind(b"%PDF-1.7\n\xff\xfe\0"), Kind::Document);
        assert_eq!(kind(b"PK\x03\x04\x14\0\0\0\x08\0"), Kind::Other);
        assert_eq!(kind(b"\0\x01\x02\x03"), Kind::Other);
        assert_eq!(kind(b"\xff\xfe\xfd"), Kind::Other);
        let mut cut = "x".repeat(SAMPLE_BYTES - 1).into_bytes();
        cut.extend("é".as_bytes());
        assert_eq!(kind(&cut), Kind::Text);
    }

    #[test]
    fn media_types_have_kinds() {
        assert_eq!(kind_of_media_type("image/x-unheard-of"), Kind::Image);
        assert_eq!(kind_of_media_type("image/jpg"), Kind::Image);
        assert_eq!(kind_of_media_type("application/ld+json"), Kind::Data);
        assert_eq!(kind_of_media_type("application/pdf"), Kind::Document);
        assert_eq!(kind_of_media_type("text/x-unheard-of"), Kind::Text);
        assert_eq!(kind_of_media_type("application/x-unheard-of"), Kind::Other);
    }

    #[test]
    fn every_kind_is_read_by_its_name_and_its_prefix() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse::<Kind>().unwrap(), kind);
            assert_eq!(Kind::from_prefix(kind.prefix()), Some(kind));
        }
        assert!("Image".parse::<Kind>().unwrap_err().to_string().contains("document"));
    }
}
