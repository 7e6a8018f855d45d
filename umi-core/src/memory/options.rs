//! [`RememberOptions`] and [`RecallOptions`]: what one call does otherwise than by default.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::config::check_limit;
use crate::{
    entity::{EntityType, check_unit},
    episode::Kind,
    error::{Error, Result},
};

/// What `remember` waits for.
///
/// # Example
/// ```
/// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
/// # let memory = umi_core::Memory::in_memory().await?;
/// use umi_core::{RememberOptions, Wait};
/// let options = RememberOptions::default().with_wait(Wait::Durable);
/// memory.remember("The kiln arrives next Monday.").options(options).await?;
/// memory.flush().await?; // what runs in the background is done
/// assert!(memory.pending(&umi_core::Scope::new()).await?.is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// Until vectors and facts are stored, or have failed with a warning.
    #[default]
    Extracted,
    /// Until the words are durable; the rest is done in the background, and `flush` waits for it.
    Durable,
}

/// How a text is remembered. Immutable; the `with_…` methods give checked copies.
///
/// `extract_entities` and `detect_evolutions` are used by a language model; without one they change nothing. It is called
/// once to find facts, and once more where it has to say how they relate to stored ones; more often for a conversation
/// above 32 KiB, after an answer that cannot be read, and where the same subject changes at the same time.
///
/// # Example
/// ```
/// use umi_core::{RememberOptions, Wait};
/// let options = RememberOptions::default().with_importance(0.9)?.with_wait(Wait::Durable);
/// assert!(options.extract_entities() && options.wait() == Wait::Durable);
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RememberOptions {
    extract_entities: bool,
    generate_embeddings: bool,
    detect_evolutions: bool,
    importance: f64,
    wait: Wait,
}

impl Default for RememberOptions {
    fn default() -> Self {
        Self {
            extract_entities: true,
            generate_embeddings: true,
            detect_evolutions: true,
            importance: 0.5,
            wait: Wait::Extracted,
        }
    }
}

impl RememberOptions {
    /// Whether a language model extracts facts (default: yes).
    #[must_use]
    pub fn with_extract_entities(self, extract_entities: bool) -> Self {
        Self { extract_entities, ..self }
    }

    /// Whether the text gets a vector (default: yes). Without one it is found by its words.
    #[must_use]
    pub fn with_generate_embeddings(self, generate_embeddings: bool) -> Self {
        Self { generate_embeddings, ..self }
    }

    /// Whether a language model relates new facts to old ones (default: yes).
    #[must_use]
    pub fn with_detect_evolutions(self, detect_evolutions: bool) -> Self {
        Self { detect_evolutions, ..self }
    }

    /// The prior of ranking, from 0 to 1 (default 0.5, which is neutral).
    ///
    /// # Errors
    /// `InvalidInput` outside of that range.
    pub fn with_importance(self, importance: f64) -> Result<Self> {
        check_unit("importance", importance)?;
        Ok(Self { importance, ..self })
    }

    /// What the call waits for (default: everything).
    #[must_use]
    pub fn with_wait(self, wait: Wait) -> Self {
        Self { wait, ..self }
    }

    /// Whether facts are extracted.
    pub fn extract_entities(&self) -> bool {
        self.extract_entities
    }

    /// Whether the text gets a vector.
    pub fn generate_embeddings(&self) -> bool {
        self.generate_embeddings
    }

    /// Whether new facts are related to old ones.
    pub fn detect_evolutions(&self) -> bool {
        self.detect_evolutions
    }

    /// The prior of ranking.
    pub fn importance(&self) -> f64 {
        self.importance
    }

    /// What the call waits for.
    pub fn wait(&self) -> Wait {
        self.wait
    }
}

/// What a recall reads and gives. Immutable; the `with_…` methods give checked copies.
///
/// # Example
/// ```
/// use umi_core::{Kind, RecallOptions};
/// let options = RecallOptions::default().with_limit(5)?.with_include([Kind::Fact])?.with_min_score(0.3)?;
/// assert_eq!(options.limit(), Some(5));
/// assert!(RecallOptions::default().with_limit(0).is_err());
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RecallOptions {
    limit: Option<usize>,
    use_vector_search: bool,
    use_text_search: bool,
    deep_search: Option<bool>,
    time_range: Option<(Timestamp, Timestamp)>,
    as_of: Option<Timestamp>,
    entity_types: Option<BTreeSet<EntityType>>,
    include: BTreeSet<Kind>,
    min_score: f64,
    explain: bool,
}

impl Default for RecallOptions {
    fn default() -> Self {
        Self {
            limit: None,
            use_vector_search: true,
            use_text_search: true,
            deep_search: None,
            time_range: None,
            as_of: None,
            entity_types: None,
            include: BTreeSet::from([Kind::Fact, Kind::Episode]),
            min_score: 0.0,
            explain: false,
        }
    }
}

impl RecallOptions {
    /// The most results (1 to 1,000; default: the configuration's `recall_limit`).
    ///
    /// # Errors
    /// `InvalidLimit` outside of that range.
    pub fn with_limit(self, limit: usize) -> Result<Self> {
        check_limit(limit)?;
        Ok(Self { limit: Some(limit), ..self })
    }

    /// Which signals find (default: both).
    ///
    /// # Errors
    /// `InvalidInput` when neither is left.
    pub fn with_search(self, vector: bool, text: bool) -> Result<Self> {
        if !vector && !text {
            return Err(Error::invalid_input(
                "use_vector_search and use_text_search are both false, nothing can be found",
            ));
        }
        Ok(Self { use_vector_search: vector, use_text_search: text, ..self })
    }

    /// Whether a language model rewrites the query (default: the configuration's `deep_search`): up to three other
    /// wordings are searched beside it, in one more request to the model. Where it asks for what was true once and neither
    /// `as_of` nor a range of time is given, they find versions that hold no more too. `Some(true)` is refused by a memory
    /// without a model, with `InvalidInput`; the configuration's default is not.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// use umi_core::{Memory, RecallOptions};
    /// let memory = Memory::sim(7).await?; // with a simulated language model
    /// memory.remember("Ana works at Acme.").await?;
    /// let deep = RecallOptions::default().with_deep_search(Some(true));
    /// let found = memory.recall("Where does Ana work?").options(deep).await?;
    /// assert_eq!(found.usage.requests, 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_deep_search(self, deep_search: Option<bool>) -> Self {
        Self { deep_search, ..self }
    }

    /// Only episodes said, and facts true, between two times, both included.
    ///
    /// # Errors
    /// `InvalidInput` when the end lies before the start.
    pub fn with_time_range(self, start: Timestamp, end: Timestamp) -> Result<Self> {
        if end < start {
            return Err(Error::invalid_input(format!("time_range ends at `{end}`, before it starts at `{start}`")));
        }
        Ok(Self { time_range: Some((start, end)), ..self })
    }

    /// What was true, and had been said, at a time.
    #[must_use]
    pub fn with_as_of(self, as_of: Timestamp) -> Self {
        Self { as_of: Some(as_of), ..self }
    }

    /// Only facts of these types; an episode is of type note (default: all).
    ///
    /// # Errors
    /// `InvalidInput` when no type is named.
    pub fn with_entity_types(self, types: impl IntoIterator<Item = EntityType>) -> Result<Self> {
        let types: BTreeSet<EntityType> = types.into_iter().collect();
        if types.is_empty() {
            return Err(Error::invalid_input("entity_types is empty").with_hint("leave it out to mean all"));
        }
        Ok(Self { entity_types: Some(types), ..self })
    }

    /// Facts, episodes, or both (default: both).
    ///
    /// # Errors
    /// `InvalidInput` when neither is named.
    pub fn with_include(self, kinds: impl IntoIterator<Item = Kind>) -> Result<Self> {
        let include: BTreeSet<Kind> = kinds.into_iter().collect();
        if include.is_empty() {
            return Err(Error::invalid_input("include is empty").with_hint("name facts, episodes or both"));
        }
        Ok(Self { include, ..self })
    }

    /// The least score of a result, from 0 to 1 (default 0).
    ///
    /// # Errors
    /// `InvalidInput` outside of that range.
    pub fn with_min_score(self, min_score: f64) -> Result<Self> {
        check_unit("min_score", min_score)?;
        Ok(Self { min_score, ..self })
    }

    /// Whether every signal of a result is told (default: no).
    #[must_use]
    pub fn with_explain(self, explain: bool) -> Self {
        Self { explain, ..self }
    }

    /// The most results, if named.
    pub fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// Whether vectors find.
    pub fn use_vector_search(&self) -> bool {
        self.use_vector_search
    }

    /// Whether words find.
    pub fn use_text_search(&self) -> bool {
        self.use_text_search
    }

    /// Whether a language model rewrites the query, if named.
    pub fn deep_search(&self) -> Option<bool> {
        self.deep_search
    }

    /// The range of time, if named.
    pub fn time_range(&self) -> Option<(Timestamp, Timestamp)> {
        self.time_range
    }

    /// The time of truth, if named.
    pub fn as_of(&self) -> Option<Timestamp> {
        self.as_of
    }

    /// The types of fact, if named.
    pub fn entity_types(&self) -> Option<&BTreeSet<EntityType>> {
        self.entity_types.as_ref()
    }

    /// The kinds of result.
    pub fn include(&self) -> &BTreeSet<Kind> {
        &self.include
    }

    /// The least score.
    pub fn min_score(&self) -> f64 {
        self.min_score
    }

    /// Whether every signal is told.
    pub fn explain(&self) -> bool {
        self.explain
    }
}
