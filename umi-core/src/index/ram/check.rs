//! The check of a tenant: that every row decodes, and that what is loaded is what the ledger gives.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use uuid::Uuid;

use super::{Feed, PAGE, RamIndex, next_page, partition, tenants::Tenant};
use crate::{
    blocking::blocking,
    error::{ErrorKind, Result},
    index::{analysis::Lexical, vector},
    ledger::{Changes, IndexRow},
    scope::Scope,
};

/// The most findings of one tenant.
const PROBLEMS: usize = 1_000;
/// How many pages behind the first head are followed, where others write meanwhile.
const PAGES_BEHIND: usize = 64;

/// What differs so far. A row that changes while it is looked at comes again in the feed, and is judged by what it is then.
#[derive(Default)]
struct Comparison {
    /// Rows that were read and are not gone again, where a tenant is loaded.
    seen: HashSet<Uuid>,
    problems: BTreeMap<Uuid, String>,
}

impl Comparison {
    fn take(&mut self, changes: &Changes, tenant: Option<&Tenant>, dimensions: Option<usize>) {
        let partition = tenant.map(|tenant| tenant.partition());
        for id in &changes.removed {
            self.seen.remove(id);
            self.problems.remove(id);
        }
        for row in &changes.rows {
            self.problems.remove(&row.id);
            let problem = match undecodable(row, dimensions) {
                Some(why) => Some(why),
                None => partition
                    .as_ref()
                    .filter(|partition| !partition.holds(row))
                    .map(|_| format!("the {} {} is not loaded as the ledger has it", row.kind.as_str(), row.id)),
            };
            if let Some(problem) = problem
                && self.problems.len() < PROBLEMS
            {
                self.problems.insert(row.id, problem);
            }
            if partition.is_some() {
                self.seen.insert(row.id);
            }
        }
    }

    /// Adds what is loaded and not in the ledger, where nothing was loaded behind the place that was `reached`.
    fn finish(mut self, tenant: Option<&Tenant>, reached: i64) -> Vec<String> {
        let partition = tenant.map(|tenant| tenant.partition());
        if let Some(partition) = partition.filter(|partition| partition.watermark() <= reached) {
            for id in partition.ids().filter(|id| !self.seen.contains(id)).take(PROBLEMS) {
                self.problems.insert(id, format!("{id} is loaded and not in the ledger"));
            }
        }
        self.problems.into_values().collect()
    }
}

/// Why a search could not read a row.
fn undecodable(row: &IndexRow, dimensions: Option<usize>) -> Option<String> {
    let whole = partition::parts(row).err();
    let mut pieces = row.pieces.iter().map(|piece| {
        Lexical::decode(&piece.lexical)?;
        match (&piece.vector, dimensions) {
            (Some(encoded), Some(dimensions)) => vector::decode(encoded, dimensions).map(drop),
            _ => Ok(()),
        }
    });
    let error = whole.or_else(|| pieces.find_map(Result::err))?;
    Some(format!("the {} {}: {}", row.kind.as_str(), row.id, error.message()))
}

impl RamIndex {
    /// See [`Index::check`](crate::index::Index::check).
    pub(super) async fn check_feed(
        &self,
        feed: &dyn Feed,
        scope: &Scope,
        dimensions: Option<usize>,
    ) -> Result<Vec<String>> {
        let known = self.tenants.lock().known(scope.user());
        let mut loaded = known.filter(|tenant| tenant.watermark() > 0);
        let mut comparison = Comparison::default();
        let mut after = 0;
        let mut pages_behind = 0;
        let head = feed.head()?;
        loop {
            let changes = match feed.changes(scope, after, PAGE).await {
                Ok(changes) => changes,
                Err(error) if error.kind() == ErrorKind::CorruptStore => {
                    return Ok(vec![format!("behind seq {after} of `{}`: {}", shown(scope), error.message())]);
                }
                Err(error) => return Err(error),
            };
            let next = next_page(after, &changes)?;
            if let Some(tenant) = &loaded {
                // It must have taken what it is compared with. What cannot be loaded again is told row by row.
                match self.follow(feed, scope, tenant).await {
                    Ok(Some(_)) => {}
                    Ok(None) => loaded = None,
                    Err(error) if error.kind() == ErrorKind::CorruptStore => loaded = None,
                    Err(error) => return Err(error),
                }
            }
            let reached = changes.head;
            let tenant = loaded.clone();
            comparison = blocking(move || {
                comparison.take(&changes, tenant.as_deref(), dimensions);
                Ok(comparison)
            })
            .await?;
            after = next.unwrap_or(reached);
            pages_behind += usize::from(after > head);
            let is_level = loaded.as_ref().is_none_or(|tenant| tenant.watermark() <= after);
            if next.is_none() && (is_level || pages_behind > PAGES_BEHIND) {
                break;
            }
        }
        if pages_behind > PAGES_BEHIND {
            // Others write faster than this reads: what seems to differ may be of two times.
            loaded = None;
            comparison.problems.retain(|_, problem| !problem.ends_with("as the ledger has it"));
        }
        let tenant: Option<Arc<Tenant>> = loaded;
        Ok(comparison.finish(tenant.as_deref(), after))
    }
}

fn shown(scope: &Scope) -> &str {
    scope.user().unwrap_or("")
}
