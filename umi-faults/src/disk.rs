//! A watched folder: its fault, its events, and what of its files is not durable yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Weak},
};

use parking_lot::{Mutex, MutexGuard};

use crate::{
    Event, Failure, Fault, FileKind, Operation,
    random::Random,
    unsynced::{CHANCES, Changes, Luck},
};

/// The folders whose handles live.
static FOLDERS: LazyLock<Mutex<Vec<Weak<Watched>>>> = LazyLock::new(Mutex::default);

#[derive(Debug)]
pub(crate) struct Watched {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) events: Vec<Event>,
    pub(crate) is_off: bool,
    pub(crate) open_files: usize,
    fault: Option<Armed>,
    files: BTreeMap<PathBuf, Name>,
    databases: BTreeSet<PathBuf>,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    passed: u64,
    failed: u64,
}

/// What a name led to since its folder was last synced, the present last.
#[derive(Debug)]
struct Name(Vec<Content>);

#[derive(Debug)]
enum Content {
    Absent,
    Present(Changes),
    Deleted(Changes, Vec<u8>),
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    /// It fails, and nothing is done.
    Fail(Failure),
    /// It fails, and a half or all of it is done.
    FailAfter(Failure, Part),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Half,
    All,
}

/// The watched folder of a handle, made on first use.
pub(crate) fn watch(folder: &Path) -> Arc<Watched> {
    let folder = folder.canonicalize().unwrap_or_else(|error| panic!("cannot watch {}: {error}", folder.display()));
    let mut folders = FOLDERS.lock();
    folders.retain(|known| known.strong_count() > 0);
    if let Some(known) = folders.iter().filter_map(Weak::upgrade).find(|known| known.folder == folder) {
        return known;
    }
    let watched = Arc::new(Watched { folder, state: Mutex::default() });
    folders.push(Arc::downgrade(&watched));
    watched
}

/// The watched folder that a file lies in.
pub(crate) fn watching(file: &Path) -> Option<Arc<Watched>> {
    FOLDERS.lock().iter().filter_map(Weak::upgrade).find(|watched| file.starts_with(&watched.folder))
}

impl Watched {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    pub(crate) fn arm(&mut self, fault: Fault) {
        self.fault = Some(Armed { fault, passed: 0, failed: 0 });
    }

    pub(crate) fn disarm(&mut self) -> bool {
        self.fault.take().is_some_and(|armed| armed.failed > 0)
    }

    /// Decides about an operation that is about to be done.
    pub(crate) fn verdict(&mut self, file: FileKind, operation: Operation) -> Verdict {
        if self.is_off {
            return Verdict::Fail(Failure::Io);
        }
        let Some(armed) = &mut self.fault else { return Verdict::Pass };
        let fault = armed.fault;
        let is_change = matches!(operation, Operation::Write | Operation::Sync | Operation::Truncate);
        if fault.operation.map_or(!is_change, |named| named != operation)
            || fault.file.is_some_and(|named| named != file)
        {
            return Verdict::Pass;
        }
        if armed.passed < fault.after {
            armed.passed += 1;
            return Verdict::Pass;
        }
        if armed.failed >= fault.count {
            return Verdict::Pass;
        }
        armed.failed += 1;
        self.is_off = fault.power_off;
        let changes = matches!(operation, Operation::Write | Operation::Truncate | Operation::Delete);
        if fault.short && operation == Operation::Write {
            Verdict::FailAfter(fault.failure, Part::Half)
        } else if fault.power_off && changes {
            Verdict::FailAfter(fault.failure, Part::All)
        } else {
            Verdict::Fail(fault.failure)
        }
    }

    pub(crate) fn note(&mut self, file: FileKind, operation: Operation, offset: u64, bytes: u64, failed: bool) {
        self.events.push(Event { file, operation, offset, bytes, failed });
    }

    /// A file was opened. `existed` tells whether it was there before.
    pub(crate) fn opened(&mut self, path: &Path, kind: FileKind, existed: bool) {
        self.open_files += 1;
        if kind == FileKind::Database {
            self.databases.insert(path.to_owned());
        }
        let name = self.files.entry(path.to_owned()).or_insert_with(|| {
            // Its maker may be another than SQLite: what is there is taken as durable.
            Name(vec![if existed { Content::Present(Changes::default()) } else { Content::Absent }])
        });
        if !existed {
            // Somebody else may have deleted it.
            if matches!(name.0.last(), Some(Content::Present(_))) {
                name.0 = vec![Content::Absent];
            }
            name.0.push(Content::Present(Changes::default()));
        } else if !matches!(name.0.last(), Some(Content::Present(_))) {
            name.0 = vec![Content::Present(Changes::default())];
        }
    }

    /// The changes of a file that is there.
    pub(crate) fn changes(&mut self, path: &Path) -> Option<&mut Changes> {
        match self.files.get_mut(path)?.0.last_mut()? {
            Content::Present(changes) => Some(changes),
            Content::Absent | Content::Deleted(..) => None,
        }
    }

    /// A file was deleted that had these bytes.
    pub(crate) fn deleted(&mut self, path: &Path, bytes: Vec<u8>) {
        let name =
            self.files.entry(path.to_owned()).or_insert_with(|| Name(vec![Content::Present(Changes::default())]));
        if let Some(last) = name.0.last_mut()
            && let Content::Present(changes) = last
        {
            *last = Content::Deleted(std::mem::take(changes), bytes);
        }
        name.0.push(Content::Absent);
    }

    /// The names in the folder of a file are durable.
    pub(crate) fn folder_synced(&mut self, file: &Path) {
        for (path, name) in &mut self.files {
            if path.parent() == file.parent() {
                let present = name.0.len() - 1;
                name.0.drain(..present);
            }
        }
    }

    /// Makes of the files what a power cut leaves of them.
    pub(crate) fn restore(&mut self, seed: u64) {
        assert_eq!(self.open_files, 0, "files are still open while the power comes back");
        let mut random = Random::new(seed);
        let luck = match random.below(6) {
            0 => Luck::Everything,
            1 => Luck::Nothing,
            drawn => Luck::Some(CHANCES * drawn / 6),
        };
        for (path, name) in std::mem::take(&mut self.files) {
            restore_file(&path, &name, luck, &mut random)
                .unwrap_or_else(|error| panic!("cannot restore {}: {error}", path.display()));
        }
        for database in std::mem::take(&mut self.databases) {
            remove(&suffixed(&database, "-shm"))
                .unwrap_or_else(|error| panic!("cannot remove the index of {}: {error}", database.display()));
        }
        self.is_off = false;
        self.fault = None;
    }
}

fn restore_file(path: &Path, name: &Name, luck: Luck, random: &mut Random) -> std::io::Result<()> {
    let last = name.0.len() - 1;
    let chosen = match luck {
        Luck::Everything => last,
        Luck::Nothing => 0,
        Luck::Some(_) if last == 0 => 0,
        Luck::Some(_) => usize::try_from(random.below(name.0.len() as u64)).unwrap_or(last),
    };
    match &name.0[chosen] {
        Content::Absent => remove(path),
        Content::Deleted(changes, bytes) => {
            let mut bytes = bytes.clone();
            changes.cut(&mut bytes, luck, random);
            std::fs::write(path, bytes)
        }
        Content::Present(changes) => match std::fs::read(path) {
            Ok(mut bytes) => {
                let before = bytes.clone();
                changes.cut(&mut bytes, luck, random);
                if bytes == before { Ok(()) } else { std::fs::write(path, bytes) }
            }
            // Somebody else has deleted it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        },
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
