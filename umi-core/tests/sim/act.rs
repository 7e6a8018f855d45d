//! One step as a call of the engine, and as a change of the model.

use std::time::Duration;

use jiff::Timestamp;
use umi_core::{
    Entity, EntityType, Error, FactChange, ForgetReach, Memory, Metadata, RememberOptions, RememberRequest,
    RememberResult, Result, Scope, TimeToLive, Turn, Uuid, Wait,
};

use crate::{
    check,
    facts::Fact,
    model::{Answer, Model, json},
    plan::{Action, Claim, Mood, Request, Said, Step, USERS, Who},
    run::{Outcome, Run, Violation, scope},
};

/// Whether a step changes nothing.
pub(crate) fn is_read(action: &Action) -> bool {
    matches!(action, Action::Recall { .. } | Action::Context { .. } | Action::AsOf { .. })
}

fn metadata(fields: &[(&'static str, String)]) -> Metadata {
    Metadata::parse(&json(fields)).unwrap()
}

fn turn(said: &Said) -> Turn {
    let mut turn = Turn::new(said.text.clone());
    turn.at = said.at;
    turn.role = said.role.map(str::to_owned);
    turn.name = said.name.map(str::to_owned);
    turn.metadata = metadata(&said.metadata);
    turn
}

fn remembering(request: &Request, scope: Scope, waits: bool) -> RememberRequest {
    let wait = if waits { Wait::Extracted } else { Wait::Durable };
    let options = RememberOptions::default().with_generate_embeddings(request.wants_vectors).with_wait(wait);
    let mut made =
        RememberRequest::conversation(request.turns.iter().map(turn).collect()).with_options(options).with_scope(scope);
    made.key.clone_from(&request.key);
    made
}

fn entity(claim: &Claim, now: Timestamp) -> Result<Entity> {
    let mut entity = Entity::new(Uuid::nil(), now, EntityType::Person, claim.name, claim.content)?;
    entity.attribute = claim.attribute.map(str::to_owned);
    entity.event_time = claim.event_time;
    entity.metadata = metadata(&claim.metadata);
    entity.confidence = claim.confidence;
    entity.importance = claim.importance;
    Ok(entity)
}

fn seconds(ttl: Option<u64>) -> Option<TimeToLive> {
    ttl.map(|seconds| TimeToLive::For(Duration::from_secs(seconds)))
}

fn shown(results: &[RememberResult]) -> String {
    let ids: Vec<String> = results.iter().map(|result| format!("{:?}", result.episode_ids)).collect();
    ids.join("; ")
}

/// The episode or version that a step picks, of its tenant whatever the agent and session.
fn picked(model: &Model, step: &Step) -> Uuid {
    let tenant = Who { agent: None, session: None, ..step.who };
    let (ids, pick): (Vec<Uuid>, u64) = match step.action {
        Action::ForgetEpisode { pick } => (model.episodes_of(tenant).iter().map(|episode| episode.id).collect(), pick),
        Action::Update { pick, .. } | Action::ForgetFact { pick, .. } => {
            (model.facts.seen(tenant).iter().map(|(version, _)| version.id).collect(), pick)
        }
        _ => (Vec::new(), 0),
    };
    let unknown = Uuid::from_u128(step.index as u128);
    if ids.is_empty() { unknown } else { ids[(pick % ids.len() as u64) as usize] }
}

/// Does what a step says.
///
/// # Errors
/// What was seen that must not be.
pub(crate) async fn call(
    run: &Run,
    (memory, scope): &(Memory, Scope),
    step: &Step,
) -> std::result::Result<Outcome, Violation> {
    if is_read(&step.action) {
        return Ok(match check::read(run, memory, scope, step).await? {
            Ok(text) => Outcome::Done(text, None),
            Err(error) => Outcome::Failed(error),
        });
    }
    let outcome = write(run, memory, scope, step).await;
    if step.action == Action::Purge && outcome.is_ok() {
        check::no_trace(run)?;
    }
    if let (Action::Backup, Ok((copy, _))) = (&step.action, &outcome) {
        let copy = run.open_at(std::path::Path::new(copy)).await.map_err(|error| format!("no backup: {error:?}"))?;
        let same = check::rows(&copy, &run.model, run.now(), &USERS, None).await;
        copy.close().await.map_err(|error| format!("the backup does not close: {error:?}"))?;
        same.map_err(|why| format!("the backup: {why}"))?;
        return Ok(Outcome::Done(String::new(), None));
    }
    Ok(match outcome {
        Ok((text, warnings)) => Outcome::Done(text, warnings),
        Err(error) => Outcome::Failed(error),
    })
}

async fn write(run: &Run, memory: &Memory, scope: &Scope, step: &Step) -> Result<(String, Option<usize>)> {
    let id = picked(&run.model, step).to_string();
    let own = memory.scoped(scope)?;
    let (core, working) = (own.core(), own.working());
    let text = match &step.action {
        Action::Remember { request, waits } => {
            let result = memory.remember_request(remembering(request, scope.clone(), *waits)).await?;
            let warnings = waits.then_some(result.warnings.len());
            return Ok((shown(&[result]), warnings));
        }
        Action::RememberMany { requests } => {
            let made: Vec<_> =
                requests.iter().map(|request| remembering(request, self::scope(request.who), true)).collect();
            // A handle that is pinned to one tenant cannot name another.
            let results = run_of_tenants(run).remember_many(made, |_| {}).await?;
            let warnings = results.iter().map(|result| result.warnings.len()).sum();
            return Ok((shown(&results), Some(warnings)));
        }
        Action::AddEntity { claim } => {
            let result = memory.add_entity(entity(claim, run.now())?, scope).await?;
            let fact = result.entities.first().map(Fact::from);
            return Ok((format!("{fact:?}"), Some(result.warnings.len())));
        }
        Action::Update { content, metadata, importance, .. } => {
            let change = FactChange {
                content: content.map(str::to_owned),
                metadata: Some(self::metadata(metadata)),
                confidence: None,
                importance: *importance,
            };
            format!("{:?}", Some(Fact::from(&memory.update(&id, change, scope).await?)))
        }
        Action::ForgetEpisode { .. } | Action::ForgetNothing => {
            memory.forget(&id, ForgetReach::Version, scope).await?.to_string()
        }
        Action::ForgetFact { chain, .. } => {
            let reach = if *chain { ForgetReach::Chain } else { ForgetReach::Version };
            memory.forget(&id, reach, scope).await?.to_string()
        }
        Action::ForgetScope => memory.forget_scope(true, scope).await?.to_string(),
        Action::CoreSet { block, content, label, importance } => {
            let block = core.set_block(*block, content, *label, *importance).await?;
            format!("{:?}", Some(check::block_version(&block)))
        }
        Action::CoreRemove { block } => core.remove(*block).await?.to_string(),
        Action::CoreClear => core.clear().await.map(|()| String::new())?,
        Action::CoreRestore { block, version } => {
            let block = core.restore(*block, *version).await?;
            format!("{:?}", Some(check::block_version(&block)))
        }
        Action::WorkingSet { key, value, ttl } => {
            working.set(key, value.clone().into_bytes(), seconds(*ttl)).await.map(|()| String::new())?
        }
        Action::WorkingIncrement { key, by } => working.incr(key, *by).await?.to_string(),
        Action::WorkingAppend { key, value } => working.append(key, value.as_bytes().to_vec()).await?.to_string(),
        Action::WorkingTouch { key, ttl } => working.touch(key, seconds(*ttl)).await?.to_string(),
        Action::WorkingDelete { key } => working.delete(key).await?.to_string(),
        Action::WorkingCleanup => working.cleanup_expired().await?.to_string(),
        Action::WorkingClear => working.clear().await.map(|()| String::new())?,
        Action::Retry => memory.retry_pending().await?.to_string(),
        Action::Flush => memory.flush().await.map(|()| String::new())?,
        Action::Purge => memory.purge().await.map(|()| String::new())?,
        Action::Backup => {
            let copy = run.folder.with_extension(format!("copy{}", step.index));
            memory.backup(&copy).await?;
            copy.display().to_string()
        }
        other => return Err(Error::internal(format!("{other:?} is no call"))),
    };
    Ok((text, None))
}

/// The handle that may name every tenant.
fn run_of_tenants(run: &Run) -> Memory {
    run.memory().unwrap().clone()
}

/// The model after a step, and what its call must give.
pub(crate) fn predict(model: &mut Model, step: &Step, mood: Mood, ids: &[Uuid], now: Timestamp) -> Answer {
    let (who, id) = (step.who, picked(model, step));
    match &step.action {
        Action::Remember { request, .. } => model.remember(std::slice::from_ref(request), ids, mood, now),
        Action::RememberMany { requests } => model.remember(requests, ids, mood, now),
        Action::AddEntity { claim } => {
            let new = ids.first().copied().unwrap_or_default();
            model.add_fact(who, claim, new, mood, now)
        }
        Action::Update { content, metadata, importance, .. } => {
            let new = ids.last().copied().unwrap_or_default();
            let seq = model.next_seq();
            let text = model.facts.update(who, id, *content, metadata, *importance, new, seq, now)?;
            if mood.refuses(&text) {
                model.leave_fact_job(new);
            }
            Ok(text)
        }
        Action::ForgetEpisode { .. } | Action::ForgetNothing => model.forget(who, id, false),
        Action::ForgetFact { chain, .. } => model.forget(who, id, *chain),
        Action::ForgetScope => model.forget_scope(who),
        Action::CoreSet { block, content, label, importance } => {
            model.set_block(who, *block, content, *label, *importance, now)
        }
        Action::CoreRemove { block } => model.remove_block(who, *block, now),
        Action::CoreClear => model.clear_core(who, now),
        Action::CoreRestore { block, version } => model.restore_block(who, *block, *version, now),
        Action::WorkingSet { key, value, ttl } => model.working.set(who, key, value.clone().into_bytes(), *ttl, now),
        Action::WorkingIncrement { key, by } => model.working.increment(who, key, *by, now),
        Action::WorkingAppend { key, value } => model.working.append(who, key, value.as_bytes(), now),
        Action::WorkingTouch { key, ttl } => model.working.touch(who, key, *ttl, now),
        Action::WorkingDelete { key } => model.working.delete(who, key, now),
        Action::WorkingCleanup => model.working.cleanup(who, now),
        Action::WorkingClear => model.working.clear(who),
        Action::Retry => {
            model.run_jobs(mood, now);
            Ok(String::new())
        }
        Action::Purge => {
            model.working.purge(now);
            Ok(String::new())
        }
        _ => Ok(String::new()),
    }
}
