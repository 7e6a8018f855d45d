//! What a model found in episodes: facts, and how they relate to one another.

use super::*;
use crate::{
    entity::EvolutionType::{self, Contradict, Derive, Extend, Update},
    ledger::{ExtractJob, Extraction, ExtractionOutcome, JobChoice, JobKind, JobLease, NewRelation},
};

const HOLDER: u128 = 900;

/// An episode with a job to find its facts, which [`HOLDER`] holds.
pub(super) fn to_extract(number: u128, second: i64) -> NewEpisode {
    let lease = JobLease { holder: id(HOLDER), until: at(9_000) };
    let job = ExtractJob { id: id(500 + number), lease: Some(lease), detects_evolutions: true };
    NewEpisode { extract_job: Some(job), ..episode(number, second, "something was said") }
}

/// How the first fact of an extraction relates to a stored one.
pub(super) fn relation(number: u128, other: u128, evolution_type: EvolutionType) -> NewRelation {
    NewRelation {
        id: id(700 + number),
        fact: 0,
        other: id(other),
        evolution_type,
        reason: format!("the model said {evolution_type}"),
        confidence: 0.9,
    }
}

/// A fact without attribute, found in the episode of its number and 100.
pub(super) fn found(number: u128, second: i64, content: &str) -> NewFact {
    let mut fact = fact(number, second, None, content);
    fact.entity.episode_id = Some(id(100 + number));
    fact
}

impl Store {
    pub(super) fn extraction(&self, facts: Vec<NewFact>, relations: Vec<NewRelation>) -> Extraction {
        let jobs = facts.iter().filter_map(|fact| fact.entity.episode_id).map(|of| id(of.as_u128() + 500)).collect();
        Extraction { scope: alice(), jobs, holder: id(HOLDER), facts, relations, seen: self.head().unwrap() }
    }

    pub(super) async fn try_extract(&self, extraction: Extraction) -> ExtractionOutcome {
        self.record_extracted(&space(), extraction).await.unwrap()
    }

    /// Appends the episode of a fact and records what was found in it.
    pub(super) async fn extract(&self, fact: NewFact, relations: Vec<NewRelation>) -> Recorded {
        let number = fact.entity.episode_id.unwrap().as_u128();
        self.append_one(to_extract(number, fact.entity.valid_from.as_second())).await;
        match self.try_extract(self.extraction(vec![fact], relations)).await {
            ExtractionOutcome::Recorded(mut recorded) => recorded.remove(0),
            other => panic!("it was not recorded: {other:?}"),
        }
    }

    /// (older, newer, type) of a version's relations.
    pub(super) async fn relations_of(&self, number: u128) -> Vec<(u128, u128, EvolutionType)> {
        let number_of = |id: &str| id.parse::<Uuid>().unwrap().as_u128();
        let found = self.evolutions(&alice(), id(number)).await.unwrap();
        found.iter().map(|one| (number_of(&one.source_id), number_of(&one.target_id), one.evolution_type)).collect()
    }

    /// (content, from, to) of every version, in the order of time.
    pub(super) async fn versions(&self) -> Vec<(String, i64, Option<i64>)> {
        let all = FactFilter { limit: 100, ..FactFilter::default() };
        let facts = self.facts(&alice(), &all).await.unwrap();
        let mut found: Vec<_> = facts
            .into_iter()
            .map(|fact| (fact.content, fact.valid_from.as_second(), fact.valid_to.map(Timestamp::as_second)))
            .collect();
        found.sort_by_key(|(_, from, _)| *from);
        found
    }
}

pub(super) fn version(content: &str, from: i64, to: Option<i64>) -> (String, i64, Option<i64>) {
    (content.to_owned(), from, to)
}

#[test]
fn what_contradicts_closes_and_what_extends_does_not() {
    over_all(async |store: Store| {
        store.extract(found(1, 10, "works at Acme"), vec![]).await;
        store.extract(found(2, 20, "likes Acme's canteen"), vec![relation(1, 1, Extend)]).await;
        store.extract(found(3, 25, "earns a wage"), vec![relation(2, 1, Derive)]).await;
        let head = store.head().unwrap();
        let newer = store.extract(found(4, 30, "works at Initech"), vec![relation(3, 1, Contradict)]).await;
        assert_eq!(store.relations_of(1).await, [(1, 2, Extend), (1, 3, Derive), (1, 4, Contradict)]);
        let told = &newer.evolutions[0];
        assert_eq!((newer.evolutions.len(), told.id, told.confidence), (1, id(703), 0.9));
        assert_eq!((told.reason.as_str(), told.created_at), ("the model said contradict", at(30)));
        let expected = [
            version("works at Acme", 10, Some(30)),
            version("likes Acme's canteen", 20, None),
            version("earns a wage", 25, None),
            version("works at Initech", 30, None),
        ];
        assert_eq!(store.versions().await, expected);
        // the closed version is in the feed, so that indexes follow
        let changed = store.changes(&alice(), head, 10).await.unwrap();
        assert!(changed.rows.iter().any(|row| (row.id, row.to) == (id(1), Some(at(30)))));
        assert!(store.pending(&alice()).await.unwrap().is_empty());
        let subjects = [(EntityType::Person, " ALICE ".to_owned()), (EntityType::Person, "Bob".to_owned())];
        let current = store.subject_facts(&alice().with_session("other").unwrap(), &subjects, at(40), 9).await.unwrap();
        assert_eq!(current.iter().map(|fact| fact.id).collect::<Vec<_>>(), [id(4), id(3), id(2)]);
        assert_eq!(store.subject_facts(&alice(), &subjects, at(29), 2).await.unwrap().len(), 2);
        assert!(store.subject_facts(&Scope::new(), &subjects, at(40), 9).await.unwrap().is_empty());
        // Of several subjects none takes the share of another, and what one leaves goes to the others.
        let mut of_bob = fact(5, 31, None, "works at Hooli");
        of_bob.entity.name = "Bob".to_owned();
        store.say(of_bob).await;
        for (limit, ids) in [(2, vec![4, 5]), (3, vec![4, 3, 5]), (4, vec![4, 3, 2, 5])] {
            let shared = store.subject_facts(&alice(), &subjects, at(40), limit).await.unwrap();
            assert_eq!(shared.iter().map(|fact| fact.id.as_u128()).collect::<Vec<_>>(), ids);
        }
        store.assert_sound().await;
    });
}

#[test]
fn an_episode_is_extracted_once() {
    over_all(async |store: Store| {
        store.append_one(to_extract(101, 10)).await;
        let waiting = store.pending(&alice()).await.unwrap();
        assert_eq!((waiting[0].kind, waiting[0].episode_id), (JobKind::Extract, Some(id(101))));
        let extraction = store.extraction(vec![found(1, 10, "likes tea")], vec![]);
        let of_another = Extraction { holder: id(901), ..extraction.clone() };
        assert_eq!(store.try_extract(of_another).await, ExtractionOutcome::Gone);
        assert!(matches!(store.try_extract(extraction.clone()).await, ExtractionOutcome::Recorded(_)));
        let before = store.stats().await.unwrap();
        assert_eq!(store.try_extract(extraction).await, ExtractionOutcome::Gone);
        // forgotten while the model was at it
        store.append_one(to_extract(102, 20)).await;
        let late = store.extraction(vec![found(2, 20, "likes jazz")], vec![]);
        store.forget(&alice(), id(102), ForgetReach::Version, at(30)).await.unwrap();
        assert_eq!(store.try_extract(late).await, ExtractionOutcome::Gone);
        let after = store.stats().await.unwrap();
        assert_eq!((after.sightings, after.jobs, after.episodes), (before.sightings, 0, before.episodes));
        store.assert_sound().await;
    });
}

#[test]
fn a_job_to_extract_is_leased_by_its_kind_with_what_is_wanted() {
    over_all(async |store: Store| {
        for (number, wanted) in [(101, true), (102, false)] {
            let job = ExtractJob { id: id(500 + number), lease: None, detects_evolutions: wanted };
            store.append_one(NewEpisode { extract_job: Some(job), ..episode(number, 10, "said") }).await;
        }
        let lease = JobLease { holder: id(HOLDER), until: at(30) };
        let of = |kind: JobKind| JobChoice { kind, failed: false, after: 0, limit: 9 };
        assert!(store.lease_jobs(of(JobKind::Embed), at(10), lease).await.unwrap().is_empty());
        let leased = store.lease_jobs(of(JobKind::Extract), at(10), lease).await.unwrap();
        let told: Vec<_> = leased.iter().map(|one| (one.job.id, one.job.kind, one.detects_evolutions)).collect();
        assert_eq!(told, [(id(601), JobKind::Extract, true), (id(602), JobKind::Extract, false)]);
        assert_eq!(leased[0].text.owner(), Owner { kind: Kind::Episode, id: id(101) });
        let vectors = OwnerVectors { owner: leased[0].text.owner(), vectors: vec![(0, vec![7])] };
        assert!(!store.finish_embed_job(&space(), id(601), id(HOLDER), vectors).await.unwrap());
        store.assert_sound().await;
    });
}

#[test]
fn what_moved_since_it_was_looked_at_is_decided_again() {
    over_all(async |store: Store| {
        store.extract(found(1, 10, "works at Acme"), vec![]).await;
        let mut of_bob = found(2, 10, "works at Hooli");
        of_bob.entity.name = "Bob".to_owned();
        store.extract(of_bob, vec![]).await;
        store.append_one(to_extract(103, 30)).await;
        let seen = store.head().unwrap();
        let try_with = async |seen: i64, name: &str, other: u128| {
            let mut fact = found(3, 30, "works at Initech");
            fact.entity.name = name.to_owned();
            let extraction = store.extraction(vec![fact], vec![relation(1, other, Contradict)]);
            store.try_extract(Extraction { seen, ..extraction }).await
        };
        // the subject, and a candidate of another subject
        store.say(fact(4, 20, None, "likes tea")).await;
        assert_eq!(try_with(seen, "alice", 2).await, ExtractionOutcome::Moved);
        let mut again = fact(5, 20, None, "works at Hooli");
        again.entity.name = "Bob".to_owned();
        store.say(again).await;
        assert_eq!(try_with(seen, "Carol", 2).await, ExtractionOutcome::Moved);
        assert_eq!(try_with(seen, "Carol", 77).await, ExtractionOutcome::Moved);
        assert_eq!(store.pending(&alice()).await.unwrap().len(), 1);
        assert!(matches!(try_with(seen, "Carol", 1).await, ExtractionOutcome::Recorded(_)));
        store.assert_sound().await;
    });
}

#[test]
fn a_late_arrival_is_closed_by_what_it_contradicts() {
    over_all(async |store: Store| {
        store.extract(found(1, 30, "works at Acme"), vec![]).await;
        store.extract(found(2, 10, "works at Initech"), vec![relation(1, 1, Contradict)]).await;
        assert_eq!(store.relations_of(1).await, [(2, 1, Contradict)]);
        assert_eq!(
            store.versions().await,
            [version("works at Initech", 10, Some(30)), version("works at Acme", 30, None)]
        );
        // from the midst of what was said twice: it ends that, and is ended where that was said again
        store.extract(found(3, 50, "works at Acme"), vec![]).await;
        store.extract(found(4, 40, "is a student"), vec![relation(2, 1, Update)]).await;
        let expected = [
            version("works at Initech", 10, Some(30)),
            version("works at Acme", 30, Some(40)),
            version("is a student", 40, Some(50)),
            version("works at Acme", 50, None),
        ];
        assert_eq!(store.versions().await, expected);
        assert_eq!(store.relations_of(4).await, [(1, 4, Update), (4, 3, Update)]);
        store.assert_sound().await;
    });
}

#[test]
fn what_was_closed_and_is_said_again_begins_anew() {
    over_all(async |store: Store| {
        store.extract(found(1, 10, "works at Acme"), vec![]).await;
        store.extract(found(2, 20, "works at Initech"), vec![relation(1, 1, Contradict)]).await;
        let again = store.extract(found(3, 40, "works at Acme"), vec![relation(2, 2, Contradict)]).await;
        assert_eq!((again.entity.id, again.entity.valid_from, again.entity.valid_to), (id(3), at(40), None));
        let late = store.extract(found(4, 15, "works at Acme"), vec![]).await;
        assert_eq!((late.entity.id, late.entity.last_seen, late.entity.valid_to), (id(1), at(15), Some(at(20))));
        let ends = [link(10, Some(20)), link(20, Some(40)), link(40, None)];
        let chain: Vec<_> = store.chain_of(1).await.into_iter().map(|(_, from, to)| (from, to)).collect();
        assert_eq!(chain, ends);
        assert_eq!(store.relations_of(2).await, [(1, 2, Contradict), (2, 3, Contradict)]);
        // nothing leads from a version to one that begins later by itself
        assert_eq!(store.relations_of(1).await, [(1, 2, Contradict)]);
        store.assert_sound().await;
        // forgetting what closed them opens them again
        store.forget(&alice(), id(102), ForgetReach::Version, at(90)).await.unwrap();
        assert_eq!(store.versions().await, [version("works at Acme", 10, None)]);
        assert!(store.relations_of(1).await.is_empty());
        store.assert_sound().await;
    });
}

fn link(from: i64, to: Option<i64>) -> (i64, Option<i64>) {
    (from, to)
}

#[test]
fn a_decision_outlives_a_saying_where_another_one_stands_for_it() {
    over_all(async |store: Store| {
        store.extract(found(1, 10, "works at Acme"), vec![]).await;
        store.extract(found(2, 20, "works at Initech"), vec![relation(1, 1, Contradict)]).await;
        store.extract(found(3, 30, "works at Initech"), vec![]).await;
        store.forget(&alice(), id(102), ForgetReach::Version, at(90)).await.unwrap();
        assert_eq!(
            store.versions().await,
            [version("works at Acme", 10, Some(30)), version("works at Initech", 30, None)]
        );
        let told = store.evolutions(&alice(), id(1)).await.unwrap();
        assert_eq!((told.len(), told[0].id, told[0].evolution_type), (1, id(701), Contradict));
        // nothing of the model's words, which may be those of what was forgotten
        assert_eq!(told[0].reason, "“works at Initech” contradicts “works at Acme”");
        store.assert_sound().await;
        assert!(store.forget(&alice(), id(103), ForgetReach::Version, at(91)).await.unwrap());
        assert_eq!(store.versions().await, [version("works at Acme", 10, None)]);
        store.assert_sound().await;
        assert_eq!(store.forget_scope(&alice(), at(92)).await.unwrap(), 2);
        let stats = store.stats().await.unwrap();
        assert_eq!((stats.sightings, stats.versions, stats.evolutions), (0, 0, 0));
        store.assert_sound().await;
    });
}

#[test]
fn a_decision_tells_of_two_sayings_of_one_slot_in_the_place_of_their_update() {
    over_all(async |store: Store| {
        let home = |number, second, content: &str| {
            let mut fact = found(number, second, content);
            fact.entity.attribute = Some("home".to_owned());
            fact
        };
        store.extract(home(1, 10, "Rome"), vec![]).await;
        let moved = store.extract(home(2, 20, "Porto"), vec![relation(1, 1, Contradict)]).await;
        assert_eq!(moved.evolutions.iter().map(|one| one.id).collect::<Vec<_>>(), [id(701)]);
        assert_eq!(store.relations_of(1).await, [(1, 2, Contradict)]);
        store.assert_sound().await;
        // what comes between them is told by itself, and theirs stays
        store.extract(home(3, 15, "Faro"), vec![]).await;
        assert_eq!(store.relations_of(1).await, [(1, 3, Update), (1, 2, Contradict)]);
        assert_eq!(store.relations_of(3).await, [(1, 3, Update), (3, 2, Update)]);
        store.assert_sound().await;
        store.forget(&alice(), id(103), ForgetReach::Version, at(90)).await.unwrap();
        assert_eq!(store.relations_of(1).await, [(1, 2, Contradict)]);
        // a slot with an attribute is closed by a fact of another slot
        store.extract(found(4, 30, "is on a boat"), vec![relation(4, 2, Update)]).await;
        let expected =
            [version("Rome", 10, Some(20)), version("Porto", 20, Some(30)), version("is on a boat", 30, None)];
        assert_eq!(store.versions().await, expected);
        store.extract(home(5, 40, "Lima"), vec![]).await;
        assert_eq!(store.relations_of(5).await, []);
        let chain: Vec<String> = store.chain_of(5).await.into_iter().map(|(content, ..)| content).collect();
        assert_eq!(chain, ["Rome", "Porto", "is on a boat", "Lima"]);
        store.assert_sound().await;
    });
}

#[test]
fn a_relation_that_cannot_be_one_is_refused_and_a_long_reason_is_cut() {
    over_all(async |store: Store| {
        store.extract(found(1, 10, "works at Acme"), vec![]).await;
        store.append_one(to_extract(102, 20)).await;
        let with = |relation: NewRelation| store.extraction(vec![found(2, 20, "works at Initech")], vec![relation]);
        for bad in [
            NewRelation { fact: 1, ..relation(1, 1, Update) },
            NewRelation { confidence: f64::NAN, ..relation(1, 1, Update) },
        ] {
            let error = store.record_extracted(&space(), with(bad)).await.unwrap_err();
            assert_eq!(error.kind(), crate::error::ErrorKind::InvalidInput);
        }
        let mut of_nobody = with(relation(1, 1, Update));
        of_nobody.facts[0].entity.user = None;
        assert!(store.record_extracted(&space(), of_nobody).await.is_err());
        assert_eq!(store.stats().await.unwrap().sightings, 1);
        let long = NewRelation { reason: "ü".repeat(600) + "x", ..relation(1, 1, Update) };
        assert!(matches!(store.try_extract(with(long)).await, ExtractionOutcome::Recorded(_)));
        assert_eq!(store.evolutions(&alice(), id(1)).await.unwrap()[0].reason, "ü".repeat(512));
        store.assert_sound().await;
    });
}
