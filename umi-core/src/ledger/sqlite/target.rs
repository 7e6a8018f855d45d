//! A new folder for a copy: empty before, whole afterwards, and nothing that could be taken for a store in between.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use super::{
    blobs::BLOBS,
    errors, lock,
    open::{self, DATABASE},
};
use crate::error::{Error, Result};

/// What a copy is called until it is whole.
pub(super) const UNFINISHED: &str = "unfinished";

/// A folder that a copy is written into. What was written goes when it is dropped before the copy is whole.
#[derive(Debug)]
pub(crate) struct Target {
    folder: PathBuf,
    is_new: bool,
    is_done: bool,
}

impl Target {
    /// Makes the folder where it is missing.
    ///
    /// # Errors
    /// `InvalidInput` for a folder that holds something or that another copy is made in, or that is the store's own
    /// `source` or inside of it; `StoreIo` where the operating system refuses.
    pub(crate) fn prepare(folder: &Path, source: Option<&Path>) -> Result<Self> {
        let shown = folder.display();
        let refused = |what: &str| {
            Error::invalid_input(format!("the folder `{shown}` {what}"))
                .with_hint("name a folder that does not exist yet, outside of the store")
        };
        let is_new = match fs::symlink_metadata(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(errors::from_io(error, "open the folder", folder)),
            Ok(_) => false,
        };
        if let (Some(source), Some(nearest)) = (source, nearest(folder))
            && nearest.starts_with(source)
        {
            return Err(refused("is in the store itself"));
        }
        if !is_new {
            let others = names(folder)?;
            if others == [UNFINISHED] {
                return Err(taken(folder));
            }
            if !others.is_empty() {
                return Err(refused("is not empty"));
            }
        }
        open::make_folder(folder)?;
        let unfinished = folder.join(UNFINISHED);
        if let Err(error) = open::make_folder_alone(&unfinished) {
            // Another call's, which is not to be touched.
            if unfinished.exists() {
                return Err(taken(folder));
            }
            if is_new {
                remove_empty(folder);
            }
            return Err(error);
        }
        // From here on the folder is this call's own: of two, one fails.
        let target = Self { folder: folder.to_owned(), is_new, is_done: false };
        // Another call may have finished its copy since the first look.
        if names(folder)? != [UNFINISHED] {
            return Err(refused("is not empty"));
        }
        Ok(target)
    }

    /// Where the copy is made.
    pub(crate) fn unfinished(&self) -> PathBuf {
        self.folder.join(UNFINISHED)
    }

    /// The file of a copy, made for its owner alone.
    pub(super) fn make_database(&self) -> Result<PathBuf> {
        let database = self.unfinished().join(DATABASE);
        lock::private(OpenOptions::new().write(true).create_new(true))
            .open(&database)
            .map_err(|error| errors::from_io(error, "make", &database))?;
        Ok(database)
    }

    /// Makes the copy the folder's store, on the disk before this returns. It must be closed.
    pub(crate) fn finish(mut self) -> Result<()> {
        let (copy, database) = (self.unfinished().join(DATABASE), self.folder.join(DATABASE));
        sync(&copy)?;
        let (blobs, place) = (self.unfinished().join(BLOBS), self.folder.join(BLOBS));
        if blobs.exists() {
            fs::rename(&blobs, &place).map_err(|error| errors::from_io(error, "rename", &blobs))?;
            open::sync_name(&place)?;
        }
        fs::rename(&copy, &database).map_err(|error| errors::from_io(error, "rename", &copy))?;
        self.is_done = true;
        self.remove_unfinished();
        open::sync_name(&database)?;
        match self.folder.canonicalize() {
            Ok(folder) => open::sync_name(&folder),
            Err(error) => Err(errors::from_io(error, "open the folder", &self.folder)),
        }
    }

    fn remove_unfinished(&self) {
        if let Err(error) = fs::remove_dir_all(self.unfinished())
            && error.kind() != io::ErrorKind::NotFound
        {
            let path = self.folder.display();
            tracing::warn!(target: "umi::ledger", %error, %path, "cannot remove what is left of a copy");
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        self.remove_unfinished();
        // They were moved, and the database was not.
        let blobs = self.folder.join(BLOBS);
        if let Err(error) = fs::remove_dir_all(&blobs)
            && error.kind() != io::ErrorKind::NotFound
        {
            let path = blobs.display();
            tracing::warn!(target: "umi::ledger", %error, %path, "cannot remove the blobs of an unfinished copy");
        }
        if self.is_new {
            remove_empty(&self.folder);
        }
    }
}

/// Removes a folder, unless another call has put something there meanwhile.
fn remove_empty(folder: &Path) {
    if let Err(error) = fs::remove_dir(folder)
        && !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty)
    {
        let path = folder.display();
        tracing::warn!(target: "umi::ledger", %error, %path, "cannot remove the folder of an unfinished copy");
    }
}

/// What a folder holds.
fn names(folder: &Path) -> Result<Vec<OsString>> {
    let listed = fs::read_dir(folder).and_then(|listed| listed.map(|entry| Ok(entry?.file_name())).collect());
    listed.map_err(|error| errors::from_io(error, "list", folder))
}

/// Another copy is made in the folder, or was when its process ended.
fn taken(folder: &Path) -> Error {
    Error::invalid_input(format!(
        "in the folder `{}` another copy is being made, or was left unfinished",
        folder.display()
    ))
    .with_hint("wait where it is still being made, else delete the folder; or name another one")
}

/// The canonical path of the nearest ancestor that is there, itself included.
fn nearest(folder: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(folder).ok()?;
    absolute.ancestors().find_map(|ancestor| ancestor.canonicalize().ok())
}

/// Writes a file to the disk.
fn sync(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| errors::from_io(error, "write to the disk", path))
}
