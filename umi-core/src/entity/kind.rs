//! [`EntityType`]: the kinds of subject.

use std::{fmt, str::FromStr};

use crate::error::{Error, Result};

/// What kind of thing a subject is.
///
/// # Example
/// ```
/// use umi_core::EntityType;
/// assert_eq!("person".parse::<EntityType>()?, EntityType::Person);
/// assert_eq!(EntityType::Person.as_str(), "person");
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EntityType {
    /// The assistant itself.
    SelfEntity,
    /// A person.
    Person,
    /// A company, team or institution.
    Organization,
    /// A piece of work.
    Project,
    /// A subject of talk.
    Topic,
    /// A place.
    Location,
    /// Something that happens at a time.
    Event,
    /// Anything worth noting.
    Note,
    /// Something to do.
    Task,
    /// What somebody likes or wants.
    Preference,
}

impl EntityType {
    /// Every type.
    pub const ALL: [Self; 10] = [
        Self::SelfEntity,
        Self::Person,
        Self::Organization,
        Self::Project,
        Self::Topic,
        Self::Location,
        Self::Event,
        Self::Note,
        Self::Task,
        Self::Preference,
    ];

    /// The type's name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SelfEntity => "self",
            Self::Person => "person",
            Self::Organization => "organization",
            Self::Project => "project",
            Self::Topic => "topic",
            Self::Location => "location",
            Self::Event => "event",
            Self::Note => "note",
            Self::Task => "task",
            Self::Preference => "preference",
        }
    }
}

impl fmt::Display for EntityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EntityType {
    type Err = Error;

    /// Reads a name in any case; `org`, `place` and `meeting` are other words for three of them.
    fn from_str(text: &str) -> Result<Self> {
        let lower = text.to_lowercase();
        let canonical = match lower.as_str() {
            "org" => "organization",
            "place" => "location",
            "meeting" => "event",
            other => other,
        };
        Self::ALL.into_iter().find(|kind| kind.as_str() == canonical).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|kind| kind.as_str()).collect();
            let shown: String = text.chars().take(64).collect();
            Error::invalid_input(format!("unknown entity type `{shown}`"))
                .with_hint(format!("known types: {}", known.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_in_any_case_and_by_their_other_words() {
        for kind in EntityType::ALL {
            assert_eq!(kind.as_str().to_uppercase().parse::<EntityType>().unwrap(), kind);
        }
        assert_eq!("Org".parse::<EntityType>().unwrap(), EntityType::Organization);
        assert_eq!("place".parse::<EntityType>().unwrap(), EntityType::Location);
        assert_eq!("meeting".parse::<EntityType>().unwrap(), EntityType::Event);
        assert!("robot".parse::<EntityType>().unwrap_err().to_string().contains("preference"));
    }
}
