//! Work of one kind on as many threads as there are processors.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use parking_lot::Mutex;

/// What decoders of others' making may need on the stack.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// Calls `work` with every number below `count`; gives what it gave, in their order.
pub(super) fn in_parallel<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(count);
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
            let started = (0..threads)
                .filter(|_| thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, run).is_ok())
                .count();
            if started == 0 {
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
}
