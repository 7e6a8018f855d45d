//! Entities and their evolution: one version of one fact about a named subject, valid in time. Pure values.

mod chain;
mod evolution;
mod kind;

use caseless::Caseless;
use jiff::Timestamp;
use unicode_categories::UnicodeCategories;
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

pub(crate) use self::evolution::EVOLUTION_REASON_BYTES;
pub use self::{
    chain::{Closing, Sighting, Span, chain},
    evolution::{EvolutionRelation, EvolutionType},
    kind::EntityType,
};
use crate::{
    error::{Error, ErrorKind, Result},
    metadata::Metadata,
    world::FIRST_TIME,
};

/// The longest name of an entity, in bytes.
pub(crate) const ENTITY_NAME_BYTES: usize = 256;
/// The longest content of an entity, in bytes.
pub(crate) const ENTITY_CONTENT_BYTES: usize = 1_000_000;
/// The longest attribute of an entity, in bytes.
pub(crate) const ENTITY_ATTRIBUTE_BYTES: usize = 256;
/// The longest source of an entity or episode, in bytes.
pub(crate) const SOURCE_BYTES: usize = 2_048;
/// The namespace of subject ids.
const SUBJECT_NAMESPACE: Uuid = Uuid::from_u128(0x6ba4_281c_4d9f_4f3a_8c7e_9d2b_5f1e_6a3c);

/// One version of one fact about a named subject.
///
/// # Example
/// ```
/// use umi_core::{Entity, EntityType, Timestamp, new_id};
/// let now = Timestamp::UNIX_EPOCH;
/// let mut fact = Entity::new(new_id(now), now, EntityType::Person, "Tarek", "works at Initech")?;
/// fact.attribute = Some("employer".to_owned());
/// assert!(fact.is_valid_at(now) && fact.valid_to.is_none());
/// // However the name is written, it is one subject.
/// let other = Entity::new(new_id(now), now, EntityType::Person, "TAREK", "likes oak")?;
/// assert_eq!(fact.subject_id(), other.subject_id());
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Entity {
    /// The version's id.
    pub id: Uuid,
    /// What kind of thing the subject is.
    pub entity_type: EntityType,
    /// The subject's name, as it was first said.
    pub name: String,
    /// The slot that holds one value at a time (`employer`), or none for a fact that stands beside others.
    pub attribute: Option<String>,
    /// What is said about the subject.
    pub content: String,
    /// The caller's own fields.
    pub metadata: Metadata,
    /// How sure it is, from 0 to 1.
    pub confidence: f64,
    /// A prior of ranking, from 0 to 1; 0.5 is neutral.
    pub importance: f64,
    /// When the fact happened or began.
    pub event_time: Option<Timestamp>,
    /// When its source was written.
    pub document_time: Option<Timestamp>,
    /// Where it comes from: a URI or a free text.
    pub source: Option<String>,
    /// From when on it is true.
    pub valid_from: Timestamp,
    /// Until when it is true; none while nothing has followed it.
    pub valid_to: Option<Timestamp>,
    /// The event time of its latest saying.
    pub last_seen: Timestamp,
    /// When it was first recorded.
    pub recorded_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// The episode that it was said in.
    pub episode_id: Option<Uuid>,
    /// The tenant.
    pub user: Option<String>,
    /// The agent that recorded it.
    pub agent: Option<String>,
    /// The session that it was recorded in.
    pub session: Option<String>,
}

impl Entity {
    /// A fact that is not stored yet, first true at `now` unless an event time is set later.
    ///
    /// # Errors
    /// `InvalidInput` for an empty name, or a name or content over its limit.
    pub fn new(id: Uuid, now: Timestamp, entity_type: EntityType, name: &str, content: &str) -> Result<Self> {
        let entity = Self {
            id,
            entity_type,
            name: name.to_owned(),
            attribute: None,
            content: content.to_owned(),
            metadata: Metadata::default(),
            confidence: 1.0,
            importance: 0.5,
            event_time: None,
            document_time: None,
            source: None,
            valid_from: now,
            valid_to: None,
            last_seen: now,
            recorded_at: now,
            updated_at: now,
            episode_id: None,
            user: None,
            agent: None,
            session: None,
        };
        entity.check()?;
        Ok(entity)
    }

    /// Checks every bounded field.
    ///
    /// # Errors
    /// `InvalidInput` that names the field, its size or value and the limit.
    pub fn check(&self) -> Result<()> {
        if is_blank(&self.name) {
            return Err(Error::invalid_input("an entity's name is empty"));
        }
        check_bytes("an entity's name", &self.name, ENTITY_NAME_BYTES)?;
        if self.content.len() > ENTITY_CONTENT_BYTES {
            let message = format!(
                "an entity's content has {} bytes, at most {ENTITY_CONTENT_BYTES} are allowed",
                self.content.len()
            );
            return Err(
                Error::new(ErrorKind::TextTooLong, message).with_sizes(ENTITY_CONTENT_BYTES, self.content.len())
            );
        }
        if is_blank(&self.content) {
            return Err(Error::new(ErrorKind::EmptyText, "an entity's content is empty or white space"));
        }
        if let Some(attribute) = &self.attribute {
            if attribute.trim().is_empty() {
                return Err(
                    Error::invalid_input("an entity's attribute is empty").with_hint("leave it out to mean none")
                );
            }
            check_bytes("an entity's attribute", attribute, ENTITY_ATTRIBUTE_BYTES)?;
        }
        if let Some(source) = &self.source {
            check_bytes("an entity's source", source, SOURCE_BYTES)?;
        }
        for (what, time) in [("event_time", self.event_time), ("document_time", self.document_time)] {
            time.map_or(Ok(()), |time| check_time(what, time))?;
        }
        check_unit("confidence", self.confidence)?;
        check_unit("importance", self.importance)
    }

    /// The subject's id: the same for every fact of (user, type, folded name).
    pub fn subject_id(&self) -> Uuid {
        let folded = fold(&self.name);
        let name = match &self.user {
            None => format!("{}:{folded}", self.entity_type),
            Some(user) => format!("{user}\u{0}{}:{folded}", self.entity_type),
        };
        Uuid::new_v5(&SUBJECT_NAMESPACE, name.as_bytes())
    }

    /// Whether an event time or a document time is set.
    pub fn has_temporal_metadata(&self) -> bool {
        self.event_time.is_some() || self.document_time.is_some()
    }

    /// Whether it is what is true at `time`.
    pub fn is_valid_at(&self, time: Timestamp) -> bool {
        self.valid_from <= time && self.valid_to.is_none_or(|end| time < end)
    }
}

/// Folds a subject's name or attribute: NFKC, Unicode case folding, single spaces.
///
/// # Example
/// ```
/// assert_eq!(umi_core::fold("  ＡＬＩＣＥ  Straße "), "alice strasse");
/// ```
pub fn fold(name: &str) -> String {
    let folded: String = name.nfkc().default_case_fold().nfkc().collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a text shows nothing: white space, control characters and characters without a shape alone.
pub(crate) fn is_blank(text: &str) -> bool {
    text.chars().all(|char| char.is_whitespace() || char.is_other_control() || char.is_other_format())
}

/// Checks that a number lies in [0, 1]; a NaN does not.
///
/// # Errors
/// `InvalidInput` with the name and the value.
///
/// # Example
/// ```
/// assert!(umi_core::check_unit("importance", 0.5).is_ok());
/// assert!(umi_core::check_unit("importance", f64::NAN).is_err());
/// ```
pub fn check_unit(what: &str, value: f64) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(Error::invalid_input(format!("{what} is `{value}`, it must lie between 0 and 1")))
    }
}

/// Checks that a time lies in the years 1 to 9999. The end needs no look: no [`Timestamp`] is behind it.
///
/// # Errors
/// `InvalidInput` with the name and the value.
pub(crate) fn check_time(what: &str, time: Timestamp) -> Result<()> {
    if time < FIRST_TIME {
        return Err(Error::invalid_input(format!("{what} is `{time}`, it must lie in the years 1 to 9999")));
    }
    Ok(())
}

/// Checks a text's size in bytes of UTF-8.
///
/// # Errors
/// `InvalidInput` with both sizes.
///
/// # Example
/// ```
/// assert!(umi_core::check_bytes("a label", "café", 5).is_ok());
/// assert!(umi_core::check_bytes("a label", "café", 4).is_err());
/// ```
pub fn check_bytes(what: &str, text: &str, limit: usize) -> Result<()> {
    if text.len() <= limit {
        Ok(())
    } else {
        Err(Error::invalid_input(format!("{what} has {} bytes, at most {limit} are allowed", text.len()))
            .with_sizes(limit, text.len()))
    }
}
