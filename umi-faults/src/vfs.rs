//! The layer itself: SQLite's interface to files over the one that it came with.
//!
//! A file of a watched folder is a [`File`] with the real one behind it in the same allocation. Of every other file the
//! real one takes the place, so that this code never sees it again.

#![expect(clippy::cast_possible_wrap, reason = "lengths and offsets that SQLite itself gave as signed numbers")]

use std::{
    ffi::{CStr, OsStr, c_char, c_int, c_void},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    ptr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};

use crate::{
    Failure, FileKind, Operation,
    disk::{self, Part, Verdict, Watched},
};

/// The interface below. It lives as long as the process.
static BELOW: OnceLock<Below> = OnceLock::new();

struct Below(*mut sqlite3_vfs);

// SAFETY: SQLite's own interface is a static that no thread changes; its functions may be called by every thread.
unsafe impl Send for Below {}
// SAFETY: as above.
unsafe impl Sync for Below {}

/// A file as SQLite holds it: the first field is what it knows of.
#[repr(C)]
struct File {
    methods: *const sqlite3_io_methods,
    open: *mut Open,
}

/// What this layer knows of an open file.
struct Open {
    watched: Arc<Watched>,
    path: PathBuf,
    kind: FileKind,
    /// SQLite's own layer syncs the folder with the first sync of a journal or log.
    syncs_folder: AtomicBool,
}

/// The real file of a [`File`], and its methods.
#[derive(Clone, Copy)]
struct Real<'f> {
    file: *mut sqlite3_file,
    methods: &'f sqlite3_io_methods,
}

/// Makes the layer the process's default one.
pub(crate) fn install() {
    BELOW.get_or_init(|| {
        // SAFETY: a null name asks for the default; SQLite starts itself up.
        let below = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
        assert!(!below.is_null(), "SQLite has no access to files");
        // SAFETY: it is a valid structure that is only read; the functions that are kept take nothing from their first
        // argument but what is copied along.
        let copy = unsafe { *below };
        let layer = Box::leak(Box::new(sqlite3_vfs {
            szOsFile: size_of::<File>() as c_int + copy.szOsFile,
            pNext: ptr::null_mut(),
            zName: c"umi-faults".as_ptr(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            ..copy
        }));
        // SAFETY: the structure was leaked, so that it outlives every connection.
        let done = unsafe { ffi::sqlite3_vfs_register(layer, 1) };
        assert_eq!(done, ffi::SQLITE_OK, "SQLite does not take the layer");
        Below(below)
    });
}

fn below() -> Option<*mut sqlite3_vfs> {
    BELOW.get().map(|below| below.0)
}

/// The path of a name that SQLite gives.
///
/// # Safety
/// The name is null or ends with a zero byte.
unsafe fn path_of(name: *const c_char) -> Option<PathBuf> {
    if name.is_null() {
        return None;
    }
    // SAFETY: see above.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes();
    Some(PathBuf::from(OsStr::from_bytes(bytes)))
}

fn kind_of(flags: c_int) -> FileKind {
    if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 {
        FileKind::Database
    } else if flags & ffi::SQLITE_OPEN_WAL != 0 {
        FileKind::Wal
    } else if flags & ffi::SQLITE_OPEN_MAIN_JOURNAL != 0 {
        FileKind::Journal
    } else {
        FileKind::Other
    }
}

fn code(failure: Failure, own: c_int) -> c_int {
    match failure {
        Failure::Io => own,
        Failure::Full => ffi::SQLITE_FULL,
    }
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let Some(below) = below() else { return ffi::SQLITE_CANTOPEN };
    // SAFETY: the interface below is valid for ever, and lets a file be opened by its one function.
    let Some(open_below) = (unsafe { (*below).xOpen }) else { return ffi::SQLITE_CANTOPEN };
    // SAFETY: SQLite gives a null name or one that ends with zero.
    let path = unsafe { path_of(name) };
    let Some((path, watched)) = path.and_then(|path| disk::watching(&path).map(|watched| (path, watched))) else {
        // SAFETY: the arguments are SQLite's own, and the memory is larger than what the layer below asks for.
        return unsafe { open_below(below, name, file, flags, out_flags) };
    };
    let own = file.cast::<File>();
    // SAFETY: SQLite gives memory of `szOsFile` bytes for the file; without methods it takes it as not open.
    unsafe { (*own).methods = ptr::null() };
    let kind = kind_of(flags);
    let mut state = watched.lock();
    let verdict = state.verdict(kind, Operation::Open);
    if let Verdict::Fail(failure) | Verdict::FailAfter(failure, _) = verdict {
        let own = if state.is_off { ffi::SQLITE_IOERR } else { ffi::SQLITE_CANTOPEN };
        state.note(kind, Operation::Open, 0, 0, true);
        return code(failure, own);
    }
    let existed = path.exists();
    // SAFETY: the real file's memory lies behind `File`, in what SQLite gave; the name lives as long as the file.
    let done = unsafe { open_below(below, name, real_file(file), flags, out_flags) };
    if done == ffi::SQLITE_OK {
        state.opened(&path, kind, existed);
    }
    state.note(kind, Operation::Open, 0, 0, done != ffi::SQLITE_OK);
    drop(state);
    // SAFETY: the layer below sets the methods of its file, or leaves null.
    let is_open = unsafe { !(*real_file(file)).pMethods.is_null() };
    if done == ffi::SQLITE_OK && is_open {
        let syncs_folder = flags & ffi::SQLITE_OPEN_CREATE != 0 && matches!(kind, FileKind::Wal | FileKind::Journal);
        let open = Box::new(Open { watched, path, kind, syncs_folder: AtomicBool::new(syncs_folder) });
        // SAFETY: as above; `close` takes the box back.
        unsafe {
            (*own).open = Box::into_raw(open);
            (*own).methods = &raw const METHODS;
        }
    }
    done
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, name: *const c_char, sync_folder: c_int) -> c_int {
    let Some(below) = below() else { return ffi::SQLITE_IOERR_DELETE };
    // SAFETY: as in `open`.
    let Some(delete_below) = (unsafe { (*below).xDelete }) else { return ffi::SQLITE_IOERR_DELETE };
    // SAFETY: as in `open`.
    let Some(path) = (unsafe { path_of(name) }) else { return ffi::SQLITE_IOERR_DELETE };
    let Some(watched) = disk::watching(&path) else {
        // SAFETY: the arguments are SQLite's own.
        return unsafe { delete_below(below, name, sync_folder) };
    };
    let kind = kind_of_name(&path);
    let mut state = watched.lock();
    let verdict = state.verdict(kind, Operation::Delete);
    let failure = match verdict {
        Verdict::Fail(failure) => {
            state.note(kind, Operation::Delete, 0, 0, true);
            return code(failure, ffi::SQLITE_IOERR_DELETE);
        }
        Verdict::FailAfter(failure, _) => Some(failure),
        Verdict::Pass => None,
    };
    // A file that cannot be read cannot be brought back either; the layer below then says what is wrong with it.
    let bytes = std::fs::read(&path).unwrap_or_default();
    // SAFETY: as above.
    let done = unsafe { delete_below(below, name, 0) };
    if done == ffi::SQLITE_OK {
        state.deleted(&path, bytes);
        if sync_folder != 0 && failure.is_none() {
            state.folder_synced(&path);
        }
    }
    state.note(kind, Operation::Delete, 0, 0, failure.is_some() || done != ffi::SQLITE_OK);
    failure.map_or(done, |failure| code(failure, ffi::SQLITE_IOERR_DELETE))
}

/// What a file is by its name, where SQLite does not say.
fn kind_of_name(path: &Path) -> FileKind {
    match path.as_os_str().as_bytes() {
        name if name.ends_with(b"-wal") => FileKind::Wal,
        name if name.ends_with(b"-journal") => FileKind::Journal,
        _ => FileKind::Other,
    }
}

unsafe extern "C" fn access(_: *mut sqlite3_vfs, name: *const c_char, flags: c_int, out: *mut c_int) -> c_int {
    let Some(below) = below() else { return ffi::SQLITE_IOERR_ACCESS };
    // SAFETY: as in `open`.
    let Some(access_below) = (unsafe { (*below).xAccess }) else { return ffi::SQLITE_IOERR_ACCESS };
    // SAFETY: as in `open`.
    let path = unsafe { path_of(name) };
    if path.and_then(|path| disk::watching(&path)).is_some_and(|watched| watched.lock().is_off) {
        return ffi::SQLITE_IOERR_ACCESS;
    }
    // SAFETY: the arguments are SQLite's own.
    unsafe { access_below(below, name, flags, out) }
}

/// Where the real file lies.
///
/// # Safety
/// `file` is one of this layer's.
unsafe fn real_file(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: `szOsFile` asks for the memory of both; `File` is as long as two pointers, so that what follows it is
    // aligned as SQLite aligns a file.
    unsafe { file.cast::<File>().add(1).cast() }
}

/// An open file of this layer, and the real one.
///
/// # Safety
/// `open` has opened `file`, and `close` has not closed it; the answer is used during one call of SQLite.
unsafe fn parts<'f>(file: *mut sqlite3_file) -> (&'f Open, Real<'f>) {
    // SAFETY: `open` has set both before it gave the methods that lead here.
    unsafe {
        let real = real_file(file);
        (&*(*file.cast::<File>()).open, Real { file: real, methods: &*(*real).pMethods })
    }
}

impl Real<'_> {
    fn length(self) -> Result<usize, c_int> {
        let Some(size) = self.methods.xFileSize else { return Err(ffi::SQLITE_IOERR_FSTAT) };
        let mut length: sqlite3_int64 = 0;
        // SAFETY: the real file is open.
        match unsafe { size(self.file, &raw mut length) } {
            ffi::SQLITE_OK => usize::try_from(length).map_err(|_| ffi::SQLITE_IOERR_FSTAT),
            error => Err(error),
        }
    }

    /// The bytes from `offset` to `end`, which lie in the file.
    fn read(self, offset: usize, end: usize) -> Result<Vec<u8>, c_int> {
        let mut bytes = vec![0; end.saturating_sub(offset)];
        let Some(read) = self.methods.xRead else { return Err(ffi::SQLITE_IOERR_READ) };
        // Whatever is asked for at once is as long as a page, except for what a truncated file loses.
        for (index, part) in bytes.chunks_mut(1 << 20).enumerate() {
            let at = (offset + (index << 20)) as sqlite3_int64;
            // SAFETY: the real file is open, and the memory as long as is said.
            match unsafe { read(self.file, part.as_mut_ptr().cast(), part.len() as c_int, at) } {
                ffi::SQLITE_OK => {}
                error => return Err(error),
            }
        }
        Ok(bytes)
    }

    fn write(self, offset: usize, bytes: &[u8]) -> Result<(), c_int> {
        let Some(write) = self.methods.xWrite else { return Err(ffi::SQLITE_IOERR_WRITE) };
        // SAFETY: as above.
        match unsafe { write(self.file, bytes.as_ptr().cast(), bytes.len() as c_int, offset as sqlite3_int64) } {
            ffi::SQLITE_OK => Ok(()),
            error => Err(error),
        }
    }

    fn truncate(self, length: usize) -> Result<(), c_int> {
        let Some(truncate) = self.methods.xTruncate else { return Err(ffi::SQLITE_IOERR_TRUNCATE) };
        // SAFETY: as above.
        match unsafe { truncate(self.file, length as sqlite3_int64) } {
            ffi::SQLITE_OK => Ok(()),
            error => Err(error),
        }
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file that `open` has opened, once.
    unsafe {
        let real = real_file(file);
        let done = (*(*real).pMethods).xClose.map_or(ffi::SQLITE_OK, |close| close(real));
        let own = file.cast::<File>();
        let open = Box::from_raw((*own).open);
        (*own).methods = ptr::null();
        (*own).open = ptr::null_mut();
        open.watched.lock().open_files -= 1;
        done
    }
}

unsafe extern "C" fn read(file: *mut sqlite3_file, into: *mut c_void, bytes: c_int, offset: sqlite3_int64) -> c_int {
    // SAFETY: SQLite calls it with an open file.
    let (open, real) = unsafe { parts(file) };
    let mut state = open.watched.lock();
    if let Verdict::Fail(failure) | Verdict::FailAfter(failure, _) = state.verdict(open.kind, Operation::Read) {
        state.note(open.kind, Operation::Read, offset.cast_unsigned(), u64::from(bytes.cast_unsigned()), true);
        return code(failure, ffi::SQLITE_IOERR_READ);
    }
    drop(state);
    let Some(read_below) = real.methods.xRead else { return ffi::SQLITE_IOERR_READ };
    // SAFETY: the arguments are SQLite's own.
    unsafe { read_below(real.file, into, bytes, offset) }
}

unsafe extern "C" fn write(file: *mut sqlite3_file, from: *const c_void, bytes: c_int, offset: sqlite3_int64) -> c_int {
    // SAFETY: SQLite calls it with an open file.
    let (open, real) = unsafe { parts(file) };
    let (Ok(length), Ok(at)) = (usize::try_from(bytes), usize::try_from(offset)) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    // SAFETY: SQLite gives so many bytes.
    let new = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), length) };
    let mut state = open.watched.lock();
    let (part, failure) = match state.verdict(open.kind, Operation::Write) {
        Verdict::Pass => (new, None),
        Verdict::Fail(failure) => (&new[..0], Some(failure)),
        Verdict::FailAfter(failure, Part::Half) => (&new[..length / 2], Some(failure)),
        Verdict::FailAfter(failure, Part::All) => (new, Some(failure)),
    };
    let mut done = Ok(());
    if !part.is_empty() {
        done = real.length().and_then(|before| {
            let old = real.read(at, (at + part.len()).min(before))?;
            real.write(at, part)?;
            if let Some(changes) = state.changes(&open.path) {
                changes.written(before, at, old, part.to_vec());
            }
            Ok(())
        });
    }
    let done = failure.map_or(done, |failure| Err(code(failure, ffi::SQLITE_IOERR_WRITE)));
    state.note(open.kind, Operation::Write, at as u64, length as u64, done.is_err());
    done.err().unwrap_or(ffi::SQLITE_OK)
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    // SAFETY: SQLite calls it with an open file.
    let (open, real) = unsafe { parts(file) };
    let Ok(length) = usize::try_from(size) else { return ffi::SQLITE_IOERR_TRUNCATE };
    let mut state = open.watched.lock();
    let (is_done, failure) = match state.verdict(open.kind, Operation::Truncate) {
        Verdict::Pass => (true, None),
        Verdict::Fail(failure) => (false, Some(failure)),
        Verdict::FailAfter(failure, _) => (true, Some(failure)),
    };
    let mut done = Ok(());
    if is_done {
        done = real.length().and_then(|before| {
            let tail = real.read(length, before)?;
            real.truncate(length)?;
            if let Some(changes) = state.changes(&open.path) {
                changes.truncated(before, length, tail);
            }
            Ok(())
        });
    }
    let done = failure.map_or(done, |failure| Err(code(failure, ffi::SQLITE_IOERR_TRUNCATE)));
    state.note(open.kind, Operation::Truncate, length as u64, 0, done.is_err());
    done.err().unwrap_or(ffi::SQLITE_OK)
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite calls it with an open file.
    let (open, _) = unsafe { parts(file) };
    let mut state = open.watched.lock();
    let verdict = state.verdict(open.kind, Operation::Sync);
    let failure = match verdict {
        Verdict::Pass => None,
        Verdict::Fail(failure) | Verdict::FailAfter(failure, _) => Some(failure),
    };
    if let Some(changes) = state.changes(&open.path) {
        if failure.is_some() {
            changes.sync_failed();
        } else {
            changes.synced();
        }
    }
    if failure.is_none() && open.syncs_folder.swap(false, Ordering::Relaxed) {
        state.folder_synced(&open.path);
    }
    state.note(open.kind, Operation::Sync, 0, 0, failure.is_some());
    // SQLite's own layer tells every sync that fails like this, the one that finds no space too.
    if failure.is_some() { ffi::SQLITE_IOERR_FSYNC } else { ffi::SQLITE_OK }
}

/// A method that the real file does, and that fails while the power is off.
macro_rules! delegate {
    ($name:ident, $method:ident, $off:expr, ($($argument:ident: $of:ty),*)) => {
        unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $argument: $of)*) -> c_int {
            // SAFETY: SQLite calls it with an open file.
            let (open, real) = unsafe { parts(file) };
            let off: Option<c_int> = $off;
            if let Some(off) = off && open.watched.lock().is_off {
                return off;
            }
            let Some(method) = real.methods.$method else { return ffi::SQLITE_ERROR };
            // SAFETY: the arguments are SQLite's own.
            unsafe { method(real.file $(, $argument)*) }
        }
    };
}

delegate!(file_size, xFileSize, Some(ffi::SQLITE_IOERR_FSTAT), (size: *mut sqlite3_int64));
delegate!(lock, xLock, Some(ffi::SQLITE_IOERR_LOCK), (level: c_int));
delegate!(unlock, xUnlock, None, (level: c_int));
delegate!(check_reserved_lock, xCheckReservedLock, Some(ffi::SQLITE_IOERR_CHECKRESERVEDLOCK), (out: *mut c_int));
delegate!(file_control, xFileControl, None, (operation: c_int, argument: *mut c_void));
delegate!(sector_size, xSectorSize, None, ());
delegate!(device_characteristics, xDeviceCharacteristics, None, ());
delegate!(shm_map, xShmMap, Some(ffi::SQLITE_IOERR_SHMMAP),
    (page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void));
delegate!(shm_lock, xShmLock, (flags & ffi::SQLITE_SHM_UNLOCK == 0).then_some(ffi::SQLITE_IOERR_SHMLOCK),
    (offset: c_int, count: c_int, flags: c_int));
delegate!(shm_unmap, xShmUnmap, None, (delete: c_int));

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    // SAFETY: SQLite calls it with an open file.
    let (_, real) = unsafe { parts(file) };
    if let Some(barrier) = real.methods.xShmBarrier {
        // SAFETY: the real file is open.
        unsafe { barrier(real.file) };
    }
}

/// Version 2 has shared memory and no memory maps, which would go around the layer.
static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
