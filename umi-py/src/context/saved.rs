//! Saving a context into a store and loading it, and what was remembered of one.

use std::path::PathBuf;

use pyo3::{
    intern,
    prelude::*,
    types::{PyBytes, PyDict},
};
use umi_core::{
    Error, ErrorKind, Timestamp,
    context::{
        ContextStore, GlobalRef, Item, ItemSource, LoadedContext, NewItem, RememberedItem, SavedSource, StoredItem,
    },
};

use super::{BaseContext, adding};
use crate::{
    convert::{Str, Time, dict_of},
    error::IntoPyResult,
    metadata::from_json,
    runtime::block_on,
};

/// Does something with the store of a folder, and lets go of it.
fn with_store<T: Send, F: Future<Output = umi_core::Result<T>> + Send>(
    py: Python<'_>,
    folder: PathBuf,
    work: impl FnOnce(std::sync::Arc<ContextStore>) -> F + Send,
) -> PyResult<T> {
    block_on(py, None, async move {
        let store = std::sync::Arc::new(ContextStore::open(folder).await?);
        let outcome = work(std::sync::Arc::clone(&store)).await;
        // What failed first is what the caller is told.
        match (outcome, store.close().await) {
            (Ok(_), Err(error)) => Err(error),
            (outcome, _) => outcome,
        }
    })
}

/// Saves a context.
#[pyfunction]
pub(crate) fn _save(
    py: Python<'_>,
    context: &Bound<'_, BaseContext>,
    folder: PathBuf,
    user: Option<Str<'_>>,
) -> PyResult<()> {
    let (items, user) = (context.get().snapshot(), user.map(|user| user.0.to_owned()));
    with_store(py, folder, |store| async move { store.save(&items, user.as_deref()).await })
}

/// Loads what was saved of a context's session into it. Gives the refs of files that have changed.
#[pyfunction]
pub(crate) fn _load(
    py: Python<'_>,
    context: &Bound<'_, BaseContext>,
    folder: PathBuf,
    user: Option<Str<'_>>,
) -> PyResult<Vec<String>> {
    let inner = &context.get().inner;
    let (session_id, user) = (inner.session_id().to_owned(), user.map(|user| user.0.to_owned()));
    let LoadedContext { context: loaded, changed, objects, .. } =
        with_store(py, folder, |store| async move { store.load(&session_id, user.as_deref()).await })?;
    for item in loaded.snapshot().iter() {
        let new = if objects.contains(&item.ref_id()) { image(py, item)? } else { None };
        inner.insert(item.ref_id(), new.unwrap_or_else(|| NewItem::from(item))).py()?;
    }
    Ok(changed.into_iter().map(|ref_id| ref_id.to_string()).collect())
}

/// The image of Pillow or the array of NumPy that a saved object is, where the package is installed.
fn image(py: Python<'_>, item: &Item) -> PyResult<Option<NewItem>> {
    let ItemSource::Bytes(bytes) = item.source() else { return Ok(None) };
    let restored = py.import(intern!(py, "umi._images"))?.getattr(intern!(py, "restored"))?;
    let object = restored.call1((bytes.media_type(), PyBytes::new(py, bytes.as_slice())))?;
    if object.is_none() {
        return Ok(None);
    }
    let new = adding::new_item(&object, None)?;
    Ok(Some(match item.metadata() {
        Some(metadata) => new.with_metadata(metadata.clone()),
        None => new,
    }))
}

/// An item of a saved context, or None.
#[pyfunction]
pub(crate) fn _saved_item<'py>(
    py: Python<'py>,
    reference: Str<'_>,
    folder: PathBuf,
    user: Option<Str<'_>>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let reference: GlobalRef = reference.0.parse().py()?;
    let user = user.map(|user| user.0.to_owned());
    let found = with_store(py, folder, |store| async move { store.item(&reference, user.as_deref()).await })?;
    found.map(|found| to_dict(py, &found)).transpose()
}

/// Removes blobs that nothing names.
#[pyfunction]
pub(crate) fn _gc(py: Python<'_>, folder: PathBuf) -> PyResult<u64> {
    with_store(py, folder, |store| async move { store.gc().await })
}

fn to_dict<'py>(py: Python<'py>, stored: &StoredItem) -> PyResult<Bound<'py, PyDict>> {
    let item = &stored.item;
    let (text, media_type, hash, bytes, modified) = match &item.source {
        SavedSource::Text(text) => (Some(text.as_str()), Some("text/plain"), None, Some(text.len() as u64), None),
        SavedSource::File { content, .. } => {
            let stamp = content.as_ref().map(|content| content.stamp);
            let time = stamp.and_then(|stamp| Timestamp::from_nanosecond(i128::from(stamp.modified)).ok());
            let hash = content.as_ref().map(|content| content.hash.as_str());
            (None, None, hash, stamp.map(|stamp| stamp.bytes), time)
        }
        SavedSource::Url { media_type, .. } => (None, media_type.as_deref(), None, None, None),
        SavedSource::Bytes { media_type, blob } | SavedSource::Object { media_type, blob } => {
            (None, Some(media_type.as_str()), Some(blob.hash()), Some(blob.bytes()), None)
        }
        _ => return Err(Error::new(ErrorKind::Internal, "an item of an unknown source")).py(),
    };
    let source_kind = match &item.source {
        SavedSource::File { .. } => "path",
        SavedSource::Url { .. } => "url",
        _ => "in_memory",
    };
    Ok(dict_of!(py,
        "session_id" => stored.session_id.as_str(),
        "ref_id" => item.ref_id.to_string(),
        "role" => item.role.as_str(),
        "kind" => item.ref_id.kind().as_str(),
        "position" => stored.position,
        "source_kind" => source_kind,
        "uri" => item.source.uri(),
        "path" => stored.path.as_ref().map(|path| path.as_os_str()),
        "text" => text,
        "media_type" => media_type,
        "metadata" => match &item.metadata {
            Some(metadata) => from_json(py, metadata.as_str())?,
            None => PyDict::new(py).into_any(),
        },
        "content_hash" => hash,
        "byte_len" => bytes,
        "modified" => modified.map(Time),
        "is_changed" => stored.is_changed,
        "saved_at" => Time(stored.saved_at),
    ))
}

/// An item of a context that was remembered, as a dictionary.
pub(crate) fn remembered<'py>(py: Python<'py>, found: &RememberedItem) -> PyResult<Bound<'py, PyDict>> {
    let attachment = &found.attachment;
    Ok(dict_of!(py,
        "episode_id" => found.episode_id.to_string(),
        "session_id" => attachment.session_id.as_str(),
        "ref_id" => attachment.ref_id.to_string(),
        "kind" => attachment.kind().as_str(),
        "name" => attachment.name.as_deref(),
        "uri" => attachment.uri.as_deref(),
        "media_type" => attachment.media_type.as_deref(),
        "text" => found.text.as_str(),
        "content" => found.content.as_ref().map(|content| PyBytes::new(py, content)),
    ))
}
