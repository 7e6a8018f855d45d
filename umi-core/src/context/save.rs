//! Items on their way into a store and back: what is saved of each of them, and what has changed since.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    collection::Snapshot,
    encode::{IMAGE_PIXELS, SOURCE_BYTES},
    facts::Tier,
    files::{check_file, open_file},
    items::{Bytes, Item, ItemSource, NewItem, Url},
    parallel::in_parallel,
    refs::RefId,
};
use crate::{
    digest::digest_of,
    error::{Error, ErrorKind, Result},
    ledger::{
        Blob, BlobContent, FileContent, FileStamp, NewBlob, SavedItem, SavedSource,
        saved::{file_uri, is_extension, path_of_uri},
    },
    metadata::Metadata,
};

/// A file that changed so shortly before it was looked at may have changed again without a later time.
const RACY: SignedDuration = SignedDuration::from_secs(2);

/// How many objects are encoded at a time: as many are in memory in two forms at once.
const OBJECTS: usize = 8;

/// The places of items in batches, of which none has more than a few objects to encode.
pub(crate) fn batches(items: &Snapshot, places: Range<usize>) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut objects) = (places.start, 0);
    let some = items.iter().enumerate().skip(places.start).take(places.len());
    for (place, item) in some {
        objects += usize::from(matches!(item.source(), ItemSource::Object(_)));
        if objects > OBJECTS {
            batches.push(start..place);
            (start, objects) = (place, 1);
        }
    }
    if start < places.end {
        batches.push(start..places.end);
    }
    batches
}

/// An item that is about to be saved: what it is, without the blob that is still to be put.
pub(crate) struct Pending {
    item: SavedItem,
    blob: Option<NewBlob>,
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

/// Makes something of the items at some places, each on one of several threads. Blocks.
///
/// # Errors
/// The first one of `make`, with the item's ref.
pub(crate) fn of_each<T: Send>(
    items: &Snapshot,
    places: Range<usize>,
    make: impl Fn(usize, &Item) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let items: Vec<(usize, &Item)> = items.iter().enumerate().skip(places.start).take(places.len()).collect();
    let made = in_parallel(items.len(), |index| {
        let (place, item) = items[index];
        make(place, item).map_err(|error| error.with_place(&format!("`{}`", item.ref_id())))
    });
    made.into_iter().collect()
}

/// Makes what is to be saved of the items at some places: files are read for their hashes, objects are encoded. Blocks.
///
/// # Errors
/// What makes an item unreadable, with its ref. A file that is gone is no error: it is saved without a hash.
pub(crate) fn pending(items: &Snapshot, places: Range<usize>) -> Result<Vec<Pending>> {
    of_each(items, places, |_, item| pending_item(item))
}

fn pending_item(item: &Item) -> Result<Pending> {
    let mut blob = None;
    let source = match item.source() {
        ItemSource::Text(text) => SavedSource::Text((**text).as_ref().to_owned()),
        ItemSource::Path(path) => SavedSource::File { uri: file_uri(path)?, content: content_of(path)? },
        ItemSource::Url(url) => {
            SavedSource::Url { uri: url.as_str().to_owned(), media_type: url.media_type().map(str::to_owned) }
        }
        ItemSource::Bytes(_) => {
            let (media_type, new) = blob_of(item)?.ok_or_else(|| Error::internal("an item without content"))?;
            let placeholder = Blob::placeholder(&new.extension);
            blob = Some(new);
            SavedSource::Bytes { media_type, blob: placeholder }
        }
        ItemSource::Object(object) => {
            let media = object.stored(IMAGE_PIXELS as u64)?;
            let extension = extension_of(&media.media_type);
            let placeholder = Blob::placeholder(&extension);
            blob = Some(NewBlob { content: BlobContent::Bytes(Arc::new(media.bytes)), extension });
            SavedSource::Object { media_type: media.media_type, blob: placeholder }
        }
    };
    let item = SavedItem { ref_id: item.ref_id(), role: item.role(), source, metadata: item.metadata().cloned() };
    Ok(Pending { item, blob })
}

/// The contents that are still to be put.
pub(crate) fn new_blobs(pending: &[Pending]) -> Vec<NewBlob> {
    pending.iter().filter_map(|pending| pending.blob.clone()).collect()
}

/// The items with the blobs that were put for them, in their order.
pub(crate) fn with_blobs(pending: Vec<Pending>, put: Vec<Blob>) -> Vec<SavedItem> {
    let mut put = put.into_iter();
    let with_blob = |pending: Pending| {
        let mut item = pending.item;
        if let SavedSource::Bytes { blob, .. } | SavedSource::Object { blob, .. } = &mut item.source
            && let Some(put) = put.next()
        {
            *blob = put;
        }
        item
    };
    pending.into_iter().map(with_blob).collect()
}

/// The content of an item that is to be copied into a store, with its media type, as models read it: an object as PNG;
/// none of a text and of an address. Files are not read yet.
///
/// # Errors
/// What makes an object unreadable.
pub(crate) fn blob_of(item: &Item) -> Result<Option<(String, NewBlob)>> {
    Ok(match item.source() {
        ItemSource::Text(_) | ItemSource::Url(_) => None,
        ItemSource::Bytes(bytes) => {
            let content = BlobContent::Bytes(Arc::clone(bytes) as Arc<dyn AsRef<[u8]> + Send + Sync>);
            Some((bytes.media_type().to_owned(), NewBlob { content, extension: extension_of(bytes.media_type()) }))
        }
        ItemSource::Object(object) => {
            let media = object.pixels(IMAGE_PIXELS as u64)?.to_png()?;
            let new = NewBlob { content: BlobContent::Bytes(Arc::new(media.bytes)), extension: "png".to_owned() };
            Some((media.media_type, new))
        }
        ItemSource::Path(path) => {
            check_file(path).map_err(|cause| Error::file("cannot read", path, cause))?;
            let media_type = item.media_type().unwrap_or("application/octet-stream").to_owned();
            let own = path.extension().and_then(|own| own.to_str()).map(str::to_ascii_lowercase);
            let extension = own.filter(|own| is_extension(own)).unwrap_or_else(|| extension_of(&media_type));
            let content = BlobContent::File(path.to_path_buf(), SOURCE_BYTES as u64);
            Some((media_type, NewBlob { content, extension }))
        }
    })
}

/// The extension of what has a media type.
fn extension_of(media_type: &str) -> String {
    let known = match media_type {
        "image/jpeg" => "jpg",
        "image/svg+xml" => "svg",
        "text/plain" => "txt",
        "text/markdown" => "md",
        "text/javascript" => "js",
        "text/x-python" => "py",
        "audio/mpeg" => "mp3",
        "audio/mp4" => "m4a",
        "video/quicktime" => "mov",
        "application/octet-stream" => "bin",
        "application/x-npy" => "npy",
        other => other.rsplit_once('/').map_or("", |(_, subtype)| subtype),
    };
    if is_extension(known) { known.to_owned() } else { "bin".to_owned() }
}

/// What is in a file; none where it is gone.
fn content_of(path: &Path) -> Result<Option<FileContent>> {
    let read = || -> io::Result<FileContent> {
        let file = open_file(path)?;
        // Before the content, so that a change during the reading shows in a later time.
        let stamp = FileStamp::of(&file.metadata()?)?;
        let (hash, bytes) = digest_of(file, |_| Ok(()))?;
        Ok(FileContent { hash, stamp: FileStamp { bytes, ..stamp } })
    };
    match read() {
        Ok(content) => Ok(Some(content)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(cause) => Err(Error::file("cannot read", path, cause)),
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Which items' files are gone or have another content than at `saved_at`. A file whose size and times are what they
/// were is not read. Blocks.
pub(crate) fn changed(items: &[SavedItem], saved_at: Timestamp) -> Vec<RefId> {
    let is_changed = in_parallel(items.len(), |index| match &items[index].source {
        SavedSource::File { uri, content } => is_changed(uri, content.as_ref(), saved_at),
        _ => false,
    });
    items.iter().zip(is_changed).filter(|(_, is_changed)| *is_changed).map(|(item, _)| item.ref_id).collect()
}

fn is_changed(uri: &str, saved: Option<&FileContent>, saved_at: Timestamp) -> bool {
    let (Some(path), Some(saved)) = (path_of_uri(uri), saved) else { return true };
    let Ok(found) = check_file(&path) else { return true };
    let Ok(stamp) = FileStamp::of(&found) else { return true };
    if stamp.bytes != saved.stamp.bytes {
        return true;
    }
    let touched = Timestamp::from_nanosecond(i128::from(stamp.touched)).unwrap_or(Timestamp::MAX);
    if stamp == saved.stamp && saved_at.duration_since(touched) > RACY {
        return false;
    }
    // Whoever cannot read it finds another content than was saved.
    !matches!(content_of(&path), Ok(Some(content)) if content.hash == saved.hash)
}

/// The item as it was before it was saved, with the content of its blob. An object comes back as bytes.
///
/// # Errors
/// `CorruptStore` for what no item can be.
pub(crate) fn restored(saved: SavedItem, blob: Option<Vec<u8>>) -> Result<(RefId, NewItem)> {
    let SavedItem { ref_id, role, source, metadata } = saved;
    let damaged = |error: Error| {
        Error::new(ErrorKind::CorruptStore, format!("the saved item `{ref_id}` cannot be one"))
            .with_source(error)
            .with_hint("save the context again")
    };
    let item = match source {
        SavedSource::Text(text) => NewItem::text(text),
        SavedSource::File { uri, .. } => {
            let path = path_of_uri(&uri).ok_or_else(|| damaged(Error::internal("no address of a file")))?;
            NewItem::known_file(path, ref_id.kind())
        }
        SavedSource::Url { uri, media_type } => NewItem::url(Url::new(&uri, media_type.as_deref()).map_err(&damaged)?),
        SavedSource::Bytes { media_type, blob: lost } | SavedSource::Object { media_type, blob: lost } => {
            let bytes = blob.ok_or_else(|| damaged(crate::ledger::saved::missing(&lost)))?;
            NewItem::bytes(bytes, &media_type).map_err(&damaged)?
        }
    };
    let mut item = item.with_role(role).map_err(&damaged)?;
    // What a media type is of may be told better by a later version; the ref stays.
    item.kind = ref_id.kind();
    Ok((ref_id, item.with_metadata(metadata.unwrap_or_default())))
}

/// The path of a saved file.
pub(crate) fn path_of(source: &SavedSource) -> Option<PathBuf> {
    match source {
        SavedSource::File { uri, .. } => path_of_uri(uri),
        _ => None,
    }
}

/// What is remembered of an item in words, at most `limit` bytes, and whether that is less than all of a text: the text,
/// or else what kind of thing it is, its name, note and summary, and what can be extracted from it without a model.
pub(crate) fn words(item: &Item, limit: usize) -> (String, bool) {
    if let Some(text) = item.source().as_text() {
        let is_cut = text.len() > limit;
        return (if is_cut { cut(text, limit) } else { text.to_owned() }, is_cut);
    }
    let name = match item.source() {
        ItemSource::Url(url) => Some(url.as_str().into()),
        _ => item.name(),
    };
    let mut words = match name {
        Some(name) => format!("[{} {name}]", item.kind()),
        None => format!("[{}]", item.kind()),
    };
    let known = |key: &str| item.metadata().and_then(|metadata| text_of(metadata, key));
    for text in ["note", "summary", "caption"].into_iter().filter_map(known) {
        words.push('\n');
        words.push_str(&text);
    }
    let told = item.describe(Tier::Fast).unwrap_or_else(|error| format!("[cannot be read: {}]", error.message()));
    if !told.is_empty() {
        words.push('\n');
        words.push_str(&told);
    }
    (if words.len() > limit { cut(&words, limit) } else { words }, false)
}

/// A text of the metadata.
fn text_of(metadata: &Metadata, key: &str) -> Option<String> {
    serde_json::from_str::<String>(&metadata.get(key)?).ok().filter(|text| !text.trim().is_empty())
}

fn cut(text: &str, limit: usize) -> String {
    const CUT: &str = "\n[cut]";
    format!("{}{CUT}", &text[..text.floor_char_boundary(limit.saturating_sub(CUT.len()))])
}
