//! recall: check, embed the query, search the index, hydrate from the ledger, which decides what exists. A deep one
//! lets a language model reword the query first.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    future::IntoFuture,
    pin::Pin,
};

use futures::future;
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    Memory,
    options::RecallOptions,
    results::{RecallResults, Recalled, StepFailure, Usage},
    usage::{Metered, Step},
};
use crate::{
    context::GlobalRef,
    embed::embed_checked,
    entity::Entity,
    episode::{Episode, Kind},
    error::{Error, ErrorKind, Result},
    expand::{Expansion, expand},
    index::{Hit, SearchQuery, ValidAt, analysis::query_text},
    llm::LanguageModel,
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
    /// When the returned builder is awaited: `TextTooLong` for a question over the limit, `InvalidInput` where the options
    /// ask for `deep_search` and this memory has no language model, `Storage` kinds when the ledger fails. A question that cannot be embedded is
    /// answered by its words, with a warning; with `use_text_search` off that is an `Embedding` error. A question that a
    /// model fails to reword (`deep_search`) is asked as it is, with a warning.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// # let memory = umi_core::Memory::in_memory().await?;
    ///
    /// use umi_core::{Kind, RecallOptions};
    /// memory.remember("Tarek is allergic to pine dust.").await?;
    /// let said = RecallOptions::default().with_include([Kind::Episode])?.with_min_score(0.1)?;
    /// let found = memory.recall("What is Tarek allergic to?").options(said).limit(3)?.await?;
    /// assert_eq!(found[0].entity.content, "Tarek is allergic to pine dust.");
    /// # Ok(()) }
    /// ```
    pub fn recall(&self, query: impl Into<String>) -> Recall<'_> {
        Recall { memory: self, query: query.into(), options: RecallOptions::default(), scope: Scope::new() }
    }

    /// [`Memory::recall`] in the form that bindings use.
    ///
    /// # Errors
    /// As [`Memory::recall`].
    pub async fn recall_with(&self, query: &str, options: &RecallOptions, scope: &Scope) -> Result<RecallResults> {
        let found = self.find(query, options, scope).await?;
        let resolved = self.resolve(scope)?;
        let mut rows = found.rows;
        let refs = self.references(&resolved, rows.iter().filter_map(|found| found.row.episode_id())).await?;
        for found in &mut rows {
            found.reference = found.row.episode_id().and_then(|id| refs.get(&id).cloned());
        }
        let items = rows.into_iter().map(Recalled::from).collect();
        Ok(RecallResults { items, warnings: found.warnings, usage: found.usage })
    }

    /// The rows that a recall finds, best first, and what was survived on the way.
    pub(super) async fn find(&self, query: &str, options: &RecallOptions, scope: &Scope) -> Result<FoundRows> {
        self.check_open()?;
        let scope = self.resolve(scope)?;
        self.check_text("query", query)?;
        let model = self.model_of_deep_search(options)?;
        let mut found = FoundRows::default();
        if query.trim().is_empty() {
            return Ok(found);
        }
        let expansion = match model {
            Some(model) => self.expanded(model, query, &mut found).await,
            None => Expansion::default(),
        };
        let valid_at = match (options.as_of(), options.time_range()) {
            (Some(time), _) => ValidAt::AsOf(time),
            (None, Some(_)) => ValidAt::Any,
            (None, None) => ValidAt::Now(self.now()),
        };
        let mut texts = vec![query.to_owned()];
        texts.extend(expansion.rewrites);
        let vectors = self.query_vectors(&texts, options, &mut found.warnings).await?;
        let search = |(place, (text, vector)): (usize, (String, Option<Vec<f32>>))| SearchQuery {
            scope: scope.clone(),
            vector,
            vector_trust: self.parts.embedder.legibility(&text),
            text,
            use_text: options.use_text_search(),
            kinds: options.include().clone(),
            entity_types: options.entity_types().cloned(),
            // A question about the past that names no time reads closed versions too, by its rewrites.
            valid_at: match valid_at {
                ValidAt::Now(now) if expansion.is_past && place > 0 => ValidAt::Until(now),
                other => other,
            },
            time_range: options.time_range(),
            limit: options.limit().unwrap_or(self.parts.config.recall_limit()),
            min_score: options.min_score(),
            explain: options.explain(),
        };
        let mut searches: Vec<SearchQuery> = texts.into_iter().zip(vectors).enumerate().map(search).collect();
        for attempt in 1..=ATTEMPTS {
            let mut hits = self.search_all(&searches).await?;
            if searches.iter().any(|search| search.vector.is_some()) && !self.is_space_active().await? {
                // The store moved to another space meanwhile: what was compared may be of two spaces.
                lexical_only(self.space_is_not_active(), options, &mut found.warnings)?;
                for search in &mut searches {
                    search.vector = None;
                }
                hits = self.search_all(&searches).await?;
            }
            let count = hits.len();
            found.rows = self.hydrate(&scope, hits).await?;
            if found.rows.len() == count || attempt == ATTEMPTS {
                break;
            }
        }
        self.feed_index();
        Ok(found)
    }

    /// The model that rewrites the query, if one is to.
    fn model_of_deep_search(&self, options: &RecallOptions) -> Result<Option<&dyn LanguageModel>> {
        let model = self.parts.model.as_deref();
        if options.deep_search() == Some(true) && model.is_none() {
            return Err(Error::invalid_input("deep_search is on, but this memory has no language model")
                .with_hint("leave deep_search out, or open the memory with a model"));
        }
        Ok(model.filter(|_| options.deep_search().unwrap_or(self.parts.config.deep_search())))
    }

    /// What a model makes of a query; nothing where it fails, with a warning.
    async fn expanded(&self, model: &dyn LanguageModel, query: &str, found: &mut FoundRows) -> Expansion {
        let metered = Metered::new(model, &self.parts.usage, Step::Expand, false);
        let expanded = expand(&metered, query, self.now()).await;
        found.usage += metered.usage();
        let mut warn = |error: Error| found.warnings.push(StepFailure { step: "expand", error, job_id: None });
        match expanded {
            Ok(answer) => {
                answer.notes.into_iter().for_each(|note| warn(Error::new(ErrorKind::InvalidResponse, note)));
                answer.value
            }
            Err(error) => {
                tracing::warn!(target: "umi::memory", step = "expand", kind = ?error.kind(), "a query could not be rewritten and is searched as it is");
                warn(error);
                Expansion::default()
            }
        }
    }

    /// The hits of all searches, at once, each row once: by the best rank that any search gives it, then by the best
    /// score. A row's score is the best of its scores, which stays an absolute relevance.
    ///
    /// Ranks are not added up as in reciprocal rank fusion: rewrites ask for different parts of an answer, and what one of
    /// them alone finds first is not to stand behind what all of them find late.
    async fn search_all(&self, searches: &[SearchQuery]) -> Result<Vec<Hit>> {
        let hits = searches.iter().map(|search| self.index().search(self.ledger(), search));
        let mut lists = future::try_join_all(hits).await?;
        if lists.len() == 1 {
            return Ok(lists.pop().unwrap_or_default());
        }
        let limit = searches.first().map_or(0, |search| search.limit);
        let mut best: BTreeMap<Uuid, (usize, Hit)> = BTreeMap::new();
        for (rank, hit) in lists.into_iter().flat_map(|list| list.into_iter().enumerate()) {
            match best.entry(hit.id) {
                Entry::Vacant(entry) => {
                    entry.insert((rank, hit));
                }
                Entry::Occupied(mut entry) => {
                    let (known_rank, known) = entry.get_mut();
                    *known_rank = rank.min(*known_rank);
                    if hit.score > known.score {
                        *known = hit;
                    }
                }
            }
        }
        let mut fused: Vec<(usize, Hit)> = best.into_values().collect();
        fused.sort_by(|(rank, one), (other_rank, other)| {
            rank.cmp(other_rank).then_with(|| other.score.total_cmp(&one.score)).then_with(|| other.id.cmp(&one.id))
        });
        fused.truncate(limit);
        Ok(fused.into_iter().map(|(_, hit)| hit).collect())
    }

    /// The vectors of queries, in one call.
    async fn query_vectors(
        &self,
        texts: &[String],
        options: &RecallOptions,
        warnings: &mut Vec<StepFailure>,
    ) -> Result<Vec<Option<Vec<f32>>>> {
        let none = vec![None; texts.len()];
        if !options.use_vector_search() {
            return Ok(none);
        }
        if !self.is_space_active().await? {
            lexical_only(self.space_is_not_active(), options, warnings)?;
            return Ok(none);
        }
        let texts: Vec<String> = texts.iter().map(|text| query_text(text).into_owned()).collect();
        match embed_checked(self.parts.embedder.as_ref(), &texts).await {
            Ok(vectors) => Ok(vectors),
            Err(error) => lexical_only(error, options, warnings).map(|()| none),
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
            .filter_map(|hit| {
                Some(Found { row: rows.remove(&hit.id)?, score: hit.score, signals: hit.signals, reference: None })
            })
            .collect())
    }
}

/// A row as the ledger has it.
pub(super) enum Row {
    Fact(Entity),
    Episode(Episode),
}

impl Row {
    /// Its own id.
    pub(super) fn id(&self) -> Uuid {
        match self {
            Self::Fact(fact) => fact.id,
            Self::Episode(episode) => episode.id,
        }
    }

    /// The episode that it is, or that it was found in.
    pub(super) fn episode_id(&self) -> Option<Uuid> {
        match self {
            Self::Fact(fact) => fact.episode_id,
            Self::Episode(episode) => Some(episode.id),
        }
    }
}

/// What a recall found, best first.
#[derive(Default)]
pub(super) struct FoundRows {
    pub(super) rows: Vec<Found>,
    pub(super) warnings: Vec<StepFailure>,
    pub(super) usage: Usage,
}

/// A row that a recall found.
pub(super) struct Found {
    pub(super) row: Row,
    pub(super) score: f64,
    signals: Vec<(&'static str, f64)>,
    reference: Option<GlobalRef>,
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
        let reference = found.reference;
        Self { entity, kind, score: found.score, signals: found.signals, role, speaker, at, reference }
    }
}

fn lexical_only(error: Error, options: &RecallOptions, warnings: &mut Vec<StepFailure>) -> Result<()> {
    if !options.use_text_search() {
        return Err(error);
    }
    // The error's own words may be those of a service, with a key or the query in them: they stay on the result.
    tracing::warn!(target: "umi::memory", kind = ?error.kind(), "a query could not be embedded and is answered by its words");
    warnings.push(StepFailure { step: "embed_query", error, job_id: None });
    Ok(())
}
