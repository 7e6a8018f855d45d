//! Saving what can be read of a damaged store into a new one.

use std::{path::Path, sync::Arc};

use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::{
    Memory,
    builder::new_id,
    store::{blocking, turn_of_closed},
};
use crate::{
    embed::{Embedder, EmbeddingSpace, embed_encoded, static_table::StaticEmbedder},
    episode::Kind,
    error::{Error, ErrorKind, Result},
    index::{
        analysis::{AnalysedPiece, analyse_episode, analyse_fact},
        vector,
    },
    ledger::{
        Attachment, Blob, BlobContent, EmbedJob, ExtractJob, Ledger, NewBlob, NewEpisode, Piece,
        sqlite::{RestoredFact, Salvage, SavedVectors, Slots, SqliteLedger, Target, find_folder},
    },
    world::{Clock, SystemClock},
};

/// How many chains are computed in one transaction.
const CHAINS: usize = 256;
/// How many decisions are written in one.
const DECISIONS: usize = 1_024;

/// What a recovery saved, and what it could not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoverReport {
    /// Episodes that are in the new store, with all their fields.
    pub episodes: u64,
    /// Sayings of facts that are in the new store; their chains were computed again.
    pub facts: u64,
    /// Decisions of a model between two sayings that are in the new store; their relations were made again.
    pub decisions: u64,
    /// Versions of core blocks that are in the new store.
    pub blocks: u64,
    /// Working keys that are in the new store, expired ones included.
    pub working_keys: u64,
    /// Items of saved contexts that are in the new store.
    pub context_items: u64,
    /// Texts whose vectors were lost and have to be made by the store's own embedder: each has a job, which opening the
    /// new store with that embedder runs.
    pub to_embed: u64,
    /// Episodes that are known to be lost: something else in the store still names them.
    pub lost_episodes: u64,
    /// Sayings of facts that are known to be lost.
    pub lost_facts: u64,
    /// Decisions of a model that are known to be lost: what one closed holds again in the new store.
    pub lost_decisions: u64,
    /// What is damaged or lost, a line each; empty for a sound store.
    pub problems: Vec<String>,
}

/// The damaged store, which nobody of this process opens before its files are closed.
struct Damaged {
    salvage: Salvage,
    _turn: OwnedSemaphorePermit,
}

/// What turns texts into rows again.
struct Rebuild {
    ledger: SqliteLedger,
    space: EmbeddingSpace,
    /// The embedder, if its vectors are those of the store.
    embedder: Option<Arc<dyn Embedder>>,
    report: RecoverReport,
}

impl Memory {
    /// Saves every row of a damaged store that can still be read into a new folder: episodes with all their fields,
    /// ids and keys, sayings of facts, core blocks with their versions, working keys. The damaged store is only read,
    /// without SQLite, page by page, so that a page that is lost costs the rows on it and nothing else.
    ///
    /// Terms are made anew. Vectors are copied; one that is lost is made by `embedder` (by default the bundled one) where
    /// it is the store's own, else left as a job for it.
    ///
    /// # Errors
    /// `InvalidInput` for a folder `to` that holds something, or a store that this process has open; `StoreIo` when files
    /// cannot be read or written; `StoreLocked` while another process writes to the store; `CorruptStore` when nothing at
    /// all can be read, `StoreVersion` for a file of another program or a newer version, both of which leave no new folder.
    pub async fn recover(from: &Path, to: &Path, embedder: Option<Arc<dyn Embedder>>) -> Result<RecoverReport> {
        let (folder, target) = (from.to_owned(), to.to_owned());
        let (source, target) = blocking(move || {
            let source =
                find_folder(&folder).map_err(|error| error.with_hint("name the folder of the damaged store"))?;
            Target::prepare(&target, Some(&source)).map(|target| (source, target))
        })
        .await?;
        let turn = turn_of_closed(&source)?;
        let folder = source.clone();
        let damaged = blocking(move || Salvage::open(&folder).map(|salvage| Damaged { salvage, _turn: turn })).await?;
        let embedder = embedder.unwrap_or_else(|| Arc::new(StaticEmbedder::new()));
        let space = damaged.salvage.space().cloned().unwrap_or_else(|| embedder.space().clone());
        let unfinished = target.unfinished();
        let ledger = blocking(move || SqliteLedger::open(&unfinished)).await?;
        let embedder = Some(embedder).filter(|embedder| *embedder.space() == space);
        let mut rebuild = Rebuild { ledger, space, embedder, report: RecoverReport::default() };
        rebuild.ledger.claim_space(&rebuild.space).await?;
        rebuild.run(damaged).await?;
        let Rebuild { ledger, report, .. } = rebuild;
        ledger.close().await?;
        if report.episodes + report.facts + report.blocks + report.working_keys + report.context_items == 0
            && !report.problems.is_empty()
        {
            return Err(Error::new(
                ErrorKind::CorruptStore,
                format!("nothing of `{}` can be read: {}", source.display(), report.problems.join("; ")),
            )
            .with_hint("restore it from a backup"));
        }
        blocking(move || target.finish()).await?;
        Ok(report)
    }
}

impl Rebuild {
    async fn run(&mut self, mut damaged: Damaged) -> Result<()> {
        let now = SystemClock.now();
        let mut next = 0;
        loop {
            let (back, (episodes, after)) = off(damaged, move |salvage| salvage.episodes(next)).await?;
            damaged = back;
            let ended = after == next;
            next = after;
            let mut rows = Vec::with_capacity(episodes.len());
            for saved in episodes {
                let episode = saved.episode;
                let analysed = analyse_episode(episode.name.as_deref(), episode.at, &episode.text);
                let wants_vectors = saved.vectors.wanted;
                let (pieces, embed_job) = self.pieces(analysed, saved.vectors).await?;
                let extract_job = saved.extract.map(|detects_evolutions| ExtractJob {
                    id: new_id(SystemClock.now()),
                    lease: None,
                    detects_evolutions,
                });
                let key = saved.key;
                let attachment = match saved.attachment {
                    Some(attachment) => {
                        let id = episode.id;
                        let (back, attachment) = self.attachment(damaged, id, attachment).await?;
                        damaged = back;
                        attachment
                    }
                    None => None,
                };
                rows.push(NewEpisode { episode, pieces, key, wants_vectors, embed_job, extract_job, attachment });
            }
            self.report.episodes += rows.len() as u64;
            if !rows.is_empty() {
                self.ledger.append(&self.space, rows).await?;
            }
            if ended {
                break;
            }
        }
        damaged = self.facts(damaged).await?;
        let (back, blocks) = off(damaged, Salvage::blocks).await?;
        damaged = back;
        self.report.blocks = blocks.len() as u64;
        self.ledger.restore_blocks(blocks).await?;
        let mut next = 0;
        loop {
            let (back, (keys, after)) = off(damaged, move |salvage| salvage.working(next)).await?;
            damaged = back;
            if after == next {
                break;
            }
            next = after;
            self.report.working_keys += keys.len() as u64;
            self.ledger.restore_working(keys).await?;
        }
        self.ledger.sum_usage(now).await?;
        damaged = self.contexts(damaged, now).await?;
        self.report.lost_episodes = damaged.salvage.lost(Kind::Episode);
        self.report.lost_facts = damaged.salvage.lost(Kind::Fact);
        // One whose sayings are lost is, too.
        self.report.lost_decisions = damaged.salvage.known_decisions().saturating_sub(self.report.decisions);
        let mut problems = damaged.salvage.problems();
        problems.append(&mut self.report.problems);
        self.report.problems = problems;
        if self.report.lost_decisions > 0 {
            let lost = self.report.lost_decisions;
            let what = if lost == 1 { "decision of a model is" } else { "decisions of a model are" };
            self.report.problems.push(format!("{lost} {what} known to be lost"));
        }
        Ok(())
    }

    /// Copies a blob into the new store, and gives whether it could.
    async fn blob(&mut self, damaged: Damaged, of: &str, blob: Blob) -> Result<(Damaged, bool)> {
        let lost = blob.clone();
        let (damaged, bytes) = off(damaged, move |salvage| salvage.blob(&blob)).await?;
        let Some(bytes) = bytes else {
            self.report.problems.push(format!("the blob `{}` of {of} is lost", lost.file_name()));
            return Ok((damaged, false));
        };
        let content = BlobContent::Bytes(Arc::new(bytes));
        self.ledger
            .put_blobs(vec![NewBlob { content, extension: lost.extension().to_owned() }], SystemClock.now())
            .await?;
        Ok((damaged, true))
    }

    /// What an episode stands for; none where its blob is lost.
    async fn attachment(
        &mut self,
        damaged: Damaged,
        episode: Uuid,
        attachment: Attachment,
    ) -> Result<(Damaged, Option<Attachment>)> {
        let Some(blob) = attachment.blob.clone() else { return Ok((damaged, Some(attachment))) };
        let (damaged, is_there) = self.blob(damaged, &format!("the episode {episode}"), blob).await?;
        Ok((damaged, is_there.then_some(attachment)))
    }

    /// Saved contexts, without the items whose blobs are lost.
    async fn contexts(&mut self, mut damaged: Damaged, now: Timestamp) -> Result<Damaged> {
        let mut after = None;
        loop {
            let (back, found) = off(damaged, move |salvage| salvage.context(after)).await?;
            damaged = back;
            let Some((context, scope, saved_at, items)) = found else { return Ok(damaged) };
            after = Some(context);
            let mut kept = Vec::with_capacity(items.len());
            for item in items {
                if let Some(blob) = item.source.blob().cloned() {
                    let of = format!("`{}` in the context `{}`", item.ref_id, scope.session().unwrap_or_default());
                    let (back, is_there) = self.blob(damaged, &of, blob).await?;
                    damaged = back;
                    if !is_there {
                        continue;
                    }
                }
                kept.push(item);
            }
            self.report.context_items += kept.len() as u64;
            // With a later time, a file that changed right after the saving would pass for the saved one.
            self.ledger.save_context(&scope, kept, saved_at.unwrap_or(now)).await?;
        }
    }

    async fn facts(&mut self, mut damaged: Damaged) -> Result<Damaged> {
        let (mut next, mut slots) = (0, Slots::new());
        loop {
            let (back, (facts, after)) = off(damaged, move |salvage| salvage.facts(next)).await?;
            damaged = back;
            let ended = after == next;
            next = after;
            let mut rows = Vec::with_capacity(facts.len());
            for (fact, vectors) in facts {
                let entity = &fact.entity;
                let (name, attribute) = (&entity.name, entity.attribute.as_deref());
                let analysed = analyse_fact(name, attribute, &entity.content, entity.valid_from);
                let (mut pieces, embed_job) = self.pieces(vec![analysed], vectors).await?;
                rows.extend(pieces.pop().map(|piece| RestoredFact { fact, piece, embed_job }));
            }
            self.report.facts += rows.len() as u64;
            if !rows.is_empty() {
                slots = self.ledger.restore_facts(&self.space, rows, slots).await?;
            }
            if ended {
                break;
            }
        }
        let (damaged, decisions) = off(damaged, Salvage::decisions).await?;
        for some in decisions.chunks(DECISIONS) {
            self.report.decisions += self.ledger.restore_decisions(some.to_vec()).await?;
        }
        let new: Vec<i64> = slots.into_values().collect();
        for some in new.chunks(CHAINS) {
            self.ledger.compute_chains(some.to_vec(), SystemClock.now()).await?;
        }
        Ok(damaged)
    }

    /// The pieces of a text with the vectors that could be read, or be made; else a job to make them.
    async fn pieces(
        &mut self,
        analysed: Vec<AnalysedPiece>,
        mut saved: SavedVectors,
    ) -> Result<(Vec<Piece>, Option<EmbedJob>)> {
        let dimensions = self.space.dimensions;
        let mut texts = Vec::new();
        let mut pieces = Vec::with_capacity(analysed.len());
        for piece in analysed {
            let vector = saved.by_ordinal.remove(&piece.ordinal);
            let vector = vector.filter(|bytes| vector::decode(bytes, dimensions).is_ok());
            if vector.is_none() && saved.wanted {
                texts.push(piece.text_to_embed);
            }
            pieces.push(Piece { ordinal: piece.ordinal, lexical: piece.lexical, vector });
        }
        if texts.is_empty() {
            return Ok((pieces, None));
        }
        let Some(embedder) = &self.embedder else {
            self.report.to_embed += 1;
            let job = EmbedJob { id: new_id(SystemClock.now()), lease: None };
            return Ok((pieces, Some(job)));
        };
        let mut made = embed_encoded(embedder.as_ref(), &texts).await?.into_iter();
        for piece in pieces.iter_mut().filter(|piece| piece.vector.is_none()) {
            piece.vector = made.next();
        }
        Ok((pieces, None))
    }
}

/// Reads off the I/O workers.
async fn off<T: Send + 'static>(
    mut damaged: Damaged,
    read: impl FnOnce(&mut Salvage) -> T + Send + 'static,
) -> Result<(Damaged, T)> {
    blocking(move || {
        let found = read(&mut damaged.salvage);
        Ok((damaged, found))
    })
    .await
}
