//! The ledger: the durable truth. [`Ledger`] is what a store must do; the rows that it takes and gives are below.
//!
//! Every change of a row takes a new `seq` from one counter inside its transaction, so the order of commits is the
//! order of `seq`, and every deletion leaves a nameless row in the same feed.

#[cfg(test)]
mod contract;
mod extraction;
mod jobs;
pub(crate) mod saved;
pub(crate) mod sqlite;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

pub(crate) use self::{
    extraction::{ExtractJob, Extraction, ExtractionOutcome, LeasedJob, NewRelation},
    jobs::{EmbedJob, JobChoice, JobFailure, JobLease, NOBODY},
    saved::{BlobContent, NewBlob, SavedContext},
};
pub use self::{
    jobs::{Job, JobKind},
    saved::{Attachment, Blob, FileContent, FileStamp, SavedItem, SavedSource},
};
use crate::{
    context::{GlobalRef, RefId},
    core_memory::{Block, BlockType, CoreLimits, CoreMemory},
    embed::EmbeddingSpace,
    entity::{Entity, EntityType, EvolutionRelation},
    episode::{Episode, Kind},
    error::Result,
    metadata::Metadata,
    scope::Scope,
    working_memory::WorkingLimits,
};

/// A piece of a text as the index needs it: the whole (ordinal 0) or a part of a long one.
///
/// Both blobs are the index's own encodings, which the ledger keeps without reading them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Piece {
    /// 0 for the whole text, then 1, 2, … for its parts.
    pub ordinal: u32,
    /// The encoded terms and tokens.
    pub lexical: Vec<u8>,
    /// The encoded vector, or none while it is missing.
    pub vector: Option<Vec<u8>>,
}

/// An episode to append, with what the index needs of it.
#[derive(Clone, Debug)]
pub(crate) struct NewEpisode {
    /// The episode as it will be read.
    pub episode: Episode,
    /// Its pieces.
    pub pieces: Vec<Piece>,
    /// The idempotency key and the episode's place among those of that key, from 0: the turn of a conversation. The
    /// two are unique in the tenant, whatever the agent and session: a repeated key in another session gives the first
    /// episode.
    pub key: Option<(String, u32)>,
    /// Whether its pieces are to have vectors. Where they are not, no re-embedding gives them any.
    pub wants_vectors: bool,
    /// The job to leave behind when the pieces lack their vectors.
    pub embed_job: Option<EmbedJob>,
    /// The job to leave behind when a model is to find its facts.
    pub extract_job: Option<ExtractJob>,
    /// The item of a context that it stands for.
    pub attachment: Option<Attachment>,
}

/// What became of one appended episode.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Appended {
    /// The episode's id: that of an earlier call when the key was known.
    pub id: Uuid,
    /// The episode that an earlier call with the key left; none where a row was written.
    pub known: Option<Box<Episode>>,
}

/// A fact to record: the entity's id becomes the id of this saying.
#[derive(Clone, Debug)]
pub(crate) struct NewFact {
    /// The fact with its scope, times and provenance; `valid_to` and `last_seen` are the ledger's to decide.
    pub entity: Entity,
    /// What the index needs of it.
    pub piece: Piece,
    /// The job to leave behind when the piece lacks its vector.
    pub embed_job: Option<EmbedJob>,
}

/// What became of a recorded fact.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recorded {
    /// The version that the saying is part of.
    pub entity: Entity,
    /// The relations that came into being.
    pub evolutions: Vec<EvolutionRelation>,
}

/// A new version of a stored fact.
///
/// It follows the version that holds at `now` in the slot of `id`: what is none is kept from that one, whichever of
/// the slot's versions `id` names. Versions that are planned for later stay ahead of it.
#[derive(Clone, Debug)]
pub(crate) struct FactUpdate {
    /// Any version of the slot, or a saying of it.
    pub id: Uuid,
    /// The id of the new saying.
    pub new_id: Uuid,
    /// The new content, or none to keep it.
    pub content: Option<String>,
    /// Keys to set or add; the others are kept.
    pub metadata: Option<Metadata>,
    /// The new confidence, or none to keep it.
    pub confidence: Option<f64>,
    /// The new importance, or none to keep it.
    pub importance: Option<f64>,
    /// What the index needs of the new version.
    pub piece: Piece,
    /// As in [`NewFact`].
    pub embed_job: Option<EmbedJob>,
    /// The time of the update, from which the new version holds.
    pub now: Timestamp,
}

/// Which facts to list.
#[derive(Clone, Debug, Default)]
pub(crate) struct FactFilter {
    /// Only of this type.
    pub entity_type: Option<EntityType>,
    /// Only versions that hold at this time; none for all versions.
    pub valid_at: Option<Timestamp>,
    /// Orders by importance, then by the latest `valid_from`, in the place of (`valid_from`, `seq`).
    pub most_important_first: bool,
    /// The most to give.
    pub limit: usize,
    /// How many to pass over.
    pub offset: usize,
}

/// Which episodes to list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EpisodePage {
    /// The most to give.
    pub limit: usize,
    /// How many to pass over, from the end that `newest_first` names.
    pub offset: usize,
    /// Counts from the newest; the result is in (`at`, id) order either way.
    pub newest_first: bool,
    /// Only episodes said by this time; none for all.
    pub until: Option<Timestamp>,
}

/// What forgetting does with a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForgetReach {
    /// The named version only; its predecessor is current again, or ends where what followed it begins.
    Version,
    /// The whole history, as [`Memory::history`](crate::Memory::history) shows it.
    Chain,
}

/// The row that owns pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// An episode, or a saying of a fact.
    pub kind: Kind,
    /// Its id.
    pub id: Uuid,
}

/// The text of an owner without vectors, for embedding it again: enough to compose what is indexed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub(crate) enum OwnerText {
    /// An episode.
    Episode(Episode),
    /// A saying of a fact, as an entity.
    Fact(Entity),
}

impl OwnerText {
    /// Whose text it is.
    pub(crate) fn owner(&self) -> Owner {
        match self {
            Self::Episode(episode) => Owner { kind: Kind::Episode, id: episode.id },
            Self::Fact(fact) => Owner { kind: Kind::Fact, id: fact.id },
        }
    }
}

/// The vectors of one owner, by the ordinals of its pieces.
#[derive(Clone, Debug)]
pub(crate) struct OwnerVectors {
    /// The owner.
    pub owner: Owner,
    /// Encoded vectors by ordinal.
    pub vectors: Vec<(u32, Vec<u8>)>,
}

/// A row as the index follows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IndexRow {
    /// The id of the episode, or of the version.
    pub id: Uuid,
    /// Fact or episode.
    pub kind: Kind,
    /// Its place in the feed.
    pub seq: i64,
    /// The (agent, session) pairs under which it was said: one for an episode, one or more for a version.
    pub origins: Vec<(Option<String>, Option<String>)>,
    /// The speaker's part; empty for a fact.
    pub role: String,
    /// The speaker's name; the subject's for a fact.
    pub name: Option<String>,
    /// The type of a fact; note for an episode.
    pub entity_type: EntityType,
    /// `at` of an episode, `valid_from` of a version.
    pub from: Timestamp,
    /// `valid_to` of a version.
    pub to: Option<Timestamp>,
    /// The prior.
    pub importance: f64,
    /// Its pieces, by ordinal.
    pub pieces: Vec<Piece>,
}

/// A stretch of the feed of one tenant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// Changed or new rows in the order of `seq`.
    pub rows: Vec<IndexRow>,
    /// Ids that were deleted, or that are versions no more.
    pub removed: Vec<Uuid>,
    /// The place in the feed up to which this stretch reaches.
    pub head: i64,
    /// Whether there is more behind it.
    pub has_more: bool,
}

/// A stretch of the feed of all tenants.
#[cfg(feature = "lance")]
#[derive(Clone, Debug, Default)]
pub(crate) struct AllChanges {
    /// Changed or new rows in the order of `seq`, each with its user as it is stored (`""` for none).
    pub rows: Vec<(String, IndexRow)>,
    /// Ids that were deleted, or that are versions no more.
    pub removed: Vec<Uuid>,
    /// The place in the feed up to which this stretch reaches.
    pub head: i64,
    /// Whether there is more behind it.
    pub has_more: bool,
}

/// The right to write to the index beside the ledger.
#[cfg(feature = "lance")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Feeder {
    /// Who has it; another id for every taking.
    pub holder: Uuid,
    /// Counts the takings: who has a smaller number than the last one writes no more.
    pub fence: i64,
    /// Which of the index's tables is read.
    pub place: Option<String>,
}

/// Whose neighbours are asked for: an episode in its session.
#[cfg(feature = "lance")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TurnPlace {
    /// The session.
    pub session: String,
    /// When it was said.
    pub at: Timestamp,
    /// Its id.
    pub id: Uuid,
}

/// The number of rows by kind, and bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LedgerStats {
    /// Episodes.
    pub episodes: u64,
    /// Versions of facts that nothing has followed.
    pub current_facts: u64,
    /// All versions of facts.
    pub versions: u64,
    /// Sayings of facts.
    pub sightings: u64,
    /// Relations between versions.
    pub evolutions: u64,
    /// Pieces of texts.
    pub pieces: u64,
    /// Pieces with a vector in the active space.
    pub vectors: u64,
    /// Jobs that wait.
    pub jobs: u64,
    /// Versions of core blocks.
    pub block_versions: u64,
    /// Working keys, expired ones included.
    pub working_keys: u64,
    /// Saved contexts.
    pub contexts: u64,
    /// Items of saved contexts.
    pub context_items: u64,
    /// Tenants with an episode or a fact.
    pub users: u64,
    /// Bytes of all files of the store.
    pub bytes_on_disk: u64,
    /// The place in the feed.
    pub seq: i64,
}

/// A working key as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkingEntry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// When it expires; none for never.
    pub expires_at: Option<Timestamp>,
}

/// A change of a working key that depends on its present value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WorkingChange {
    /// Replace the value and its time to live.
    Set(Vec<u8>),
    /// Add to a decimal number; a missing key counts as 0.
    Increment(i64),
    /// Put bytes behind the value; a missing key counts as empty.
    Append(Vec<u8>),
    /// Give it a new time to live.
    Touch,
}

/// What a [`WorkingChange`] left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worked {
    /// Nothing to tell (`Set`).
    Done,
    /// The new number.
    Number(i64),
    /// The new length in bytes.
    Length(usize),
    /// Whether the key was there (`Touch`).
    Touched(bool),
}

/// The findings of a check of the whole store; empty lists mean that it is sound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// One line a finding, with the table and id.
    pub problems: Vec<String>,
    /// Rows that were looked at, by table.
    pub checked: Vec<(String, u64)>,
}

/// The durable truth of a store.
///
/// A write that returns an error has changed nothing. Reads see every commit that was acknowledged before they began.
#[async_trait]
pub(crate) trait Ledger: Send + Sync + fmt::Debug {
    // ---- embedding spaces -------------------------------------------------------------------------------------

    /// The space whose vectors are in use; none in a new store.
    async fn active_space(&self) -> Result<Option<EmbeddingSpace>>;
    /// Makes `space` the active one of a store that has none.
    ///
    /// # Errors
    /// `EmbeddingSpace` when another one is active.
    async fn claim_space(&self, space: &EmbeddingSpace) -> Result<()>;
    /// Owners without vectors in `space`, up to `limit`; those that are to have none are not among them.
    async fn owners_without_vectors(&self, space: &EmbeddingSpace, limit: usize) -> Result<Vec<OwnerText>>;
    /// How many owners lack vectors in `space`.
    async fn count_without_vectors(&self, space: &EmbeddingSpace) -> Result<u64>;
    /// Stores vectors in `space`, whether it is active or is being built. What is given of an owner is all of it: a
    /// piece of another ordinal is to have no vector from now on. Owners that are gone are passed over.
    async fn put_vectors(&self, space: &EmbeddingSpace, vectors: Vec<OwnerVectors>) -> Result<()>;
    /// Makes `space` the active one and drops the vectors of every other, if no owner lacks its vectors in it.
    /// Gives whether it did.
    async fn activate_space(&self, space: &EmbeddingSpace) -> Result<bool>;

    // ---- episodes and facts -----------------------------------------------------------------------------------

    /// Appends episodes in one transaction.
    ///
    /// # Errors
    /// `InvalidInput` when a key is known with another text; `EmbeddingSpace` when `space` is not the active one;
    /// `NotFound` when the blob of an attachment is not there.
    async fn append(&self, space: &EmbeddingSpace, episodes: Vec<NewEpisode>) -> Result<Vec<Appended>>;
    /// Records facts in one transaction.
    async fn record(&self, space: &EmbeddingSpace, facts: Vec<NewFact>) -> Result<Vec<Recorded>>;
    /// Records what a model found in episodes and removes their jobs, in one transaction, unless what it decided on has
    /// moved since.
    ///
    /// # Errors
    /// `InvalidInput` for a fact or a relation that cannot be one; `NotFound` when an episode of a fact is gone.
    async fn record_extracted(&self, space: &EmbeddingSpace, extraction: Extraction) -> Result<ExtractionOutcome>;
    /// Facts of the tenant that hold at `now` about subjects, given by type and name: of each subject the latest, in all
    /// up to `limit` in fair shares, in the order of `subjects`.
    async fn subject_facts(
        &self,
        scope: &Scope,
        subjects: &[(EntityType, String)],
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Entity>>;
    /// Records a new version behind the one that holds.
    ///
    /// # Errors
    /// `NotFound` when the scope has no such fact; `InvalidInput` for a narrowed scope that does not admit the version
    /// that holds, unless the update brings its own content.
    async fn update(&self, space: &EmbeddingSpace, scope: &Scope, update: FactUpdate) -> Result<Recorded>;
    /// Removes a row and all that was derived from it. Gives whether it was there.
    async fn forget(&self, scope: &Scope, id: Uuid, reach: ForgetReach, now: Timestamp) -> Result<bool>;
    /// Removes everything of a scope: facts, episodes, core, working, jobs, saved contexts. Gives the number of facts and
    /// episodes.
    async fn forget_scope(&self, scope: &Scope, now: Timestamp) -> Result<u64>;
    /// Rewrites the store so that no byte of what was forgotten, or of working keys that have expired by `now`, is left
    /// in its folder. Blobs that no row names go, however new they are.
    async fn purge(&self, now: Timestamp) -> Result<()>;

    /// A version, by its id or that of one of its sayings.
    async fn fact(&self, scope: &Scope, id: Uuid) -> Result<Option<Entity>>;
    /// What an update at `now` of any version of a slot goes out from: the version that holds, or the first one that
    /// is planned where none does; for a narrowed scope the last of those that it admits.
    async fn current(&self, scope: &Scope, id: Uuid, now: Timestamp) -> Result<Option<Entity>>;
    /// An episode.
    async fn episode(&self, scope: &Scope, id: Uuid) -> Result<Option<Episode>>;
    /// The versions that exist among `ids`, in no particular order.
    async fn facts_by_id(&self, scope: &Scope, ids: &[Uuid]) -> Result<Vec<Entity>>;
    /// The episodes that exist among `ids`, in no particular order.
    async fn episodes_by_id(&self, scope: &Scope, ids: &[Uuid]) -> Result<Vec<Episode>>;
    /// The chain of a version and, over as many steps as there are, what it replaced and what replaced it as a model
    /// decided; oldest first, empty for an unknown id.
    async fn history(&self, scope: &Scope, id: Uuid) -> Result<Vec<Entity>>;
    /// The relations from or to a version; empty for an unknown id.
    async fn evolutions(&self, scope: &Scope, id: Uuid) -> Result<Vec<EvolutionRelation>>;
    /// Facts, ordered by (`valid_from`, `seq`).
    async fn facts(&self, scope: &Scope, filter: &FactFilter) -> Result<Vec<Entity>>;
    /// Episodes, in (`at`, id) order: ids sort by their making.
    async fn episodes(&self, scope: &Scope, page: EpisodePage) -> Result<Vec<Episode>>;
    /// The last `limit` episodes before a place in (`at`, id) order, of exactly this user, agent and session: none stands
    /// for no agent or session. In that order.
    async fn episodes_before(&self, origin: &Scope, place: (Timestamp, Uuid), limit: usize) -> Result<Vec<Episode>>;
    /// Facts that hold at `now`, plus episodes.
    async fn count(&self, scope: &Scope, now: Timestamp) -> Result<u64>;

    // ---- jobs -------------------------------------------------------------------------------------------------

    /// Whether any job waits, of whatever tenant; with a time, whether any may be taken by itself then.
    async fn has_jobs(&self, free_at: Option<Timestamp>) -> Result<bool>;
    /// Jobs that wait, oldest first.
    async fn pending(&self, scope: &Scope) -> Result<Vec<Job>>;
    /// Takes jobs whose lease has ended or that have none, of all tenants, in the order of their making.
    async fn lease_jobs(&self, choice: JobChoice, now: Timestamp, lease: JobLease) -> Result<Vec<LeasedJob>>;
    /// Moves the end of everything that the holder holds.
    async fn renew_jobs(&self, lease: JobLease) -> Result<()>;
    /// Lets go of everything that the holder holds. What has failed before is put off until its lease would have ended,
    /// the first of which is given, and the rest is free.
    async fn release_jobs(&self, holder: Uuid) -> Result<Option<Timestamp>>;
    /// Puts off everything that the holder holds, until a time or for ever, without an attempt.
    async fn put_off_jobs(&self, holder: Uuid, until: Option<Timestamp>) -> Result<()>;
    /// When the first of the leases ends that are held, or put off, at `now`; none for those without an end.
    async fn next_lease_end(&self, now: Timestamp) -> Result<Option<Timestamp>>;
    /// Stores a job's vectors and removes it, in one transaction, and gives whether it did: a job that is gone, or that
    /// another holds by now, is left alone.
    async fn finish_embed_job(
        &self,
        space: &EmbeddingSpace,
        job: Uuid,
        holder: Uuid,
        vectors: OwnerVectors,
    ) -> Result<bool>;
    /// Notes that a job failed, if it is still the holder's, and puts it off.
    async fn fail_job(&self, job: Uuid, holder: Uuid, failure: JobFailure) -> Result<()>;

    // ---- the feed ---------------------------------------------------------------------------------------------

    /// The place of the last change, those of other processes included. Cheap enough for every read.
    fn head(&self) -> Result<i64>;
    /// Tenants that have an episode or a fact, as they are stored (`""` for none), behind `after` in their order.
    async fn tenants(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>>;
    /// What changed in the tenant of `scope` behind `after`, at most about `limit` rows of it.
    async fn changes(&self, scope: &Scope, after: i64, limit: usize) -> Result<Changes>;

    // ---- an index beside the ledger ---------------------------------------------------------------------------

    /// What changed in any tenant behind `after`, at most about `limit` rows of it.
    #[cfg(feature = "lance")]
    async fn all_changes(&self, after: i64, limit: usize) -> Result<AllChanges>;
    /// The rows that exist among `owners` in the tenant of `scope`, in no particular order.
    #[cfg(feature = "lance")]
    async fn index_rows(&self, scope: &Scope, owners: &[Owner]) -> Result<Vec<IndexRow>>;
    /// The two episodes before and the two after each of `turns` in its session that the scope admits and that are
    /// within `pause` microseconds of it, in no particular order.
    #[cfg(feature = "lance")]
    async fn neighbours(&self, scope: &Scope, turns: &[TurnPlace], pause: i64) -> Result<Vec<IndexRow>>;
    /// Takes the right to feed until a time; none while another has it.
    #[cfg(feature = "lance")]
    async fn take_feeder(&self, now: Timestamp, lease: JobLease) -> Result<Option<Feeder>>;
    /// Moves the end of a right to feed. Gives whether it is still the holder's.
    #[cfg(feature = "lance")]
    async fn renew_feeder(&self, fence: i64, lease: JobLease) -> Result<bool>;
    /// Names the table that is read from now on. Gives whether the right is still the holder's; if not, nothing changes.
    #[cfg(feature = "lance")]
    async fn place_feeder(&self, fence: i64, holder: Uuid, place: &str) -> Result<bool>;
    /// Gives the right back, if it is still the holder's.
    #[cfg(feature = "lance")]
    async fn release_feeder(&self, fence: i64, holder: Uuid) -> Result<()>;
    /// The table of the index that is read.
    #[cfg(feature = "lance")]
    async fn feeder_place(&self) -> Result<Option<String>>;

    // ---- core and working memory ------------------------------------------------------------------------------

    /// The core memory of (user, agent). Cheap enough for every prompt.
    async fn core(&self, scope: &Scope, limits: CoreLimits) -> Result<CoreMemory>;
    /// The same as XML.
    async fn core_rendered(&self, scope: &Scope, limits: CoreLimits) -> Result<Arc<str>>;
    /// Replaces a block's content; a label or importance of none keeps the old one.
    #[expect(clippy::too_many_arguments, reason = "one row's columns")]
    async fn set_block(
        &self,
        scope: &Scope,
        limits: CoreLimits,
        block_type: BlockType,
        content: &str,
        label: Option<&str>,
        importance: Option<f64>,
        now: Timestamp,
    ) -> Result<Block>;
    /// Removes a block; its versions stay. Gives whether it was there.
    async fn remove_block(&self, scope: &Scope, block_type: BlockType, now: Timestamp) -> Result<bool>;
    /// Removes every block; their versions stay.
    async fn clear_core(&self, scope: &Scope, now: Timestamp) -> Result<()>;
    /// Every version of a block, oldest first.
    async fn block_versions(&self, scope: &Scope, block_type: BlockType) -> Result<Vec<Block>>;
    /// Makes an old version's content the newest version.
    ///
    /// # Errors
    /// `NotFound` when there is no such version.
    async fn restore_block(
        &self,
        scope: &Scope,
        limits: CoreLimits,
        block_type: BlockType,
        version: u64,
        now: Timestamp,
    ) -> Result<Block>;

    /// A live working value of (user, agent, session).
    async fn working_get(&self, scope: &Scope, key: &str, now: Timestamp) -> Result<Option<WorkingEntry>>;
    /// Every live working entry, by key.
    async fn working_entries(&self, scope: &Scope, now: Timestamp) -> Result<Vec<WorkingEntry>>;
    /// (bytes, entries) that are live.
    async fn working_usage(&self, scope: &Scope, now: Timestamp) -> Result<(usize, usize)>;
    /// Changes one key. `ttl` of none keeps the key's own, or gives a new key the default.
    async fn working_change(
        &self,
        scope: &Scope,
        limits: WorkingLimits,
        key: &str,
        change: WorkingChange,
        ttl: Option<crate::working_memory::TimeToLive>,
        now: Timestamp,
    ) -> Result<Worked>;
    /// Deletes a key. Gives whether it was live.
    async fn working_delete(&self, scope: &Scope, key: &str, now: Timestamp) -> Result<bool>;
    /// Deletes expired keys of the scope. Gives how many.
    async fn working_cleanup(&self, scope: &Scope, now: Timestamp) -> Result<usize>;
    /// Deletes every key of the scope.
    async fn working_clear(&self, scope: &Scope) -> Result<()>;

    // ---- contexts and blobs -----------------------------------------------------------------------------------

    /// Keeps contents under their hashes; they are durable when this returns. They stay for an hour of the clock, or
    /// until a purge, and as long as a row names them.
    async fn put_blobs(&self, contents: Vec<NewBlob>, now: Timestamp) -> Result<Vec<Blob>>;
    /// The content of a blob, or none where it is not there.
    ///
    /// # Errors
    /// `CorruptStore` where the content is not what its hash says.
    async fn blob(&self, blob: &Blob) -> Result<Option<Vec<u8>>>;
    /// The file of a blob, whether or not it is there; none where blobs are not files.
    fn blob_path(&self, blob: &Blob) -> Option<PathBuf>;
    /// Removes blobs that no row names and that were put before `until`. Gives how many.
    async fn collect_blobs(&self, until: Timestamp) -> Result<u64>;
    /// Saves the context of the session of `scope`, in the place of what was saved of it.
    ///
    /// # Errors
    /// `NotFound` when a blob is not there.
    async fn save_context(&self, scope: &Scope, items: Vec<SavedItem>, now: Timestamp) -> Result<()>;
    /// The saved context of the session of `scope`.
    async fn saved_context(&self, scope: &Scope) -> Result<Option<SavedContext>>;
    /// An item of the saved context of the session of `scope`, with its place in it and when it was saved.
    async fn saved_item(&self, scope: &Scope, ref_id: RefId) -> Result<Option<(SavedItem, u64, Timestamp)>>;
    /// The attachments that episodes have among `episodes`, in no particular order.
    async fn attachments(&self, scope: &Scope, episodes: &[Uuid]) -> Result<Vec<(Uuid, Attachment)>>;
    /// The attachment of a global ref with its episode: the latest, where there are several.
    async fn attachment_of(&self, scope: &Scope, reference: &GlobalRef) -> Result<Option<(Uuid, Attachment)>>;

    // ---- the whole --------------------------------------------------------------------------------------------

    /// Rows by kind, and bytes.
    async fn stats(&self) -> Result<LedgerStats>;
    /// Writes a consistent copy of the store into the folder `to`, which must not exist or be empty.
    async fn backup(&self, to: &Path) -> Result<()>;
    /// Verifies pages, foreign keys, the feed, and chains against sightings.
    async fn check(&self) -> Result<CheckReport>;
    /// Waits until every write that was accepted is durable, then lets go of files and threads.
    async fn close(&self) -> Result<()>;
}
