//! [`Scan`]: the files below a folder as a table that is filtered, searched, queried and read.

mod filter;
mod grep;
mod read;
mod show;
mod sql;
mod table;
mod walk;

use std::{
    collections::HashMap,
    fmt, fs,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
    sync::{Arc, OnceLock},
};

use jiff::Timestamp;

pub use self::{
    filter::{FileFilter, parse_size},
    grep::{GrepMatch, GrepOptions, GrepResults},
    read::TEXT_FILE_BYTES,
    sql::{RESULT_BYTES, SqlParameters, SqlValue},
    table::{BATCH_ROWS, COLUMNS, Cell, REF_COLUMNS, Table},
};
use self::{sql::Database, walk::Walked};
use super::{
    collection::Context,
    items::NewItem,
    kinds::{Format, Kind},
    refs::{BuildRefHasher, RefId, check_session, shown},
};
use crate::{
    error::{Error, ErrorKind, Result},
    world::{Clock, IDS, Ids, SystemClock},
};

/// The most threads of a scan.
pub const SCAN_THREADS: usize = 256;

/// The operating system's number for a file that is not there.
const NO_ENTRY: i32 = 2;

/// How a folder is scanned.
///
/// # Example
/// ```
/// use umi_core::context::ScanOptions;
/// let options = ScanOptions::new().with_session("chat-7")?.with_threads(2)?.with_no_ignore(true);
/// assert!(ScanOptions::new().with_threads(0).is_err());
/// # drop(options);
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ScanOptions {
    session_id: Option<Arc<str>>,
    threads: Option<usize>,
    no_ignore: bool,
}

impl ScanOptions {
    /// A new session, a thread for each core up to twelve, files that Git ignores left out.
    pub fn new() -> Self {
        Self::default()
    }

    /// With the id of a session, which goes into the refs of the files.
    ///
    /// # Errors
    /// `InvalidInput` for a session id that is empty, over 256 bytes, or has a slash or a control character.
    pub fn with_session(mut self, session_id: &str) -> Result<Self> {
        check_session(session_id)?;
        self.session_id = Some(session_id.into());
        Ok(self)
    }

    /// With a number of threads from 1 to 256. It changes the speed and nothing else.
    ///
    /// # Errors
    /// `InvalidInput` for another number.
    pub fn with_threads(mut self, threads: usize) -> Result<Self> {
        if !(1..=SCAN_THREADS).contains(&threads) {
            let message = format!("the number of threads is `{threads}`, it must be from 1 to {SCAN_THREADS}");
            return Err(Error::invalid_input(message).with_sizes(SCAN_THREADS, threads));
        }
        self.threads = Some(threads);
        Ok(self)
    }

    /// Whether files are listed too that a `.gitignore`, `.ignore` or `.git/info/exclude` names. Hidden ones never are.
    #[must_use]
    pub fn with_no_ignore(mut self, no_ignore: bool) -> Self {
        self.no_ignore = no_ignore;
        self
    }
}

/// One file of a [`Scan`].
#[derive(Clone, PartialEq, Eq)]
pub struct FileEntry {
    path: Box<Path>,
    size: u64,
    modified: Option<Timestamp>,
    created: Option<Timestamp>,
    format: Format,
    dimensions: Option<(u32, u32)>,
    ref_id: RefId,
}

impl FileEntry {
    /// Its path from the root on, without `.` and `..`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// When its content was changed last, in microseconds, where the file system tells it.
    pub fn modified(&self) -> Option<Timestamp> {
        self.modified
    }

    /// When it was made, in microseconds, where the file system tells it.
    pub fn created(&self) -> Option<Timestamp> {
        self.created
    }

    /// Its kind and media type, by its name, or by its first bytes where that says nothing.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether its kind and media type are those of something that is not read as text.
    pub fn is_binary(&self) -> bool {
        const DATA: [&str; 7] = [
            "application/vnd.apache.arrow.file",
            "application/vnd.apache.avro",
            "application/vnd.apache.parquet",
            "application/vnd.sqlite3",
            "application/x-hdf5",
            "application/x-npy",
            "application/x-plist",
        ];
        match self.format.kind {
            Kind::Image => self.format.media_type != "image/svg+xml",
            Kind::Document => self.format.media_type != "application/rtf",
            Kind::Data | Kind::Config => DATA.contains(&self.format.media_type),
            Kind::Code | Kind::Text => false,
            Kind::Video | Kind::Audio | Kind::Other => true,
        }
    }

    /// The folders between the root and it.
    pub fn depth(&self) -> u16 {
        u16::try_from(self.path.components().count().saturating_sub(1)).unwrap_or(u16::MAX)
    }

    /// The width and height of an image in pixels, as its header tells them, without regard to an EXIF orientation.
    pub fn dimensions(&self) -> Option<(u32, u32)> {
        self.dimensions
    }

    /// Its ref. It follows from the session and the absolute path, so that another scan gives the same.
    pub fn ref_id(&self) -> RefId {
        self.ref_id
    }

    /// The extension in lower case, with its period; empty where there is none.
    pub fn extension(&self) -> String {
        let extension = self.path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        extension.map(|extension| format!(".{extension}")).unwrap_or_default()
    }

    fn bytes(&self) -> &[u8] {
        self.path.as_os_str().as_bytes()
    }
}

impl fmt::Debug for FileEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileEntry({}, {}, {} bytes)", self.path.display(), self.format.kind, self.size)
    }
}

/// The files below a folder, as they were when it was scanned, sorted by the bytes of their paths.
///
/// Hidden files and folders are left out, and so is what a `.gitignore`, `.ignore` or `.git/info/exclude` names; those of
/// the folders above count up to the root of the repository, those of the user's own settings do not. Symbolic links are
/// not followed, and special files are no files here. What could not be read is told by [`Self::errors`].
///
/// # Example
/// ```
/// use umi_core::context::{FileFilter, Kind, Scan, ScanOptions};
/// # let folder = tempfile::tempdir().unwrap();
/// # std::fs::write(folder.path().join("main.rs"), "fn main() {}").unwrap();
/// # std::fs::write(folder.path().join("notes.txt"), "call Ana").unwrap();
/// let scan = Scan::open(folder.path(), &ScanOptions::new())?;
/// let code = scan.filter(&FileFilter::new().with_kinds([Kind::Code]));
/// assert_eq!(code.entries()[0].path().to_str(), Some("main.rs"));
/// assert_eq!(scan.text("notes.txt".as_ref())?, "call Ana");
/// # Ok::<(), umi_core::Error>(())
/// ```
pub struct Scan {
    folder: Arc<Folder>,
    entries: Vec<Arc<FileEntry>>,
    /// The places of the entries by their refs, made by the first one that asks.
    places: OnceLock<HashMap<RefId, usize, BuildRefHasher>>,
    database: OnceLock<Database>,
}

/// What a scan shares with those that were filtered from it.
struct Folder {
    /// The folder or file that was asked for, absolute and without symbolic links.
    root: PathBuf,
    /// Where the paths of the entries begin: the root, or the folder of a root that is a file.
    base: PathBuf,
    session_id: Arc<str>,
    threads: usize,
    links: usize,
    errors: Vec<Error>,
}

impl Scan {
    /// Scans a folder; a file is a scan of that one file.
    ///
    /// # Errors
    /// `File` where there is nothing at `root` or it cannot be listed; `InvalidInput` for what is neither a folder nor a
    /// regular file.
    pub fn open(root: impl AsRef<Path>, options: &ScanOptions) -> Result<Self> {
        let given = root.as_ref();
        if given.as_os_str().is_empty() {
            return Err(Error::invalid_input("the root of a scan is empty").with_hint("`.` is the current folder"));
        }
        let failed = |cause| Error::file("cannot scan", given, cause);
        let root = fs::canonicalize(given).map_err(failed)?;
        let metadata = root.metadata().map_err(failed)?;
        let session_id = match &options.session_id {
            Some(session_id) => Arc::clone(session_id),
            None => IDS.next(SystemClock.now()).to_string().into(),
        };
        let (base, walked) = if metadata.is_dir() {
            fs::read_dir(&root).map_err(failed)?;
            (root.clone(), walk::folder(&root, options))
        } else if metadata.is_file() {
            let base = root.parent().unwrap_or(&root).to_path_buf();
            let walked = walk::file(&root, &base, &metadata)?;
            (base, walked)
        } else {
            let shown = shown(&given.to_string_lossy());
            return Err(Error::invalid_input(format!("`{shown}` is neither a folder nor a regular file")));
        };
        let Walked { files, errors, links } = walked;
        let entries = walk::named(files, &base, &session_id)?.into_iter().map(Arc::new).collect();
        let threads = options.threads.unwrap_or_else(walk::default_threads);
        let folder = Folder { root, base, session_id, threads, links, errors };
        Ok(Self { folder: Arc::new(folder), entries, places: OnceLock::new(), database: OnceLock::new() })
    }

    /// The files that a filter lets through, with the refs that they have here.
    #[must_use]
    pub fn filter(&self, filter: &FileFilter) -> Self {
        let entries = self.entries.iter().filter(|entry| filter.matches(entry)).cloned().collect();
        Self { folder: Arc::clone(&self.folder), entries, places: OnceLock::new(), database: OnceLock::new() }
    }

    /// The folder or file that was scanned: absolute, without symbolic links.
    pub fn root(&self) -> &Path {
        &self.folder.root
    }

    /// The id of the session.
    pub fn session_id(&self) -> &str {
        &self.folder.session_id
    }

    /// The files, sorted by the bytes of their paths.
    pub fn entries(&self) -> &[Arc<FileEntry>] {
        &self.entries
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What could not be read when the folder was scanned, each error with its file, sorted by it. They are those of the
    /// whole scan, also after a filter.
    pub fn errors(&self) -> &[Error] {
        &self.folder.errors
    }

    /// How many symbolic links were not followed.
    pub fn links(&self) -> usize {
        self.folder.links
    }

    /// The absolute path of a file.
    pub fn absolute(&self, entry: &FileEntry) -> PathBuf {
        self.folder.base.join(&entry.path)
    }

    /// The file of a path: from the root on, or absolute. One that is not UTF-8 is also found as it is shown, with
    /// `U+FFFD`, where no other file is shown so.
    pub fn entry(&self, path: &Path) -> Option<&Arc<FileEntry>> {
        let mut normal = PathBuf::new();
        for component in path.strip_prefix(&self.folder.base).unwrap_or(path).components() {
            match component {
                Component::CurDir => {}
                Component::Normal(name) => normal.push(name),
                _ => return None,
            }
        }
        let bytes = normal.as_os_str().as_bytes();
        if let Ok(found) = self.entries.binary_search_by(|entry| entry.bytes().cmp(bytes)) {
            return Some(&self.entries[found]);
        }
        let shown = normal.to_str().filter(|text| text.contains(char::REPLACEMENT_CHARACTER))?;
        let mut alike = self.entries.iter().filter(|entry| entry.path.to_string_lossy() == shown);
        alike.next().filter(|_| alike.next().is_none())
    }

    /// The file of a path that must be there.
    ///
    /// # Errors
    /// `File`, as the operating system says it of a file that is not there, where it is none of this scan.
    pub fn require(&self, path: &Path) -> Result<&Arc<FileEntry>> {
        self.entry(path).ok_or_else(|| {
            Error::file("not in this scan:", path, std::io::Error::from_raw_os_error(NO_ENTRY))
                .with_hint("hidden and ignored files, and what a filter left out, are not")
        })
    }

    /// The file of a ref, or of a global ref of this session.
    ///
    /// # Errors
    /// `RefNotFound` where there is none, with the refs that there are; `InvalidInput` for a global ref of another session.
    pub fn get(&self, reference: &str) -> Result<&Arc<FileEntry>> {
        let local = match reference.rsplit_once('/') {
            None => reference,
            Some((session_id, local)) if session_id == self.session_id() => local,
            Some((session_id, _)) => {
                let (told, session_id) = (shown(reference), shown(session_id));
                let message = format!("global ref `{told}` belongs to session `{session_id}`, not to this scan");
                return Err(Error::invalid_input(message));
            }
        };
        let places = || self.entries.iter().enumerate().map(|(place, entry)| (entry.ref_id, place)).collect();
        let found = RefId::parse(local).and_then(|id| self.places.get_or_init(places).get(&id));
        let found = found.and_then(|place| self.entries.get(*place));
        match found {
            Some(found) => Ok(found),
            None => Err(Error::new(ErrorKind::RefNotFound, self.to_context()?.not_found(reference).to_string())),
        }
    }

    /// A context with the files as items, in the same order, with the same session and refs: to be added to, saved, and
    /// rendered into messages.
    ///
    /// # Errors
    /// None: the refs of a scan are distinct and of the kind of their files.
    pub fn to_context(&self) -> Result<Context> {
        let context = Context::with_session(self.session_id())?;
        self.add_to(&context)?;
        Ok(context)
    }

    /// Puts the files into a context, in the same order, with the same refs.
    ///
    /// # Errors
    /// `InvalidInput` where a ref is in use there; the files before that one are in the context then.
    pub fn add_to(&self, context: &Context) -> Result<()> {
        for entry in &self.entries {
            context.insert(entry.ref_id, NewItem::known_file(self.absolute(entry), entry.format.kind))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scan({}, {} files)", self.root().display(), self.len())
    }
}

#[cfg(test)]
mod tests;
