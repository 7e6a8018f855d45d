//! Which texts hold a term.
//!
//! Most terms are rare, and a list of its own would cost a term several times what is in it. So postings stand in
//! blocks, sorted by term, and only the latest ones in lists; blocks are merged while they are of about one size.

use std::collections::HashMap;

use super::footprint::{of_map, of_slice, of_vec};
use crate::index::analysis::Lexical;

/// So many new postings become a block.
const BLOCK: usize = 4 * 1024;
/// Blocks of together more postings are not merged: a merge needs the memory of both once more.
const LARGEST_BLOCK: usize = 256 * 1024;
/// The end of a list.
const NONE: u32 = u32::MAX;

/// A term in a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Posting {
    /// The text's number.
    pub(super) text: u32,
    /// How often the term is in it.
    pub(super) count: u16,
    /// The text's length in terms, see [`stored_length`].
    pub(super) length: u16,
}

/// A text's length as BM25 takes it: over 65,535 terms nothing changes any more.
pub(super) fn stored_length(length: u32) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// Postings sorted by term, those of a term in the order of their texts.
#[derive(Debug, Default)]
struct Block {
    terms: Vec<u64>,
    /// Where the postings of each term end.
    ends: Vec<u32>,
    postings: Vec<Posting>,
}

impl Block {
    fn with_capacity(terms: usize, postings: usize) -> Self {
        Self {
            terms: Vec::with_capacity(terms),
            ends: Vec::with_capacity(terms),
            postings: Vec::with_capacity(postings),
        }
    }

    /// Adds the postings of a term that is above those before it, or the last one again.
    fn extend(&mut self, term: u64, postings: impl IntoIterator<Item = Posting>) {
        let before = self.postings.len();
        self.postings.extend(postings);
        if self.postings.len() == before {
            return;
        }
        if self.terms.last() == Some(&term) {
            self.ends.pop();
        } else {
            self.terms.push(term);
        }
        self.ends.push(self.postings.len() as u32);
    }

    fn at(&self, place: usize) -> &[Posting] {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.postings[start as usize..self.ends[place] as usize]
    }

    fn of(&self, term: u64) -> &[Posting] {
        self.terms.binary_search(&term).map_or(&[], |place| self.at(place))
    }

    /// Both blocks as one. The texts of `newer` are above those of this one.
    fn merged(&self, newer: &Self) -> Self {
        let mut out = Self::with_capacity(self.distinct_with(newer), self.postings.len() + newer.postings.len());
        let (mut own, mut other) = (0, 0);
        while own < self.terms.len() || other < newer.terms.len() {
            let take_own = own < self.terms.len() && newer.terms.get(other).is_none_or(|term| self.terms[own] <= *term);
            if take_own {
                out.extend(self.terms[own], self.at(own).iter().copied());
                own += 1;
            } else {
                out.extend(newer.terms[other], newer.at(other).iter().copied());
                other += 1;
            }
        }
        out
    }

    fn distinct_with(&self, other: &Self) -> usize {
        let both = other.terms.iter().filter(|term| self.terms.binary_search(term).is_ok()).count();
        self.terms.len() + other.terms.len() - both
    }

    fn heap_bytes(&self) -> usize {
        of_vec(&self.terms) + of_vec(&self.ends) + of_vec(&self.postings)
    }
}

/// A new posting and the one before it of the same term.
#[derive(Clone, Copy, Debug)]
struct Recent {
    posting: Posting,
    before: u32,
}

/// The texts of every term.
#[derive(Debug, Default)]
pub(super) struct Postings {
    blocks: Vec<Block>,
    /// The last posting of each term in `recent`.
    heads: HashMap<u64, u32>,
    recent: Vec<Recent>,
}

impl Postings {
    /// Adds a text, whose number is above those before it.
    pub(super) fn insert(&mut self, text: u32, lexical: Lexical<'_>) {
        let length = stored_length(lexical.length);
        for (term, count) in lexical.terms() {
            let place = self.recent.len() as u32;
            let before = self.heads.insert(term, place).unwrap_or(NONE);
            self.recent.push(Recent { posting: Posting { text, count, length }, before });
        }
        if self.recent.len() >= BLOCK {
            self.seal();
        }
    }

    /// Calls `take` with the postings of a term, those of dead texts included, in no particular order.
    pub(super) fn each(&self, term: u64, mut take: impl FnMut(&Posting)) {
        for block in &self.blocks {
            block.of(term).iter().for_each(&mut take);
        }
        let mut place = self.heads.get(&term).copied().unwrap_or(NONE);
        while let Some(recent) = self.recent.get(place as usize) {
            take(&recent.posting);
            place = recent.before;
        }
    }

    /// Makes a block of what is new.
    pub(super) fn seal(&mut self) {
        let (heads, recent) = (std::mem::take(&mut self.heads), std::mem::take(&mut self.recent));
        if recent.is_empty() {
            return;
        }
        let mut terms: Vec<(u64, u32)> = heads.into_iter().collect();
        terms.sort_unstable();
        let mut block = Block::with_capacity(terms.len(), recent.len());
        let mut list = Vec::new();
        for (term, mut place) in terms {
            list.clear();
            while let Some(recent) = recent.get(place as usize) {
                list.push(recent.posting);
                place = recent.before;
            }
            block.extend(term, list.iter().rev().copied());
        }
        self.blocks.push(block);
        while let [.., older, newer] = &self.blocks[..] {
            let (older_length, newer_length) = (older.postings.len(), newer.postings.len());
            if older_length > 2 * newer_length || older_length + newer_length > LARGEST_BLOCK {
                break;
            }
            let merged = older.merged(newer);
            self.blocks.truncate(self.blocks.len() - 2);
            self.blocks.push(merged);
        }
    }

    /// Whether each term of a text leads to it, as often as it is there.
    pub(super) fn holds(&self, text: u32, lexical: Lexical<'_>) -> bool {
        let length = stored_length(lexical.length);
        lexical.terms().all(|(term, count)| {
            let in_block = |block: &Block| {
                let list = block.of(term);
                list.binary_search_by_key(&text, |posting| posting.text).ok().map(|at| list[at])
            };
            let mut found = self.blocks.iter().find_map(in_block);
            let mut place = self.heads.get(&term).copied().unwrap_or(NONE);
            while found.is_none()
                && let Some(recent) = self.recent.get(place as usize)
            {
                found = Some(recent.posting).filter(|posting| posting.text == text);
                place = recent.before;
            }
            found.is_some_and(|posting| posting.count == count && posting.length == length)
        })
    }

    /// Drops dead texts. `kept` gives each old number its new one, or none.
    pub(super) fn retain(&mut self, kept: &[Option<u32>]) {
        self.seal();
        for block in &mut self.blocks {
            let alive = |posting: &Posting| Some(Posting { text: kept[posting.text as usize]?, ..*posting });
            let count = block.postings.iter().filter(|posting| kept[posting.text as usize].is_some()).count();
            let mut out = Block::with_capacity(block.terms.len(), count);
            for place in 0..block.terms.len() {
                out.extend(block.terms[place], block.at(place).iter().filter_map(alive));
            }
            out.terms.shrink_to_fit();
            out.ends.shrink_to_fit();
            *block = out;
        }
        self.blocks.retain(|block| !block.terms.is_empty());
    }

    /// Bytes of memory.
    pub(super) fn heap_bytes(&self) -> usize {
        of_slice::<Block>(self.blocks.capacity())
            + self.blocks.iter().map(Block::heap_bytes).sum::<usize>()
            + of_map::<u64, u32>(self.heads.capacity())
            + of_vec(&self.recent)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::index::analysis::analyse_episode;

    #[test]
    fn blocks_hold_what_lists_would() {
        let at = "2024-01-01T00:00:00Z".parse().unwrap();
        let mut postings = Postings::default();
        let mut expected: BTreeMap<u64, Vec<(u32, u16)>> = BTreeMap::new();
        // Far more than one block, with terms that all texts share and terms of one text alone.
        for number in 0..3_000_u32 {
            let said = format!("shelf {} holds apple{number} and pear{} today", number % 7, number / 3);
            let analysed = analyse_episode(None, at, &said);
            let lexical = Lexical::decode(&analysed[0].lexical).unwrap();
            postings.insert(number, lexical);
            for (term, count) in lexical.terms() {
                expected.entry(term).or_default().push((number, count));
            }
        }
        let found = |postings: &Postings, term: u64| {
            let mut found = Vec::new();
            postings.each(term, |posting| found.push((posting.text, posting.count)));
            found.sort_unstable();
            found
        };
        assert!(postings.blocks.len() > 1 && !postings.recent.is_empty());
        assert!(expected.iter().all(|(term, texts)| found(&postings, *term) == *texts));
        // Memory is that of the postings and the terms, not that of a list a term.
        let held: usize = expected.values().map(Vec::len).sum();
        postings.seal();
        assert!(postings.heap_bytes() < held * size_of::<Posting>() + expected.len() * 16 * 2 + 4_096);
        let kept: Vec<Option<u32>> = (0..3_000).map(|text| (text % 3 == 1).then_some(text / 3)).collect();
        postings.retain(&kept);
        for (term, texts) in &expected {
            let left: Vec<_> = texts.iter().filter_map(|&(text, count)| Some((kept[text as usize]?, count))).collect();
            assert_eq!(found(&postings, *term), left);
        }
        assert!(found(&postings, 1).is_empty());
    }
}
