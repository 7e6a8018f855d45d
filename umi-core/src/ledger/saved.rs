//! Saved contexts and blobs as the ledger keeps them.

use std::{fmt, fs, io, path::PathBuf, sync::Arc};

use jiff::Timestamp;

use crate::{
    context::{Kind, RefId, Role},
    digest::HASH_DIGITS,
    error::{Error, Result},
    metadata::Metadata,
};

/// The longest extension of a blob, in bytes.
const EXTENSION_BYTES: usize = 16;

/// A content that a store keeps in a file of its own, named by what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Blob {
    hash: String,
    extension: String,
    bytes: u64,
}

impl Blob {
    /// A blob of a hash in hexadecimal digits, an extension and a size in bytes; none for what cannot be a blob's.
    pub(crate) fn new(hash: String, extension: String, bytes: u64) -> Option<Self> {
        let is_hash = hash.len() == HASH_DIGITS && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (is_hash && is_extension(&extension)).then_some(Self { hash, extension, bytes })
    }

    /// What stands in the place of a blob until it is put.
    pub(crate) fn placeholder(extension: &str) -> Self {
        Self { hash: String::new(), extension: extension.to_owned(), bytes: 0 }
    }

    /// The SHA-256 of the content, in hexadecimal digits.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The extension of its file, without a dot.
    pub fn extension(&self) -> &str {
        &self.extension
    }

    /// The size of the content, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The name of its file in the folder `blobs` of its store.
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.hash, self.extension)
    }
}

/// Whether a text may be the extension of a blob.
pub(crate) fn is_extension(text: &str) -> bool {
    (1..=EXTENSION_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// A content that is to be a blob.
#[derive(Clone)]
pub(crate) struct NewBlob {
    pub(crate) content: BlobContent,
    /// Lower-case letters and digits.
    pub(crate) extension: String,
}

/// Where the content of a [`NewBlob`] is.
#[derive(Clone)]
pub(crate) enum BlobContent {
    /// In memory.
    Bytes(Arc<dyn AsRef<[u8]> + Send + Sync>),
    /// In a file, of which at most so many bytes are read.
    File(PathBuf, u64),
}

impl fmt::Debug for NewBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewBlob").field("extension", &self.extension).finish_non_exhaustive()
    }
}

/// What tells the content of a file from every other, and when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileContent {
    /// The SHA-256 of the content, in hexadecimal digits.
    pub hash: String,
    /// The size and the times of the file.
    pub stamp: FileStamp,
}

/// What a file system tells about a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileStamp {
    /// The size, in bytes.
    pub bytes: u64,
    /// When the content changed last, in nanoseconds since 1970.
    pub modified: i64,
    /// When anything about the file changed last, in nanoseconds since 1970; callers cannot set it.
    pub touched: i64,
}

impl FileStamp {
    /// The stamp of a file.
    #[cfg(unix)]
    #[expect(clippy::unnecessary_wraps, reason = "other systems may not tell the time of a file")]
    pub(crate) fn of(file: &fs::Metadata) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Ok(Self {
            bytes: file.len(),
            modified: nanoseconds(file.mtime(), file.mtime_nsec()),
            touched: nanoseconds(file.ctime(), file.ctime_nsec()),
        })
    }

    /// The stamp of a file.
    #[cfg(not(unix))]
    pub(crate) fn of(file: &fs::Metadata) -> io::Result<Self> {
        let since = file.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let modified = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        Ok(Self { bytes: file.len(), modified, touched: modified })
    }
}

/// Where the content of a saved item is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SavedSource {
    /// A text.
    Text(String),
    /// A file that stays where it is.
    File {
        /// Its path as a `file://` address.
        uri: String,
        /// What was in it; none where it could not be found.
        content: Option<FileContent>,
    },
    /// A web address.
    Url {
        /// The address.
        uri: String,
        /// The media type of what is there, where it is known.
        media_type: Option<String>,
    },
    /// Bytes of a media type.
    Bytes {
        /// The media type.
        media_type: String,
        /// The bytes.
        blob: Blob,
    },
    /// An object in memory, as an encoded image.
    Object {
        /// The media type.
        media_type: String,
        /// The image.
        blob: Blob,
    },
}

impl SavedSource {
    /// Its blob, where it has one.
    pub fn blob(&self) -> Option<&Blob> {
        match self {
            Self::Bytes { blob, .. } | Self::Object { blob, .. } => Some(blob),
            _ => None,
        }
    }

    /// The address of a file or of a page.
    pub fn uri(&self) -> Option<&str> {
        match self {
            Self::File { uri, .. } | Self::Url { uri, .. } => Some(uri),
            _ => None,
        }
    }
}

/// An item of a saved context.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SavedItem {
    /// Its ref.
    pub ref_id: RefId,
    /// Its role.
    pub role: Role,
    /// Where its content is.
    pub source: SavedSource,
    /// Its metadata, where it has any.
    pub metadata: Option<Metadata>,
}

/// A saved context.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SavedContext {
    /// When it was saved.
    pub(crate) saved_at: Timestamp,
    /// Its items in their order.
    pub(crate) items: Vec<SavedItem>,
}

/// The item of a context that an episode stands for.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Attachment {
    /// The session of its context.
    pub session_id: String,
    /// Its ref in that session.
    pub ref_id: RefId,
    /// The name of its file, where it has one.
    pub name: Option<String>,
    /// The address of its file or page, where it has one.
    pub uri: Option<String>,
    /// The media type, where it is known.
    pub media_type: Option<String>,
    /// Its content in the store; none of a text, which the episode holds, and of an address.
    pub blob: Option<Blob>,
}

impl Attachment {
    /// What kind of item it is.
    pub fn kind(&self) -> Kind {
        self.ref_id.kind()
    }
}

/// The error of a blob that is gone: one that was put before the transaction that names it, and was removed between.
pub(crate) fn missing(blob: &Blob) -> Error {
    Error::new(crate::ErrorKind::NotFound, format!("the blob `{}` is not in the store", blob.file_name()))
        .with_retryable(true)
        .with_hint("run `memory.check()`, and restore the store from a backup")
}

/// A file's path as an address that keeps every byte of it.
pub(crate) fn file_uri(path: &std::path::Path) -> Result<String> {
    reqwest::Url::from_file_path(path).map(String::from).map_err(|()| {
        let shown: String = path.to_string_lossy().chars().take(64).collect();
        Error::invalid_input(format!("`{shown}` is not an absolute path"))
    })
}

/// The path of an address that [`file_uri`] made.
pub(crate) fn path_of_uri(uri: &str) -> Option<PathBuf> {
    reqwest::Url::parse(uri).ok().filter(|url| url.scheme() == "file")?.to_file_path().ok()
}
