use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn at(seconds: u64) -> Timestamp {
    NOW + Duration::from_secs(seconds)
}

#[expect(clippy::unnecessary_wraps, reason = "as the methods take it")]
fn secs(seconds: u64) -> Option<TimeToLive> {
    Some(TimeToLive::For(Duration::from_secs(seconds)))
}

fn working() -> WorkingMemory {
    WorkingMemory::new(WorkingLimits::default())
}

#[test]
fn a_time_to_live_is_read_from_seconds() {
    assert_eq!(TimeToLive::from_secs_f64(1.5).unwrap(), TimeToLive::For(Duration::from_millis(1_500)));
    assert_eq!(TimeToLive::from_secs_f64(1e-12).unwrap(), TimeToLive::For(Duration::from_nanos(1)));
    assert_eq!(TimeToLive::from_secs_f64(604_800.0).unwrap(), TimeToLive::For(TTL_MAX));
    assert_eq!(TimeToLive::from_secs_f64(f64::INFINITY).unwrap(), TimeToLive::Forever);
    for seconds in [0.0, -0.0, -1.0, f64::NAN, f64::NEG_INFINITY, 604_800.1, f64::MAX] {
        assert!(TimeToLive::from_secs_f64(seconds).unwrap_err().is_invalid_input(), "{seconds}");
    }
    assert_eq!(TimeToLive::Forever.expires_at(NOW), None);
    assert_eq!(TimeToLive::For(Duration::from_secs(2)).expires_at(NOW), Some(at(2)));
    assert_eq!(TimeToLive::For(Duration::MAX).expires_at(NOW), Some(Timestamp::MAX));
}

#[test]
fn a_value_lives_until_its_deadline() {
    let mut working = working();
    working.set("a", b"1", secs(10), NOW).unwrap();
    working.set("b", b"22", Some(TimeToLive::Forever), NOW).unwrap();
    working.set("c", b"\xff\x00", None, NOW).unwrap();
    assert_eq!(working.get("a", at(9)), Some(&b"1"[..]));
    assert_eq!(working.get("a", at(10)), None);
    assert_eq!(working.ttl("a", at(4)), secs(6));
    assert_eq!(working.ttl("b", at(4)), Some(TimeToLive::Forever));
    assert_eq!(working.ttl("c", NOW), secs(3_600));
    assert_eq!(working.ttl("a", at(10)), None);
    assert_eq!(working.keys(at(9)), ["a", "b", "c"]);
    assert_eq!(working.keys(at(10)), ["b", "c"]);
    assert_eq!((working.entry_count(at(9)), working.used_bytes(at(9))), (3, 8));
    assert_eq!((working.entry_count(at(10)), working.used_bytes(at(10))), (2, 6));
    assert_eq!(working.available_bytes(at(10)), 1024 * 1024 - 6);
    assert!(!working.delete("a", at(10)), "it had expired");
    assert!(working.delete("b", at(10)) && !working.delete("b", at(10)));
    assert_eq!(working.cleanup_expired(at(3_600)), 1);
    assert!(working.is_empty(NOW));
}

#[test]
fn a_second_write_replaces_value_and_time_to_live() {
    let mut working = working();
    working.set("a", b"long", secs(10), NOW).unwrap();
    working.set("a", b"b", secs(20), at(5)).unwrap();
    assert_eq!(working.get("a", at(24)), Some(&b"b"[..]));
    assert_eq!((working.used_bytes(at(24)), working.entry_count(at(24))), (2, 1));
    assert_eq!(working.cleanup_expired(at(24)), 0);
    assert_eq!(working.cleanup_expired(at(25)), 1);
    working.set("a", b"c", None, at(26)).unwrap();
    working.clear();
    assert_eq!((working.used_bytes(at(26)), working.exists("a", at(26))), (0, false));
}

#[test]
fn numbers_are_added_and_keep_their_deadline() {
    let mut working = working();
    assert_eq!(working.incr("n", 5, secs(10), NOW).unwrap(), 5);
    assert_eq!(working.incr("n", -7, None, at(4)).unwrap(), -2);
    assert_eq!(working.get("n", at(4)), Some(&b"-2"[..]));
    assert_eq!(working.ttl("n", at(4)), secs(6), "the deadline stays");
    assert_eq!(working.incr("n", 1, secs(30), at(5)).unwrap(), -1);
    assert_eq!(working.ttl("n", at(5)), secs(30));
    assert_eq!(working.incr("n", 1, None, at(35)).unwrap(), 1, "an expired number counts as 0");
    assert_eq!(working.ttl("n", at(35)), secs(3_600));
    working.set("n", i64::MAX.to_string().as_bytes(), None, NOW).unwrap();
    assert!(working.incr("n", 1, None, NOW).unwrap_err().is_invalid_input());
    for value in [&b""[..], b" 1", b"1.5", b"x", b"\xff", b"9223372036854775808"] {
        working.set("n", value, None, NOW).unwrap();
        assert!(working.incr("n", 1, None, NOW).unwrap_err().is_invalid_input(), "{value:?}");
        assert_eq!(working.get("n", NOW), Some(value), "nothing has changed");
    }
}

#[test]
fn bytes_are_appended_and_keep_their_deadline() {
    let mut working = working();
    assert_eq!(working.append("a", b"x", None, NOW).unwrap(), 1);
    assert_eq!(working.ttl("a", NOW), secs(3_600));
    working.set("a", b"ab", secs(10), NOW).unwrap();
    assert_eq!(working.append("a", b"cd", None, at(9)).unwrap(), 4);
    assert_eq!(working.get("a", at(9)), Some(&b"abcd"[..]));
    assert_eq!((working.used_bytes(at(9)), working.ttl("a", at(9))), (5, secs(1)));
    assert_eq!(working.append("a", b"new", None, at(10)).unwrap(), 3, "an expired value counts as empty");
}

#[test]
fn a_touch_begins_the_keys_own_time_to_live_anew() {
    let mut working = working();
    working.set("a", b"v", secs(10), NOW).unwrap();
    assert!(working.touch("a", None, at(9)).unwrap());
    assert_eq!(working.ttl("a", at(9)), secs(10));
    assert!(working.touch("a", Some(TimeToLive::Forever), at(10)).unwrap());
    assert_eq!(working.ttl("a", at(10)), Some(TimeToLive::Forever));
    assert!(working.touch("a", secs(1), at(10)).unwrap());
    assert!(!working.touch("a", None, at(11)).unwrap());
    assert!(working.touch("", None, NOW).unwrap_err().is_invalid_input());
    assert_eq!(working.used_bytes(at(10)), 0);
}

#[test]
fn every_write_is_held_to_the_limits() {
    let limits =
        WorkingLimits { max_bytes: 20, max_entries: 2, value_bytes: 10, key_bytes: 4, ..WorkingLimits::default() };
    let mut working = WorkingMemory::new(limits);
    let capacity = |result: Result<usize>, limit: u64, requested: u64, setting: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Capacity, "{error}");
        assert_eq!((error.details().limit, error.details().requested), (Some(limit), Some(requested)), "{error}");
        assert!(error.hint().unwrap().contains(setting), "{error}");
    };
    for key in ["", "12345"] {
        assert!(working.set(key, b"", None, NOW).unwrap_err().is_invalid_input());
        assert!(working.incr(key, 1, None, NOW).unwrap_err().is_invalid_input());
        assert!(working.append(key, b"", None, NOW).unwrap_err().is_invalid_input());
    }
    for ttl in [0, 604_801] {
        assert!(working.set("a", b"", secs(ttl), NOW).unwrap_err().is_invalid_input());
        assert!(working.touch("a", secs(ttl), NOW).unwrap_err().is_invalid_input());
    }
    capacity(working.set("a", &[0; 11], None, NOW).map(|()| 0), 10, 11, "working_value_bytes");
    working.set("a", &[0; 9], None, NOW).unwrap();
    capacity(working.append("a", b"12", None, NOW), 10, 11, "working_value_bytes");
    working.set("b", &[0; 9], None, NOW).unwrap();
    capacity(working.append("b", b"1", None, NOW), 20, 21, "working_memory_bytes");
    capacity(working.incr("c", 1, None, NOW).map(|_| 0), 2, 3, "working_memory_entries");
    working.set("b", b"7", None, NOW).unwrap();
    working.set("a", &[0; 10], None, NOW).unwrap();
    assert_eq!(working.used_bytes(NOW), 13);
    assert_eq!(working.incr("b", 1, None, NOW).unwrap(), 8);
}

#[test]
fn limits_are_checked() {
    let good = WorkingLimits::default();
    assert_eq!(good.validated().unwrap(), good);
    for bad in [
        WorkingLimits { max_bytes: 0, ..good },
        WorkingLimits { max_bytes: usize::MAX, ..good },
        WorkingLimits { max_entries: 0, ..good },
        WorkingLimits { value_bytes: 0, ..good },
        WorkingLimits { key_bytes: 65_537, ..good },
        WorkingLimits { default_ttl: TimeToLive::For(Duration::ZERO), ..good },
    ] {
        assert!(bad.validated().unwrap_err().is_invalid_input(), "{bad:?}");
    }
}

#[test]
fn expired_keys_never_make_a_write_fail_and_take_no_room() {
    let limits = WorkingLimits { max_entries: 100, ..WorkingLimits::default() };
    let mut working = WorkingMemory::new(limits);
    for second in 0..5_000 {
        working.set(&format!("key {second}"), &[7; 100], secs(100), at(second)).unwrap();
        // one key is overwritten all the time, with a deadline far ahead
        if second % 2 == 0 {
            working.delete(&format!("key {second}"), at(second));
        }
        working.set("same", b"v", secs(600_000), at(second)).unwrap();
        working.set("same", b"v", secs(600_000 - second * 100), at(second)).unwrap();
        assert!(working.deadline_count() <= 2 * 101 + 65, "{}", working.deadline_count());
    }
    assert_eq!(working.entry_count(at(4_999)), 51);
}

/// What a working memory must do, in the plainest way.
#[derive(Default)]
struct Model {
    entries: BTreeMap<String, (Vec<u8>, u64, u64)>,
}

#[derive(Clone, Debug)]
enum Step {
    Set(String, Vec<u8>, u64),
    Append(String, Vec<u8>, Option<u64>),
    Touch(String, Option<u64>),
    Delete(String),
    Wait(u64),
    Cleanup,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || "[a-d]";
    let value = || proptest::collection::vec(any::<u8>(), 0..4);
    prop_oneof![
        3 => (key(), value(), 1..9_u64).prop_map(|(key, value, ttl)| Step::Set(key, value, ttl)),
        2 => (key(), value(), proptest::option::of(1..9_u64)).prop_map(|(key, value, ttl)| Step::Append(key, value, ttl)),
        1 => (key(), proptest::option::of(1..9_u64)).prop_map(|(key, ttl)| Step::Touch(key, ttl)),
        1 => key().prop_map(Step::Delete),
        2 => (0..5_u64).prop_map(Step::Wait),
        1 => Just(Step::Cleanup),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn it_behaves_as_the_plain_model(steps in proptest::collection::vec(step(), 0..60)) {
        let (mut working, mut model, mut now) = (working(), Model::default(), 0);
        for step in steps {
            model.entries.retain(|_, (_, _, end)| *end > now);
            match step {
                Step::Set(key, value, ttl) => {
                    working.set(&key, &value, secs(ttl), at(now)).unwrap();
                    model.entries.insert(key, (value, ttl, now + ttl));
                }
                Step::Append(key, value, ttl) => {
                    let length = working.append(&key, &value, ttl.and_then(secs), at(now)).unwrap();
                    let entry = model.entries.entry(key).or_insert((Vec::new(), 3_600, now + 3_600));
                    entry.0.extend(value);
                    if let Some(ttl) = ttl {
                        (entry.1, entry.2) = (ttl, now + ttl);
                    }
                    prop_assert_eq!(length, entry.0.len());
                }
                Step::Touch(key, ttl) => {
                    let touched = working.touch(&key, ttl.and_then(secs), at(now)).unwrap();
                    let entry = model.entries.get_mut(&key);
                    prop_assert_eq!(touched, entry.is_some());
                    if let Some(entry) = entry {
                        entry.1 = ttl.unwrap_or(entry.1);
                        entry.2 = now + entry.1;
                    }
                }
                Step::Delete(key) => {
                    prop_assert_eq!(working.delete(&key, at(now)), model.entries.remove(&key).is_some());
                }
                Step::Wait(seconds) => now += seconds,
                Step::Cleanup => {
                    working.cleanup_expired(at(now));
                }
            }
            model.entries.retain(|_, (_, _, end)| *end > now);
            prop_assert_eq!(working.keys(at(now)), model.entries.keys().cloned().collect::<Vec<_>>());
            let bytes: usize = model.entries.iter().map(|(key, (value, ..))| key.len() + value.len()).sum();
            prop_assert_eq!(working.used_bytes(at(now)), bytes);
            for (key, (value, _, end)) in &model.entries {
                prop_assert_eq!(working.get(key, at(now)), Some(value.as_slice()));
                prop_assert_eq!(working.ttl(key, at(now)), secs(end - now));
            }
        }
    }
}
