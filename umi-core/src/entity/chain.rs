//! The chain of versions of one fact as a pure function of everything that was said about it.

use jiff::Timestamp;
use uuid::Uuid;

/// One saying of a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The saying's own id.
    pub id: Uuid,
    /// Its place in the ledger's feed when it was first recorded: later sayings have larger numbers.
    pub seq: i64,
    /// What was said.
    pub content: String,
    /// From when on it is true.
    pub valid_from: Timestamp,
    /// Starts a version of its own even where the content is that of its predecessor (`update()`). What was said
    /// before it for a later time never joins that version, so that a plan does not overwrite the update.
    pub starts_version: bool,
}

/// A place in time at which something outside of a fact's own sayings ended what it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Closing {
    /// From when on it holds no more.
    pub at: Timestamp,
    /// The `seq` of the saying that ended it: of the sightings of that same time, those with smaller numbers are ended.
    pub seq: i64,
}

/// One version: a run of sightings of the same content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The id of the sighting of the run that was recorded first, so that a version keeps its id while it grows.
    pub id: Uuid,
    /// The positions of its sightings in what was given to [`chain`], in order of time.
    pub members: Vec<usize>,
    /// The first sighting's time.
    pub valid_from: Timestamp,
    /// The time of what ended it: a closing, else the next version's `valid_from`; none while nothing has.
    pub valid_to: Option<Timestamp>,
    /// The last sighting's time.
    pub last_seen: Timestamp,
}

/// Sorts the sightings of one fact by (`valid_from`, `seq`) and cuts them into versions, oldest first.
///
/// A closing ends the version that holds there; the next sighting behind it begins a new one. Every order of arrival of
/// sightings and closings with distinct times gives the same contents and times.
///
/// # Example
/// ```
/// use umi_core::{Closing, Sighting, chain};
/// use uuid::Uuid;
/// let said = |n: i64, year: &str, content: &str| Sighting {
///     id: Uuid::from_u128(n as u128),
///     seq: n,
///     content: content.to_owned(),
///     valid_from: format!("{year}-01-01T00:00:00Z").parse().unwrap(),
///     starts_version: false,
/// };
/// // the fact of 2024 arrives late
/// let sayings = [said(1, "2023", "Acme"), said(2, "2025", "Initech"), said(3, "2024", "Acme")];
/// let versions = chain(&sayings, &[]);
/// assert_eq!(versions.len(), 2);
/// assert_eq!(versions[0].members, [0, 2]);
/// assert_eq!(versions[0].valid_to, Some(versions[1].valid_from));
/// let retired = Closing { at: "2026-01-01T00:00:00Z".parse().unwrap(), seq: 4 };
/// assert_eq!(chain(&sayings, &[retired])[1].valid_to, Some(retired.at));
/// ```
pub fn chain(sightings: &[Sighting], closings: &[Closing]) -> Vec<Span> {
    let mut order: Vec<usize> = (0..sightings.len()).collect();
    order.sort_by_key(|&index| (sightings[index].valid_from, sightings[index].seq));
    let mut closings = closings.to_vec();
    closings.sort_unstable();
    let mut closings = closings.into_iter().peekable();
    let mut spans: Vec<Span> = Vec::new();
    for index in order {
        let sighting = &sightings[index];
        let place = Closing { at: sighting.valid_from, seq: sighting.seq };
        while let Some(closing) = closings.next_if(|closing| *closing < place) {
            if let Some(span) = spans.last_mut() {
                span.valid_to.get_or_insert(closing.at);
            }
        }
        let open = spans.last().filter(|span| span.valid_to.is_none());
        let same = open.and_then(|span| span.members.first()).is_some_and(|&first| {
            let first = &sightings[first];
            let is_older = first.starts_version && sighting.seq < first.seq;
            first.content == sighting.content && !sighting.starts_version && !is_older
        });
        match spans.last_mut() {
            Some(span) if same => {
                span.members.push(index);
                span.last_seen = sighting.valid_from;
            }
            previous => {
                if let Some(span) = previous {
                    span.valid_to.get_or_insert(sighting.valid_from);
                }
                spans.push(Span {
                    id: sighting.id,
                    members: vec![index],
                    valid_from: sighting.valid_from,
                    valid_to: None,
                    last_seen: sighting.valid_from,
                });
            }
        }
    }
    if let (Some(last), Some(closing)) = (spans.last_mut(), closings.next()) {
        last.valid_to.get_or_insert(closing.at);
    }
    for span in &mut spans {
        if let Some(&first) = span.members.iter().min_by_key(|&&index| sightings[index].seq) {
            span.id = sightings[first].id;
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(seq: i64, second: i64, content: u8) -> Sighting {
        Sighting {
            id: Uuid::from_u128(u128::from(seq.unsigned_abs())),
            seq,
            content: content.to_string(),
            valid_from: Timestamp::from_second(second).unwrap(),
            starts_version: false,
        }
    }

    type Shape = Vec<(String, Timestamp, Option<Timestamp>, Timestamp)>;

    fn shape(sightings: &[Sighting], closings: &[Closing]) -> Shape {
        let content = |span: &Span| sightings[span.members[0]].content.clone();
        let tell = |span: &Span| (content(span), span.valid_from, span.valid_to, span.last_seen);
        chain(sightings, closings).iter().map(tell).collect()
    }

    fn closed(at: i64) -> Closing {
        Closing { at: Timestamp::from_second(at).unwrap(), seq: 1_000 + at }
    }

    proptest! {
        #[test]
        fn every_order_of_arrival_gives_the_same_chain(
            facts in prop::collection::btree_map((0_i64..1_000).prop_map(|at| 2 * at), 0_u8..3, 1..12),
            closings in prop::collection::btree_set((0_i64..1_000).prop_map(|at| 2 * at + 1), 0..4),
            shuffled in any::<prop::sample::Index>(),
            step in 1_usize..11,
        ) {
            let facts: Vec<(i64, u8)> = facts.into_iter().collect();
            let mut closings: Vec<Closing> = closings.into_iter().map(closed).collect();
            let arrive = |order: &[usize]| -> Vec<Sighting> {
                (1..).zip(order).map(|(seq, &index)| said(seq, facts[index].0, facts[index].1)).collect()
            };
            let sorted: Vec<usize> = (0..facts.len()).collect();
            let mut other: Vec<usize> = (0..facts.len()).collect();
            other.rotate_left(shuffled.index(facts.len()));
            for index in 0..other.len() {
                let swap = (index * step) % other.len();
                other.swap(index, swap);
            }
            let first = shape(&arrive(&sorted), &closings);
            closings.reverse();
            prop_assert_eq!(first, shape(&arrive(&other), &closings));
        }

        #[test]
        fn versions_follow_one_another_and_gaps_begin_at_closings(
            facts in prop::collection::vec((0_i64..50, 0_u8..3), 0..20),
            closings in prop::collection::vec((0_i64..50, 0_i64..30), 0..6),
        ) {
            let sightings: Vec<Sighting> =
                (1..).zip(&facts).map(|(seq, &(at, content))| said(seq, at, content)).collect();
            let closings: Vec<Closing> = closings
                .into_iter()
                .map(|(at, seq)| Closing { at: Timestamp::from_second(at).unwrap(), seq })
                .collect();
            let spans = chain(&sightings, &closings);
            for (index, span) in spans.iter().enumerate() {
                let next = spans.get(index + 1);
                prop_assert!(span.valid_to.is_some() || next.is_none());
                prop_assert!(span.valid_to.is_none_or(|end| span.last_seen <= end));
                if let Some(next) = next {
                    prop_assert!(span.valid_to <= Some(next.valid_from));
                }
                if span.valid_to != next.map(|next| next.valid_from) {
                    prop_assert!(closings.iter().any(|closing| Some(closing.at) == span.valid_to));
                }
                // No closing lies within a version.
                let place = |&index: &usize| Closing { at: sightings[index].valid_from, seq: sightings[index].seq };
                let (first, last) = (place(&span.members[0]), place(&span.members[span.members.len() - 1]));
                prop_assert!(!closings.iter().any(|closing| first < *closing && *closing < last));
            }
            let mut members: Vec<usize> = spans.iter().flat_map(|span| span.members.clone()).collect();
            members.sort_unstable();
            prop_assert_eq!(members, (0..sightings.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_saying_behind_a_closing_begins_a_version_of_the_same_content() {
        let sayings = [said(1, 10, 0), said(2, 20, 0), said(3, 30, 0)];
        let ends = |closings: &[Closing]| -> Vec<_> {
            let second = |time: Timestamp| time.as_second();
            chain(&sayings, closings).iter().map(|span| (second(span.valid_from), span.valid_to.map(second))).collect()
        };
        assert_eq!(ends(&[closed(25)]), [(10, Some(25)), (30, None)]);
        assert_eq!(ends(&[closed(5)]), [(10, None)]);
        assert_eq!(ends(&[closed(40), closed(35)]), [(10, Some(35))]);
        // of one time, what was said before the closing is ended and what was said behind it is not
        let at = |seq| Closing { seq, ..closed(20) };
        assert_eq!(ends(&[at(9)]), [(10, Some(20)), (30, None)]);
        assert_eq!(ends(&[at(1)]), [(10, Some(20)), (20, None)]);
    }

    #[test]
    fn a_version_keeps_its_id_when_an_earlier_saying_arrives_late() {
        let spans = chain(&[said(1, 10, 0), said(2, 5, 0)], &[]);
        assert_eq!(spans.len(), 1);
        assert_eq!(spans[0].id, Uuid::from_u128(1));
        assert_eq!(spans[0].members, [1, 0]);
    }

    #[test]
    fn an_update_starts_a_version_of_the_same_content() {
        let mut again = said(2, 20, 0);
        again.starts_version = true;
        assert_eq!(chain(&[said(1, 10, 0), again], &[]).len(), 2);
    }

    #[test]
    fn a_plan_of_the_same_content_stays_ahead_of_an_update() {
        let mut update = said(3, 20, 0);
        update.starts_version = true;
        let spans = chain(&[said(1, 10, 0), said(2, 30, 0), update, said(4, 25, 0)], &[]);
        let members: Vec<_> = spans.iter().map(|span| span.members.as_slice()).collect();
        assert_eq!(members, [&[0][..], &[2, 3], &[1]]);
        assert_eq!(spans[1].id, Uuid::from_u128(3));
    }
}
