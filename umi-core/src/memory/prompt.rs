//! The `<memory>` document: core memory, working memory and what was recalled, for a model's prompt. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use uuid::Uuid;

use crate::{entity::Entity, episode::Episode, error::Result, xml};

/// The largest working value that is shown as it is, in bytes.
const SHOWN_VALUE_BYTES: usize = 1024;

/// What a document is made of. Nothing needs to be in order.
#[derive(Debug)]
pub(crate) struct Prompt<'a> {
    /// The rendered core memory. It is never cut.
    pub(crate) core: &'a str,
    /// Live working keys and their values.
    pub(crate) working: Vec<(&'a str, &'a [u8])>,
    /// Recalled facts with their score.
    pub(crate) facts: Vec<(&'a Entity, f64)>,
    /// Recalled episodes with their score.
    pub(crate) episodes: Vec<(&'a Episode, f64)>,
    /// The global refs of what stands for items of a context, or was found in their words, by the ids of the rows.
    pub(crate) refs: BTreeMap<Uuid, String>,
    /// The tokens that the sections of working memory and of what was recalled may take together, tags included.
    pub(crate) budget_tokens: usize,
}

/// Counts a text's tokens.
pub(crate) type CountTokens<'a> = &'a dyn Fn(&str) -> Result<usize>;

#[derive(Clone, Copy)]
enum Item<'a> {
    Fact(&'a Entity),
    Episode(&'a Episode),
}

impl Prompt<'_> {
    /// Renders the document: newline-separated, without a trailing newline, what changes least first.
    ///
    /// Whole items are taken while they fit: working entries by key, then facts and episodes by falling score. When the
    /// best of these does not fit it is cut. A section that nothing fits into is rendered empty.
    ///
    /// # Errors
    /// What the token counter fails with.
    #[cfg(test)]
    pub(crate) fn render(&self, count_tokens: CountTokens<'_>) -> Result<String> {
        Ok(self.render_with_refs(count_tokens)?.0)
    }

    /// As [`Self::render`], with the rows in the document that have a ref, the best first.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub(crate) fn render_with_refs(&self, count_tokens: CountTokens<'_>) -> Result<(String, Vec<Uuid>)> {
        let mut working = Vec::new();
        let mut recalled = Vec::new();
        if self.budget_tokens > 0 {
            let mut room = self.budget_tokens.saturating_sub(count_tokens(&sections(&working, &recalled))?);
            working = self.take_working(&mut room, count_tokens)?;
            recalled = self.take_recalled(&mut room, count_tokens)?;
        }
        let mut rest = sections(&working, &recalled);
        // a counter may find more tokens in the whole than in its parts
        while !(working.is_empty() && recalled.is_empty()) && count_tokens(&rest)? > self.budget_tokens {
            if recalled.pop().is_none() {
                working.pop();
            }
            rest = sections(&working, &recalled);
        }
        let shown = recalled.iter().map(|(item, _)| item.id()).filter(|id| self.refs.contains_key(id)).collect();
        Ok((format!("<memory>\n{}\n{rest}</memory>", self.core), shown))
    }

    fn take_working(&self, room: &mut usize, count_tokens: CountTokens<'_>) -> Result<Vec<String>> {
        let mut entries = self.working.clone();
        entries.sort_unstable();
        let mut taken = Vec::new();
        for (key, value) in entries {
            let line = entry_line(key, value);
            if fits(&line, room, count_tokens)? {
                taken.push(line);
            }
        }
        Ok(taken)
    }

    fn take_recalled(&self, room: &mut usize, count_tokens: CountTokens<'_>) -> Result<Vec<(Item<'_>, String)>> {
        let facts = self.facts.iter().map(|&(fact, score)| (Item::Fact(fact), score));
        let episodes = self.episodes.iter().map(|&(episode, score)| (Item::Episode(episode), score));
        let mut ranked: Vec<(Item<'_>, f64)> = facts.chain(episodes).collect();
        ranked.sort_by(|(a, a_score), (b, b_score)| b_score.total_cmp(a_score).then_with(|| a.id().cmp(&b.id())));
        let mut taken = Vec::new();
        for (rank, (item, _)) in ranked.into_iter().enumerate() {
            if *room == 0 {
                break;
            }
            let line = item.line(item.text(), self.ref_of(item), false);
            if fits(&line, room, count_tokens)? {
                taken.push((item, line));
            } else if rank == 0
                && let Some(line) = cut(item, self.ref_of(item), room, count_tokens)?
            {
                taken.push((item, line));
            }
        }
        Ok(taken)
    }

    fn ref_of(&self, item: Item<'_>) -> Option<&str> {
        self.refs.get(&item.id()).map(String::as_str)
    }
}

/// The sections behind the core, facts by rank and episodes by time.
fn sections(working: &[String], recalled: &[(Item<'_>, String)]) -> String {
    let mut episodes: Vec<(Timestamp, Uuid, &str)> = Vec::new();
    let mut out = String::from("<working_memory>\n");
    for line in working {
        out.push_str(line);
    }
    out.push_str("</working_memory>\n<recalled>\n");
    for (item, line) in recalled {
        match item {
            Item::Fact(_) => out.push_str(line),
            Item::Episode(episode) => episodes.push((episode.at, episode.id, line)),
        }
    }
    episodes.sort_unstable();
    for (.., line) in episodes {
        out.push_str(line);
    }
    out.push_str("</recalled>\n");
    out
}

/// Whether a line fits into the room that is left, which it then takes.
fn fits(line: &str, room: &mut usize, count_tokens: CountTokens<'_>) -> Result<bool> {
    if *room == 0 {
        return Ok(false);
    }
    let left = room.checked_sub(count_tokens(line)?);
    *room = left.unwrap_or(*room);
    Ok(left.is_some())
}

/// The longest beginning of an item that fits, at a character boundary; none when not one character does.
fn cut(
    item: Item<'_>,
    reference: Option<&str>,
    room: &mut usize,
    count_tokens: CountTokens<'_>,
) -> Result<Option<String>> {
    let text = item.text();
    let (mut fitting, mut too_long) = (0_usize, text.len());
    let mut best = None;
    loop {
        let middle = text.floor_char_boundary(fitting.midpoint(too_long));
        // the character around the middle begins where the search already is: try its end
        let middle = if middle > fitting { middle } else { text.ceil_char_boundary(fitting + 1) };
        if middle >= too_long {
            break;
        }
        let line = item.line(&text[..middle], reference, true);
        let tokens = count_tokens(&line)?;
        if tokens <= *room {
            fitting = middle;
            best = Some((line, tokens));
        } else {
            too_long = middle;
        }
    }
    Ok(best.map(|(line, tokens)| {
        *room -= tokens;
        line
    }))
}

fn entry_line(key: &str, value: &[u8]) -> String {
    let mut out = String::from("<entry");
    xml::push_attribute(&mut out, "key", key);
    match std::str::from_utf8(value) {
        Ok(text) if text.len() <= SHOWN_VALUE_BYTES => {
            out.push('>');
            xml::push_text(&mut out, text);
            out.push_str("</entry>\n");
        }
        _ => {
            xml::push_attribute(&mut out, "bytes", &value.len().to_string());
            out.push_str("/>\n");
        }
    }
    out
}

impl<'a> Item<'a> {
    fn id(self) -> Uuid {
        match self {
            Self::Fact(fact) => fact.id,
            Self::Episode(episode) => episode.id,
        }
    }

    fn text(self) -> &'a str {
        match self {
            Self::Fact(fact) => &fact.content,
            Self::Episode(episode) => &episode.text,
        }
    }

    /// The element, with a newline behind it. `text` is the item's own or the beginning of it.
    fn line(self, text: &str, reference: Option<&str>, truncated: bool) -> String {
        let (name, attributes) = match self {
            Self::Fact(fact) => ("fact", fact_attributes(fact)),
            Self::Episode(episode) => ("episode", episode_attributes(episode)),
        };
        let mut out = format!("<{name}");
        for (name, value) in attributes {
            if let Some(value) = value {
                xml::push_attribute(&mut out, name, &value);
            }
        }
        if let Some(reference) = reference {
            xml::push_attribute(&mut out, "ref", reference);
        }
        if truncated {
            xml::push_attribute(&mut out, "truncated", "true");
        }
        out.push('>');
        xml::push_text(&mut out, text);
        out.push_str("</");
        out.push_str(name);
        out.push_str(">\n");
        out
    }
}

type Attributes = Vec<(&'static str, Option<String>)>;

fn fact_attributes(fact: &Entity) -> Attributes {
    vec![
        ("id", Some(fact.id.to_string())),
        ("subject", Some(fact.name.clone())),
        ("type", Some(fact.entity_type.to_string())),
        ("attribute", fact.attribute.clone()),
        ("valid_from", Some(time(fact.valid_from))),
        ("valid_to", fact.valid_to.map(time)),
        ("source", fact.source.clone()),
    ]
}

fn episode_attributes(episode: &Episode) -> Attributes {
    vec![
        ("id", Some(episode.id.to_string())),
        ("role", Some(episode.role.clone())),
        ("name", episode.name.clone()),
        ("at", Some(time(episode.at))),
        ("session", episode.session.clone()),
        ("source", episode.source.clone()),
    ]
}

/// RFC 3339 in UTC, whole seconds.
fn time(time: Timestamp) -> String {
    format!("{time:.0}")
}

#[cfg(test)]
mod tests;
