//! Which tenants are in memory, in the order of their use, and what they take.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
};

use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::Semaphore;

use super::{
    footprint::ALLOCATION,
    partition::{Partition, Scratch},
};
use crate::{
    error::Result,
    index::{Hit, SearchQuery, analysis},
    ledger::Changes,
};

/// What an entry of [`Tenants`] takes beside the tenant: its places in two trees, which are never quite full.
const ENTRY: usize = 160;

/// One tenant. The numbers tell of the partition without waiting for its lock.
#[derive(Debug)]
pub(super) struct Tenant {
    user: Option<String>,
    partition: RwLock<Partition>,
    /// One caller at a time follows the feed; the others find it done.
    pub(super) following: Semaphore,
    watermark: AtomicI64,
    bytes: AtomicUsize,
    rows: AtomicUsize,
    /// Whether it did not fit.
    pub(super) is_oversized: AtomicBool,
}

impl Tenant {
    fn new(user: Option<&str>) -> Self {
        Self {
            user: user.map(str::to_owned),
            partition: RwLock::default(),
            following: Semaphore::new(1),
            watermark: AtomicI64::new(0),
            bytes: AtomicUsize::new(0),
            rows: AtomicUsize::new(0),
            is_oversized: AtomicBool::new(false),
        }
    }

    /// Takes a stretch of the feed. A stretch that cannot be read leaves the tenant empty, to be loaded anew.
    pub(super) fn apply(&self, after: i64, changes: &Changes, is_load: bool) -> Result<()> {
        let mut partition = self.partition.write();
        let applied = partition.apply(after, changes);
        if applied.is_err() {
            *partition = Partition::default();
        } else if is_load && !changes.has_more {
            partition.shrink();
        }
        self.tell(&partition);
        applied
    }

    /// Searches what is loaded; none when another caller has emptied it since, so that this one must follow again.
    pub(super) fn search(&self, watermark: i64, query: &SearchQuery, scratch: &mut Scratch) -> Option<Vec<Hit>> {
        let partition = self.partition.read();
        let is_loaded = partition.watermark() >= watermark;
        is_loaded.then(|| partition.search(query, &analysis::analyse_query(&query.text), scratch))
    }

    /// What is loaded, for as long as the answer lives.
    pub(super) fn partition(&self) -> RwLockReadGuard<'_, Partition> {
        self.partition.read()
    }

    /// Empties it.
    pub(super) fn reset(&self) {
        let mut partition = self.partition.write();
        *partition = Partition::default();
        self.tell(&partition);
    }

    fn tell(&self, partition: &Partition) {
        self.watermark.store(partition.watermark(), Ordering::Release);
        self.bytes.store(partition.heap_bytes(), Ordering::Release);
        self.rows.store(partition.len(), Ordering::Release);
    }

    /// The place in the feed that was reached.
    pub(super) fn watermark(&self) -> i64 {
        self.watermark.load(Ordering::Acquire)
    }

    /// Rows that are loaded.
    pub(super) fn rows(&self) -> usize {
        self.rows.load(Ordering::Acquire)
    }

    /// Bytes of memory, its entry included.
    pub(super) fn bytes(&self) -> usize {
        let name = self.user.as_ref().map_or(0, |user| 2 * (user.len() + ALLOCATION));
        size_of::<Self>() + ENTRY + name + self.bytes.load(Ordering::Acquire)
    }
}

/// The tenants that were asked for, also those without rows: each has its entry, and so its bytes, until it makes room.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    by_user: BTreeMap<Option<String>, Entry>,
    by_use: BTreeMap<u64, Arc<Tenant>>,
    uses: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    tenant: Arc<Tenant>,
    used: u64,
    /// What of `Tenants::bytes` is its own.
    bytes: usize,
}

impl Tenants {
    /// The tenant of a user, marked as used now.
    pub(super) fn of(&mut self, user: Option<&str>) -> Arc<Tenant> {
        self.uses += 1;
        let entry = self.by_user.entry(user.map(str::to_owned)).or_insert_with(|| {
            let tenant = Tenant::new(user);
            let bytes = tenant.bytes();
            self.bytes += bytes;
            Entry { tenant: Arc::new(tenant), used: 0, bytes }
        });
        self.by_use.remove(&entry.used);
        entry.used = self.uses;
        self.by_use.insert(self.uses, Arc::clone(&entry.tenant));
        Arc::clone(&entry.tenant)
    }

    /// The tenant of a user, if it is there, without a mark.
    pub(super) fn known(&self, user: Option<&str>) -> Option<Arc<Tenant>> {
        self.by_user.get(&user.map(str::to_owned)).map(|entry| Arc::clone(&entry.tenant))
    }

    /// Notes what a tenant takes now.
    pub(super) fn weigh(&mut self, tenant: &Arc<Tenant>) {
        let entry = self.by_user.get_mut(&tenant.user).filter(|entry| Arc::ptr_eq(&entry.tenant, tenant));
        // One that made room meanwhile is only held by those that still search it.
        let Some(entry) = entry else { return };
        let bytes = tenant.bytes();
        self.bytes = self.bytes - entry.bytes + bytes;
        entry.bytes = bytes;
    }

    /// Drops the tenants that were not used for longest until all are within a bound, but not `newest`. Gives those
    /// that are dropped, so that their memory is freed behind the lock.
    pub(super) fn make_room(&mut self, bound: usize, newest: Option<&Arc<Tenant>>) -> Vec<Arc<Tenant>> {
        let mut dropped = Vec::new();
        let mut oldest = 0;
        while self.bytes > bound {
            let next =
                self.by_use.range(oldest..).find(|(_, tenant)| newest.is_none_or(|new| !Arc::ptr_eq(new, tenant)));
            let Some((&used, _)) = next else { break };
            oldest = used;
            let Some(tenant) = self.by_use.remove(&used) else { break };
            self.bytes -= self.by_user.remove(&tenant.user).map_or(0, |entry| entry.bytes);
            dropped.push(tenant);
        }
        dropped
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Those that hold rows.
    pub(super) fn loaded(&self) -> impl Iterator<Item = &Tenant> {
        self.by_user.values().map(|entry| &*entry.tenant).filter(|tenant| tenant.rows() > 0)
    }

    /// The users of those that hold rows.
    #[cfg(test)]
    pub(super) fn users(&self) -> Vec<Option<String>> {
        self.loaded().map(|tenant| tenant.user.clone()).collect()
    }
}
