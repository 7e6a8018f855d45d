//! What the store reads, against what the model says.

use std::{collections::BTreeSet, fmt::Debug};

use jiff::{SignedDuration, Timestamp};
use umi_core::{
    Block, BlockType, Episode, Kind, ListOptions, Memory, RecallOptions, RecallResults, Result, Scope, Uuid,
};

use crate::{
    dice::Dice,
    facts::Fact,
    model::{BlockVersion, Lease, Model, Remembered, Waiting},
    plan::{Action, Step, USERS, Who},
    run::{Run, Violation, scope},
};

type Checked<T = ()> = std::result::Result<T, Violation>;

/// The most that a page gives.
const PAGE: usize = 1_000;

#[expect(clippy::needless_pass_by_value, reason = "most of what is compared is made for that")]
fn same<T: PartialEq + Debug>(what: &str, store: T, model: T) -> Checked {
    if store == model {
        return Ok(());
    }
    Err(format!("{what}:\n    the store says {store:?}\n    the model says {model:?}"))
}

/// A read that must work.
fn read_of<T>(what: &str, result: Result<T>) -> Checked<T> {
    result.map_err(|error| format!("{what} failed: {error:?}"))
}

/// An episode as it is compared.
type EpisodeRow = (Uuid, String, String, Option<String>, Timestamp, Timestamp, String, [Option<String>; 3]);

fn episode_row(episode: &Episode) -> EpisodeRow {
    let scope = [episode.user.clone(), episode.agent.clone(), episode.session.clone()];
    let (text, role, metadata) = (episode.text.clone(), episode.role.clone(), episode.metadata.as_str().to_owned());
    (episode.id, text, role, episode.name.clone(), episode.at, episode.recorded_at, metadata, scope)
}

fn remembered_row(row: &Remembered) -> EpisodeRow {
    let own = |name: Option<&str>| name.map(str::to_owned);
    let scope = [own(row.who.user), own(row.who.agent), own(row.who.session)];
    let (text, role, metadata) = (row.text.clone(), row.role.to_owned(), row.metadata.clone());
    (row.id, text, role, own(row.name), row.at, row.recorded_at, metadata, scope)
}

/// A block as it is compared.
pub(crate) fn block_version(block: &Block) -> BlockVersion {
    BlockVersion {
        version: block.version,
        content: Some(block.content.clone()),
        label: block.label.clone(),
        importance: block.importance,
        updated_at: block.updated_at,
    }
}

fn by_id(mut facts: Vec<Fact>) -> Vec<Fact> {
    facts.sort_by_key(|fact| fact.id);
    facts
}

async fn listed(memory: &Memory, options: ListOptions, who: Who) -> Checked<Vec<Fact>> {
    let facts = read_of("list", memory.list(&ListOptions { limit: PAGE, ..options }, &scope(who)).await)?;
    if !facts.is_sorted_by_key(|fact| fact.valid_from) {
        return Err("the list of facts is not in the order of time".to_owned());
    }
    Ok(facts.iter().map(Fact::from).collect())
}

/// Episodes, facts and counts that a scope reads.
async fn read_by(memory: &Memory, model: &Model, now: Timestamp, who: Who) -> Checked {
    let episodes = read_of("episodes", memory.episodes(PAGE, 0, &scope(who)).await)?;
    let expected = model.episodes_of(who);
    let count = expected.len();
    same(
        &format!("episodes of {who:?}"),
        episodes.iter().map(episode_row).collect::<Vec<_>>(),
        expected.into_iter().map(remembered_row).collect(),
    )?;
    let seen = model.facts.seen(who);
    let every = ListOptions { current: false, ..ListOptions::default() };
    let stored = listed(memory, every, who).await?;
    let all = seen.iter().map(|(_, fact)| fact.clone()).collect();
    same(&format!("versions of {who:?}"), by_id(stored), by_id(all))?;
    let current: Vec<Fact> =
        seen.iter().filter(|(version, _)| version.holds(now)).map(|(_, fact)| fact.clone()).collect();
    let stored = read_of("count", memory.count(&scope(who)).await)?;
    same(&format!("count of {who:?}"), stored, (count + current.len()) as u64)?;
    let stored = listed(memory, ListOptions::default(), who).await?;
    same(&format!("current facts of {who:?}"), by_id(stored), by_id(current))
}

/// The rows of some tenants: what can be read of them without jobs. Core and working memory are those of every scope that
/// the model knows, and of the scope of a step that may have been the first to write there.
pub(crate) async fn rows(
    memory: &Memory,
    model: &Model,
    now: Timestamp,
    users: &[Option<&'static str>],
    wrote: Option<Who>,
) -> Checked {
    for &user in users {
        read_by(memory, model, now, Who { user, ..Who::default() }).await?;
    }
    let mut owners: BTreeSet<Who> = model.working.values.keys().map(|(who, _)| *who).collect();
    owners.extend(model.core.keys().map(|((user, agent), _)| Who { user: *user, agent: *agent, session: None }));
    owners.extend(users.iter().map(|&user| Who { user, ..Who::default() }));
    owners.extend(wrote);
    owners.extend(wrote.map(|who| Who { session: None, ..who }));
    for who in owners.into_iter().filter(|who| users.contains(&who.user)) {
        blocks_and_keys(memory, model, now, who).await?;
    }
    Ok(())
}

/// Core and working memory of a scope.
async fn blocks_and_keys(memory: &Memory, model: &Model, now: Timestamp, who: Who) -> Checked {
    let own = read_of("scoped", memory.scoped(&scope(who)))?;
    let rendered = read_of("render", own.core().render().await)?;
    same(&format!("core memory of {who:?}"), rendered.to_string(), model.render_core(who))?;
    for block in BlockType::ALL {
        if model.block_versions(who, block).is_empty() {
            continue;
        }
        let stored = read_of("versions", own.core().versions(block).await)?;
        let expected = model.block_versions(who, block).iter().filter(|version| version.content.is_some());
        same(
            &format!("versions of block {block} of {who:?}"),
            stored.iter().map(block_version).collect::<Vec<_>>(),
            expected.cloned().collect(),
        )?;
    }
    let live = model.working.live(who, now);
    let keys = read_of("keys", own.working().keys().await)?;
    same(&format!("keys of {who:?}"), keys, live.iter().map(|(key, _)| (*key).to_owned()).collect())?;
    let bytes = live.iter().map(|(key, value)| key.len() + value.bytes.len()).sum();
    let usage = read_of("usage", own.working().usage().await)?;
    same(&format!("usage of {who:?}"), usage, (bytes, live.len()))?;
    for (key, value) in live {
        let stored = read_of("get", own.working().get(key).await)?;
        same(&format!("key {key} of {who:?}"), stored.as_deref(), Some(value.bytes.as_slice()))?;
    }
    Ok(())
}

/// The whole store, and some of it through narrower scopes and questions.
pub(crate) async fn everything(run: &mut Run, dice: &mut Dice) -> Checked {
    let now = run.now();
    rows(run.memory()?, &run.model, now, &USERS, None).await?;
    for user in USERS {
        sampled(run, Who { user, ..Who::default() }, dice).await?;
    }
    numbers(run).await?;
    let report = read_of("check", run.memory()?.check().await)?;
    same("problems", report.problems, Vec::new())?;
    run.tally.checks += 1;
    Ok(())
}

/// What is around a step's caller.
pub(crate) async fn around(run: &mut Run, who: Who, dice: &mut Dice) -> Checked {
    let (memory, model, now) = (run.memory()?, &run.model, run.now());
    read_by(memory, model, now, Who { agent: None, session: None, ..who }).await?;
    blocks_and_keys(memory, model, now, who).await?;
    if dice.one_in(2) {
        sampled(run, who, dice).await?;
    }
    run.tally.checks += 1;
    Ok(())
}

/// The numbers of the whole store.
async fn numbers(run: &Run) -> Checked {
    let (memory, model) = (run.memory()?, &run.model);
    let stats = read_of("stats", memory.stats().await)?.ledger;
    let versions = model.facts.versions();
    let chains: BTreeSet<u64> = versions.iter().map(|version| version.slot).collect();
    let waiting: BTreeSet<Uuid> = model.jobs.iter().map(|job| job.owner).collect();
    let sayings = model.facts.count();
    let embedded = model.episodes.iter().filter(|episode| episode.wants_vectors).count() + sayings - waiting.len();
    let blocks = model.core.values().flatten().filter(|version| version.content.is_some()).count();
    same(
        "numbers (episodes, versions, current, sightings, evolutions, vectors, jobs, blocks, keys)",
        [
            stats.episodes,
            stats.versions,
            stats.current_facts,
            stats.sightings,
            stats.evolutions,
            stats.vectors,
            stats.jobs,
            stats.block_versions,
            stats.working_keys,
        ],
        [
            model.episodes.len(),
            versions.len(),
            chains.len(),
            sayings,
            versions.len() - chains.len(),
            embedded,
            model.jobs.len(),
            blocks,
            model.working.values.len(),
        ]
        .map(|count| count as u64),
    )
}

/// Some questions to a tenant, through its whole scope and through a narrower one.
async fn sampled(run: &Run, who: Who, dice: &mut Dice) -> Checked {
    let (memory, model, now) = (run.memory()?, &run.model, run.now());
    let tenant = Who { agent: None, session: None, ..who };
    let narrow = Who { agent: dice.maybe(2, &["scout", "clerk"]), session: dice.maybe(2, &["monday"]), ..who };
    if narrow != tenant && dice.one_in(2) {
        read_by(memory, model, now, narrow).await?;
    }
    for asking in [tenant, narrow] {
        let pending = read_of("pending", memory.pending(&scope(asking)).await)?;
        let owners: Vec<Uuid> = pending.iter().map(|job| job.owner.id).collect();
        same(&format!("pending of {asking:?}"), owners, model.pending(asking))?;
    }
    let seen = model.facts.seen(tenant);
    if !seen.is_empty() {
        let (version, fact) = dice.pick(&seen);
        histories(memory, model, tenant, narrow, version.id).await?;
        let at = version.from + SignedDuration::from_micros(dice.below(3).cast_signed() - 1);
        at_time(memory, model, narrow, at).await?;
        if version.holds(now) && dice.one_in(3) {
            let found = recalled(run, &format!("{} {}", fact.name, fact.content), 100, tenant).await?;
            finds(&found, version.id, &fact.content)?;
        }
        let other = USERS.into_iter().find(|&user| user != who.user);
        let stranger = Who { user: other.flatten(), ..Who::default() };
        let stolen = read_of("get", memory.get(&version.id.to_string(), &scope(stranger)).await)?;
        same("what another tenant gets", stolen.map(|entity| entity.id), None)?;
    }
    let episodes = model.episodes_of(tenant);
    if !episodes.is_empty() {
        let episode = dice.pick(&episodes);
        match dice.below(6) {
            0 | 1 => finds(&recalled(run, &episode.text, 10, tenant).await?, episode.id, &episode.text)?,
            2 => drop(recalled(run, &episode.text, 10, narrow).await?),
            _ => {}
        }
        let note = read_of("get", memory.get(&episode.id.to_string(), &scope(tenant)).await)?;
        same("a note", note.map(|note| note.content), Some(episode.text.clone()))?;
    }
    let forgotten: Vec<Uuid> = model.forgotten.iter().copied().collect();
    if !forgotten.is_empty() {
        let gone = dice.pick(&forgotten);
        for user in USERS {
            let found = memory.get(&gone.to_string(), &scope(Who { user, ..Who::default() })).await;
            same("what was forgotten", read_of("get", found)?.map(|entity| entity.id), None)?;
        }
    }
    Ok(())
}

/// The history and the relations of a version.
async fn histories(memory: &Memory, model: &Model, tenant: Who, narrow: Who, id: Uuid) -> Checked {
    for who in [tenant, narrow] {
        let scope = scope(who);
        let stored = read_of("history", memory.history(&id.to_string(), &scope).await)?;
        let expected = model.facts.history(who, id);
        same(&format!("history for {who:?}"), stored.iter().map(Fact::from).collect(), expected)?;
        let stored = read_of("evolutions", memory.evolutions(&id.to_string(), &scope).await)?;
        let pairs: Vec<_> = stored.iter().map(|one| (one.source_id.clone(), one.target_id.clone())).collect();
        let expected = model.facts.relations(who, id);
        let expected = expected.iter().map(|(older, newer)| (older.to_string(), newer.to_string())).collect();
        same(&format!("relations for {who:?}"), pairs, expected)?;
    }
    Ok(())
}

/// What was true at a time.
async fn at_time(memory: &Memory, model: &Model, who: Who, at: Timestamp) -> Checked {
    let stored = listed(memory, ListOptions { as_of: Some(at), ..ListOptions::default() }, who).await?;
    let expected = model.facts.seen(who).into_iter().filter(|(version, _)| version.holds(at));
    same(&format!("facts of {who:?} as of {at}"), by_id(stored), by_id(expected.map(|(_, fact)| fact).collect()))
}

async fn recalled(run: &Run, text: &str, limit: usize, who: Who) -> Checked<RecallResults> {
    let options = RecallOptions::default().with_limit(limit).map_err(|error| format!("{error:?}"))?;
    let found = read_of("recall", run.memory()?.recall_with(text, &options, &scope(who)).await)?;
    admitted(&run.model, run.now(), who, None, &found)?;
    Ok(found)
}

fn finds(found: &RecallResults, id: Uuid, text: &str) -> Checked {
    if found.iter().any(|hit| hit.entity.id == id) {
        return Ok(());
    }
    let ids: Vec<Uuid> = found.iter().map(|hit| hit.entity.id).collect();
    Err(format!("a recall of `{text}` does not find {id} but {ids:?}"))
}

/// That a recall gives what is there and what its scope reads, as it is, each once.
fn admitted(model: &Model, now: Timestamp, who: Who, as_of: Option<Timestamp>, found: &RecallResults) -> Checked {
    let facts = model.facts.seen(who);
    let mut seen = BTreeSet::new();
    for hit in found {
        let id = hit.entity.id;
        if !seen.insert(id) || !(0.0..=1.0).contains(&hit.score) {
            return Err(format!("a hit twice, or of a score out of range: {hit:?}"));
        }
        if hit.kind == Kind::Fact {
            let own = facts.iter().find(|(version, _)| version.id == id && version.holds(as_of.unwrap_or(now)));
            same("a fact of a recall", Some(Fact::from(&hit.entity)), own.map(|(_, fact)| fact.clone()))?;
        } else {
            let own = model.episodes_of(who).into_iter().find(|episode| episode.id == id);
            let own = own.filter(|episode| as_of.is_none_or(|as_of| episode.at <= as_of));
            same("an episode of a recall", Some(&hit.entity.content), own.map(|episode| &episode.text))?;
        }
    }
    Ok(())
}

/// A step that reads. Its result is right, or it is an error.
pub(crate) async fn read(run: &Run, memory: &Memory, scope: &Scope, step: &Step) -> Checked<Result<String>> {
    let (model, now) = (&run.model, run.now());
    let tenant = Who { agent: None, session: None, ..step.who };
    let query = |pick: u64| {
        let texts: Vec<&str> = model.episodes_of(tenant).iter().map(|episode| episode.text.as_str()).collect();
        if texts.is_empty() { "harbour".to_owned() } else { texts[(pick % texts.len() as u64) as usize].to_owned() }
    };
    let shown = |found: &RecallResults| {
        let hits: Vec<_> = found.iter().map(|hit| (hit.entity.id, hit.score)).collect();
        format!("{hits:?} {}", found.warnings.len())
    };
    let options = RecallOptions::default();
    match step.action {
        Action::Recall { pick } => {
            let found = memory.recall_with(&query(pick), &options, scope).await;
            let Ok(found) = found else { return Ok(found.map(|_| String::new())) };
            admitted(model, now, step.who, None, &found)?;
            Ok(Ok(shown(&found)))
        }
        Action::AsOf { at } => {
            let found = memory.recall_with("works at Initech in Lisbon", &options.with_as_of(at), scope).await;
            let Ok(found) = found else { return Ok(found.map(|_| String::new())) };
            admitted(model, now, step.who, Some(at), &found)?;
            Ok(Ok(shown(&found)))
        }
        Action::Context { pick } => {
            let query = (pick % 2 == 0).then(|| query(pick));
            let rendered = memory.context_with(query.as_deref(), 500, None, scope).await;
            let Ok(rendered) = rendered else { return Ok(rendered) };
            let core = model.render_core(step.who);
            if !rendered.starts_with(&format!("<memory>\n{core}\n")) {
                return Err(format!("a context begins with another core memory than `{core}`: {rendered}"));
            }
            if let Some(word) = model.forgotten_words.iter().find(|word| rendered.contains(word.as_str())) {
                return Err(format!("a context says the forgotten `{word}`: {rendered}"));
            }
            Ok(Ok(rendered))
        }
        _ => Err(format!("{:?} reads nothing", step.action)),
    }
}

// ---- what only the store can tell -------------------------------------------------------------------------------

/// Takes over which jobs are left, where that may be either way.
pub(crate) async fn adopt_jobs(
    run: &mut Run,
    may_lack: &dyn Fn(Uuid) -> bool,
    may_have: &dyn Fn(Uuid) -> bool,
    lease: Lease,
) -> Checked {
    let mut stored = Vec::new();
    for user in USERS {
        let who = Who { user, ..Who::default() };
        let pending = read_of("pending", run.memory()?.pending(&scope(who)).await)?;
        stored.extend(pending.into_iter().map(|job| job.owner.id));
    }
    let model = &mut run.model;
    let is_there = |owner: &Uuid| stored.contains(owner);
    let lost = model.jobs.iter().find(|job| !is_there(&job.owner) && job.lease == Lease::Free && !may_lack(job.owner));
    if let Some(lost) = lost {
        return Err(format!("a job is lost: {lost:?}"));
    }
    model.jobs.retain(|job| is_there(&job.owner));
    let mut has_adopted = false;
    for &owner in &stored {
        if model.jobs.iter().any(|job| job.owner == owner) {
            continue;
        }
        if !may_have(owner) {
            return Err(format!("a job of {owner} that nothing left"));
        }
        model.adopt_job(owner, lease);
        has_adopted = true;
    }
    if !has_adopted {
        return Ok(());
    }
    // Jobs are listed in the order of their making, which what was taken over has to keep.
    let place = |job: &Waiting| stored.iter().position(|owner| *owner == job.owner);
    model.jobs.sort_by_key(place);
    Ok(())
}

/// Takes over which expired keys a purge that did not end has removed: a clock that is set back shows them.
pub(crate) async fn adopt_expired(run: &mut Run) -> Checked {
    let now = run.now();
    let expired: Vec<_> = run
        .model
        .working
        .values
        .iter()
        .filter(|(_, value)| value.ends <= now)
        .map(|(own, value)| (*own, value.ends))
        .collect();
    for ((who, key), ends) in expired {
        run.clock.set(ends - SignedDuration::from_micros(1));
        let own = read_of("scoped", run.memory()?.scoped(&scope(who)))?;
        let found = read_of("get", own.working().get(key).await)?;
        if found.is_none() {
            run.model.working.values.remove(&(who, key));
        }
    }
    run.clock.set(now);
    Ok(())
}

/// That no file of a purged store holds a forgotten word.
pub(crate) fn no_trace(run: &Run) -> Checked {
    for entry in std::fs::read_dir(&run.folder).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        let bytes = std::fs::read(&path).map_err(|error| error.to_string())?;
        if let Some(word) = run.model.forgotten_words.iter().find(|word| holds(&bytes, word)) {
            return Err(format!("`{word}` is left in {:?} of a purged store", path.file_name()));
        }
    }
    Ok(())
}

fn holds(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}
