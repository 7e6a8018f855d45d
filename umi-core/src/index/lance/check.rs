//! The check of the table: that it holds what the ledger gives up to its watermark, and nothing else.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{LanceIndex, table};
use crate::{
    error::{Error, Result},
    ledger::Ledger,
    scope::Scope,
};

/// Rows that are asked of the feed at once.
const PAGE: usize = 256;
/// The most findings of one tenant.
const PROBLEMS: usize = 1_000;

impl LanceIndex {
    /// Compares what the table holds of a tenant with the ledger. What changed behind the table's watermark is passed
    /// over: the tail has it.
    pub(super) async fn check_table(&self, ledger: &dyn Ledger, scope: &Scope) -> Result<Vec<String>> {
        let Some(place) = ledger.feeder_place().await? else { return Ok(Vec::new()) };
        let snapshot = match self.read(&place).await {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => return Ok(vec![format!("the table `{place}` has no marker")]),
            Err(error) => return Ok(vec![error.to_string()]),
        };
        let watermark = snapshot.marker.watermark;
        let mut held: BTreeMap<Uuid, (usize, i64)> = BTreeMap::new();
        for (id, _, seq) in table::rows_of(&snapshot.table, scope.user()).await? {
            let entry = held.entry(id).or_insert((0, seq));
            *entry = (entry.0 + 1, entry.1.min(seq));
        }
        let mut problems = Vec::new();
        let mut after = 0;
        loop {
            let changes = ledger.changes(scope, after, PAGE).await?;
            // What was removed or changed behind the watermark may still be held.
            for id in changes.removed.iter().filter(|_| changes.head > watermark) {
                held.remove(id);
            }
            for row in &changes.rows {
                let parts = row.origins.len() * row.pieces.len();
                let own = held.remove(&row.id);
                if row.seq <= watermark && own != Some((parts, row.seq)) {
                    problems.push(format!(
                        "the {} {} is not in the table as the ledger has it",
                        row.kind.as_str(),
                        row.id
                    ));
                }
            }
            if !changes.has_more || problems.len() > PROBLEMS {
                break;
            }
            if changes.head <= after {
                return Err(Error::internal(format!("the change feed stands still at `{after}`")));
            }
            after = changes.head;
        }
        if problems.len() <= PROBLEMS {
            let untold = held.keys().take(PROBLEMS - problems.len());
            problems.extend(untold.map(|id| format!("{id} is in the table and not in the ledger")));
        }
        Ok(problems)
    }
}
