//! recall: check, embed the query, search the index, hydrate from the ledger, which decides what exists.

use std::{collections::BTreeMap, fmt, future::IntoFuture, pin::Pin};

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    Memory,
    options::RecallOptions,
    results::{RecallResults, Recalled, StepFailure, Usage},
};
use crate::{
    embed::embed_checked,
    entity::Entity,
    episode::{Episode, Kind},
    error::{Error, ErrorKind, Result},
    index::{Hit, SearchQuery, ValidAt, analysis::query_text},
    scope::Scope,
};

/// How often a search is repeated because a row was forgotten between the index and the ledger.
const ATTEMPTS: usize = 3;

/// A question that is about to be asked; await it.
#[must_use = "nothing is recalled until it is awaited"]
pub struct Recall<'a> {
    memory: &'a Memory,
    query: String,
    options: RecallOptions,
    scope: Scope,
}

impl fmt::Debug for Recall<'_> {
    /// Shows the size of the question and not its words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recall")
            .field("query_bytes", &self.query.len())
            .field("options", &self.options)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl Recall<'_> {
    /// Whose memory is asked, where it is not the handle's.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is empty or longer than 256 bytes.
    pub fn user(mut self, user: &str) -> Result<Self> {
        self.scope = self.scope.with_user(user)?;
        Ok(self)
    }

    /// Only what this agent recorded.
    ///
    /// # Errors
    /// As [`Recall::user`].
    pub fn agent(mut self, agent: &str) -> Result<Self> {
        self.scope = self.scope.with_agent(agent)?;
        Ok(self)
    }

    /// Only what this session holds.
    ///
    /// # Errors
    /// As [`Recall::user`].
    pub fn session(mut self, session: &str) -> Result<Self> {
        self.scope = self.scope.with_session(session)?;
        Ok(self)
    }

    /// The most results.
    ///
    /// # Errors
    /// `InvalidLimit` outside of 1 to 1,000.
    pub fn limit(mut self, limit: usize) -> Result<Self> {
        self.options = self.options.with_limit(limit)?;
        Ok(self)
    }

    /// What was true, and had been said, at a time.
    pub fn as_of(mut self, as_of: Timestamp) -> Self {
        self.options = self.options.with_as_of(as_of);
        self
    }

    /// Recalls otherwise than by default.
    pub fn options(mut self, options: RecallOptions) -> Self {
        self.options = options;
        self
    }
}

impl<'a> IntoFuture for Recall<'a> {
    type Output = Result<RecallResults>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.memory.recall_with(&self.query, &self.options, &self.scope).await })
    }
}

impl Memory {
    /// Finds what is relevant to a question. An empty question finds nothing.
    ///
    /// # Errors
    /// When the returned builder is awaited: `TextTooLong` for a question over the limit, `InvalidInput` for options
    /// that this memory cannot follow, `Storage` kinds when the ledger fails. A question that cannot be embedded is
    /// answered by its words, with a warning; with `use_text_search` off that is an `Embedding` error.
    pub fn recall(&self, query: impl Into<String>) -> Recall<'_> {
        Recall { memory: self, query: query.into(), options: RecallOptions::default(), scope: Scope::new() }
    }

    /// [`Memory::recall`] in the form that bindings use.
    ///
    /// # Errors
    /// As [`Memory::recall`].
    pub async fn recall_with(&self, query: &str, options: &RecallOptions, scope: &Scope) -> Result<RecallResults> {
        let (found, warnings) = self.find(query, options, scope).await?;
        Ok(RecallResults { items: found.into_iter().map(Recalled::from).collect(), warnings, usage: Usage::default() })
    }

    /// The rows that a recall finds, best first, and what was survived on the way.
    pub(super) async fn find(
        &self,
        query: &str,
        options: &RecallOptions,
        scope: &Scope,
    ) -> Result<(Vec<Found>, Vec<StepFailure>)> {
        self.check_open()?;
        let scope = self.resolve(scope)?;
        self.check_text("query", query)?;
        if options.deep_search() == Some(true) {
            return Err(Error::invalid_input("deep_search is on, but this memory has no language model")
                .with_hint("leave deep_search out, or open the memory with a model"));
        }
        let (mut found, mut warnings) = (Vec::new(), Vec::new());
        if query.trim().is_empty() {
            return Ok((found, warnings));
        }
        let vector = self.query_vector(query, options, &mut warnings).await?;
        let valid_at = match (options.as_of(), options.time_range()) {
            (Some(time), _) => ValidAt::AsOf(time),
            (None, Some(_)) => ValidAt::Any,
            (None, None) => ValidAt::Now(self.now()),
        };
        let mut search = SearchQuery {
            scope,
            text: query.to_owned(),
            vector,
            vector_trust: self.parts.embedder.legibility(query),
            use_text: options.use_text_search(),
            kinds: options.include().clone(),
            entity_types: options.entity_types().cloned(),
            valid_at,
            time_range: options.time_range(),
            limit: options.limit().unwrap_or(self.parts.config.recall_limit()),
            min_score: options.min_score(),
            explain: options.explain(),
        };
        for attempt in 1..=ATTEMPTS {
            let mut hits = self.index().search(self.ledger(), &search).await?;
            if search.vector.is_some() && !self.is_space_active().await? {
                // The store moved to another space meanwhile: what was compared may be of two spaces.
                search.vector = lexical_only(self.space_is_not_active(), options, &mut warnings)?;
                hits = self.index().search(self.ledger(), &search).await?;
            }
            let count = hits.len();
            found = self.hydrate(&search.scope, hits).await?;
            if found.len() == count || attempt == ATTEMPTS {
                break;
            }
        }
        self.feed_index();
        Ok((found, warnings))
    }

    async fn query_vector(
        &self,
        query: &str,
        options: &RecallOptions,
        warnings: &mut Vec<StepFailure>,
    ) -> Result<Option<Vec<f32>>> {
        if !options.use_vector_search() {
            return Ok(None);
        }
        if !self.is_space_active().await? {
            return lexical_only(self.space_is_not_active(), options, warnings);
        }
        match embed_checked(self.parts.embedder.as_ref(), &[query_text(query).into_owned()]).await {
            Ok(mut vectors) => Ok(vectors.pop().flatten()),
            Err(error) => lexical_only(error, options, warnings),
        }
    }

    /// Whether the store's vectors are of the embedder's space.
    async fn is_space_active(&self) -> Result<bool> {
        Ok(self.ledger().active_space().await?.as_ref() == Some(self.parts.embedder.space()))
    }

    fn space_is_not_active(&self) -> Error {
        let own = self.parts.embedder.space();
        Error::new(ErrorKind::EmbeddingSpace, format!("the store's vectors are not of `{own}`"))
            .with_hint("call reembed(); until it has ended, recall finds by words")
    }

    async fn hydrate(&self, scope: &Scope, hits: Vec<Hit>) -> Result<Vec<Found>> {
        let ids = |kind: Kind| -> Vec<Uuid> { hits.iter().filter(|hit| hit.kind == kind).map(|hit| hit.id).collect() };
        let (facts, episodes) = (ids(Kind::Fact), ids(Kind::Episode));
        let mut rows = BTreeMap::new();
        if !facts.is_empty() {
            for fact in self.ledger().facts_by_id(scope, &facts).await? {
                rows.insert(fact.id, Row::Fact(fact));
            }
        }
        if !episodes.is_empty() {
            for episode in self.ledger().episodes_by_id(scope, &episodes).await? {
                rows.insert(episode.id, Row::Episode(episode));
            }
        }
        Ok(hits
            .into_iter()
            .filter_map(|hit| Some(Found { row: rows.remove(&hit.id)?, score: hit.score, signals: hit.signals }))
            .collect())
    }
}

/// A row as the ledger has it.
pub(super) enum Row {
    Fact(Entity),
    Episode(Episode),
}

/// A row that a recall found.
pub(super) struct Found {
    pub(super) row: Row,
    pub(super) score: f64,
    signals: Vec<(&'static str, f64)>,
}

impl From<Found> for Recalled {
    fn from(found: Found) -> Self {
        let (kind, entity, role, speaker) = match found.row {
            Row::Fact(fact) => (Kind::Fact, fact, None, None),
            Row::Episode(episode) => {
                let note = episode.to_note();
                (Kind::Episode, note, Some(episode.role), episode.name)
            }
        };
        let at = entity.valid_from;
        Self { entity, kind, score: found.score, signals: found.signals, role, speaker, at }
    }
}

fn lexical_only(error: Error, options: &RecallOptions, warnings: &mut Vec<StepFailure>) -> Result<Option<Vec<f32>>> {
    if !options.use_text_search() {
        return Err(error);
    }
    // The error's own words may be those of a service, with a key or the query in them: they stay on the result.
    tracing::warn!(target: "umi::memory", kind = ?error.kind(), "a query could not be embedded and is answered by its words");
    warnings.push(StepFailure { step: "embed_query", error, job_id: None });
    Ok(None)
}
