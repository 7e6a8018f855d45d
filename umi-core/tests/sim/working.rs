//! The model's working memory: bytes under a key, until their time is over.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use umi_core::ErrorKind;

use crate::{
    model::{Answer, admits},
    plan::Who,
};

/// How many keys a run's working memory holds.
pub(crate) const ENTRIES: usize = 4;
/// Seconds that a key lives by default.
const DEFAULT_TTL: u64 = 3_600;

/// A value and the end of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Value {
    pub(crate) bytes: Vec<u8>,
    /// The time to live that it was given, in seconds.
    ttl: u64,
    pub(crate) ends: Timestamp,
}

/// All keys of a store, those included whose time is over until a write removes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Working {
    pub(crate) never_expires: bool,
    pub(crate) values: BTreeMap<(Who, &'static str), Value>,
}

impl Working {
    fn is_live(&self, value: &Value, now: Timestamp) -> bool {
        self.never_expires || value.ends > now
    }

    /// What a scope reads, by key.
    pub(crate) fn live(&self, who: Who, now: Timestamp) -> Vec<(&'static str, &Value)> {
        let own = self.values.iter().filter(|((owner, _), value)| *owner == who && self.is_live(value, now));
        own.map(|((_, key), value)| (*key, value)).collect()
    }

    fn get(&self, who: Who, key: &'static str, now: Timestamp) -> Option<Value> {
        self.values.get(&(who, key)).filter(|value| self.is_live(value, now)).cloned()
    }

    /// Removes what is over in a scope, as every write does.
    fn expire(&mut self, who: Who, now: Timestamp) -> usize {
        let before = self.values.len();
        let never = self.never_expires;
        self.values.retain(|(owner, _), value| *owner != who || never || value.ends > now);
        before - self.values.len()
    }

    fn put(&mut self, who: Who, key: &'static str, value: Value, now: Timestamp) -> Result<(), ErrorKind> {
        if self.get(who, key, now).is_none() && self.live(who, now).len() >= ENTRIES {
            return Err(ErrorKind::Capacity);
        }
        self.values.insert((who, key), value);
        Ok(())
    }

    fn value(bytes: Vec<u8>, ttl: u64, now: Timestamp) -> Value {
        Value { bytes, ttl, ends: now + SignedDuration::from_secs(ttl.cast_signed()) }
    }

    pub(crate) fn set(
        &mut self,
        who: Who,
        key: &'static str,
        bytes: Vec<u8>,
        ttl: Option<u64>,
        now: Timestamp,
    ) -> Answer {
        self.expire(who, now);
        self.put(who, key, Self::value(bytes, ttl.unwrap_or(DEFAULT_TTL), now), now)?;
        Ok(String::new())
    }

    /// A changed value keeps its time.
    fn change(&mut self, who: Who, key: &'static str, bytes: Vec<u8>, now: Timestamp) -> Result<(), ErrorKind> {
        let value = match self.get(who, key, now) {
            Some(old) => Value { bytes, ..old },
            None => Self::value(bytes, DEFAULT_TTL, now),
        };
        self.put(who, key, value, now)
    }

    pub(crate) fn increment(&mut self, who: Who, key: &'static str, by: i64, now: Timestamp) -> Answer {
        self.expire(who, now);
        let old = match self.get(who, key, now) {
            None => 0,
            Some(old) => {
                let text = String::from_utf8(old.bytes).map_err(|_| ErrorKind::InvalidInput)?;
                text.parse::<i64>().map_err(|_| ErrorKind::InvalidInput)?
            }
        };
        let sum = old.checked_add(by).ok_or(ErrorKind::InvalidInput)?;
        self.change(who, key, sum.to_string().into_bytes(), now)?;
        Ok(sum.to_string())
    }

    pub(crate) fn append(&mut self, who: Who, key: &'static str, more: &[u8], now: Timestamp) -> Answer {
        self.expire(who, now);
        let mut bytes = self.get(who, key, now).map_or_else(Vec::new, |old| old.bytes);
        bytes.extend_from_slice(more);
        let length = bytes.len();
        self.change(who, key, bytes, now)?;
        Ok(length.to_string())
    }

    pub(crate) fn touch(&mut self, who: Who, key: &'static str, ttl: Option<u64>, now: Timestamp) -> Answer {
        self.expire(who, now);
        let Some(old) = self.get(who, key, now) else { return Ok(false.to_string()) };
        self.put(who, key, Self::value(old.bytes, ttl.unwrap_or(old.ttl), now), now)?;
        Ok(true.to_string())
    }

    pub(crate) fn delete(&mut self, who: Who, key: &'static str, now: Timestamp) -> Answer {
        let was_live = self.get(who, key, now).is_some();
        self.values.remove(&(who, key));
        Ok(was_live.to_string())
    }

    pub(crate) fn cleanup(&mut self, who: Who, now: Timestamp) -> Answer {
        Ok(self.expire(who, now).to_string())
    }

    pub(crate) fn clear(&mut self, who: Who) -> Answer {
        self.values.retain(|(owner, _), _| *owner != who);
        Ok(String::new())
    }

    /// Removes what is over everywhere, as a purge does.
    pub(crate) fn purge(&mut self, now: Timestamp) {
        self.values.retain(|_, value| value.ends > now);
    }

    /// Removes everything of a scope that is forgotten.
    pub(crate) fn forget(&mut self, who: Who) {
        self.values.retain(|(owner, _), _| !admits(who, *owner));
    }
}
