//! [`MemoryWorking`]: the durable working memory of a handle's (user, agent, session).

use super::Memory;
use crate::{
    error::{Error, Result},
    ledger::{Worked, WorkingChange},
    working_memory::{TimeToLive, WorkingLimits},
};

/// The durable working memory of a handle's (user, agent, session): bytes with a time to live.
///
/// # Example
/// ```
/// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
/// # let memory = umi_core::Memory::in_memory().await?;
///
/// use std::time::Duration;
/// use umi_core::TimeToLive;
/// let working = memory.working();
/// working.set("draft", b"Dear Tarek,".to_vec(), Some(TimeToLive::For(Duration::from_secs(60)))).await?;
/// assert_eq!(working.append("draft", b" thanks!".to_vec()).await?, 19);
/// assert_eq!(working.incr("visitors", 40).await?, 40);
/// assert_eq!(working.keys().await?, ["draft", "visitors"]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct MemoryWorking {
    memory: Memory,
}

impl Memory {
    /// The durable working memory of this handle's (user, agent, session).
    pub fn working(&self) -> MemoryWorking {
        MemoryWorking { memory: self.clone() }
    }
}

impl MemoryWorking {
    /// How much fits.
    pub fn limits(&self) -> WorkingLimits {
        self.memory.parts.config.working_limits()
    }

    async fn change(&self, key: &str, change: WorkingChange, ttl: Option<TimeToLive>) -> Result<Worked> {
        self.memory.check_open()?;
        let now = self.memory.now();
        self.memory.ledger().working_change(self.memory.scope(), self.limits(), key, change, ttl, now).await
    }

    /// Sets a value; its time to live starts anew.
    ///
    /// # Errors
    /// `InvalidInput` for a key or value over its limit, `Capacity` when it does not fit; nothing is changed then.
    pub async fn set(&self, key: &str, value: Vec<u8>, ttl: Option<TimeToLive>) -> Result<()> {
        self.change(key, WorkingChange::Set(value), ttl).await.map(|_| ())
    }

    /// A live value.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.memory.check_open()?;
        let entry = self.memory.ledger().working_get(self.memory.scope(), key, self.memory.now()).await?;
        Ok(entry.map(|entry| entry.value))
    }

    /// How long a live value still lives; none for a key that is not there.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    pub async fn ttl(&self, key: &str) -> Result<Option<TimeToLive>> {
        self.memory.check_open()?;
        let now = self.memory.now();
        let entry = self.memory.ledger().working_get(self.memory.scope(), key, now).await?;
        Ok(entry.map(|entry| match entry.expires_at {
            None => TimeToLive::Forever,
            Some(end) => TimeToLive::For(end.duration_since(now).unsigned_abs()),
        }))
    }

    /// Whether a key is live.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    pub async fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.get(key).await?.is_some())
    }

    /// Deletes a key. Gives whether it was live.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    pub async fn delete(&self, key: &str) -> Result<bool> {
        self.memory.check_open()?;
        self.memory.ledger().working_delete(self.memory.scope(), key, self.memory.now()).await
    }

    /// Every live key, sorted.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    pub async fn keys(&self) -> Result<Vec<String>> {
        self.memory.check_open()?;
        let entries = self.memory.ledger().working_entries(self.memory.scope(), self.memory.now()).await?;
        Ok(entries.into_iter().map(|entry| entry.key).collect())
    }

    /// Adds to a decimal number, inside the ledger's transaction; a missing key counts as 0. Keeps the time to live.
    ///
    /// # Errors
    /// `InvalidInput` when the value is no number or the sum does not fit 64 bits.
    pub async fn incr(&self, key: &str, delta: i64) -> Result<i64> {
        match self.change(key, WorkingChange::Increment(delta), None).await? {
            Worked::Number(number) => Ok(number),
            other => Err(unexpected(other)),
        }
    }

    /// Puts bytes behind a value and gives the new length. Keeps the time to live.
    ///
    /// # Errors
    /// As [`MemoryWorking::set`].
    pub async fn append(&self, key: &str, value: Vec<u8>) -> Result<usize> {
        match self.change(key, WorkingChange::Append(value), None).await? {
            Worked::Length(length) => Ok(length),
            other => Err(unexpected(other)),
        }
    }

    /// Starts a key's time to live anew: the given one, or the key's own. Gives whether the key was live.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    pub async fn touch(&self, key: &str, ttl: Option<TimeToLive>) -> Result<bool> {
        match self.change(key, WorkingChange::Touch, ttl).await? {
            Worked::Touched(touched) => Ok(touched),
            other => Err(unexpected(other)),
        }
    }

    /// Deletes expired keys and gives how many.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    pub async fn cleanup_expired(&self) -> Result<usize> {
        self.memory.check_open()?;
        self.memory.ledger().working_cleanup(self.memory.scope(), self.memory.now()).await
    }

    /// Deletes every key.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    pub async fn clear(&self) -> Result<()> {
        self.memory.check_open()?;
        self.memory.ledger().working_clear(self.memory.scope()).await
    }

    /// (bytes, entries) that are live.
    ///
    /// # Errors
    /// `Storage` kinds when the ledger fails.
    pub async fn usage(&self) -> Result<(usize, usize)> {
        self.memory.check_open()?;
        self.memory.ledger().working_usage(self.memory.scope(), self.memory.now()).await
    }
}

fn unexpected(worked: Worked) -> Error {
    Error::internal(format!("a working change gave {worked:?}"))
}
