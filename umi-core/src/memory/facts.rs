//! Facts that the caller already has, and everything that reads one by its id.

use jiff::Timestamp;

use super::{
    Memory,
    config::check_limit,
    parse_id,
    results::{RememberResult, StepFailure},
    store::blocking,
};
use crate::{
    embed::embed_checked,
    entity::{Entity, EntityType, EvolutionRelation},
    episode::Episode,
    error::{Error, Result},
    index::{analysis::analyse_fact, vector},
    ledger::{EpisodePage, FactFilter, FactUpdate, ForgetReach, NewFact, OwnerText, Piece},
    metadata::Metadata,
    scope::Scope,
};

/// Which facts [`Memory::list`] gives.
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

impl Memory {
    /// Records a fact that the caller already has, by the same rules of time as an extracted one: with an attribute it
    /// takes its place in the chain of that slot by `event_time`, without one it stands beside the others.
    ///
    /// # Errors
    /// `InvalidInput` for a field out of bounds; `Storage` kinds when the ledger fails. An embedder's failure is a
    /// warning.
    pub async fn add_entity(&self, entity: Entity, scope: &Scope) -> Result<RememberResult> {
        self.check_open()?;
        entity.check()?;
        let scope = self.resolve(scope)?;
        let now = self.now();
        let valid_from = entity.event_time.map_or(now, crate::world::to_microseconds);
        let entity = Entity {
            id: self.next_id(now),
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
        let piece = self.fact_piece(&entity).await?;
        let embed_job = piece.vector.is_none().then(|| self.next_id(now));
        let owner = OwnerText::Fact(entity.clone());
        let fact = NewFact { entity, piece, embed_job };
        let mut recorded = self.ledger().record(self.parts.embedder.space(), vec![fact]).await?;
        let recorded = recorded.pop().ok_or_else(|| Error::internal("one fact gave no version"))?;
        let mut result = RememberResult::default();
        if let Some(job) = embed_job {
            self.embed_fact(job, owner, &mut result).await?;
        }
        result.entities.push(recorded.entity);
        result.evolutions = recorded.evolutions;
        Ok(result)
    }

    /// What the index needs of a fact; without a vector where the embedder runs behind the first transaction.
    async fn fact_piece(&self, entity: &Entity) -> Result<Piece> {
        let fact = entity.clone();
        let analysed =
            blocking(move || Ok(analyse_fact(&fact.name, fact.attribute.as_deref(), &fact.content, fact.valid_from)))
                .await?;
        let mut piece = Piece { ordinal: analysed.ordinal, lexical: analysed.lexical, vector: None };
        if self.parts.embedder.is_in_process() {
            match embed_checked(self.parts.embedder.as_ref(), &[analysed.text_to_embed]).await {
                Ok(mut vectors) => {
                    let dimensions = self.parts.embedder.space().dimensions;
                    piece.vector = Some(vector::encode(vectors.pop().flatten().as_deref(), dimensions));
                }
                Err(error) => {
                    tracing::warn!(target: "umi::memory", %error, "the in-process embedder failed; the fact is stored and a job is left");
                }
            }
        }
        Ok(piece)
    }

    async fn embed_fact(&self, job: uuid::Uuid, owner: OwnerText, result: &mut RememberResult) -> Result<()> {
        for (job, error) in self.run_own_jobs(vec![(job, owner)]).await? {
            result.warnings.push(StepFailure { step: "embed", error, job_id: Some(job) });
        }
        Ok(())
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

    /// Every version of a fact, oldest first; empty for an id that the scope does not have.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
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

    /// Episodes, in (`at`, `seq`) order.
    ///
    /// # Errors
    /// `InvalidLimit` for a limit outside of 1 to 1,000; `Storage` kinds when the ledger fails.
    pub async fn episodes(&self, limit: usize, offset: usize, scope: &Scope) -> Result<Vec<Episode>> {
        self.check_open()?;
        let scope = self.resolve(scope)?;
        check_limit(limit)?;
        self.ledger().episodes(&scope, EpisodePage { limit, offset, newest_first: false }).await
    }

    /// Records a new version of a fact, true from now on. It follows the version that holds now, whichever version of
    /// the fact `id` names: metadata merges into that one's, what is none stays as it is there. A version that is
    /// planned for later stays ahead.
    ///
    /// # Errors
    /// `NotFound` for an id that the scope does not have; `InvalidInput` for an episode's id, a field out of bounds, or
    /// a change without content where another agent or session said what holds now.
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
        let piece = self.fact_piece(&new).await?;
        let embed_job = piece.vector.is_none().then(|| self.next_id(now));
        let update = FactUpdate {
            id: parsed,
            new_id: self.next_id(now),
            content: change.content,
            metadata: change.metadata,
            confidence: change.confidence,
            importance: change.importance,
            piece,
            embed_job,
            now,
        };
        let recorded = self.ledger().update(self.parts.embedder.space(), &scope, update).await?;
        if let Some(job) = embed_job {
            // The update itself stands; what could not be embedded stays in `pending()`.
            self.embed_fact(job, OwnerText::Fact(recorded.entity.clone()), &mut RememberResult::default()).await?;
        }
        Ok(recorded.entity)
    }

    /// Removes an episode or a fact's version and all that was derived from it. Gives whether the scope had it.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    pub async fn forget(&self, id: &str, reach: ForgetReach, scope: &Scope) -> Result<bool> {
        self.check_open()?;
        let scope = self.resolve(scope)?;
        match parse_id(id) {
            Some(id) => self.ledger().forget(&scope, id, reach, self.now()).await,
            None => Ok(false),
        }
    }

    /// Removes everything of a scope, its core and working memory and jobs included. Gives the number of episodes and
    /// facts.
    ///
    /// # Errors
    /// `InvalidInput` when the call names no user and `confirm` is not set; `Storage` kinds when the ledger fails.
    pub async fn forget_scope(&self, confirm: bool, scope: &Scope) -> Result<u64> {
        self.check_open()?;
        if scope.user().is_none() && !confirm {
            return Err(Error::invalid_input("forget_scope needs an explicit user, or confirm=True"));
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
