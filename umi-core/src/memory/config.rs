//! [`MemoryConfig`]: limits and defaults of a store.

use std::{fmt, sync::Arc};

use super::usage::TokenPrices;
use crate::{
    core_memory::CoreLimits,
    error::{Error, ErrorKind, Result},
    working_memory::{TimeToLive, WorkingLimits},
};

/// The most results that one recall may ask for.
pub const RECALL_LIMIT: usize = 1_000;
/// The longest text that a configuration may allow, in bytes.
pub const TEXT_BYTES: usize = 10_000_000;
/// The index's bound in memory unless it is set, in bytes.
pub const INDEX_MEMORY_BYTES: usize = 256 * 1024 * 1024;
/// What the vectors of a remote embedder that are kept in memory may take unless it is set, in bytes: some 2,600 of 1,536
/// dimensions.
const EMBEDDING_CACHE_BYTES: usize = 16 * 1024 * 1024;
/// The most that working memory or the cache of vectors may be allowed.
const MOST_BYTES: usize = 1024 * 1024 * 1024;

/// Counts the tokens of a text.
pub type TokenCounter = Arc<dyn Fn(&str) -> Result<usize> + Send + Sync>;

/// Limits and defaults. Immutable; the `with_…` methods give checked copies.
///
/// # Example
/// ```
/// use umi_core::MemoryConfig;
/// let config = MemoryConfig::default().with_recall_limit(50)?.with_core_memory_bytes(128 * 1024, None)?;
/// assert_eq!(config.core_limits().block_bytes, 64 * 1024);
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone)]
pub struct MemoryConfig {
    core: CoreLimits,
    working: WorkingLimits,
    recall_limit: usize,
    text_bytes: usize,
    index_memory_bytes: usize,
    embedding_cache_bytes: usize,
    deep_search: bool,
    token_prices: Option<TokenPrices>,
    token_counter: Option<TokenCounter>,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            core: CoreLimits::default(),
            working: WorkingLimits::default(),
            recall_limit: 10,
            text_bytes: 100_000,
            index_memory_bytes: INDEX_MEMORY_BYTES,
            embedding_cache_bytes: EMBEDDING_CACHE_BYTES,
            deep_search: false,
            token_prices: None,
            token_counter: None,
        }
    }
}

impl fmt::Debug for MemoryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryConfig")
            .field("core", &self.core)
            .field("working", &self.working)
            .field("recall_limit", &self.recall_limit)
            .field("text_bytes", &self.text_bytes)
            .field("index_memory_bytes", &self.index_memory_bytes)
            .field("embedding_cache_bytes", &self.embedding_cache_bytes)
            .field("deep_search", &self.deep_search)
            .field("token_prices", &self.token_prices)
            .field("token_counter", &self.token_counter.as_ref().map(|_| "…"))
            .finish()
    }
}

impl MemoryConfig {
    /// Bytes of core memory in all (4 KiB to 16 MiB; default 32 KiB) and of one block (default: the larger of 16 KiB
    /// and half of it).
    ///
    /// # Errors
    /// `InvalidInput` outside of that range.
    pub fn with_core_memory_bytes(self, total: usize, block: Option<usize>) -> Result<Self> {
        Ok(Self { core: CoreLimits::new(total, block)?, ..self })
    }

    /// Bytes of working memory, keys and values (1 KiB to 1 GiB; default 1 MiB).
    ///
    /// # Errors
    /// `InvalidInput` outside of that range.
    pub fn with_working_memory_bytes(self, bytes: usize) -> Result<Self> {
        check_range("working_memory_bytes", bytes, 1_024, MOST_BYTES)?;
        self.with_working(|working| working.max_bytes = bytes)
    }

    /// Entries of working memory (1 to 10,000,000; default 10,000).
    ///
    /// # Errors
    /// `InvalidInput` outside of that range.
    pub fn with_working_memory_entries(self, entries: usize) -> Result<Self> {
        check_range("working_memory_entries", entries, 1, 10_000_000)?;
        self.with_working(|working| working.max_entries = entries)
    }

    /// Bytes of one working value (1 to 1 GiB; default 64 KiB).
    ///
    /// # Errors
    /// `InvalidInput` outside of that range.
    pub fn with_working_value_bytes(self, bytes: usize) -> Result<Self> {
        check_range("working_value_bytes", bytes, 1, MOST_BYTES)?;
        self.with_working(|working| working.value_bytes = bytes)
    }

    /// How long a working value lives that is given no time to live (default: an hour).
    ///
    /// # Errors
    /// `InvalidInput` when it is not above zero, or over 7 days and not for ever.
    pub fn with_working_memory_ttl(self, ttl: TimeToLive) -> Result<Self> {
        self.with_working(|working| working.default_ttl = ttl)
    }

    fn with_working(mut self, change: impl FnOnce(&mut WorkingLimits)) -> Result<Self> {
        change(&mut self.working);
        self.working = self.working.validated()?;
        Ok(self)
    }

    /// How many results a recall gives that names no limit (1 to 1,000; default 10).
    ///
    /// # Errors
    /// `InvalidLimit` outside of that range.
    pub fn with_recall_limit(self, limit: usize) -> Result<Self> {
        check_limit(limit)?;
        Ok(Self { recall_limit: limit, ..self })
    }

    /// The longest text to remember or query, in bytes (1 to 10 MB; default 100,000).
    ///
    /// # Errors
    /// `InvalidInput` outside of that range.
    pub fn with_text_bytes(self, bytes: usize) -> Result<Self> {
        check_range("text_bytes", bytes, 1, TEXT_BYTES)?;
        Ok(Self { text_bytes: bytes, ..self })
    }

    /// The index's bound in memory, in bytes (at least 1 MiB; default 256 MiB). A tenant larger than it is scanned.
    ///
    /// # Errors
    /// `InvalidInput` below that.
    pub fn with_index_memory_bytes(self, bytes: usize) -> Result<Self> {
        check_range("index_memory_bytes", bytes, 1024 * 1024, usize::MAX)?;
        Ok(Self { index_memory_bytes: bytes, ..self })
    }

    /// What the vectors of the texts that a remote embedder saw last may take in memory, in bytes (0 keeps none; at most
    /// 1 GiB; default 16 MiB). A text whose vector is kept is not embedded again.
    ///
    /// # Errors
    /// `InvalidInput` outside of that range.
    pub fn with_embedding_cache_bytes(self, bytes: usize) -> Result<Self> {
        check_range("embedding_cache_bytes", bytes, 0, MOST_BYTES)?;
        Ok(Self { embedding_cache_bytes: bytes, ..self })
    }

    /// Whether recall and context let a language model rewrite the query unless they are told (default: no). A memory
    /// without a model searches the query as it is, and refuses nothing.
    #[must_use]
    pub fn with_deep_search(self, deep_search: bool) -> Self {
        Self { deep_search, ..self }
    }

    /// What the language model's service asks for tokens, so that [`Memory::stats`](crate::Memory::stats) tells what it
    /// cost (default: not known, and no cost is told).
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// use umi_core::{MemoryBuilder, MemoryConfig, TokenPrices};
    /// let config = MemoryConfig::default().with_token_prices(TokenPrices::new(3.0, 15.0)?);
    /// let memory = MemoryBuilder::sim(7).config(config).build().await?;
    /// memory.remember("Ana works at Acme.").await?;
    /// assert!(memory.stats().await?.usage.cost.is_some());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_token_prices(self, prices: TokenPrices) -> Self {
        Self { token_prices: Some(prices), ..self }
    }

    /// Counts tokens in the place of the estimate by script.
    ///
    /// # Example
    /// ```
    /// use std::sync::Arc;
    /// use umi_core::MemoryConfig;
    /// let config = MemoryConfig::default().with_token_counter(Arc::new(|text| Ok(text.split_whitespace().count())));
    /// assert!(config.token_counter().is_some());
    /// ```
    #[must_use]
    pub fn with_token_counter(self, counter: TokenCounter) -> Self {
        Self { token_counter: Some(counter), ..self }
    }

    /// The bounds of core memory.
    pub fn core_limits(&self) -> CoreLimits {
        self.core
    }

    /// The bounds of working memory.
    pub fn working_limits(&self) -> WorkingLimits {
        self.working
    }

    /// Results of a recall that names no limit.
    pub fn recall_limit(&self) -> usize {
        self.recall_limit
    }

    /// Bytes of one text.
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Bytes of the index.
    pub fn index_memory_bytes(&self) -> usize {
        self.index_memory_bytes
    }

    /// Bytes of the vectors of a remote embedder that are kept.
    pub fn embedding_cache_bytes(&self) -> usize {
        self.embedding_cache_bytes
    }

    /// Whether recall lets a language model rewrite the query.
    pub fn deep_search(&self) -> bool {
        self.deep_search
    }

    /// What tokens cost, if it is known.
    pub fn token_prices(&self) -> Option<TokenPrices> {
        self.token_prices
    }

    /// The caller's token counter.
    pub fn token_counter(&self) -> Option<&TokenCounter> {
        self.token_counter.as_ref()
    }
}

/// Checks a number of results.
pub(crate) fn check_limit(limit: usize) -> Result<()> {
    if (1..=RECALL_LIMIT).contains(&limit) {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::InvalidLimit,
            format!("limit is `{limit}`, it must lie between 1 and {RECALL_LIMIT}"),
        )
        .with_sizes(RECALL_LIMIT, limit))
    }
}

fn check_range(what: &str, value: usize, least: usize, most: usize) -> Result<()> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(Error::invalid_input(format!("{what} is `{value}`, it must lie between {least} and {most}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_checked_when_a_configuration_is_made() {
        let config = MemoryConfig::default();
        assert!(config.clone().with_core_memory_bytes(100, None).unwrap_err().is_invalid_input());
        assert!(config.clone().with_working_memory_bytes(0).unwrap_err().is_invalid_input());
        assert!(config.clone().with_text_bytes(TEXT_BYTES + 1).unwrap_err().is_invalid_input());
        assert!(config.clone().with_index_memory_bytes(1).unwrap_err().is_invalid_input());
        assert!(config.clone().with_embedding_cache_bytes(usize::MAX).unwrap_err().is_invalid_input());
        for limit in [0, 1_001] {
            let error = config.clone().with_recall_limit(limit).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidLimit);
        }
    }
}
