//! What can still be read of a damaged store, found page by page, without SQLite and without a change to its files.
//!
//! One pass notes where every row is, the next ones give the rows in the order in which they were written. In memory are
//! places, never texts: some tens of bytes a row.

mod pages;
mod values;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
    sync::atomic::AtomicBool,
};

use jiff::Timestamp;
use uuid::Uuid;

use self::{
    pages::{Pages, Place, Record, Seen, Value},
    values::Fields,
};
use super::{
    blobs::Blobs,
    errors,
    lock::WriterLock,
    migrations,
    open::{self, DATABASE, HEADER_BYTES},
};
use crate::{
    core_memory::BlockType,
    embed::EmbeddingSpace,
    entity::{Entity, EntityType, EvolutionType},
    episode::{Episode, Kind},
    error::Result,
    ledger::{Attachment, Blob, SavedItem},
    scope::Scope,
};

/// The most rows of one batch, and about the most bytes of their texts.
const BATCH_ROWS: usize = 256;
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// The most damaged pages that are named.
const PAGES_NAMED: usize = 8;

/// An episode as it was stored.
#[derive(Debug)]
pub(crate) struct SavedEpisode {
    pub(crate) episode: Episode,
    pub(crate) key: Option<(String, u32)>,
    pub(crate) vectors: SavedVectors,
    /// Whether its facts are still to be found, and if so, whether also how they relate to stored ones.
    pub(crate) extract: Option<bool>,
    pub(crate) attachment: Option<Attachment>,
}

/// A saying of a fact as it was stored.
#[derive(Clone, Debug)]
pub(crate) struct SavedFact {
    pub(crate) entity: Entity,
    /// The key of its chain in the damaged store.
    pub(crate) slot: i64,
    pub(crate) starts_version: bool,
}

/// How two sayings relate, as a model decided.
#[derive(Clone, Debug)]
pub(crate) struct SavedDecision {
    pub(crate) id: Uuid,
    /// The saying that was new, and the other one.
    pub(crate) sayings: [Uuid; 2],
    pub(crate) evolution_type: EvolutionType,
    pub(crate) reason: String,
    pub(crate) confidence: f64,
    pub(crate) created_at: Timestamp,
}

/// The vectors of an owner that can still be read.
#[derive(Debug)]
pub(crate) struct SavedVectors {
    /// Whether it is to have any.
    pub(crate) wanted: bool,
    pub(crate) by_ordinal: BTreeMap<u32, Vec<u8>>,
}

/// A version of a core block; one without content is a removal.
#[derive(Clone, Debug)]
pub(crate) struct SavedBlock {
    pub(crate) user: String,
    pub(crate) agent: String,
    pub(crate) block_type: BlockType,
    pub(crate) version: i64,
    pub(crate) label: Option<String>,
    pub(crate) content: Option<String>,
    pub(crate) importance: f64,
    pub(crate) updated_at: i64,
}

/// A working key.
#[derive(Clone, Debug)]
pub(crate) struct SavedKey {
    pub(crate) scope: [String; 3],
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) ttl: Option<i64>,
    pub(crate) expires_at: Option<i64>,
}

/// A row with a place in the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    seq: i64,
    key: i64,
    place: Place,
}

/// A piece of a text: only whose it is and which.
#[derive(Clone, Copy, Debug)]
struct FoundPiece {
    piece: i64,
    ordinal: u32,
    embeds: bool,
}

/// What a damaged store still holds.
#[derive(Debug)]
pub(crate) struct Salvage {
    pages: Pages,
    episodes: Vec<Found>,
    sightings: Vec<Found>,
    blocks: Vec<Found>,
    decisions: Vec<Found>,
    /// The keys of decisions that relations name.
    decided: HashSet<i64>,
    /// Those of decisions about what a forgotten episode said, which older copies of their pages still hold.
    forgotten_decisions: HashSet<i64>,
    working: Vec<Place>,
    /// The items of saved contexts by the keys of their contexts, each with its place in it and its own key.
    items: BTreeMap<i64, Vec<(i64, i64, Place)>>,
    /// When contexts were saved, by their keys.
    saved_at: HashMap<i64, Timestamp>,
    /// The attachments of episodes.
    attachments: HashMap<i64, Place>,
    blobs: Blobs,
    /// The episodes whose facts are still to be found, each with whether to decide how they relate to stored ones.
    to_extract: HashMap<i64, bool>,
    slots: HashMap<i64, Place>,
    versions: HashMap<i64, Place>,
    pieces: BTreeMap<(Kind, i64), Vec<FoundPiece>>,
    vectors: HashMap<i64, Place>,
    /// Every space, and whether it is the active one.
    spaces: BTreeMap<i64, (EmbeddingSpace, bool)>,
    deleted: HashSet<Uuid>,
    /// What the header says, a line each.
    header: Vec<String>,
    damaged_pages: Vec<u32>,
    stray_pages: Vec<u32>,
    unreadable_rows: u64,
    /// Sayings whose type stood only in rows that are lost.
    typeless: u64,
    /// Held until its files are closed: a process that writes would change the pages that are being read.
    _lock: Option<WriterLock>,
}

impl Salvage {
    /// Looks through the store in `folder`. Blocks.
    ///
    /// # Errors
    /// `StoreIo` when its files cannot be read at all; `StoreVersion` for another program's file or a newer version;
    /// `StoreLocked` while another process writes to it.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let database = folder.join(DATABASE);
        let wal = database.with_extension("db-wal");
        open::check_regular(&database)?;
        open::check_regular(&wal)?;
        let unreadable = |error| errors::from_io(error, "read", &database);
        // Without the lock's files nobody writes.
        let lock = WriterLock::existing(folder, super::LOCK_DEADLINE)?;
        if let Some(lock) = &lock {
            std::mem::forget(lock.acquire(&AtomicBool::new(false))?);
        }
        let pages = Pages::open(&database, &wal).map_err(unreadable)?;
        let mut salvage = Self {
            pages,
            episodes: Vec::new(),
            sightings: Vec::new(),
            blocks: Vec::new(),
            decisions: Vec::new(),
            decided: HashSet::new(),
            forgotten_decisions: HashSet::new(),
            working: Vec::new(),
            items: BTreeMap::new(),
            saved_at: HashMap::new(),
            attachments: HashMap::new(),
            blobs: Blobs::of_folder(folder),
            to_extract: HashMap::new(),
            slots: HashMap::new(),
            versions: HashMap::new(),
            pieces: BTreeMap::new(),
            vectors: HashMap::new(),
            spaces: BTreeMap::new(),
            deleted: HashSet::new(),
            header: Vec::new(),
            damaged_pages: Vec::new(),
            stray_pages: Vec::new(),
            unreadable_rows: 0,
            typeless: 0,
            _lock: lock,
        };
        salvage.scan();
        salvage.read_header(&database)?;
        Ok(salvage)
    }

    /// Refuses what is no damaged store, and notes what is wrong with the header of one.
    fn read_header(&mut self, database: &Path) -> Result<()> {
        let length = self.pages.length();
        let Some(header) = self.pages.header() else {
            self.header.push(if length < HEADER_BYTES as u64 {
                format!("it has only {}", errors::count(length, "byte", "bytes"))
            } else {
                "it does not begin as a SQLite file does".to_owned()
            });
            return Ok(());
        };
        let (application, version) = open::written_by(&header);
        let has_rows = !(self.episodes.is_empty()
            && self.sightings.is_empty()
            && self.blocks.is_empty()
            && self.working.is_empty()
            && self.items.is_empty());
        if application != migrations::APPLICATION_ID && has_rows {
            self.header.push("its header names another program".to_owned());
        } else {
            open::check_version(application, version, database)?;
        }
        self.header.extend(open::damage_of_header(&header));
        let expected = open::expected_bytes(&header);
        // A log may hold the pages that the file lacks, but not where there is none.
        if length == 0 || (length < expected && !self.pages.is_counted_by_log()) {
            self.header.push(format!("it has {length} of {expected} bytes"));
        }
        Ok(())
    }

    fn scan(&mut self) {
        let mut bare = Vec::new();
        // Spaces first: only the vectors of the active one are of use.
        for wants_spaces in [true, false] {
            for page in 1..=self.pages.count() {
                match self.pages.look(page) {
                    Seen::Cells(cells) => {
                        let is_whole = wants_spaces || self.pages.is_filled(page);
                        if !is_whole {
                            self.damaged_pages.push(page);
                        }
                        for cell in 0..cells {
                            let place = Place { page, cell };
                            match self.pages.record(place) {
                                Some(record) if wants_spaces => self.note_space(&record),
                                Some(record) => self.note(place, &record),
                                None if wants_spaces || !is_whole => {}
                                None => self.unreadable_rows += 1,
                            }
                        }
                    }
                    Seen::Damaged if !wants_spaces => self.damaged_pages.push(page),
                    Seen::Named { is_zero } if !wants_spaces => bare.push((page, is_zero)),
                    Seen::Damaged | Seen::Inner | Seen::Named { .. } => {}
                }
            }
        }
        let named = self.pages.named();
        for (page, is_zero) in bare {
            if !named.contains(&page) {
                if is_zero { &mut self.damaged_pages } else { &mut self.stray_pages }.push(page);
            }
        }
        self.damaged_pages.sort_unstable();
        for found in [&mut self.episodes, &mut self.sightings, &mut self.blocks, &mut self.decisions] {
            found.sort_unstable();
            // A row that a split page and its old copy both hold.
            let mut seen = HashSet::with_capacity(found.len());
            found.retain(|row| seen.insert(row.key));
        }
        for items in self.items.values_mut() {
            items.sort_unstable();
            items.dedup_by_key(|(_, key, _)| *key);
        }
        for pieces in self.pieces.values_mut() {
            pieces.sort_unstable_by_key(|piece| piece.ordinal);
        }
    }

    fn note_space(&mut self, record: &Record) {
        if record.is_indexed {
            return;
        }
        if let [Value::Null, Value::Text(model), Value::Integer(dimensions), Value::Text(digest), Value::Text(state)] =
            &record.values[..]
            && let Ok(dimensions) = usize::try_from(*dimensions)
        {
            let space = EmbeddingSpace::new(model.clone(), dimensions, digest.clone());
            self.spaces.insert(record.key, (space, state == "active"));
        }
    }

    /// Tells by its columns which table a row is of: no two tables have the same number and types of them.
    fn note(&mut self, place: Place, record: &Record) {
        use Value::{Blob, Integer, Null, Text};
        let found = |seq: i64| Found { seq, key: record.key, place };
        match (record.is_indexed, &record.values[..]) {
            (false, [Null, Text(_), Integer(seq), ..]) if values::episode(record).is_some() => {
                self.episodes.push(found(*seq));
            }
            (false, [Null, Text(_), Integer(seq), ..]) if values::sighting(record).is_some() => {
                self.sightings.push(found(*seq));
            }
            (false, [Null, Text(_), Integer(seq), ..]) if values::decision(record).is_some() => {
                self.decisions.push(found(*seq));
            }
            (false, [Null, Text(_), Integer(_), .., Integer(decision)]) if values::is_evolution(record) => {
                self.decided.insert(*decision);
            }
            (false, [Null, Text(_), Text(kind), _, _, _, Integer(episode), ..]) if kind == "extract" => {
                self.to_extract.insert(*episode, values::evolves(record));
            }
            (false, [Null, Integer(seq), ..]) if values::block(record).is_some() => self.blocks.push(found(*seq)),
            (false, [Null, Integer(_), Text(_), ..]) if let Some(row) = values::item(record) => {
                self.items.entry(row.context).or_default().push((row.place, record.key, place));
            }
            (false, [Null, Integer(episode), Text(_), ..]) if values::attachment(record).is_some() => {
                self.attachments.insert(*episode, place);
            }
            (false, [Null, Text(_), Integer(_), ..]) if record.values.len() == values::VERSION_COLUMNS => {
                self.versions.insert(record.key, place);
            }
            (false, [Null, Text(_), Text(_), Text(_), Text(_) | Null]) => {
                self.slots.insert(record.key, place);
            }
            (false, [Null, Text(_), Text(_), Text(_), Integer(saved_at)]) => {
                let Ok(saved_at) = Timestamp::from_microsecond(*saved_at) else { return };
                // Of an old copy of the page and the new one, the earlier time lets more files be read again.
                let known = self.saved_at.entry(record.key).or_insert(saved_at);
                *known = saved_at.min(*known);
            }
            (false, [Null, episode, sighting, Integer(ordinal), Blob(_), Integer(embeds)]) => {
                let owner = match (episode, sighting) {
                    (Integer(episode), Null) => (Kind::Episode, *episode),
                    (Null, Integer(sighting)) => (Kind::Fact, *sighting),
                    _ => return,
                };
                let Ok(ordinal) = u32::try_from(*ordinal) else { return };
                let piece = FoundPiece { piece: record.key, ordinal, embeds: *embeds != 0 };
                self.pieces.entry(owner).or_default().push(piece);
            }
            (true, [Integer(space), Integer(piece), Blob(_)])
                if self.spaces.get(space).is_some_and(|(_, is_active)| *is_active) =>
            {
                self.vectors.insert(*piece, place);
            }
            (true, [Text(_), Text(_), Text(_), Text(_), Blob(_), _, _]) if values::key(record).is_some() => {
                self.working.push(place);
            }
            (true, [Text(id), Text(_), Text(_), Text(_), Text(_), Integer(_)]) => {
                self.deleted.extend(Uuid::try_parse(id));
            }
            _ if values::is_of_no_table(record) => self.unreadable_rows += 1,
            _ => {}
        }
    }

    /// The space whose vectors the store holds.
    pub(crate) fn space(&self) -> Option<&EmbeddingSpace> {
        self.spaces.values().find(|(_, is_active)| *is_active).map(|(space, _)| space)
    }

    /// Episodes from the `from`th on, oldest first, and where to go on; empty behind the last one.
    pub(crate) fn episodes(&mut self, from: usize) -> (Vec<SavedEpisode>, usize) {
        let (mut saved, mut next, mut bytes) = (Vec::new(), from, 0);
        while let Some(&found) = self.episodes.get(next)
            && saved.len() < BATCH_ROWS
            && bytes < BATCH_BYTES
        {
            next += 1;
            let Some((episode, key)) = self.pages.record(found.place).as_ref().and_then(values::episode) else {
                continue;
            };
            if self.deleted.contains(&episode.id) {
                continue;
            }
            bytes += episode.text.len();
            let vectors = self.vectors_of(Kind::Episode, found.key);
            let extract = self.to_extract.get(&found.key).copied();
            let attachment = self.attachments.get(&found.key).copied();
            let attachment =
                attachment.and_then(|place| self.pages.record(place)).as_ref().and_then(values::attachment);
            let attachment = attachment.map(|(_, attachment)| attachment);
            saved.push(SavedEpisode { episode, key, vectors, extract, attachment });
        }
        (saved, next)
    }

    /// Sayings of facts, as [`Salvage::episodes`], each with its vectors.
    pub(crate) fn facts(&mut self, from: usize) -> (Vec<(SavedFact, SavedVectors)>, usize) {
        let (mut saved, mut next, mut bytes) = (Vec::new(), from, 0);
        while let Some(&found) = self.sightings.get(next)
            && saved.len() < BATCH_ROWS
            && bytes < BATCH_BYTES
        {
            next += 1;
            let Some(row) = self.pages.record(found.place).as_ref().and_then(values::sighting) else { continue };
            // What a forgotten episode said went with it; an older copy of its page may still be there.
            if row.entity.episode_id.is_some_and(|episode| self.deleted.contains(&episode)) {
                continue;
            }
            let Some(entity_type) = self.type_of(row.slot, row.version) else {
                self.typeless += 1;
                continue;
            };
            bytes += row.entity.content.len();
            let entity = Entity { entity_type, ..row.entity };
            let fact = SavedFact { entity, slot: row.slot, starts_version: row.starts_version };
            saved.push((fact, self.vectors_of(Kind::Fact, found.key)));
        }
        (saved, next)
    }

    /// Every decision whose sayings are still there, in the order in which they were made.
    pub(crate) fn decisions(&mut self) -> Vec<SavedDecision> {
        let places: HashMap<i64, Place> = self.sightings.iter().map(|found| (found.key, found.place)).collect();
        let mut saved = Vec::with_capacity(self.decisions.len());
        for found in self.decisions.clone() {
            let Some(row) = self.pages.record(found.place).as_ref().and_then(values::decision) else { continue };
            let mut said = |key: i64| {
                let record = self.pages.record(*places.get(&key)?)?;
                values::sighting(&record).map(|saying| saying.entity)
            };
            let sayings = row.sayings.map(&mut said);
            let episodes = sayings.iter().flatten().filter_map(|saying| saying.episode_id);
            if episodes.into_iter().any(|episode| self.deleted.contains(&episode)) {
                self.forgotten_decisions.insert(found.key);
            } else if let [Some(new), Some(other)] = sayings {
                saved.push(SavedDecision { sayings: [new.id, other.id], ..row.saved });
            }
        }
        saved
    }

    /// How many decisions there were: those that were found, whether their sayings are there or not, and those that only
    /// a relation still names. To be asked when all were read.
    pub(crate) fn known_decisions(&self) -> u64 {
        let found: HashSet<i64> = self.decisions.iter().map(|found| found.key).collect();
        found.union(&self.decided).filter(|key| !self.forgotten_decisions.contains(key)).count() as u64
    }

    /// The type of a fact, from its slot or, where that is lost, from its version.
    fn type_of(&mut self, slot: i64, version: Option<i64>) -> Option<EntityType> {
        let of_slot = self.slots.get(&slot).map(|&place| (place, 2));
        let of_version = version.and_then(|version| self.versions.get(&version)).map(|&place| (place, 8));
        [of_slot, of_version].into_iter().flatten().find_map(|(place, column)| {
            let record = self.pages.record(place)?;
            Fields(&record.values).text(column)?.parse().ok()
        })
    }

    fn vectors_of(&mut self, kind: Kind, owner: i64) -> SavedVectors {
        let pieces = self.pieces.get(&(kind, owner)).cloned().unwrap_or_default();
        let wanted = pieces.first().is_none_or(|piece| piece.embeds);
        let mut by_ordinal = BTreeMap::new();
        for piece in pieces {
            let Some(&place) = self.vectors.get(&piece.piece) else { continue };
            let Some(record) = self.pages.record(place) else { continue };
            if let [_, Value::Integer(key), Value::Blob(vector)] = &record.values[..]
                && *key == piece.piece
            {
                by_ordinal.insert(piece.ordinal, vector.clone());
            }
        }
        SavedVectors { wanted, by_ordinal }
    }

    /// Every version of core blocks, oldest first.
    pub(crate) fn blocks(&mut self) -> Vec<SavedBlock> {
        let places: Vec<Place> = self.blocks.iter().map(|found| found.place).collect();
        places.into_iter().filter_map(|place| values::block(&self.pages.record(place)?)).collect()
    }

    /// Working keys from the `from`th on, as [`Salvage::episodes`].
    pub(crate) fn working(&mut self, from: usize) -> (Vec<SavedKey>, usize) {
        let places: Vec<Place> = self.working.iter().skip(from).take(BATCH_ROWS).copied().collect();
        let next = from + places.len();
        (places.into_iter().filter_map(|place| values::key(&self.pages.record(place)?)).collect(), next)
    }

    /// The next saved context behind `after`, by the contexts' keys: its key, its scope, when it was saved, where that is
    /// not lost, and its items. None behind the last one.
    pub(crate) fn context(&mut self, after: Option<i64>) -> Option<(i64, Scope, Option<Timestamp>, Vec<SavedItem>)> {
        let mut next = after.map_or(i64::MIN, |after| after.saturating_add(1));
        loop {
            let (&context, places) = self.items.range(next..).next()?;
            let places: Vec<Place> = places.iter().map(|(.., place)| *place).collect();
            let mut scope = None;
            let mut items: Vec<SavedItem> = Vec::with_capacity(places.len());
            for place in places {
                let Some(row) = self.pages.record(place).as_ref().and_then(values::item) else { continue };
                // Of another context, where an old copy of a page was found: its key was given twice.
                if *scope.get_or_insert_with(|| row.scope.clone()) == row.scope
                    && items.iter().all(|item| item.ref_id != row.item.ref_id)
                {
                    items.push(row.item);
                }
            }
            if let Some(scope) = scope {
                return Some((context, scope, self.saved_at.get(&context).copied(), items));
            }
            next = context.saturating_add(1);
        }
    }

    /// The content of a blob; none where it is lost.
    pub(crate) fn blob(&self, blob: &Blob) -> Option<Vec<u8>> {
        self.blobs.read(blob).ok().flatten()
    }

    /// How many rows of a kind are known to be lost: those whose terms are there, and they are not; and sayings without a
    /// type. To be asked when all were read.
    pub(crate) fn lost(&self, kind: Kind) -> u64 {
        let found = if kind == Kind::Episode { &self.episodes } else { &self.sightings };
        let keys: HashSet<i64> = found.iter().map(|row| row.key).collect();
        let missing = self.pieces.keys().filter(|(of, key)| *of == kind && !keys.contains(key)).count() as u64;
        missing + if kind == Kind::Fact { self.typeless } else { 0 }
    }

    /// What is damaged or lost, a line each. To be asked when all were read.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = self.header.clone();
        let pages = [
            (&self.damaged_pages, "damaged page", "damaged pages"),
            (&self.stray_pages, "page that nothing names", "pages that nothing names"),
        ];
        for (pages, one, many) in pages {
            if pages.is_empty() {
                continue;
            }
            let named: Vec<String> = pages.iter().take(PAGES_NAMED).map(u32::to_string).collect();
            let more = if pages.len() > PAGES_NAMED { ", …" } else { "" };
            problems.push(format!("{}: {}{more}", errors::count(pages.len() as u64, one, many), named.join(", ")));
        }
        if self.unreadable_rows > 0 {
            let rows = errors::count(self.unreadable_rows, "row of another page", "rows of other pages");
            problems.push(format!("{rows} cannot be read"));
        }
        if self.pages.is_log_damaged() {
            problems.push("the write-ahead log is damaged: some of its pages may be of an older state".to_owned());
        }
        let kinds = [
            (Kind::Episode, "episode is", "episodes are"),
            (Kind::Fact, "saying of a fact is", "sayings of facts are"),
        ];
        for (kind, one, many) in kinds {
            let lost = self.lost(kind);
            if lost > 0 {
                problems.push(format!("{} known to be lost", errors::count(lost, one, many)));
            }
        }
        problems
    }
}
