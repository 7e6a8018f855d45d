//! Which texts hold a term.

use std::collections::HashMap;

use crate::index::analysis::Lexical;

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

/// The texts of every term, in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Postings {
    terms: HashMap<u64, u32>,
    lists: Vec<Vec<Posting>>,
    held: usize,
}

impl Postings {
    /// Adds a text, whose number is above those before it.
    pub(super) fn insert(&mut self, text: u32, lexical: Lexical<'_>) {
        let length = stored_length(lexical.length);
        for (term, count) in lexical.terms() {
            let next = self.lists.len() as u32;
            let list = *self.terms.entry(term).or_insert(next);
            if list == next {
                self.lists.push(Vec::with_capacity(1));
            }
            self.lists[list as usize].push(Posting { text, count, length });
            self.held += 1;
        }
    }

    /// The texts that hold a term, those included that are dead.
    pub(super) fn of(&self, term: u64) -> &[Posting] {
        self.terms.get(&term).map_or(&[], |&list| &self.lists[list as usize])
    }

    /// Whether each term of a text leads to it, as often as it is there.
    pub(super) fn holds(&self, text: u32, lexical: Lexical<'_>) -> bool {
        let length = stored_length(lexical.length);
        lexical.terms().all(|(term, count)| {
            let list = self.of(term);
            let found = list.binary_search_by_key(&text, |posting| posting.text).ok().map(|at| list[at]);
            found.is_some_and(|posting| posting.count == count && posting.length == length)
        })
    }

    /// Drops dead texts. `kept` gives each old number its new one, or none.
    pub(super) fn retain(&mut self, kept: &[Option<u32>]) {
        for list in &mut self.lists {
            list.retain_mut(|posting| kept[posting.text as usize].map(|text| posting.text = text).is_some());
        }
        let lists = &self.lists;
        self.terms.retain(|_, list| !lists[*list as usize].is_empty());
        let mut next = 0;
        let numbers: Vec<u32> = lists
            .iter()
            .map(|list| {
                let number = next;
                next += u32::from(!list.is_empty());
                number
            })
            .collect();
        #[expect(clippy::iter_over_hash_type, reason = "each value changes by itself")]
        for list in self.terms.values_mut() {
            *list = numbers[*list as usize];
        }
        self.lists.retain(|list| !list.is_empty());
        self.held = self.lists.iter().map(Vec::len).sum();
    }

    /// Bytes of memory. Lists grow by doubling, so a half is added to what they hold.
    pub(super) fn heap_bytes(&self) -> usize {
        self.terms.capacity() * (size_of::<(u64, u32)>() + 1)
            + self.lists.capacity() * size_of::<Vec<Posting>>()
            + self.lists.len() * 16
            + self.held * size_of::<Posting>() * 3 / 2
    }
}
