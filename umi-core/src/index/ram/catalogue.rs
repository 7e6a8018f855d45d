//! What is known of a tenant's items beside their words and vectors: ids, times, origins, sessions, features.

use std::collections::HashMap;

use uuid::Uuid;

use super::footprint::{ALLOCATION, of_map, of_vec};
use crate::{
    entity::EntityType,
    episode::Kind,
    error::{Error, Result},
    index::{
        SearchQuery, ValidAt,
        analysis::{self, Lexical},
        ranking,
    },
    ledger::IndexRow,
};

/// Bits of [`Features::flags`] behind those of the analysis.
pub(super) const IS_EPISODE: u8 = 8;
pub(super) const BY_USER: u8 = 16;
pub(super) const BY_ASSISTANT: u8 = 32;
pub(super) const HAS_VECTOR: u8 = 64;
pub(super) const IN_SESSION: u8 = 128;

/// What filters and hits need of an item.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) id: Uuid,
    /// `at` or `valid_from`, in microseconds since 1970.
    pub(super) from: i64,
    /// `valid_to`, or the end of time.
    to: i64,
    /// The first origin; further ones are in [`Catalogue::more_origins`].
    agent: u32,
    pub(super) session: u32,
    pub(super) kind: Kind,
    entity_type: EntityType,
    is_live: bool,
    pub(super) importance: f32,
}

/// What every ranking reads of every item, packed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    /// See [`ranking::standing_prior`].
    pub(super) prior: f32,
    /// See [`ranking::lending`].
    pub(super) lends: f32,
    /// The speaker, 0 for none.
    pub(super) speaker: u32,
    /// The role, 0 for a fact.
    pub(super) role: u16,
    pub(super) flags: u8,
}

/// Numbers for names; 0 stands for none. Used for look-ups only, never in its own order.
#[derive(Debug, Default)]
struct Interner {
    numbers: HashMap<Box<str>, u32>,
    bytes: usize,
}

impl Interner {
    fn number(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.numbers.len() as u32 + 1;
        self.bytes += name.len();
        self.numbers.insert(name.into(), number);
        number
    }

    fn get(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    fn heap_bytes(&self) -> usize {
        self.bytes + self.numbers.len() * ALLOCATION + of_map::<Box<str>, u32>(self.numbers.capacity())
    }
}

/// The items of one tenant. A removed item leaves a dead slot until [`Catalogue::retain`].
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    pub(super) items: Vec<Item>,
    pub(super) features: Vec<Features>,
    by_id: HashMap<Uuid, u32>,
    /// Whether `by_id` is left out: a scan seldom asks for an id.
    is_scan: bool,
    more_origins: HashMap<u32, Vec<(u32, u32)>>,
    /// The episodes of each session in the order of (`at`, id), which is that of their making; dead ones too.
    pub(super) sessions: Vec<Vec<(i64, u32)>>,
    session_members: usize,
    agents: Interner,
    session_names: Interner,
    roles: Interner,
    speakers: Interner,
    longest_name: usize,
    facts: usize,
    without_vector: usize,
    dead: usize,
}

impl Catalogue {
    /// An empty one for about so many rows, of which hardly any will be removed.
    pub(super) fn for_scan(rows: usize) -> Self {
        Self { items: Vec::with_capacity(rows), features: Vec::with_capacity(rows), is_scan: true, ..Self::default() }
    }

    /// The number of live items.
    pub(super) fn len(&self) -> usize {
        self.items.len() - self.dead
    }

    /// The number of dead slots.
    pub(super) fn dead(&self) -> usize {
        self.dead
    }

    /// Whether every live item has a vector.
    pub(super) fn has_all_vectors(&self) -> bool {
        self.without_vector == 0
    }

    /// Whether a slot holds a live item.
    pub(super) fn is_live(&self, slot: u32) -> bool {
        self.items[slot as usize].is_live
    }

    /// Adds a row whose id is not there yet.
    ///
    /// # Errors
    /// `Internal` when there are more rows than slots can be numbered.
    pub(super) fn insert(&mut self, row: &IndexRow, lexical: Lexical<'_>, has_vector: bool) -> Result<u32> {
        let slot =
            u32::try_from(self.items.len()).map_err(|error| Error::internal("too many rows").with_source(error))?;
        let is_episode = row.kind == Kind::Episode;
        let mut origins = row.origins.iter().map(|(agent, session)| {
            (
                self.agents.number(agent.as_deref().unwrap_or("")),
                self.session_names.number(session.as_deref().unwrap_or("")),
            )
        });
        let (agent, session) = origins.next().unwrap_or((0, 0));
        let more: Vec<(u32, u32)> = origins.collect();
        if !more.is_empty() {
            self.more_origins.insert(slot, more);
        }
        let (mut speaker, mut role) = (0, 0);
        let mut flags = lexical.flags & (analysis::IS_ASKING | analysis::FIRST_PERSON | analysis::TEMPORAL);
        flags |= if has_vector { HAS_VECTOR } else { 0 };
        if is_episode {
            let key = row.name.as_deref().map(analysis::name_key).unwrap_or_default();
            self.longest_name = self.longest_name.max(key.split(' ').count());
            speaker = self.speakers.number(&key);
            role = u16::try_from(self.roles.number(&row.role)).unwrap_or(u16::MAX);
            flags |= IS_EPISODE;
            flags |= if session == 0 { 0 } else { IN_SESSION };
            flags |= if row.role == "user" { BY_USER } else { 0 };
            flags |= if row.role == "assistant" { BY_ASSISTANT } else { 0 };
        } else {
            self.facts += 1;
        }
        self.without_vector += usize::from(!has_vector);
        let from = row.from.as_microsecond();
        self.items.push(Item {
            id: row.id,
            from,
            to: row.to.map_or(i64::MAX, jiff::Timestamp::as_microsecond),
            agent,
            session,
            kind: row.kind,
            entity_type: row.entity_type,
            is_live: true,
            importance: row.importance as f32,
        });
        self.features.push(Features {
            prior: ranking::standing_prior(row.importance, lexical.question_share, lexical.token_total),
            lends: ranking::lending(lexical.token_total),
            speaker,
            role,
            flags,
        });
        if !self.is_scan {
            self.by_id.insert(row.id, slot);
        }
        if is_episode && session != 0 {
            let index = session as usize;
            if self.sessions.len() <= index {
                self.sessions.resize_with(index + 1, Vec::new);
            }
            let items = &self.items;
            let place = (from, row.id);
            let is_before = |&(at, slot): &(i64, u32)| (at, items[slot as usize].id) < place;
            let members = &mut self.sessions[index];
            // Nearly all arrive in order.
            let at =
                if members.last().is_none_or(is_before) { members.len() } else { members.partition_point(is_before) };
            members.insert(at, (from, slot));
            self.session_members += 1;
        }
        Ok(slot)
    }

    /// The slot of a row, if it is there.
    pub(super) fn slot(&self, id: Uuid) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// Whether an item is what the ledger says of it, beside its words and its vector.
    pub(super) fn holds(&self, slot: u32, row: &IndexRow, lexical: Lexical<'_>, has_vector: bool) -> bool {
        let (item, features) = (&self.items[slot as usize], self.features[slot as usize]);
        let number = |names: &Interner, name: Option<&str>| match name.unwrap_or("") {
            "" => Some(0),
            name => names.get(name),
        };
        let origins: Option<Vec<(u32, u32)>> = row
            .origins
            .iter()
            .map(|(agent, session)| {
                Some((number(&self.agents, agent.as_deref())?, number(&self.session_names, session.as_deref())?))
            })
            .collect();
        let own = std::iter::once((item.agent, item.session))
            .chain(self.more_origins.get(&slot).into_iter().flatten().copied());
        let is_episode = row.kind == Kind::Episode;
        let speaker = row.name.as_deref().filter(|_| is_episode).map(analysis::name_key);
        let role = Some(row.role.as_str()).filter(|_| is_episode);
        origins.is_some_and(|origins| own.eq(origins))
            && item.is_live
            && (item.kind, item.entity_type) == (row.kind, row.entity_type)
            && item.from == row.from.as_microsecond()
            && item.to == row.to.map_or(i64::MAX, jiff::Timestamp::as_microsecond)
            && item.importance.to_bits() == (row.importance as f32).to_bits()
            && number(&self.speakers, speaker.as_deref()) == Some(features.speaker)
            && number(&self.roles, role).map(|role| u16::try_from(role).unwrap_or(u16::MAX)) == Some(features.role)
            && (features.flags & IS_EPISODE != 0) == is_episode
            && (features.flags & HAS_VECTOR != 0) == has_vector
            && features.prior.to_bits()
                == ranking::standing_prior(row.importance, lexical.question_share, lexical.token_total).to_bits()
            && features.lends.to_bits() == ranking::lending(lexical.token_total).to_bits()
    }

    /// The ids of live items.
    pub(super) fn ids(&self) -> impl Iterator<Item = Uuid> {
        self.items.iter().filter(|item| item.is_live).map(|item| item.id)
    }

    /// Removes a row, if it is there, and gives its slot.
    pub(super) fn remove(&mut self, id: Uuid) -> Option<u32> {
        let slot = if self.is_scan {
            self.items.iter().position(|item| item.is_live && item.id == id)? as u32
        } else {
            self.by_id.remove(&id)?
        };
        let item = &mut self.items[slot as usize];
        item.is_live = false;
        self.dead += 1;
        self.without_vector -= usize::from(self.features[slot as usize].flags & HAS_VECTOR == 0);
        self.more_origins.remove(&slot);
        if item.kind == Kind::Fact {
            self.facts -= 1;
        }
        Some(slot)
    }

    /// Drops dead slots. `kept` gives each old slot its new one, or none.
    pub(super) fn retain(&mut self, kept: &[Option<u32>]) {
        let mut slots = kept.iter();
        self.items.retain(|_| slots.next().is_some_and(Option::is_some));
        let mut slots = kept.iter();
        self.features.retain(|_| slots.next().is_some_and(Option::is_some));
        let moved = |slot: u32| kept[slot as usize];
        self.more_origins = std::mem::take(&mut self.more_origins)
            .into_iter()
            .filter_map(|(slot, more)| Some((moved(slot)?, more)))
            .collect();
        for members in &mut self.sessions {
            members.retain_mut(|(_, slot)| moved(*slot).map(|new| *slot = new).is_some());
        }
        self.session_members = self.sessions.iter().map(Vec::len).sum();
        self.by_id = self.items.iter().zip(0..).map(|(item, slot)| (item.id, slot)).collect();
        self.dead = 0;
    }

    /// Gives back the memory that growing took too much.
    pub(super) fn shrink(&mut self) {
        self.items.shrink_to_fit();
        self.features.shrink_to_fit();
        self.by_id.shrink_to_fit();
        self.sessions.shrink_to_fit();
        self.sessions.iter_mut().for_each(Vec::shrink_to_fit);
    }

    /// Bytes of memory, by the capacity of what is allocated.
    pub(super) fn heap_bytes(&self) -> usize {
        of_vec(&self.items)
            + of_vec(&self.features)
            + of_map::<Uuid, u32>(self.by_id.capacity())
            + of_map::<u32, Vec<(u32, u32)>>(self.more_origins.capacity())
            + self.more_origins.len() * (ALLOCATION + 2 * size_of::<(u32, u32)>())
            + of_vec(&self.sessions)
            + self.sessions.len() * ALLOCATION
            // members double when they grow
            + self.session_members * size_of::<(i64, u32)>() * 3 / 2
            + [&self.agents, &self.session_names, &self.roles, &self.speakers].map(Interner::heap_bytes).iter().sum::<usize>()
    }

    /// The slots that a question may find, ascending.
    pub(super) fn admitted(&self, query: &SearchQuery, out: &mut Vec<u32>) {
        out.clear();
        let all = 0..self.items.len() as u32;
        let narrowed = |name: Option<&str>, names: &Interner| match name {
            None => Ok(None),
            Some(name) => names.get(name).map(Some).ok_or(()),
        };
        let (Ok(agent), Ok(session)) =
            (narrowed(query.scope.agent(), &self.agents), narrowed(query.scope.session(), &self.session_names))
        else {
            return;
        };
        let reads_all = agent.is_none()
            && session.is_none()
            && self.dead == 0
            && self.facts == 0
            && query.kinds.contains(&Kind::Episode)
            && query.entity_types.is_none()
            && query.time_range.is_none()
            && !matches!(query.valid_at, ValidAt::AsOf(_));
        if reads_all {
            out.extend(all);
            return;
        }
        let origin_admits = |(row_agent, row_session): (u32, u32)| {
            agent.is_none_or(|agent| agent == row_agent) && session.is_none_or(|session| session == row_session)
        };
        out.extend(all.filter(|&slot| {
            let item = &self.items[slot as usize];
            item.is_live
                && query.kinds.contains(&item.kind)
                && query.entity_types.as_ref().is_none_or(|types| types.contains(&item.entity_type))
                && item.holds(query)
                && (origin_admits((item.agent, item.session))
                    || self.more_origins.get(&slot).is_some_and(|more| more.iter().copied().any(origin_admits)))
        }));
    }

    /// The one speaker among the admitted items that the question's words name; none when it names several.
    pub(super) fn named_speaker(&self, words: &[String], admitted: &[u32]) -> Option<u32> {
        let mut named = Vec::new();
        // A question names its speaker early; a whole text as a question is looked through only so far.
        let words = &words[..words.len().min(512)];
        let longest = self.longest_name.min(8);
        for start in 0..words.len() {
            let mut key = String::new();
            for word in words[start..].iter().take(longest) {
                if !key.is_empty() {
                    key.push(' ');
                }
                key.push_str(word);
                named.extend(self.speakers.get(&key).filter(|speaker| !named.contains(speaker)));
            }
        }
        let is_there = |speaker: &u32| admitted.iter().any(|&slot| self.features[slot as usize].speaker == *speaker);
        if named.len() > 1 {
            named.retain(is_there);
        }
        if let [speaker] = named[..] { Some(speaker) } else { None }
    }
}

impl Item {
    /// Whether the item is valid when the question asks for.
    fn holds(&self, query: &SearchQuery) -> bool {
        let is_fact = self.kind == Kind::Fact;
        let in_time = match query.valid_at {
            ValidAt::Now(at) if is_fact => self.is_valid_at(at.as_microsecond()),
            ValidAt::AsOf(at) if is_fact => self.is_valid_at(at.as_microsecond()),
            ValidAt::Until(at) if is_fact => self.from <= at.as_microsecond(),
            ValidAt::AsOf(at) => self.from <= at.as_microsecond(),
            ValidAt::Now(_) | ValidAt::Until(_) | ValidAt::Any => true,
        };
        let in_range = query.time_range.is_none_or(|(start, end)| {
            let (start, end) = (start.as_microsecond(), end.as_microsecond());
            self.from <= end && if is_fact { start < self.to } else { start <= self.from }
        });
        in_time && in_range
    }

    fn is_valid_at(&self, at: i64) -> bool {
        self.from <= at && at < self.to
    }
}
