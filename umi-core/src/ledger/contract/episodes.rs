//! Episodes, keys, jobs and embedding spaces.

use super::*;
use crate::{
    error::{Error, ErrorKind},
    ledger::{EmbedJob, JobChoice, JobFailure, JobKind, JobLease},
};

#[test]
fn a_batch_is_kept_whole_or_not_at_all_and_neighbours_stand() {
    over_all(async |store: Store| {
        store.append_one(episode(1, 10, "first")).await;
        let (good, bad) = (vec![episode(2, 20, "good")], vec![episode(3, 30, "gone"), episode(1, 30, "twice")]);
        let space = space();
        let (good, bad, other) = tokio::join!(
            store.append(&space, good),
            store.append(&space, bad),
            store.append(&space, vec![episode(4, 40, "good too")]),
        );
        assert!(good.is_ok() && other.is_ok());
        assert_eq!(bad.unwrap_err().kind(), ErrorKind::Storage);
        let all = EpisodePage { limit: 10, offset: 0, newest_first: false, until: None };
        let texts: Vec<String> =
            store.episodes(&alice(), all).await.unwrap().into_iter().map(|episode| episode.text).collect();
        assert_eq!(texts, ["first", "good", "good too"]);
        let last = EpisodePage { limit: 1, offset: 1, newest_first: true, until: None };
        assert_eq!(store.episodes(&alice(), last).await.unwrap()[0].text, "good");
        store.assert_sound().await;
    });
}

#[test]
fn an_episode_comes_back_as_it_was_given() {
    over_all(async |store: Store| {
        let mut new = episode(1, 10, "Ünïcode \u{0} and more");
        new.episode.name = Some("Al".to_owned());
        new.episode.session = Some("s".to_owned());
        new.episode.source = Some("file:x".to_owned());
        new.episode.metadata = Metadata::parse("{\"z\":1e400,\"a\":[1]}").unwrap();
        new.episode.at = Timestamp::from_microsecond(-1_234_567).unwrap();
        store.append_one(new.clone()).await;
        assert_eq!(store.episode(&alice(), id(1)).await.unwrap(), Some(new.episode.clone()));
        assert_eq!(store.episodes_by_id(&alice(), &[id(1), id(1), id(2)]).await.unwrap(), [new.episode]);
        assert_eq!(store.episode(&Scope::new(), id(1)).await.unwrap(), None);
        assert_eq!(store.episode(&alice().with_session("t").unwrap(), id(1)).await.unwrap(), None);
    });
}

#[test]
fn a_key_belongs_to_one_text_of_one_tenant_until_it_is_forgotten() {
    over_all(async |store: Store| {
        let keyed = |number, text: &str| NewEpisode { key: Some(("k".to_owned(), 0)), ..episode(number, 10, text) };
        assert!(store.append_one(keyed(1, "text")).await.known.is_none());
        let again = store.append_one(keyed(2, "text")).await;
        assert_eq!((again.id, again.known.map(|known| known.id)), (id(1), Some(id(1))));
        let other = store.append(&space(), vec![keyed(3, "other")]).await.unwrap_err();
        assert_eq!(other.kind(), ErrorKind::InvalidInput);
        let mut of_bob = keyed(4, "other");
        of_bob.episode.user = Some("bob".to_owned());
        assert!(store.append_one(of_bob).await.known.is_none());
        store.forget(&alice(), id(1), ForgetReach::Version, at(20)).await.unwrap();
        assert!(store.append_one(keyed(5, "other")).await.known.is_none());
    });
}

fn free_job(number: u128) -> EmbedJob {
    EmbedJob { id: id(number), lease: None }
}

fn lease(holder: u128, until: i64) -> JobLease {
    JobLease { holder: id(holder), until: at(until) }
}

/// Those that are free.
const FREE: JobChoice = JobChoice { kind: JobKind::Embed, failed: false, after: 0, limit: 9 };

fn failure(error: &str, again: Option<i64>) -> JobFailure {
    JobFailure { error: Error::storage(error), is_counted: true, again: again.map(at) }
}

#[test]
fn a_job_is_born_held_by_the_call_that_left_it() {
    over_all(async |store: Store| {
        let job = EmbedJob { lease: Some(lease(91, 30)), ..free_job(71) };
        store.append_one(NewEpisode { embed_job: Some(job), ..episode(1, 10, "mine") }).await;
        assert_eq!(store.pending(&alice()).await.unwrap().len(), 1);
        assert!(store.lease_jobs(FREE, at(29), lease(92, 40)).await.unwrap().is_empty());
        store.release_jobs(id(91)).await.unwrap();
        assert_eq!(store.next_lease_end(at(1)).await.unwrap(), None);
        assert_eq!(store.lease_jobs(FREE, at(29), lease(92, 40)).await.unwrap().len(), 1);
    });
}

#[test]
fn a_job_that_failed_is_put_off_and_taken_by_who_asks_for_those_too() {
    over_all(async |store: Store| {
        for number in 1..=3 {
            let job = EmbedJob { lease: Some(lease(91, 30)), ..free_job(70 + number) };
            store.append_one(NewEpisode { embed_job: Some(job), ..episode(number, 10, "mine") }).await;
        }
        let taken = async |choice: JobChoice, now: i64| -> Vec<Uuid> {
            let leased = store.lease_jobs(choice, at(now), lease(92, now + 9)).await.unwrap();
            leased.into_iter().map(|leased| leased.job.id).collect()
        };
        store.fail_job(id(71), id(91), failure("down", Some(40))).await.unwrap();
        let uncounted = JobFailure { is_counted: false, ..failure("no key", None) };
        store.fail_job(id(72), id(91), uncounted).await.unwrap();
        let told = store.pending(&alice()).await.unwrap();
        let told: Vec<_> = told.iter().map(|job| (job.attempts, job.last_error.as_deref())).collect();
        assert_eq!(told, [(1, Some("down")), (0, Some("no key")), (0, None)]);
        store.put_off_jobs(id(91), Some(at(35))).await.unwrap();
        assert_eq!(store.next_lease_end(at(20)).await.unwrap(), Some(at(35)));
        assert!(taken(FREE, 34).await.is_empty());
        assert_eq!(taken(FREE, 35).await, [id(73)]);
        assert_eq!(store.release_jobs(id(92)).await.unwrap(), None);
        assert_eq!(taken(FREE, 39).await, [id(73)], "it was not tried");
        assert_eq!(taken(FREE, 40).await, [id(71)]);
        assert_eq!(store.release_jobs(id(92)).await.unwrap(), Some(at(49)));
        assert_eq!(store.next_lease_end(at(20)).await.unwrap(), Some(at(49)));
        assert_eq!(taken(FREE, 48).await, [id(73)], "what has failed is put off until its lease would have ended");
        store.release_jobs(id(92)).await.unwrap();
        assert_eq!(taken(FREE, 49).await, [id(71), id(73)]);
        store.release_jobs(id(92)).await.unwrap();
        assert_eq!(taken(FREE, 50).await, [id(73)]);
        let all = JobChoice { failed: true, ..FREE };
        assert_eq!(taken(JobChoice { after: 1, ..all }, 50).await, [id(72)]);
        assert_eq!(taken(all, 50).await, [id(71)], "each is held by one");
        store.assert_sound().await;
    });
}

#[test]
fn a_job_is_held_by_one_until_its_lease_ends() {
    over_all(async |store: Store| {
        let mut new = episode(1, 10, "later");
        new.pieces[0].vector = None;
        new.embed_job = Some(free_job(71));
        store.append_one(new).await;
        let mut said = fact(2, 10, None, "later too");
        said.piece.vector = None;
        said.embed_job = Some(free_job(72));
        store.say(said).await;
        assert!(store.has_jobs(None).await.unwrap());
        let leased = store.lease_jobs(FREE, at(20), lease(91, 30)).await.unwrap();
        assert_eq!(
            leased.iter().map(|leased| (leased.job.id, leased.text.owner().id)).collect::<Vec<_>>(),
            [(id(71), id(1)), (id(72), id(2))]
        );
        assert_eq!(leased.iter().map(|leased| leased.place).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(store.next_lease_end(at(1)).await.unwrap(), Some(at(30)));
        assert_eq!(store.next_lease_end(at(30)).await.unwrap(), None, "what has ended is no end to wait for");
        assert!(store.lease_jobs(FREE, at(29), lease(92, 40)).await.unwrap().is_empty());
        assert!(!store.has_jobs(Some(at(29))).await.unwrap() && store.has_jobs(Some(at(30))).await.unwrap());
        store.renew_jobs(lease(91, 35)).await.unwrap();
        assert!(store.lease_jobs(FREE, at(34), lease(92, 40)).await.unwrap().is_empty());
        let one = JobChoice { limit: 1, ..FREE };
        let again = store.lease_jobs(one, at(35), lease(92, 40)).await.unwrap();
        assert_eq!((again.len(), again[0].job.attempts), (1, 0));
        let head = store.head().unwrap();
        let jobs = [(id(71), again[0].text.owner()), (id(72), Owner { kind: Kind::Fact, id: id(2) })];
        let vectors = |owner| OwnerVectors { owner, vectors: vec![(0, vec![7])] };
        // Who lost a lease takes nothing from who holds it now.
        assert!(!store.finish_embed_job(&space(), jobs[0].0, id(91), vectors(jobs[0].1)).await.unwrap());
        store.fail_job(id(71), id(91), failure("late", None)).await.unwrap();
        store.release_jobs(id(91)).await.unwrap();
        assert_eq!(
            store.lease_jobs(FREE, at(36), lease(93, 50)).await.unwrap().len(),
            1,
            "only the one that 91 still held"
        );
        assert_eq!(store.pending(&alice()).await.unwrap()[0].last_error, None);
        for ((job, owner), holder) in jobs.into_iter().zip([id(92), id(93)]) {
            assert!(store.finish_embed_job(&space(), job, holder, vectors(owner)).await.unwrap());
        }
        let changes = store.changes(&alice(), head, 10).await.unwrap();
        assert_eq!(
            changes.rows.iter().map(|row| row.pieces[0].vector.clone()).collect::<Vec<_>>(),
            [Some(vec![7]), Some(vec![7])]
        );
        assert!(!store.has_jobs(None).await.unwrap());
        assert!(store.pending(&alice()).await.unwrap().is_empty());
        store.assert_sound().await;
    });
}

#[test]
fn a_job_whose_episode_is_forgotten_does_nothing() {
    over_all(async |store: Store| {
        store.append_one(NewEpisode { embed_job: Some(free_job(71)), ..episode(1, 10, "gone") }).await;
        assert_eq!(store.pending(&alice()).await.unwrap()[0].episode_id, Some(id(1)));
        store.forget(&alice(), id(1), ForgetReach::Version, at(20)).await.unwrap();
        let owner = Owner { kind: Kind::Episode, id: id(1) };
        let vectors = OwnerVectors { owner, vectors: vec![(0, vec![7])] };
        assert!(!store.finish_embed_job(&space(), id(71), id(91), vectors).await.unwrap());
        assert_eq!(store.stats().await.unwrap().vectors, 0);
    });
}

#[test]
fn a_space_is_built_beside_the_active_one_and_flips_when_it_is_whole() {
    over_all(async |store: Store| {
        store.append_one(episode(1, 10, "text")).await;
        store.say(fact(2, 10, None, "fact")).await;
        let other = EmbeddingSpace::new("other", 3, "d");
        let refused = store.append(&other, vec![episode(3, 10, "text")]).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::EmbeddingSpace);
        assert_eq!(store.claim_space(&other).await.unwrap_err().kind(), ErrorKind::EmbeddingSpace);
        assert_eq!(store.count_without_vectors(&other).await.unwrap(), 2);
        assert!(!store.activate_space(&other).await.unwrap());
        let owners = store.owners_without_vectors(&other, 9).await.unwrap();
        let vectors = |owner: &OwnerText| OwnerVectors { owner: owner.owner(), vectors: vec![(0, vec![9])] };
        store.put_vectors(&other, owners.iter().map(vectors).collect()).await.unwrap();
        let head = store.head().unwrap();
        assert!(store.activate_space(&other).await.unwrap());
        assert_eq!(store.active_space().await.unwrap(), Some(other));
        let changes = store.changes(&alice(), head, 9).await.unwrap();
        assert!(changes.rows.len() == 2 && changes.rows.iter().all(|row| row.pieces[0].vector == Some(vec![9])));
        assert_eq!(store.claim_space(&space()).await.unwrap_err().kind(), ErrorKind::EmbeddingSpace);
        store.assert_sound().await;
    });
}

#[test]
fn owners_without_vectors_are_found_behind_and_before_those_with_them() {
    over_all(async |store: Store| {
        for number in 1..=6 {
            let mut new = episode(number, 10, "text");
            new.pieces.push(Piece { ordinal: 1, ..whole("part") });
            store.append_one(new).await;
        }
        let other = EmbeddingSpace::new("other", 3, "d");
        let missing = async |limit: usize| -> Vec<u128> {
            let owners = store.owners_without_vectors(&other, limit).await.unwrap();
            owners.iter().map(|text| text.owner().id.as_u128()).collect()
        };
        let put = async |number: u128, ordinals: &[u32]| {
            let owner = Owner { kind: Kind::Episode, id: id(number) };
            let vectors = ordinals.iter().map(|&ordinal| (ordinal, vec![9])).collect();
            store.put_vectors(&other, vec![OwnerVectors { owner, vectors }]).await.unwrap();
        };
        assert_eq!(missing(4).await, [1, 2, 3, 4]);
        put(1, &[0, 1]).await;
        put(3, &[0]).await; // what is composed of it now is one piece: the other is to have no vector
        assert_eq!(missing(2).await, [4, 5]);
        assert_eq!(missing(9).await, [4, 5, 6, 2]);
        assert_eq!(store.count_without_vectors(&other).await.unwrap(), 4);
        put(6, &[1, 0]).await;
        assert_eq!(missing(9).await, [2, 4, 5]);
        for number in 2..=5 {
            assert!(!store.activate_space(&other).await.unwrap());
            put(number, &[0, 1]).await;
        }
        assert!(missing(9).await.is_empty());
        assert!(store.activate_space(&other).await.unwrap());
    });
}

#[test]
fn what_is_to_have_no_vector_is_never_embedded() {
    over_all(async |store: Store| {
        let mut new = NewEpisode { wants_vectors: false, ..episode(1, 10, "words alone") };
        new.pieces[0].vector = None;
        store.append_one(new).await;
        store.append_one(episode(2, 10, "text")).await;
        let other = EmbeddingSpace::new("other", 3, "d");
        let owners = store.owners_without_vectors(&other, 9).await.unwrap();
        assert_eq!(owners.iter().map(|text| text.owner().id).collect::<Vec<_>>(), [id(2)]);
        assert_eq!(store.count_without_vectors(&other).await.unwrap(), 1);
        let vectors = vec![OwnerVectors { owner: owners[0].owner(), vectors: vec![(0, vec![9])] }];
        store.put_vectors(&other, vectors).await.unwrap();
        assert!(store.activate_space(&other).await.unwrap());
        assert_eq!(store.stats().await.unwrap().vectors, 1);
    });
}

#[test]
fn a_turn_has_a_key_of_its_own_whatever_the_key_holds() {
    over_all(async |store: Store| {
        let turn = |number, key: &str, turn, text: &str| NewEpisode {
            key: Some((key.to_owned(), turn)),
            ..episode(number, 10, text)
        };
        for new in [turn(1, "k", 0, "first"), turn(2, "k", 1, "second"), turn(3, "k\u{0}1", 0, "third")] {
            assert!(store.append_one(new).await.known.is_none());
        }
        let again = store.append_one(turn(4, "k", 1, "second")).await;
        assert_eq!((again.id, again.known.map(|known| known.text)), (id(2), Some("second".to_owned())));
    });
}

#[test]
fn a_closed_ledger_says_so() {
    over_all(async |store: Store| {
        store.append_one(episode(1, 10, "text")).await;
        store.close().await.unwrap();
        store.close().await.unwrap();
        assert_eq!(store.head().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(store.episode(&alice(), id(1)).await.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(store.append(&space(), Vec::new()).await.unwrap_err().kind(), ErrorKind::Closed);
    });
}
