//! The walk over a folder, in parallel, and what is told of every file.

use std::{
    collections::HashSet,
    fs::Metadata,
    io::{self, BufReader},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::SystemTime,
};

use ignore::{DirEntry, Error as WalkError, WalkBuilder, WalkState};
use jiff::Timestamp;
use xxhash_rust::xxh3::Xxh3;

use super::{FileEntry, ScanOptions};
use crate::{
    context::{
        files::open_file,
        kinds::{Format, Kind},
        refs::{NUMBERS, RefId, shown},
    },
    error::{Error, ErrorKind, Result},
    world::to_microseconds,
};

/// The most threads unless the caller says otherwise: beyond them the file system is what is waited for.
const DEFAULT_THREADS: usize = 12;

/// What a walk found.
#[derive(Default)]
pub(super) struct Walked {
    /// Files without refs, in no order.
    pub(super) files: Vec<Found>,
    pub(super) errors: Vec<Error>,
    pub(super) links: usize,
}

/// A file, of which all but its ref is known.
pub(super) struct Found {
    path: PathBuf,
    size: u64,
    modified: Option<Timestamp>,
    created: Option<Timestamp>,
    format: Format,
    dimensions: Option<(u32, u32)>,
}

/// What a thread of the walk says.
enum Said {
    File(Box<Found>),
    Link,
    Failed(Error),
}

pub(super) fn default_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(DEFAULT_THREADS)
}

/// The files below a folder, whose path is canonical.
pub(super) fn folder(root: &Path, options: &ScanOptions) -> Walked {
    let listens = !options.no_ignore;
    // In a repository its rules hold from its root down, as Git has them. Elsewhere those of the folder itself hold, and
    // not those of, say, a home folder under version control with a `.gitignore` of `*`.
    let is_in_repository = root.ancestors().any(|folder| folder.join(".git").exists());
    let mut builder = WalkBuilder::new(root);
    builder
        .hidden(true)
        .follow_links(false)
        .parents(listens && is_in_repository)
        .require_git(is_in_repository)
        .ignore(listens)
        .git_ignore(listens)
        .git_exclude(listens)
        .git_global(false)
        .threads(options.threads.unwrap_or_else(default_threads));
    let (sender, receiver) = mpsc::channel();
    builder.build_parallel().run(|| {
        let sender = sender.clone();
        Box::new(move |entry| {
            // The receiver is there until the walk is over, so that nothing that is said is lost.
            match entry {
                Ok(entry) => visit(&entry, root, &mut |said| drop(sender.send(said))),
                Err(error) => tell(&error, None, &mut |said| drop(sender.send(said))),
            }
            WalkState::Continue
        })
    });
    drop(sender);
    let mut walked = Walked::default();
    for said in receiver {
        match said {
            Said::File(file) => walked.files.push(*file),
            Said::Link => walked.links += 1,
            Said::Failed(error) => walked.errors.push(error),
        }
    }
    let key = |error: &Error| (error.details().filename.clone(), error.message().to_owned());
    walked.errors.sort_by_cached_key(key);
    walked
}

/// A scan of one file, whose path is canonical.
pub(super) fn file(root: &Path, base: &Path, metadata: &Metadata) -> Result<Walked> {
    let mut walked = Walked::default();
    let mut failures = Vec::new();
    let file = found(root, base, metadata, &mut |error| failures.push(error));
    if let Some(error) = failures.pop() {
        return Err(error);
    }
    walked.files.push(file);
    Ok(walked)
}

fn visit(entry: &DirEntry, root: &Path, say: &mut dyn FnMut(Said)) {
    if let Some(error) = entry.error() {
        tell(error, None, say);
    }
    match entry.file_type() {
        Some(kind) if kind.is_symlink() => say(Said::Link),
        Some(kind) if kind.is_file() => match entry.metadata() {
            Ok(metadata) => {
                let file = found(entry.path(), root, &metadata, &mut |error| say(Said::Failed(error)));
                say(Said::File(Box::new(file)));
            }
            Err(error) => tell(&error, None, say),
        },
        _ => {}
    }
}

/// What is told of a file. One whose name says nothing and that cannot be read is listed too, as of no known kind.
fn found(path: &Path, base: &Path, metadata: &Metadata, failed: &mut dyn FnMut(Error)) -> Found {
    let mut tell = |cause| failed(Error::file("cannot read", path, cause));
    let format = Format::of_file(path).unwrap_or_else(|cause| {
        tell(cause);
        Format { kind: Kind::Other, media_type: "application/octet-stream" }
    });
    let dimensions = match format.kind {
        Kind::Image => dimensions(path).unwrap_or_else(|cause| {
            tell(cause);
            None
        }),
        _ => None,
    };
    Found {
        path: path.strip_prefix(base).unwrap_or(path).to_path_buf(),
        size: metadata.len(),
        modified: metadata.modified().ok().and_then(timestamp),
        created: metadata.created().ok().and_then(timestamp),
        format,
        dimensions,
    }
}

/// The width and height that the header of an image tells; none where it tells nothing.
fn dimensions(path: &Path) -> io::Result<Option<(u32, u32)>> {
    match imagesize::reader_size(BufReader::new(open_file(path)?)) {
        Ok(size) => Ok(u32::try_from(size.width).ok().zip(u32::try_from(size.height).ok())),
        Err(imagesize::ImageError::IoError(cause)) if cause.kind() != io::ErrorKind::UnexpectedEof => Err(cause),
        Err(_) => Ok(None),
    }
}

/// A time of the file system; none beyond the years that can be told.
fn timestamp(time: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(time).ok().map(to_microseconds)
}

/// Says what the walk could not read, each with its path.
fn tell(error: &WalkError, path: Option<&Path>, say: &mut dyn FnMut(Said)) {
    let told = match (error, path) {
        (WalkError::Partial(all), _) => return all.iter().for_each(|error| tell(error, path, say)),
        (WalkError::WithPath { path, err }, _) => return tell(err, Some(path), say),
        (WalkError::WithDepth { err, .. }, _) => return tell(err, path, say),
        (WalkError::Io(cause), Some(path)) => {
            let same = match cause.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(cause.kind(), cause.to_string()),
            };
            Error::file("cannot read", path, same)
        }
        (other, path) => {
            let said = shown(&other.to_string());
            let told = Error::new(ErrorKind::File, format!("a rule of what to ignore cannot be read: {said}"));
            path.map_or(told.clone(), |path| told.with_file(None, path.to_string_lossy()))
        }
    };
    say(Said::Failed(told));
}

/// The files with their refs, sorted by the bytes of their paths.
///
/// The number of a ref is the hash of session and absolute path; of those that meet, the first in order has it.
pub(super) fn named(mut files: Vec<Found>, base: &Path, session_id: &str) -> Result<Vec<FileEntry>> {
    files.sort_unstable_by(|one, other| one.path.as_os_str().as_bytes().cmp(other.path.as_os_str().as_bytes()));
    let mut taken = HashSet::with_capacity(files.len());
    files
        .into_iter()
        .map(|file| {
            let mut hash = Xxh3::new();
            hash.update(session_id.as_bytes());
            hash.update(b"\0");
            hash.update(base.join(&file.path).as_os_str().as_bytes());
            let digest = hash.digest();
            let step = (digest >> 32) as u32 | 1; // odd, so that it comes by every number
            let numbers = (0..NUMBERS).map(|turn| (digest as u32).wrapping_add(turn.wrapping_mul(step)));
            let Some(ref_id) = numbers.map(|number| RefId::new(file.format.kind, number)).find(|id| taken.insert(*id))
            else {
                let message = format!("there are more than {NUMBERS} files of the kind `{}`", file.format.kind);
                return Err(Error::new(ErrorKind::Capacity, message).with_sizes(NUMBERS as usize, NUMBERS as usize + 1));
            };
            let Found { path, size, modified, created, format, dimensions } = file;
            Ok(FileEntry { path: path.into(), size, modified, created, format, dimensions, ref_id })
        })
        .collect()
}
