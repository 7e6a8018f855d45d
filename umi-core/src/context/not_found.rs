//! [`RefNotFound`]: what to tell somebody who named a ref that is not there.

use std::{error::Error as StdError, fmt};

use super::{collection::Snapshot, items::Item, refs::RefId, render::markdown};
use crate::error::{Error, ErrorKind};

/// Up to so many items all refs are told.
const TOLD_WHOLE: usize = 50;
/// Of more items so many are told, the nearest first.
const TOLD_NEAREST: usize = 20;
/// The largest distance of a ref that may have been meant.
const MEANT_DISTANCE: u32 = 4;
/// The characters of a wrong ref that are shown and compared.
const COMPARED_CHARS: usize = 64;

/// A ref that is not there, with the items that were when it was asked for.
///
/// It is cheap to make; its text, with the ref that may have been meant and a table of those that there are, is made when
/// it is displayed.
///
/// # Example
/// ```
/// use umi_core::context::{Context, NewItem};
/// let context = Context::new();
/// let ref_id = context.add(NewItem::text("Hello."))?.to_string();
/// let told = context.not_found(&ref_id.replace("txt_", "text_")).to_string();
/// assert!(told.contains(&format!("Did you mean: {ref_id}?")), "{told}");
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RefNotFound {
    reference: Box<str>,
    items: Snapshot,
}

impl RefNotFound {
    pub(super) fn new(reference: &str, items: Snapshot) -> Self {
        let local = reference.rsplit('/').next().unwrap_or_default();
        let end = local.char_indices().nth(COMPARED_CHARS).map_or(local.len(), |(end, _)| end);
        Self { reference: local[..end].into(), items }
    }

    /// The ref that was asked for, without its session, cut to 64 characters.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The items that there were.
    pub fn items(&self) -> &Snapshot {
        &self.items
    }

    /// The ref that may have been meant: the one of the fewest edits, at most four, among those of the same kind, or else
    /// among all; the first added of several.
    pub fn closest(&self) -> Option<RefId> {
        meant(&self.nearest(1))
    }

    /// The `limit` items whose refs are nearest, those of the same kind first, with their distances.
    fn nearest(&self, limit: usize) -> Vec<(&Item, u32)> {
        let pattern = Pattern::new(&self.reference);
        let prefix = self.reference.split('_').next().unwrap_or_default();
        let mut found: Vec<((bool, u32), &Item)> = Vec::with_capacity(limit + 1);
        for item in self.items.iter() {
            let distance = pattern.distance(&item.ref_id().text());
            let key = (item.kind().prefix() != prefix || distance > MEANT_DISTANCE, distance);
            if found.len() < limit || found.last().is_some_and(|(last, _)| key < *last) {
                // Behind those that are as near, which were added before.
                let place = found.partition_point(|(other, _)| *other <= key);
                found.insert(place, (key, item));
                found.truncate(limit);
            }
        }
        found.into_iter().map(|((_, distance), item)| (item, distance)).collect()
    }
}

impl fmt::Display for RefNotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session_id = self.items.session_id();
        write!(f, "ref '{}' not found in session {session_id}", markdown::one_line(&self.reference))?;
        let nearest = self.nearest(TOLD_NEAREST);
        if let Some(closest) = meant(&nearest) {
            write!(f, ". Did you mean: {closest}?")?;
        }
        if self.items.len() <= TOLD_WHOLE {
            write!(f, "\n\nAvailable refs:\n{}", markdown::summary(&self.items))
        } else {
            let table = markdown::table(nearest.iter().map(|(item, _)| *item));
            let header = markdown::header(&self.items);
            let others = self.items.len() - nearest.len();
            write!(f, "\n\nNearest refs:\n{header}\n\n{table}and {others} more\n")
        }
    }
}

/// The first of the nearest items, where it is near enough to have been meant.
fn meant(nearest: &[(&Item, u32)]) -> Option<RefId> {
    nearest.first().filter(|(_, distance)| *distance <= MEANT_DISTANCE).map(|(item, _)| item.ref_id())
}

impl StdError for RefNotFound {}

impl From<RefNotFound> for Error {
    fn from(missing: RefNotFound) -> Self {
        let session_id = missing.items.session_id();
        let message = format!("ref `{}` not found in session `{session_id}`", missing.reference);
        Self::new(ErrorKind::RefNotFound, message).with_source(missing)
    }
}

/// A text of at most 64 bytes, whose edits to other texts are counted by the bits of one word (Myers 1999, in the form of
/// Hyyrö 2003).
struct Pattern {
    length: u32,
    /// For every byte, the places of the pattern where it stands.
    places: [u64; 256],
}

impl Pattern {
    fn new(text: &str) -> Self {
        let mut places = [0; 256];
        let bytes = &text.as_bytes()[..text.len().min(64)];
        for (place, &byte) in bytes.iter().enumerate() {
            places[usize::from(byte)] |= 1 << place;
        }
        Self { length: bytes.len() as u32, places }
    }

    /// The fewest insertions, deletions and replacements of bytes that make this text of the other.
    fn distance(&self, text: &str) -> u32 {
        if self.length == 0 {
            return text.len() as u32;
        }
        let last = 1_u64 << (self.length - 1);
        let (mut plus, mut minus, mut distance) = (u64::MAX, 0_u64, self.length);
        for &byte in text.as_bytes() {
            let equal = self.places[usize::from(byte)];
            let across = (((equal & plus).wrapping_add(plus)) ^ plus) | equal | minus;
            let mut more = minus | !(across | plus);
            let mut less = plus & across;
            if more & last != 0 {
                distance += 1;
            } else if less & last != 0 {
                distance -= 1;
            }
            more = more << 1 | 1;
            less <<= 1;
            plus = less | !(across | more);
            minus = more & across;
        }
        distance
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::context::{collection::Context, items::NewItem, kinds::Kind};

    fn with_refs(refs: &[&str]) -> Context {
        let context = Context::with_session("s").unwrap();
        for text in refs {
            let ref_id: RefId = text.parse().unwrap();
            let item = match ref_id.kind() {
                Kind::Text => NewItem::text("x"),
                _ => NewItem::bytes(vec![0], "image/png").unwrap(),
            };
            context.insert(ref_id, item).unwrap();
        }
        context
    }

    fn meant(refs: &[&str], asked: &str) -> Option<String> {
        with_refs(refs).not_found(asked).closest().map(|ref_id| ref_id.to_string())
    }

    #[test]
    fn the_nearest_of_the_same_kind_is_meant() {
        let refs = ["txt_a1b2c3", "img_a1b2c4", "img_a1b2d4", "img_a1b2d5"];
        assert_eq!(meant(&refs, "img_a1b2c3").unwrap(), "img_a1b2c4");
        assert_eq!(meant(&refs, "img_a1b2d").unwrap(), "img_a1b2d4", "the first added of two");
        assert_eq!(meant(&refs, "s/img_a1b2cZ").unwrap(), "img_a1b2c4");
        assert_eq!(meant(&refs, "image_a1b2d5").unwrap(), "img_a1b2d5", "another prefix");
        assert_eq!(meant(&refs, "img_ffffff"), None);
        assert_eq!(meant(&refs, ""), None);
        assert_eq!(meant(&[], "img_a1b2c3"), None);
    }

    #[test]
    fn up_to_fifty_are_told_and_beyond_them_the_nearest_twenty() {
        let context = Context::sim(5);
        for _ in 0..TOLD_WHOLE {
            context.add(NewItem::text("x")).unwrap();
        }
        let rows = |context: &Context| context.not_found("txt_0000").to_string().matches("| txt_").count();
        assert_eq!(rows(&context), 50);
        context.add(NewItem::text("x")).unwrap();
        assert_eq!(rows(&context), 20);
        assert!(context.not_found("txt_0000").to_string().ends_with("and 31 more\n"));
    }

    #[test]
    fn a_long_or_strange_ref_is_cut_and_kept_on_its_line() {
        let told = Context::with_session("s").unwrap().not_found(&"é\n".repeat(1_000)).to_string();
        assert!(told.starts_with("ref 'é é "), "{told}");
        assert!(told.len() < 300, "{told}");
    }

    proptest! {
        #[test]
        fn the_distance_is_that_of_the_textbook(one in "[a-c_]{0,12}", other in "[a-c_]{0,12}") {
            let (a, b) = (one.as_bytes(), other.as_bytes());
            let mut row: Vec<u32> = (0..=b.len() as u32).collect();
            for (i, x) in a.iter().enumerate() {
                let mut corner = row[0];
                row[0] = i as u32 + 1;
                for (j, y) in b.iter().enumerate() {
                    let next = (corner + u32::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
                    corner = row[j + 1];
                    row[j + 1] = next;
                }
            }
            prop_assert_eq!(Pattern::new(&one).distance(&other), row[b.len()]);
        }
    }
}
