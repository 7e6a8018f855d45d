//! [`RefId`] and [`GlobalRef`]: the short names of items.

use std::{
    fmt,
    hash::{BuildHasherDefault, Hasher},
    str::FromStr,
};

use super::kinds::Kind;
use crate::error::{Error, Result};

/// The longest session id, in bytes.
pub const SESSION_BYTES: usize = 256;

/// The bits of a ref's number: six hexadecimal digits.
const NUMBER_BITS: u32 = 24;
/// How many refs of one kind there are.
pub(crate) const NUMBERS: u32 = 1 << NUMBER_BITS;
/// The hexadecimal digits of a ref.
const DIGITS: usize = 6;
/// The longest ref, in bytes: `code_` or `data_` and the digits.
const REF_BYTES: usize = 11;

/// The short name of one item of a context: the kind's prefix, an underscore and six lower-case hexadecimal digits.
///
/// Four bytes, without an allocation.
///
/// # Example
/// ```
/// use umi_core::context::{Kind, RefId};
/// let id: RefId = "img_a1b2c3".parse()?;
/// assert_eq!((id.kind(), id.to_string().as_str()), (Kind::Image, "img_a1b2c3"));
/// assert!("img_A1B2C3".parse::<RefId>().is_err());
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RefId(u32);

impl RefId {
    /// The ref of a kind with the lowest 24 bits of `number`.
    pub(crate) fn new(kind: Kind, number: u32) -> Self {
        Self((kind as u32) << NUMBER_BITS | (number & (NUMBERS - 1)))
    }

    /// Reads a ref; gives none for what is not one.
    #[inline]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (head, digits) = bytes.split_last_chunk::<DIGITS>()?;
        let kind = match head {
            b"img_" => Kind::Image,
            b"vid_" => Kind::Video,
            b"aud_" => Kind::Audio,
            b"doc_" => Kind::Document,
            b"code_" => Kind::Code,
            b"data_" => Kind::Data,
            b"cfg_" => Kind::Config,
            b"txt_" => Kind::Text,
            b"obj_" => Kind::Other,
            _ => return None,
        };
        let mut number = 0;
        for &digit in digits {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            number = number << 4 | u32::from(value);
        }
        Some(Self::new(kind, number))
    }

    /// What kind of item it names.
    pub fn kind(self) -> Kind {
        Kind::ALL[(self.0 >> NUMBER_BITS) as usize]
    }

    /// Its text.
    pub fn text(self) -> RefText {
        let prefix = self.kind().prefix().as_bytes();
        let mut bytes = [b'_'; REF_BYTES];
        bytes[..prefix.len()].copy_from_slice(prefix);
        for (place, byte) in bytes[prefix.len() + 1..][..DIGITS].iter_mut().rev().enumerate() {
            *byte = b"0123456789abcdef"[(self.0 >> (4 * place)) as usize & 0xf];
        }
        RefText { bytes, length: prefix.len() + 1 + DIGITS }
    }
}

impl fmt::Display for RefId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text())
    }
}

impl fmt::Debug for RefId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl FromStr for RefId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text).ok_or_else(|| {
            Error::invalid_input(format!("`{}` is not a ref", shown(text)))
                .with_hint("a ref is the kind's prefix, `_` and six hexadecimal digits, such as `img_a1b2c3`")
        })
    }
}

/// The text of a [`RefId`], on the stack.
#[derive(Clone, Copy)]
pub struct RefText {
    bytes: [u8; REF_BYTES],
    length: usize,
}

impl std::ops::Deref for RefText {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl fmt::Debug for RefText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// A ref with the session of its context: `<session>/<ref>`.
///
/// # Example
/// ```
/// use umi_core::context::GlobalRef;
/// let global: GlobalRef = "chat-7/doc_00ff00".parse()?;
/// assert_eq!((global.session_id(), global.ref_id().to_string().as_str()), ("chat-7", "doc_00ff00"));
/// assert!("chat/7/doc_00ff00".parse::<GlobalRef>().is_err());
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GlobalRef {
    session_id: String,
    ref_id: RefId,
}

impl GlobalRef {
    /// The ref of an item in a session.
    ///
    /// # Errors
    /// `InvalidInput` for a session id that is not allowed: empty, over 256 bytes, with a slash or a control character.
    pub fn new(session_id: &str, ref_id: RefId) -> Result<Self> {
        check_session(session_id)?;
        Ok(Self { session_id: session_id.to_owned(), ref_id })
    }

    /// The session's id.
    pub fn session_id(&self) -> &str {
        &self.session_id
    }

    /// The ref within the session.
    pub fn ref_id(&self) -> RefId {
        self.ref_id
    }
}

impl fmt::Display for GlobalRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.session_id, self.ref_id)
    }
}

impl FromStr for GlobalRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let malformed = || {
            Error::invalid_input(format!("`{}` is not a global ref", shown(text)))
                .with_hint("a global ref is `<session>/<ref>`, such as `chat-7/img_a1b2c3`")
        };
        let (session_id, ref_id) = text.rsplit_once('/').ok_or_else(malformed)?;
        let ref_id = RefId::parse(ref_id).ok_or_else(malformed)?;
        Self::new(session_id, ref_id).map_err(|error| malformed().with_source(error))
    }
}

/// A text of the caller's as an error shows it: cut, and without control characters.
pub(crate) fn shown(text: &str) -> String {
    let plain = |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
    text.chars().take(64).map(plain).collect()
}

/// Checks the id of a session.
pub(crate) fn check_session(session_id: &str) -> Result<()> {
    if session_id.is_empty() {
        return Err(Error::invalid_input("a session id is empty"));
    }
    if session_id.len() > SESSION_BYTES {
        let message = format!("a session id has {} bytes, at most {SESSION_BYTES} are allowed", session_id.len());
        return Err(Error::invalid_input(message).with_sizes(SESSION_BYTES, session_id.len()));
    }
    if session_id.contains('/') {
        return Err(Error::invalid_input(format!("the session id `{}` has a slash", shown(session_id)))
            .with_hint("a slash divides session and ref in a global ref"));
    }
    if let Some(place) = session_id.chars().position(char::is_control) {
        let message = format!("a session id has a control character at index `{place}`");
        return Err(Error::invalid_input(message));
    }
    Ok(())
}

/// Hashes refs, whose numbers are random already.
#[derive(Clone, Copy, Default)]
pub(crate) struct RefHasher(u64);

/// Makes a [`RefHasher`].
pub(crate) type BuildRefHasher = BuildHasherDefault<RefHasher>;

impl Hasher for RefHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        // The table takes its place from the lowest bits and its tag from the highest seven.
        self.0 = (self.0 ^ u64::from(value)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_ref_takes_four_bytes() {
        assert_eq!(size_of::<RefId>(), 4);
    }

    #[test]
    fn what_is_not_exactly_a_ref_is_refused() {
        for text in ["", "img_", "img_a1b2c", "img_a1b2c33", "img_A1B2C3", "img-a1b2c3", "xyz_a1b2c3", "img_a1b2cé"] {
            assert_eq!(RefId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sessions_are_checked() {
        for session in ["", "a/b", "a\nb", &"x".repeat(SESSION_BYTES + 1)] {
            assert!(check_session(session).unwrap_err().is_invalid_input(), "{session}");
        }
        check_session("Sitzung 7 über alles").unwrap();
    }

    proptest! {
        #[test]
        fn a_ref_is_read_as_it_was_written(kind in 0..Kind::ALL.len(), number in 0..NUMBERS) {
            let id = RefId::new(Kind::ALL[kind], number);
            prop_assert_eq!(RefId::parse(&id.text()), Some(id));
            prop_assert_eq!(id.kind(), Kind::ALL[kind]);
            prop_assert_eq!(id.to_string(), format!("{}_{number:06x}", id.kind().prefix()));
        }

        #[test]
        fn any_text_is_a_ref_or_refused(text in "[a-z]{2,5}_[0-9a-g]{5,7}|.*") {
            if let Some(id) = RefId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn a_global_ref_is_read_as_it_was_written(session in "[^/\\p{Cc}]{1,20}", number in 0..NUMBERS) {
            let global = GlobalRef::new(&session, RefId::new(Kind::Audio, number)).unwrap();
            prop_assert_eq!(global.to_string().parse::<GlobalRef>().unwrap(), global);
        }
    }
}
