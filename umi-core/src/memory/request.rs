//! What one `remember` is given: turns, options, a key and a scope.

use std::fmt;

use jiff::Timestamp;

use super::options::RememberOptions;
use crate::{ledger::Attachment, metadata::Metadata, scope::Scope};

/// One thing that was said.
///
/// # Example
/// ```
/// use umi_core::Turn;
/// let mut turn = Turn::new("The shelves have to be oak.");
/// turn.name = Some("Nadia".to_owned());
/// turn.role = Some("user".to_owned());
/// assert!(!format!("{turn:?}").contains("oak"));
/// ```
#[derive(Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Turn {
    /// What was said.
    pub text: String,
    /// The speaker's part; `user` unless it is set.
    pub role: Option<String>,
    /// The speaker's name.
    pub name: Option<String>,
    /// When it was said; now unless it is set.
    pub at: Option<Timestamp>,
    /// The caller's own fields.
    pub metadata: Metadata,
    /// Where it comes from.
    pub source: Option<String>,
    /// The item of a context that it stands for, whose blob the store has.
    pub(super) attachment: Option<Attachment>,
}

impl fmt::Debug for Turn {
    /// Shows the size of the text and not its words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("text_bytes", &self.text.len())
            .field("role", &self.role)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Turn {
    /// A turn of a text, said by the user, now.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// A text or a conversation to remember. A conversation is one transaction.
///
/// # Example
/// ```
/// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
/// # let memory = umi_core::Memory::in_memory().await?;
/// use umi_core::{RememberRequest, Turn};
/// let turns = vec![Turn::new("Pine makes Tarek sneeze."), Turn::new("It is the dust.")];
/// let request = RememberRequest::conversation(turns).with_key("message 17");
/// let first = memory.remember(request.clone()).await?;
/// let repeated = memory.remember(request).await?;
/// assert_eq!(first.episode_ids, repeated.episode_ids);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RememberRequest {
    /// What was said, in order.
    pub turns: Vec<Turn>,
    /// How it is remembered.
    pub options: RememberOptions,
    /// Makes a repeated call idempotent: unique in the tenant, at most 256 bytes.
    pub key: Option<String>,
    /// Parts that differ from the handle's scope.
    pub scope: Scope,
}

impl RememberRequest {
    /// A conversation.
    pub fn conversation(turns: Vec<Turn>) -> Self {
        Self { turns, ..Self::default() }
    }

    /// The same request with a key.
    #[must_use]
    pub fn with_key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// The same request with options.
    #[must_use]
    pub fn with_options(self, options: RememberOptions) -> Self {
        Self { options, ..self }
    }

    /// The same request in another scope.
    #[must_use]
    pub fn with_scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }
}

impl From<&str> for RememberRequest {
    fn from(text: &str) -> Self {
        Self::from(Turn::new(text))
    }
}

impl From<String> for RememberRequest {
    fn from(text: String) -> Self {
        Self::from(Turn::new(text))
    }
}

impl From<Turn> for RememberRequest {
    fn from(turn: Turn) -> Self {
        Self { turns: vec![turn], ..Self::default() }
    }
}

impl From<Vec<Turn>> for RememberRequest {
    fn from(turns: Vec<Turn>) -> Self {
        Self::conversation(turns)
    }
}
