//! What language models took, by step.

use std::{
    ops::AddAssign,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::results::Usage;
use crate::{
    error::{Error, ErrorKind, Result},
    llm::{Completion, CompletionRequest, LanguageModel},
};

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

/// What the language model of a memory took since it was opened, by step: every answer that the service has counted,
/// also one that could not be used, and one whose call was given up since.
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

/// A model whose answers are counted when they come: in the figures of the memory, and for the call that asks.
#[derive(Debug)]
pub(super) struct Metered<'a> {
    model: &'a dyn LanguageModel,
    counters: &'a UsageCounters,
    step: Step,
    usage: Mutex<Usage>,
    refuses_cut: bool,
    has_refused: AtomicBool,
}

impl<'a> Metered<'a> {
    /// With `refuses_cut`, an answer that ended at its limit of tokens is a failure.
    pub(super) fn new(
        model: &'a dyn LanguageModel,
        counters: &'a UsageCounters,
        step: Step,
        refuses_cut: bool,
    ) -> Self {
        Self { model, counters, step, usage: Mutex::default(), refuses_cut, has_refused: AtomicBool::new(false) }
    }

    /// What was counted so far.
    pub(super) fn usage(&self) -> Usage {
        *self.usage.lock()
    }

    /// Whether an answer was refused because it was cut.
    pub(super) fn has_refused(&self) -> bool {
        self.has_refused.load(Ordering::Acquire)
    }
}

#[async_trait]
impl LanguageModel for Metered<'_> {
    fn name(&self) -> &str {
        self.model.name()
    }

    async fn complete(&self, request: &CompletionRequest) -> Result<Completion> {
        let answer = self.model.complete(request).await;
        let usage = match &answer {
            Ok(completion) => completion.usage,
            Err(error) => error.details().usage.unwrap_or_default(),
        };
        self.counters.count(self.step, usage);
        *self.usage.lock() += usage;
        if self.refuses_cut && answer.as_ref().is_ok_and(|completion| completion.is_cut) {
            self.has_refused.store(true, Ordering::Release);
            // Not an answer to ask for again: it would end there once more.
            return Err(Error::new(ErrorKind::ContextOverflow, "the answer ended at its limit of tokens"));
        }
        answer
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
