//! The tail: what changed in a tenant behind the watermark of the table, exactly as the ledger has it, and the mask of
//! what the table holds of it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    index::ram::pool::row_bytes,
    ledger::{IndexRow, Ledger},
    scope::Scope,
};

/// A tenant whose tail is longer is searched without the table.
pub(super) const TAIL_ROWS: usize = 10_000;
/// All tails together are not longer, about; those of other tenants go when one more would be.
const ALL_ROWS: usize = 50_000;
/// The same in bytes, for rows that are long.
const TAIL_BYTES: usize = 32 * 1024 * 1024;
const ALL_BYTES: usize = 128 * 1024 * 1024;
/// What an id in a mask takes, about.
const MASK_BYTES: usize = 32;
/// Rows that are asked of the feed at once.
const PAGE: usize = 256;

/// What a question needs of a tail.
#[derive(Debug)]
pub(super) struct View {
    /// Rows that are new or have changed.
    pub(super) rows: Vec<Arc<IndexRow>>,
    /// Rows that are gone.
    removed: Arc<HashSet<Uuid>>,
    changed: Arc<HashSet<Uuid>>,
}

impl View {
    /// Whether what the table holds of a row counts no more.
    pub(super) fn masks(&self, id: Uuid) -> bool {
        self.changed.contains(&id) || self.removed.contains(&id)
    }
}

#[derive(Debug, Default)]
struct State {
    /// The watermark that it begins behind.
    base: i64,
    /// The place in the feed that it has reached.
    reached: i64,
    rows: BTreeMap<Uuid, Arc<IndexRow>>,
    changed: Arc<HashSet<Uuid>>,
    removed: Arc<HashSet<Uuid>>,
    /// Bytes of `rows`.
    row_bytes: usize,
    /// It is too long behind `base`: nothing of it is held.
    is_too_long: bool,
}

impl State {
    /// Begins behind a watermark.
    fn begin_at(&mut self, watermark: i64) {
        // What was removed long ago is masked for nothing, and would grow for ever.
        let is_stale = watermark > self.base && self.removed.len() > TAIL_ROWS;
        if watermark < self.base || self.reached <= watermark || self.is_too_long || is_stale {
            *self = Self { base: watermark, reached: watermark, ..Self::default() };
        } else if watermark > self.base {
            // The table holds what was removed by then no more, but a mask too many does no harm.
            self.rows.retain(|_, row| row.seq > watermark);
            self.row_bytes = self.rows.values().map(|row| row_bytes(row)).sum();
            self.changed = Arc::new(self.rows.keys().copied().collect());
            self.base = watermark;
        }
    }

    fn bytes(&self) -> usize {
        self.row_bytes + (self.changed.len() + self.removed.len()) * MASK_BYTES
    }

    fn view(&self) -> View {
        View {
            rows: self.rows.values().cloned().collect(),
            removed: Arc::clone(&self.removed),
            changed: Arc::clone(&self.changed),
        }
    }
}

#[derive(Debug)]
struct Tail {
    following: Semaphore,
    state: Mutex<State>,
}

impl Default for Tail {
    fn default() -> Self {
        Self { following: Semaphore::new(1), state: Mutex::default() }
    }
}

/// The tails of the tenants that were asked for.
#[derive(Debug, Default)]
pub(super) struct Tails {
    by_user: Mutex<HashMap<Option<String>, Arc<Tail>>>,
}

impl Tails {
    /// The tail of a tenant behind a watermark, up to the feed's head; none when it is too long.
    pub(super) async fn follow(&self, ledger: &dyn Ledger, scope: &Scope, watermark: i64) -> Result<Option<View>> {
        let tail = Arc::clone(self.by_user.lock().entry(scope.user().map(str::to_owned)).or_default());
        let turn = tail.following.acquire().await;
        let _turn = turn.map_err(|error| Error::internal("the index stopped following").with_source(error))?;
        let head = ledger.head()?;
        let mut after = {
            let mut state = tail.state.lock();
            if state.reached > head {
                // Another store took this one's place, a restored backup perhaps.
                *state = State::default();
            }
            if state.is_too_long && state.base == watermark {
                return Ok(None);
            }
            state.begin_at(watermark);
            if state.reached >= head {
                return Ok(Some(state.view()));
            }
            state.reached
        };
        loop {
            let changes = ledger.changes(scope, after, PAGE).await?;
            if changes.has_more && changes.head <= after {
                return Err(Error::internal(format!("the change feed stands still at `{after}`")));
            }
            after = changes.head;
            let mut state = tail.state.lock();
            let has_changed = !changes.rows.is_empty() || !changes.removed.is_empty();
            let State { rows, removed, changed, row_bytes: bytes, .. } = &mut *state;
            if has_changed {
                let (removed, changed) = (Arc::make_mut(removed), Arc::make_mut(changed));
                for id in changes.removed {
                    *bytes -= rows.remove(&id).map_or(0, |row| row_bytes(&row));
                    changed.remove(&id);
                    removed.insert(id);
                }
                for row in changes.rows {
                    removed.remove(&row.id);
                    changed.insert(row.id);
                    *bytes += row_bytes(&row);
                    *bytes -= rows.insert(row.id, Arc::new(row)).map_or(0, |row| row_bytes(&row));
                }
            }
            state.reached = after;
            if state.rows.len() > TAIL_ROWS || state.row_bytes > TAIL_BYTES {
                *state = State { base: watermark, is_too_long: true, ..State::default() };
                return Ok(None);
            }
            if !changes.has_more {
                let view = state.view();
                drop(state);
                self.make_room(&tail);
                return Ok(Some(view));
            }
        }
    }

    /// Drops the tails of others when all together are too long.
    fn make_room(&self, newest: &Arc<Tail>) {
        let (rows, bytes) = self.held();
        let mut by_user = self.by_user.lock();
        if rows > ALL_ROWS || bytes > ALL_BYTES || by_user.len() > ALL_ROWS {
            by_user.retain(|_, tail| Arc::ptr_eq(tail, newest));
        }
    }

    /// (rows, bytes) that are held.
    pub(super) fn held(&self) -> (usize, usize) {
        let by_user = self.by_user.lock();
        by_user.values().fold((0, 0), |(rows, bytes), tail| {
            let state = tail.state.lock();
            (rows + state.rows.len(), bytes + state.bytes())
        })
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.by_user.lock().clear();
    }
}
