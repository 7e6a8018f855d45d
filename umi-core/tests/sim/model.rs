//! What a store must hold, in maps and lists: no index, no SQL, and its own computation of everything.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use umi_core::{BlockType, ErrorKind, Uuid};

use crate::{
    facts::Facts,
    plan::{Claim, Mood, Request, Who},
    working::Working,
};

/// What a call gives: its value as text, or the kind of its error.
pub(crate) type Answer = Result<String, ErrorKind>;

/// A field list as the JSON text that it is stored as.
pub(crate) fn json(fields: &[(&'static str, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// Whether a row is read by a caller.
pub(crate) fn admits(caller: Who, row: Who) -> bool {
    caller.user == row.user
        && (caller.agent.is_none() || caller.agent == row.agent)
        && (caller.session.is_none() || caller.session == row.session)
}

/// A deliberate mistake, to show that the checks see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lie {
    #[default]
    None,
    /// What is forgotten stays.
    KeepsForgotten,
    /// A row that was remembered is not there.
    LosesEpisode,
    /// A late fact goes to the end of its chain.
    IgnoresEventTime,
    /// A fact is read by every tenant.
    MixesTenants,
    /// Keys live for ever.
    NeverExpires,
    /// A failed embedding leaves no job.
    DropsJobs,
}

/// A text that was remembered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Remembered {
    pub(crate) id: Uuid,
    pub(crate) seq: u64,
    pub(crate) who: Who,
    pub(crate) text: String,
    pub(crate) role: &'static str,
    pub(crate) name: Option<&'static str>,
    pub(crate) at: Timestamp,
    pub(crate) recorded_at: Timestamp,
    pub(crate) metadata: String,
    pub(crate) key: Option<(String, usize)>,
    pub(crate) wants_vectors: bool,
}

/// Until when nobody but its holder may do a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lease {
    Free,
    /// It was held when the power went, or may have been.
    AtMostUntil(Timestamp),
}

/// Work that waits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) owner: Uuid,
    pub(crate) who: Who,
    pub(crate) text: String,
    pub(crate) lease: Lease,
}

/// A version of a core block; a removal has no content.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BlockVersion {
    pub(crate) version: u64,
    pub(crate) content: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) importance: f64,
    pub(crate) updated_at: Timestamp,
}

type CoreOwner = (Option<&'static str>, Option<&'static str>);

/// What a store must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) lie: Lie,
    pub(crate) episodes: Vec<Remembered>,
    pub(crate) facts: Facts,
    pub(crate) jobs: Vec<Waiting>,
    pub(crate) core: BTreeMap<(CoreOwner, BlockType), Vec<BlockVersion>>,
    pub(crate) working: Working,
    /// Ids that were rows once.
    pub(crate) forgotten: BTreeSet<Uuid>,
    /// Words of forgotten texts that nothing else says.
    pub(crate) forgotten_words: BTreeSet<String>,
    seq: u64,
}

impl Model {
    pub(crate) fn new(lie: Lie) -> Self {
        Self { lie, ..Self::default() }
    }

    pub(crate) fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    // ---- episodes -------------------------------------------------------------------------------------------

    /// Remembers requests in one transaction. `ids` are those of their turns, should they be new.
    pub(crate) fn remember(&mut self, requests: &[Request], ids: &[Uuid], mood: Mood, now: Timestamp) -> Answer {
        let mut ids = ids.iter().copied();
        let mut answers = Vec::new();
        for request in requests {
            let mut given = Vec::new();
            for (turn, said) in request.turns.iter().enumerate() {
                let id = ids.next().unwrap_or(Uuid::nil());
                let key = request.key.clone().map(|key| (key, turn));
                let known = self
                    .episodes
                    .iter()
                    .find(|episode| key.is_some() && episode.key == key && episode.who.user == request.who.user);
                if let Some(known) = known {
                    if known.text != said.text {
                        return Err(ErrorKind::InvalidInput);
                    }
                    given.push(known.id);
                    continue;
                }
                given.push(id);
                let seq = self.next_seq();
                self.episodes.push(Remembered {
                    id,
                    seq,
                    who: request.who,
                    text: said.text.clone(),
                    role: said.role.unwrap_or("user"),
                    name: said.name,
                    at: said.at.unwrap_or(now),
                    recorded_at: now,
                    metadata: json(&said.metadata),
                    key,
                    wants_vectors: request.wants_vectors,
                });
                if request.wants_vectors && mood.refuses(&said.text) {
                    self.leave_job(id, request.who, &said.text);
                }
            }
            answers.push(format!("{given:?}"));
        }
        if self.lie == Lie::LosesEpisode && self.episodes.len() % 5 == 4 {
            self.episodes.pop();
        }
        Ok(answers.join("; "))
    }

    /// What a scope reads, in the order of time.
    pub(crate) fn episodes_of(&self, who: Who) -> Vec<&Remembered> {
        let mut found: Vec<_> =
            self.episodes.iter().filter(|episode| admits(who, episode.who) || self.lie == Lie::MixesTenants).collect();
        found.sort_by_key(|episode| (episode.at, episode.seq));
        found
    }

    fn drop_episode(&mut self, id: Uuid) {
        if let Some(place) = self.episodes.iter().position(|episode| episode.id == id) {
            let gone = self.episodes.remove(place);
            self.forgotten.insert(id);
            let words = gone.text.split_whitespace().filter(|word| word.starts_with("note"));
            self.forgotten_words.extend(words.map(str::to_owned));
            self.jobs.retain(|job| job.owner != id);
        }
    }

    // ---- facts ----------------------------------------------------------------------------------------------

    /// Records a fact, and gives what is read of it.
    pub(crate) fn add_fact(&mut self, who: Who, claim: &Claim, id: Uuid, mood: Mood, now: Timestamp) -> Answer {
        let seq = self.next_seq();
        let text = self.facts.add(who, claim, id, seq, now)?;
        if mood.refuses(claim.content) {
            self.leave_fact_job(id);
        }
        Ok(text)
    }

    /// Leaves a job to embed a saying.
    pub(crate) fn leave_fact_job(&mut self, id: Uuid) {
        if let Some(who) = self.facts.saying(id).map(|saying| saying.who) {
            self.leave_job(id, who, "");
        }
    }

    // ---- forgetting -----------------------------------------------------------------------------------------

    pub(crate) fn forget(&mut self, who: Who, id: Uuid, chain: bool) -> Answer {
        if self.lie == Lie::KeepsForgotten {
            return Ok(true.to_string());
        }
        if self.episodes.iter().any(|episode| episode.id == id && admits(who, episode.who)) {
            self.drop_episode(id);
            return Ok(true.to_string());
        }
        let Some(sayings) = self.facts.reach(who, id, chain) else { return Ok(false.to_string()) };
        self.drop_sayings(&sayings);
        Ok(true.to_string())
    }

    fn drop_sayings(&mut self, sayings: &[Uuid]) -> usize {
        let (removed, gone) = self.facts.remove(sayings);
        self.jobs.retain(|job| !sayings.contains(&job.owner));
        self.forgotten.extend(gone);
        self.facts.forgive(&mut self.forgotten);
        removed
    }

    pub(crate) fn forget_scope(&mut self, who: Who) -> Answer {
        let mut removed = self.drop_sayings(&self.facts.said_by(who));
        let episodes: Vec<Uuid> = self.episodes_of(who).iter().map(|episode| episode.id).collect();
        removed += episodes.len();
        for id in episodes {
            self.drop_episode(id);
        }
        self.working.forget(who);
        if who.session.is_none() {
            self.core
                .retain(|((user, agent), _), _| *user != who.user || !(who.agent.is_none() || *agent == who.agent));
        }
        Ok(removed.to_string())
    }

    // ---- jobs -----------------------------------------------------------------------------------------------

    pub(crate) fn leave_job(&mut self, owner: Uuid, who: Who, text: &str) {
        if self.lie != Lie::DropsJobs {
            self.jobs.push(Waiting { owner, who, text: text.to_owned(), lease: Lease::Free });
        }
    }

    /// Runs what is free. Gives how many were finished: at least, and at most.
    pub(crate) fn run_jobs(&mut self, mood: Mood, now: Timestamp) -> (usize, usize) {
        self.run_some_jobs(mood, now, |_| true)
    }

    /// As [`Model::run_jobs`], of some owners alone.
    pub(crate) fn run_some_jobs(
        &mut self,
        mood: Mood,
        now: Timestamp,
        is_run: impl Fn(Uuid) -> bool,
    ) -> (usize, usize) {
        let (mut least, mut most) = (0, 0);
        self.jobs.retain(|job| {
            if !is_run(job.owner) || mood.refuses(&job.text) {
                return true;
            }
            most += 1;
            let is_free = match job.lease {
                Lease::Free => true,
                Lease::AtMostUntil(end) => end <= now,
            };
            least += usize::from(is_free);
            !is_free
        });
        (least, most)
    }

    /// What was held when the power went is held until its minute is over.
    pub(crate) fn hold_jobs(&mut self, now: Timestamp, may_be_held: impl Fn(Uuid) -> bool) {
        for job in self.jobs.iter_mut().filter(|job| may_be_held(job.owner)) {
            let end = now + SignedDuration::from_mins(1);
            job.lease = match job.lease {
                Lease::Free => Lease::AtMostUntil(end),
                Lease::AtMostUntil(earlier) => Lease::AtMostUntil(earlier.max(end)),
            };
        }
    }

    /// Takes over a job that a step left before it failed.
    pub(crate) fn adopt_job(&mut self, owner: Uuid, lease: Lease) {
        let episode = self.episodes.iter().find(|episode| episode.id == owner);
        let row = episode.map(|episode| (episode.who, episode.text.clone()));
        let row = row.or(self.facts.saying(owner).map(|saying| (saying.who, String::new())));
        if let Some((who, text)) = row {
            self.jobs.push(Waiting { owner, who, text, lease });
        }
    }

    /// What waits in a tenant, as owners.
    pub(crate) fn pending(&self, who: Who) -> Vec<Uuid> {
        self.jobs.iter().filter(|job| admits(who, job.who)).map(|job| job.owner).collect()
    }

    // ---- core memory ----------------------------------------------------------------------------------------

    fn versions_mut(&mut self, who: Who, block: BlockType) -> &mut Vec<BlockVersion> {
        self.core.entry(((who.user, who.agent), block)).or_default()
    }

    pub(crate) fn block_versions(&self, who: Who, block: BlockType) -> &[BlockVersion] {
        self.core.get(&((who.user, who.agent), block)).map_or(&[], Vec::as_slice)
    }

    /// The block that holds.
    pub(crate) fn block(&self, who: Who, block: BlockType) -> Option<&BlockVersion> {
        self.block_versions(who, block).last().filter(|version| version.content.is_some())
    }

    pub(crate) fn set_block(
        &mut self,
        who: Who,
        block: BlockType,
        content: &str,
        label: Option<&str>,
        importance: Option<f64>,
        now: Timestamp,
    ) -> Answer {
        let old = self.block(who, block).cloned();
        let label = match label {
            Some(label) => (!label.is_empty()).then(|| label.to_owned()),
            None => old.as_ref().and_then(|old| old.label.clone()),
        };
        let importance = importance.or(old.map(|old| old.importance)).unwrap_or(0.5);
        let versions = self.versions_mut(who, block);
        let version = versions.last().map_or(0, |last| last.version) + 1;
        versions.push(BlockVersion { version, content: Some(content.to_owned()), label, importance, updated_at: now });
        Ok(format!("{:?}", versions.last()))
    }

    pub(crate) fn remove_block(&mut self, who: Who, block: BlockType, now: Timestamp) -> Answer {
        let Some(old) = self.block(who, block).cloned() else { return Ok(false.to_string()) };
        let version = old.version + 1;
        let removal = BlockVersion { version, content: None, label: None, updated_at: now, ..old };
        self.versions_mut(who, block).push(removal);
        Ok(true.to_string())
    }

    pub(crate) fn clear_core(&mut self, who: Who, now: Timestamp) -> Answer {
        for block in BlockType::ALL {
            self.remove_block(who, block, now)?;
        }
        Ok(String::new())
    }

    pub(crate) fn restore_block(&mut self, who: Who, block: BlockType, version: u64, now: Timestamp) -> Answer {
        let old = self.block_versions(who, block).iter().find(|old| old.version == version).cloned();
        let Some(BlockVersion { content: Some(content), label, importance, .. }) = old else {
            return Err(ErrorKind::NotFound);
        };
        self.set_block(who, block, &content, Some(&label.unwrap_or_default()), Some(importance), now)
    }

    /// The prompt's core memory.
    pub(crate) fn render_core(&self, who: Who) -> String {
        let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let mut lines = vec!["<core_memory>".to_owned()];
        for block in BlockType::ALL {
            let Some(version) = self.block(who, block) else { continue };
            let label = version.label.as_deref().map(|label| escape(label).replace('"', "&quot;"));
            let label = label.map_or(String::new(), |label| format!(" label=\"{label}\""));
            lines.push(format!("<block type=\"{block}\"{label} importance=\"{:.2}\">", version.importance));
            lines.push(escape(version.content.as_deref().unwrap_or_default()));
            lines.push("</block>".to_owned());
        }
        lines.push("</core_memory>".to_owned());
        lines.join("\n")
    }
}
