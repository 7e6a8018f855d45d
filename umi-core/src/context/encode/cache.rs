//! [`Cache`]: the parts that were made, kept for the next time, bounded in bytes.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
};

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_128;

use super::{Content, Source};
use crate::{
    context::{kinds::Kind, part::Part},
    error::{Error, Result},
};

/// What parts were made of, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::context) struct Key {
    made_of: MadeOf,
    name: Box<str>,
    media_type: Box<str>,
    kind: Kind,
    encoder: Box<str>,
    options: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum MadeOf {
    /// A file as it is now. Its times and its number tell a file that was replaced by one of the same size.
    File { path: Box<Path>, size: u64, number: u64, modified: (i64, i64), changed: (i64, i64) },
    /// Bytes in memory, by what they are.
    Bytes { hash: u128, size: usize },
    /// Pixels in memory, by what they are.
    Pixels { hash: u128, width: u32, height: u32, channels: u8 },
}

impl Key {
    /// The key of what an encoder makes of a source now.
    pub(in crate::context) fn new(source: &Source<'_>, encoder: &str, options: &str) -> Result<Self> {
        let made_of = match source.content {
            Content::Path(path) => {
                let found = fs::metadata(path).map_err(|cause| Error::file("cannot read", path, cause))?;
                MadeOf::File {
                    path: path.into(),
                    size: found.len(),
                    number: found.ino(),
                    modified: (found.mtime(), found.mtime_nsec()),
                    changed: (found.ctime(), found.ctime_nsec()),
                }
            }
            Content::Bytes(bytes) => MadeOf::Bytes { hash: xxh3_128(bytes), size: bytes.len() },
            Content::Pixels(pixels) => MadeOf::Pixels {
                hash: xxh3_128(pixels.data()),
                width: pixels.width(),
                height: pixels.height(),
                channels: pixels.channels() as u8,
            },
        };
        Ok(Self {
            made_of,
            name: source.name.into(),
            media_type: source.media_type.into(),
            kind: source.kind,
            encoder: encoder.into(),
            options: options.into(),
        })
    }
}

/// Parts by what they were made of. What was used longest ago makes room.
#[derive(Debug)]
pub(in crate::context) struct Cache {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: usize,
    bytes: usize,
    turn: u64,
    entries: HashMap<Arc<Key>, Entry>,
    by_turn: BTreeMap<u64, Arc<Key>>,
}

#[derive(Debug)]
struct Entry {
    parts: Arc<[Part]>,
    bytes: usize,
    turn: u64,
}

impl Cache {
    pub(super) fn new(limit: usize) -> Self {
        let state = State { limit, bytes: 0, turn: 0, entries: HashMap::new(), by_turn: BTreeMap::new() };
        Self { state: Mutex::new(state) }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<[Part]>> {
        let state = &mut *self.state.lock();
        let entry = state.entries.get_mut(key)?;
        let key = state.by_turn.remove(&entry.turn)?;
        state.turn += 1;
        entry.turn = state.turn;
        state.by_turn.insert(state.turn, key);
        Some(entry.parts.clone())
    }

    /// The one text that is kept of something.
    pub(in crate::context) fn caption(&self, key: &Key) -> Option<Arc<str>> {
        match &*self.get(key)? {
            [Part::Text(text)] => Some(Arc::clone(text)),
            _ => None,
        }
    }

    pub(in crate::context) fn insert(&self, key: Key, parts: Arc<[Part]>) {
        let bytes = size_of::<Key>() * 2 + parts.iter().map(Part::footprint).sum::<usize>();
        let mut dropped = Vec::new();
        {
            let state = &mut *self.state.lock();
            if bytes > state.limit {
                return;
            }
            let key = Arc::new(key);
            state.turn += 1;
            let entry = Entry { parts, bytes, turn: state.turn };
            if let Some(old) = state.entries.insert(key.clone(), entry) {
                state.by_turn.remove(&old.turn);
                state.bytes -= old.bytes;
                dropped.push(old);
            }
            state.by_turn.insert(state.turn, key);
            state.bytes += bytes;
            state.make_room(&mut dropped);
        }
        // Outside of the lock: what the bindings keep beside the bytes goes with them.
        drop(dropped);
    }

    /// The bytes that are kept, and how many may be.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.bytes, state.limit)
    }

    pub(super) fn set_limit(&self, limit: usize) {
        let mut dropped = Vec::new();
        {
            let state = &mut *self.state.lock();
            state.limit = limit;
            state.make_room(&mut dropped);
        }
        drop(dropped);
    }

    pub(super) fn clear(&self) {
        let limit = self.bytes().1;
        self.set_limit(0);
        self.set_limit(limit);
    }
}

impl State {
    fn make_room(&mut self, dropped: &mut Vec<Entry>) {
        while self.bytes > self.limit
            && let Some((_, key)) = self.by_turn.pop_first()
        {
            if let Some(entry) = self.entries.remove(&key) {
                self.bytes -= entry.bytes;
                dropped.push(entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(bytes: &[u8]) -> Key {
        let source = Source { name: "a", kind: Kind::Text, media_type: "text/plain", content: Content::Bytes(bytes) };
        Key::new(&source, "text", "{}").unwrap()
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let entry = |text: &str| Arc::from([Part::text(text)]);
        let one = size_of::<Key>() * 2 + 3;
        let cache = Cache::new(one * 2);
        cache.insert(key(b"a"), entry("aaa"));
        cache.insert(key(b"b"), entry("bbb"));
        assert!(cache.get(&key(b"a")).is_some());
        cache.insert(key(b"c"), entry("ccc"));
        assert!(cache.get(&key(b"b")).is_none());
        assert_eq!(cache.get(&key(b"a")).as_deref(), Some(&[Part::text("aaa")][..]));
        assert_eq!(cache.bytes(), (one * 2, one * 2));
        cache.insert(key(b"a"), entry("AAA"));
        assert_eq!(cache.bytes().0, one * 2, "the old entry of a key goes");
        cache.insert(key(b"d"), entry(&"d".repeat(one * 2)));
        assert!(cache.get(&key(b"d")).is_none(), "what alone is over the limit is not kept");
        cache.clear();
        assert_eq!(cache.bytes(), (0, one * 2));
        assert!(cache.get(&key(b"a")).is_none());
    }

    #[test]
    fn another_file_in_the_place_of_one_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let key = || {
            let source =
                Source { name: "a.txt", kind: Kind::Text, media_type: "text/plain", content: Content::Path(&path) };
            Key::new(&source, "text", "{}")
        };
        fs::write(&path, "one").unwrap();
        let before = key().unwrap();
        assert_eq!(before, key().unwrap());
        let other = folder.path().join("b.txt");
        fs::write(&other, "two").unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::File::options().write(true).open(&other).unwrap().set_modified(modified).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_ne!(before, key().unwrap(), "as large, and of the same time");
        fs::remove_file(&path).unwrap();
        assert_eq!(key().unwrap_err().kind(), crate::ErrorKind::File);
    }
}
