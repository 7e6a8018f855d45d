//! The reasons of decisions. A model gives its own, which may quote any fact that it was shown: where one of these is
//! forgotten, a reason that holds words of it gives way to one that tells of nothing but the contents of its two ends.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use unicode_script::{Script, UnicodeScript};

use super::{decisions, errors::Stored, rows, writer::Write};
use crate::entity::{EvolutionType, fold};

/// How much of each content a reason shows, in bytes.
const CONTENT_BYTES: usize = 320;

/// A reason from two contents alone.
pub(super) fn of_contents(kind: EvolutionType, older: &str, newer: &str) -> String {
    let cut = |text: &str| {
        let short = &text[..text.floor_char_boundary(CONTENT_BYTES)];
        if short.len() < text.len() { format!("{short}…") } else { short.to_owned() }
    };
    let how = match kind {
        EvolutionType::Update => "replaces",
        EvolutionType::Extend => "adds to",
        EvolutionType::Derive => "follows from",
        EvolutionType::Contradict => "contradicts",
    };
    format!("“{}” {how} “{}”", cut(newer), cut(older))
}

/// A reason from the contents of two sayings alone.
pub(super) fn of_ends(connection: &Connection, kind: EvolutionType, older: i64, newer: i64) -> Stored<String> {
    let content = |sighting: i64| -> Stored<String> {
        Ok(connection
            .prepare_cached("SELECT content FROM sightings WHERE sighting = ?1")?
            .query_row((sighting,), |row| row.get(0))?)
    };
    Ok(of_contents(kind, &content(older)?, &content(newer)?))
}

/// The words of sayings that are to go, by their tenants, each with the `seq` of the first of them.
#[derive(Debug, Default)]
pub(super) struct Forgotten(BTreeMap<String, (i64, BTreeSet<String>)>);

/// The decisions of a tenant that were made behind a place in the feed, with what is said at their ends.
pub(super) const LATER_DECISIONS: &str = "SELECT decisions.decision, decisions.type, decisions.reason, one.sighting, \
     two.sighting, (one.valid_from, one.seq) < (two.valid_from, two.seq), \
     one.name || ' ' || ifnull(one.attribute, '') || ' ' || one.content, \
     two.name || ' ' || ifnull(two.attribute, '') || ' ' || two.content FROM decisions \
     CROSS JOIN sightings AS one ON one.sighting = decisions.sighting \
     CROSS JOIN sightings AS two ON two.sighting = decisions.other WHERE decisions.user = ?1 AND decisions.seq > ?2";

impl Forgotten {
    /// Reads what models are shown of sayings.
    pub(super) fn read(connection: &Connection, gone: &BTreeSet<i64>) -> Stored<Self> {
        let mut forgotten = Self::default();
        if !decisions::has_any(connection)? {
            return Ok(forgotten);
        }
        let mut statement = connection.prepare_cached(
            "SELECT user, seq, name, ifnull(attribute, ''), content FROM sightings WHERE sighting = ?1",
        )?;
        for sighting in gone {
            let mut found = statement.query((sighting,))?;
            while let Some(row) = found.next()? {
                let (first, words) = forgotten.0.entry(row.get(0)?).or_insert((i64::MAX, BTreeSet::new()));
                *first = row.get::<_, i64>(1)?.min(*first);
                for column in 2..5 {
                    words.extend(words_of(&row.get::<_, String>(column)?));
                }
            }
        }
        Ok(forgotten)
    }

    /// Replaces the reasons of the decisions that are left wherever they hold a word of these sayings that is none of
    /// their ends' own. A model was shown only what was there, so earlier decisions are not looked at.
    pub(super) fn strike(&self, write: &mut Write<'_>) -> Stored<()> {
        for (user, (seq, words)) in &self.0 {
            let (connection, mut quoting) = (write.connection, Vec::new());
            let mut statement = connection.prepare_cached(LATER_DECISIONS)?;
            let mut found = statement.query((user, seq))?;
            while let Some(row) = found.next()? {
                let mut quoted: BTreeSet<String> =
                    words_of(&row.get::<_, String>(2)?).into_iter().filter(|word| words.contains(word)).collect();
                for column in [6, 7] {
                    if !quoted.is_empty() {
                        for own in words_of(&row.get::<_, String>(column)?) {
                            quoted.remove(&own);
                        }
                    }
                }
                if quoted.is_empty() {
                    continue;
                }
                let (one, two): (i64, i64) = (row.get(3)?, row.get(4)?);
                let (older, newer) = if row.get(5)? { (one, two) } else { (two, one) };
                let reason = of_ends(connection, rows::parsed(row, 1)?, older, newer)?;
                quoting.push((row.get::<_, i64>(0)?, reason));
            }
            for (decision, reason) in quoting {
                replace(write, decision, &reason)?;
            }
        }
        Ok(())
    }
}

fn replace(write: &mut Write<'_>, decision: i64, reason: &str) -> Stored<()> {
    let seq = write.next_seq();
    write
        .connection
        .prepare_cached("UPDATE decisions SET reason = ?1 WHERE decision = ?2")?
        .execute((reason, decision))?;
    write
        .connection
        .prepare_cached("UPDATE evolutions SET reason = ?1, seq = ?2 WHERE decision = ?3")?
        .execute((reason, seq, decision))?;
    Ok(())
}

/// The words of a text, folded; of scripts that put no spaces between words each two characters that stand together.
fn words_of(text: &str) -> Vec<String> {
    let folded = fold(text);
    let mut words = Vec::new();
    for run in folded.split(|char: char| !char.is_alphanumeric()).filter(|run| !run.is_empty()) {
        let characters: Vec<char> = run.chars().collect();
        if characters.len() > 1 && run.chars().any(is_unspaced) {
            words.extend(characters.windows(2).map(String::from_iter));
        } else {
            words.push(run.to_owned());
        }
    }
    words
}

fn is_unspaced(char: char) -> bool {
    use Script::{Han, Hangul, Hiragana, Katakana, Khmer, Lao, Myanmar, Thai};
    char >= '\u{0E00}' && matches!(char.script(), Han | Hiragana | Katakana | Hangul | Thai | Lao | Khmer | Myanmar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_folded_and_scripts_without_spaces_are_cut_into_pairs() {
        assert_eq!(words_of("Ana’s Straße, 12!"), ["ana", "s", "strasse", "12"]);
        assert_eq!(words_of("住在罗马"), ["住在", "在罗", "罗马"]);
        assert!(words_of("…").is_empty());
    }

    #[test]
    fn a_reason_of_long_contents_is_short() {
        let reason = of_contents(EvolutionType::Update, &"é".repeat(999), "new");
        assert!(reason.starts_with("“new” replaces “éé") && reason.ends_with("…”") && reason.len() < 400);
    }
}
