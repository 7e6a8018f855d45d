//! What the calls of [`Memory`](crate::Memory) give.

use std::ops::Deref;

use jiff::Timestamp;
use uuid::Uuid;

use super::extraction::recalled_source;
use crate::{
    context::GlobalRef,
    entity::{Entity, EvolutionRelation},
    episode::Kind,
    error::Error,
};

/// A step that failed and was survived.
///
/// # Example
/// ```
/// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
/// use std::sync::Arc;
/// use umi_core::{ErrorKind, MemoryBuilder, ScriptedModel};
/// let model = ScriptedModel::new(["I would rather not.", "No."]); // no JSON, and asked once more no JSON again
/// let memory = MemoryBuilder::sim(7).language_model(Arc::new(model)).build().await?;
/// let result = memory.remember("Ana works at Acme.").await?;
/// let warning = &result.warnings[0];
/// assert_eq!((warning.step, warning.error.kind()), ("extract", ErrorKind::InvalidResponse));
/// assert!(warning.job_id.is_some() && result.episode_ids.len() == 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StepFailure {
    /// The step: `embed`, `embed_query`, `extract`, `evolve` or `expand`.
    pub step: &'static str,
    /// Why it failed.
    pub error: Error,
    /// The job that `retry_pending` will run, where one was left: of a conversation the first turn's. Without one, the
    /// step went on without what was wrong.
    pub job_id: Option<Uuid>,
}

/// What a model's service counted: for every answer, also one that could not be used. All zero where no model ran.
///
/// # Example
/// ```
/// use umi_core::Usage;
/// let mut usage = Usage::new(900, 100, 1);
/// usage += Usage::new(50, 10, 1);
/// assert_eq!(usage, Usage::new(950, 110, 2));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Requests made.
    pub requests: u64,
}

impl Usage {
    /// A count of tokens read and written, and of requests made.
    pub fn new(input_tokens: u64, output_tokens: u64, requests: u64) -> Self {
        Self { input_tokens, output_tokens, requests }
    }
}

/// What became of one remembered text, conversation or fact.
///
/// # Example
/// ```
/// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
/// use umi_core::Memory;
/// let memory = Memory::sim(7).await?; // with a simulated language model
/// let result = memory.remember("Ana works at Acme.").await?;
/// assert_eq!((result.episode_ids.len(), result.entity_count()), (1, 1));
/// assert!(!result.has_evolutions() && result.warnings.is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RememberResult {
    /// The episodes, in the order of the turns.
    pub episode_ids: Vec<Uuid>,
    /// The facts; where none was extracted, the episodes in their note form.
    pub entities: Vec<Entity>,
    /// The relations that came into being.
    pub evolutions: Vec<EvolutionRelation>,
    /// Steps that failed and were survived.
    pub warnings: Vec<StepFailure>,
    /// What a model's service counted.
    pub usage: Usage,
}

impl RememberResult {
    /// The number of entities.
    pub fn entity_count(&self) -> usize {
        self.entities.len()
    }

    /// Whether a relation came into being.
    pub fn has_evolutions(&self) -> bool {
        !self.evolutions.is_empty()
    }
}

/// One result of a recall: an entity, how relevant it is, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recalled {
    /// The fact, or the note form of the episode.
    pub entity: Entity,
    /// Fact or episode.
    pub kind: Kind,
    /// The absolute relevance, from 0 to 1.
    pub score: f64,
    /// What the score and the rank were made of; all of it with `explain`.
    pub signals: Vec<(&'static str, f64)>,
    /// The speaker's part; none for a fact.
    pub role: Option<String>,
    /// The speaker's name; none for a fact.
    pub speaker: Option<String>,
    /// When it was said, or from when on it is true.
    pub at: Timestamp,
    /// The item of a context that the episode stands for, or the episode that the fact was found in;
    /// [`Memory::remembered_item`](super::Memory::remembered_item) gives its content.
    pub reference: Option<GlobalRef>,
}

impl Recalled {
    /// The `source` under which its words are to be remembered where an agent says them again: they are kept as an
    /// episode, and no facts are taken from them a second time.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// # let memory = umi_core::Memory::in_memory().await?;
    /// use umi_core::Turn;
    /// memory.remember("Ana moved to Lisbon.").await?;
    /// let found = memory.recall("Where does Ana live?").await?;
    /// let mut answer = Turn::new("As you said: Ana moved to Lisbon.");
    /// answer.role = Some("assistant".to_owned());
    /// answer.source = Some(found[0].recalled_source());
    /// memory.remember(answer).await?;
    /// # Ok(()) }
    /// ```
    pub fn recalled_source(&self) -> String {
        recalled_source(self.entity.id)
    }
}

/// The results of a recall, best first.
///
/// # Example
/// ```
/// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
/// # let memory = umi_core::Memory::in_memory().await?;
///
/// memory.remember("Ana moved to Lisbon.").await?;
/// let found = memory.recall("Where does Ana live?").await?;
/// assert!(found.warnings.is_empty());
/// for hit in &found {
///     assert_eq!(hit.entity.content, "Ana moved to Lisbon.");
///     assert!((0.0..=1.0).contains(&hit.score));
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RecallResults {
    /// The results.
    pub items: Vec<Recalled>,
    /// Steps that failed and were survived.
    pub warnings: Vec<StepFailure>,
    /// What a model's service counted.
    pub usage: Usage,
}

impl Deref for RecallResults {
    type Target = [Recalled];

    fn deref(&self) -> &[Recalled] {
        &self.items
    }
}

impl IntoIterator for RecallResults {
    type Item = Recalled;
    type IntoIter = std::vec::IntoIter<Recalled>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a> IntoIterator for &'a RecallResults {
    type Item = &'a Recalled;
    type IntoIter = std::slice::Iter<'a, Recalled>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}
