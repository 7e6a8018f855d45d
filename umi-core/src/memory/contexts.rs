//! Saved contexts, and contexts that are remembered.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    INDEX_MEMORY_BYTES, Memory,
    options::RememberOptions,
    remember::REMEMBER_BATCH,
    request::{RememberRequest, Turn},
    results::RememberResult,
    store::{IndexKind, Lease, blocking},
    tasks::Tasks,
};
use crate::{
    context::{Context, GlobalRef, Item, ItemSource, RefId, Snapshot, save},
    digest::digest,
    entity::SOURCE_BYTES,
    error::{Error, ErrorKind, Result},
    ledger::{
        Attachment, Blob, BlobContent, Ledger, NewBlob, SavedContext, SavedItem, SavedSource,
        saved::{file_uri, missing},
    },
    scope::Scope,
    world::{Clock, SystemClock},
};

/// How long a blob that no row names is spared.
const BLOB_AGE: Duration = Duration::from_hours(1);
/// How often blobs are put again that were removed before a row named them.
const ATTEMPTS: usize = 5;

/// The saved contexts of a store, whichever embedder its memories are of.
///
/// A folder that this process has open, as a [`Memory`] or as another of these, is shared.
///
/// # Example
/// ```
/// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
/// use umi_core::context::{Context, ContextStore, NewItem};
/// # let folder = tempfile::tempdir().unwrap();
/// let context = Context::new();
/// let image = context.add(NewItem::bytes(b"\x89PNG".to_vec(), "image/png")?)?;
/// let store = ContextStore::open(folder.path()).await?;
/// store.save(&context.snapshot(), Some("alice")).await?;
///
/// let loaded = store.load(context.session_id(), Some("alice")).await?;
/// assert_eq!((loaded.context.len(), loaded.changed.len()), (1, 0));
/// assert!(loaded.context.contains(&image.to_string()));
/// assert!(store.load(context.session_id(), Some("bob")).await.is_err());
/// # store.close().await?;
/// # Ok(()) }
/// ```
pub struct ContextStore {
    lease: Arc<Lease>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for ContextStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextStore").field("path", &self.lease.store.path).finish_non_exhaustive()
    }
}

/// A context as it was saved.
#[derive(Debug)]
#[non_exhaustive]
pub struct LoadedContext {
    /// The context. Objects in memory came back as bytes of the form in which they were kept.
    pub context: Context,
    /// The refs of files that are gone or have another content than when they were saved.
    pub changed: Vec<RefId>,
    /// The refs of what was an object in memory.
    pub objects: Vec<RefId>,
    /// When it was saved.
    pub saved_at: Timestamp,
}

/// An item of a saved context.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StoredItem {
    /// The session of its context.
    pub session_id: String,
    /// The item.
    pub item: SavedItem,
    /// Its place in the context, from 0.
    pub position: u64,
    /// When it was saved.
    pub saved_at: Timestamp,
    /// The file with its content: its own, or that of its blob.
    pub path: Option<PathBuf>,
    /// Whether its file is gone or has another content than when it was saved.
    pub is_changed: bool,
}

/// An item of a context that was remembered.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RememberedItem {
    /// The episode.
    pub episode_id: Uuid,
    /// What is remembered in words.
    pub text: String,
    /// What it stands for.
    pub attachment: Attachment,
    /// The content: of a text its UTF-8; none of an address.
    pub content: Option<Vec<u8>>,
}

impl ContextStore {
    /// Opens the store in a folder, which is made if it is missing.
    ///
    /// # Errors
    /// `StoreIo`, `CorruptStore`, `StoreVersion` or `StoreLocked` of the folder.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        let lease = Lease::open(path.as_ref(), IndexKind::Ram { bytes: INDEX_MEMORY_BYTES }).await?;
        Ok(Self { lease: Arc::new(lease), clock: Arc::new(SystemClock) })
    }

    /// The same store with times from another clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    fn ledger(&self) -> &dyn Ledger {
        self.lease.store.ledger.as_ref()
    }

    /// Saves a context in the place of what was saved of its session: role, order, metadata, addresses and hashes of files
    /// in the ledger, bytes and objects as blobs beside it.
    ///
    /// # Errors
    /// `File` for a file that cannot be read (one that is gone is saved, and loading tells of it), `InvalidInput` or
    /// `Capacity` for an object that gives no pixels, each with the ref; `Storage` kinds. Nothing is saved then.
    pub async fn save(&self, items: &Snapshot, user: Option<&str>) -> Result<()> {
        let scope = scope_of(items.session_id(), user)?;
        let mut attempt = 1;
        loop {
            match self.try_save(items, &scope).await {
                // Somebody has purged the store before the blobs were named.
                Err(error) if error.kind() == ErrorKind::NotFound && attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    async fn try_save(&self, items: &Snapshot, scope: &Scope) -> Result<()> {
        // Before any file is read, so that one which is changed from here on is read again by loading.
        let now = self.clock.now();
        let mut saved = Vec::with_capacity(items.len());
        for places in save::batches(items, 0..items.len()) {
            let snapshot = items.clone();
            let pending = blocking(move || save::pending(&snapshot, places)).await?;
            let put = self.ledger().put_blobs(save::new_blobs(&pending), self.clock.now()).await?;
            saved.extend(save::with_blobs(pending, put));
        }
        self.ledger().save_context(scope, saved, now).await
    }

    /// Loads the context of a session.
    ///
    /// # Errors
    /// `NotFound` where the user has saved no such context; `CorruptStore` where a blob is lost.
    pub async fn load(&self, session_id: &str, user: Option<&str>) -> Result<LoadedContext> {
        let scope = scope_of(session_id, user)?;
        let mut before = None;
        loop {
            let saved = self.ledger().saved_context(&scope).await?.ok_or_else(|| {
                let shown: String = session_id.chars().take(64).collect();
                Error::new(ErrorKind::NotFound, format!("no context is saved under the session `{shown}`"))
                    .with_hint("save it first, with the same `user` and store")
            })?;
            match self.loaded(session_id, &saved).await {
                // Whoever saved it again, and purged the store, between the reading of its rows and of its blobs.
                Err(error) if error.kind() == ErrorKind::CorruptStore && before.as_ref() != Some(&saved) => {
                    before = Some(saved);
                }
                outcome => return outcome,
            }
        }
    }

    /// A saved context with what its blobs hold.
    async fn loaded(&self, session_id: &str, saved: &SavedContext) -> Result<LoadedContext> {
        let (items, saved_at) = (saved.items.clone(), saved.saved_at);
        let changed = blocking(move || Ok(save::changed(&items, saved_at))).await?;
        let context = Context::with_session(session_id)?;
        let mut objects = Vec::new();
        for item in &saved.items {
            if matches!(item.source, SavedSource::Object { .. }) {
                objects.push(item.ref_id);
            }
            let content = match item.source.blob() {
                Some(blob) => self.ledger().blob(blob).await?,
                None => None,
            };
            let (ref_id, item) = save::restored(item.clone(), content)?;
            context.insert(ref_id, item)?;
        }
        Ok(LoadedContext { context, changed, objects, saved_at })
    }

    /// An item of a saved context; none where the user has saved no such item.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    pub async fn item(&self, reference: &GlobalRef, user: Option<&str>) -> Result<Option<StoredItem>> {
        let scope = scope_of(reference.session_id(), user)?;
        let Some((item, position, saved_at)) = self.ledger().saved_item(&scope, reference.ref_id()).await? else {
            return Ok(None);
        };
        let looked = item.clone();
        let is_changed = blocking(move || Ok(!save::changed(&[looked], saved_at).is_empty())).await?;
        let of_blob = |blob: &Blob| self.ledger().blob_path(blob);
        let path = save::path_of(&item.source).or_else(|| item.source.blob().and_then(of_blob));
        let session_id = reference.session_id().to_owned();
        Ok(Some(StoredItem { session_id, item, position, saved_at, path, is_changed }))
    }

    /// Removes blobs that nothing names and that were put over an hour ago. Gives how many.
    ///
    /// # Errors
    /// `StoreIo` where one cannot be removed; `StoreLocked` while another process writes for long.
    pub async fn gc(&self) -> Result<u64> {
        let until = self.clock.now().checked_sub(BLOB_AGE).unwrap_or(Timestamp::MIN);
        self.ledger().collect_blobs(until).await
    }

    /// Lets go of the store. Safe to repeat.
    ///
    /// # Errors
    /// `Storage` when the last writes cannot be made durable.
    pub async fn close(&self) -> Result<()> {
        self.lease.close(&Tasks::default()).await
    }
}

/// The scope of a saved context.
fn scope_of(session_id: &str, user: Option<&str>) -> Result<Scope> {
    Scope::from_parts(user.map(str::to_owned), None, Some(session_id.to_owned()))
}

/// An item on its way into an episode.
struct Words {
    place: usize,
    reference: GlobalRef,
    turn: Turn,
    media_type: Option<String>,
    name: Option<String>,
    uri: Option<String>,
    new: Option<NewBlob>,
    blob: Option<Blob>,
}

impl Memory {
    /// Remembers a context: an episode for every item, in order. It holds the text, or else name, note, summary and what
    /// can be extracted without a model; the content is copied into the store's blobs. Empty texts are passed over.
    ///
    /// A repeated call with the same contents and metadata gives the same episodes. All contents are put before the first
    /// episode; these follow in batches of [`REMEMBER_BATCH`], each of which is one transaction.
    ///
    /// # Errors
    /// As [`Memory::remember`], and `File` or `Capacity`, with the ref, for a file that cannot be read or has more than
    /// 256 MiB; nothing is remembered then.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// use umi_core::{Memory, Metadata, RememberOptions, Scope, context::{Context, NewItem}};
    /// let memory = Memory::in_memory().await?;
    /// let context = Context::new();
    /// let photo = NewItem::bytes(b"not quite a PNG".to_vec(), "image/png")?;
    /// context.add(photo.with_metadata(Metadata::parse(r#"{"note": "the red kiln in the yard"}"#)?))?;
    /// memory.remember_context(&context.snapshot(), RememberOptions::default(), &Scope::new()).await?;
    ///
    /// let found = memory.recall("Where is the kiln?").await?;
    /// let item = memory.remembered_item(found[0].reference.as_ref().unwrap(), &Scope::new()).await?.unwrap();
    /// assert_eq!(item.content.as_deref(), Some(&b"not quite a PNG"[..]));
    /// # Ok(()) }
    /// ```
    pub async fn remember_context(
        &self,
        context: &Snapshot,
        options: RememberOptions,
        scope: &Scope,
    ) -> Result<RememberResult> {
        self.check_open()?;
        let mut words = self.ready_words(context, 0..context.len()).await?;
        let mut result = RememberResult::default();
        while !words.is_empty() {
            let rest = words.split_off(words.len().min(REMEMBER_BATCH));
            let batch = std::mem::replace(&mut words, rest);
            for one in self.remember_words(context, batch, &options, scope).await? {
                result.episode_ids.extend(one.episode_ids);
                result.entities.extend(one.entities);
                result.evolutions.extend(one.evolutions);
                result.warnings.extend(one.warnings);
                result.usage += one.usage;
            }
        }
        Ok(result)
    }

    /// The words of the items at some places, whose contents are in the store when this returns.
    async fn ready_words(&self, context: &Snapshot, places: Range<usize>) -> Result<Vec<Words>> {
        let limit = self.parts.config.text_bytes();
        let mut ready = Vec::with_capacity(places.len());
        for places in save::batches(context, places) {
            let snapshot = context.clone();
            let mut words = blocking(move || all_words(&snapshot, places, limit)).await?;
            let new: Vec<NewBlob> = words.iter().filter_map(|words| words.new.clone()).collect();
            let mut attempt = 1;
            let put = loop {
                match self.ledger().put_blobs(new.clone(), self.now()).await {
                    // Somebody purges the store.
                    Err(error) if error.kind() == ErrorKind::NotFound && attempt < ATTEMPTS => attempt += 1,
                    outcome => break outcome?,
                }
            };
            let mut put = put.into_iter();
            for words in &mut words {
                words.blob = words.new.take().and_then(|_| put.next());
            }
            ready.extend(words);
        }
        Ok(ready)
    }

    async fn remember_words(
        &self,
        context: &Snapshot,
        mut batch: Vec<Words>,
        options: &RememberOptions,
        scope: &Scope,
    ) -> Result<Vec<RememberResult>> {
        let places = batch.first().map_or(0, |words| words.place)..batch.last().map_or(0, |words| words.place + 1);
        let mut attempt = 1;
        loop {
            let requests = batch.iter().map(|words| {
                let mut turn = words.turn.clone();
                let key = key_of(words);
                turn.attachment = Some(Attachment {
                    session_id: words.reference.session_id().to_owned(),
                    ref_id: words.reference.ref_id(),
                    name: words.name.clone(),
                    uri: words.uri.clone(),
                    media_type: words.media_type.clone(),
                    blob: words.blob.clone(),
                });
                RememberRequest::from(turn).with_key(key).with_options(options.clone()).with_scope(scope.clone())
            });
            match self.remember_batch(requests.collect()).await {
                // Somebody has purged the store before the blobs were named.
                Err(error) if error.kind() == ErrorKind::NotFound && attempt < ATTEMPTS => {
                    attempt += 1;
                    batch = self.ready_words(context, places.clone()).await?;
                }
                outcome => return outcome,
            }
        }
    }

    /// The item of a context that was remembered last under a global ref, such as that of a
    /// [`Recalled`](super::Recalled), with its content; none where there is no such item in the scope.
    ///
    /// # Errors
    /// `CorruptStore` where its content is lost; `Storage` kinds.
    pub async fn remembered_item(&self, reference: &GlobalRef, scope: &Scope) -> Result<Option<RememberedItem>> {
        self.check_open()?;
        let scope = self.resolve(scope)?;
        let Some((episode_id, attachment)) = self.ledger().attachment_of(&scope, reference).await? else {
            return Ok(None);
        };
        let Some(episode) = self.ledger().episode(&scope, episode_id).await? else { return Ok(None) };
        let content = match &attachment.blob {
            Some(blob) => Some(self.content(blob).await?),
            None if attachment.uri.is_none() => Some(episode.text.clone().into_bytes()),
            None => None,
        };
        Ok(Some(RememberedItem { episode_id, text: episode.text, attachment, content }))
    }

    /// The bytes of a blob that a row names.
    pub(super) async fn content(&self, blob: &Blob) -> Result<Vec<u8>> {
        self.ledger().blob(blob).await?.ok_or_else(|| {
            let lost = missing(blob);
            Error::new(ErrorKind::CorruptStore, lost.message().to_owned())
                .with_hint("restore the store from a backup, or forget the episode")
        })
    }

    /// The attachments of episodes, by their ids.
    pub(super) async fn attachments(
        &self,
        scope: &Scope,
        episodes: impl Iterator<Item = Uuid>,
    ) -> Result<BTreeMap<Uuid, Attachment>> {
        let episodes: Vec<Uuid> = episodes.collect();
        if episodes.is_empty() {
            return Ok(BTreeMap::new());
        }
        Ok(self.ledger().attachments(scope, &episodes).await?.into_iter().collect())
    }

    /// The global refs of episodes that stand for items, by their ids.
    pub(super) async fn references(
        &self,
        scope: &Scope,
        episodes: impl Iterator<Item = Uuid>,
    ) -> Result<BTreeMap<Uuid, GlobalRef>> {
        let attachments = self.attachments(scope, episodes).await?;
        attachments.into_iter().map(|(id, attachment)| Ok((id, reference(&attachment)?))).collect()
    }
}

/// The global ref of an attachment.
pub(super) fn reference(attachment: &Attachment) -> Result<GlobalRef> {
    GlobalRef::new(&attachment.session_id, attachment.ref_id)
}

/// Tells an item, its content and what is noted of it from every other: who remembers the same again gets the same episode.
fn key_of(words: &Words) -> String {
    let Words { reference, turn, blob, .. } = words;
    let content = blob.as_ref().map_or("", Blob::hash);
    let (role, metadata) = (turn.role.as_deref().unwrap_or_default(), turn.metadata.as_str());
    format!("context:{}", digest(format!("{reference}\n{content}\n{role}\n{metadata}\n{}", turn.text).as_bytes()))
}

fn all_words(items: &Snapshot, places: Range<usize>, limit: usize) -> Result<Vec<Words>> {
    let made = save::of_each(items, places, |place, item| words_of(items.session_id(), place, item, limit))?;
    Ok(made.into_iter().flatten().collect())
}

/// None of a text without words.
fn words_of(session_id: &str, place: usize, item: &Item, limit: usize) -> Result<Option<Words>> {
    let content = save::blob_of(item)?;
    let (text, is_cut) = save::words(item, limit);
    if text.trim().is_empty() {
        return Ok(None);
    }
    let (media_type, new) = match (content, item.source()) {
        (Some((media_type, blob)), _) => (Some(media_type), Some(blob)),
        (None, ItemSource::Text(whole)) if is_cut => {
            let bytes: Vec<u8> = (**whole).as_ref().as_bytes().to_vec();
            let blob = NewBlob { content: BlobContent::Bytes(Arc::new(bytes)), extension: "txt".to_owned() };
            (Some("text/plain".to_owned()), Some(blob))
        }
        (None, _) => (item.media_type().map(str::to_owned), None),
    };
    let uri = match item.source() {
        ItemSource::Path(path) => Some(file_uri(path)?),
        ItemSource::Url(url) => Some(url.as_str().to_owned()),
        _ => None,
    };
    let mut turn = Turn::new(text);
    turn.role = Some(item.role().as_str().to_owned());
    turn.metadata = item.metadata().cloned().unwrap_or_default();
    turn.source = uri.clone().filter(|uri| uri.len() <= SOURCE_BYTES);
    let name = item.name().map(std::borrow::Cow::into_owned);
    let reference = GlobalRef::new(session_id, item.ref_id())?;
    Ok(Some(Words { place, reference, turn, media_type, name, uri, new, blob: None }))
}

#[cfg(test)]
mod tests;
