//! The one error type of the engine: an opaque [`Error`] with a [`ErrorKind`], its cause and a hint.

use std::{error::Error as StdError, fmt, io, path::Path, sync::Arc, time::Duration};

use crate::memory::Usage;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Cause = Arc<dyn StdError + Send + Sync + 'static>;

/// What failed, on which value, and what to do about it.
///
/// Cheap to clone, because one failed commit is reported to every caller whose write was part of it.
///
/// # Example
/// ```
/// let error = umi_core::Scope::new().with_user("").unwrap_err();
/// assert!(error.is_invalid_input());
/// assert!(error.to_string().contains("user"));
/// ```
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Cause>,
    details: Details,
}

/// The attributes that an error may carry beside its message. All are optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Details {
    /// The same call may succeed later without a change of its arguments.
    pub retryable: bool,
    /// The operating system's error number.
    pub errno: Option<i32>,
    /// The file that the operation was about.
    pub filename: Option<String>,
    /// The limit that was exceeded, in the unit of the message.
    pub limit: Option<u64>,
    /// The size that was asked for, in the unit of the message.
    pub requested: Option<u64>,
    /// The name of the provider that failed.
    pub provider: Option<String>,
    /// The HTTP status that a provider answered with.
    pub status: Option<u16>,
    /// The request id that a provider answered with.
    pub request_id: Option<String>,
    /// How long a provider asks its caller to wait.
    pub retry_after: Option<Duration>,
    /// What a model's service counted for an answer that is of no use.
    pub usage: Option<Usage>,
}

/// The kinds of failure. Kinds are apart where their handling differs.
///
/// # Example
/// ```
/// use umi_core::{ErrorKind, RecallOptions};
/// let error = RecallOptions::default().with_limit(5_000).unwrap_err();
/// match error.kind() {
///     ErrorKind::InvalidLimit => assert_eq!(error.details().limit, Some(1_000)),
///     other => panic!("{other:?}: {error}"),
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is malformed, too long or out of range.
    InvalidInput,
    /// A text to remember is empty or white space.
    EmptyText,
    /// A text is over its limit.
    TextTooLong,
    /// A number of results is outside of what is allowed.
    InvalidLimit,
    /// A container is full.
    Capacity,
    /// An id or key that must exist does not.
    NotFound,
    /// A ref that must be in a context is not.
    RefNotFound,
    /// A file of the caller's is not there or cannot be read.
    File,
    /// The ledger or the index failed.
    Storage,
    /// The store's bytes are damaged.
    CorruptStore,
    /// The store was written by a newer version or is not a store.
    StoreVersion,
    /// Another process holds the store's write lock.
    StoreLocked,
    /// The operating system refused: no space, no permission, read-only.
    StoreIo,
    /// An embedder failed.
    Embedding,
    /// The store's vectors are of another embedding space.
    EmbeddingSpace,
    /// A model's service failed.
    Provider,
    /// A model's service asks its callers to wait.
    RateLimit,
    /// A model's service does not take the key.
    Authentication,
    /// A model's service did not answer in time.
    ProviderTimeout,
    /// A request is longer than the model reads.
    ContextOverflow,
    /// A model's answer is not what was asked for.
    InvalidResponse,
    /// A handle was used after it was closed.
    Closed,
    /// A handle was inherited by a forked child.
    Forked,
    /// A part that this build or environment lacks.
    FeatureNotBuilt,
    /// A defect of this crate.
    Internal,
}

impl ErrorKind {
    /// Every kind, for tests that must cover them all.
    pub const ALL: [Self; 25] = [
        Self::InvalidInput,
        Self::EmptyText,
        Self::TextTooLong,
        Self::InvalidLimit,
        Self::Capacity,
        Self::NotFound,
        Self::RefNotFound,
        Self::File,
        Self::Storage,
        Self::CorruptStore,
        Self::StoreVersion,
        Self::StoreLocked,
        Self::StoreIo,
        Self::Embedding,
        Self::EmbeddingSpace,
        Self::Provider,
        Self::RateLimit,
        Self::Authentication,
        Self::ProviderTimeout,
        Self::ContextOverflow,
        Self::InvalidResponse,
        Self::Closed,
        Self::Forked,
        Self::FeatureNotBuilt,
        Self::Internal,
    ];
}

impl Error {
    /// Makes an error of `kind` with a message in lower case and without a period.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            inner: Arc::new(Inner {
                kind,
                message: message.into(),
                hint: None,
                source: None,
                details: Details::default(),
            }),
        }
    }

    /// Makes an [`ErrorKind::InvalidInput`].
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// Makes an [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Makes an [`ErrorKind::File`] of what the operating system said about `path`.
    pub(crate) fn file(what: &str, path: &Path, cause: io::Error) -> Self {
        let shown = path.to_string_lossy();
        Self::new(ErrorKind::File, format!("{what} `{}`: {cause}", tail(&shown)))
            .with_file(cause.raw_os_error(), shown)
            .with_source(cause)
    }

    /// Makes an [`ErrorKind::Storage`].
    pub fn storage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Storage, message)
    }

    /// Makes an [`ErrorKind::Internal`]: an invariant of this crate does not hold.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message).with_hint("please report it")
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        self.change(|inner| inner.hint = Some(hint.into()))
    }

    /// Keeps the error that caused this one.
    #[must_use]
    pub fn with_source(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.change(|inner| inner.source = Some(Arc::new(source)))
    }

    /// Says whether the same call may succeed later.
    #[must_use]
    pub fn with_retryable(self, retryable: bool) -> Self {
        self.change(|inner| inner.details.retryable = retryable)
    }

    /// Adds the limit and the size that was asked for.
    #[must_use]
    pub fn with_sizes(self, limit: usize, requested: usize) -> Self {
        self.change(|inner| {
            inner.details.limit = Some(limit as u64);
            inner.details.requested = Some(requested as u64);
        })
    }

    /// Adds the operating system's error number and the file.
    #[must_use]
    pub fn with_file(self, errno: Option<i32>, filename: impl Into<String>) -> Self {
        self.change(|inner| {
            inner.details.errno = errno;
            inner.details.filename = Some(filename.into());
        })
    }

    /// Adds the name of the provider that failed.
    #[must_use]
    pub fn with_provider(self, provider: impl Into<String>) -> Self {
        self.change(|inner| inner.details.provider = Some(provider.into()))
    }

    /// Adds what a provider's answer said: its HTTP status, its request id and how long it asks its caller to wait.
    #[must_use]
    pub fn with_response(self, status: Option<u16>, request_id: Option<String>, retry_after: Option<Duration>) -> Self {
        self.change(|inner| {
            inner.details.status = status;
            inner.details.request_id = request_id;
            inner.details.retry_after = retry_after;
        })
    }

    /// Adds what a model's service counted all the same, so that it is not lost.
    ///
    /// # Example
    /// ```
    /// use umi_core::{Error, ErrorKind, Usage};
    /// let refusal = Error::new(ErrorKind::InvalidResponse, "it refused to answer").with_usage(Usage::new(900, 12, 1));
    /// assert_eq!(refusal.details().usage.unwrap().output_tokens, 12);
    /// ```
    #[must_use]
    pub fn with_usage(self, usage: Usage) -> Self {
        self.change(|inner| inner.details.usage = Some(usage))
    }

    /// Says which part of the input it is about.
    pub(crate) fn with_place(self, place: &str) -> Self {
        self.change(|inner| inner.message = format!("{place}: {}", inner.message))
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.inner));
        self
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// What the reader can do about it, where there is something.
    pub fn hint(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// The message without the hint.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The attributes beside the message.
    pub fn details(&self) -> &Details {
        &self.inner.details
    }

    /// Whether the same call may succeed later without a change.
    pub fn is_retryable(&self) -> bool {
        self.inner.details.retryable
    }

    /// Whether an argument was refused, of whatever kind.
    pub fn is_invalid_input(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::InvalidInput | ErrorKind::EmptyText | ErrorKind::TextTooLong | ErrorKind::InvalidLimit
        )
    }

    /// Whether a model's service failed, of whatever kind.
    pub fn is_provider(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Provider
                | ErrorKind::RateLimit
                | ErrorKind::Authentication
                | ErrorKind::ProviderTimeout
                | ErrorKind::ContextOverflow
                | ErrorKind::InvalidResponse
        )
    }

    /// Whether something that must exist does not.
    pub fn is_not_found(&self) -> bool {
        matches!(self.kind(), ErrorKind::NotFound | ErrorKind::RefNotFound)
    }

    /// Whether the store failed, of whatever kind.
    pub fn is_storage(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Storage
                | ErrorKind::CorruptStore
                | ErrorKind::StoreVersion
                | ErrorKind::StoreLocked
                | ErrorKind::StoreIo
        )
    }
}

/// The last 64 characters of a path: its name is there.
fn tail(path: &str) -> String {
    match path.char_indices().rev().nth(63) {
        Some((start, _)) if start > 0 => format!("…{}", &path[start..]),
        _ => path.to_owned(),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)?;
        match &self.inner.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.kind()).field("message", &self.inner.message);
        if let Some(hint) = &self.inner.hint {
            out.field("hint", hint);
        }
        if let Some(source) = &self.inner.source {
            out.field("source", source);
        }
        out.finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_ref().map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_message_and_hint_and_keeps_its_cause() {
        let error = Error::storage("cannot write `x`").with_hint("free some space").with_source(fmt::Error);
        assert_eq!(error.to_string(), "cannot write `x` (free some space)");
        assert!(error.source().is_some() && error.is_storage());
    }

    #[test]
    fn all_kinds_are_listed_once() {
        let kinds: std::collections::BTreeSet<String> = ErrorKind::ALL.iter().map(|kind| format!("{kind:?}")).collect();
        assert_eq!(kinds.len(), ErrorKind::ALL.len());
    }
}
