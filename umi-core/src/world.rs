//! The only door to time and chance: [`Clock`], [`Ids`] and their implementations.

use std::{
    cell::RefCell,
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
#[expect(clippy::disallowed_types, reason = "this is the door")]
use rand::rngs::SysRng;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use tokio::sync::watch;
use uuid::Uuid;

use crate::error::{Error, Result};

/// Tells the time.
///
/// # Example
/// ```
/// use umi_core::{Clock, Timestamp};
///
/// /// It is always the beginning.
/// #[derive(Debug)]
/// struct Epoch;
///
/// impl Clock for Epoch {
///     fn now(&self) -> Timestamp {
///         Timestamp::UNIX_EPOCH
///     }
/// }
/// ```
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock's time, cut to microseconds.
    fn now(&self) -> Timestamp;

    /// Waits until this clock shows `time`. It sleeps for as long as that is away now; a clock whose time does not pass
    /// by itself has to say when it is there.
    fn wait_until(&self, time: Timestamp) -> BoxFuture<'static, ()> {
        let wait = Duration::try_from(time.duration_since(self.now())).unwrap_or_default();
        Box::pin(tokio::time::sleep(wait))
    }
}

/// Makes ids that sort by the time of their making.
pub trait Ids: Send + Sync + fmt::Debug {
    /// A new version 7 UUID for the time `now`, larger than every one made before by the same source.
    fn next(&self, now: Timestamp) -> Uuid;
}

/// Cuts a time to the microseconds that the ledger keeps. Those of the last second of all are its beginning: a number of
/// microseconds behind it is read as no time.
pub(crate) fn to_microseconds(time: Timestamp) -> Timestamp {
    let last = Timestamp::MAX.as_second().saturating_mul(1_000_000);
    Timestamp::from_microsecond(time.as_microsecond().min(last)).unwrap_or(time)
}

/// The first moment of the year 1 in UTC. What is before it has no date of four digits, and none in Python.
pub(crate) const FIRST_TIME: Timestamp = Timestamp::constant(-62_135_596_800, 0);

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
    now: Arc<watch::Sender<Timestamp>>,
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self { now: Arc::new(watch::Sender::new(to_microseconds(start))) }
    }

    /// Moves the clock forward.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind) when the time would leave the range of years that can be told.
    pub fn advance(&self, by: Duration) -> Result<()> {
        let mut outcome = Ok(());
        self.now.send_modify(|now| match now.checked_add(by) {
            Ok(moved) => *now = to_microseconds(moved),
            Err(error) => {
                let message = format!("a clock at `{now}` cannot advance by {by:?}");
                outcome = Err(Error::invalid_input(message).with_source(error));
            }
        });
        outcome
    }

    /// Sets the clock, backwards too.
    pub fn set(&self, now: Timestamp) {
        self.now.send_replace(to_microseconds(now));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    fn wait_until(&self, time: Timestamp) -> BoxFuture<'static, ()> {
        let mut now = self.now.subscribe();
        Box::pin(async move {
            // An error means that no clone is left that could tell the time.
            drop(now.wait_for(|now| *now >= time).await);
        })
    }
}

/// Version 7 UUIDs (RFC 9562) whose random bits come from the operating system: monotonic, no system call an id, and
/// no lock, so that a forked child can never inherit a held one.
#[derive(Debug, Default)]
pub struct RandomIds {
    /// The last id's 48 bits of milliseconds above its 12-bit count within them.
    last: AtomicU64,
    /// Raised in a forked child, so that every thread draws a new seed.
    generation: AtomicU64,
}

/// Ids of this process; one source, so that they are monotonic over all stores and sessions.
pub(crate) static IDS: LazyLock<Arc<RandomIds>> = LazyLock::new(|| Arc::new(RandomIds::from_entropy()));

thread_local! {
    static RANDOM: RefCell<Option<(u64, ChaCha12Rng)>> = const { RefCell::new(None) };
}

impl RandomIds {
    /// Ids seeded from the operating system.
    pub fn from_entropy() -> Self {
        Self::default()
    }

    /// Draws new seeds, in a forked child, so that it does not repeat its parent's ids.
    pub fn reseed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// 62 random bits.
    fn random(&self) -> u64 {
        let generation = self.generation.load(Ordering::Acquire);
        RANDOM.with_borrow_mut(|slot| {
            if slot.as_ref().is_none_or(|(seeded, _)| *seeded != generation) {
                *slot = Some((generation, entropy()));
            }
            slot.as_mut().map_or(0, |(_, random)| random.next_u64() >> 2)
        })
    }
}

fn entropy() -> ChaCha12Rng {
    // Not `rand::make_rng`: where a crate such as LanceDB switches on `thread_rng`, that seeds from a generator of the
    // thread, whose state a forked child inherits.
    ChaCha12Rng::try_from_rng(&mut SysRng).expect("the operating system gives random bytes")
}

impl Ids for RandomIds {
    fn next(&self, now: Timestamp) -> Uuid {
        // Within a millisecond, and when the clock steps back, the last value is counted up instead, so that the order
        // of making is the order of sorting.
        let fresh = milliseconds(now) << COUNT_BITS;
        let step = |last: u64| Some(fresh.max(last + 1));
        let previous = self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, step).unwrap_or_default();
        uuid7(fresh.max(previous + 1), self.random())
    }
}

/// Ids that are the same in every run with the same seed and times.
///
/// # Example
/// ```
/// use umi_core::{Ids, SeededIds, Timestamp};
/// let now = Timestamp::UNIX_EPOCH;
/// assert_eq!(SeededIds::new(7).next(now), SeededIds::new(7).next(now));
/// ```
#[derive(Debug)]
pub struct SeededIds {
    state: Mutex<(u64, ChaCha12Rng)>,
}

impl SeededIds {
    /// Ids of a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: Mutex::new((0, ChaCha12Rng::seed_from_u64(seed))) }
    }
}

impl Ids for SeededIds {
    fn next(&self, now: Timestamp) -> Uuid {
        let (last, random) = &mut *self.state.lock();
        *last = (milliseconds(now) << COUNT_BITS).max(*last + 1);
        uuid7(*last, random.next_u64() >> 2)
    }
}

/// The bits that count ids within a millisecond; beyond them the milliseconds are counted on.
const COUNT_BITS: u32 = 12;

/// A number from 0 up to 1, of the random bits of an id.
pub(crate) fn fraction(ids: &dyn Ids, now: Timestamp) -> f64 {
    (ids.next(now).as_u128() & 0xffff_ffff) as f64 / f64::from(u32::MAX)
}

fn milliseconds(now: Timestamp) -> u64 {
    now.as_millisecond().max(0).unsigned_abs() & 0xffff_ffff_ffff
}

/// Version and variant between 48 bits of time, 12 of count and 62 random ones.
fn uuid7(time_and_count: u64, random: u64) -> Uuid {
    let (time, count) = (u128::from(time_and_count >> COUNT_BITS), u128::from(time_and_count & 0xfff));
    Uuid::from_u128(time << 80 | 0x7 << 76 | count << 64 | 0b10 << 62 | u128::from(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_when_the_manual_clock_gets_there() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let mut wait = clock.wait_until(Timestamp::from_second(60).unwrap());
        assert!(futures::poll!(&mut wait).is_pending());
        clock.advance(Duration::from_secs(59)).unwrap();
        assert!(futures::poll!(&mut wait).is_pending());
        clock.clone().advance(Duration::from_secs(1)).unwrap();
        wait.await;
        clock.wait_until(Timestamp::UNIX_EPOCH).await;
        let forgotten = clock.wait_until(Timestamp::MAX);
        drop(clock);
        forgotten.await;
    }

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
    fn threads_make_distinct_ids() {
        let ids = RandomIds::from_entropy();
        let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let made: Vec<Uuid> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..1_000).map(|_| ids.next(at)).collect::<Vec<_>>())).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let distinct: std::collections::BTreeSet<u64> = made.iter().map(|id| (id.as_u128() >> 64) as u64).collect();
        assert_eq!(distinct.len(), 4_000, "time and count alone tell them apart");
    }

    #[test]
    fn seeded_ids_repeat() {
        let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (one, two) = (SeededIds::new(7), SeededIds::new(7));
        assert_eq!(one.next(at), two.next(at));
        assert_ne!(one.next(at), SeededIds::new(8).next(at));
    }
}
