//! What a new fact is compared with: the current facts of its subject and the nearest others, of the same tenant.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use uuid::Uuid;

use super::{Memory, outage::is_outage};
use crate::{
    blocking::blocking_when_large,
    embed::{EmbeddingSpace, embed_checked},
    entity::{Entity, EntityType},
    episode::Kind,
    error::{Error, Result},
    evolve::{needs_decision, repeats},
    index::{SearchQuery, ValidAt, analysis::analyse_fact, vector},
    ledger::{EmbedJob, JobLease, NewFact, Piece},
    scope::Scope,
};

/// The most facts of the new facts' subjects that are compared.
const OF_SUBJECTS: usize = 48;
/// How many neighbours of each new fact are compared.
const NEIGHBOURS: usize = 5;
/// The most facts that are compared in all.
const CANDIDATES: usize = 64;
/// The least relevance of a neighbour: below it there is nothing to decide.
const NEAR: f64 = 0.3;

/// A fact on its way to the ledger.
#[derive(Debug)]
pub(super) struct DraftFact {
    pub(super) entity: Entity,
    lexical: Vec<u8>,
    ordinal: u32,
    /// What is embedded of it.
    text: String,
    /// Whether it was: otherwise a job is to do it.
    is_embedded: bool,
    /// None where it was not, or the text has no direction.
    vector: Option<Vec<f32>>,
}

/// What a model has to decide: how the fresh ones among new facts relate to stored ones.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Stored facts that hold now, those of the new facts' subjects first.
    pub(super) stored: Vec<Entity>,
    /// The places of the new facts that do not only repeat what holds.
    pub(super) fresh: Vec<usize>,
}

impl Memory {
    /// Analyses facts and embeds them in one call. Where the embedder fails, its error is given, and jobs are to embed
    /// them later.
    pub(super) async fn draft_facts(&self, facts: Vec<Entity>) -> Result<(Vec<DraftFact>, Option<Error>)> {
        let bytes = facts.iter().map(|fact| fact.content.len()).sum();
        let mut drafts: Vec<DraftFact> = blocking_when_large(bytes, move || {
            let draft = |entity: Entity| {
                let attribute = entity.attribute.as_deref();
                let piece = analyse_fact(&entity.name, attribute, &entity.content, entity.valid_from);
                let (lexical, ordinal, text) = (piece.lexical, piece.ordinal, piece.text_to_embed);
                DraftFact { entity, lexical, ordinal, text, is_embedded: false, vector: None }
            };
            Ok(facts.into_iter().map(draft).collect())
        })
        .await?;
        if drafts.is_empty() || self.space_to_leave().await?.is_some() {
            return Ok((drafts, None));
        }
        let texts: Vec<String> = drafts.iter().map(|draft| draft.text.clone()).collect();
        match embed_checked(self.parts.embedder.as_ref(), &texts).await {
            Ok(vectors) => {
                for (draft, vector) in drafts.iter_mut().zip(vectors) {
                    (draft.is_embedded, draft.vector) = (true, vector);
                }
                Ok((drafts, None))
            }
            Err(error) => {
                tracing::warn!(target: "umi::memory", step = "embed", kind = ?error.kind(), "facts are stored and jobs are left to embed them");
                Ok((drafts, Some(error)))
            }
        }
    }

    /// Drafts as the ledger takes them now, and the store's space. What was not embedded, because of a failure, leaves a
    /// job, unless the store is to be embedded again. The job is put off where it would fail alike; where another text of
    /// the same request may be to blame, it is free.
    pub(super) async fn facts_to_write(
        &self,
        drafts: &[DraftFact],
        failure: Option<&Error>,
        now: Timestamp,
    ) -> Result<(EmbeddingSpace, Vec<NewFact>)> {
        let own = self.parts.embedder.space();
        let other = self.space_to_leave().await?;
        let is_own = other.is_none();
        let again = failure.and_then(|error| self.again(&self.parts.services.embedder, error));
        let fails_alike = |error: &&Error| is_outage(error) || drafts.len() == 1;
        let lease = failure.filter(fails_alike).map(|_| JobLease::put_off(again));
        let fact = |draft: &DraftFact| NewFact {
            entity: draft.entity.clone(),
            piece: Piece {
                ordinal: draft.ordinal,
                lexical: draft.lexical.clone(),
                vector: (is_own && draft.is_embedded).then(|| vector::encode(draft.vector.as_deref(), own.dimensions)),
            },
            embed_job: (is_own && !draft.is_embedded).then(|| EmbedJob { id: self.next_id(now), lease }),
        };
        Ok((other.unwrap_or_else(|| own.clone()), drafts.iter().map(fact).collect()))
    }

    /// What a model has to decide about new facts.
    pub(super) async fn candidates(&self, scope: &Scope, drafts: &[DraftFact]) -> Result<Candidates> {
        let now = self.now();
        let subjects: Vec<(EntityType, String)> =
            drafts.iter().map(|draft| (draft.entity.entity_type, draft.entity.name.clone())).collect();
        let mut candidates = self.ledger().subject_facts(scope, &subjects, now, OF_SUBJECTS).await?;
        let is_repeated = |new: &DraftFact| candidates.iter().any(|old| repeats(&new.entity, old));
        let fresh: Vec<usize> = (0..drafts.len()).filter(|&place| !is_repeated(&drafts[place])).collect();
        let mut known: BTreeSet<Uuid> = candidates.iter().map(|fact| fact.id).collect();
        let mut near = Vec::new();
        let has_vectors = self.ledger().active_space().await?.as_ref() == Some(self.parts.embedder.space());
        for draft in fresh.iter().map(|&place| &drafts[place]) {
            if candidates.len() + near.len() >= CANDIDATES {
                break;
            }
            let search = SearchQuery {
                scope: scope.clone(),
                text: format!("{} {}", draft.entity.name, draft.entity.content),
                vector: draft.vector.clone().filter(|_| has_vectors),
                vector_trust: self.parts.embedder.legibility(&draft.entity.content),
                use_text: true,
                kinds: BTreeSet::from([Kind::Fact]),
                entity_types: None,
                valid_at: ValidAt::Now(now),
                time_range: None,
                limit: NEIGHBOURS,
                min_score: NEAR,
                explain: false,
            };
            let hits = self.index().search(self.ledger(), &search).await?;
            near.extend(hits.into_iter().map(|hit| hit.id).filter(|id| known.insert(*id)));
        }
        if !near.is_empty() {
            let rows = self.ledger().facts_by_id(scope, &near).await?;
            let mut rows: BTreeMap<Uuid, Entity> = rows.into_iter().map(|fact| (fact.id, fact)).collect();
            candidates.extend(near.iter().filter_map(|id| rows.remove(id)));
        }
        let is_open = |old: &Entity| fresh.iter().any(|&place| needs_decision(&drafts[place].entity, old));
        candidates.retain(|old| old.is_valid_at(now) && is_open(old));
        candidates.truncate(CANDIDATES);
        Ok(Candidates { stored: candidates, fresh })
    }
}
