//! Work that would keep an I/O worker busy, moved off it.

use crate::error::{Error, Result};

/// The bytes of text or vectors up to which work is done where it stands: the way to another thread takes longer.
pub(crate) const QUICK_BYTES: usize = 16 * 1024;

/// Runs blocking work off the I/O workers.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("a blocking task did not end").with_source(error))?
}

/// Runs work over `bytes` of input at once when that is little, else off the I/O workers.
pub(crate) async fn blocking_when_large<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if bytes <= QUICK_BYTES { work() } else { blocking(work).await }
}

/// Whether work over these texts is done where it stands.
pub(crate) fn is_quick(texts: &[String]) -> bool {
    texts.iter().map(String::len).sum::<usize>() <= QUICK_BYTES
}
