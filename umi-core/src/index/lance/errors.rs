//! Failures of LanceDB as errors of this crate.

use lancedb::arrow::arrow_schema::ArrowError;

use crate::error::{Error, ErrorKind};

/// What went wrong beside the ledger.
#[derive(Debug)]
pub(super) enum Fault {
    /// Another writer was faster, or has the right to write by now: nothing was written.
    Overtaken,
    /// Anything else.
    Failed(Error),
}

/// An outcome that knows whether another writer was faster.
pub(super) type Written<T> = std::result::Result<T, Fault>;

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<lance::Error> for Fault {
    fn from(error: lance::Error) -> Self {
        match error {
            lance::Error::CommitConflict { .. }
            | lance::Error::RetryableCommitConflict { .. }
            | lance::Error::TooMuchWriteContention { .. }
            | lance::Error::IncompatibleTransaction { .. } => Self::Overtaken,
            error => Self::Failed(failed("the index cannot be written", error)),
        }
    }
}

impl From<lancedb::Error> for Fault {
    fn from(error: lancedb::Error) -> Self {
        match error {
            lancedb::Error::Lance { source } => source.into(),
            error => Self::Failed(failed("the index cannot be written", error)),
        }
    }
}

/// A failure of LanceDB, with what was tried.
pub(super) fn failed(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Storage, what)
        .with_hint("the index is made again from the ledger by itself, look at the cause if this stays")
        .with_source(error)
}

/// Columns that do not fit together: ours are made in one place.
pub(super) fn arrow(error: ArrowError) -> Error {
    Error::internal("the columns of the index do not fit together").with_source(error)
}
