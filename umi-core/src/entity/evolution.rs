//! [`EvolutionRelation`]: how a newer entity relates to an older one.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use uuid::Uuid;

use super::check_unit;
use crate::error::{Error, Result};

/// The longest reason, in bytes; a longer one is cut at a character boundary.
pub(crate) const EVOLUTION_REASON_BYTES: usize = 1_024;
/// From this confidence on a relation counts as sure.
pub(crate) const HIGH_CONFIDENCE: f64 = 0.8;

/// The kind of relation from an older entity to a newer one.
///
/// # Example
/// ```
/// use umi_core::EvolutionType;
/// assert_eq!("contradict".parse::<EvolutionType>()?, EvolutionType::Contradict);
/// assert_eq!(EvolutionType::Update.to_string(), "update");
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EvolutionType {
    /// The newer replaces the older.
    Update,
    /// The newer adds to the older.
    Extend,
    /// The newer was concluded from the older.
    Derive,
    /// The newer conflicts with the older.
    Contradict,
}

impl EvolutionType {
    /// Every type.
    pub const ALL: [Self; 4] = [Self::Update, Self::Extend, Self::Derive, Self::Contradict];

    /// The type's name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Extend => "extend",
            Self::Derive => "derive",
            Self::Contradict => "contradict",
        }
    }

    /// Whether the older of the two holds no longer.
    pub(crate) fn closes(self) -> bool {
        matches!(self, Self::Update | Self::Contradict)
    }
}

impl fmt::Display for EvolutionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EvolutionType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let lower = text.to_lowercase();
        Self::ALL.into_iter().find(|kind| kind.as_str() == lower).ok_or_else(|| {
            let shown: String = text.chars().take(64).collect();
            Error::invalid_input(format!("unknown evolution type `{shown}`"))
                .with_hint("known types: update, extend, derive, contradict")
        })
    }
}

/// How a newer entity (`target_id`) relates to an older one (`source_id`).
///
/// The ids are strings, because a relation can also be made by hand between things that are in no store.
///
/// # Example
/// ```
/// use umi_core::{EvolutionRelation, EvolutionType, Timestamp, new_id};
/// let now = Timestamp::UNIX_EPOCH;
/// let kind = EvolutionType::Contradict;
/// let relation = EvolutionRelation::new(new_id(now), now, "older", "newer", kind, "one is born in one place", 0.9)?;
/// assert!(relation.is_conflict() && relation.needs_resolution() && !relation.is_additive());
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EvolutionRelation {
    /// The relation's own id.
    pub id: Uuid,
    /// The older entity.
    pub source_id: String,
    /// The newer entity.
    pub target_id: String,
    /// The kind of relation.
    pub evolution_type: EvolutionType,
    /// Why, in at most 1,024 bytes. Empty where it would tell of what was said outside of the caller's agent and session.
    pub reason: String,
    /// How sure it is, from 0 to 1.
    pub confidence: f64,
    /// When it was found.
    pub created_at: Timestamp,
}

impl EvolutionRelation {
    /// Makes a relation from an older entity to a newer one.
    ///
    /// # Errors
    /// `InvalidInput` for an empty id, an id that relates to itself, or a confidence outside of 0 to 1.
    pub fn new(
        id: Uuid,
        created_at: Timestamp,
        source_id: &str,
        target_id: &str,
        evolution_type: EvolutionType,
        reason: &str,
        confidence: f64,
    ) -> Result<Self> {
        for (what, value) in [("source_id", source_id), ("target_id", target_id)] {
            if value.is_empty() {
                return Err(Error::invalid_input(format!("{what} is empty")));
            }
        }
        if source_id == target_id {
            let shown: String = source_id.chars().take(64).collect();
            return Err(Error::invalid_input(format!("source_id and target_id are both `{shown}`")));
        }
        check_unit("confidence", confidence)?;
        let reason = reason[..reason.floor_char_boundary(EVOLUTION_REASON_BYTES)].to_owned();
        Ok(Self {
            id,
            source_id: source_id.to_owned(),
            target_id: target_id.to_owned(),
            evolution_type,
            reason,
            confidence,
            created_at,
        })
    }

    /// Whether its confidence is at least 0.8.
    pub fn is_high_confidence(&self) -> bool {
        self.confidence >= HIGH_CONFIDENCE
    }

    /// Whether it is a contradiction.
    pub fn is_conflict(&self) -> bool {
        self.evolution_type == EvolutionType::Contradict
    }

    /// Whether both entities stand: an extension or a derivation.
    pub fn is_additive(&self) -> bool {
        matches!(self.evolution_type, EvolutionType::Extend | EvolutionType::Derive)
    }

    /// Whether it is a sure contradiction, which somebody should settle.
    pub fn needs_resolution(&self) -> bool {
        self.is_conflict() && self.is_high_confidence()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(source: &str, target: &str, reason: &str, confidence: f64) -> Result<EvolutionRelation> {
        let now = Timestamp::UNIX_EPOCH;
        EvolutionRelation::new(Uuid::nil(), now, source, target, EvolutionType::Contradict, reason, confidence)
    }

    #[test]
    fn bad_relations_are_refused() {
        assert!(relation("", "b", "", 0.5).is_err());
        assert!(relation("a", "a", "", 0.5).is_err());
        assert!(relation("a", "b", "", f64::NAN).is_err());
        assert!(relation("a", "b", "", 1.5).is_err());
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let cut = relation("a", "b", &"é".repeat(600), 0.8).unwrap();
        assert_eq!(cut.reason.len(), 1_024);
        let odd = relation("a", "b", &format!("x{}", "é".repeat(600)), 0.8).unwrap();
        assert_eq!(odd.reason.len(), 1_023);
        assert!(cut.needs_resolution() && cut.is_conflict() && !cut.is_additive());
    }
}
