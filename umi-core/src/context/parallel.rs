//! Work of one kind on as many threads as there are processors.

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use parking_lot::Mutex;

/// What decoders of others' making may need on the stack.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// How many threads work in the whole process.
static WORKING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread is one that was started here.
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// A thread that counts among those that work, until it is dropped.
struct Place;

impl Place {
    /// Takes a place if one is free among so many, or in any case.
    fn take(all: usize, in_any_case: bool) -> Option<Self> {
        let take = |working: usize| (in_any_case || working < all).then_some(working + 1);
        WORKING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok().then(|| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let leave = |working: usize| Some(working.saturating_sub(1));
        WORKING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, leave).ok();
    }
}

/// Lets a forked child forget the threads that it does not have.
pub(super) fn after_fork_in_child() {
    WORKING.store(0, Ordering::Relaxed);
}

/// Calls `work` with every number below `count`; gives what it gave, in their order.
///
/// Work within work shares the processors: it runs on the thread that asks for it, and on others where some are idle.
pub(super) fn in_parallel<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let is_worker = IS_WORKER.get();
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(count));
    let run = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            let made = work(index);
            done.lock().push((index, made));
        }
    };
    if count > 0 {
        thread::scope(|scope| {
            let helpers = if is_worker { count - 1 } else { count }.min(processors);
            let mut started = 0;
            for helper in 0..helpers {
                let Some(place) = Place::take(processors, helper == 0 && !is_worker) else { break };
                let help = move || {
                    let _place = place;
                    IS_WORKER.set(true);
                    run();
                };
                let thread = thread::Builder::new().stack_size(STACK_BYTES);
                started += usize::from(thread.spawn_scoped(scope, help).is_ok());
            }
            if is_worker || started == 0 {
                run();
            }
        });
    }
    let mut done = done.into_inner();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_kept() {
        assert_eq!(in_parallel(100, |index| index * 2), (0..100).map(|index| index * 2).collect::<Vec<_>>());
        assert!(in_parallel(0, |index| index).is_empty());
    }

    #[test]
    fn work_within_work_starts_no_more_threads_than_there_are_processors() {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let sums = in_parallel(4 * processors, |outer| {
            let inner = in_parallel(4 * processors, |inner| {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
                inner
            });
            outer + inner.len()
        });
        assert_eq!(sums, (0..4 * processors).map(|outer| outer + 4 * processors).collect::<Vec<_>>());
        assert!(most.load(Ordering::SeqCst) <= processors, "{most:?} of {processors}");
    }
}
