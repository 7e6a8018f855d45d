//! How often words are in the rows of a tenant: counted in all of a small one, in an even sample of a large one.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    blocking::blocking,
    error::{Error, Result},
    index::ram::pool::Sample,
    ledger::Ledger,
    scope::Scope,
};

/// A tenant of more rows is sampled.
pub(super) const SAMPLED_ROWS: usize = 8_192;
/// How many stretches of the feed a sample is taken from.
const STRETCHES: i64 = 32;
/// Rows of each of them.
const PAGE: usize = 256;
/// Every so many rows of a sample one is kept, to stand for the rows that a search does not look at.
const BACKGROUND: usize = 32;
/// Samples of about so many bytes are kept.
const KEPT_BYTES: usize = 64 * 1024 * 1024;
/// A sample is taken anew when the feed has grown by this part of its length, and a little.
const GROWTH: i64 = 4;
const GROWTH_AT_LEAST: i64 = 16;

/// A sample of a tenant.
#[derive(Debug)]
pub(super) struct Sampled {
    pub(super) sample: Sample,
    /// Whether it holds every row of the tenant.
    pub(super) is_whole: bool,
    head: i64,
}

/// The samples of the tenants that were asked for.
#[derive(Debug, Default)]
pub(super) struct Samples {
    by_user: Mutex<HashMap<Option<String>, Arc<Sampled>>>,
}

impl Samples {
    /// The sample of a tenant, taken anew when much has changed in the store.
    pub(super) async fn of(&self, ledger: &dyn Ledger, scope: &Scope) -> Result<Arc<Sampled>> {
        let user = scope.user().map(str::to_owned);
        let head = ledger.head()?;
        let known = self.by_user.lock().get(&user).cloned();
        if let Some(known) = known.filter(|known| {
            let grown = head - known.head;
            (0..=known.head / GROWTH + GROWTH_AT_LEAST).contains(&grown)
        }) {
            return Ok(known);
        }
        let sampled = Arc::new(take(ledger, scope, head).await?);
        let mut by_user = self.by_user.lock();
        let bytes = |sampled: &Arc<Sampled>| sampled.sample.heap_bytes();
        if by_user.values().map(bytes).sum::<usize>() + bytes(&sampled) > KEPT_BYTES {
            by_user.clear();
        }
        by_user.insert(user, Arc::clone(&sampled));
        Ok(sampled)
    }

    /// Bytes of memory, about.
    pub(super) fn heap_bytes(&self) -> usize {
        self.by_user.lock().values().map(|sampled| sampled.sample.heap_bytes()).sum()
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.by_user.lock().clear();
    }
}

async fn take(ledger: &dyn Ledger, scope: &Scope, head: i64) -> Result<Sampled> {
    let mut sample = Sample::default();
    let mut after = 0;
    while sample.items() < SAMPLED_ROWS {
        let (taken, next) = page(ledger, scope, after, sample).await?;
        sample = taken;
        let Some(next) = next else { return Ok(Sampled { sample, is_whole: true, head }) };
        if next <= after {
            return Err(Error::internal(format!("the change feed stands still at `{after}`")));
        }
        after = next;
    }
    // Stretches from all over the feed, because what is said changes with time.
    let mut sample = Sample::default();
    let mut reached = -1;
    for stretch in 0..STRETCHES {
        let after = (head / STRETCHES * stretch).max(reached);
        let (taken, next) = page(ledger, scope, after, sample).await?;
        sample = taken;
        let Some(next) = next else { break };
        reached = next;
    }
    Ok(Sampled { sample, is_whole: false, head })
}

/// Takes a page behind a place, and gives where the next one begins.
async fn page(ledger: &dyn Ledger, scope: &Scope, after: i64, mut sample: Sample) -> Result<(Sample, Option<i64>)> {
    let changes = ledger.changes(scope, after.max(0), PAGE).await?;
    let next = changes.has_more.then_some(changes.head);
    let sample = blocking(move || {
        for row in changes.rows {
            let is_background = sample.items().is_multiple_of(BACKGROUND);
            sample.add(row, is_background)?;
        }
        Ok(sample)
    })
    .await?;
    Ok((sample, next))
}
