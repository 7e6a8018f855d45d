//! Which folders the process syncs, because a name in a folder outlasts a loss of power only after that.
//!
//! The engine syncs folders through the standard library and SQLite through its own layer, and both by the C library's
//! function, in whose place the linker takes this one.

use std::{ffi::c_int, path::PathBuf};

use parking_lot::Mutex;

static SYNCED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// The folders that the process has synced since the last call, in order.
pub fn take_synced_folders() -> Vec<PathBuf> {
    std::mem::take(&mut SYNCED.lock())
}

unsafe extern "C" {
    /// The C library's, which for a folder does the same.
    fn fdatasync(descriptor: c_int) -> c_int;
}

// SAFETY: it has the type of the C library's function and does what that does, short of a file's times.
#[unsafe(no_mangle)]
extern "C" fn fsync(descriptor: c_int) -> c_int {
    if let Ok(path) = std::fs::read_link(format!("/proc/self/fd/{descriptor}"))
        && path.is_dir()
    {
        SYNCED.lock().push(path);
    }
    // SAFETY: the caller answers for the descriptor, as it does to the C library.
    unsafe { fdatasync(descriptor) }
}
