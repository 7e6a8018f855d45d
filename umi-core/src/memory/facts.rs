//! Facts that the caller already has, and everything that reads one by its id.

use jiff::Timestamp;

use super::{
    Memory,
    config::check_limit,
    held::HeldJobs,
    jobs::HeldEmbed,
    parse_id,
    results::{RememberResult, StepFailure},
};
use crate::{
    blocking::blocking_when_large,
    embed::{EmbeddingSpace, embed_encoded},
    entity::{Entity, EntityType, EvolutionRelation},
    episode::Episode,
    error::{Error, ErrorKind, Result},
    index::analysis::analyse_fact,
    ledger::{EmbedJob, EpisodePage, FactFilter, FactUpdate, ForgetReach, NewFact, OwnerText, Piece, Recorded},
    metadata::Metadata,
    scope::Scope,
    world::to_microseconds,
};

/// Which facts [`Memory::list`] gives.
///
/// # Example
/// ```
/// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
/// # let memory = umi_core::Memory::in_memory().await?;
/// # use umi_core::{Entity, EntityType, new_id};
/// # let now = memory.clock().now();
/// # let fact = Entity::new(new_id(now), now, EntityType::Person, "Tarek", "builds shelves")?;
/// # let id = memory.add_entity(fact, &umi_core::Scope::new()).await?.entities[0].id.to_string();
/// use umi_core::{ListOptions, Scope};
/// let people = ListOptions { entity_type: Some(EntityType::Person), ..ListOptions::default() };
/// assert_eq!(memory.list(&people, &Scope::new()).await?[0].content, "builds shelves");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ListOptions {
    /// Only of this type.
    pub entity_type: Option<EntityType>,
    /// Only versions that hold now, or at `as_of`; all versions otherwise.
    pub current: bool,
    /// The time at which a version must hold.
    pub as_of: Option<Timestamp>,
    /// The most to give, from 1 to 1,000.
    pub limit: usize,
    /// How many to pass over.
    pub offset: usize,
}

impl Default for ListOptions {
    fn default() -> Self {
        Self { entity_type: None, current: true, as_of: None, limit: 100, offset: 0 }
    }
}

/// What [`Memory::update`] changes; what is none stays.
///
/// # Example
/// ```
/// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
/// # let memory = umi_core::Memory::in_memory().await?;
/// # use umi_core::{Entity, EntityType, new_id};
/// # let now = memory.clock().now();
/// # let fact = Entity::new(new_id(now), now, EntityType::Person, "Tarek", "builds shelves")?;
/// # let id = memory.add_entity(fact, &umi_core::Scope::new()).await?.entities[0].id.to_string();
/// use umi_core::{FactChange, Scope};
/// let change = FactChange { content: Some("builds shelves of oak".to_owned()), ..FactChange::default() };
/// assert_eq!(memory.update(&id, change, &Scope::new()).await?.content, "builds shelves of oak");
/// assert_eq!(memory.history(&id, &Scope::new()).await?.len(), 2);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct FactChange {
    /// The new content.
    pub content: Option<String>,
    /// Keys to set or add.
    pub metadata: Option<Metadata>,
    /// The new confidence.
    pub confidence: Option<f64>,
    /// The new importance.
    pub importance: Option<f64>,
}

/// What a fact's write needs beside the fact.
struct Draft {
    piece: Piece,
    /// The store's space, as far as this handle knows.
    space: EmbeddingSpace,
    /// The job that the write leaves behind, and the run that holds it.
    job: Option<EmbedJob>,
    held: Option<HeldJobs>,
    warning: Option<StepFailure>,
}

impl Draft {
    /// Whether a write failed only because the store was embedded again since.
    fn is_left_to_reembed(&self, error: &Error) -> bool {
        self.warning.is_some() && error.kind() == ErrorKind::EmbeddingSpace
    }
}

impl Memory {
    /// Records a fact that the caller already has, by the same rules of time as an extracted one: with an attribute it
    /// takes its place in the chain of that slot by `event_time`, without one it stands beside the others.
    ///
    /// # Errors
    /// `InvalidInput` for a field out of bounds; `Storage` kinds when the ledger fails. An embedder's failure is a
    /// warning.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// # let memory = umi_core::Memory::in_memory().await?;
    ///
    /// use umi_core::{Entity, EntityType, Scope, new_id};
    /// let now = memory.clock().now();
    /// let mut fact = Entity::new(new_id(now), now, EntityType::Person, "Tarek", "works at Globex")?;
    /// fact.attribute = Some("employer".to_owned());
    /// memory.add_entity(fact.clone(), &Scope::new()).await?;
    /// fact.content = "works at Initech".to_owned();
    /// let result = memory.add_entity(fact, &Scope::new()).await?;
    /// assert!(result.has_evolutions());
    /// assert_eq!(memory.history(&result.entities[0].id.to_string(), &Scope::new()).await?.len(), 2);
    /// # Ok(()) }
    /// ```
    pub async fn add_entity(&self, entity: Entity, scope: &Scope) -> Result<RememberResult> {
        self.check_open()?;
        entity.check()?;
        let scope = self.resolve(scope)?;
        let now = self.now();
        let event_time = entity.event_time.map(to_microseconds);
        let valid_from = event_time.unwrap_or(now);
        let entity = Entity {
            id: self.next_id(now),
            event_time,
            document_time: entity.document_time.map(to_microseconds),
            valid_from,
            valid_to: None,
            last_seen: valid_from,
            recorded_at: now,
            updated_at: now,
            episode_id: None,
            user: scope.user().map(str::to_owned),
            agent: scope.agent().map(str::to_owned),
            session: scope.session().map(str::to_owned),
            ..entity
        };
        let (recorded, warnings) = loop {
            let draft = self.draft(&entity).await?;
            let fact = NewFact { entity: entity.clone(), piece: draft.piece.clone(), embed_job: draft.job };
            match self.ledger().record(&draft.space, vec![fact]).await {
                // The store has moved to this handle's space meanwhile.
                Err(error) if draft.is_left_to_reembed(&error) => {}
                Err(error) => return Err(error),
                Ok(mut recorded) => {
                    let recorded = recorded.pop().ok_or_else(|| Error::internal("one fact gave no version"))?;
                    break (recorded, self.embed_draft(draft, OwnerText::Fact(entity)).await);
                }
            }
        };
        let Recorded { entity, evolutions } = recorded;
        Ok(RememberResult { entities: vec![entity], evolutions, warnings, ..RememberResult::default() })
    }

    /// What the index needs of a fact; without a vector where the embedder runs behind the first transaction, or not
    /// before the store is embedded again.
    async fn draft(&self, entity: &Entity) -> Result<Draft> {
        let fact = entity.clone();
        let analysed = blocking_when_large(entity.content.len(), move || {
            Ok(analyse_fact(&fact.name, fact.attribute.as_deref(), &fact.content, fact.valid_from))
        })
        .await?;
        let own = self.parts.embedder.space();
        let piece = Piece { ordinal: analysed.ordinal, lexical: analysed.lexical, vector: None };
        let mut draft = Draft { piece, space: own.clone(), job: None, held: None, warning: None };
        if let Some(space) = self.space_to_leave().await? {
            let error = space.mismatch(own);
            return Ok(Draft { warning: Some(StepFailure { step: "embed", error, job_id: None }), space, ..draft });
        }
        if self.parts.embedder.is_in_process() {
            match embed_encoded(self.parts.embedder.as_ref(), &[analysed.text_to_embed]).await {
                Ok(mut vectors) => draft.piece.vector = vectors.pop(),
                Err(error) => {
                    tracing::warn!(target: "umi::memory", step = "embed", kind = ?error.kind(), "the in-process embedder failed; the fact is stored and a job is left");
                }
            }
        }
        if draft.piece.vector.is_none() {
            let (held, now) = (self.hold(), self.now());
            draft.job = Some(held.job(self.next_id(now), now));
            draft.held = Some(held);
        }
        Ok(draft)
    }

    /// Embeds a fact that was written without its vector, and gives what failed.
    async fn embed_draft(&self, draft: Draft, owner: OwnerText) -> Vec<StepFailure> {
        let (Some(job), Some(held)) = (draft.job, draft.held) else { return draft.warning.into_iter().collect() };
        let failed = self.run_own_jobs(held, vec![HeldEmbed { job: job.id, attempts: 0, text: owner }]).await;
        failed.into_iter().map(|(job, error)| StepFailure { step: "embed", error, job_id: Some(job) }).collect()
    }

    /// A fact's version, a closed one too, or the note form of an episode; none for an id that the scope does not have.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    pub async fn get(&self, id: &str, scope: &Scope) -> Result<Option<Entity>> {
        self.check_open()?;
        let scope = self.resolve(scope)?;
        let Some(id) = parse_id(id) else { return Ok(None) };
        match self.ledger().fact(&scope, id).await? {
            Some(entity) => Ok(Some(entity)),
            None => Ok(self.ledger().episode(&scope, id).await?.map(|episode| episode.to_note())),
        }
    }

    /// Every version of a fact, oldest first, with what it replaced and what replaced it over as many steps as there are,
    /// where a language model decided so; empty for an id that the scope does not have.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// use umi_core::{Memory, Scope};
    /// let memory = Memory::sim(7).await?; // with a simulated language model
    /// memory.remember("Ana works at Acme.").await?;
    /// let newer = memory.remember("Ana works at Globex.").await?.entities.remove(0);
    /// let versions = memory.history(&newer.id.to_string(), &Scope::new()).await?;
    /// assert_eq!(versions.len(), 2);
    /// assert_eq!(versions[0].valid_to, Some(versions[1].valid_from));
    /// # Ok(()) }
    /// ```
    pub async fn history(&self, id: &str, scope: &Scope) -> Result<Vec<Entity>> {
        self.check_open()?;
        let scope = self.resolve(scope)?;
        match parse_id(id) {
            Some(id) => self.ledger().history(&scope, id).await,
            None => Ok(Vec::new()),
        }
    }

    /// The relations from and to a version, oldest first; empty for an id that the scope does not have.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// use umi_core::{EvolutionType, Memory, Scope};
    /// let memory = Memory::sim(7).await?; // with a simulated language model
    /// memory.remember("Ana works at Acme.").await?;
    /// let newer = memory.remember("Ana works at Globex.").await?.entities.remove(0);
    /// let relations = memory.evolutions(&newer.id.to_string(), &Scope::new()).await?;
    /// assert_eq!(relations[0].evolution_type, EvolutionType::Update);
    /// # Ok(()) }
    /// ```
    pub async fn evolutions(&self, id: &str, scope: &Scope) -> Result<Vec<EvolutionRelation>> {
        self.check_open()?;
        let scope = self.resolve(scope)?;
        match parse_id(id) {
            Some(id) => self.ledger().evolutions(&scope, id).await,
            None => Ok(Vec::new()),
        }
    }

    /// Facts, ordered by (`valid_from`, `seq`).
    ///
    /// # Errors
    /// `InvalidLimit` for a limit outside of 1 to 1,000; `Storage` kinds when the ledger fails.
    pub async fn list(&self, options: &ListOptions, scope: &Scope) -> Result<Vec<Entity>> {
        self.check_open()?;
        let scope = self.resolve(scope)?;
        check_limit(options.limit)?;
        let valid_at = match (options.as_of, options.current) {
            (Some(time), _) => Some(time),
            (None, true) => Some(self.now()),
            (None, false) => None,
        };
        let filter = FactFilter {
            entity_type: options.entity_type,
            valid_at,
            most_important_first: false,
            limit: options.limit,
            offset: options.offset,
        };
        self.ledger().facts(&scope, &filter).await
    }

    /// Episodes in the order of time; those of one time in the order of their making.
    ///
    /// # Errors
    /// `InvalidLimit` for a limit outside of 1 to 1,000; `Storage` kinds when the ledger fails.
    pub async fn episodes(&self, limit: usize, offset: usize, scope: &Scope) -> Result<Vec<Episode>> {
        self.check_open()?;
        let scope = self.resolve(scope)?;
        check_limit(limit)?;
        self.ledger().episodes(&scope, EpisodePage { limit, offset, newest_first: false, until: None }).await
    }

    /// Records a new version of a fact, true from now on. It follows the version that holds now, whichever version of
    /// the fact `id` names: metadata merges into that one's, what is none stays as it is there. A version that is
    /// planned for later stays ahead.
    ///
    /// # Errors
    /// `NotFound` for an id that the scope does not have; `InvalidInput` for an episode's id, a field out of bounds, or
    /// a change without content where another agent or session said what holds now. An embedder's failure is logged,
    /// and the update stands.
    pub async fn update(&self, id: &str, change: FactChange, scope: &Scope) -> Result<Entity> {
        self.check_open()?;
        let scope = self.resolve(scope)?;
        let unknown = || {
            let shown: String = id.chars().take(64).collect();
            Error::not_found(format!("no fact has the id `{shown}` in this scope"))
        };
        let parsed = parse_id(id).ok_or_else(unknown)?;
        let now = self.now();
        let Some(old) = self.ledger().current(&scope, parsed, now).await? else {
            return match self.ledger().episode(&scope, parsed).await? {
                Some(_) => Err(Error::invalid_input(format!("`{parsed}` is an episode, which is never rewritten"))
                    .with_hint("remember the new words, or forget the old ones")),
                None => Err(unknown()),
            };
        };
        let new = Entity {
            content: change.content.clone().unwrap_or_else(|| old.content.clone()),
            metadata: match &change.metadata {
                Some(metadata) => old.metadata.merged(metadata)?,
                None => old.metadata.clone(),
            },
            confidence: change.confidence.unwrap_or(old.confidence),
            importance: change.importance.unwrap_or(old.importance),
            valid_from: now,
            ..old
        };
        new.check()?;
        let (recorded, warnings) = loop {
            let draft = self.draft(&new).await?;
            let update = FactUpdate {
                id: parsed,
                new_id: self.next_id(now),
                content: change.content.clone(),
                metadata: change.metadata.clone(),
                confidence: change.confidence,
                importance: change.importance,
                piece: draft.piece.clone(),
                embed_job: draft.job,
                now,
            };
            match self.ledger().update(&draft.space, &scope, update).await {
                Err(error) if draft.is_left_to_reembed(&error) => {}
                Err(error) => return Err(error),
                Ok(recorded) => {
                    let owner = OwnerText::Fact(recorded.entity.clone());
                    break (recorded, self.embed_draft(draft, owner).await);
                }
            }
        };
        for StepFailure { step, error, job_id } in warnings {
            // The update itself stands, and what could not be embedded is in `pending()` or waits for `reembed()`.
            tracing::warn!(target: "umi::memory", step, kind = ?error.kind(), job = ?job_id, "an updated fact could not be embedded");
        }
        Ok(recorded.entity)
    }

    /// Removes an episode or a fact's version and all that was derived from it: it reads as if it had never been said. What
    /// it had ended is current again, or ended by what had ended it. Gives whether the scope had it.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// # let memory = umi_core::Memory::in_memory().await?;
    /// # use umi_core::{Entity, EntityType, new_id};
    /// # let now = memory.clock().now();
    /// # let fact = Entity::new(new_id(now), now, EntityType::Person, "Tarek", "builds shelves")?;
    /// # let id = memory.add_entity(fact, &umi_core::Scope::new()).await?.entities[0].id.to_string();
    /// use umi_core::{ForgetReach, Scope};
    /// assert!(memory.forget(&id, ForgetReach::Version, &Scope::new()).await?);
    /// assert!(memory.get(&id, &Scope::new()).await?.is_none());
    /// # Ok(()) }
    /// ```
    pub async fn forget(&self, id: &str, reach: ForgetReach, scope: &Scope) -> Result<bool> {
        self.check_open()?;
        let scope = self.resolve(scope)?;
        match parse_id(id) {
            Some(id) => self.ledger().forget(&scope, id, reach, self.now()).await,
            None => Ok(false),
        }
    }

    /// Removes everything of a scope, its core and working memory, jobs and saved contexts included. Gives the number of
    /// episodes and facts.
    ///
    /// The bytes of what was remembered or saved stay in the folder until [`Memory::purge`]; those of blobs also go when
    /// blobs are collected an hour after they were put.
    ///
    /// # Errors
    /// `InvalidInput` when the call names no user and `confirm` is not set; `Storage` kinds when the ledger fails.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// # let memory = umi_core::Memory::in_memory().await?;
    ///
    /// use umi_core::Scope;
    /// memory.remember("I like oak.").user("alice")?.await?;
    /// let alice = Scope::new().with_user("alice")?;
    /// assert_eq!(memory.forget_scope(false, &alice).await?, 1);
    /// assert_eq!(memory.count(&alice).await?, 0);
    /// assert!(memory.forget_scope(false, &Scope::new()).await.is_err());
    /// # Ok(()) }
    /// ```
    pub async fn forget_scope(&self, confirm: bool, scope: &Scope) -> Result<u64> {
        self.check_open()?;
        if scope.user().is_none() && !confirm {
            return Err(Error::invalid_input("forget_scope names no user")
                .with_hint("name the user to forget, or say `confirm=True` for the scope of this handle"));
        }
        let scope = self.resolve(scope)?;
        self.ledger().forget_scope(&scope, self.now()).await
    }

    /// The number of facts that hold now, plus episodes.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    pub async fn count(&self, scope: &Scope) -> Result<u64> {
        self.check_open()?;
        let scope = self.resolve(scope)?;
        self.ledger().count(&scope, self.now()).await
    }
}
