//! Tasks that run beside the calls.

use std::{pin::pin, sync::Arc};

use futures::future;
use tokio::{runtime::Handle, sync::watch};

/// The number of tasks that run. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks {
    running: Arc<watch::Sender<usize>>,
    is_ending: Arc<watch::Sender<bool>>,
}

impl Tasks {
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(&Handle::current(), task);
    }

    /// Starts a task from where no runtime may be at hand.
    pub(super) fn spawn_on(&self, runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        self.running.send_modify(|count| *count += 1);
        let running = Running(Arc::clone(&self.running));
        runtime.spawn(async move {
            let _running = running;
            task.await;
        });
    }

    /// Starts a task that is given up when the end comes: what it waits for is dropped.
    pub(super) fn spawn_until_end(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(self.until_end(task));
    }

    /// A task, or the end if that comes before. The end has come too when nobody is left who could say so.
    pub(super) fn until_end<T: Future<Output = ()> + Send>(&self, task: T) -> impl Future<Output = ()> + Send + use<T> {
        let mut is_ending = self.is_ending.subscribe();
        async move {
            let end = pin!(async { drop(is_ending.wait_for(|is_ending| *is_ending).await) });
            future::select(end, pin!(task)).await;
        }
    }

    /// Gives up every task that may be, now and from now on.
    pub(super) fn end(&self) {
        self.is_ending.send_replace(true);
    }

    /// Waits until nothing is left, what was started meanwhile included. Any number may wait.
    pub(super) async fn wait(&self) {
        // It fails only without a sender, and `self` is one.
        drop(self.running.subscribe().wait_for(|count| *count == 0).await);
    }
}

/// Counts a task until it has ended, whichever way.
struct Running(Arc<watch::Sender<usize>>);

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(target: "umi::memory", "a background task panicked");
        }
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn every_waiter_waits_and_a_cancelled_one_detaches_nothing() {
        let tasks = Tasks::default();
        let (end, ended) = oneshot::channel::<()>();
        tasks.spawn(async { drop(ended.await) });
        for _ in 0..2 {
            let mut waiting = Box::pin(tasks.wait());
            assert!(futures::poll!(&mut waiting).is_pending(), "the task runs, whoever has waited before");
        }
        let mut waiting = Box::pin(tasks.wait());
        assert!(futures::poll!(&mut waiting).is_pending());
        end.send(()).unwrap();
        waiting.await;
        tasks.wait().await;
    }

    #[tokio::test]
    async fn the_end_drops_what_may_be_given_up_and_waits_for_the_rest() {
        let tasks = Tasks::default();
        let (held, given_up) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel::<()>();
        tasks.spawn_until_end(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        tasks.spawn(async { drop(ended.await) });
        tasks.end();
        assert!(given_up.await.is_err(), "dropped");
        let mut waiting = Box::pin(tasks.wait());
        assert!(futures::poll!(&mut waiting).is_pending());
        end.send(()).unwrap();
        waiting.await;
        tasks.spawn_until_end(std::future::pending());
        tasks.wait().await;
    }
}
