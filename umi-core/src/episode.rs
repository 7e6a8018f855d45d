//! [`Episode`]: a text as it was remembered, verbatim.

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    entity::{Entity, EntityType},
    error::{Error, Result},
    metadata::Metadata,
};

/// The longest role, in bytes.
pub(crate) const ROLE_BYTES: usize = 64;
/// The longest idempotency key, in bytes.
pub(crate) const KEY_BYTES: usize = 256;
/// How much of a text the name of its note form shows, in bytes.
const NOTE_NAME_BYTES: usize = 80;

/// A text as it was remembered, with who said it and when. Never rewritten.
///
/// # Example
/// ```
/// use umi_core::{Episode, EntityType, Timestamp, new_id};
/// let now = Timestamp::UNIX_EPOCH;
/// let note = Episode::new(new_id(now), "Alice moved to Rome.", "user", now).to_note();
/// assert_eq!((note.entity_type, note.name.as_str()), (EntityType::Note, "Note: Alice moved to Rome."));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Episode {
    /// The episode's id.
    pub id: Uuid,
    /// What was said, verbatim.
    pub text: String,
    /// The speaker's part: `user`, `assistant`, `system`, `tool` or another word.
    pub role: String,
    /// The speaker's name.
    pub name: Option<String>,
    /// When it was said.
    pub at: Timestamp,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// The tenant.
    pub user: Option<String>,
    /// The agent that recorded it.
    pub agent: Option<String>,
    /// The session that it belongs to.
    pub session: Option<String>,
    /// Where it comes from: a URI or a free text.
    pub source: Option<String>,
    /// The caller's own fields.
    pub metadata: Metadata,
    /// A prior of ranking, from 0 to 1; 0.5 is neutral.
    pub importance: f64,
}

impl Episode {
    /// An episode of a text, of no scope, recorded when it was said.
    pub fn new(id: Uuid, text: impl Into<String>, role: impl Into<String>, at: Timestamp) -> Self {
        Self {
            id,
            text: text.into(),
            role: role.into(),
            name: None,
            at,
            recorded_at: at,
            user: None,
            agent: None,
            session: None,
            source: None,
            metadata: Metadata::default(),
            importance: 0.5,
        }
    }

    /// The episode as an entity of type `note` named `Note: …`, its text whole in the content.
    pub fn to_note(&self) -> Entity {
        Entity {
            id: self.id,
            entity_type: EntityType::Note,
            name: note_name(&self.text),
            attribute: None,
            content: self.text.clone(),
            metadata: self.metadata.clone(),
            confidence: 1.0,
            importance: self.importance,
            event_time: Some(self.at),
            document_time: None,
            source: self.source.clone(),
            valid_from: self.at,
            valid_to: None,
            last_seen: self.at,
            recorded_at: self.recorded_at,
            updated_at: self.recorded_at,
            episode_id: Some(self.id),
            user: self.user.clone(),
            agent: self.agent.clone(),
            session: self.session.clone(),
        }
    }
}

fn note_name(text: &str) -> String {
    let mut line = String::new();
    // A long text is looked at only as far as its name goes.
    for word in text.split_whitespace() {
        if line.len() > NOTE_NAME_BYTES {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word[..word.floor_char_boundary(2 * NOTE_NAME_BYTES)]);
    }
    if line.len() <= NOTE_NAME_BYTES {
        return format!("Note: {line}");
    }
    let cut = &line[..line.floor_char_boundary(NOTE_NAME_BYTES - '…'.len_utf8())];
    let cut = cut.rsplit_once(' ').map_or(cut, |(words, _)| words);
    format!("Note: {cut}…")
}

/// Whether a hit or a row is a fact or an episode.
///
/// # Example
/// ```
/// use umi_core::Kind;
/// assert_eq!("facts".parse::<Kind>()?, Kind::Fact);
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// A version of a fact.
    Fact,
    /// A text as it was remembered.
    Episode,
}

impl Kind {
    /// The kind's name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fact => "fact",
            Self::Episode => "episode",
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = Error;

    /// Reads the singular or the plural.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "fact" | "facts" => Ok(Self::Fact),
            "episode" | "episodes" => Ok(Self::Episode),
            other => {
                let shown: String = other.chars().take(64).collect();
                Err(Error::invalid_input(format!("unknown kind `{shown}`")).with_hint("known kinds: facts, episodes"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_named_after_the_beginning_of_its_text() {
        assert_eq!(note_name("Alice  moved\nto Rome"), "Note: Alice moved to Rome");
        let long = note_name(&"Käse und Brot ".repeat(20));
        assert!(long.len() <= NOTE_NAME_BYTES + 6 && long.ends_with('…'), "{long}");
        assert!(note_name(&"語".repeat(100)).ends_with("語…"));
    }
}
