//! Facts by a language model: read what was said with what came before it, relate the facts to stored ones, and record
//! all of it in one transaction, which is refused where what was decided on has moved meanwhile.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use parking_lot::Mutex;
use uuid::Uuid;

use super::{
    Memory,
    candidates::DraftFact,
    held::HeldJobs,
    outage::{is_of_the_text, is_outage},
    results::{RememberResult, StepFailure, Usage},
    usage::{Metered, Step},
};
use crate::{
    entity::Entity,
    episode::Episode,
    error::{Error, ErrorKind, Result},
    evolve::{self, FoundRelation},
    extract::{self, EARLIER_TURNS, ExtractedFact, REQUEST_BYTES, Said},
    ledger::{Extraction, ExtractionOutcome, LeasedJob, NewRelation, OwnerText, Recorded},
    llm::LanguageModel,
    metadata::Metadata,
    scope::Scope,
};

/// The beginning of the `source` of a text that repeats what was recalled: it is kept and never extracted.
/// [`Recalled::recalled_source`](crate::Recalled::recalled_source) gives the whole of it.
pub const RECALLED_SOURCE: &str = "umi:recalled";

/// The `source` of the words of a recalled row.
pub fn recalled_source(id: Uuid) -> String {
    format!("{RECALLED_SOURCE}:{id}")
}

/// How often a decision is made because a subject or a candidate has changed, each time about what has changed alone.
/// Then the facts are recorded with the relations that still hold.
const DECISIONS: usize = 3;
/// How many groups of turns are extracted at once by one call or run. The provider has a limit of its own.
const CONCURRENCY: usize = 8;
/// How many turns of a session are looked through for those said before.
const LOOKED_AT: usize = 3 * EARLIER_TURNS;

/// A turn whose facts are to be found.
#[derive(Clone, Debug)]
pub(super) struct ExtractTask {
    pub(super) job: Uuid,
    /// How often it has failed.
    pub(super) attempts: u32,
    pub(super) episode: Episode,
    pub(super) detects_evolutions: bool,
}

/// What became of turns that were extracted together.
#[derive(Debug, Default)]
pub(super) struct Extracted {
    facts: Vec<Recorded>,
    usage: Usage,
    warnings: Vec<StepFailure>,
    /// How many jobs are done.
    pub(super) finished: u64,
    /// Why all of it failed, and in which step.
    failure: Option<Failed>,
}

/// A step that failed.
#[derive(Clone, Debug)]
struct Failed {
    step: &'static str,
    error: Error,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { step: "extract", error }
    }
}

impl Extracted {
    /// Turns that are left to their jobs, because the service was out for others.
    fn not_tried(tasks: &[ExtractTask], error: Error) -> Self {
        let job_id = tasks.first().map(|task| task.job);
        Self { warnings: vec![StepFailure { step: "extract", error, job_id }], ..Self::default() }
    }

    /// Why its service is out, if that is why it failed.
    fn outage(&self) -> Option<&Error> {
        self.failure.as_ref().map(|failed| &failed.error).filter(|error| is_outage(error))
    }

    /// Puts what was found into the result of a call: the facts in the place of the notes.
    pub(super) fn put_into(self, result: &mut RememberResult) {
        result.usage += self.usage;
        result.warnings.extend(self.warnings);
        if self.facts.is_empty() {
            return;
        }
        // Several sayings may be part of one version.
        let mut entities = Vec::new();
        let mut seen = BTreeSet::new();
        for recorded in self.facts {
            if seen.insert(recorded.entity.id) {
                entities.push(recorded.entity);
            }
            result.evolutions.extend(recorded.evolutions.into_iter().filter(|evolution| seen.insert(evolution.id)));
        }
        result.entities = entities;
    }
}

/// Whether a text may hold facts that are not known already.
pub(super) fn is_to_extract(episode: &Episode) -> bool {
    let is_recalled = episode.source.as_deref().is_some_and(|source| {
        source.strip_prefix(RECALLED_SOURCE).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    });
    !is_recalled && !extract::without_recalled(&episode.text).trim().is_empty()
}

impl Memory {
    /// Extracts the turns of requests, each request as a whole, several at a time, and gives what became of each. When the
    /// service is out, those behind it are not tried: their jobs stay.
    pub(super) async fn extract_own(
        &self,
        held: HeldJobs,
        groups: BTreeMap<usize, Vec<ExtractTask>>,
    ) -> Vec<(usize, Extracted)> {
        let jobs: usize = groups.values().map(Vec::len).sum();
        let Some(model) = self.parts.model.clone() else { return Vec::new() };
        let outage: Mutex<Option<Error>> = Mutex::default();
        let each = |(request, tasks): (usize, Vec<ExtractTask>)| {
            let (held, model, outage) = (&held, model.as_ref(), &outage);
            async move {
                let known = outage.lock().clone();
                if let Some(error) = known {
                    return (request, Extracted::not_tried(&tasks, error));
                }
                let extracted = self.extract_group(held, model, tasks).await;
                if let Some(error) = extracted.outage() {
                    *outage.lock() = Some(error.clone());
                }
                (request, extracted)
            }
        };
        let all = stream::iter(groups).map(each).buffer_unordered(self.parts.concurrency(CONCURRENCY)).collect();
        let done: Vec<(usize, Extracted)> = self.while_held(&held, all).await;
        let finished: u64 = done.iter().map(|(_, extracted)| extracted.finished).sum();
        match outage.into_inner() {
            Some(error) => {
                let again = self.again(&self.parts.services.model, &error);
                if let Err(error) = held.put_off(again).await {
                    tracing::warn!(target: "umi::memory", kind = ?error.kind(), "jobs could not be put off");
                }
            }
            None => held.end(finished == jobs as u64).await,
        }
        done
    }

    /// Extracts held jobs that were left, those of one call together, and gives how many are done. When the service is
    /// out, the rest is not tried, and the reason is given.
    pub(super) async fn extract_left(
        &self,
        held: &HeldJobs,
        model: &dyn LanguageModel,
        left: Vec<LeasedJob>,
    ) -> (u64, Option<Error>) {
        let mut groups: BTreeMap<_, Vec<ExtractTask>> = BTreeMap::new();
        for LeasedJob { job, text, detects_evolutions, .. } in left {
            let OwnerText::Episode(episode) = text else { continue };
            let Episode { user, agent, session, .. } = episode.clone();
            let task = ExtractTask { job: job.id, attempts: job.attempts, episode, detects_evolutions };
            groups.entry((user, agent, session, job.created_at, detects_evolutions)).or_default().push(task);
        }
        let outage: Mutex<Option<Error>> = Mutex::default();
        let each = |tasks: Vec<ExtractTask>| {
            let outage = &outage;
            async move {
                let mut finished = 0;
                let mut groups = vec![tasks];
                while let Some(tasks) = groups.pop() {
                    if outage.lock().is_some() {
                        break;
                    }
                    let extracted = self.try_group(held, model, tasks.clone()).await;
                    finished += extracted.finished;
                    let Some(Failed { error, .. }) = &extracted.failure else { continue };
                    if tasks.len() > 1 && is_of_the_text(error) {
                        // A bad text is not to fail its neighbours.
                        groups.extend(tasks.into_iter().rev().map(|task| vec![task]));
                        continue;
                    }
                    self.note_failure(held, &tasks, error).await;
                    if let Some(error) = extracted.outage() {
                        *outage.lock() = Some(error.clone());
                    }
                }
                finished
            }
        };
        let all = stream::iter(groups.into_values()).map(each).buffer_unordered(self.parts.concurrency(CONCURRENCY));
        let finished = self.while_held(held, all.fold(0, |sum, finished| async move { sum + finished })).await;
        (finished, outage.into_inner())
    }

    /// Extracts turns together. A failure is noted in their jobs and told once, with the first of them.
    async fn extract_group(&self, held: &HeldJobs, model: &dyn LanguageModel, tasks: Vec<ExtractTask>) -> Extracted {
        let mut extracted = self.try_group(held, model, tasks.clone()).await;
        if let Some(Failed { step, error }) = extracted.failure.clone() {
            self.note_failure(held, &tasks, &error).await;
            extracted.warnings.push(StepFailure { step, error, job_id: tasks.first().map(|task| task.job) });
        }
        extracted
    }

    /// Extracts turns together, and notes no failure.
    async fn try_group(&self, held: &HeldJobs, model: &dyn LanguageModel, tasks: Vec<ExtractTask>) -> Extracted {
        let mut extracted = Extracted::default();
        if let Err(failed) = self.find_and_record(held, model, tasks, &mut extracted).await {
            tracing::warn!(target: "umi::memory", step = failed.step, kind = ?failed.error.kind(), "a model's step failed; the text is stored and a job is left");
            extracted.failure = Some(failed);
        }
        // A bad text is not to cost its neighbours their vectors: each is tried by itself.
        let leaves_texts = extracted.warnings.iter().any(|warning| warning.step == "embed");
        if leaves_texts && let Err(error) = self.start_left_jobs().await {
            tracing::warn!(target: "umi::memory", kind = ?error.kind(), "jobs that were left wait for the next call");
        }
        extracted
    }

    async fn note_failure(&self, held: &HeldJobs, tasks: &[ExtractTask], error: &Error) {
        for task in tasks {
            let noted = self.fail(&self.parts.services.model, held, task.job, task.attempts, error).await;
            if let Err(error) = noted {
                tracing::warn!(target: "umi::memory", kind = ?error.kind(), "a failure could not be noted");
            }
        }
    }

    /// One extraction, again where an episode is forgotten meanwhile.
    async fn find_and_record(
        &self,
        held: &HeldJobs,
        model: &dyn LanguageModel,
        mut tasks: Vec<ExtractTask>,
        extracted: &mut Extracted,
    ) -> Result<(), Failed> {
        while let Some(first) = tasks.first().cloned() {
            extracted.warnings.clear();
            let facts = self.find_facts(model, &tasks, extracted).await?;
            let now = self.now();
            let facts = facts.into_iter().map(|fact| self.entity_of(fact, &tasks, now)).collect();
            if let Some(recorded) = self.decide_and_record(held, model, &tasks, facts, extracted).await? {
                extracted.facts = recorded;
                extracted.finished = tasks.len() as u64;
                return Ok(());
            }
            // A job is gone. Where its episode is too, the others are read again without it: what it said may be in them.
            let scope = tenant(&first.episode)?;
            let ids: Vec<Uuid> = tasks.iter().map(|task| task.episode.id).collect();
            let there: BTreeSet<Uuid> =
                self.ledger().episodes_by_id(&scope, &ids).await?.into_iter().map(|episode| episode.id).collect();
            let count = tasks.len();
            tasks.retain(|task| there.contains(&task.episode.id));
            if tasks.len() == count {
                // Another run has taken a job, and will do it.
                let error = Error::storage("another run has taken the job, and records the facts").with_retryable(true);
                extracted.warnings.push(StepFailure { step: "extract", error, job_id: Some(first.job) });
                return Ok(());
            }
        }
        Ok(())
    }

    async fn find_facts(
        &self,
        model: &dyn LanguageModel,
        tasks: &[ExtractTask],
        extracted: &mut Extracted,
    ) -> Result<Vec<ExtractedFact>, Failed> {
        let earlier = match tasks.first() {
            Some(first) => self.said_before(&first.episode, tasks).await?,
            None => Vec::new(),
        };
        let earlier: Vec<(&Episode, Cow<'_, str>)> = earlier.iter().map(plain).collect();
        let turns: Vec<(&Episode, Cow<'_, str>)> = tasks.iter().map(|task| plain(&task.episode)).collect();
        let turns = said(&turns);
        let mut all = said(&earlier);
        let first = all.len();
        all.extend(&turns);
        let mut facts = Vec::new();
        let mut left = requests(&turns);
        while let Some(Range { start, end }) = left.pop() {
            // An answer that is cut is asked for again with half of the turns.
            let is_one = end - start == 1;
            let metered = Metered::new(model, &self.parts.usage, Step::Extract, !is_one);
            let shown = &turns[start..end];
            let found = extract::extract(&metered, &all[..first + start], shown).await;
            extracted.usage += metered.usage();
            if metered.has_refused() {
                let half = start + (end - start) / 2;
                left.extend([half..end, start..half]);
                continue;
            }
            let found = found?;
            extracted.warn("extract", found.notes);
            facts.extend(found.value.into_iter().map(|fact| ExtractedFact { turn: start + fact.turn, ..fact }));
        }
        self.parts.services.model.is_over();
        Ok(facts)
    }

    /// The turns of the same session that were said before those of some tasks, oldest first.
    async fn said_before(&self, first: &Episode, tasks: &[ExtractTask]) -> Result<Vec<Episode>> {
        let origin = Scope::from_parts(first.user.clone(), first.agent.clone(), first.session.clone())?;
        // A conversation's turns need not be in the order of time.
        let places = tasks.iter().map(|task| (task.episode.at, task.episode.id));
        let place = places.min().unwrap_or((first.at, first.id));
        let mut before = self.ledger().episodes_before(&origin, place, LOOKED_AT).await?;
        before.retain(is_to_extract);
        let passed_over = before.len().saturating_sub(EARLIER_TURNS);
        Ok(before.split_off(passed_over))
    }

    fn entity_of(&self, fact: ExtractedFact, tasks: &[ExtractTask], now: Timestamp) -> Entity {
        // A fact names one of the turns that were shown.
        let episode = &tasks[fact.turn.min(tasks.len() - 1)].episode;
        let valid_from = fact.event_time.unwrap_or(episode.at);
        Entity {
            id: self.next_id(now),
            entity_type: fact.entity_type,
            name: fact.name,
            attribute: fact.attribute,
            content: fact.content,
            metadata: Metadata::default(),
            confidence: fact.confidence,
            importance: episode.importance,
            event_time: fact.event_time,
            document_time: Some(episode.at),
            source: episode.source.clone(),
            valid_from,
            valid_to: None,
            last_seen: valid_from,
            recorded_at: now,
            updated_at: now,
            episode_id: Some(episode.id),
            user: episode.user.clone(),
            agent: episode.agent.clone(),
            session: episode.session.clone(),
        }
    }

    /// Relates facts to stored ones and records both. None where a job is gone.
    async fn decide_and_record(
        &self,
        held: &HeldJobs,
        model: &dyn LanguageModel,
        tasks: &[ExtractTask],
        facts: Vec<Entity>,
        extracted: &mut Extracted,
    ) -> Result<Option<Vec<Recorded>>, Failed> {
        let Some(first) = tasks.first() else { return Ok(None) };
        let scope = tenant(&first.episode)?;
        // What a handle is narrowed to is all that it is told of; a session that a call names is only whose it is.
        let (agent, session) = (self.scope.agent().map(str::to_owned), self.scope.session().map(str::to_owned));
        let narrowed = Scope::from_parts(first.episode.user.clone(), agent, session)?;
        let (drafts, failure) = self.draft_facts(facts).await?;
        let (mut compared, mut found): (Vec<Entity>, Vec<FoundRelation>) = (Vec::new(), Vec::new());
        let mut fresh: Vec<usize> = Vec::new();
        for decision in 1.. {
            let is_last = decision > DECISIONS;
            let mut seen = self.ledger().head()?;
            let mut is_compared = true;
            if !first.detects_evolutions || drafts.is_empty() {
                // Nothing is decided, so nothing can have moved.
                seen = i64::MAX;
            } else {
                let candidates = self.candidates(&scope, &drafts).await?;
                // A fact that no longer only repeats what holds was compared with nothing: all are compared again.
                let is_grown = decision > 1 && candidates.fresh.iter().any(|place| !fresh.contains(place));
                // What was shown and is forgotten since may be quoted by what was answered.
                let is_quoted = compared.iter().any(|fact| candidates.stored.iter().all(|one| one.id != fact.id));
                if (is_grown && !is_last) || is_quoted {
                    (compared, found) = (Vec::new(), Vec::new());
                }
                // What was decided about a candidate holds while that one is as it was.
                let is_new = |fact: &&Entity| !compared.contains(fact);
                let new: Vec<Entity> = candidates.stored.iter().filter(is_new).cloned().collect();
                let is_known = |id: Uuid| compared.iter().any(|fact| fact.id == id && candidates.stored.contains(fact));
                found.retain(|relation| is_known(relation.old));
                if is_last {
                    (seen, is_compared) = (i64::MAX, new.is_empty() && !is_grown);
                } else {
                    found.extend(self.relate(model, &drafts, &candidates.fresh, &new, extracted).await?);
                    (compared, fresh) = (candidates.stored, candidates.fresh);
                }
            }
            if decision > DECISIONS + 1 {
                // A candidate went between its reading and the writing.
                (is_compared, found) = (false, Vec::new());
            }
            let now = self.now();
            let relations = found.iter().map(|found| NewRelation {
                id: self.next_id(now),
                fact: found.new,
                other: found.old,
                evolution_type: found.evolution_type,
                // Nobody looks any more whether what it quotes is forgotten meanwhile.
                reason: if is_last { String::new() } else { found.reason.clone() },
                confidence: found.confidence,
            });
            let (space, facts) = self.facts_to_write(&drafts, failure.as_ref(), now).await?;
            let embed_jobs: Vec<_> = facts.iter().filter_map(|fact| fact.embed_job.map(|job| job.id)).collect();
            let extraction = Extraction {
                scope: narrowed.clone(),
                jobs: tasks.iter().map(|task| task.job).collect(),
                holder: held.holder(),
                facts,
                relations: relations.collect(),
                seen,
            };
            match self.ledger().record_extracted(&space, extraction).await {
                Ok(ExtractionOutcome::Recorded(recorded)) => {
                    if !is_compared {
                        let message = format!(
                            "what the facts are about changed {DECISIONS} times meanwhile; they are not related to the last of it"
                        );
                        let error = Error::storage(message).with_retryable(true);
                        extracted.warnings.push(StepFailure { step: "evolve", error, job_id: None });
                    }
                    if let Some(error) = failure {
                        let failures = embed_jobs.into_iter().map(|job| StepFailure {
                            step: "embed",
                            error: error.clone(),
                            job_id: Some(job),
                        });
                        extracted.warnings.extend(failures);
                    }
                    return Ok(Some(recorded));
                }
                Ok(ExtractionOutcome::Gone) => return Ok(None),
                Ok(ExtractionOutcome::Moved) if decision <= DECISIONS + 1 => {}
                Ok(ExtractionOutcome::Moved) => {
                    return Err(Error::internal("what cannot have moved has moved").into());
                }
                // The store has moved to another space meanwhile, perhaps to this handle's.
                Err(error) if error.kind() == ErrorKind::EmbeddingSpace && !is_last => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    async fn relate(
        &self,
        model: &dyn LanguageModel,
        drafts: &[DraftFact],
        fresh: &[usize],
        candidates: &[Entity],
        extracted: &mut Extracted,
    ) -> Result<Vec<FoundRelation>, Failed> {
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let new: Vec<Entity> = fresh.iter().map(|&place| drafts[place].entity.clone()).collect();
        let metered = Metered::new(model, &self.parts.usage, Step::Evolve, false);
        let found = evolve::evolve(&metered, &new, candidates).await;
        extracted.usage += metered.usage();
        let found = found.map_err(|error| Failed { step: "evolve", error })?;
        extracted.warn("evolve", found.notes);
        Ok(found.value.into_iter().map(|found| FoundRelation { new: fresh[found.new], ..found }).collect())
    }
}

impl Extracted {
    fn warn(&mut self, step: &'static str, notes: Vec<String>) {
        self.warnings.extend(notes.into_iter().map(|note| StepFailure {
            step,
            error: Error::new(ErrorKind::InvalidResponse, note),
            job_id: None,
        }));
    }
}

/// The tenant of an episode, whatever its agent and session.
fn tenant(episode: &Episode) -> Result<Scope> {
    Scope::from_parts(episode.user.clone(), None, None)
}

/// The turns of each request, the first one last: as many as fit in it, or one that does not.
fn requests(turns: &[Said<'_>]) -> Vec<Range<usize>> {
    let mut requests: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (place, turn) in turns.iter().enumerate() {
        bytes += turn.text.len();
        match requests.last_mut() {
            Some(last) if bytes <= REQUEST_BYTES => last.end = place + 1,
            _ => {
                requests.push(place..place + 1);
                bytes = turn.text.len();
            }
        }
    }
    requests.reverse();
    requests
}

/// An episode and its text without what was recalled in it.
fn plain(episode: &Episode) -> (&Episode, Cow<'_, str>) {
    (episode, extract::without_recalled(&episode.text))
}

fn said<'a>(episodes: &'a [(&'a Episode, Cow<'a, str>)]) -> Vec<Said<'a>> {
    let said = |(episode, text): &'a (&'a Episode, Cow<'a, str>)| Said {
        role: &episode.role,
        name: episode.name.as_deref(),
        at: episode.at,
        text,
    };
    episodes.iter().map(said).collect()
}
