//! [`Item`]: what a context holds, and [`NewItem`]: what is put into it.

use std::{
    any::Any,
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use super::{
    files,
    kinds::{Format, Kind, canonical, kind_of_media_type},
    refs::{RefId, shown},
};
use crate::{
    error::{Error, Result},
    metadata::Metadata,
};

mod object;
mod url;

pub use self::{
    object::{Channels, Object, Pixels},
    url::Url,
};

/// The longest media type, in bytes.
const MEDIA_TYPE_BYTES: usize = 255;

/// Whose part of a prompt an item is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Role {
    /// Instructions of the provider of the application.
    System,
    /// Instructions of the developer.
    Developer,
    /// What the user says and shows.
    #[default]
    User,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::System, Self::Developer, Self::User];

    /// The role's name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            Error::invalid_input(format!("role must be `system`, `developer` or `user`, got `{}`", shown(text)))
        })
    }
}

/// Text or bytes that somebody holds: a `String`, a `Vec<u8>`, or what the bindings keep alive, so that nothing is
/// copied. Every type that is `AsRef` of it is one; the concrete one is found again by its [`Any`].
pub trait Held<T: ?Sized>: AsRef<T> + Any + Send + Sync {}

impl<T: ?Sized, H: AsRef<T> + Any + Send + Sync> Held<T> for H {}

/// Where the content of an item is. Clones share it.
#[derive(Clone)]
#[non_exhaustive]
pub enum ItemSource {
    /// A text.
    Text(Arc<dyn Held<str>>),
    /// A file, by its absolute path without symbolic links.
    Path(Arc<Path>),
    /// Bytes with their media type.
    Bytes(Arc<Bytes>),
    /// A web address that is passed on as it is.
    Url(Arc<Url>),
    /// An object of the caller's.
    Object(Arc<dyn Object>),
}

/// Bytes with their media type.
pub struct Bytes {
    data: Box<dyn Held<[u8]>>,
    media_type: Box<str>,
}

impl Bytes {
    /// Who holds the bytes.
    pub fn held(&self) -> &dyn Held<[u8]> {
        &*self.data
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        (*self.data).as_ref()
    }

    /// The media type, in lower case and without parameters.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({}, {} bytes)", self.media_type, self.as_slice().len())
    }
}

impl ItemSource {
    /// What the lists call it: `path`, `url` or `in_memory`.
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::Path(_) => "path",
            Self::Url(_) => "url",
            Self::Text(_) | Self::Bytes(_) | Self::Object(_) => "in_memory",
        }
    }

    /// The text, where it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some((**text).as_ref()),
            _ => None,
        }
    }

    /// What it is in words, whole: the text, the path, the address, or what an object says about itself.
    pub fn description(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed((**text).as_ref()),
            // What need not be mended is checked in a fraction of the time.
            Self::Path(path) => path.to_str().map_or_else(|| path.to_string_lossy(), Cow::Borrowed),
            Self::Url(url) => Cow::Borrowed(url.as_str()),
            Self::Bytes(bytes) => {
                Cow::Owned(format!("{} ({})", bytes.media_type(), byte_count(bytes.as_slice().len() as u64)))
            }
            Self::Object(object) => Cow::Owned(object.description()),
        }
    }
}

impl fmt::Debug for ItemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => {
                let text: &str = (**text).as_ref();
                f.debug_tuple("Text").field(&text).finish()
            }
            Self::Path(path) => f.debug_tuple("Path").field(path).finish(),
            Self::Bytes(bytes) => bytes.fmt(f),
            Self::Url(url) => f.debug_tuple("Url").field(&url.as_str()).finish(),
            Self::Object(object) => f.debug_tuple("Object").field(object).finish(),
        }
    }
}

/// One item of a context. Cheap to clone; clones share the content.
#[derive(Clone, Debug)]
pub struct Item {
    pub(super) source: ItemSource,
    pub(super) metadata: Option<Arc<Metadata>>,
    pub(super) ref_id: RefId,
    pub(super) role: Role,
}

impl Item {
    /// Its ref.
    pub fn ref_id(&self) -> RefId {
        self.ref_id
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.ref_id.kind()
    }

    /// Its role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Where its content is.
    pub fn source(&self) -> &ItemSource {
        &self.source
    }

    /// Its metadata, where it has any.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_deref()
    }

    /// The media type of its content, in lower case and without parameters. A file's is that of its name; where that
    /// says nothing, `text/plain` for a kind that is read as text, and otherwise none without looking into the file.
    pub fn media_type(&self) -> Option<&str> {
        match &self.source {
            ItemSource::Text(_) => Some("text/plain"),
            ItemSource::Bytes(bytes) => Some(bytes.media_type()),
            ItemSource::Url(url) => url.media_type(),
            ItemSource::Object(_) => None,
            ItemSource::Path(path) => Format::of_name(path)
                .map(|format| format.media_type)
                .or_else(|| self.kind().is_text().then_some("text/plain")),
        }
    }

    /// The last part of its path or address, where it has one.
    pub fn name(&self) -> Option<Cow<'_, str>> {
        match &self.source {
            ItemSource::Path(path) => path.file_name().map(std::ffi::OsStr::to_string_lossy),
            ItemSource::Url(url) => {
                let path = url.as_str().split(['?', '#']).next().unwrap_or_default();
                path.rsplit('/').next().filter(|name| !name.is_empty()).map(Cow::Borrowed)
            }
            _ => None,
        }
    }
}

/// An item that is in no context yet.
///
/// # Example
/// ```
/// use umi_core::{Metadata, context::{Kind, NewItem, Role}};
/// let item = NewItem::text("You are terse.").with_role(Role::System)?;
/// assert_eq!(item.kind(), Kind::Text);
/// let item = NewItem::bytes(vec![1, 2, 3], "image/png")?.with_metadata(Metadata::parse(r#"{"note": "hero"}"#)?);
/// assert!(item.with_role(Role::System).is_err(), "only a text may be one of the system");
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct NewItem {
    pub(super) source: ItemSource,
    pub(super) metadata: Option<Arc<Metadata>>,
    pub(super) kind: Kind,
    pub(super) role: Role,
}

impl From<&Item> for NewItem {
    /// The same item, to be put into another context.
    fn from(item: &Item) -> Self {
        Self { source: item.source.clone(), metadata: item.metadata.clone(), kind: item.kind(), role: item.role }
    }
}

impl NewItem {
    fn new(source: ItemSource, kind: Kind) -> Self {
        Self { source, metadata: None, kind, role: Role::User }
    }

    /// A free text; paths and addresses in it are not followed.
    pub fn text(text: impl Held<str>) -> Self {
        Self::new(ItemSource::Text(Arc::new(text)), Kind::Text)
    }

    /// A file, whose path is made absolute and freed of symbolic links now.
    ///
    /// # Errors
    /// `File` where it is not there, is a directory (`EISDIR`) or may not be looked at; `InvalidInput` where it is
    /// neither file nor directory.
    pub fn file(path: impl AsRef<Path>) -> Result<Self> {
        let given = path.as_ref();
        let failed = |cause| Error::file("cannot add", given, cause);
        let (path, kind) = files::resolve(given).map_err(failed)?;
        if kind.is_dir() {
            return Err(failed(rustix::io::Errno::ISDIR.into())
                .with_hint("add the files in it, or scan it with a context of its own"));
        }
        if !kind.is_file() {
            return Err(Error::invalid_input(format!("`{}` is not a regular file", shown(&given.to_string_lossy()))));
        }
        let format = Format::of_file(&path).map_err(failed)?;
        Ok(Self::new(ItemSource::Path(path.into()), format.kind))
    }

    /// A file that was checked before and may be gone since, as when a context is loaded. Its path is taken as it is.
    pub fn known_file(path: PathBuf, kind: Kind) -> Self {
        Self::new(ItemSource::Path(path.into()), kind)
    }

    /// Bytes of a media type, such as `image/png`; its parameters are left out.
    ///
    /// # Errors
    /// `InvalidInput` for what is not a media type.
    pub fn bytes(data: impl Held<[u8]>, media_type: &str) -> Result<Self> {
        let media_type = essence(media_type)?;
        let kind = kind_of_media_type(&media_type);
        Ok(Self::new(ItemSource::Bytes(Arc::new(Bytes { data: Box::new(data), media_type })), kind))
    }

    /// A web address, passed on to the provider as it is.
    pub fn url(url: Url) -> Self {
        let kind = url.kind();
        Self::new(ItemSource::Url(Arc::new(url)), kind)
    }

    /// An object in memory.
    pub fn object(object: impl Object) -> Self {
        let kind = object.kind();
        Self::new(ItemSource::Object(Arc::new(object)), kind)
    }

    /// The item with a role.
    ///
    /// # Errors
    /// `InvalidInput` for another role than the user's where it is not a free text: providers do not agree about media in
    /// such messages.
    pub fn with_role(mut self, role: Role) -> Result<Self> {
        if role != Role::User && !matches!(self.source, ItemSource::Text(_)) {
            return Err(Error::invalid_input(format!("only a free text can have the role `{role}`"))
                .with_hint("give a file, an image, bytes or a URL the role `user`"));
        }
        self.role = role;
        Ok(self)
    }

    /// The item with metadata; empty metadata is none.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = (!metadata.is_empty()).then(|| Arc::new(metadata));
        self
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its role.
    pub fn role(&self) -> Role {
        self.role
    }
}

/// A media type in lower case and without parameters, by the one name that is used for it here.
fn essence(media_type: &str) -> Result<Box<str>> {
    let token = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    let bare = media_type.split(';').next().unwrap_or_default().trim();
    match bare.split_once('/') {
        Some((major, minor)) if token(major) && token(minor) && bare.len() <= MEDIA_TYPE_BYTES => {
            Ok(canonical(&bare.to_ascii_lowercase()).into())
        }
        _ => Err(Error::invalid_input(format!("`{}` is not a media type", shown(media_type)))
            .with_hint("a media type is such as `image/png`")),
    }
}

/// A number of bytes for people: `1.2 MB`.
pub(crate) fn byte_count(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KB", "MB", "GB"] {
        if value < 999.95 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1_000.0;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_item_is_small() {
        assert!(size_of::<Item>() <= 40, "{}", size_of::<Item>());
        assert_eq!(size_of::<Option<Item>>(), size_of::<Item>());
    }

    #[test]
    fn files_are_checked_and_their_paths_made_canonical() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.png");
        fs::write(&file, b"x").unwrap();
        std::os::unix::fs::symlink(&file, folder.path().join("link.txt")).unwrap();
        let item = NewItem::file(folder.path().join("link.txt")).unwrap();
        assert_eq!(item.kind(), Kind::Image, "the kind is that of the file behind the link");
        let canonical = fs::canonicalize(&file).unwrap();
        assert!(matches!(item.source, ItemSource::Path(path) if *path == *canonical));

        let missing = NewItem::file(folder.path().join("b.png")).unwrap_err();
        assert_eq!((missing.kind(), missing.details().errno), (crate::ErrorKind::File, Some(2)));
        let directory = NewItem::file(folder.path()).unwrap_err();
        assert_eq!((directory.kind(), directory.details().errno), (crate::ErrorKind::File, Some(21)));
        assert!(NewItem::file("/dev/null").unwrap_err().is_invalid_input());
        assert!(NewItem::file("with\0nul").is_err());
    }

    #[test]
    fn media_types_are_checked_and_bared() {
        let item = NewItem::bytes(vec![0], "Image/PNG; q=1").unwrap();
        assert!(matches!(&item.source, ItemSource::Bytes(bytes) if bytes.media_type() == "image/png"));
        for wrong in ["", "png", "image/", "/png", "image/p ng", "image/png/x", "text\n/plain", &"x/y".repeat(200)] {
            assert!(NewItem::bytes(vec![0], wrong).unwrap_err().is_invalid_input(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_told_in_the_unit_that_suits_them() {
        let told: Vec<String> = [0, 999, 1_000, 999_949, 999_999, 1_234_567_890, u64::MAX].map(byte_count).into();
        assert_eq!(told, ["0 B", "999 B", "1.0 KB", "999.9 KB", "1.0 MB", "1.2 GB", "18446744.1 TB"]);
    }
}
