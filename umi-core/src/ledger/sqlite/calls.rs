//! The calls of [`Ledger`], each brought to a connection: to the thread that writes, to a reader, or at once.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::Connection;
use uuid::Uuid;

#[cfg(feature = "lance")]
use super::feeders;
use super::{
    Parts, ROW_BYTES, SqliteLedger, check, contexts,
    core::{self, Edit},
    episodes, errors, extraction, facts, feed, forget, jobs, lookup, open, spaces, whole,
    working::{self, Change},
    writer::Write,
};
#[cfg(feature = "lance")]
use crate::ledger::{AllChanges, Feeder, IndexRow, Owner, TurnPlace};
use crate::{
    blocking::blocking,
    context::{GlobalRef, RefId},
    core_memory::{Block, BlockType, CoreLimits, CoreMemory},
    embed::EmbeddingSpace,
    entity::{Entity, EntityType, EvolutionRelation},
    episode::Episode,
    error::{Error, Result},
    ledger::{
        Appended, Attachment, Blob, Changes, CheckReport, EpisodePage, Extraction, ExtractionOutcome, FactFilter,
        FactUpdate, ForgetReach, Job, JobChoice, JobFailure, JobLease, LeasedJob, Ledger, LedgerStats, NewBlob,
        NewEpisode, NewFact, OwnerText, OwnerVectors, Piece, Recorded, SavedContext, SavedItem, SavedSource, Worked,
        WorkingChange, WorkingEntry,
    },
    scope::Scope,
    working_memory::{TimeToLive, WorkingLimits},
};

/// So few rows are read on the caller's thread: that takes less than going to another one and back.
const ROWS_AT_ONCE: usize = 16;

fn episode_bytes(new: &NewEpisode) -> usize {
    let pieces: usize = new.pieces.iter().map(piece_bytes).sum();
    ROW_BYTES + new.episode.text.len() + new.episode.metadata.as_str().len() + pieces
}

fn fact_bytes(new: &NewFact) -> usize {
    ROW_BYTES + 2 * new.entity.content.len() + piece_bytes(&new.piece)
}

fn item_bytes(item: &SavedItem) -> usize {
    let text = if let SavedSource::Text(text) = &item.source { text.len() } else { 0 };
    ROW_BYTES + text + item.metadata.as_ref().map_or(0, |metadata| metadata.as_str().len())
}

fn piece_bytes(piece: &Piece) -> usize {
    piece.lexical.len() + piece.vector.as_ref().map_or(0, Vec::len)
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn active_space(&self) -> Result<Option<EmbeddingSpace>> {
        // Every recall asks this: a thread of its own would cost it more than the answer.
        self.parts()?.readers.micro(|connection| Ok(spaces::active(connection)?.map(|(_, space)| space)))
    }

    async fn claim_space(&self, space: &EmbeddingSpace) -> Result<()> {
        let space = space.clone();
        self.write(ROW_BYTES, move |write| spaces::claim(write, &space).map(drop)).await
    }

    async fn owners_without_vectors(&self, space: &EmbeddingSpace, limit: usize) -> Result<Vec<OwnerText>> {
        let space = space.clone();
        self.read(move |connection| spaces::without_vectors(connection, &space, limit)).await
    }

    async fn count_without_vectors(&self, space: &EmbeddingSpace) -> Result<u64> {
        let space = space.clone();
        self.read(move |connection| spaces::count_without_vectors(connection, &space)).await
    }

    async fn put_vectors(&self, space: &EmbeddingSpace, vectors: Vec<OwnerVectors>) -> Result<()> {
        let space = space.clone();
        let bytes = vectors.iter().flat_map(|owner| &owner.vectors).map(|(_, vector)| vector.len()).sum();
        self.write(bytes, move |write| spaces::put(write, &space, &vectors)).await
    }

    async fn activate_space(&self, space: &EmbeddingSpace) -> Result<bool> {
        let space = space.clone();
        self.write(ROW_BYTES, move |write| spaces::activate(write, &space)).await
    }

    async fn append(&self, space: &EmbeddingSpace, episodes: Vec<NewEpisode>) -> Result<Vec<Appended>> {
        let space = space.clone();
        let bytes = episodes.iter().map(episode_bytes).sum();
        let blobs = Arc::clone(&self.blobs);
        self.write(bytes, move |write| {
            // Under the lock of writers, so that nobody removes them before the rows that name them are there.
            blobs.check(episodes.iter().filter_map(|new| new.attachment.as_ref()?.blob.as_ref()))?;
            episodes::append(write, &space, &episodes)
        })
        .await
    }

    async fn record(&self, space: &EmbeddingSpace, facts: Vec<NewFact>) -> Result<Vec<Recorded>> {
        let space = space.clone();
        let bytes = facts.iter().map(fact_bytes).sum();
        self.write(bytes, move |write| facts::record(write, &space, &facts)).await
    }

    async fn record_extracted(&self, space: &EmbeddingSpace, extraction: Extraction) -> Result<ExtractionOutcome> {
        let space = space.clone();
        let facts: usize = extraction.facts.iter().map(fact_bytes).sum();
        let relations: usize = extraction.relations.iter().map(|relation| ROW_BYTES + relation.reason.len()).sum();
        self.write(facts + relations, move |write| extraction::record(write, &space, &extraction)).await
    }

    async fn subject_facts(
        &self,
        scope: &Scope,
        subjects: &[(EntityType, String)],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Entity>> {
        let (scope, subjects) = (scope.clone(), subjects.to_vec());
        self.read(move |connection| lookup::of_subjects(connection, &scope, &subjects, now, limit)).await
    }

    async fn update(&self, space: &EmbeddingSpace, scope: &Scope, update: FactUpdate) -> Result<Recorded> {
        let (space, scope) = (space.clone(), scope.clone());
        let bytes = ROW_BYTES + piece_bytes(&update.piece);
        self.write(bytes, move |write| facts::update(write, &space, &scope, update)).await
    }

    async fn forget(&self, scope: &Scope, id: Uuid, reach: ForgetReach, now: Timestamp) -> Result<bool> {
        let scope = scope.clone();
        self.write(ROW_BYTES, move |write| forget::forget(write, &scope, id, reach, now)).await
    }

    async fn forget_scope(&self, scope: &Scope, now: Timestamp) -> Result<u64> {
        let scope = scope.clone();
        self.write(ROW_BYTES, move |write| forget::forget_scope(write, &scope, now)).await
    }

    async fn purge(&self, now: Timestamp) -> Result<()> {
        self.write(ROW_BYTES, move |write| working::cleanup_all(write, now)).await?;
        let Parts { writer, readers, .. } = self.parts()?;
        writer.alone(whole::vacuum).await?;
        let blobs = Arc::clone(&self.blobs);
        writer.alone(move |write| Ok(blobs.collect(&contexts::blob_names(write.connection)?, None)?)).await?;
        let Some(folder) = &self.folder else { return Ok(()) };
        let database = folder.join(open::DATABASE);
        // The old pages cannot go while one of our own reads needs them.
        let pause = readers.pause().await?;
        let done = writer.alone(move |write| whole::empty_log(write, &database)).await;
        drop(pause);
        done
    }

    async fn fact(&self, scope: &Scope, id: Uuid) -> Result<Option<Entity>> {
        let scope = scope.clone();
        self.read(move |connection| lookup::get(connection, &scope, id)).await
    }

    async fn current(&self, scope: &Scope, id: Uuid, now: Timestamp) -> Result<Option<Entity>> {
        let scope = scope.clone();
        self.read(move |connection| {
            let Some(version) = lookup::key(connection, &scope, id)? else { return Ok(None) };
            Ok(lookup::current(connection, &scope, version, now)?.map(|(_, version)| version))
        })
        .await
    }

    async fn episode(&self, scope: &Scope, id: Uuid) -> Result<Option<Episode>> {
        let scope = scope.clone();
        self.read(move |connection| episodes::get(connection, &scope, id)).await
    }

    async fn facts_by_id(&self, scope: &Scope, ids: &[Uuid]) -> Result<Vec<Entity>> {
        if ids.len() <= ROWS_AT_ONCE {
            return self.parts()?.readers.micro_snapshot(|connection| lookup::many(connection, scope, ids));
        }
        let (scope, ids) = (scope.clone(), ids.to_vec());
        self.read(move |connection| lookup::many(connection, &scope, &ids)).await
    }

    async fn episodes_by_id(&self, scope: &Scope, ids: &[Uuid]) -> Result<Vec<Episode>> {
        if ids.len() <= ROWS_AT_ONCE {
            return self.parts()?.readers.micro_snapshot(|connection| episodes::many(connection, scope, ids));
        }
        let (scope, ids) = (scope.clone(), ids.to_vec());
        self.read(move |connection| episodes::many(connection, &scope, &ids)).await
    }

    async fn history(&self, scope: &Scope, id: Uuid) -> Result<Vec<Entity>> {
        let scope = scope.clone();
        self.read(move |connection| lookup::history(connection, &scope, id)).await
    }

    async fn evolutions(&self, scope: &Scope, id: Uuid) -> Result<Vec<EvolutionRelation>> {
        let scope = scope.clone();
        self.read(move |connection| lookup::evolutions(connection, &scope, id)).await
    }

    async fn facts(&self, scope: &Scope, filter: &FactFilter) -> Result<Vec<Entity>> {
        let (scope, filter) = (scope.clone(), filter.clone());
        self.read(move |connection| lookup::list(connection, &scope, &filter)).await
    }

    async fn episodes(&self, scope: &Scope, page: EpisodePage) -> Result<Vec<Episode>> {
        let scope = scope.clone();
        self.read(move |connection| episodes::page(connection, &scope, page)).await
    }

    async fn episodes_before(&self, origin: &Scope, place: (Timestamp, Uuid), limit: usize) -> Result<Vec<Episode>> {
        let origin = origin.clone();
        self.read(move |connection| episodes::before(connection, &origin, place, limit)).await
    }

    async fn count(&self, scope: &Scope, now: Timestamp) -> Result<u64> {
        let scope = scope.clone();
        self.read(move |connection| lookup::count(connection, &scope, now)).await
    }

    async fn has_jobs(&self, free_at: Option<Timestamp>) -> Result<bool> {
        self.read(move |connection| jobs::any(connection, free_at)).await
    }

    async fn pending(&self, scope: &Scope) -> Result<Vec<Job>> {
        let scope = scope.clone();
        self.read(move |connection| jobs::pending(connection, &scope)).await
    }

    async fn lease_jobs(&self, choice: JobChoice, now: Timestamp, lease: JobLease) -> Result<Vec<LeasedJob>> {
        self.write(ROW_BYTES, move |write| jobs::lease(write, choice, now, lease)).await
    }

    async fn renew_jobs(&self, lease: JobLease) -> Result<()> {
        self.write(ROW_BYTES, move |write| jobs::renew(write, lease)).await
    }

    async fn release_jobs(&self, holder: Uuid) -> Result<Option<Timestamp>> {
        self.write(ROW_BYTES, move |write| jobs::release(write, holder)).await
    }

    async fn put_off_jobs(&self, holder: Uuid, until: Option<Timestamp>) -> Result<()> {
        self.write(ROW_BYTES, move |write| jobs::put_off(write, holder, until)).await
    }

    async fn next_lease_end(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        self.read(move |connection| jobs::next_lease_end(connection, now)).await
    }

    async fn finish_embed_job(
        &self,
        space: &EmbeddingSpace,
        job: Uuid,
        holder: Uuid,
        vectors: OwnerVectors,
    ) -> Result<bool> {
        let space = space.clone();
        let bytes = ROW_BYTES + vectors.vectors.iter().map(|(_, vector)| vector.len()).sum::<usize>();
        self.write(bytes, move |write| jobs::finish(write, &space, job, holder, &vectors)).await
    }

    async fn fail_job(&self, job: Uuid, holder: Uuid, failure: JobFailure) -> Result<()> {
        self.write(ROW_BYTES, move |write| jobs::fail(write, job, holder, &failure)).await
    }

    fn head(&self) -> Result<i64> {
        self.parts()?.readers.micro(feed::head)
    }

    async fn tenants(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let after = after.map(str::to_owned);
        self.read(move |connection| feed::tenants(connection, after.as_deref(), limit)).await
    }

    async fn changes(&self, scope: &Scope, after: i64, limit: usize) -> Result<Changes> {
        let scope = scope.clone();
        self.read(move |connection| feed::changes(connection, &scope, after, limit)).await
    }

    #[cfg(feature = "lance")]
    async fn all_changes(&self, after: i64, limit: usize) -> Result<AllChanges> {
        self.read(move |connection| feed::all_changes(connection, after, limit)).await
    }

    #[cfg(feature = "lance")]
    async fn index_rows(&self, scope: &Scope, owners: &[Owner]) -> Result<Vec<IndexRow>> {
        let (scope, owners) = (scope.clone(), owners.to_vec());
        self.read(move |connection| feed::by_owners(connection, &scope, &owners)).await
    }

    #[cfg(feature = "lance")]
    async fn neighbours(&self, scope: &Scope, turns: &[TurnPlace], pause: i64) -> Result<Vec<IndexRow>> {
        let (scope, turns) = (scope.clone(), turns.to_vec());
        self.read(move |connection| feed::neighbours(connection, &scope, &turns, pause)).await
    }

    #[cfg(feature = "lance")]
    async fn take_feeder(&self, now: Timestamp, lease: JobLease) -> Result<Option<Feeder>> {
        self.write(ROW_BYTES, move |write| feeders::take(write, now, lease)).await
    }

    #[cfg(feature = "lance")]
    async fn renew_feeder(&self, fence: i64, lease: JobLease) -> Result<bool> {
        self.write(ROW_BYTES, move |write| feeders::renew(write, fence, lease)).await
    }

    #[cfg(feature = "lance")]
    async fn place_feeder(&self, fence: i64, holder: Uuid, place: &str) -> Result<bool> {
        let place = place.to_owned();
        self.write(ROW_BYTES, move |write| feeders::place(write, fence, holder, &place)).await
    }

    #[cfg(feature = "lance")]
    async fn release_feeder(&self, fence: i64, holder: Uuid) -> Result<()> {
        self.write(ROW_BYTES, move |write| feeders::release(write, fence, holder)).await
    }

    #[cfg(feature = "lance")]
    async fn feeder_place(&self) -> Result<Option<String>> {
        self.parts()?.readers.micro(feeders::placed)
    }

    async fn core(&self, scope: &Scope, limits: CoreLimits) -> Result<CoreMemory> {
        let parts = self.parts()?;
        parts.readers.micro(|connection| parts.core.get(connection, scope, limits))
    }

    async fn core_rendered(&self, scope: &Scope, limits: CoreLimits) -> Result<Arc<str>> {
        let parts = self.parts()?;
        parts.readers.micro(|connection| parts.core.rendered(connection, scope, limits))
    }

    async fn set_block(
        &self,
        scope: &Scope,
        limits: CoreLimits,
        block_type: BlockType,
        content: &str,
        label: Option<&str>,
        importance: Option<f64>,
        now: Timestamp,
    ) -> Result<Block> {
        let scope = scope.clone();
        let edit = Edit { block_type, content: content.to_owned(), label: label.map(str::to_owned), importance, now };
        self.write(ROW_BYTES + content.len(), move |write| core::set(write, &scope, limits, &edit)).await
    }

    async fn remove_block(&self, scope: &Scope, block_type: BlockType, now: Timestamp) -> Result<bool> {
        let scope = scope.clone();
        self.write(ROW_BYTES, move |write| core::remove(write, &scope, block_type, now)).await
    }

    async fn clear_core(&self, scope: &Scope, now: Timestamp) -> Result<()> {
        let scope = scope.clone();
        self.write(ROW_BYTES, move |write| core::clear(write, &scope, now)).await
    }

    async fn block_versions(&self, scope: &Scope, block_type: BlockType) -> Result<Vec<Block>> {
        let scope = scope.clone();
        self.read(move |connection| core::versions(connection, &scope, block_type)).await
    }

    async fn restore_block(
        &self,
        scope: &Scope,
        limits: CoreLimits,
        block_type: BlockType,
        version: u64,
        now: Timestamp,
    ) -> Result<Block> {
        let scope = scope.clone();
        self.write(ROW_BYTES, move |write| core::restore(write, &scope, limits, block_type, version, now)).await
    }

    async fn working_get(&self, scope: &Scope, key: &str, now: Timestamp) -> Result<Option<WorkingEntry>> {
        self.parts()?.readers.micro(|connection| working::get(connection, scope, key, now))
    }

    async fn working_entries(&self, scope: &Scope, now: Timestamp) -> Result<Vec<WorkingEntry>> {
        let scope = scope.clone();
        self.read(move |connection| working::entries(connection, &scope, now)).await
    }

    async fn working_usage(&self, scope: &Scope, now: Timestamp) -> Result<(usize, usize)> {
        let scope = scope.clone();
        self.read(move |connection| working::usage(connection, &scope, now)).await
    }

    async fn working_change(
        &self,
        scope: &Scope,
        limits: WorkingLimits,
        key: &str,
        change: WorkingChange,
        ttl: Option<TimeToLive>,
        now: Timestamp,
    ) -> Result<Worked> {
        let scope = scope.clone();
        let change = Change { key: key.to_owned(), what: change, ttl, now };
        self.write(ROW_BYTES, move |write| working::change(write, &scope, &limits, change)).await
    }

    async fn working_delete(&self, scope: &Scope, key: &str, now: Timestamp) -> Result<bool> {
        let (scope, key) = (scope.clone(), key.to_owned());
        self.write(ROW_BYTES, move |write| working::delete(write, &scope, &key, now)).await
    }

    async fn working_cleanup(&self, scope: &Scope, now: Timestamp) -> Result<usize> {
        let scope = scope.clone();
        self.write(ROW_BYTES, move |write| working::cleanup(write, &scope, now)).await
    }

    async fn working_clear(&self, scope: &Scope) -> Result<()> {
        let scope = scope.clone();
        self.write(ROW_BYTES, move |write| working::clear(write, &scope)).await
    }

    async fn put_blobs(&self, contents: Vec<NewBlob>, now: Timestamp) -> Result<Vec<Blob>> {
        self.parts()?;
        let blobs = Arc::clone(&self.blobs);
        blocking(move || blobs.put(&contents, now)).await
    }

    async fn blob(&self, blob: &Blob) -> Result<Option<Vec<u8>>> {
        self.parts()?;
        let (blobs, blob) = (Arc::clone(&self.blobs), blob.clone());
        blocking(move || blobs.read(&blob)).await
    }

    fn blob_path(&self, blob: &Blob) -> Option<PathBuf> {
        self.blobs.path_of(blob)
    }

    async fn collect_blobs(&self, until: Timestamp) -> Result<u64> {
        let blobs = Arc::clone(&self.blobs);
        // Outside of any transaction, so that what names a blob, or no longer does, is committed.
        let collect =
            move |write: &mut Write<'_>| Ok(blobs.collect(&contexts::blob_names(write.connection)?, Some(until))?);
        self.parts()?.writer.alone(collect).await
    }

    async fn save_context(&self, scope: &Scope, items: Vec<SavedItem>, now: Timestamp) -> Result<()> {
        let (scope, blobs) = (scope.clone(), Arc::clone(&self.blobs));
        let bytes = items.iter().map(item_bytes).sum();
        self.write(bytes, move |write| {
            blobs.check(items.iter().filter_map(|item| item.source.blob()))?;
            contexts::save(write, &scope, &items, now)
        })
        .await
    }

    async fn saved_context(&self, scope: &Scope) -> Result<Option<SavedContext>> {
        let scope = scope.clone();
        self.read(move |connection| contexts::load(connection, &scope)).await
    }

    async fn saved_item(&self, scope: &Scope, ref_id: RefId) -> Result<Option<(SavedItem, u64, Timestamp)>> {
        let scope = scope.clone();
        self.read(move |connection| contexts::one(connection, &scope, ref_id)).await
    }

    async fn attachments(&self, scope: &Scope, episodes: &[Uuid]) -> Result<Vec<(Uuid, Attachment)>> {
        if episodes.len() <= ROWS_AT_ONCE {
            let read = |connection: &Connection| contexts::attachments(connection, scope, episodes);
            return self.parts()?.readers.micro_snapshot(read);
        }
        let (scope, episodes) = (scope.clone(), episodes.to_vec());
        self.read(move |connection| contexts::attachments(connection, &scope, &episodes)).await
    }

    async fn attachment_of(&self, scope: &Scope, reference: &GlobalRef) -> Result<Option<(Uuid, Attachment)>> {
        let (scope, reference) = (scope.clone(), reference.clone());
        self.read(move |connection| contexts::attachment_of(connection, &scope, &reference)).await
    }

    async fn stats(&self) -> Result<LedgerStats> {
        let folder = self.folder.clone();
        self.read(move |connection| whole::stats(connection, folder.as_deref())).await
    }

    async fn backup(&self, to: &Path) -> Result<()> {
        let (to, folder) = (to.to_owned(), self.folder.clone());
        let blobs = Arc::clone(&self.blobs);
        self.read(move |connection| whole::backup(connection, &blobs, folder.as_deref(), &to)).await
    }

    async fn check(&self) -> Result<CheckReport> {
        let blobs = Arc::clone(&self.blobs);
        self.read(move |connection| check::check(connection, &blobs)).await
    }

    async fn close(&self) -> Result<()> {
        if self.process != std::process::id() {
            return Err(errors::forked());
        }
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let Some(parts) = &self.parts else { return Ok(()) };
        parts.readers.close().await;
        let Some(thread) = parts.writer.finish() else { return Ok(()) };
        tokio::task::spawn_blocking(move || thread.join())
            .await
            .map_err(|error| Error::internal("closing the store panicked").with_source(error))?
            .map_err(|_| Error::internal("the thread that writes panicked"))
    }
}
