//! What a run of jobs holds, how it lets go of that, and the look for it that comes later.

use std::{
    sync::{Arc, Weak, atomic::AtomicBool},
    time::Duration,
};

use jiff::Timestamp;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::{
    Memory, Parts,
    jobs::Wanted,
    store::{Lease, Store},
};
use crate::{
    error::{ErrorKind, Result},
    ledger::{EmbedJob, JobLease},
    scope::Scope,
};

/// How long a job is held before another run may take it. Half of it is the time between two renewals.
pub(super) const LEASE: Duration = Duration::from_mins(1);

/// The jobs of one run. What it holds is let go of when this is dropped, in the background.
pub(super) struct HeldJobs {
    store: Arc<Store>,
    holder: Uuid,
    looker: Looker,
    runtime: Handle,
    process: u32,
    is_empty: bool,
}

impl HeldJobs {
    /// Who holds them.
    pub(super) fn holder(&self) -> Uuid {
        self.holder
    }

    /// Ends a run whose work is durable; what it still holds, unless that is nothing, is let go of now.
    pub(super) async fn end(mut self, is_empty: bool) {
        self.is_empty = is_empty;
        if !is_empty && let Err(error) = self.release().await {
            tracing::warn!(target: "umi::memory", kind = ?error.kind(), "jobs could not be let go of at once");
        }
    }

    /// A job to leave behind that this run holds.
    pub(super) fn job(&self, id: Uuid, now: Timestamp) -> EmbedJob {
        EmbedJob { id, lease: Some(self.lease(now)) }
    }

    /// At the end of time it ends at once.
    pub(super) fn lease(&self, now: Timestamp) -> JobLease {
        JobLease { holder: self.holder, until: now.checked_add(LEASE).unwrap_or(Timestamp::MAX) }
    }

    /// Ends a run that found its service out: what it did not try is put off like what it tried.
    pub(super) async fn put_off(mut self, until: Option<Timestamp>) -> Result<()> {
        self.put_off_so_far(until).await?;
        self.is_empty = true;
        Ok(())
    }

    /// Puts off what is held by now, of a run that goes on with another service.
    pub(super) async fn put_off_so_far(&self, until: Option<Timestamp>) -> Result<()> {
        self.store.ledger.put_off_jobs(self.holder, until).await
    }

    /// Lets go now. Cancelled, it is done in the background.
    pub(super) async fn release(mut self) -> Result<()> {
        let again = self.store.ledger.release_jobs(self.holder).await?;
        self.is_empty = true;
        self.looker.look_again_at(again);
        Ok(())
    }
}

impl Drop for HeldJobs {
    fn drop(&mut self) {
        if self.is_empty || self.process != std::process::id() {
            return;
        }
        let (store, holder, looker) = (Arc::clone(&self.store), self.holder, self.looker.clone());
        self.store.releases.spawn_on(&self.runtime, async move {
            match store.ledger.release_jobs(holder).await {
                Ok(again) => looker.look_again_at(again),
                Err(error) if error.kind() != ErrorKind::Closed => {
                    tracing::warn!(target: "umi::memory", kind = ?error.kind(), "jobs stay held until their lease ends");
                }
                // In a store that is closed the leases run out.
                Err(_) => {}
            }
        });
    }
}

/// Looks for free jobs of a memory later, which it does not keep open.
#[derive(Clone)]
struct Looker {
    lease: Weak<Lease>,
    parts: Weak<Parts>,
    scope: Scope,
}

impl Looker {
    /// Looks for free jobs at a time, if there is one and the store is still open then. Nothing waits for it.
    fn look_again_at(&self, end: Option<Timestamp>) {
        let Some((end, parts)) = end.zip(self.parts.upgrade()) else { return };
        let mut look = parts.services.look.lock();
        // Nothing happens by itself in a simulated memory. An earlier look gives the time of the next one.
        if parts.is_simulated || look.is_some_and(|earlier| earlier <= end) {
            return;
        }
        *look = Some(end);
        drop(look);
        let wait = parts.clock.wait_until(end);
        let Self { lease, parts: later, scope } = self.clone();
        tokio::spawn(parts.background.until_end(async move {
            wait.await;
            let Some((lease, parts)) = lease.upgrade().zip(later.upgrade()) else { return };
            parts.services.look.lock().take_if(|look| *look <= end);
            if !lease.is_closed() {
                let closed = Arc::new(AtomicBool::new(false));
                Memory { lease, parts, scope, pinned: false, closed, is_root: false }.follow_leases(Wanted::Due);
            }
        }));
    }
}

impl Memory {
    /// A new run, which holds nothing yet.
    pub(super) fn hold(&self) -> HeldJobs {
        HeldJobs {
            store: Arc::clone(&self.lease.store),
            holder: self.next_id(self.now()),
            looker: self.looker(),
            runtime: Handle::current(),
            process: std::process::id(),
            is_empty: false,
        }
    }

    fn looker(&self) -> Looker {
        let (lease, parts) = (Arc::downgrade(&self.lease), Arc::downgrade(&self.parts));
        Looker { lease, parts, scope: self.scope.clone() }
    }

    /// Looks for free jobs at a time, if the store is still open then. Nothing waits for it, and it keeps nothing open.
    pub(super) fn look_again_at(&self, end: Timestamp) {
        self.looker().look_again_at(Some(end));
    }
}
