//! Work that was left for later: embedding what an embedder could not do when it was remembered, and finding the facts
//! of what a language model has not read.
//!
//! A run holds the jobs that it works on, under an id of its own and for a minute that it renews. What it still holds
//! when it ends, fails or is cancelled is let go of; what a process that crashed held is free when its minute is over,
//! and a store that is opened before that looks again then. So is what a run held when it was cancelled and had failed
//! before: it was not tried to the end, and nothing says that it would fail again.
//!
//! Each job is tried once by itself. One that fails is put off: for a while that grows where the failure passes, so that
//! it is tried again then, else until [`Memory::retry_pending`] or the next opening asks for it.

use std::{
    ops::Range,
    pin::pin,
    sync::{Arc, atomic::AtomicBool},
};

use futures::future::{self, BoxFuture, Either};
use jiff::Timestamp;
use parking_lot::Mutex;
use uuid::Uuid;

use super::{
    Memory,
    held::{HeldJobs, LEASE},
    outage::{Outage, is_outage},
};
use crate::{
    blocking::blocking,
    embed::{EmbeddingSpace, embed_encoded},
    error::{Error, Result},
    index::analysis::{AnalysedPiece, analyse_episode, analyse_fact},
    ledger::{Job, JobChoice, JobKind, LeasedJob, OwnerText, OwnerVectors},
    scope::Scope,
};

/// How many jobs are taken and embedded at once.
const BATCH: usize = 32;
/// How many jobs of extraction are taken at once: a conversation is to be among them as a whole.
const EXTRACT_BATCH: usize = 256;
/// How many jobs are put off at once behind an embedder that is out.
const LEFT_BATCH: usize = 256;

/// What one opening knows of the services that jobs need.
#[derive(Debug, Default)]
pub(super) struct Services {
    pub(super) embedder: Outage,
    pub(super) model: Outage,
    /// When jobs that are put off are looked for, if that is to be.
    pub(super) look: Mutex<Option<Timestamp>>,
}

/// Which jobs a run takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All that nobody is at.
    All,
    /// Those that were not tried yet, and those that were put off until now.
    Due,
}

/// A job to embed a text that this run holds.
pub(super) struct HeldEmbed {
    pub(super) job: Uuid,
    /// How often it has failed.
    pub(super) attempts: u32,
    pub(super) text: OwnerText,
}

/// What became of some jobs.
#[derive(Default)]
struct Ran {
    finished: u64,
    /// What the caller is told of: those behind an outage, which were not tried, too.
    failed: Vec<(Uuid, Error)>,
    /// Why the ledger could not note what became of one. What came behind it was not tried.
    ledger: Option<Error>,
    /// Why the embedder could not be asked about all of it. What came behind that is held still.
    outage: Option<Error>,
}

/// What became of a run.
#[derive(Default)]
struct Done {
    finished: u64,
    /// Why the language model could not be asked about all of it.
    outage: Option<Error>,
}

impl Memory {
    /// Work that waits, oldest first, that which is being done included.
    ///
    /// # Errors
    /// `InvalidInput` for a user that this handle cannot name; `Storage` when it cannot be read.
    pub async fn pending(&self, scope: &Scope) -> Result<Vec<Job>> {
        self.check_open()?;
        self.ledger().pending(&self.resolve(scope)?).await
    }

    /// Runs the work that waits, of all tenants, and says how many jobs were finished. One that fails stays, and is
    /// tried once a call; when a service is out, those behind it are left. Facts wait for a handle with a language model.
    /// Jobs that a call, another run or another process is at are passed over: each is held for a minute, renewed while
    /// its holder lives.
    ///
    /// By itself a job is tried once, by the call that left it or behind it, and again when the store is opened. Behind
    /// a failure that passes (a timeout, a connection that breaks, a status of 429 or 5xx) it is also tried after 30
    /// seconds, then after a minute, and so on up to an hour, or when the service said; behind others it is not. What a
    /// run that is cancelled held is free again, and what of that had failed before is so within a minute.
    ///
    /// # Errors
    /// `Storage` when the ledger fails; `EmbeddingSpace` when the store's vectors are of another embedder, whom
    /// [`Memory::reembed`] replaces; an embedder's or a model's failure is kept in the job.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// use std::sync::Arc;
    /// use umi_core::{Completion, Error, ErrorKind, MemoryBuilder, Scope, ScriptedModel};
    /// let is_out = Error::new(ErrorKind::ProviderTimeout, "no answer");
    /// let model = ScriptedModel::from_results([Err(is_out), Ok(Completion::new(r#"{"facts": []}"#))]);
    /// let memory = MemoryBuilder::sim(7).language_model(Arc::new(model)).build().await?;
    /// memory.remember("Ana works at Acme.").await?;
    /// assert_eq!(memory.pending(&Scope::new()).await?.len(), 1);
    /// assert_eq!(memory.retry_pending().await?, 1);
    /// assert!(memory.pending(&Scope::new()).await?.is_empty());
    /// # Ok(()) }
    /// ```
    pub async fn retry_pending(&self) -> Result<u64> {
        self.check_open()?;
        self.run_left_jobs(Wanted::All).await
    }

    async fn run_left_jobs(&self, wanted: Wanted) -> Result<u64> {
        let own = self.parts.embedder.space();
        if let Some(active) = self.ledger().active_space().await?.filter(|active| active != own) {
            return Err(active.mismatch(own));
        }
        // What a cancelled run held is free once it was let go of.
        self.lease.store.releases.wait().await;
        let held = self.hold();
        match self.run_free_jobs(&held, wanted).await {
            Ok(Done { finished, outage: None }) => held.release().await.map(|()| finished),
            Ok(Done { finished, outage: Some(error) }) => {
                let again = self.again(&self.parts.services.model, &error);
                held.put_off(again).await.map(|()| finished)
            }
            Err(error) => {
                held.release().await?;
                Err(error)
            }
        }
    }

    /// Goes once through what waits, in the order of its making. When a service is out, what is behind that is left.
    async fn run_free_jobs(&self, held: &HeldJobs, wanted: Wanted) -> Result<Done> {
        let mut done = Done::default();
        let failed = wanted == Wanted::All;
        let mut choice = JobChoice { kind: JobKind::Embed, failed, after: 0, limit: BATCH };
        loop {
            let now = self.now();
            let jobs = self.ledger().lease_jobs(choice, now, held.lease(now)).await?;
            let Some(last) = jobs.last() else { break };
            choice.after = last.place;
            let job = |LeasedJob { job, text, .. }: LeasedJob| HeldEmbed { job: job.id, attempts: job.attempts, text };
            let ran = self.run_held(held, jobs.into_iter().map(job).collect()).await;
            done.finished += ran.finished;
            if let Some(error) = ran.ledger {
                return Err(error);
            }
            if let Some(error) = ran.outage {
                // Free, those behind it would meet the same outage one batch a call.
                let now = self.now();
                let behind = JobChoice { failed: false, limit: LEFT_BATCH, ..choice };
                self.ledger().lease_jobs(behind, now, held.lease(now)).await?;
                held.put_off_so_far(self.again(&self.parts.services.embedder, &error)).await?;
                break;
            }
        }
        // Without a model they wait for an opening that has one.
        let Some(model) = self.parts.model.clone() else { return Ok(done) };
        let mut choice = JobChoice { kind: JobKind::Extract, failed, after: 0, limit: EXTRACT_BATCH };
        while done.outage.is_none() {
            let now = self.now();
            let jobs = self.ledger().lease_jobs(choice, now, held.lease(now)).await?;
            let Some(last) = jobs.last() else { break };
            choice.after = last.place;
            let (finished, outage) = self.extract_left(held, model.as_ref(), jobs).await;
            (done.finished, done.outage) = (done.finished + finished, outage);
        }
        Ok(done)
    }

    /// Runs one call's own jobs now, and gives their failures. What the call wrote is durable by now, so that a ledger
    /// that fails from here on only leaves the jobs.
    pub(super) async fn run_own_jobs(&self, held: HeldJobs, jobs: Vec<HeldEmbed>) -> Vec<(Uuid, Error)> {
        let count = jobs.len() as u64;
        let ran = self.run_held(&held, jobs).await;
        match &ran.outage {
            Some(error) => {
                let again = self.again(&self.parts.services.embedder, error);
                if let Err(error) = held.put_off(again).await {
                    tracing::warn!(target: "umi::memory", kind = ?error.kind(), "jobs could not be put off");
                }
            }
            None => held.end(ran.finished == count).await,
        }
        ran.failed
    }

    /// Embeds what held jobs are about; finishes those that can be and notes the failure of those that were tried.
    async fn run_held(&self, held: &HeldJobs, jobs: Vec<HeldEmbed>) -> Ran {
        let (ids, texts): (Vec<(Uuid, u32)>, Vec<OwnerText>) =
            jobs.into_iter().map(|held| ((held.job, held.attempts), held.text)).unzip();
        let outcomes = self.embed_each(held, Arc::new(texts)).await;
        let service = &self.parts.services.embedder;
        let tried = outcomes.len();
        let mut ran = Ran { outage: outage(&outcomes), ..Ran::default() };
        for (&(job, attempts), outcome) in ids.iter().zip(outcomes) {
            if let Some(error) = &ran.ledger {
                ran.failed.push((job, outcome.err().unwrap_or_else(|| error.clone())));
                continue;
            }
            match outcome {
                Ok(vectors) => {
                    service.is_over();
                    let space = self.parts.embedder.space();
                    match self.ledger().finish_embed_job(space, job, held.holder(), vectors).await {
                        Ok(finished) => ran.finished += u64::from(finished),
                        Err(error) => {
                            ran.failed.push((job, error.clone()));
                            ran.ledger = Some(error);
                        }
                    }
                }
                Err(error) => {
                    ran.ledger = self.fail(service, held, job, attempts, &error).await.err();
                    ran.failed.push((job, error));
                }
            }
        }
        if let Some(error) = &ran.outage {
            // One tenant's failure is not to be read in the jobs of others.
            ran.failed.extend(ids[tried..].iter().map(|&(job, _)| (job, error.clone())));
        }
        ran
    }

    /// Notes that a job failed, and looks for it again when that may help.
    pub(super) async fn fail(
        &self,
        service: &Outage,
        held: &HeldJobs,
        job: Uuid,
        attempts: u32,
        error: &Error,
    ) -> Result<()> {
        let failure = service.failure(error, attempts, self.now());
        if let Some(again) = failure.again {
            self.look_again_at(again);
        }
        self.ledger().fail_job(job, held.holder(), failure).await
    }

    /// When what was not tried because a service is out is tried again by itself, which it is then.
    pub(super) fn again(&self, service: &Outage, error: &Error) -> Option<Timestamp> {
        let again = service.again(error, self.now())?;
        self.look_again_at(again);
        Some(again)
    }

    /// Embeds texts in one call, and one by one where that fails, so that a bad text does not fail its neighbours. When
    /// the embedder is out of service, which a text that fails by itself for a reason that is not its own shows, the rest
    /// is not tried and has no outcome.
    async fn embed_each(&self, held: &HeldJobs, texts: Arc<Vec<OwnerText>>) -> Vec<Result<OwnerVectors>> {
        let count = texts.len();
        match self.while_held(held, self.embed_owners(Arc::clone(&texts), 0..count)).await {
            Ok(vectors) => return vectors.into_iter().map(Ok).collect(),
            Err(error) if count == 1 => return vec![Err(error)],
            Err(error) => {
                tracing::warn!(target: "umi::memory", step = "embed", kind = ?error.kind(), "a batch failed; its texts are tried one by one");
            }
        }
        let mut outcomes: Vec<Result<OwnerVectors>> = Vec::with_capacity(count);
        for place in 0..count {
            let one = self.while_held(held, self.embed_owners(Arc::clone(&texts), place..place + 1)).await;
            let one =
                one.and_then(|mut vectors| vectors.pop().ok_or_else(|| Error::internal("one text gave no vectors")));
            outcomes.push(one);
            if outage(&outcomes).is_some() {
                break;
            }
        }
        outcomes
    }

    /// Does work and renews meanwhile what the run holds.
    pub(super) async fn while_held<T>(&self, held: &HeldJobs, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            let renewal = self.parts.clock.wait_until(self.now().saturating_add(LEASE / 2).unwrap_or(Timestamp::MAX));
            match future::select(work.as_mut(), renewal).await {
                Either::Left((done, _)) => return done,
                Either::Right(_) => {}
            }
            if let Err(error) = self.ledger().renew_jobs(held.lease(self.now())).await {
                // Another run may do the same work; the one that loses its lease changes nothing.
                tracing::warn!(target: "umi::memory", kind = ?error.kind(), "a lease of jobs was not renewed");
            }
        }
    }

    /// The vectors of every piece of some owners, composed as they were when they were remembered.
    pub(super) async fn embed_owners(
        &self,
        owners: Arc<Vec<OwnerText>>,
        range: Range<usize>,
    ) -> Result<Vec<OwnerVectors>> {
        let (owners, texts) = blocking(move || {
            let owners: Vec<_> = owners[range].iter().map(|text| (text.owner(), analysed(text))).collect();
            let texts = |pieces: &[AnalysedPiece]| -> Vec<String> {
                pieces.iter().map(|piece| piece.text_to_embed.clone()).collect()
            };
            let texts: Vec<String> = owners.iter().flat_map(|(_, pieces)| texts(pieces)).collect();
            Ok((owners, texts))
        })
        .await?;
        let mut vectors = embed_encoded(self.parts.embedder.as_ref(), &texts).await?.into_iter();
        Ok(owners
            .into_iter()
            .map(|(owner, pieces)| OwnerVectors {
                owner,
                vectors: pieces.iter().map(|piece| piece.ordinal).zip(vectors.by_ref()).collect(),
            })
            .collect())
    }

    /// The store's space where it is not that of a handle that was opened to embed the store again. What such a handle
    /// writes is embedded by [`Memory::reembed`].
    pub(super) async fn space_to_leave(&self) -> Result<Option<EmbeddingSpace>> {
        if !self.parts.reembed {
            return Ok(None);
        }
        let active = self.ledger().active_space().await?;
        Ok(active.filter(|active| active != self.parts.embedder.space()))
    }

    /// Starts what waits and was not tried yet, in the background. Boxed, because a run that it starts may start one too.
    pub(super) fn start_left_jobs(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if self.space_to_leave().await?.is_none() && self.ledger().has_jobs(Some(self.now())).await? {
                let memory = self.detached();
                self.parts.background.spawn_until_end(async move { memory.run_in_background(Wanted::Due).await });
            }
            Ok(())
        })
    }

    /// Starts what a crash or an outage left, in the background, and again when leases have ended that are held now.
    pub(super) async fn start_crashed_jobs(&self) -> Result<()> {
        if self.space_to_leave().await?.is_none() && self.ledger().has_jobs(None).await? {
            self.follow_leases(Wanted::All);
        }
        Ok(())
    }

    pub(super) fn follow_leases(&self, wanted: Wanted) {
        let memory = self.detached();
        self.parts.background.spawn_until_end(async move {
            memory.run_in_background(wanted).await;
            match memory.ledger().next_lease_end(memory.now()).await {
                Ok(Some(end)) => memory.look_again_at(end),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(target: "umi::memory", kind = ?error.kind(), "jobs that are held now wait for the next opening");
                }
            }
        });
    }

    async fn run_in_background(&self, wanted: Wanted) {
        if let Err(error) = self.run_left_jobs(wanted).await {
            tracing::warn!(target: "umi::memory", kind = ?error.kind(), "work that was left for later was not finished");
        }
    }

    /// A handle for a background task, which is not to keep the store's opener from closing.
    pub(super) fn detached(&self) -> Self {
        Self { closed: Arc::new(AtomicBool::new(false)), is_root: false, ..self.clone() }
    }
}

/// Why the service is out, if that ended the tries.
fn outage<T>(outcomes: &[Result<T>]) -> Option<Error> {
    outcomes.last()?.as_ref().err().filter(|error| is_outage(error)).cloned()
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
