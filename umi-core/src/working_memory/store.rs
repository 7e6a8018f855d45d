//! [`WorkingMemory`]: the stand-alone store.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, binary_heap::PeekMut},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use super::{TimeToLive, WorkingLimits, add, admit, parse_number};
use crate::error::Result;

/// Outdated deadlines that are tolerated beside the live ones before the queue is rebuilt.
const SPARE_DEADLINES: usize = 64;

/// A key-value store of bytes in memory, each with a time to live.
///
/// It has no clock: every method that needs the time takes it. What has expired counts for nothing and never makes a
/// write fail.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use umi_core::{TimeToLive, WorkingLimits, WorkingMemory};
/// let now = jiff::Timestamp::UNIX_EPOCH;
/// let mut working = WorkingMemory::new(WorkingLimits::default());
/// working.set("draft", b"Dear", Some(TimeToLive::For(Duration::from_secs(60))), now)?;
/// assert_eq!(working.append("draft", b" Ann", None, now)?, 8);
/// assert_eq!(working.get("draft", now), Some(&b"Dear Ann"[..]));
/// assert_eq!(working.get("draft", now + Duration::from_secs(60)), None);
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct WorkingMemory {
    limits: WorkingLimits,
    entries: HashMap<Arc<str>, Entry>,
    /// Keys and values of `entries`, in bytes.
    bytes: usize,
    /// For every entry that expires a time that is not after its deadline, earliest first, among some outdated ones.
    /// A deadline that moves back is queued again when its earlier time comes, so that a rewrite costs nothing here.
    deadlines: BinaryHeap<Reverse<Deadline>>,
    last_stamp: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    key: Arc<str>,
    value: Vec<u8>,
    ttl: TimeToLive,
    expires_at: Option<Timestamp>,
    /// Its place in the queue.
    queued: Option<Queued>,
}

#[derive(Clone, Copy, Debug)]
struct Queued {
    at: Timestamp,
    /// Tells it from outdated places of the same key.
    stamp: u64,
}

impl Entry {
    fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    fn bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }

    fn is_queued_as(&self, stamp: u64) -> bool {
        self.queued.is_some_and(|queued| queued.stamp == stamp)
    }

    /// Takes a place in the queue, unless it has one that is early enough.
    fn queue(&mut self, stamp: u64, deadlines: &mut BinaryHeap<Reverse<Deadline>>) {
        let Some(at) = self.expires_at else { return };
        if self.queued.is_none_or(|queued| at < queued.at) {
            self.queued = Some(Queued { at, stamp });
            deadlines.push(Reverse(Deadline { at, stamp, key: Arc::clone(&self.key) }));
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Deadline {
    at: Timestamp,
    stamp: u64,
    key: Arc<str>,
}

impl WorkingMemory {
    /// An empty working memory.
    pub fn new(limits: WorkingLimits) -> Self {
        Self { limits, entries: HashMap::new(), bytes: 0, deadlines: BinaryHeap::new(), last_stamp: 0 }
    }

    /// The limits.
    pub fn limits(&self) -> &WorkingLimits {
        &self.limits
    }

    /// Writes a value that lives for `ttl` from now on, or for the default where it is none.
    ///
    /// # Errors
    /// `InvalidInput` for an empty or too long key or a time to live out of range; `Capacity` when it does not fit.
    /// Nothing has changed then.
    pub fn set(&mut self, key: &str, value: &[u8], ttl: Option<TimeToLive>, now: Timestamp) -> Result<()> {
        let ttl = ttl.unwrap_or(self.limits.default_ttl);
        self.admit(key, value.len(), Some(ttl), now)?;
        self.write(key, value.to_vec(), Some(ttl), now);
        Ok(())
    }

    /// A live value.
    pub fn get(&self, key: &str, now: Timestamp) -> Option<&[u8]> {
        self.live(key, now).map(|entry| entry.value.as_slice())
    }

    /// Whether a key is live.
    pub fn exists(&self, key: &str, now: Timestamp) -> bool {
        self.live(key, now).is_some()
    }

    /// How long a live key still lives.
    pub fn ttl(&self, key: &str, now: Timestamp) -> Option<TimeToLive> {
        self.live(key, now).map(|entry| match entry.expires_at {
            None => TimeToLive::Forever,
            // a live entry's deadline lies ahead, so the difference is never negative
            Some(end) => TimeToLive::For(Duration::try_from(end.duration_since(now)).unwrap_or_default()),
        })
    }

    /// The live keys, sorted.
    pub fn keys(&self, now: Timestamp) -> Vec<String> {
        let mut keys: Vec<String> =
            self.entries.values().filter(|entry| entry.is_live(now)).map(|entry| entry.key.to_string()).collect();
        keys.sort_unstable();
        keys
    }

    /// Deletes a key. Gives whether it was live.
    pub fn delete(&mut self, key: &str, now: Timestamp) -> bool {
        let removed = self.entries.remove(key);
        if let Some(entry) = &removed {
            self.bytes -= entry.bytes();
        }
        self.drop_outdated_deadlines();
        removed.is_some_and(|entry| entry.is_live(now))
    }

    /// Adds to a decimal number and gives the sum; a key that is not live counts as 0.
    ///
    /// Without `ttl` a live key expires when it would have, and a new one gets the default.
    ///
    /// # Errors
    /// As [`WorkingMemory::set`]; `InvalidInput` also when the value is no number or the sum does not fit into 64 bits.
    pub fn incr(&mut self, key: &str, delta: i64, ttl: Option<TimeToLive>, now: Timestamp) -> Result<i64> {
        let old = self.get(key, now).map(parse_number).transpose()?;
        let sum = add(old.unwrap_or(0), delta)?;
        let digits = sum.to_string().into_bytes();
        self.admit(key, digits.len(), ttl, now)?;
        self.write(key, digits, ttl, now);
        Ok(sum)
    }

    /// Puts bytes behind a value and gives its new length; a key that is not live counts as empty.
    ///
    /// Without `ttl` a live key expires when it would have, and a new one gets the default.
    ///
    /// # Errors
    /// As [`WorkingMemory::set`].
    pub fn append(&mut self, key: &str, value: &[u8], ttl: Option<TimeToLive>, now: Timestamp) -> Result<usize> {
        let length = self.get(key, now).map_or(0, <[u8]>::len) + value.len();
        self.admit(key, length, ttl, now)?;
        let mut whole = self.entries.get_mut(key).map(|entry| std::mem::take(&mut entry.value)).unwrap_or_default();
        self.bytes -= whole.len();
        whole.extend_from_slice(value);
        self.write(key, whole, ttl, now);
        Ok(length)
    }

    /// Lets a live key's time to live begin anew, with `ttl` or its own. Gives whether the key was live.
    ///
    /// # Errors
    /// `InvalidInput` for a key or a time to live that no write would accept.
    pub fn touch(&mut self, key: &str, ttl: Option<TimeToLive>, now: Timestamp) -> Result<bool> {
        super::check_key(&self.limits, key)?;
        ttl.map_or(Ok(()), TimeToLive::check)?;
        self.cleanup_expired(now);
        let Some(entry) = self.entries.get_mut(key) else { return Ok(false) };
        let (ttl, value) = (ttl.unwrap_or(entry.ttl), std::mem::take(&mut entry.value));
        self.bytes -= value.len();
        self.write(key, value, Some(ttl), now);
        Ok(true)
    }

    /// Drops what has expired and gives how many keys that were. Writes do it too.
    pub fn cleanup_expired(&mut self, now: Timestamp) -> usize {
        let mut dropped = 0;
        while let Some(Deadline { stamp, key, .. }) = self.pop_due(now) {
            let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.is_queued_as(stamp)) else { continue };
            entry.queued = None;
            if entry.is_live(now) {
                self.last_stamp += 1;
                entry.queue(self.last_stamp, &mut self.deadlines);
            } else if let Some(entry) = self.entries.remove(&key) {
                self.bytes -= entry.bytes();
                dropped += 1;
            }
        }
        dropped
    }

    fn pop_due(&mut self, now: Timestamp) -> Option<Deadline> {
        let earliest = self.deadlines.peek_mut().filter(|earliest| earliest.0.at <= now)?;
        Some(PeekMut::pop(earliest).0)
    }

    /// Deletes every key.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.deadlines.clear();
        self.bytes = 0;
    }

    /// The bytes of live keys and values.
    pub fn used_bytes(&self, now: Timestamp) -> usize {
        if self.all_are_live(now) { self.bytes } else { self.live_entries(now).map(Entry::bytes).sum() }
    }

    /// The bytes of keys and values that still fit.
    pub fn available_bytes(&self, now: Timestamp) -> usize {
        self.limits.max_bytes.saturating_sub(self.used_bytes(now))
    }

    /// The number of live keys.
    pub fn entry_count(&self, now: Timestamp) -> usize {
        if self.all_are_live(now) { self.entries.len() } else { self.live_entries(now).count() }
    }

    /// Whether no key is live.
    pub fn is_empty(&self, now: Timestamp) -> bool {
        self.entry_count(now) == 0
    }

    fn live(&self, key: &str, now: Timestamp) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.is_live(now))
    }

    fn live_entries(&self, now: Timestamp) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(move |entry| entry.is_live(now))
    }

    fn all_are_live(&self, now: Timestamp) -> bool {
        self.deadlines.peek().is_none_or(|Reverse(deadline)| deadline.at > now)
    }

    /// Makes room of what has expired, then checks a write. After it every entry is live.
    fn admit(&mut self, key: &str, value_len: usize, ttl: Option<TimeToLive>, now: Timestamp) -> Result<()> {
        ttl.map_or(Ok(()), TimeToLive::check)?;
        self.cleanup_expired(now);
        let old_value_len = self.entries.get(key).map(|entry| entry.value.len());
        admit(&self.limits, self.bytes, self.entries.len(), old_value_len, key, value_len)
    }

    /// Writes an admitted value. A time to live of none keeps a live key's deadline.
    fn write(&mut self, key: &str, value: Vec<u8>, ttl: Option<TimeToLive>, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(key) {
            self.bytes = self.bytes - entry.value.len() + value.len();
            entry.value = value;
            if let Some(ttl) = ttl {
                (entry.ttl, entry.expires_at) = (ttl, ttl.expires_at(now));
                self.last_stamp += 1;
                entry.queue(self.last_stamp, &mut self.deadlines);
            }
            self.drop_outdated_deadlines();
        } else {
            let ttl = ttl.unwrap_or(self.limits.default_ttl);
            let mut entry = Entry { key: key.into(), value, ttl, expires_at: ttl.expires_at(now), queued: None };
            self.bytes += entry.bytes();
            self.last_stamp += 1;
            entry.queue(self.last_stamp, &mut self.deadlines);
            self.entries.insert(Arc::clone(&entry.key), entry);
        }
    }

    /// Rebuilds the queue when most of it is outdated, so that it stays in proportion to the entries.
    fn drop_outdated_deadlines(&mut self) {
        if self.deadlines.len() > 2 * self.entries.len() + SPARE_DEADLINES {
            let entries = &self.entries;
            self.deadlines.retain(|Reverse(deadline)| {
                entries.get(&deadline.key).is_some_and(|entry| entry.is_queued_as(deadline.stamp))
            });
        }
    }

    #[cfg(test)]
    pub(super) fn deadline_count(&self) -> usize {
        self.deadlines.len()
    }
}
