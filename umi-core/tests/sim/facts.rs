//! The model's facts: every saying is kept, and what is true when is computed from all of them each time.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use umi_core::{Entity, ErrorKind, Uuid};

use crate::{
    model::{Answer, admits, json},
    plan::{Claim, Who},
};

/// One saying of a fact.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Saying {
    pub(crate) id: Uuid,
    pub(crate) seq: u64,
    /// Which history it is part of.
    slot: u64,
    pub(crate) who: Who,
    name: &'static str,
    attribute: Option<&'static str>,
    content: &'static str,
    metadata: Vec<(&'static str, String)>,
    confidence: f64,
    importance: f64,
    event_time: Option<Timestamp>,
    valid_from: Timestamp,
    recorded_at: Timestamp,
    /// An update, which is a version of its own.
    is_update: bool,
}

/// A stretch of time in which one thing was true.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Version {
    pub(crate) id: Uuid,
    pub(crate) slot: u64,
    pub(crate) from: Timestamp,
    pub(crate) to: Option<Timestamp>,
    /// In the order of time.
    sayings: Vec<Saying>,
}

/// A version as it is read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fact {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    attribute: Option<String>,
    pub(crate) content: String,
    metadata: String,
    confidence: f64,
    importance: f64,
    event_time: Option<Timestamp>,
    pub(crate) valid_from: Timestamp,
    valid_to: Option<Timestamp>,
    last_seen: Timestamp,
    recorded_at: Timestamp,
    who: [Option<String>; 3],
}

impl From<&Entity> for Fact {
    fn from(entity: &Entity) -> Self {
        Self {
            id: entity.id,
            name: entity.name.clone(),
            attribute: entity.attribute.clone(),
            content: entity.content.clone(),
            metadata: entity.metadata.as_str().to_owned(),
            confidence: entity.confidence,
            importance: entity.importance,
            event_time: entity.event_time,
            valid_from: entity.valid_from,
            valid_to: entity.valid_to,
            last_seen: entity.last_seen,
            recorded_at: entity.recorded_at,
            who: [entity.user.clone(), entity.agent.clone(), entity.session.clone()],
        }
    }
}

fn folded(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Fields with those of a later object over them.
fn united(older: &[(&'static str, String)], newer: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
    let mut fields = older.to_vec();
    for (key, value) in newer {
        match fields.iter_mut().find(|(known, _)| known == key) {
            Some(field) => field.1.clone_from(value),
            None => fields.push((key, value.clone())),
        }
    }
    fields
}

/// Sayings of one content as one, in the order of time; none of none.
fn merged(sayings: &[&Saying]) -> Option<Saying> {
    let (first, later) = sayings.split_first()?;
    let mut whole = (*first).clone();
    for saying in later {
        whole.metadata = united(&whole.metadata, &saying.metadata);
        whole.recorded_at = whole.recorded_at.min(saying.recorded_at);
        if !first.is_update {
            whole.confidence = whole.confidence.max(saying.confidence);
            whole.importance = whole.importance.max(saying.importance);
        }
    }
    Some(whole)
}

impl Version {
    /// Whether it is true at a time.
    pub(crate) fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && self.to.is_none_or(|to| at < to)
    }

    fn admitted(&self, who: Who) -> Vec<&Saying> {
        self.sayings.iter().filter(|saying| admits(who, saying.who)).collect()
    }

    /// As a scope reads it: what others said in it does not show.
    pub(crate) fn seen(&self, who: Who) -> Option<Fact> {
        let admitted = self.admitted(who);
        let last_seen = admitted.last()?.valid_from;
        let whole = merged(&admitted)?;
        let own = |name: Option<&str>| name.map(str::to_owned);
        Some(Fact {
            id: self.id,
            name: whole.name.to_owned(),
            attribute: whole.attribute.map(str::to_owned),
            content: whole.content.to_owned(),
            metadata: json(&whole.metadata),
            confidence: whole.confidence,
            importance: whole.importance,
            event_time: whole.event_time,
            valid_from: self.from,
            valid_to: self.to,
            last_seen,
            recorded_at: whole.recorded_at,
            who: [own(whole.who.user), own(whole.who.agent), own(whole.who.session)],
        })
    }
}

/// Everything that was said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    pub(crate) ignores_event_time: bool,
    sayings: Vec<Saying>,
    slots: u64,
}

impl Facts {
    /// The versions of a slot, oldest first: runs of one content in the sayings sorted by time.
    fn chain(&self, slot: u64) -> Vec<Version> {
        let mut said: Vec<&Saying> = self.sayings.iter().filter(|saying| saying.slot == slot).collect();
        said.sort_by_key(|saying| (saying.valid_from, saying.seq));
        if self.ignores_event_time {
            said.sort_by_key(|saying| saying.seq);
        }
        let mut versions: Vec<Version> = Vec::new();
        for saying in said {
            if let Some(version) = versions.last_mut() {
                let begins = &version.sayings[0];
                // A plan that is older than an update never becomes part of it.
                let is_plan = begins.is_update && saying.seq < begins.seq;
                if begins.content == saying.content && !saying.is_update && !is_plan {
                    version.sayings.push(saying.clone());
                    continue;
                }
                version.to = Some(saying.valid_from);
            }
            let (id, from) = (saying.id, saying.valid_from);
            versions.push(Version { id, slot, from, to: None, sayings: vec![saying.clone()] });
        }
        for version in &mut versions {
            // It keeps the id of what was recorded first.
            version.id = version.sayings.iter().min_by_key(|saying| saying.seq).map_or(version.id, |saying| saying.id);
        }
        versions
    }

    fn slots(&self) -> BTreeSet<u64> {
        self.sayings.iter().map(|saying| saying.slot).collect()
    }

    /// Every version, oldest slot first.
    pub(crate) fn versions(&self) -> Vec<Version> {
        self.slots().into_iter().flat_map(|slot| self.chain(slot)).collect()
    }

    /// What a scope reads, whenever it was true.
    pub(crate) fn seen(&self, who: Who) -> Vec<(Version, Fact)> {
        self.versions().into_iter().filter_map(|version| version.seen(who).map(|fact| (version, fact))).collect()
    }

    /// The versions of the slot of an id that a scope reads, oldest first.
    pub(crate) fn history(&self, who: Who, id: Uuid) -> Vec<Fact> {
        let Some(version) = self.version(who, id) else { return Vec::new() };
        self.chain(version.slot).iter().filter_map(|version| version.seen(who)).collect()
    }

    /// The neighbours of a version in its chain, where both are read: (older, newer).
    pub(crate) fn relations(&self, who: Who, id: Uuid) -> Vec<(Uuid, Uuid)> {
        let Some(version) = self.version(who, id) else { return Vec::new() };
        let chain = self.chain(version.slot);
        let pairs = chain.windows(2).filter(|pair| pair.iter().all(|one| one.seen(who).is_some()));
        let pairs = pairs.map(|pair| (pair[0].id, pair[1].id));
        pairs.filter(|pair| pair.0 == version.id || pair.1 == version.id).collect()
    }

    /// The version that an id or a saying's id names.
    pub(crate) fn version(&self, who: Who, id: Uuid) -> Option<Version> {
        let said = |version: &Version| version.sayings.iter().any(|saying| saying.id == id);
        self.versions().into_iter().find(|version| said(version) && version.seen(who).is_some())
    }

    fn is_subject(version: &Version, who: Who, name: &str, attribute: Option<&str>) -> bool {
        let own = &version.sayings[0];
        own.who.user == who.user
            && folded(own.name) == folded(name)
            && own.attribute.map(folded) == attribute.map(folded)
    }

    /// The slot of a claim: its attribute's, or without one that of the same content at that time.
    fn slot(&mut self, who: Who, claim: &Claim, time: Timestamp) -> u64 {
        let versions = self.versions();
        let fits = |version: &&Version| Self::is_subject(version, who, claim.name, claim.attribute);
        let found = if claim.attribute.is_some() {
            versions.iter().find(fits).map(|version| version.slot)
        } else {
            let is_first = |version: &Version| self.chain(version.slot)[0].id == version.id;
            versions
                .iter()
                .filter(fits)
                .filter(|version| version.sayings[0].content == claim.content)
                .filter(|version| version.to.is_none_or(|to| time < to) && (version.from <= time || is_first(version)))
                .min_by_key(|version| (version.from > time, version.slot))
                .map(|version| version.slot)
        };
        found.unwrap_or_else(|| {
            self.slots += 1;
            self.slots
        })
    }

    /// Records a claim, and gives what is read of it.
    pub(crate) fn add(&mut self, who: Who, claim: &Claim, id: Uuid, seq: u64, now: Timestamp) -> Answer {
        let valid_from = claim.event_time.unwrap_or(now);
        let slot = self.slot(who, claim, valid_from);
        self.sayings.push(Saying {
            id,
            seq,
            slot,
            who,
            name: claim.name,
            attribute: claim.attribute,
            content: claim.content,
            metadata: claim.metadata.clone(),
            confidence: claim.confidence,
            importance: claim.importance,
            event_time: claim.event_time,
            valid_from,
            recorded_at: now,
            is_update: false,
        });
        Ok(format!("{:?}", self.version(who, id).and_then(|version| version.seen(who))))
    }

    /// The version of a slot that a scope goes out from: the last one that has begun, else the first that is planned.
    fn current(&self, who: Who, slot: u64, now: Timestamp) -> Option<Version> {
        let seen: Vec<Version> = self.chain(slot).into_iter().filter(|version| version.seen(who).is_some()).collect();
        let begun = seen.iter().rev().find(|version| version.from <= now);
        begun.or(seen.first()).cloned()
    }

    /// Records an update, and gives what is read of it.
    #[expect(clippy::too_many_arguments, reason = "one call's parts")]
    pub(crate) fn update(
        &mut self,
        who: Who,
        id: Uuid,
        content: Option<&'static str>,
        metadata: &[(&'static str, String)],
        importance: Option<f64>,
        new: Uuid,
        seq: u64,
        now: Timestamp,
    ) -> Answer {
        let slot = self.version(who, id).ok_or(ErrorKind::NotFound)?.slot;
        let tenant = Who { agent: None, session: None, ..who };
        let base = self.current(who, slot, now).ok_or(ErrorKind::NotFound)?;
        let held = self.current(tenant, slot, now).ok_or(ErrorKind::NotFound)?;
        if base.id != held.id && content.is_none() {
            return Err(ErrorKind::InvalidInput);
        }
        let old = merged(&base.admitted(who)).ok_or(ErrorKind::NotFound)?;
        self.sayings.push(Saying {
            id: new,
            seq,
            who: Who { user: who.user, agent: who.agent.or(old.who.agent), session: who.session.or(old.who.session) },
            content: content.unwrap_or(old.content),
            metadata: united(&old.metadata, metadata),
            importance: importance.unwrap_or(old.importance),
            event_time: None,
            valid_from: now.max(held.from),
            recorded_at: now,
            is_update: true,
            ..old
        });
        Ok(format!("{:?}", self.version(who, new).and_then(|version| version.seen(who))))
    }

    /// The sayings that forgetting an id removes; none where the scope does not read it.
    pub(crate) fn reach(&self, who: Who, id: Uuid, chain: bool) -> Option<Vec<Uuid>> {
        let version = self.version(who, id)?;
        let versions = if chain { self.chain(version.slot) } else { vec![version] };
        Some(versions.iter().flat_map(|version| version.sayings.iter().map(|saying| saying.id)).collect())
    }

    /// What a scope said.
    pub(crate) fn said_by(&self, who: Who) -> Vec<Uuid> {
        self.sayings.iter().filter(|saying| admits(who, saying.who)).map(|saying| saying.id).collect()
    }

    /// How many sayings there are.
    pub(crate) fn count(&self) -> usize {
        self.sayings.len()
    }

    /// A saying.
    pub(crate) fn saying(&self, id: Uuid) -> Option<&Saying> {
        self.sayings.iter().find(|saying| saying.id == id)
    }

    /// Removes sayings. Gives how many versions are gone by that, and which ids name nothing any more.
    pub(crate) fn remove(&mut self, gone: &[Uuid]) -> (usize, Vec<Uuid>) {
        let slots: BTreeSet<u64> =
            self.sayings.iter().filter(|saying| gone.contains(&saying.id)).map(|saying| saying.slot).collect();
        let ids = |facts: &Self, slot: u64| -> BTreeSet<Uuid> {
            facts.chain(slot).iter().map(|version| version.id).collect()
        };
        let before: BTreeMap<u64, BTreeSet<Uuid>> = slots.iter().map(|&slot| (slot, ids(self, slot))).collect();
        self.sayings.retain(|saying| !gone.contains(&saying.id));
        let removed = before.iter().map(|(&slot, old)| old.difference(&ids(self, slot)).count()).sum();
        for &slot in &slots {
            self.join_repeats(slot);
        }
        (removed, gone.to_vec())
    }

    /// Ids that are sayings again are not forgotten.
    pub(crate) fn forgive(&self, forgotten: &mut BTreeSet<Uuid>) {
        forgotten.retain(|&id| self.saying(id).is_none());
    }

    /// What repeats the last version of a slot without attribute is part of it once nothing stands between.
    fn join_repeats(&mut self, slot: u64) {
        loop {
            let Some(last) = self.chain(slot).pop() else { return };
            let own = &last.sayings[0];
            if own.attribute.is_some() {
                return;
            }
            let repeat = self
                .slots()
                .into_iter()
                .filter(|&other| other != slot)
                .filter_map(|other| self.chain(other).into_iter().next())
                .filter(|first| Self::is_subject(first, own.who, own.name, None))
                .filter(|first| first.sayings[0].content == own.content && first.from >= last.from)
                .min_by_key(|first| (first.from, first.slot));
            let Some(repeat) = repeat else { return };
            for saying in self.sayings.iter_mut().filter(|saying| saying.slot == repeat.slot) {
                saying.slot = slot;
            }
        }
    }
}
