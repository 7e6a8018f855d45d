//! Working memory: bytes with a time to live. Pure: the time is an argument.

use std::time::Duration;

/// How long a value lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeToLive {
    /// This long from the write on.
    For(Duration),
    /// Until it is deleted.
    Forever,
}

/// How much fits into a working memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkingLimits {
    /// Bytes of keys and values in all.
    pub max_bytes: usize,
    /// Entries in all.
    pub max_entries: usize,
    /// Bytes of one value.
    pub value_bytes: usize,
    /// Bytes of one key.
    pub key_bytes: usize,
    /// The time to live of a value that is given none.
    pub default_ttl: TimeToLive,
}
