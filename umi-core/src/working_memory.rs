//! Working memory: bytes with a time to live. Pure: the time is an argument.

mod store;

use std::time::Duration;

use jiff::Timestamp;

pub use self::store::WorkingMemory;
use crate::{
    entity::check_bytes,
    error::{Error, ErrorKind, Result},
};

/// The longest time to live that is not forever.
const TTL_MAX: Duration = Duration::from_hours(7 * 24);
/// The largest working memory that may be configured, in bytes.
const MAX_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// The most entries that may be configured.
const MAX_ENTRIES_MAX: usize = 10_000_000;
/// The longest key that may be configured, in bytes.
const KEY_BYTES_MAX: usize = 64 * 1024;

/// How long a value lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeToLive {
    /// This long from the write on: above zero, at most 7 days.
    For(Duration),
    /// Until it is deleted.
    Forever,
}

impl TimeToLive {
    /// Reads seconds; infinity means forever.
    ///
    /// # Errors
    /// `InvalidInput` for zero, a negative number, a NaN or more than 7 days.
    ///
    /// # Example
    /// ```
    /// use umi_core::TimeToLive;
    /// assert_eq!(TimeToLive::from_secs_f64(f64::INFINITY)?, TimeToLive::Forever);
    /// assert!(TimeToLive::from_secs_f64(0.0).is_err());
    /// # Ok::<(), umi_core::Error>(())
    /// ```
    pub fn from_secs_f64(seconds: f64) -> Result<Self> {
        if seconds == f64::INFINITY {
            return Ok(Self::Forever);
        }
        // a comparison with a NaN is false
        if !(seconds > 0.0 && seconds <= TTL_MAX.as_secs_f64()) {
            return Err(ttl_out_of_range(seconds));
        }
        let duration =
            Duration::try_from_secs_f64(seconds).map_err(|error| ttl_out_of_range(seconds).with_source(error))?;
        Ok(Self::For(duration.max(Duration::from_nanos(1))))
    }

    /// Checks a duration that was not made by [`TimeToLive::from_secs_f64`].
    ///
    /// # Errors
    /// `InvalidInput` for zero or more than 7 days.
    pub fn check(self) -> Result<()> {
        match self {
            Self::For(duration) if duration.is_zero() || duration > TTL_MAX => {
                Err(ttl_out_of_range(duration.as_secs_f64()))
            }
            Self::For(_) | Self::Forever => Ok(()),
        }
    }

    /// When a value that is written at `now` expires; none for never.
    pub fn expires_at(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::For(duration) => Some(now.checked_add(duration).unwrap_or(Timestamp::MAX)),
            Self::Forever => None,
        }
    }
}

fn ttl_out_of_range(seconds: f64) -> Error {
    Error::invalid_input(format!("a time to live of `{seconds}` seconds is out of range")).with_hint(format!(
        "it must be above 0 and at most {} seconds (7 days), or infinite for none",
        TTL_MAX.as_secs()
    ))
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

impl Default for WorkingLimits {
    /// 1 MiB, 10,000 entries, 64 KiB a value, 256 bytes a key, one hour.
    fn default() -> Self {
        Self {
            max_bytes: 1024 * 1024,
            max_entries: 10_000,
            value_bytes: 64 * 1024,
            key_bytes: 256,
            default_ttl: TimeToLive::For(Duration::from_hours(1)),
        }
    }
}

impl WorkingLimits {
    /// Gives the limits back when every one of them can be used.
    ///
    /// # Errors
    /// `InvalidInput` that names the limit, its value and what is allowed.
    ///
    /// # Example
    /// ```
    /// use umi_core::WorkingLimits;
    /// let limits = WorkingLimits { max_bytes: 10 * 1024 * 1024, ..WorkingLimits::default() }.validated()?;
    /// assert!(WorkingLimits { max_entries: 0, ..limits }.validated().is_err());
    /// # Ok::<(), umi_core::Error>(())
    /// ```
    pub fn validated(self) -> Result<Self> {
        for (what, value, most) in [
            ("working memory bytes", self.max_bytes, MAX_BYTES_MAX),
            ("working memory entries", self.max_entries, MAX_ENTRIES_MAX),
            ("working value bytes", self.value_bytes, MAX_BYTES_MAX),
            ("working key bytes", self.key_bytes, KEY_BYTES_MAX),
        ] {
            if !(1..=most).contains(&value) {
                return Err(Error::invalid_input(format!("a limit of `{value}` {what} is out of range"))
                    .with_hint(format!("from 1 to {most} are allowed")));
            }
        }
        self.default_ttl.check()?;
        Ok(self)
    }
}

/// Checks a key.
///
/// # Errors
/// `InvalidInput` for an empty key or one over the limit.
pub(crate) fn check_key(limits: &WorkingLimits, key: &str) -> Result<()> {
    if key.is_empty() {
        return Err(Error::invalid_input("a working memory key is empty"));
    }
    check_bytes("a working memory key", key, limits.key_bytes)
}

/// Checks a value's size in bytes.
///
/// # Errors
/// `Capacity` for a value over the limit.
pub(crate) fn check_value(limits: &WorkingLimits, value_len: usize) -> Result<()> {
    if value_len <= limits.value_bytes {
        return Ok(());
    }
    Err(full(format!("a working value has {value_len} bytes, at most {} fit", limits.value_bytes))
        .with_sizes(limits.value_bytes, value_len)
        .with_hint("split it over several keys, or raise `MemoryConfig(working_value_bytes=…)`"))
}

/// Checks that a write fits: its key, its value, the number of entries and the bytes in all.
///
/// `live_bytes` and `live_entries` count what has not expired, the old value of the key included; `old_value_len` is
/// none where the key is not live.
///
/// # Errors
/// `InvalidInput` for the key; `Capacity` that names the limit, the size asked for and the setting.
pub(crate) fn admit(
    limits: &WorkingLimits,
    live_bytes: usize,
    live_entries: usize,
    old_value_len: Option<usize>,
    key: &str,
    new_value_len: usize,
) -> Result<()> {
    check_key(limits, key)?;
    check_value(limits, new_value_len)?;
    let entries = live_entries + usize::from(old_value_len.is_none());
    // only a new key is one too many: limits may have been lowered since the others were written
    if old_value_len.is_none() && entries > limits.max_entries {
        return Err(full(format!("working memory would hold {entries} entries, at most {} fit", limits.max_entries))
            .with_sizes(limits.max_entries, entries)
            .with_hint("delete keys, or raise `MemoryConfig(working_memory_entries=…)`"));
    }
    let old_bytes = old_value_len.map_or(0, |length| key.len() + length);
    let bytes = live_bytes.saturating_sub(old_bytes) + key.len() + new_value_len;
    if bytes > limits.max_bytes {
        return Err(full(format!("working memory would hold {bytes} bytes, at most {} fit", limits.max_bytes))
            .with_sizes(limits.max_bytes, bytes)
            .with_hint("delete keys, or raise `MemoryConfig(working_memory_bytes=…)`"));
    }
    Ok(())
}

fn full(message: String) -> Error {
    Error::new(ErrorKind::Capacity, message)
}

/// Reads a value as the number that an increment adds to.
///
/// # Errors
/// `InvalidInput` when it is not a decimal number of 64 bits.
pub(crate) fn parse_number(value: &[u8]) -> Result<i64> {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
        let shown: String = String::from_utf8_lossy(value).chars().take(64).collect();
        Error::invalid_input(format!("the value `{shown}` is not a decimal number of 64 bits"))
            .with_hint("`incr` works on a new key or on a number's digits; `set` the key first")
    })
}

/// Adds two numbers.
///
/// # Errors
/// `InvalidInput` when the sum does not fit into 64 bits.
pub(crate) fn add(number: i64, delta: i64) -> Result<i64> {
    number
        .checked_add(delta)
        .ok_or_else(|| Error::invalid_input(format!("adding `{delta}` to `{number}` does not fit into 64 bits")))
}

#[cfg(test)]
mod tests;
