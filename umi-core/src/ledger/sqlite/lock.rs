//! The fair lock of writers across processes: two files, `umi.queue` and `umi.lock`.
//!
//! Who wants to write takes the queue, then the lock, then leaves the queue. A writer that has just released the lock
//! finds the queue held by the one who waits, so that it cannot barge past it.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::errors;
use crate::error::Result;

/// The longest sleep between two tries.
const LONGEST_NAP: Duration = Duration::from_millis(1);

/// The two open lock files. A process keeps exactly one of these a store, because closing any descriptor of a file
/// drops the process's record locks on it.
#[derive(Debug)]
pub(super) struct WriterLock {
    queue: File,
    writer: File,
    folder: PathBuf,
    deadline: Duration,
}

/// Releases the lock when it goes.
#[derive(Debug)]
pub(super) struct Held<'lock> {
    lock: &'lock WriterLock,
}

impl WriterLock {
    /// Opens the two files of `folder` and makes them where they are missing.
    pub(super) fn open(folder: &Path, deadline: Duration) -> Result<Self> {
        let open = |name: &str| {
            let path = folder.join(name);
            private(OpenOptions::new().read(true).write(true).create(true).truncate(false))
                .open(&path)
                .map_err(|error| errors::from_io(error, "open", &path))
        };
        Ok(Self { queue: open("umi.queue")?, writer: open("umi.lock")?, folder: folder.to_owned(), deadline })
    }

    /// Opens the two files where they are there and may be written: without them nobody writes.
    pub(super) fn existing(folder: &Path, deadline: Duration) -> Result<Option<Self>> {
        let open = |name: &str| {
            let path = folder.join(name);
            match OpenOptions::new().read(true).write(true).open(&path) {
                Ok(file) => Ok(Some(file)),
                Err(error) => match error.kind() {
                    // Where this process may not write, it cannot wait for those that may.
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                        Ok(None)
                    }
                    _ => Err(errors::from_io(error, "open", &path)),
                },
            }
        };
        let (Some(queue), Some(writer)) = (open("umi.queue")?, open("umi.lock")?) else { return Ok(None) };
        Ok(Some(Self { queue, writer, folder: folder.to_owned(), deadline }))
    }

    /// Waits for the lock until the deadline, or until `stop` is set.
    pub(super) fn acquire(&self, stop: &AtomicBool) -> Result<Held<'_>> {
        let waiting = Waiting { began: now(), lock: self, stop };
        waiting.take(&self.queue)?;
        let taken = waiting.take(&self.writer);
        release(&self.queue);
        taken.map(|()| Held { lock: self })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        release(&self.lock.writer);
    }
}

struct Waiting<'lock> {
    began: Instant,
    lock: &'lock WriterLock,
    stop: &'lock AtomicBool,
}

impl Waiting<'_> {
    fn take(&self, file: &File) -> Result<()> {
        let mut nap = Duration::from_micros(50);
        loop {
            if try_lock(file).map_err(|error| errors::from_io(error, "lock", &self.lock.folder))? {
                return Ok(());
            }
            if self.stop.load(Ordering::Relaxed) || now().duration_since(self.began) >= self.lock.deadline {
                return Err(errors::locked(&self.lock.folder.display().to_string()));
            }
            std::thread::sleep(nap);
            nap = (nap * 2).min(LONGEST_NAP);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how long something is waited for or holds, which no result depends on")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Gives a file that is made by these options to its owner alone.
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Record locks: a forked child does not inherit them.
#[cfg(unix)]
fn try_lock(file: &File) -> io::Result<bool> {
    use rustix::{fs::FlockOperation, io::Errno};
    match rustix::fs::fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS | Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

fn release(file: &File) {
    #[cfg(unix)]
    let released = rustix::fs::fcntl_lock(file, rustix::fs::FlockOperation::Unlock).map_err(io::Error::from);
    #[cfg(not(unix))]
    let released = file.unlock();
    if let Err(error) = released {
        // Closing the file releases it too; nothing that was written is in doubt.
        tracing::warn!(target: "umi::ledger", %error, "cannot release the write lock");
    }
}
