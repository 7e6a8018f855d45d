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

/// One version: a run of sightings of the same content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The id of the sighting of the run that was recorded first, so that a version keeps its id while it grows.
    pub id: Uuid,
    /// The positions of its sightings in what was given to [`chain`], in order of time.
    pub members: Vec<usize>,
    /// The first sighting's time.
    pub valid_from: Timestamp,
    /// The next version's `valid_from`; none for the last version.
    pub valid_to: Option<Timestamp>,
    /// The last sighting's time.
    pub last_seen: Timestamp,
}

/// Sorts the sightings of one fact by (`valid_from`, `seq`) and cuts them into versions, oldest first.
///
/// Every order of arrival of sightings with distinct `valid_from` gives the same contents and times.
///
/// # Example
/// ```
/// use umi_core::{Sighting, chain};
/// use uuid::Uuid;
/// let said = |n: i64, year: &str, content: &str| Sighting {
///     id: Uuid::from_u128(n as u128),
///     seq: n,
///     content: content.to_owned(),
///     valid_from: format!("{year}-01-01T00:00:00Z").parse().unwrap(),
///     starts_version: false,
/// };
/// // the fact of 2024 arrives late
/// let versions = chain(&[said(1, "2023", "Acme"), said(2, "2025", "Initech"), said(3, "2024", "Acme")]);
/// assert_eq!(versions.len(), 2);
/// assert_eq!(versions[0].members, [0, 2]);
/// assert_eq!(versions[0].valid_to, Some(versions[1].valid_from));
/// ```
pub fn chain(sightings: &[Sighting]) -> Vec<Span> {
    let mut order: Vec<usize> = (0..sightings.len()).collect();
    order.sort_by_key(|&index| (sightings[index].valid_from, sightings[index].seq));
    let mut spans: Vec<Span> = Vec::new();
    for index in order {
        let sighting = &sightings[index];
        let same = spans.last().and_then(|span| span.members.first()).is_some_and(|&first| {
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
                    span.valid_to = Some(sighting.valid_from);
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

    fn shape(sightings: &[Sighting]) -> Shape {
        let content = |span: &Span| sightings[span.members[0]].content.clone();
        chain(sightings).iter().map(|span| (content(span), span.valid_from, span.valid_to, span.last_seen)).collect()
    }

    proptest! {
        #[test]
        fn every_order_of_arrival_gives_the_same_chain(
            facts in prop::collection::btree_map(0_i64..1_000, 0_u8..3, 1..12),
            shuffled in any::<prop::sample::Index>(),
            step in 1_usize..11,
        ) {
            let facts: Vec<(i64, u8)> = facts.into_iter().collect();
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
            prop_assert_eq!(shape(&arrive(&sorted)), shape(&arrive(&other)));
        }

        #[test]
        fn versions_follow_one_another_without_gaps(
            facts in prop::collection::vec((0_i64..50, 0_u8..3), 0..20),
        ) {
            let sightings: Vec<Sighting> =
                (1..).zip(&facts).map(|(seq, &(at, content))| said(seq, at, content)).collect();
            let spans = chain(&sightings);
            for pair in spans.windows(2) {
                prop_assert_eq!(pair[0].valid_to, Some(pair[1].valid_from));
                prop_assert!(pair[0].last_seen <= pair[1].valid_from);
            }
            prop_assert!(spans.last().is_none_or(|span| span.valid_to.is_none()));
            let mut members: Vec<usize> = spans.iter().flat_map(|span| span.members.clone()).collect();
            members.sort_unstable();
            prop_assert_eq!(members, (0..sightings.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_version_keeps_its_id_when_an_earlier_saying_arrives_late() {
        let spans = chain(&[said(1, 10, 0), said(2, 5, 0)]);
        assert_eq!(spans.len(), 1);
        assert_eq!(spans[0].id, Uuid::from_u128(1));
        assert_eq!(spans[0].members, [1, 0]);
    }

    #[test]
    fn an_update_starts_a_version_of_the_same_content() {
        let mut again = said(2, 20, 0);
        again.starts_version = true;
        assert_eq!(chain(&[said(1, 10, 0), again]).len(), 2);
    }

    #[test]
    fn a_plan_of_the_same_content_stays_ahead_of_an_update() {
        let mut update = said(3, 20, 0);
        update.starts_version = true;
        let spans = chain(&[said(1, 10, 0), said(2, 30, 0), update, said(4, 25, 0)]);
        let members: Vec<_> = spans.iter().map(|span| span.members.as_slice()).collect();
        assert_eq!(members, [&[0][..], &[2, 3], &[1]]);
        assert_eq!(spans[1].id, Uuid::from_u128(3));
    }
}
