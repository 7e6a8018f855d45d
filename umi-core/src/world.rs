//! The only door to time and chance: [`Clock`], [`Ids`] and their implementations.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use uuid::Uuid;

use crate::error::{Error, Result};

/// Tells the time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock's time, cut to microseconds.
    fn now(&self) -> Timestamp;
}

/// Makes ids that sort by the time of their making.
pub trait Ids: Send + Sync + fmt::Debug {
    /// A new version 7 UUID for the time `now`, larger than every one made before by the same source.
    fn next(&self, now: Timestamp) -> Uuid;
}

/// Cuts a time to the microseconds that the ledger keeps.
pub(crate) fn to_microseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

/// The operating system's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn now(&self) -> Timestamp {
        to_microseconds(Timestamp::now())
    }
}

/// A clock that moves only when it is told to. Clones share one time.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use umi_core::{Clock, ManualClock};
/// let clock = ManualClock::new("2026-01-01T00:00:00Z".parse()?);
/// clock.advance(Duration::from_secs(60))?;
/// assert_eq!(clock.now().to_string(), "2026-01-01T00:01:00Z");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<Mutex<Timestamp>>,
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self { now: Arc::new(Mutex::new(to_microseconds(start))) }
    }

    /// Moves the clock forward.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind) when the time would leave the range of years that can be told.
    pub fn advance(&self, by: Duration) -> Result<()> {
        let mut now = self.now.lock();
        let moved = now.checked_add(by).map_err(|error| {
            Error::invalid_input(format!("a clock at `{now}` cannot advance by {by:?}")).with_source(error)
        })?;
        *now = to_microseconds(moved);
        Ok(())
    }

    /// Sets the clock, backwards too.
    pub fn set(&self, now: Timestamp) {
        *self.now.lock() = to_microseconds(now);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.lock()
    }
}

/// Version 7 UUIDs (RFC 9562) from a generator seeded once: monotonic, and no system call an id.
#[derive(Debug)]
pub struct RandomIds {
    state: Mutex<IdState>,
    seed: Option<u64>,
}

#[derive(Debug)]
struct IdState {
    random: ChaCha12Rng,
    last: u128,
}

impl RandomIds {
    /// Ids seeded from the operating system.
    pub fn from_entropy() -> Self {
        Self { state: Mutex::new(IdState { random: entropy(), last: 0 }), seed: None }
    }

    /// Ids that are the same in every run with the same seed and times.
    pub fn from_seed(seed: u64) -> Self {
        Self { state: Mutex::new(IdState { random: ChaCha12Rng::seed_from_u64(seed), last: 0 }), seed: Some(seed) }
    }

    /// Draws a new seed, in a forked child, so that it does not repeat its parent's ids.
    pub fn reseed(&self) {
        if self.seed.is_none() {
            self.state.lock().random = entropy();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the door")]
fn entropy() -> ChaCha12Rng {
    rand::make_rng()
}

impl Ids for RandomIds {
    fn next(&self, now: Timestamp) -> Uuid {
        let mut state = self.state.lock();
        let millis = u128::from(now.as_millisecond().max(0).unsigned_abs()) & 0xffff_ffff_ffff;
        // 48 bits of time above 74 random ones; within a millisecond, and when the clock steps back, the last
        // value is raised by a random step instead, so that the order of making is the order of sorting.
        let random =
            (u128::from(state.random.next_u64()) << 10 | u128::from(state.random.next_u32() & 0x3ff)) & ((1 << 73) - 1);
        let fresh = millis << 74 | random;
        let step = u128::from(state.random.next_u32()) + 1;
        let value = if fresh > state.last && millis > state.last >> 74 { fresh } else { state.last + step };
        state.last = value;
        let millis = value >> 74;
        let (high, low) = ((value >> 62) & 0xfff, value & ((1 << 62) - 1));
        Uuid::from_u128(millis << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_seven_unique_and_sorted_even_when_the_clock_steps_back() {
        let ids = RandomIds::from_entropy();
        let clock = ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap());
        let mut made: Vec<Uuid> = Vec::new();
        for step in 0..2_000 {
            if step == 1_000 {
                clock.set("2025-01-01T00:00:00Z".parse().unwrap());
            }
            made.push(ids.next(clock.now()));
        }
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(made.iter().all(|id| id.get_version_num() == 7 && id.get_variant() == uuid::Variant::RFC4122));
    }

    #[test]
    fn seeded_ids_repeat() {
        let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (one, two) = (RandomIds::from_seed(7), RandomIds::from_seed(7));
        assert_eq!(one.next(at), two.next(at));
        assert_ne!(one.next(at), RandomIds::from_seed(8).next(at));
    }
}
