//! What a language model found in episodes, as the ledger takes it.

use uuid::Uuid;

use super::{Job, JobLease, NewFact, OwnerText, Recorded};
use crate::{entity::EvolutionType, scope::Scope};

/// A job to find the facts of an episode, that its writing leaves behind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExtractJob {
    /// The job's id.
    pub id: Uuid,
    /// As that of [`super::EmbedJob`].
    pub lease: Option<JobLease>,
    /// Whether the model is also to decide how the facts relate to stored ones.
    pub detects_evolutions: bool,
}

/// A job that was taken, with what it is about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LeasedJob {
    /// The job.
    pub job: Job,
    /// Its place among all jobs, in the order of their making.
    pub place: i64,
    /// The text of its owner.
    pub text: OwnerText,
    /// As [`ExtractJob::detects_evolutions`]; true for other jobs.
    pub detects_evolutions: bool,
}

/// How a new fact relates to a stored version, as a model decided.
#[derive(Clone, Debug)]
pub(crate) struct NewRelation {
    /// The relation's id.
    pub id: Uuid,
    /// The new fact, by its place in [`Extraction::facts`].
    pub fact: usize,
    /// The stored version, by its id or that of one of its sayings.
    pub other: Uuid,
    /// The kind of relation.
    pub evolution_type: EvolutionType,
    /// Why; a reason over the limit is cut.
    pub reason: String,
    /// How sure it is, from 0 to 1.
    pub confidence: f64,
}

/// The facts of some episodes of one tenant and how they relate to what is stored.
#[derive(Clone, Debug)]
pub(crate) struct Extraction {
    /// The tenant. Where it is narrowed by agent or session, what its relations have outside of these is not told.
    pub scope: Scope,
    /// The jobs of the episodes, which go with the same transaction.
    pub jobs: Vec<Uuid>,
    /// Who holds them.
    pub holder: Uuid,
    /// The facts, each with the `episode_id` of the episode that said it.
    pub facts: Vec<NewFact>,
    /// How they relate to versions that were stored before.
    pub relations: Vec<NewRelation>,
    /// The head of the feed before the candidates of the relations were read.
    pub seen: i64,
}

/// What became of an [`Extraction`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ExtractionOutcome {
    /// It was written: what became of each fact, with the relations of each.
    Recorded(Vec<Recorded>),
    /// Nothing was written: a fact about one of the subjects, or a candidate, has changed since it was looked at.
    Moved,
    /// Nothing was written: a job is gone, with its episode or because it was done, or another holds it by now.
    Gone,
}
