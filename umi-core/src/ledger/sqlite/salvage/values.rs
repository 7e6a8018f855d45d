//! Rows of the tables from the values of records, each checked as strictly as when it was written.

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    SavedBlock, SavedDecision, SavedKey,
    pages::{Record, Value},
};
use crate::{
    entity::{Entity, EntityType, check_unit},
    episode::Episode,
    ledger::{Attachment, Blob, FileContent, FileStamp, SavedItem, SavedSource},
    metadata::Metadata,
    scope::{Scope, restored},
};

/// The columns of `versions`.
pub(super) const VERSION_COLUMNS: usize = 26;

/// The numbers of columns that rows have which are not saved, or are told apart by more than that.
const OTHER_COLUMNS: [usize; 8] = [3, 5, 6, 10, 11, 13, 14, VERSION_COLUMNS];
/// The columns of a working key, which no index has.
const KEY_COLUMNS: usize = 7;

/// Whether a row that is none of those to save was one of them, or is like no row of the engine.
pub(super) fn is_of_no_table(record: &Record) -> bool {
    let columns = record.values.len();
    if record.is_indexed {
        return columns == KEY_COLUMNS;
    }
    // Of ten columns there are versions of core blocks and, with an id, evolutions.
    !OTHER_COLUMNS.contains(&columns) || (columns == 10 && matches!(record.values[1], Value::Integer(_)))
}

/// A row's columns by their places in the schema.
pub(super) struct Fields<'v>(pub(super) &'v [Value]);

impl Fields<'_> {
    /// A value that may be missing. None of it all says that it is there and that `read` cannot read it.
    #[expect(clippy::option_option, reason = "a missing value and a wrong one are two things")]
    fn maybe<T>(&self, at: usize, read: impl FnOnce(&Self, usize) -> Option<T>) -> Option<Option<T>> {
        match self.0.get(at)? {
            Value::Null => Some(None),
            _ => read(self, at).map(Some),
        }
    }

    pub(super) fn text(&self, at: usize) -> Option<&str> {
        match self.0.get(at)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn owned(&self, at: usize) -> Option<String> {
        self.text(at).map(str::to_owned)
    }

    fn integer(&self, at: usize) -> Option<i64> {
        match self.0.get(at)? {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// A share from 0 to 1. SQLite keeps a whole one as an integer.
    fn unit(&self, at: usize) -> Option<f64> {
        let number = match self.0.get(at)? {
            Value::Real(number) => *number,
            Value::Integer(number) => *number as f64,
            _ => return None,
        };
        check_unit("share", number).ok().map(|()| number)
    }

    fn id(&self, at: usize) -> Option<Uuid> {
        Uuid::try_parse(self.text(at)?).ok()
    }

    fn time(&self, at: usize) -> Option<Timestamp> {
        Timestamp::from_microsecond(self.integer(at)?).ok()
    }

    /// The hash, the extension and the size of a blob, where there is one.
    #[expect(clippy::option_option, reason = "as above")]
    fn blob(&self, at: usize) -> Option<Option<Blob>> {
        let Some(extension) = self.maybe(at + 1, Self::owned)? else { return Some(None) };
        Blob::new(self.owned(at)?, extension, u64::try_from(self.integer(at + 2)?).ok()?).map(Some)
    }

    fn metadata(&self, at: usize) -> Option<Metadata> {
        Metadata::parse(self.text(at)?).ok()
    }

    /// A user, agent and session.
    fn scope(&self, at: usize) -> Option<[Option<String>; 3]> {
        let names = [self.owned(at)?, self.owned(at + 1)?, self.owned(at + 2)?].map(restored);
        let [user, agent, session] = names.clone();
        Scope::from_parts(user, agent, session).ok().map(|_| names)
    }
}

/// An episode, with its key and turn.
pub(super) fn episode(record: &Record) -> Option<(Episode, Option<(String, u32)>)> {
    let fields = Fields(&record.values);
    if record.values.len() != 16 {
        return None;
    }
    let [user, agent, session] = fields.scope(3)?;
    let (key, turn) = (fields.maybe(14, Fields::owned)?, u32::try_from(fields.integer(15)?).ok()?);
    let episode = Episode {
        id: fields.id(1)?,
        role: fields.owned(6)?,
        name: fields.maybe(7, Fields::owned)?,
        text: fields.owned(8)?,
        at: fields.time(9)?,
        recorded_at: fields.time(10)?,
        source: fields.maybe(11, Fields::owned)?,
        metadata: fields.metadata(12)?,
        importance: fields.unit(13)?,
        user,
        agent,
        session,
    };
    Some((episode, key.map(|key| (key, turn))))
}

/// An item of a saved context, with the key of its context, its place in it, its user and its session.
pub(super) struct ItemRow {
    pub(super) context: i64,
    pub(super) place: i64,
    pub(super) scope: Scope,
    pub(super) item: SavedItem,
}

pub(super) fn item(record: &Record) -> Option<ItemRow> {
    let fields = Fields(&record.values);
    if record.values.len() != 19 {
        return None;
    }
    let [user, _, session] = fields.scope(2)?;
    session.as_ref()?;
    let media_type = || fields.owned(12);
    let source = match fields.text(9)? {
        "text" => SavedSource::Text(fields.owned(10)?),
        "url" => SavedSource::Url { uri: fields.owned(11)?, media_type: fields.maybe(12, Fields::owned)? },
        "path" => {
            let content = match fields.maybe(14, Fields::owned)? {
                Some(hash) => Some(FileContent {
                    hash,
                    stamp: FileStamp {
                        bytes: u64::try_from(fields.integer(16)?).ok()?,
                        modified: fields.integer(17)?,
                        touched: fields.integer(18)?,
                    },
                }),
                None => None,
            };
            SavedSource::File { uri: fields.owned(11)?, content }
        }
        "bytes" => SavedSource::Bytes { media_type: media_type()?, blob: fields.blob(14)?? },
        "object" => SavedSource::Object { media_type: media_type()?, blob: fields.blob(14)?? },
        _ => return None,
    };
    let metadata = fields.metadata(13)?;
    Some(ItemRow {
        context: fields.integer(1)?,
        place: fields.integer(5)?,
        scope: Scope::from_parts(user, None, session).ok()?,
        item: SavedItem {
            ref_id: fields.text(6)?.parse().ok()?,
            role: fields.text(7)?.parse().ok()?,
            source,
            metadata: (!metadata.is_empty()).then_some(metadata),
        },
    })
}

/// What an episode stands for, with the key of the episode.
pub(super) fn attachment(record: &Record) -> Option<(i64, Attachment)> {
    let fields = Fields(&record.values);
    if record.values.len() != 14 {
        return None;
    }
    fields.scope(2)?;
    let attachment = Attachment {
        session_id: fields.owned(5)?,
        ref_id: fields.text(6)?.parse().ok()?,
        name: fields.maybe(8, Fields::owned)?,
        uri: fields.maybe(9, Fields::owned)?,
        media_type: fields.maybe(10, Fields::owned)?,
        blob: fields.blob(11)?,
    };
    Some((fields.integer(1)?, attachment))
}

/// A saying of a fact, whose type stands elsewhere.
pub(super) struct Saying {
    pub(super) entity: Entity,
    pub(super) slot: i64,
    pub(super) version: Option<i64>,
    pub(super) starts_version: bool,
}

pub(super) fn sighting(record: &Record) -> Option<Saying> {
    let fields = Fields(&record.values);
    if record.values.len() != 21 {
        return None;
    }
    let [user, agent, session] = fields.scope(5)?;
    let (valid_from, recorded_at) = (fields.time(17)?, fields.time(19)?);
    let entity = Entity {
        id: fields.id(1)?,
        entity_type: EntityType::Note,
        name: fields.owned(8)?,
        attribute: fields.maybe(9, Fields::owned)?,
        content: fields.owned(10)?,
        metadata: fields.metadata(11)?,
        confidence: fields.unit(12)?,
        importance: fields.unit(13)?,
        event_time: fields.maybe(14, Fields::time)?,
        document_time: fields.maybe(15, Fields::time)?,
        source: fields.maybe(16, Fields::owned)?,
        valid_from,
        valid_to: None,
        last_seen: valid_from,
        recorded_at,
        updated_at: recorded_at,
        episode_id: fields.maybe(20, Fields::id)?,
        user,
        agent,
        session,
    };
    entity.check().ok()?;
    let starts_version = fields.integer(18)? != 0;
    Some(Saying { entity, slot: fields.integer(3)?, version: fields.maybe(4, Fields::integer)?, starts_version })
}

/// A decision, whose sayings are named by their keys.
pub(super) struct Decision {
    pub(super) saved: SavedDecision,
    pub(super) sayings: [i64; 2],
}

pub(super) fn decision(record: &Record) -> Option<Decision> {
    let fields = Fields(&record.values);
    if record.values.len() != 13 {
        return None;
    }
    let saved = SavedDecision {
        id: fields.id(1)?,
        sayings: [Uuid::nil(); 2],
        evolution_type: fields.text(6)?.parse().ok()?,
        reason: fields.owned(7)?,
        confidence: fields.unit(8)?,
        created_at: fields.time(9)?,
    };
    Some(Decision { saved, sayings: [fields.integer(4)?, fields.integer(5)?] })
}

/// Whether a row is a relation; its last column names the decision that it stands for.
pub(super) fn is_evolution(record: &Record) -> bool {
    let fields = Fields(&record.values);
    record.values.len() == 11 && fields.text(6).is_some() && fields.text(7).is_some() && fields.unit(8).is_some()
}

/// Whether a job is also to decide how facts relate; one from before there was a column for it is.
pub(super) fn evolves(record: &Record) -> bool {
    Fields(&record.values).integer(13) != Some(0)
}

/// A version of a core block.
pub(super) fn block(record: &Record) -> Option<SavedBlock> {
    let fields = Fields(&record.values);
    if record.values.len() != 10 {
        return None;
    }
    Some(SavedBlock {
        user: fields.owned(2)?,
        agent: fields.owned(3)?,
        block_type: fields.text(4)?.parse().ok()?,
        version: fields.integer(5).filter(|version| *version > 0)?,
        label: fields.maybe(6, Fields::owned)?,
        content: fields.maybe(7, Fields::owned)?,
        importance: fields.unit(8)?,
        updated_at: fields.time(9)?.as_microsecond(),
    })
}

/// A working key, from the table that is its own index: its primary key stands first.
pub(super) fn key(record: &Record) -> Option<SavedKey> {
    let fields = Fields(&record.values);
    let Value::Blob(value) = record.values.get(4)? else { return None };
    Some(SavedKey {
        scope: [fields.owned(0)?, fields.owned(1)?, fields.owned(2)?],
        key: fields.owned(3)?,
        value: value.clone(),
        ttl: fields.maybe(5, Fields::integer)?,
        expires_at: fields.maybe(6, Fields::integer)?,
    })
}
