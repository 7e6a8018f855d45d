//! The feeder: it writes what changed in the ledger into the table, one process at a time.
//!
//! The right to write is a lease in the ledger with a number, the fence, that counts its takings. Three things keep a
//! feeder that was stopped past its lease from bringing a forgotten row back. It asks for its right before each commit.
//! Every commit of rows replaces the marker row, which holds the fence and the watermark, and is refused by LanceDB when
//! another one has replaced it since this feeder read the table; a new feeder replaces it before it removes anything. And
//! a table that was made anew has another name, which only who has the right can put in the place of the old one.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::future::{self, Either};
use jiff::Timestamp;
use lance::dataset::{MergeInsertBuilder, WhenMatched, WhenNotMatched};
use lancedb::{
    Table,
    expr::{col, is_in, lit},
    index::{
        Index as TableIndex,
        scalar::{BTreeIndexBuilder, FtsIndexBuilder},
        vector::IvfSqIndexBuilder,
    },
    table::{CompactionOptions, OptimizeAction, OptimizeOptions},
};
use uuid::Uuid;

use super::{
    LanceIndex, Snapshot,
    errors::{Fault, Written},
    table::{self, Marker},
};
use crate::{
    blocking::blocking,
    embed::EmbeddingSpace,
    episode::Kind,
    error::{Error, Result},
    ledger::{Feeder, IndexRow, JobLease, Ledger},
};

/// How long the right is held before another process may take it. A third of it is the time between two renewals.
const LEASE: Duration = Duration::from_secs(30);
/// How long after a feeding that reached nothing the next one is due.
const RETRY: Duration = Duration::from_secs(30);
/// How often a feeding begins again because another writer was faster.
const ATTEMPTS: usize = 4;
/// Rows that are asked of the feed at once.
const PAGE: usize = 1_024;
/// A batch of about so many bytes is written, whatever the number of its rows.
const BATCH_BYTES: usize = 64 * 1024 * 1024;
/// How many ids one filter names.
const FILTER_IDS: usize = 512;
/// An index that was trained on this part of the rows is trained anew.
const RETRAIN: i64 = 4;
/// From so many versions of the table on the old ones are looked through, whichever processes made them.
const VERSIONS: usize = 16;
/// Replaced when it tells more. Ordinary rows have neither a fence nor a training.
const IS_NEWER: &str = "source.seq > target.seq OR source.fence > target.fence OR source.trained > target.trained";

/// What a feeding is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// Bring the table up to the ledger.
    Follow,
    /// Make another table.
    Rebuild,
}

/// Changes that are written in one commit.
#[derive(Debug, Default)]
struct Batch {
    rows: Vec<(String, IndexRow)>,
    places: HashMap<Uuid, usize>,
    removed: BTreeSet<Uuid>,
    bytes: usize,
    head: i64,
    has_more: bool,
}

impl Batch {
    fn insert(&mut self, user: String, row: IndexRow) {
        self.bytes += row
            .pieces
            .iter()
            .map(|piece| piece.lexical.len() + piece.vector.as_ref().map_or(0, Vec::len))
            .sum::<usize>();
        self.removed.remove(&row.id);
        if let Some(&place) = self.places.get(&row.id) {
            self.rows[place] = (user, row);
        } else {
            self.places.insert(row.id, self.rows.len());
            self.rows.push((user, row));
        }
    }

    fn remove(&mut self, id: Uuid) {
        if let Some(place) = self.places.remove(&id) {
            self.rows.swap_remove(place);
            if let Some((_, moved)) = self.rows.get(place) {
                self.places.insert(moved.id, place);
            }
        }
        self.removed.insert(id);
    }
}

/// A feeding in progress.
struct Feeding<'f> {
    index: &'f LanceIndex,
    ledger: &'f dyn Ledger,
    right: &'f Feeder,
    table: Table,
    place: String,
    marker: Marker,
    dimensions: usize,
    /// Whether the marker has this feeder's number.
    is_fenced: bool,
    /// Nobody reads the table yet. What was removed by then is in no row of it.
    made_at: Option<i64>,
    written: bool,
}

impl LanceIndex {
    fn lease(&self, now: Timestamp) -> Result<JobLease> {
        let until = now.checked_add(LEASE).map_err(|error| {
            Error::invalid_input(format!("the clock stands at {now}, the end of time")).with_source(error)
        })?;
        Ok(JobLease { holder: self.holder, until })
    }

    /// Feeds the table. Gives whether the goal was reached: not when another process has the right.
    pub(super) async fn feed_to(&self, ledger: &dyn Ledger, goal: Goal) -> Result<bool> {
        let turn = self.feeding.acquire().await;
        let _turn = turn.map_err(|error| Error::internal("the index stopped feeding").with_source(error))?;
        let reached = self.try_to_feed(ledger, goal).await;
        let due_from = match reached {
            Ok(true) => Timestamp::MIN,
            // Every search would begin the next one.
            _ => self.clock.now().checked_add(RETRY).unwrap_or(Timestamp::MAX),
        };
        *self.due_from.lock() = due_from;
        reached
    }

    async fn try_to_feed(&self, ledger: &dyn Ledger, goal: Goal) -> Result<bool> {
        let head = ledger.head()?;
        let goal = if self.is_broken.load(Ordering::Acquire) { Goal::Rebuild } else { goal };
        if goal == Goal::Follow && self.fed.load(Ordering::Acquire) == head {
            return Ok(true);
        }
        for _attempt in 0..ATTEMPTS {
            let now = self.clock.now();
            let Some(right) = ledger.take_feeder(now, self.lease(now)?).await? else { return Ok(false) };
            let outcome = self.renewing(ledger, &right, self.feed_with(ledger, &right, goal)).await;
            ledger.release_feeder(right.fence, right.holder).await?;
            match outcome {
                Ok(reached) => {
                    self.fed.store(reached, Ordering::Release);
                    self.is_broken.store(false, Ordering::Release);
                    return Ok(true);
                }
                Err(Fault::Overtaken) => {
                    self.figures.conflicts.fetch_add(1, Ordering::Relaxed);
                }
                Err(Fault::Failed(error)) => {
                    self.note_failure("write", &error);
                    // The next feeding looks again what is there.
                    self.fed.store(-self.settings.due_changes, Ordering::Release);
                    return Err(error);
                }
            }
        }
        Ok(false)
    }

    /// Renews the right while work goes on. Whoever lost it is told at the next commit.
    async fn renewing<T>(&self, ledger: &dyn Ledger, right: &Feeder, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            let now = self.clock.now();
            let again = now.checked_add(LEASE / 3).unwrap_or(Timestamp::MAX);
            match future::select(work, self.clock.wait_until(again)).await {
                Either::Left((done, _)) => return done,
                Either::Right(((), rest)) => {
                    work = rest;
                    if let Ok(lease) = self.lease(self.clock.now())
                        && let Err(error) = ledger.renew_feeder(right.fence, lease).await
                    {
                        tracing::warn!(target: "umi::index", kind = ?error.kind(), "the right to feed was not renewed");
                    }
                }
            }
        }
    }

    /// Feeds with the right to, and gives the place in the feed that was reached.
    async fn feed_with(&self, ledger: &dyn Ledger, right: &Feeder, goal: Goal) -> Written<i64> {
        self.sweep(right.place.as_deref()).await?;
        let Some(space) = ledger.active_space().await? else { return Ok(ledger.head()?) };
        let mut feeding = match self.resume(ledger, right, goal, &space).await? {
            Some(feeding) => feeding,
            None => self.begin(ledger, right, &space).await?,
        };
        let reached = feeding.follow().await?;
        match feeding.maintain().await {
            // The rows are there: searches are slower until it succeeds.
            Err(Fault::Failed(error)) => self.note_failure("maintain", &error),
            maintained => maintained?,
        }
        let Feeding { table, place, marker, dimensions, made_at, written, .. } = feeding;
        if made_at.is_some() {
            if ledger.active_space().await?.as_ref() != Some(&space) {
                // It flipped meanwhile: this table is of no use.
                return Err(Fault::Overtaken);
            }
            if !ledger.place_feeder(right.fence, right.holder, &place).await? {
                return Err(Fault::Overtaken);
            }
            self.figures.rebuilds.fetch_add(1, Ordering::Relaxed);
        }
        if made_at.is_some() || written {
            // Opened again, so that what is read stays at one version.
            let snapshot = self.read(&place).await?.unwrap_or(Snapshot { table, marker, dimensions });
            *self.snapshot.lock() = Some(Arc::new(snapshot));
            self.looked_at.store(reached, Ordering::Release);
            self.sweep(Some(&place)).await?;
            self.measure().await?;
        }
        Ok(reached)
    }

    /// Goes on with the table that is read, if there is one that fits.
    async fn resume<'f>(
        &'f self,
        ledger: &'f dyn Ledger,
        right: &'f Feeder,
        goal: Goal,
        space: &EmbeddingSpace,
    ) -> Written<Option<Feeding<'f>>> {
        let Some(place) = right.place.clone().filter(|_| goal == Goal::Follow) else { return Ok(None) };
        let (table, marker) = match self.open(&place).await {
            Ok((table, Some(marker))) => (table, marker),
            Ok((_, None)) => return Ok(None),
            Err(error) => {
                self.note_failure("open", &error);
                return Ok(None);
            }
        };
        let dimensions = table::dimensions(&table).await?;
        let fits =
            marker.space == name_of(space) && dimensions == space.dimensions && marker.watermark <= ledger.head()?;
        if marker.fence > right.fence {
            return Err(Fault::Overtaken);
        }
        let is_fenced = marker.fence == right.fence;
        let (made_at, written) = (None, false);
        Ok(fits.then_some(Feeding {
            index: self,
            ledger,
            right,
            table,
            place,
            marker,
            dimensions,
            is_fenced,
            made_at,
            written,
        }))
    }

    /// Makes a table, which nobody reads yet.
    async fn begin<'f>(
        &'f self,
        ledger: &'f dyn Ledger,
        right: &'f Feeder,
        space: &EmbeddingSpace,
    ) -> Written<Feeding<'f>> {
        let place = format!("pieces_{}", right.fence);
        let schema = table::schema(space.dimensions)?;
        let table = self.connection().await?.create_empty_table(&place, schema).execute().await?;
        let marker = Marker { watermark: 0, fence: right.fence, space: name_of(space), trained: 0 };
        let made_at = Some(ledger.head()?);
        let (dimensions, is_fenced, written) = (space.dimensions, true, false);
        Ok(Feeding { index: self, ledger, right, table, place, marker, dimensions, is_fenced, made_at, written })
    }

    /// Removes the tables that are not read: those of feeders that ended or lost their right.
    async fn sweep(&self, place: Option<&str>) -> Result<()> {
        let (folder, kept) = (self.folder.clone(), place.map(|place| format!("{place}.lance")));
        blocking(move || {
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(unswept(&folder, error)),
            };
            for entry in entries {
                let entry = entry.map_err(|error| unswept(&folder, error))?;
                if entry.file_name().to_str() == kept.as_deref() {
                    continue;
                }
                let path = entry.path();
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let removed = if is_folder { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
                match removed {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(unswept(&path, error)),
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }

    /// Measures the folder.
    async fn measure(&self) -> Result<()> {
        let folder = self.folder.clone();
        let bytes = blocking(move || Ok(bytes_in(folder))).await?;
        self.figures.bytes_on_disk.store(bytes, Ordering::Relaxed);
        Ok(())
    }
}

fn unswept(path: &std::path::Path, error: std::io::Error) -> Error {
    Error::new(crate::error::ErrorKind::StoreIo, format!("cannot clean `{}`", path.display())).with_source(error)
}

/// Bytes of all files below a folder. What goes meanwhile is not counted.
fn bytes_in(folder: PathBuf) -> u64 {
    let mut open = vec![folder];
    let mut bytes = 0;
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => open.push(entry.path()),
                Ok(metadata) => bytes += metadata.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}

fn remote() -> Error {
    Error::internal("the table of the index is a remote one")
}

/// A space as the marker names it.
fn name_of(space: &EmbeddingSpace) -> String {
    format!("{}/{}/{}", space.model, space.dimensions, space.digest)
}

impl Feeding<'_> {
    /// Writes everything up to the feed's head, and gives the place that was reached.
    async fn follow(&mut self) -> Written<i64> {
        let mut after = self.marker.watermark;
        loop {
            let batch = self.gather(after).await?;
            after = batch.head;
            let has_more = batch.has_more;
            // A table without a marker is none.
            if !batch.rows.is_empty() || !batch.removed.is_empty() || (self.made_at.is_some() && !self.written) {
                self.write(batch).await?;
            }
            if !has_more {
                return Ok(after);
            }
        }
    }

    /// Reads the next batch behind a place.
    async fn gather(&self, after: i64) -> Result<Batch> {
        let mut batch = Batch { head: after, ..Batch::default() };
        loop {
            let changes = self.ledger.all_changes(batch.head, PAGE).await?;
            if changes.has_more && changes.head <= batch.head {
                return Err(Error::internal(format!("the change feed stands still at `{}`", batch.head)));
            }
            if self.made_at.is_none_or(|made_at| changes.head > made_at) {
                changes.removed.into_iter().for_each(|id| batch.remove(id));
            }
            changes.rows.into_iter().for_each(|(user, row)| batch.insert(user, row));
            (batch.head, batch.has_more) = (changes.head, changes.has_more);
            if !batch.has_more || batch.rows.len() >= self.index.settings.batch_rows || batch.bytes >= BATCH_BYTES {
                return Ok(batch);
            }
        }
    }

    /// Writes a batch and the watermark that it reaches.
    async fn write(&mut self, batch: Batch) -> Written<()> {
        let Batch { rows, removed, head, .. } = batch;
        // What goes is gone before the watermark says so: a feeder that is stopped in between begins it again.
        self.delete(removed.into_iter().collect(), head).await?;
        let oldest = rows.iter().map(|(_, row)| row.seq).min().unwrap_or(head);
        let shorter = self.shorter(&rows).await?;
        self.delete(shorter, oldest - 1).await?;
        let marker = Marker { watermark: head, fence: self.right.fence, ..self.marker.clone() };
        self.merge(rows, marker).await
    }

    /// The facts of which the table holds more parts than there are by now: a version that lost a saying has fewer.
    async fn shorter(&self, rows: &[(String, IndexRow)]) -> Written<Vec<Uuid>> {
        let rows = rows.iter().map(|(_, row)| row);
        // In a new table a row is there once, unless it has changed since.
        let may_be_held = |row: &&IndexRow| self.made_at.is_none_or(|made_at| row.seq > made_at);
        let facts = rows.filter(|row| row.kind == Kind::Fact).filter(may_be_held);
        let parts: HashMap<Uuid, usize> = facts.map(|row| (row.id, row.origins.len() * row.pieces.len())).collect();
        let mut ids: Vec<Uuid> = parts.keys().copied().collect();
        ids.sort_unstable();
        let mut shorter = BTreeSet::new();
        for ids in ids.chunks(FILTER_IDS) {
            let held = table::parts_of(&self.table, ids).await?;
            let is_left = |&(id, part): &(Uuid, i32)| {
                parts.get(&id).is_some_and(|&parts| usize::try_from(part).is_ok_and(|part| part >= parts))
            };
            shorter.extend(held.into_iter().filter(is_left).map(|(id, _)| id));
        }
        Ok(shorter.into_iter().collect())
    }

    /// Asks whether the right is still this feeder's.
    async fn check_right(&self) -> Written<()> {
        let lease = self.index.lease(self.index.clock.now())?;
        if self.ledger.renew_feeder(self.right.fence, lease).await? { Ok(()) } else { Err(Fault::Overtaken) }
    }

    /// Commits rows and the marker, where they are newer than what is there.
    async fn merge(&mut self, rows: Vec<(String, IndexRow)>, marker: Marker) -> Written<()> {
        let (to_write, dimensions) = (marker.clone(), self.dimensions);
        let batch = blocking(move || table::batch(&rows, &to_write, dimensions)).await?;
        self.check_right().await?;
        #[cfg(test)]
        self.index.hook.before_commit().await;
        let wrapper = self.table.dataset().ok_or_else(remote)?;
        let dataset = wrapper.get().await?;
        let job = MergeInsertBuilder::try_new(Arc::clone(&dataset), vec!["id".to_owned(), "part".to_owned()])?
            .when_matched(WhenMatched::update_if(&dataset, IS_NEWER)?)
            .when_not_matched(WhenNotMatched::InsertAll)
            .conflict_retries(0)
            .try_build()?;
        let (merged, _) = job.execute_batches(vec![batch]).await?;
        wrapper.update(Arc::unwrap_or_clone(merged));
        self.marker = marker;
        (self.is_fenced, self.written) = (true, true);
        self.index.figures.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Removes rows that are not newer than a place in the feed.
    async fn delete(&mut self, ids: Vec<Uuid>, until: i64) -> Written<()> {
        if !ids.is_empty() && !self.is_fenced {
            // Whoever still writes with an older number is refused from here on.
            let marker = Marker { fence: self.right.fence, ..self.marker.clone() };
            self.merge(Vec::new(), marker).await?;
        }
        for ids in ids.chunks(FILTER_IDS) {
            self.check_right().await?;
            let ids = ids.iter().map(|id| lit(table::key(*id))).collect();
            let gone = is_in(col("id"), ids).and(col("seq").lt_eq(lit(until)));
            self.table.delete(&gone).await?;
        }
        Ok(())
    }

    /// Merges files, makes and refreshes indexes, removes old versions, where it is time to.
    async fn maintain(&mut self) -> Written<()> {
        let LanceIndex { settings, figures, .. } = self.index;
        let rows = self.table.count_rows(None).await?;
        if self.count_fragments().await? >= settings.fragments {
            self.check_right().await?;
            let options = CompactionOptions::default();
            self.table.optimize(OptimizeAction::Compact { options, remap_options: None }).await?;
            figures.compactions.fetch_add(1, Ordering::Relaxed);
        }
        let mut unindexed = rows;
        if rows >= settings.indexed_rows {
            unindexed = self.index_rows(rows).await?;
        }
        let mut versions = self.table.list_versions().await?.len();
        if self.written && versions >= VERSIONS {
            self.check_right().await?;
            let older_than = lancedb::table::Duration::minutes(settings.kept_minutes);
            let pruned = self.table.optimize(OptimizeAction::Prune {
                older_than: Some(older_than),
                delete_unverified: None,
                error_if_tagged_old_versions: None,
            });
            let removed = pruned.await?.prune.map_or(0, |removed| removed.bytes_removed);
            figures.cleaned_bytes.fetch_add(removed, Ordering::Relaxed);
            versions = self.table.list_versions().await?.len();
        }
        figures.rows.store(rows.saturating_sub(1) as u64, Ordering::Relaxed); // one of them is the marker
        figures.unindexed_rows.store(unindexed as u64, Ordering::Relaxed);
        figures.fragments.store(self.count_fragments().await? as u64, Ordering::Relaxed);
        figures.versions.store(versions as u64, Ordering::Relaxed);
        Ok(())
    }

    async fn count_fragments(&self) -> Written<usize> {
        let native = self.table.as_native().ok_or_else(remote)?;
        Ok(native.count_fragments().await?)
    }

    /// Makes the indexes that are missing and refreshes those that lag. Gives how many rows the vector index lacks.
    async fn index_rows(&mut self, rows: usize) -> Written<usize> {
        let known: Vec<String> = self.table.list_indices().await?.into_iter().map(|index| index.name).collect();
        let has = |name: &str| known.iter().any(|known| known == name);
        for column in ["id", "user", "agent", "session"] {
            if !has(column) {
                self.make_index(column, TableIndex::BTree(BTreeIndexBuilder::default())).await?;
            }
        }
        if !has("terms") {
            // The terms are words of our own making: nothing is to be done to them.
            let builder = FtsIndexBuilder::default().base_tokenizer("whitespace".to_owned()).max_token_length(None);
            let builder = builder.lower_case(false).stem(false).remove_stop_words(false).ascii_folding(false);
            self.make_index("terms", TableIndex::FTS(builder.with_position(false))).await?;
        }
        let vectors = self.table.count_rows(Some("vector IS NOT NULL".to_owned())).await?;
        let is_old = self.marker.trained.saturating_mul(RETRAIN) <= i64::try_from(vectors).unwrap_or(i64::MAX);
        if vectors >= self.index.settings.indexed_rows && (!has("vector") || is_old) {
            self.make_index("vector", TableIndex::IvfSq(IvfSqIndexBuilder::default())).await?;
            let trained = i64::try_from(vectors).unwrap_or(i64::MAX);
            let marker = Marker { trained, fence: self.right.fence, ..self.marker.clone() };
            self.merge(Vec::new(), marker).await?;
        }
        let mut most = 0;
        for name in ["terms", "vector"] {
            let Some(stats) = self.table.index_stats(name).await? else { continue };
            let allowed = self.index.settings.unindexed_rows.max(stats.num_indexed_rows / 10);
            if stats.num_unindexed_rows > allowed {
                most = most.max(stats.num_unindexed_rows);
            }
        }
        if most > 0 {
            self.check_right().await?;
            self.table.optimize(OptimizeAction::Index(OptimizeOptions::default())).await?;
            self.written = true;
            self.index.figures.indexings.fetch_add(1, Ordering::Relaxed);
        }
        Ok(self.table.index_stats("vector").await?.map_or(rows, |stats| stats.num_unindexed_rows))
    }

    async fn make_index(&mut self, column: &str, index: TableIndex) -> Written<()> {
        self.check_right().await?;
        let made = self.table.create_index(&[column], index).name(column.to_owned()).replace(true).execute();
        made.await?;
        self.written = true;
        self.index.figures.indexings.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
