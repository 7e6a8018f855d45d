//! Work that was left for later: embedding what an embedder could not do when it was remembered.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::Memory;
use crate::{
    embed::embed_checked,
    error::{Error, Result},
    index::{
        analysis::{AnalysedPiece, analyse_episode, analyse_fact},
        vector,
    },
    ledger::{Job, OwnerText, OwnerVectors},
    scope::Scope,
};

/// How long a job is held by who runs it, before another may.
const LEASE: Duration = Duration::from_mins(5);
/// How many jobs are held at once.
const BATCH: usize = 32;

/// Tasks that run beside the calls.
#[derive(Debug, Default)]
pub(super) struct Background {
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Background {
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        tasks.retain(|task| !task.is_finished());
        tasks.push(tokio::spawn(task));
    }

    /// Waits until nothing is left, what was started meanwhile included.
    pub(super) async fn wait(&self) {
        loop {
            let Some(task) = self.tasks.lock().pop() else { return };
            if let Err(error) = task.await {
                tracing::error!(target: "umi::memory", %error, "a background task did not end");
            }
        }
    }
}

impl Memory {
    /// Work that waits, oldest first.
    ///
    /// # Errors
    /// `InvalidInput` for a user that this handle cannot name; `Storage` when it cannot be read.
    pub async fn pending(&self, scope: &Scope) -> Result<Vec<Job>> {
        self.check_open()?;
        self.ledger().pending(&self.resolve(scope)?).await
    }

    /// Runs the work that waits, of all tenants, and says how many jobs were finished. One that fails stays.
    ///
    /// # Errors
    /// `Storage` when the ledger fails; an embedder's failure is kept in the job.
    pub async fn retry_pending(&self) -> Result<u64> {
        self.check_open()?;
        let (mut finished, mut failed) = (0, Vec::new());
        let mut seen = BTreeSet::new();
        let outcome = loop {
            let now = self.now();
            let until = lease_end(now)?;
            let jobs = match self.ledger().lease_jobs(BATCH, now, until).await {
                Ok(jobs) => jobs,
                Err(error) => break Err(error),
            };
            if jobs.is_empty() || jobs.iter().all(|(job, _)| seen.contains(&job.id)) {
                break Ok(finished);
            }
            for (job, text) in jobs {
                if !seen.insert(job.id) {
                    continue;
                }
                match self.run_job(job.id, text).await {
                    Ok(()) => finished += 1,
                    Err(error) => failed.push((job.id, error)),
                }
            }
        };
        // Failed jobs are held until here, so that one run tries each of them once.
        for (job, error) in &failed {
            self.ledger().fail_job(*job, error).await?;
        }
        outcome
    }

    /// Embeds what a job is about and finishes it.
    async fn run_job(&self, job: Uuid, text: OwnerText) -> Result<()> {
        let mut vectors = self.embed_owners(vec![text]).await?;
        let vectors = vectors.pop().ok_or_else(|| Error::internal("one text gave no vectors"))?;
        self.ledger().finish_embed_job(self.parts.embedder.space(), job, vectors).await
    }

    /// The vectors of every piece of some owners, composed as they were when they were remembered.
    pub(super) async fn embed_owners(&self, owners: Vec<OwnerText>) -> Result<Vec<OwnerVectors>> {
        let dimensions = self.parts.embedder.space().dimensions;
        let analysed: Vec<_> =
            super::store::blocking(move || Ok(owners.iter().map(|text| (text.owner(), analysed(text))).collect()))
                .await?;
        let texts: Vec<String> =
            analysed.iter().flat_map(|(_, pieces)| pieces.iter().map(|piece| piece.text_to_embed.clone())).collect();
        let mut vectors = embed_checked(self.parts.embedder.as_ref(), &texts).await?.into_iter();
        Ok(analysed
            .into_iter()
            .map(|(owner, pieces)| OwnerVectors {
                owner,
                vectors: pieces
                    .iter()
                    .zip(vectors.by_ref())
                    .map(|(piece, vector)| (piece.ordinal, vector::encode(vector.as_deref(), dimensions)))
                    .collect(),
            })
            .collect())
    }

    /// Runs one call's own jobs now, and gives their failures.
    pub(super) async fn run_own_jobs(&self, jobs: Vec<(Uuid, OwnerText)>) -> Result<Vec<(Uuid, Error)>> {
        let mut failed = Vec::new();
        let (ids, texts): (Vec<Uuid>, Vec<OwnerText>) = jobs.into_iter().unzip();
        match self.embed_owners(texts).await {
            Ok(vectors) => {
                for (job, vectors) in ids.into_iter().zip(vectors) {
                    self.ledger().finish_embed_job(self.parts.embedder.space(), job, vectors).await?;
                }
            }
            Err(error) => {
                for job in ids {
                    self.ledger().fail_job(job, &error).await?;
                    failed.push((job, error.clone()));
                }
            }
        }
        Ok(failed)
    }

    /// Starts what a crash or an outage left, in the background.
    pub(super) async fn start_left_jobs(&self) -> Result<()> {
        if !self.ledger().has_jobs().await? {
            return Ok(());
        }
        let memory = self.detached();
        self.parts.background.spawn(async move {
            if let Err(error) = memory.retry_pending().await {
                tracing::warn!(target: "umi::memory", %error, "work that an earlier process left was not finished");
            }
        });
        Ok(())
    }

    /// A handle for a background task, which is not to keep the store's opener from closing.
    pub(super) fn detached(&self) -> Self {
        Self { closed: Arc::new(AtomicBool::new(false)), is_root: false, ..self.clone() }
    }
}

/// What is indexed of an owner, composed as it was when it was remembered.
fn analysed(text: &OwnerText) -> Vec<AnalysedPiece> {
    match text {
        OwnerText::Episode(episode) => analyse_episode(episode.name.as_deref(), episode.at, &episode.text),
        OwnerText::Fact(fact) => {
            vec![analyse_fact(&fact.name, fact.attribute.as_deref(), &fact.content, fact.valid_from)]
        }
    }
}

fn lease_end(now: Timestamp) -> Result<Timestamp> {
    now.checked_add(LEASE)
        .map_err(|error| Error::invalid_input(format!("the clock stands at {now}, the end of time")).with_source(error))
}
