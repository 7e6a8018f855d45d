//! Messages in the making: what earlier calls have encoded is found first, and the rest is encoded when it is asked for.

use super::{Entry, MessageOptions, Node, Plan, Provider, anthropic, budget, gemini, openai, responses};
use crate::{
    context::{collection::Snapshot, encode::EncoderRegistry, items::Item, parallel::in_parallel, part::Part},
    error::{Error, Result},
};

/// Texts of more bytes take long enough to be counted and copied that somebody may want to interrupt it.
const READY_BYTES: usize = 1_000_000;

/// Items on their way into messages: see [`Snapshot::rendering`].
#[derive(Debug)]
pub struct Rendering<'a> {
    items: Snapshot,
    plan: Plan<'a>,
    /// The parts of each item, where they are known by now.
    encoded: Vec<Option<Result<Vec<Part>>>>,
}

impl<'a> Rendering<'a> {
    pub(super) fn new(
        items: Snapshot,
        provider: Provider,
        registry: &'a EncoderRegistry,
        options: MessageOptions,
    ) -> Result<Self> {
        let plan = Plan::new(provider, registry, options)?;
        let encoded = items.iter().map(|item| plan.kept(item)).collect();
        Ok(Self { items, plan, encoded })
    }

    /// Whether no item is left to be encoded or scaled and the texts are short, so that the rest takes microseconds an item.
    pub fn is_ready(&self) -> bool {
        self.plan.options.budget_tokens.is_none()
            && self.encoded.iter().all(Option::is_some)
            && self.text_bytes() <= READY_BYTES
    }

    fn text_bytes(&self) -> usize {
        let parts = self.encoded.iter().flatten().flatten().flatten();
        parts.map(|part| if let Part::Text(text) = part { text.len() } else { 0 }).sum()
    }

    /// As [`Snapshot::to_messages`].
    ///
    /// # Errors
    /// As there.
    pub fn messages(self) -> Result<Node> {
        let provider = self.plan.provider;
        let entries = self.entries()?;
        Ok(match provider {
            Provider::OpenAi => openai::messages(&entries),
            Provider::OpenAiResponses => responses::messages(&entries),
            Provider::Anthropic => anthropic::messages(&entries),
            Provider::Gemini => gemini::messages(&entries),
        })
    }

    /// As [`Snapshot::to_request`].
    ///
    /// # Errors
    /// As there.
    pub fn request(self) -> Result<Node> {
        let provider = self.plan.provider;
        let entries = self.entries()?;
        Ok(match provider {
            Provider::OpenAi => Node::Object(vec![("messages", openai::messages(&entries))]),
            Provider::OpenAiResponses => Node::Object(vec![("input", responses::messages(&entries))]),
            Provider::Anthropic => anthropic::request(entries),
            Provider::Gemini => gemini::request(entries),
        })
    }

    /// As [`Snapshot::count_tokens`].
    ///
    /// # Errors
    /// As there.
    pub fn tokens(self) -> Result<usize> {
        let provider = self.plan.provider;
        Ok(budget::count(provider, &self.entries()?))
    }

    /// Encodes what is left, on as many threads as there are processors, and keeps to the budget.
    fn entries(self) -> Result<Vec<Entry>> {
        let Self { items, plan, mut encoded } = self;
        let items: Vec<&Item> = items.iter().collect();
        let cold: Vec<usize> = (0..items.len()).filter(|index| encoded[*index].is_none()).collect();
        let made = in_parallel(cold.len(), |place| plan.encode(items[cold[place]]));
        for (index, parts) in cold.into_iter().zip(made) {
            encoded[index] = Some(parts);
        }
        let lost = || Err(Error::internal("an item was not encoded"));
        let with_parts = items.iter().zip(encoded);
        let mut entries: Vec<Entry> =
            with_parts.map(|(item, parts)| plan.entry(item, parts.unwrap_or_else(lost))).collect::<Result<_>>()?;
        if let Some(tokens) = plan.options.budget_tokens {
            budget::fit(plan.provider, &mut entries, tokens, plan.options.on_error)?;
        }
        Ok(entries)
    }
}
