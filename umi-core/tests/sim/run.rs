//! A run: the plan's steps against the engine and against the model, side by side.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use umi_core::{
    Clock, Error, Ids, ManualClock, Memory, MemoryBuilder, MemoryConfig, Result, Scope, SeededIds, StorageBackend, Uuid,
};
use umi_faults::{Disk, FileKind};

use crate::{
    act, check,
    dice::Dice,
    embedder::MoodyEmbedder,
    model::{Lease, Lie, Model},
    plan::{Action, Mood, Plan, START, Step, USERS, Via, Who},
    trouble::What,
    working::ENTRIES,
};

/// What was seen that must not be.
pub(crate) type Violation = String;

/// Counts of what a run did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) seeds: u64,
    pub(crate) operations: u64,
    pub(crate) failures: u64,
    pub(crate) abandoned: u64,
    pub(crate) faults: u64,
    pub(crate) cuts: u64,
    pub(crate) checks: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.operations += other.operations;
        self.failures += other.failures;
        self.abandoned += other.abandoned;
        self.faults += other.faults;
        self.cuts += other.cuts;
        self.checks += other.checks;
    }
}

/// Seeded ids that tell which of them were made.
#[derive(Debug)]
pub(crate) struct ToldIds {
    inner: SeededIds,
    made: Mutex<Vec<Uuid>>,
}

impl Ids for ToldIds {
    fn next(&self, now: Timestamp) -> Uuid {
        let id = self.inner.next(now);
        self.made.lock().push(id);
        id
    }
}

/// No step takes longer; one that waits for ever is told as such.
const DEADLINE: Duration = Duration::from_secs(40);

/// What became of a step's call.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It gave a value, and perhaps warnings of steps that failed.
    Done(String, Option<usize>),
    Failed(Error),
    /// It hung in the embedder, and its caller gave up.
    GivenUp,
}

/// The engine and the model of one run.
pub(crate) struct Run {
    pub(crate) seed: u64,
    is_in_process: bool,
    pub(crate) folder: PathBuf,
    pub(crate) disk: Disk,
    pub(crate) clock: ManualClock,
    pub(crate) embedder: MoodyEmbedder,
    ids: Arc<ToldIds>,
    first: Option<Memory>,
    second: Option<Memory>,
    pub(crate) model: Model,
    /// Where a write failed because its log could not be synced: what the store may hold if the power goes before the
    /// next commit, because nobody can know then what reached the disk.
    doubt: Option<Model>,
    pub(crate) trace: Vec<String>,
    pub(crate) tally: Tally,
}

/// The scope of a caller.
pub(crate) fn scope(who: Who) -> Scope {
    let own = |name: Option<&str>| name.map(str::to_owned);
    Scope::from_parts(own(who.user), own(who.agent), own(who.session)).unwrap()
}

/// Runs a plan in a folder of its own below `base`. Gives its trace, and its counts.
///
/// # Errors
/// What was seen that must not be, with the trace up to there.
pub(crate) fn run(
    plan: &Plan,
    lie: Lie,
    base: &Path,
) -> std::result::Result<(Vec<String>, Tally), (Violation, String)> {
    let folder = tempfile::Builder::new().prefix("umi-sim-").tempdir_in(base).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (mut run, outcome) = runtime.block_on(async {
        let mut run = Run::new(plan, lie, &folder.path().join("store"));
        let outcome = run.all(plan).await;
        if outcome.is_err() {
            // What is still open must not outlive its folder.
            run.close().await;
        }
        (run, outcome)
    });
    run.tally.seeds = 1;
    match outcome {
        Ok(()) => Ok((run.trace, run.tally)),
        Err(violation) => Err((violation, run.trace.join("\n"))),
    }
}

impl Run {
    fn new(plan: &Plan, lie: Lie, folder: &Path) -> Self {
        let mut model = Model::new(lie);
        model.facts.ignores_event_time = lie == Lie::IgnoresEventTime;
        model.working.never_expires = lie == Lie::NeverExpires;
        Self {
            seed: plan.seed,
            is_in_process: plan.is_in_process,
            folder: folder.to_owned(),
            disk: {
                std::fs::create_dir_all(folder).unwrap();
                Disk::at(folder)
            },
            clock: ManualClock::new(START.parse().unwrap()),
            embedder: MoodyEmbedder::new(plan.is_in_process),
            ids: Arc::new(ToldIds { inner: SeededIds::new(plan.seed), made: Mutex::default() }),
            first: None,
            second: None,
            model,
            doubt: None,
            trace: Vec::new(),
            tally: Tally::default(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) async fn open_at(&self, folder: &Path) -> Result<Memory> {
        MemoryBuilder::new()
            .storage(StorageBackend::sqlite(folder))
            .embedder(Arc::new(self.embedder.clone()))
            .clock(Arc::new(self.clock.clone()))
            .ids(Arc::clone(&self.ids) as Arc<dyn Ids>)
            // The model knows of no vectors that are kept from an earlier step.
            .config(MemoryConfig::default().with_working_memory_entries(ENTRIES)?.with_embedding_cache_bytes(0)?)
            .build()
            .await
    }

    /// The handle that is always open.
    pub(crate) fn memory(&self) -> std::result::Result<&Memory, Violation> {
        self.first.as_ref().ok_or_else(|| "no handle is open".to_owned())
    }

    async fn all(&mut self, plan: &Plan) -> std::result::Result<(), Violation> {
        self.first = Some(self.open_at(&self.folder).await.map_err(|error| format!("the first opening: {error:?}"))?);
        for step in &plan.steps {
            let mut dice = Dice::of(self.seed ^ 0xc4ec, step.index as u64);
            let outcome = tokio::time::timeout(DEADLINE, self.step(step, &mut dice)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(format!("it did not end within {DEADLINE:?}")));
            outcome.map_err(|violation| format!("step {step}\n  {violation}"))?;
        }
        self.embedder.set(Mood::Well);
        let mut dice = Dice::of(self.seed, 0xe4d);
        check::everything(self, &mut dice).await.map_err(|violation| format!("at the end\n  {violation}"))?;
        self.close().await;
        self.opened(Mood::Well).await?;
        check::adopt_jobs(self, &|_| false, &|_| false, Lease::Free).await?;
        check::everything(self, &mut dice).await.map_err(|violation| format!("opened at the end\n  {violation}"))?;
        self.close().await;
        Ok(())
    }

    async fn close(&mut self) -> Vec<Error> {
        let mut errors = Vec::new();
        for memory in [self.second.take(), self.first.take()].into_iter().flatten() {
            errors.extend(memory.close().await.err());
        }
        errors
    }

    /// Opens the store again, with what that does in the background.
    async fn opened(&mut self, mood: Mood) -> std::result::Result<(), Violation> {
        let memory = self.open_at(&self.folder).await.map_err(|error| format!("it does not open: {error:?}"))?;
        memory.flush().await.map_err(|error| format!("it does not flush: {error:?}"))?;
        self.first = Some(memory);
        let now = self.now();
        self.model.run_jobs(mood, now);
        Ok(())
    }

    // ---- one step -------------------------------------------------------------------------------------------

    async fn step(&mut self, step: &Step, dice: &mut Dice) -> std::result::Result<(), Violation> {
        self.tally.operations += 1;
        let mood = effective_mood(step);
        self.embedder.set(mood);
        self.ids.made.lock().clear();
        if let Some(trouble) = step.trouble {
            self.disk.fail(trouble.fault());
        }
        let outcome = match &step.action {
            Action::Clock { by } => {
                self.clock.set(self.now() + *by);
                // Who waits for that time begins now.
                tokio::task::yield_now().await;
                Outcome::Done(String::new(), None)
            }
            Action::PowerCut => {
                self.disk.power_off();
                Outcome::Done(String::new(), None)
            }
            Action::Reopen => {
                let errors = self.close().await;
                match self.open_at(&self.folder).await {
                    Ok(memory) => self.first = Some(memory),
                    Err(error) if step.trouble.is_none() => return Err(format!("it does not open: {error:?}")),
                    Err(_) => {}
                }
                if step.trouble.is_none() && !errors.is_empty() {
                    return Err(format!("it does not close: {errors:?}"));
                }
                Outcome::Done(String::new(), None)
            }
            Action::SecondHandle => self.second_handle().await,
            _ => {
                let handle = self.handle(step)?;
                tokio::select! {
                    biased;
                    outcome = act::call(self, &handle, step) => outcome?,
                    () = self.embedder.hangs() => Outcome::GivenUp,
                }
            }
        };
        let fired = self.disk.clear();
        self.tally.faults += u64::from(fired);
        let shown = match &outcome {
            Outcome::Done(text, warnings) => format!("{text} {warnings:?}"),
            Outcome::Failed(error) => format!("failed {:?}", error.kind()),
            Outcome::GivenUp => "given up".to_owned(),
        };
        self.trace.push(format!("{step} -> {shown} fired={fired}"));
        self.settle(step, mood, outcome, fired).await?;
        self.embedder.set(Mood::Well);
        let whole = Self::disk_was_cut(step) || dice.one_in(12);
        if whole { check::everything(self, dice).await } else { check::around(self, step.who, dice).await }
    }

    fn disk_was_cut(step: &Step) -> bool {
        step.action == Action::PowerCut || step.trouble.is_some_and(|trouble| trouble.what == What::Cut)
    }

    /// The handle and the scope of a step's call.
    fn handle(&self, step: &Step) -> std::result::Result<(Memory, Scope), Violation> {
        let first = self.memory()?;
        let scope = scope(step.who);
        match (step.via, &self.second) {
            (Via::Scoped, _) => {
                let scoped = first.scoped(&scope).map_err(|error| format!("no scoped handle: {error:?}"))?;
                Ok((scoped, Scope::new()))
            }
            (Via::Second, Some(second)) => Ok((second.clone(), scope)),
            _ => Ok((first.clone(), scope)),
        }
    }

    async fn second_handle(&mut self) -> Outcome {
        match self.second.take() {
            Some(second) => match second.close().await {
                Ok(()) => Outcome::Done(String::new(), None),
                Err(error) => Outcome::Failed(error),
            },
            None => match self.open_at(&self.folder).await {
                Ok(second) => {
                    self.second = Some(second);
                    Outcome::Done(String::new(), None)
                }
                Err(error) => Outcome::Failed(error),
            },
        }
    }

    async fn flush(&self) -> std::result::Result<(), Violation> {
        for memory in [&self.first, &self.second].into_iter().flatten() {
            memory.flush().await.map_err(|error| format!("it does not flush: {error:?}"))?;
        }
        Ok(())
    }

    /// Brings the model to where the store must be, and compares what the call gave.
    async fn settle(
        &mut self,
        step: &Step,
        mood: Mood,
        outcome: Outcome,
        fired: bool,
    ) -> std::result::Result<(), Violation> {
        let (before, now) = (self.model.clone(), self.now());
        let ids = self.ids.made.lock().clone();
        let answer = act::predict(&mut self.model, step, mood, &ids, now);
        let is_background = self.starts_jobs(&before, step, mood);
        let failed_log = self.disk.take_events().iter().any(|event| event.failed && event.file == FileKind::Wal);
        if fired && failed_log && !self.disk.is_off() {
            self.doubt = Some(self.model.clone());
        } else if matches!(outcome, Outcome::Done(..)) && (self.model != before || step.action == Action::Reopen) {
            self.doubt = self.doubt.take().filter(|_| self.disk.is_off());
        }
        if self.disk.is_off() {
            self.failed(&outcome);
            let after = std::mem::replace(&mut self.model, before);
            return self.power_cycle(step, mood, after, answer.is_ok(), &ids).await;
        }
        if self.first.is_none() {
            let mood = self.calm(mood);
            // An opening that failed on the disk works when the disk does.
            self.opened(mood).await?;
            return check::adopt_jobs(self, &|_| true, &|_| false, Lease::Free).await;
        }
        if matches!(outcome, Outcome::GivenUp) {
            // A flush tries what a call left that was given up.
            self.calm(mood);
        }
        self.flush().await?;
        if act::is_read(&step.action) {
            return match outcome {
                Outcome::Failed(error) if !(fired && error.is_storage()) => Err(format!("it failed: {error:?}")),
                _ => Ok(()),
            };
        }
        match (&outcome, &answer) {
            (Outcome::Done(text, _), Ok(_)) if step.action == Action::Retry => {
                let (least, most) = before.clone().run_jobs(mood, now);
                if !text.parse().is_ok_and(|finished: usize| (least..=most).contains(&finished)) {
                    return Err(format!("{text} jobs were finished in place of {least} to {most}"));
                }
            }
            (Outcome::Done(text, warnings), Ok(expected)) => {
                if text != expected {
                    return Err(format!("it gave     {text}\n  in place of {expected}"));
                }
                let new_jobs = self.model.jobs.iter().filter(|job| ids.contains(&job.owner)).count();
                if !fired && warnings.is_some_and(|warnings| warnings != new_jobs) {
                    return Err(format!("{warnings:?} warnings and {new_jobs} jobs"));
                }
                if is_background {
                    // Opening takes what has failed before too.
                    let is_opening = matches!(step.action, Action::Reopen | Action::SecondHandle);
                    self.model.run_some_jobs(mood, now, |owner| is_opening || ids.contains(&owner));
                }
            }
            (Outcome::Failed(error), Err(kind)) if error.kind() == *kind => {
                self.failed(&outcome);
                self.model = before;
            }
            (Outcome::Failed(error), _) if fired && error.is_storage() => {
                self.failed(&outcome);
                // A purge takes what has expired first, and a retry finishes its jobs one by one.
                let is_retry = step.action == Action::Retry;
                self.model = before;
                if step.action == Action::Purge {
                    check::adopt_expired(self).await?;
                }
                let adopted = check::adopt_jobs(self, &|_| is_retry, &|_| false, Lease::Free).await;
                return adopted.map_err(|why| format!("after {error:?}: {why}"));
            }
            (Outcome::GivenUp, _) => {
                self.tally.abandoned += 1;
                if self.is_in_process || answer.is_err() || step.action == Action::Retry {
                    self.model = before;
                }
            }
            _ => return Err(format!("it ended with {outcome:?}\n  in place of {answer:?} (fired={fired})")),
        }
        // A fault between two transactions leaves a job where there would have been none.
        let is_doubtful = |owner: Uuid| fired && ids.contains(&owner);
        // A handle that was opened while jobs were held looks for free ones once that time is over.
        let has_looked = matches!(step.action, Action::Clock { .. });
        check::adopt_jobs(self, &|owner| has_looked || is_doubtful(owner), &is_doubtful, Lease::Free).await
    }

    fn failed(&mut self, outcome: &Outcome) {
        self.tally.failures += u64::from(matches!(outcome, Outcome::Failed(_)));
    }

    /// Lets the power come back, and finds out whether the step that it went in is there: as a whole, or not at all.
    async fn power_cycle(
        &mut self,
        step: &Step,
        mood: Mood,
        after: Model,
        may_be_after: bool,
        ids: &[Uuid],
    ) -> std::result::Result<(), Violation> {
        self.tally.cuts += 1;
        self.close().await;
        let mood = self.calm(mood);
        self.disk.power_on(self.seed ^ self.tally.cuts);
        let (before, now) = (self.model.clone(), self.now());
        let doubt = self.doubt.take();
        let is_doubtful = doubt.is_some();
        let mut candidates = vec![("before", before)];
        if may_be_after {
            candidates.push(("after", after));
        }
        candidates.extend(doubt.map(|doubt| ("an unsynced write", doubt)));
        let memory = self.open_at(&self.folder).await.map_err(|error| format!("it does not open again: {error:?}"))?;
        memory.flush().await.map_err(|error| format!("it does not flush: {error:?}"))?;
        self.first = Some(memory);
        let mut misfits = String::new();
        for (name, candidate) in candidates {
            self.model = candidate;
            if step.action == Action::Purge {
                check::adopt_expired(self).await?;
            }
            match check::rows(self.memory()?, &self.model, now, &USERS, Some(step.who)).await {
                Ok(()) => {
                    self.trace.push(format!("  the power came back to {name}"));
                    let is_retry = matches!(step.action, Action::Retry | Action::Reopen | Action::SecondHandle);
                    self.model.hold_jobs(now, |owner| is_retry || ids.contains(&owner));
                    self.model.run_jobs(mood, now);
                    let lease = Lease::AtMostUntil(now + SignedDuration::from_mins(1));
                    let may_lack = is_retry || is_doubtful;
                    let may_have = |owner: Uuid| is_doubtful || ids.contains(&owner);
                    return check::adopt_jobs(self, &|_| may_lack, &may_have, lease).await;
                }
                Err(misfit) => _ = write!(misfits, "\n  {name}: {misfit}"),
            }
        }
        Err(format!("the store is neither as before the step nor as after it:{misfits}"))
    }

    /// The mood in which a store is opened again: nobody gives up what that does in the background.
    fn calm(&self, mood: Mood) -> Mood {
        let mood = if mood == Mood::Hangs { Mood::Down } else { mood };
        self.embedder.set(mood);
        mood
    }

    /// Whether a step starts what waits, in the background.
    fn starts_jobs(&self, before: &Model, step: &Step, mood: Mood) -> bool {
        match &step.action {
            Action::Remember { request, waits: false } if request.wants_vectors => {
                let known: BTreeSet<Uuid> = before.episodes.iter().map(|episode| episode.id).collect();
                let is_new = self.model.episodes.iter().any(|episode| !known.contains(&episode.id));
                let fails = request.turns.iter().any(|said| mood.refuses(&said.text));
                is_new && (!self.is_in_process || fails)
            }
            // Opening starts what was left.
            Action::SecondHandle => self.second.is_some(),
            Action::Reopen => true,
            _ => false,
        }
    }
}

/// A call that nobody would give up cannot hang.
fn effective_mood(step: &Step) -> Mood {
    let may_hang = matches!(
        step.action,
        Action::Remember { waits: true, .. }
            | Action::RememberMany { .. }
            | Action::AddEntity { .. }
            | Action::Update { .. }
            | Action::Retry
            | Action::Recall { .. }
            | Action::Context { .. }
    );
    if step.mood == Mood::Hangs && !may_hang { Mood::Down } else { step.mood }
}
