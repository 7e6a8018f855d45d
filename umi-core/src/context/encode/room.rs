//! How much memory the decoders of images may take in the whole process.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use super::decode::DECODER_BYTES;

/// What all images together may take that are decoded at once: as much as one alone may.
static ALL: Memory = Memory::new(DECODER_BYTES);

/// Memory of which many threads take a part for a while.
#[derive(Debug)]
struct Memory {
    bytes: u64,
    taken: AtomicU64,
    /// How many threads wait. While there are none, nobody locks: a child that is forked then inherits no lock.
    waiting: AtomicUsize,
    turn: Mutex<()>,
    left: Condvar,
}

impl Memory {
    const fn new(bytes: u64) -> Self {
        let (taken, waiting) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { bytes, taken, waiting, turn: Mutex::new(()), left: Condvar::new() }
    }

    fn take(&'static self, bytes: u64) -> Room {
        let bytes = bytes.min(self.bytes);
        if !self.try_take(bytes) {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.left.wait_while(&mut self.turn.lock(), |()| !self.try_take(bytes));
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        Room { of: self, bytes }
    }

    fn try_take(&self, bytes: u64) -> bool {
        let take = |taken: u64| (self.bytes.saturating_sub(taken) >= bytes).then(|| taken + bytes);
        self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
    }

    fn after_fork_in_child(&self) {
        self.taken.store(0, Ordering::SeqCst);
        self.waiting.store(0, Ordering::SeqCst);
    }
}

/// A part of the memory, until it is dropped. A thread takes one at a time.
#[derive(Debug)]
pub(super) struct Room {
    of: &'static Memory,
    bytes: u64,
}

impl Room {
    /// Waits until so many bytes are left; for what is more than all of it, until nobody else has any. Blocks.
    pub(super) fn take(bytes: u64) -> Self {
        ALL.take(bytes)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Not below nothing: a forked child has forgotten what its own thread had taken, too.
        let give = |taken: u64| Some(taken.saturating_sub(self.bytes));
        self.of.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, give).ok();
        // Whoever begins to wait after this look finds what was given back.
        if self.of.waiting.load(Ordering::SeqCst) > 0 {
            let _turn = self.of.turn.lock();
            self.of.left.notify_all();
        }
    }
}

/// Lets a forked child forget what threads had taken that it does not have.
pub(in crate::context) fn after_fork_in_child() {
    ALL.after_fork_in_child();
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_does_not_fit_waits_for_the_others() {
        static TEN: Memory = Memory::new(10);
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for bytes in [6, u64::MAX, 10, 6] {
                        let _room = TEN.take(bytes);
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 1);
        assert!(TEN.try_take(10) && !TEN.try_take(1), "all of it was given back");
    }

    #[test]
    fn a_forked_child_has_all_of_it() {
        static TEN: Memory = Memory::new(10);
        let inherited = TEN.take(10);
        TEN.after_fork_in_child();
        let room = TEN.take(10);
        drop(inherited);
        drop(room);
        assert!(TEN.try_take(10));
    }
}
