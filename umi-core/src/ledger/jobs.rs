//! Jobs: work that a write leaves for later, and who holds it.

use std::str::FromStr;

use jiff::Timestamp;
use uuid::Uuid;

use super::Owner;
use crate::error::{Error, Result};

/// Work that was left for later.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Job {
    /// The job's id.
    pub id: Uuid,
    /// What is to be done.
    pub kind: JobKind,
    /// The episode that it is about; none when it is about a fact that no episode said.
    pub episode_id: Option<Uuid>,
    /// The row that it is about: an episode, or a saying of a fact.
    pub owner: Owner,
    /// How often it has failed. A service that is misconfigured, which refuses the key say, is not counted.
    pub attempts: u32,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A job that a write leaves behind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EmbedJob {
    /// The job's id.
    pub id: Uuid,
    /// Whose it is from the start; none for a job that anyone may take.
    pub lease: Option<JobLease>,
}

/// Who holds jobs, and until when nobody else may take them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobLease {
    /// The run that holds them; another id for every run.
    pub holder: Uuid,
    /// When the lease ends.
    pub until: Timestamp,
}

/// Who holds a job that is put off because it has failed: nobody.
pub(crate) const NOBODY: Uuid = Uuid::nil();

impl JobLease {
    /// The lease of a job that is put off until a time, or for ever.
    pub(crate) fn put_off(until: Option<Timestamp>) -> Self {
        Self { holder: NOBODY, until: until.unwrap_or(Timestamp::MAX) }
    }
}

/// Which jobs a run takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobChoice {
    /// Of this kind.
    pub kind: JobKind,
    /// Those too that are put off because they have failed.
    pub failed: bool,
    /// Behind this [`LeasedJob::place`](super::LeasedJob::place).
    pub after: i64,
    /// The most to take.
    pub limit: usize,
}

/// Why a job was not done.
#[derive(Clone, Debug)]
pub(crate) struct JobFailure {
    /// The reason.
    pub error: Error,
    /// Whether it counts as an attempt.
    pub is_counted: bool,
    /// When it may be taken again by itself; none for never.
    pub again: Option<Timestamp>,
}

/// The kinds of job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobKind {
    /// Embed the pieces of the owner.
    Embed,
    /// Find the facts of an episode with a language model.
    Extract,
}

impl JobKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Embed, Self::Extract];

    /// The kind's name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::Extract => "extract",
        }
    }
}

impl FromStr for JobKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            Error::invalid_input(format!("unknown kind of job `{shown}`")).with_hint("known kinds: embed, extract")
        })
    }
}
