//! The encoder of what is text: code, data, settings and plain text, fenced under the name of their file.

use std::{borrow::Cow, fmt::Write as _, io::Read};

use super::{Content, EncodeOptions, Encoder, Source};
use crate::{
    context::{files::open_file, kinds::Kind, part::Part},
    error::{Error, Result},
};

/// The kinds that are text.
pub(super) const KINDS: [Kind; 4] = [Kind::Text, Kind::Code, Kind::Data, Kind::Config];

/// The most bytes of a file that are read where no other number is asked for.
const MAX_BYTES: u32 = 1_000_000;

/// The text of a file, within a fence.
#[derive(Debug)]
pub(super) struct Fenced(pub(super) Kind);

impl Encoder for Fenced {
    fn name(&self) -> &'static str {
        "text"
    }

    fn kind(&self) -> Kind {
        self.0
    }

    fn options(&self) -> Option<&[&str]> {
        Some(&["max_bytes"])
    }

    fn encode(&self, source: &Source<'_>, options: &EncodeOptions) -> Result<Vec<Part>> {
        let limit = options.integer("max_bytes", MAX_BYTES, 1..=1_000_000_000)?;
        let ReadText { text, size } = read_text(source, limit as usize)?;
        let extension = source.name.rsplit_once('.').map_or("", |(_, extension)| extension);
        let is_word = extension.len() <= 16 && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let language = if is_word { extension } else { "" };
        let mut shown = fenced(source.name, language, &text);
        if (text.len() as u64) < size {
            let _ = write!(shown, "\n[cut: the first {} of {size} bytes]", text.len());
        }
        Ok(vec![Part::text(shown)])
    }
}

/// Text between fences that nothing in it can close.
fn fenced(name: &str, language: &str, text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let name = name.replace(['\n', '\r'], " ");
    format!("{name}:\n{fence}{language}\n{text}{end}{fence}")
}

/// Text that was read.
pub(in crate::context) struct ReadText {
    /// Its beginning, or all of it.
    pub(in crate::context) text: String,
    /// The bytes of all of it. Of a text that is not UTF-8, of what was read of it.
    pub(in crate::context) size: u64,
}

/// Reads at most so many bytes of text, cut at a character.
pub(in crate::context) fn read_text(source: &Source<'_>, limit: usize) -> Result<ReadText> {
    let (bytes, size): (Cow<'_, [u8]>, u64) = match source.content {
        Content::Bytes(bytes) => (Cow::Borrowed(&bytes[..bytes.len().min(limit)]), bytes.len() as u64),
        Content::Path(path) => {
            let failed = |cause| Error::file("cannot read", path, cause);
            let file = open_file(path).map_err(failed)?;
            let size = file.metadata().map_err(failed)?.len();
            let mut bytes = Vec::with_capacity(size.min(limit as u64) as usize);
            file.take(limit as u64).read_to_end(&mut bytes).map_err(failed)?;
            let read = bytes.len() as u64;
            (Cow::Owned(bytes), size.max(read))
        }
        Content::Pixels(_) => return Err(Error::invalid_input("pixels are not text")),
    };
    let is_cut = (bytes.len() as u64) < size;
    for (mark, is_big) in [([0xff, 0xfe], false), ([0xfe, 0xff], true)] {
        if let Some(words) = bytes.strip_prefix(&mark) {
            let text = wide(words, is_big, is_cut).ok_or_else(not_text)?;
            let size = if is_cut { size } else { text.len() as u64 };
            return Ok(ReadText { text, size });
        }
    }
    let (bytes, size) = match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(text) => (text, size - 3),
        None => (&*bytes, size),
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(ReadText { text: text.to_owned(), size }),
        Err(error) if is_cut && error.error_len().is_none() => {
            let whole = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned();
            Ok(ReadText { text: whole, size })
        }
        Err(error) => Err(not_text().with_source(error)),
    }
}

fn not_text() -> Error {
    Error::invalid_input("is not UTF-8 text").with_hint("save it as UTF-8, or add it as bytes with a media type")
}

/// Text of 16-bit units.
fn wide(bytes: &[u8], is_big: bool, is_cut: bool) -> Option<String> {
    let mut units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(
            |pair| if is_big { u16::from_be_bytes([pair[0], pair[1]]) } else { u16::from_le_bytes([pair[0], pair[1]]) },
        )
        .collect();
    if !is_cut && bytes.len() % 2 == 1 {
        return None;
    }
    if is_cut && units.last().is_some_and(|last| (0xd800..0xdc00).contains(last)) {
        units.pop();
    }
    String::from_utf16(&units).ok()
}
