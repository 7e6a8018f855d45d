//! The runtime that all targets share, and what every answer of the engine must be like.

use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};
use umi_core::{Error, ErrorKind};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread().worker_threads(1).enable_time().build().expect("a runtime can be made")
});

/// Runs a future to its end.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

/// Checks that an error is one that input may cause: no defect, with words of a bounded length.
pub(crate) fn typed(error: &Error, allowed: &[ErrorKind]) {
    assert!(allowed.contains(&error.kind()), "{error:?}");
    assert!(!error.message().is_empty() && error.message().len() < 1024, "{} bytes: {error}", error.message().len());
}

/// The value, or none where it was refused as input may be.
pub(crate) fn accepted<T>(result: umi_core::Result<T>) -> Option<T> {
    const REFUSED: [ErrorKind; 5] = [
        ErrorKind::InvalidInput,
        ErrorKind::EmptyText,
        ErrorKind::TextTooLong,
        ErrorKind::InvalidLimit,
        ErrorKind::Capacity,
    ];
    result.inspect_err(|error| typed(error, &REFUSED)).ok()
}
