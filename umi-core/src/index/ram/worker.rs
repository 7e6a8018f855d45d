//! The thread on which an index grows.
//!
//! An allocator keeps what is freed for the threads that allocated it. Tenants that were loaded on a thread of a pool
//! each, and went, would leave as many hoards as the pool has threads; one thread finds again what went before.

use std::{
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{Sender, channel},
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, Result};

type Work = Box<dyn FnOnce() + Send>;

/// Runs one piece of work after the other on a thread of its own, which starts with the first one and ends with the
/// worker.
pub(super) struct Worker {
    works: ManuallyDrop<Mutex<Option<Sender<Work>>>>,
    process: u32,
}

impl Default for Worker {
    fn default() -> Self {
        Self { works: ManuallyDrop::new(Mutex::new(None)), process: std::process::id() }
    }
}

impl Worker {
    /// Runs work on the thread.
    ///
    /// # Errors
    /// Those of the work; `StoreIo` when the thread cannot be started, `Internal` when the work panicked.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move || {
            let done = catch_unwind(AssertUnwindSafe(work));
            // A caller that has gone asks for no answer; one whose work panicked is told by the missing one.
            if let Ok(done) = done {
                drop(reply.send(done));
            }
        });
        self.sender()?.send(work).map_err(|_| Error::internal("the thread of the index has ended"))?;
        answer.await.map_err(|error| Error::internal("the index panicked").with_source(error))?
    }

    /// Runs work on the thread, if that has started, and does not wait for it.
    pub(super) fn leave(&self, work: impl FnOnce() + Send + 'static) {
        if let Some(sender) = &*self.works.lock() {
            let work: Work = Box::new(move || drop(catch_unwind(AssertUnwindSafe(work))));
            // A thread that has ended has nothing left to do.
            drop(sender.send(work));
        }
    }

    fn sender(&self) -> Result<Sender<Work>> {
        let mut works = self.works.lock();
        if let Some(sender) = &*works {
            return Ok(sender.clone());
        }
        let (sender, receiver) = channel::<Work>();
        std::thread::Builder::new()
            .name("umi-index".to_owned())
            .spawn(move || receiver.iter().for_each(|work| work()))
            .map_err(|error| {
                Error::new(ErrorKind::StoreIo, "cannot start the thread of the index").with_source(error)
            })?;
        *works = Some(sender.clone());
        Ok(sender)
    }

    /// Lets the thread end once it has done what waits; the next work starts another one.
    pub(super) fn rest(&self) {
        drop(self.works.lock().take());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // In a forked child the thread does not exist, and its channel may be locked for ever.
        if self.process == std::process::id() {
            self.rest();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_work_is_done_on_one_thread_and_a_panic_ends_it_not() {
        let worker = Worker::default();
        let name = || Ok((std::thread::current().id(), std::thread::current().name().map(str::to_owned)));
        let first = worker.run(name).await.unwrap();
        assert_eq!(first.1.as_deref(), Some("umi-index"));
        let panicked = worker.run(|| -> Result<()> { panic!("on purpose") }).await.unwrap_err();
        assert_eq!(panicked.kind(), ErrorKind::Internal);
        assert_eq!(worker.run(name).await.unwrap(), first);
        worker.rest();
        assert_ne!(worker.run(name).await.unwrap().0, first.0);
    }
}
