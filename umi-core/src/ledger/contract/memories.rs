//! Core and working memory.

use std::time::Duration;

use super::*;
use crate::{
    error::ErrorKind,
    working_memory::{TimeToLive, WorkingMemory},
};

#[test]
fn every_edit_of_a_block_is_a_version_that_can_be_restored() {
    over_all(async |store: Store| {
        let (limits, human) = (CoreLimits::default(), BlockType::Human);
        let scope = alice().with_agent("a").unwrap();
        store.set_block(&scope, limits, human, "one", Some("label"), Some(0.9), at(1)).await.unwrap();
        let two = store.set_block(&scope, limits, human, "two", None, None, at(2)).await.unwrap();
        assert_eq!((two.version, two.label.as_deref(), two.importance), (2, Some("label"), 0.9));
        assert_eq!(store.core(&scope, limits).await.unwrap().blocks(), [two]);
        assert!(store.core(&alice(), limits).await.unwrap().is_empty());
        assert!(store.remove_block(&scope, human, at(3)).await.unwrap());
        assert!(!store.remove_block(&scope, human, at(3)).await.unwrap());
        assert!(store.core(&scope, limits).await.unwrap().is_empty());
        let back = store.restore_block(&scope, limits, human, 1, at(4)).await.unwrap();
        assert_eq!((back.content.as_str(), back.version), ("one", 4));
        let versions = store.block_versions(&scope, human).await.unwrap();
        assert_eq!(versions.iter().map(|block| block.version).collect::<Vec<_>>(), [1, 2, 4]);
        let missing = store.restore_block(&scope, limits, human, 3, at(5)).await.unwrap_err();
        assert!(missing.is_not_found());
        let over = "x".repeat(limits.block_bytes + 1);
        let full = store.set_block(&scope, limits, BlockType::Facts, &over, None, None, at(5)).await.unwrap_err();
        assert_eq!(full.kind(), ErrorKind::Capacity);
        store.set_block(&scope, limits, BlockType::Goals, "goal", None, None, at(6)).await.unwrap();
        store.clear_core(&scope, at(7)).await.unwrap();
        assert!(store.core(&scope, limits).await.unwrap().is_empty());
        store.assert_sound().await;
        store.forget_scope(&alice(), at(8)).await.unwrap();
        assert!(store.block_versions(&scope, human).await.unwrap().is_empty());
    });
}

#[test]
fn working_keys_live_until_they_expire() {
    over_all(async |store: Store| {
        let ttl = Some(TimeToLive::For(Duration::from_secs(10)));
        let limits = WorkingLimits { max_entries: 2, ..WorkingLimits::default() };
        let change = async |key: &str, change: WorkingChange, ttl, now| {
            store.working_change(&alice(), limits, key, change, ttl, at(now)).await
        };
        assert_eq!(change("n", WorkingChange::Increment(5), ttl, 0).await.unwrap(), Worked::Number(5));
        assert_eq!(change("n", WorkingChange::Increment(-7), None, 9).await.unwrap(), Worked::Number(-2));
        assert_eq!(store.working_get(&alice(), "n", at(9)).await.unwrap().unwrap().expires_at, Some(at(10)));
        assert_eq!(store.working_get(&alice(), "n", at(10)).await.unwrap(), None);
        assert_eq!(change("n", WorkingChange::Touch, ttl, 10).await.unwrap(), Worked::Touched(false));
        assert_eq!(change("b", WorkingChange::Append(b"xy".to_vec()), ttl, 10).await.unwrap(), Worked::Length(2));
        assert_eq!(change("c", WorkingChange::Set(b"z".to_vec()), None, 10).await.unwrap(), Worked::Done);
        assert_eq!(store.working_usage(&alice(), at(11)).await.unwrap(), (5, 2));
        let full = change("d", WorkingChange::Set(Vec::new()), None, 11).await.unwrap_err();
        assert_eq!(full.kind(), ErrorKind::Capacity);
        change("d", WorkingChange::Set(Vec::new()), Some(TimeToLive::Forever), 20).await.unwrap();
        let keys: Vec<String> =
            store.working_entries(&alice(), at(20)).await.unwrap().into_iter().map(|entry| entry.key).collect();
        assert_eq!(keys, ["c", "d"]);
        assert_eq!(store.working_cleanup(&alice(), at(20)).await.unwrap(), 2);
        assert!(store.working_delete(&alice(), "c", at(20)).await.unwrap());
        assert!(!store.working_delete(&alice(), "c", at(20)).await.unwrap());
        assert_eq!(store.working_get(&Scope::new(), "d", at(20)).await.unwrap(), None);
        store.working_clear(&alice()).await.unwrap();
        assert_eq!(store.stats().await.unwrap().working_keys, 0);
        let bad = change("s", WorkingChange::Set(b"no number".to_vec()), None, 20).await;
        assert!(bad.is_ok() && change("s", WorkingChange::Increment(1), None, 20).await.is_err());
    });
}

#[test]
fn the_usage_of_working_memory_is_that_of_its_live_keys_at_any_time() {
    over_all(async |store: Store| {
        let limits = WorkingLimits::default();
        let live = async |second: i64| {
            let entries = store.working_entries(&alice(), at(second)).await.unwrap();
            let bytes: usize = entries.iter().map(|entry| entry.key.len() + entry.value.len()).sum();
            (bytes, entries.len())
        };
        let mut state = 7_usize;
        let mut roll = |sides: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % sides
        };
        let mut now = 1_000;
        for _ in 0..300 {
            // the clock is set back now and then
            now += i64::try_from(roll(12)).unwrap() - 3;
            let key = format!("k{}", "y".repeat(roll(12)));
            let ttl = match roll(3) {
                0 => None,
                1 => Some(TimeToLive::Forever),
                _ => Some(TimeToLive::For(Duration::from_secs(1 + roll(30) as u64))),
            };
            let value = vec![b'1'; 1 + roll(9)];
            match roll(9) {
                0 => drop(store.working_delete(&alice(), &key, at(now)).await.unwrap()),
                1 => drop(store.working_cleanup(&alice(), at(now)).await.unwrap()),
                2 if roll(9) == 0 => store.working_clear(&alice()).await.unwrap(),
                action => {
                    let change = match action {
                        3 => WorkingChange::Touch,
                        4 => WorkingChange::Append(value),
                        _ => WorkingChange::Set(value),
                    };
                    store.working_change(&alice(), limits, &key, change, ttl, at(now)).await.unwrap();
                }
            }
            for second in [now - 20, now, now + 20] {
                assert_eq!(store.working_usage(&alice(), at(second)).await.unwrap(), live(second).await);
            }
        }
        store.assert_sound().await;
        store.forget_scope(&alice(), at(now)).await.unwrap();
        assert_eq!(store.working_usage(&alice(), at(now)).await.unwrap(), (0, 0));
        store.assert_sound().await;
    });
}

#[test]
fn a_time_to_live_is_that_of_the_stand_alone_store() {
    over_all(async |store: Store| {
        let default_ttl = TimeToLive::For(Duration::from_secs(30));
        let limits = WorkingLimits { default_ttl, ..WorkingLimits::default() };
        let mut alone = WorkingMemory::new(limits);
        let mut state = 11_usize;
        let mut roll = |sides: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % sides
        };
        let keys = ["a", "b", "c"];
        let (mut now, mut own) = (1_000, 0);
        for _ in 0..400 {
            now += i64::try_from(roll(9)).unwrap();
            let key = keys[roll(3)];
            let ttl = match roll(4) {
                0 => Some(TimeToLive::Forever),
                1 => Some(TimeToLive::For(Duration::from_secs(1 + roll(30) as u64))),
                _ => None,
            };
            let (change, expected) = match roll(4) {
                0 => (WorkingChange::Set(b"1".to_vec()), alone.set(key, b"1", ttl, at(now)).map(|()| Worked::Done)),
                1 => (WorkingChange::Append(b"1".to_vec()), alone.append(key, b"1", ttl, at(now)).map(Worked::Length)),
                2 => (WorkingChange::Increment(1), alone.incr(key, 1, ttl, at(now)).map(Worked::Number)),
                _ => (WorkingChange::Touch, alone.touch(key, ttl, at(now)).map(Worked::Touched)),
            };
            own += usize::from(change == WorkingChange::Touch && ttl.is_none());
            let worked = store.working_change(&alice(), limits, key, change, ttl, at(now)).await;
            assert_eq!(worked.ok(), expected.ok());
            for key in keys {
                let entry = store.working_get(&alice(), key, at(now)).await.unwrap();
                let left = entry.map(|entry| match entry.expires_at {
                    None => TimeToLive::Forever,
                    Some(end) => TimeToLive::For(end.duration_since(at(now)).unsigned_abs()),
                });
                assert_eq!(left, alone.ttl(key, at(now)), "{key} at {now}");
            }
            // What has expired is gone with the next write.
            let held = store.stats().await.unwrap().working_keys;
            assert_eq!(held, alone.entry_count(at(now)) as u64);
        }
        assert!(own > 20);
        store.assert_sound().await;
    });
}
