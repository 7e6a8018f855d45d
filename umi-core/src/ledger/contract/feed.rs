//! The change feed.

use super::*;

#[test]
fn the_order_of_seq_is_the_order_of_commits() {
    over_all(async |store: Store| {
        let mut writes = Vec::new();
        for number in 1..=60_u128 {
            let ledger = Arc::clone(&store.ledger);
            writes.push(tokio::spawn(async move {
                ledger.append(&space(), vec![episode(number, 10, "text")]).await.unwrap();
                // whoever was told of a commit sees it, and everything below
                ledger.changes(&alice(), 0, 1_000).await.unwrap()
            }));
        }
        let mut seen: Vec<Vec<(i64, Uuid)>> = Vec::new();
        for write in writes {
            let changes = write.await.unwrap();
            seen.push(changes.rows.iter().map(|row| (row.seq, row.id)).collect());
        }
        seen.sort_by_key(Vec::len);
        for pair in seen.windows(2) {
            assert_eq!(pair[0][..], pair[1][..pair[0].len()], "a later reader sees more at the end only");
        }
        assert_eq!(seen.last().unwrap().len(), 60);
    });
}

#[test]
fn a_feed_is_read_in_stretches() {
    over_all(async |store: Store| {
        for number in 1..=5 {
            store.append_one(episode(number, 10, "text")).await;
        }
        let mut bob = episode(9, 10, "other");
        bob.episode.user = Some("bob".to_owned());
        store.append_one(bob).await;
        let (mut after, mut found) = (0, Vec::new());
        loop {
            let changes = store.changes(&alice(), after, 2).await.unwrap();
            found.extend(changes.rows.iter().map(|row| row.id));
            after = changes.head;
            if !changes.has_more {
                break;
            }
        }
        assert_eq!(found, (1..=5).map(id).collect::<Vec<_>>());
        assert_eq!(after, store.head().unwrap());
        let none = store.changes(&alice(), after, 2).await.unwrap();
        assert!(none.rows.is_empty() && none.removed.is_empty() && none.head == after);
    });
}

#[test]
fn a_removed_row_leaves_its_id_alone() {
    over_all(async |store: Store| {
        store.append_one(episode(1, 10, "text")).await;
        store.say(fact(2, 10, Some("home"), "Rome")).await;
        store.say(fact(3, 20, Some("home"), "Oslo")).await;
        store.forget(&alice(), id(1), ForgetReach::Version, at(30)).await.unwrap();
        let head = store.head().unwrap();
        store.forget(&alice(), id(3), ForgetReach::Version, at(30)).await.unwrap();
        let changes = store.changes(&alice(), head, 9).await.unwrap();
        assert_eq!(changes.removed, [id(3)]);
        assert_eq!(changes.rows.iter().map(|row| (row.id, row.to)).collect::<Vec<_>>(), [(id(2), None)]);
        let whole = store.changes(&alice(), 0, 9).await.unwrap();
        assert_eq!(whole.removed, [id(1), id(3)]);
        assert_eq!(whole.rows.len(), 1);
        store.assert_sound().await;
    });
}

#[test]
fn a_version_that_comes_back_is_removed_no_more() {
    over_all(async |store: Store| {
        store.say(fact(1, 10, Some("home"), "Rome")).await;
        store.say(fact(2, 30, Some("home"), "Rome")).await;
        for round in 0..2 {
            // Oslo in between makes the later Rome a version of its own, until it is forgotten
            store.say(fact(10 + round, 20, Some("home"), "Oslo")).await;
            assert_eq!(store.fact(&alice(), id(2)).await.unwrap().unwrap().id, id(2));
            let changes = store.changes(&alice(), 0, 99).await.unwrap();
            assert!(changes.rows.iter().any(|row| row.id == id(2)) && !changes.removed.contains(&id(2)));
            store.forget(&alice(), id(10 + round), ForgetReach::Version, at(40)).await.unwrap();
            assert_eq!(store.fact(&alice(), id(2)).await.unwrap().unwrap().id, id(1));
            assert!(store.changes(&alice(), 0, 99).await.unwrap().removed.contains(&id(2)));
        }
        store.assert_sound().await;
    });
}

#[test]
fn a_version_tells_every_origin() {
    over_all(async |store: Store| {
        for (number, agent) in [(1, "b"), (2, "a"), (3, "b")] {
            let mut said = fact(number, 10, Some("home"), "Rome");
            said.entity.agent = Some(agent.to_owned());
            store.say(said).await;
        }
        let changes = store.changes(&alice(), 0, 9).await.unwrap();
        let origins = ["a", "b"].map(|agent| (Some(agent.to_owned()), None));
        assert_eq!((changes.rows.len(), &changes.rows[0].origins[..]), (1, &origins[..]));
    });
}

#[test]
fn stretches_of_every_length_give_the_same_feed() {
    over_all(async |store: Store| {
        let mut bob = episode(90, 10, "other");
        bob.episode.user = Some("bob".to_owned());
        store.append_one(bob).await;
        for number in 1..=4 {
            let mut long = episode(number, 10, "long");
            long.pieces = [2, 0, 1].map(|ordinal| Piece { ordinal, ..whole(&format!("part {ordinal}")) }).to_vec();
            store.append_one(long).await;
            store.say(fact(10 + number, 20, Some("home"), "Rome")).await;
            store.say(fact(20 + number, 20, None, &format!("likes {number}"))).await;
        }
        store.forget(&alice(), id(2), ForgetReach::Version, at(30)).await.unwrap();
        store.say(fact(30, 40, Some("home"), "Oslo")).await;
        store.forget(&alice(), id(22), ForgetReach::Version, at(30)).await.unwrap();
        store.append_one(NewEpisode { pieces: Vec::new(), ..episode(5, 10, "no piece") }).await;

        let whole = store.changes(&alice(), 0, 99).await.unwrap();
        assert_eq!((whole.removed.as_slice(), whole.has_more), ([id(2), id(22)].as_slice(), false));
        assert_eq!(whole.head, store.head().unwrap());
        // three episodes and the one without a piece, three of four tastes, Rome of four sayings, Oslo
        assert_eq!(whole.rows.len(), 4 + 3 + 2);
        assert!(whole.rows.is_sorted_by_key(|row| row.seq));
        for row in &whole.rows {
            let ordinals: Vec<u32> = row.pieces.iter().map(|piece| piece.ordinal).collect();
            let expected: &[u32] = match row.kind {
                Kind::Fact => &[0],
                Kind::Episode if row.id == id(5) => &[],
                Kind::Episode => &[0, 1, 2],
            };
            assert_eq!(ordinals, expected);
            assert_eq!(row.origins, [(None, None)]);
        }
        for limit in 1..=12 {
            let (mut after, mut rows, mut removed) = (0, Vec::new(), Vec::new());
            loop {
                let stretch = store.changes(&alice(), after, limit).await.unwrap();
                assert!(stretch.rows.len() + stretch.removed.len() <= limit && stretch.head > after);
                assert!(stretch.rows.iter().all(|row| after < row.seq && row.seq <= stretch.head));
                rows.extend(stretch.rows);
                removed.extend(stretch.removed);
                after = stretch.head;
                if !stretch.has_more {
                    break;
                }
            }
            assert_eq!((&rows, &removed, after), (&whole.rows, &whole.removed, whole.head));
        }
    });
}
