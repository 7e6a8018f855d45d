//! What language models took, by step.

use std::{
    ops::AddAssign,
    sync::atomic::{AtomicU64, Ordering},
};

use super::results::Usage;
use crate::error::{Error, Result};

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.requests = self.requests.saturating_add(other.requests);
    }
}

/// What a model's service asks for tokens, in whatever currency.
///
/// # Example
/// ```
/// use umi_core::{TokenPrices, Usage};
/// let prices = TokenPrices::new(3.0, 15.0)?; // for a million tokens
/// assert_eq!(prices.cost(Usage::new(1_000_000, 200_000, 40)), 6.0);
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenPrices {
    /// For a million tokens that it reads.
    pub input: f64,
    /// For a million tokens that it writes.
    pub output: f64,
}

impl TokenPrices {
    /// Prices of a million tokens read and of a million written.
    ///
    /// # Errors
    /// `InvalidInput` for a price that is negative or no number.
    pub fn new(input: f64, output: f64) -> Result<Self> {
        for (what, price) in [("input", input), ("output", output)] {
            if !(price.is_finite() && price >= 0.0) {
                return Err(Error::invalid_input(format!("the {what} price is `{price}`, it must be at least 0")));
            }
        }
        Ok(Self { input, output })
    }

    /// What a usage costs.
    pub fn cost(&self, usage: Usage) -> f64 {
        (usage.input_tokens as f64 * self.input + usage.output_tokens as f64 * self.output) / 1e6
    }
}

/// What the language model of a memory took since it was opened, by step.
///
/// # Example
/// ```
/// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
/// use umi_core::Memory;
/// let memory = Memory::sim(7).await?; // with a simulated language model
/// memory.remember("Ana works at Acme.").await?;
/// let usage = memory.stats().await?.usage;
/// assert_eq!((usage.extract.requests, usage.total().requests), (1, 1));
/// assert!(usage.cost.is_none());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ModelUsage {
    /// Finding facts.
    pub extract: Usage,
    /// Relating facts to stored ones.
    pub evolve: Usage,
    /// Rewriting questions.
    pub expand: Usage,
    /// What all of it costs; none without prices.
    pub cost: Option<f64>,
}

impl ModelUsage {
    /// All steps together.
    pub fn total(&self) -> Usage {
        let mut total = self.extract;
        total += self.evolve;
        total += self.expand;
        total
    }
}

/// A step that asks a model.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Extract,
    Evolve,
    Expand,
}

/// Counts what is taken, from any thread.
#[derive(Debug, Default)]
pub(super) struct UsageCounters([[AtomicU64; 3]; 3]);

impl UsageCounters {
    pub(super) fn count(&self, step: Step, usage: Usage) {
        let counts = [usage.input_tokens, usage.output_tokens, usage.requests];
        for (counter, count) in self.0[step as usize].iter().zip(counts) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self, prices: Option<TokenPrices>) -> ModelUsage {
        let usage = |step: Step| {
            let [input, output, requests] = &self.0[step as usize];
            Usage::new(input.load(Ordering::Relaxed), output.load(Ordering::Relaxed), requests.load(Ordering::Relaxed))
        };
        let mut read = ModelUsage {
            extract: usage(Step::Extract),
            evolve: usage(Step::Evolve),
            expand: usage(Step::Expand),
            cost: None,
        };
        read.cost = prices.map(|prices| prices.cost(read.total()));
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_counted_by_step_and_costs_what_the_prices_say() {
        let counters = UsageCounters::default();
        counters.count(Step::Extract, Usage::new(1_000_000, 500_000, 1));
        counters.count(Step::Evolve, Usage::new(10, 0, 1));
        counters.count(Step::Extract, Usage::new(1_000_000, 0, 1));
        let read = counters.read(Some(TokenPrices::new(3.0, 15.0).unwrap()));
        assert_eq!(read.extract, Usage::new(2_000_000, 500_000, 2));
        assert_eq!((read.evolve.requests, read.expand.requests, read.total().requests), (1, 0, 3));
        assert!((read.cost.unwrap() - 13.500_03).abs() < 1e-9);
        assert_eq!(counters.read(None).cost, None);
        assert!(TokenPrices::new(-1.0, 0.0).is_err() && TokenPrices::new(0.0, f64::NAN).is_err());
    }
}
