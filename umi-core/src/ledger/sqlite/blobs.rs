//! The blobs of a store: files of the folder `blobs`, each called by the hash of its content.
//!
//! A blob is written to a temporary name in the same folder, synced, renamed, and the folder synced, before the row that
//! names it is committed. What a process leaves that ends in between is a file that no row names.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{errors, lock, open};
use crate::{
    digest::{digest, digest_of},
    error::{Error, ErrorKind, Result},
    ledger::saved::{self, Blob, BlobContent, NewBlob},
    world::{IDS, Ids},
};

/// The folder's name, in a store's folder.
pub(crate) const BLOBS: &str = "blobs";
/// What the name of an unfinished blob ends in.
const UNFINISHED: &str = ".part";

/// Where blobs are.
#[derive(Debug)]
pub(super) enum Blobs {
    /// In a folder, which is made for the first of them.
    Folder(PathBuf),
    /// In memory, by their names, each with the time of its last putting.
    Memory(Mutex<BTreeMap<String, (Vec<u8>, Timestamp)>>),
}

impl Blobs {
    pub(super) fn of_folder(store: &Path) -> Self {
        Self::Folder(store.join(BLOBS))
    }

    pub(super) fn in_memory() -> Self {
        Self::Memory(Mutex::default())
    }

    /// Keeps contents; all of them are on the disk when this returns. One that is there already is marked as new, so that
    /// it is spared until a row names it; where its file was damaged, it is written again. Blocks.
    ///
    /// # Errors
    /// `NotFound`, to be tried again, where somebody purged the store at the same time; `File` and `StoreIo`.
    pub(super) fn put(&self, contents: &[NewBlob], now: Timestamp) -> Result<Vec<Blob>> {
        if contents.is_empty() {
            return Ok(Vec::new());
        }
        let folder = match self {
            Self::Folder(folder) => folder,
            Self::Memory(known) => {
                return contents
                    .iter()
                    .map(|new| {
                        let bytes = read_new(new)?;
                        let blob = blob_of(&digest(&bytes), new, bytes.len() as u64)?;
                        known.lock().insert(blob.file_name(), (bytes, now));
                        Ok(blob)
                    })
                    .collect();
            }
        };
        open::make_folder(folder)?;
        let put = contents.iter().map(|new| put_file(folder, new, now)).collect::<Result<_>>()?;
        // The names of all, those that another process has just written included.
        sync_folder(folder)?;
        Ok(put)
    }

    /// The content of a blob; none where it is not there.
    ///
    /// # Errors
    /// `CorruptStore` where the content is another; `StoreIo` where it cannot be read. Blocks.
    pub(super) fn read(&self, blob: &Blob) -> Result<Option<Vec<u8>>> {
        let (found, shown) = match self {
            Self::Memory(known) => {
                (known.lock().get(&blob.file_name()).map(|(bytes, _)| bytes.clone()), blob.file_name())
            }
            Self::Folder(folder) => {
                let path = folder.join(blob.file_name());
                let found = match fs::read(&path) {
                    Ok(bytes) => Some(bytes),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    Err(error) => return Err(errors::from_io(error, "read", &path)),
                };
                (found, path.display().to_string())
            }
        };
        match found {
            Some(bytes) if digest(&bytes) != blob.hash() => {
                Err(Error::new(ErrorKind::CorruptStore, format!("`{shown}` is not what its name says"))
                    .with_file(None, shown)
                    .with_hint("restore the file from a backup, or forget what names it"))
            }
            found => Ok(found),
        }
    }

    /// The file of a blob.
    pub(super) fn path_of(&self, blob: &Blob) -> Option<PathBuf> {
        match self {
            Self::Folder(folder) => Some(folder.join(blob.file_name())),
            Self::Memory(_) => None,
        }
    }

    /// Whether a blob is there, as far as its size tells. Blocks.
    pub(super) fn has(&self, blob: &Blob) -> bool {
        match self {
            Self::Memory(known) => known.lock().contains_key(&blob.file_name()),
            Self::Folder(folder) => {
                fs::metadata(folder.join(blob.file_name())).is_ok_and(|found| found.len() == blob.bytes())
            }
        }
    }

    /// Refuses blobs that are not there.
    ///
    /// # Errors
    /// `NotFound` for the first of them.
    pub(super) fn check<'b>(&self, blobs: impl IntoIterator<Item = &'b Blob>) -> Result<()> {
        match blobs.into_iter().find(|blob| !self.has(blob)) {
            Some(gone) => Err(saved::missing(gone)),
            None => Ok(()),
        }
    }

    /// Removes every file but the named ones, and of those only what was put before `until`, where that is given. Gives
    /// how many blobs are gone. The caller holds the lock of writers. Blocks.
    pub(super) fn collect(&self, named: &BTreeSet<String>, until: Option<Timestamp>) -> Result<u64> {
        let folder = match self {
            Self::Memory(known) => {
                let mut known = known.lock();
                let before = known.len();
                known.retain(|name, (_, put)| named.contains(name) || until.is_some_and(|until| *put >= until));
                return Ok((before - known.len()) as u64);
            }
            Self::Folder(folder) => folder,
        };
        let listed = match fs::read_dir(folder) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(errors::from_io(error, "list", folder)),
        };
        let until = until.map(system_time);
        let (mut removed, mut changed) = (0, false);
        for entry in listed {
            let entry = entry.map_err(|error| errors::from_io(error, "list", folder))?;
            let name = entry.file_name();
            // What is not called as the engine calls its files is somebody else's.
            let Some(name) = name.to_str().filter(|name| is_own(name)) else { continue };
            if named.contains(name) {
                continue;
            }
            let path = entry.path();
            let gone = entry
                .metadata()
                .map(|found| found.is_file() && until.is_none_or(|until| found.modified().is_ok_and(|at| at < until)))
                .and_then(|is_old| if is_old { fs::remove_file(&path).map(|()| true) } else { Ok(false) });
            match gone {
                Ok(true) => {
                    changed = true;
                    removed += u64::from(!name.ends_with(UNFINISHED));
                }
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {} // renamed by the one who writes it
                Err(error) => return Err(errors::from_io(error, "remove", &path)),
            }
        }
        if changed {
            sync_folder(folder)?;
        }
        Ok(removed)
    }

    /// Copies blobs into the folder `store` of a copy, on the disk before this returns. Blocks.
    ///
    /// # Errors
    /// As [`Blobs::read`], and `NotFound` for one that is not there.
    pub(super) fn copy(&self, blobs: &[Blob], store: &Path) -> Result<()> {
        let target = Self::of_folder(store);
        for blob in blobs {
            let bytes = self.read(blob)?.ok_or_else(|| saved::missing(blob))?;
            let new = NewBlob {
                content: BlobContent::Bytes(std::sync::Arc::new(bytes)),
                extension: blob.extension().to_owned(),
            };
            target.put(&[new], system_now())?;
        }
        Ok(())
    }
}

fn blob_of(hash: &str, new: &NewBlob, bytes: u64) -> Result<Blob> {
    Blob::new(hash.to_owned(), new.extension.clone(), bytes)
        .ok_or_else(|| Error::internal(format!("`{}` is not the extension of a blob", new.extension)))
}

/// Whether a file's name is one of those that this module gives.
fn is_own(name: &str) -> bool {
    let Some((stem, extension)) = name.split_once('.') else { return false };
    if name.ends_with(UNFINISHED) {
        return uuid::Uuid::try_parse(stem).is_ok();
    }
    Blob::new(stem.to_owned(), extension.to_owned(), 0).is_some()
}

fn read_new(new: &NewBlob) -> Result<Vec<u8>> {
    match &new.content {
        BlobContent::Bytes(bytes) => Ok((**bytes).as_ref().to_vec()),
        BlobContent::File(path, limit) => {
            let failed = |cause| Error::file("cannot read", path, cause);
            let mut bytes = Vec::new();
            File::open(path).map_err(failed)?.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
            check_size(path, bytes.len() as u64, *limit)?;
            Ok(bytes)
        }
    }
}

fn check_size(path: &Path, bytes: u64, limit: u64) -> Result<()> {
    if bytes <= limit {
        return Ok(());
    }
    let message = format!("`{}` has more than {limit} bytes, which are not copied into a store", path.display());
    Err(Error::new(ErrorKind::Capacity, message).with_sizes(limit as usize, bytes as usize))
}

fn put_file(folder: &Path, new: &NewBlob, now: Timestamp) -> Result<Blob> {
    if let BlobContent::Bytes(bytes) = &new.content {
        let bytes = (**bytes).as_ref();
        let blob = blob_of(&digest(bytes), new, bytes.len() as u64)?;
        if !is_there(folder, &blob, now)? {
            let mut part = Part::make(folder)?;
            part.write(bytes)?;
            part.finish(&blob, now)?;
        }
        return Ok(blob);
    }
    let BlobContent::File(path, limit) = &new.content else { return Err(Error::internal("a blob without content")) };
    let file = File::open(path).map_err(|cause| Error::file("cannot read", path, cause))?;
    let mut part = Part::make(folder)?;
    let mut failed = None;
    let read = digest_of(file.take(limit + 1), |chunk| {
        part.write(chunk).map_err(|error| {
            failed = Some(error);
            io::Error::other("a blob cannot be written")
        })
    });
    let (hash, bytes) = match (read, failed) {
        (_, Some(error)) => return Err(error),
        (Err(cause), None) => return Err(Error::file("cannot read", path, cause)),
        (Ok(read), None) => read,
    };
    check_size(path, bytes, *limit)?;
    let blob = blob_of(&hash, new, bytes)?;
    if !is_there(folder, &blob, now)? {
        part.finish(&blob, now)?;
    }
    Ok(blob)
}

/// Whether a blob is there with the content that its name says. Marks it as new, so that nobody removes it.
fn is_there(folder: &Path, blob: &Blob, now: Timestamp) -> Result<bool> {
    let path = folder.join(blob.file_name());
    let opened = OpenOptions::new().read(true).write(true).open(&path).and_then(|file| {
        file.set_modified(system_time(now))?;
        Ok((file.metadata()?.len() == blob.bytes()).then_some(file))
    });
    match opened {
        // Whoever cannot read it has to write it again.
        Ok(Some(file)) => Ok(digest_of(file, |_| Ok(())).is_ok_and(|(hash, _)| hash == blob.hash())),
        Ok(None) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(errors::from_io(error, "open", &path)),
    }
}

/// A blob that is being written; gone when it is dropped before its end.
struct Part {
    file: File,
    path: PathBuf,
    is_done: bool,
}

impl Part {
    fn make(folder: &Path) -> Result<Self> {
        let path = folder.join(format!("{}{UNFINISHED}", IDS.next(system_now())));
        let file = lock::private(OpenOptions::new().write(true).create_new(true))
            .open(&path)
            .map_err(|error| errors::from_io(error, "make", &path))?;
        Ok(Self { file, path, is_done: false })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| errors::from_io(error, "write", &self.path))
    }

    /// # Errors
    /// `NotFound` where somebody has purged the store: the caller puts the content again.
    fn finish(mut self, blob: &Blob, now: Timestamp) -> Result<()> {
        let path = self.path.with_file_name(blob.file_name());
        let failed = |error| errors::from_io(error, "write", &path);
        self.file.set_modified(system_time(now)).and_then(|()| self.file.sync_all()).map_err(failed)?;
        match fs::rename(&self.path, &path) {
            Ok(()) => {
                self.is_done = true;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(saved::missing(blob)),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_done
            && let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            let path = self.path.display();
            tracing::warn!(target: "umi::ledger", %error, %path, "cannot remove what is left of a blob");
        }
    }
}

/// Makes it durable which files a folder holds.
fn sync_folder(folder: &Path) -> Result<()> {
    open::sync_name(&folder.join(BLOBS))
}

fn system_now() -> Timestamp {
    crate::world::Clock::now(&crate::world::SystemClock)
}

fn system_time(time: Timestamp) -> SystemTime {
    let micros = Duration::from_micros(time.as_microsecond().unsigned_abs());
    let moved = if time.as_microsecond() < 0 { UNIX_EPOCH.checked_sub(micros) } else { UNIX_EPOCH.checked_add(micros) };
    moved.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::ErrorKind;

    fn new(content: &str) -> NewBlob {
        let content = BlobContent::Bytes(Arc::new(content.as_bytes().to_vec()));
        NewBlob { content, extension: "txt".to_owned() }
    }

    #[test]
    fn a_damaged_file_of_the_same_length_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::of_folder(folder.path());
        let source = folder.path().join("source.txt");
        fs::write(&source, "content").unwrap();
        let of_file = NewBlob { content: BlobContent::File(source, 100), extension: "txt".to_owned() };
        for again in [new("content"), of_file] {
            let blob = blobs.put(&[new("content")], system_now()).unwrap().remove(0);
            let path = folder.path().join(BLOBS).join(blob.file_name());
            fs::write(&path, "CONTENT").unwrap();
            assert_eq!(blobs.put(&[again], system_now()).unwrap(), std::slice::from_ref(&blob));
            assert_eq!(blobs.read(&blob).unwrap().as_deref(), Some(&b"content"[..]));
        }
    }

    #[test]
    fn a_purge_in_the_midst_of_putting_is_no_failure_of_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::of_folder(folder.path());
        let blob = blobs.put(&[new("content")], system_now()).unwrap().remove(0);
        let mut part = Part::make(&folder.path().join(BLOBS)).unwrap();
        part.write(b"content").unwrap();
        assert_eq!(blobs.collect(&BTreeSet::new(), None).unwrap(), 1);
        let error = part.finish(&blob, system_now()).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::NotFound, true));
    }
}
