//! What forgetting leaves of what a model decided: histories, what is current, and whose words are told.

use super::{
    decisions::{found, relation, to_extract, version},
    *,
};
use crate::{
    entity::EvolutionType::{self, Contradict, Extend, Update},
    ledger::{ExtractionOutcome, NewRelation},
};

impl Store {
    /// Facts without attribute at 10, 20, 30, …, each of which ends the one before.
    async fn tell(&self, contents: &[&str], evolution_type: EvolutionType) {
        for ((number, second), content) in (1_u128..).zip((10..).step_by(10)).zip(contents) {
            let before = (number > 1).then(|| relation(number, number - 1, evolution_type));
            self.extract(found(number, second, content), before.into_iter().collect()).await;
        }
    }

    async fn forget_one(&self, number: u128, reach: ForgetReach) {
        assert!(self.forget(&alice(), id(number), reach, at(900)).await.unwrap());
        self.assert_sound().await;
    }

    async fn contents_of(&self, number: u128) -> Vec<String> {
        self.chain_of(number).await.into_iter().map(|(content, ..)| content).collect()
    }

    async fn reasons_of(&self, scope: &Scope, number: u128) -> Vec<String> {
        self.evolutions(scope, id(number)).await.unwrap().into_iter().map(|one| one.reason).collect()
    }
}

#[test]
fn what_followed_a_forgotten_version_ends_what_it_had_ended() {
    for kind in [Update, Contradict] {
        over_all(async |store: Store| {
            store.tell(&["lives in Paris", "lives in Rome", "lives in Oslo"], kind).await;
            store.forget_one(2, ForgetReach::Version).await;
            let expected = [version("lives in Paris", 10, Some(30)), version("lives in Oslo", 30, None)];
            assert_eq!(store.versions().await, expected);
            assert_eq!(store.relations_of(1).await, [(1, 3, kind)]);
            // nothing of what was forgotten, nor of a model's words about it
            let how = if kind == Update { "replaces" } else { "contradicts" };
            assert_eq!(store.reasons_of(&alice(), 1).await, [format!("“lives in Oslo” {how} “lives in Paris”")]);
            store.forget_one(3, ForgetReach::Version).await;
            assert_eq!(store.versions().await, [version("lives in Paris", 10, None)]);
        });
    }
}

#[test]
fn several_that_are_forgotten_leave_the_rest_as_one_history() {
    over_all(async |store: Store| {
        store.tell(&["in Paris", "in Rome", "in Oslo", "in Lima", "in Graz"], Update).await;
        // One after another, and from behind.
        for number in [4, 2, 3] {
            store.forget_one(100 + number, ForgetReach::Version).await;
        }
        assert_eq!(store.versions().await, [version("in Paris", 10, Some(50)), version("in Graz", 50, None)]);
        assert_eq!(store.relations_of(5).await, [(1, 5, Update)]);
        store.forget_one(1, ForgetReach::Version).await;
        assert_eq!(store.versions().await, [version("in Graz", 50, None)]);
        assert!(store.relations_of(5).await.is_empty());
    });
}

#[test]
fn a_slot_of_one_value_and_what_stands_beside_it_end_one_another() {
    over_all(async |store: Store| {
        let home = |number, second, content: &str| {
            let mut fact = found(number, second, content);
            fact.entity.attribute = Some("home".to_owned());
            fact
        };
        store.extract(found(1, 10, "travels"), vec![]).await;
        store.extract(home(2, 20, "Rome"), vec![relation(1, 1, Update)]).await;
        store.extract(home(3, 30, "Oslo"), vec![]).await;
        store.extract(found(4, 40, "lives on a boat"), vec![relation(2, 3, Contradict)]).await;
        store.forget_one(2, ForgetReach::Version).await;
        let boat = version("lives on a boat", 40, None);
        assert_eq!(
            store.versions().await,
            [version("travels", 10, Some(30)), version("Oslo", 30, Some(40)), boat.clone()]
        );
        store.extract(home(5, 25, "Faro"), vec![]).await;
        store.forget_one(3, ForgetReach::Version).await;
        // The late arrival is what the boat ended then.
        let expected = [version("travels", 10, Some(40)), version("Faro", 25, Some(40)), boat.clone()];
        assert_eq!(store.versions().await, expected);
        store.forget_one(5, ForgetReach::Version).await;
        assert_eq!(store.versions().await, [version("travels", 10, Some(40)), boat]);
        store.forget_one(4, ForgetReach::Version).await;
        assert_eq!(store.versions().await, [version("travels", 10, None)]);
    });
}

#[test]
fn what_was_said_again_meanwhile_is_not_ended() {
    over_all(async |store: Store| {
        store.extract(found(1, 10, "likes tea"), vec![]).await;
        store.extract(found(2, 20, "likes coffee"), vec![relation(1, 1, Update)]).await;
        store.extract(found(3, 25, "likes tea"), vec![]).await;
        store.extract(found(4, 30, "likes water"), vec![relation(2, 2, Update)]).await;
        store.forget_one(2, ForgetReach::Version).await;
        assert_eq!(store.versions().await, [version("likes tea", 10, None), version("likes water", 30, None)]);
    });
}

#[test]
fn a_history_follows_what_a_model_decided_and_is_forgotten_as_one() {
    over_all(async |store: Store| {
        store.tell(&["lives in Paris", "lives in Rome", "lives in Oslo"], Update).await;
        store.extract(found(4, 40, "works at Acme"), vec![]).await;
        store.extract(found(5, 50, "likes her flat in Oslo"), vec![relation(5, 3, Extend)]).await;
        for number in [1, 2, 3] {
            assert_eq!(store.contents_of(number).await, ["lives in Paris", "lives in Rome", "lives in Oslo"]);
        }
        // What ends two of them leads to both, and neither to the other.
        let both = vec![relation(6, 3, Update), relation(7, 4, Update)];
        store.extract(found(6, 60, "lives and works in Graz"), both).await;
        assert_eq!(store.contents_of(6).await.len(), 5);
        assert_eq!(store.contents_of(4).await, ["works at Acme", "lives and works in Graz"]);
        assert_eq!(store.contents_of(5).await, ["likes her flat in Oslo"]);
        assert_eq!(store.contents_of(2).await[2..], ["lives in Oslo", "lives and works in Graz"]);
        let narrowed = alice().with_session("other").unwrap();
        assert!(store.history(&narrowed, id(1)).await.unwrap().is_empty());
        store.forget_one(1, ForgetReach::Chain).await;
        let expected = [version("works at Acme", 40, None), version("likes her flat in Oslo", 50, None)];
        assert_eq!(store.versions().await, expected);
    });
}

#[test]
fn a_narrowed_scope_shows_of_a_history_what_it_admits_and_forgets_no_more() {
    over_all(async |store: Store| {
        let in_session = |number, second, content: &str, session: &str| {
            let mut fact = found(number, second, content);
            fact.entity.session = Some(session.to_owned());
            fact
        };
        store.extract(in_session(1, 10, "lives in Paris", "a"), vec![]).await;
        store.extract(in_session(2, 20, "lives in Rome", "b"), vec![relation(1, 1, Update)]).await;
        store.extract(in_session(3, 30, "lives in Oslo", "a"), vec![relation(2, 2, Update)]).await;
        let a = alice().with_session("a").unwrap();
        let shown = store.history(&a, id(3)).await.unwrap();
        assert_eq!(shown.iter().map(|fact| fact.id).collect::<Vec<_>>(), [id(1), id(3)]);
        assert!(store.forget(&a, id(3), ForgetReach::Chain, at(900)).await.unwrap());
        assert_eq!(store.versions().await, [version("lives in Rome", 20, None)]);
        store.assert_sound().await;
    });
}

#[test]
fn a_reason_tells_a_narrowed_scope_of_nothing_else() {
    over_all(async |store: Store| {
        let in_session = |number, second, content: &str, session: &str| {
            let mut fact = found(number, second, content);
            fact.entity.session = Some(session.to_owned());
            fact
        };
        let because = |number, other| NewRelation {
            reason: "unlike the secret of another session".to_owned(),
            ..relation(number, other, Update)
        };
        let extract = async |fact: NewFact, relations: Vec<NewRelation>, session: &str| {
            let number = fact.entity.episode_id.unwrap().as_u128();
            store.append_one(to_extract(number, fact.entity.valid_from.as_second())).await;
            let mut extraction = store.extraction(vec![fact], relations);
            extraction.scope = alice().with_session(session).unwrap();
            match store.try_extract(extraction).await {
                ExtractionOutcome::Recorded(mut recorded) => recorded.remove(0),
                other => panic!("it was not recorded: {other:?}"),
            }
        };
        store.extract(in_session(1, 10, "lives in Paris", "a"), vec![]).await;
        let told = extract(in_session(2, 20, "lives in Rome", "a"), vec![because(1, 1)], "a").await;
        let own = "“lives in Rome” replaces “lives in Paris”";
        assert_eq!(told.evolutions[0].reason, own);
        let (a, b) = (alice().with_session("a").unwrap(), alice().with_session("b").unwrap());
        assert_eq!(store.reasons_of(&a, 2).await, [own]);
        assert_eq!(store.reasons_of(&alice(), 2).await, ["unlike the secret of another session"]);
        // What a saying of another session ended is told, without a word.
        let told = extract(in_session(3, 30, "lives in Oslo", "b"), vec![because(2, 2)], "b").await;
        assert_eq!((told.evolutions[0].evolution_type, told.evolutions[0].reason.as_str()), (Update, ""));
        assert!(store.reasons_of(&b, 3).await.is_empty());
        // A handle that is not narrowed is told all, whichever session it says something in.
        let told = store.extract(in_session(4, 40, "lives in Graz", "c"), vec![because(3, 3)]).await;
        assert_eq!(told.evolutions[0].reason, "unlike the secret of another session");
    });
}

#[test]
fn no_reason_keeps_the_words_of_a_fact_that_is_forgotten() {
    over_all(async |store: Store| {
        let because =
            |number, other, reason: &str| NewRelation { reason: reason.to_owned(), ..relation(number, other, Update) };
        store.extract(found(1, 10, "lives in Paris"), vec![]).await;
        store.extract(found(2, 11, "is wanted by Interpol"), vec![]).await;
        let told = vec![because(1, 1, "She fled: INTERPOL wants her")];
        store.extract(found(3, 20, "lives in Rome"), told).await;
        store.extract(found(4, 30, "lives in Oslo"), vec![because(2, 3, "She says that she moved")]).await;
        let mut of_bob = found(5, 40, "lives in Graz");
        of_bob.entity.user = Some("bob".to_owned());
        let bob = Scope::new().with_user("bob").unwrap();
        let mut episode = to_extract(105, 40);
        episode.episode.user = Some("bob".to_owned());
        store.append_one(episode).await;
        let mut of_bobs = store.extraction(vec![of_bob], vec![]);
        of_bobs.scope = bob;
        assert!(matches!(store.try_extract(of_bobs).await, ExtractionOutcome::Recorded(_)));
        let head = store.head().unwrap();
        store.forget_one(102, ForgetReach::Version).await;
        assert_eq!(store.reasons_of(&alice(), 1).await, ["“lives in Rome” replaces “lives in Paris”"]);
        assert_eq!(store.reasons_of(&alice(), 4).await, ["She says that she moved"], "which holds none of its words");
        assert!(store.head().unwrap() > head);
    });
}
