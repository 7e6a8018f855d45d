//! Work that was left for later: embedding what an embedder could not do when it was remembered, and finding the facts
//! of what a language model has not read.
//!
//! A run holds the jobs that it works on, under an id of its own and for a minute that it renews. What it still holds
//! when it ends, fails or is cancelled is let go of; what a process that crashed held is free when its minute is over,
//! and a store that is opened before that looks again then.

use std::{
    collections::BTreeSet,
    ops::Range,
    pin::pin,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use futures::future::{self, Either};
use jiff::Timestamp;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::{Memory, store::Store};
use crate::{
    blocking::blocking,
    embed::{EmbeddingSpace, embed_encoded},
    error::{Error, ErrorKind, Result},
    index::analysis::{AnalysedPiece, analyse_episode, analyse_fact},
    ledger::{EmbedJob, Job, JobKind, JobLease, OwnerText, OwnerVectors},
    scope::Scope,
};

/// How long a job is held before another run may take it. Half of it is the time between two renewals.
const LEASE: Duration = Duration::from_mins(1);
/// How many jobs are taken and embedded at once.
const BATCH: usize = 32;
/// How many jobs of extraction are taken at once: a conversation is to be among them as a whole.
const EXTRACT_BATCH: usize = 256;

/// The jobs of one run. What it holds is let go of when this is dropped, in the background.
pub(super) struct HeldJobs {
    store: Arc<Store>,
    holder: Uuid,
    runtime: Handle,
    process: u32,
    is_empty: bool,
}

impl HeldJobs {
    /// Who holds them.
    pub(super) fn holder(&self) -> Uuid {
        self.holder
    }

    /// Ends a run whose work is durable; what it still holds, unless that is nothing, is let go of now.
    pub(super) async fn end(mut self, is_empty: bool) {
        self.is_empty = is_empty;
        if !is_empty && let Err(error) = self.release().await {
            tracing::warn!(target: "umi::memory", kind = ?error.kind(), "jobs could not be let go of at once");
        }
    }

    /// A job to leave behind that this run holds.
    pub(super) fn job(&self, id: Uuid, now: Timestamp) -> Result<EmbedJob> {
        Ok(EmbedJob { id, lease: Some(self.lease(now)?) })
    }

    pub(super) fn lease(&self, now: Timestamp) -> Result<JobLease> {
        let until = now.checked_add(LEASE).map_err(|error| {
            Error::invalid_input(format!("the clock stands at {now}, the end of time")).with_source(error)
        })?;
        Ok(JobLease { holder: self.holder, until })
    }

    /// Lets go now. Cancelled, it is done in the background.
    async fn release(mut self) -> Result<()> {
        self.store.ledger.release_jobs(self.holder).await?;
        self.is_empty = true;
        Ok(())
    }
}

impl Drop for HeldJobs {
    fn drop(&mut self) {
        if self.is_empty || self.process != std::process::id() {
            return;
        }
        let (store, holder) = (Arc::clone(&self.store), self.holder);
        self.store.releases.spawn_on(&self.runtime, async move {
            match store.ledger.release_jobs(holder).await {
                Err(error) if error.kind() != ErrorKind::Closed => {
                    tracing::warn!(target: "umi::memory", kind = ?error.kind(), "jobs stay held until their lease ends");
                }
                // In a store that is closed the leases run out.
                _ => {}
            }
        });
    }
}

/// What became of some jobs.
#[derive(Default)]
struct Ran {
    finished: u64,
    failed: Vec<(Uuid, Error)>,
    /// Why the ledger could not note what became of one. What came behind it was not tried.
    ledger: Option<Error>,
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
    /// tried once a call. Facts wait for a handle with a language model. Jobs that a call, another run or another process
    /// is at are passed over: each is held for a minute, renewed while its holder lives.
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
        self.run_left_jobs().await
    }

    async fn run_left_jobs(&self) -> Result<u64> {
        let own = self.parts.embedder.space();
        if let Some(active) = self.ledger().active_space().await?.filter(|active| active != own) {
            return Err(active.mismatch(own));
        }
        // What a cancelled run held is free once it was let go of.
        self.lease.store.releases.wait().await;
        let held = self.hold();
        let finished = self.run_free_jobs(&held).await;
        held.release().await?;
        finished
    }

    async fn run_free_jobs(&self, held: &HeldJobs) -> Result<u64> {
        let mut finished = 0;
        // Failed jobs stay held until the end, so that one run tries each of them once.
        let mut seen = BTreeSet::new();
        loop {
            let now = self.now();
            let jobs = self.ledger().lease_jobs(&[JobKind::Embed], BATCH, now, held.lease(now)?).await?;
            let jobs: Vec<_> = jobs
                .into_iter()
                .map(|leased| (leased.job.id, leased.text))
                .filter(|(job, _)| seen.insert(*job))
                .collect();
            if jobs.is_empty() {
                break;
            }
            let ran = self.run_held(held, jobs).await;
            finished += ran.finished;
            if let Some(error) = ran.ledger {
                return Err(error);
            }
        }
        // Without a model they wait for an opening that has one.
        let Some(model) = self.parts.model.clone() else { return Ok(finished) };
        loop {
            let now = self.now();
            let mut jobs = self.ledger().lease_jobs(&[JobKind::Extract], EXTRACT_BATCH, now, held.lease(now)?).await?;
            jobs.retain(|leased| seen.insert(leased.job.id));
            if jobs.is_empty() {
                return Ok(finished);
            }
            finished += self.extract_left(held, model.as_ref(), jobs).await;
        }
    }

    /// A new run, which holds nothing yet.
    pub(super) fn hold(&self) -> HeldJobs {
        HeldJobs {
            store: Arc::clone(&self.lease.store),
            holder: self.next_id(self.now()),
            runtime: Handle::current(),
            process: std::process::id(),
            is_empty: false,
        }
    }

    /// Runs one call's own jobs now, and gives their failures. What the call wrote is durable by now, so that a ledger
    /// that fails from here on only leaves the jobs.
    pub(super) async fn run_own_jobs(&self, held: HeldJobs, jobs: Vec<(Uuid, OwnerText)>) -> Vec<(Uuid, Error)> {
        let count = jobs.len() as u64;
        let ran = self.run_held(&held, jobs).await;
        held.end(ran.finished == count).await;
        ran.failed
    }

    /// Embeds what held jobs are about; finishes those that can be and notes the failure of the others.
    async fn run_held(&self, held: &HeldJobs, jobs: Vec<(Uuid, OwnerText)>) -> Ran {
        let (ids, texts): (Vec<Uuid>, Vec<OwnerText>) = jobs.into_iter().unzip();
        let outcomes = self.embed_each(held, Arc::new(texts)).await;
        let mut ran = Ran::default();
        for (job, outcome) in ids.into_iter().zip(outcomes) {
            if let Some(error) = &ran.ledger {
                ran.failed.push((job, outcome.err().unwrap_or_else(|| error.clone())));
                continue;
            }
            match outcome {
                Ok(vectors) => {
                    let space = self.parts.embedder.space();
                    match self.ledger().finish_embed_job(space, job, held.holder, vectors).await {
                        Ok(finished) => ran.finished += u64::from(finished),
                        Err(error) => {
                            ran.failed.push((job, error.clone()));
                            ran.ledger = Some(error);
                        }
                    }
                }
                Err(error) => {
                    ran.ledger = self.ledger().fail_job(job, held.holder, &error).await.err();
                    ran.failed.push((job, error));
                }
            }
        }
        ran
    }

    /// Embeds texts in one call, and one by one where that fails, so that a bad text does not fail its neighbours. When
    /// the embedder is out of service, which a text that fails by itself in a way that may pass shows, the rest is not
    /// tried.
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
        let mut outage: Option<Error> = None;
        for place in 0..count {
            if let Some(error) = &outage {
                outcomes.push(Err(error.clone()));
                continue;
            }
            let one = self.while_held(held, self.embed_owners(Arc::clone(&texts), place..place + 1)).await;
            let one =
                one.and_then(|mut vectors| vectors.pop().ok_or_else(|| Error::internal("one text gave no vectors")));
            outage = one.as_ref().err().filter(|error| error.is_retryable()).cloned();
            outcomes.push(one);
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
            let renewed = match held.lease(self.now()) {
                Ok(lease) => self.ledger().renew_jobs(lease).await,
                Err(error) => Err(error),
            };
            if let Err(error) = renewed {
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

    /// Starts what waits, in the background.
    pub(super) async fn start_left_jobs(&self) -> Result<()> {
        if self.space_to_leave().await?.is_none() && self.ledger().has_jobs().await? {
            let memory = self.detached();
            self.parts.background.spawn(async move { memory.run_in_background().await });
        }
        Ok(())
    }

    /// Starts what a crash or an outage left, in the background, and again when leases have ended that are held now.
    pub(super) async fn start_crashed_jobs(&self) -> Result<()> {
        if self.space_to_leave().await?.is_none() && self.ledger().has_jobs().await? {
            self.follow_leases();
        }
        Ok(())
    }

    fn follow_leases(&self) {
        let memory = self.detached();
        self.parts.background.spawn(async move {
            memory.run_in_background().await;
            match memory.ledger().next_lease_end().await {
                Ok(Some(end)) => memory.look_again_at(end),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(target: "umi::memory", kind = ?error.kind(), "jobs that are held now wait for the next opening");
                }
            }
        });
    }

    /// Looks for free jobs at a time, if the store is still open then. Nothing waits for it, and it keeps nothing open.
    fn look_again_at(&self, end: Timestamp) {
        let wait = self.parts.clock.wait_until(end);
        let (lease, parts) = (Arc::downgrade(&self.lease), Arc::downgrade(&self.parts));
        let scope = self.scope.clone();
        tokio::spawn(async move {
            wait.await;
            let Some((lease, parts)) = lease.upgrade().zip(parts.upgrade()) else { return };
            if !lease.is_closed() {
                let closed = Arc::new(AtomicBool::new(false));
                Self { lease, parts, scope, pinned: false, closed, is_root: false }.follow_leases();
            }
        });
    }

    async fn run_in_background(&self) {
        if let Err(error) = self.run_left_jobs().await {
            tracing::warn!(target: "umi::memory", kind = ?error.kind(), "work that was left for later was not finished");
        }
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
