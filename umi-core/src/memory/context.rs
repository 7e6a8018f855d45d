//! context: core memory, working memory and what is relevant, as one XML document for a model's prompt.

use std::{collections::BTreeMap, fmt, future::IntoFuture, pin::Pin};

use uuid::Uuid;

use super::{
    Memory, RECALL_LIMIT,
    contexts::reference,
    options::RecallOptions,
    prompt::Prompt,
    recall::{FoundRows, Row},
    store::blocking,
    tokens::estimate_tokens,
};
use crate::{
    context::{self, Context, NewItem},
    entity::EntityType,
    episode::Kind,
    error::{ErrorKind, Result},
    ledger::{Attachment, EpisodePage, FactFilter},
    metadata::Metadata,
    scope::Scope,
};

/// The budget of working memory and recall, in tokens, unless it is set.
pub const BUDGET_TOKENS: usize = 2_000;
/// The most images that [`Memory::context_items`] gives.
pub const CONTEXT_IMAGES: usize = 8;
/// How many results are considered for a prompt.
const CANDIDATES: usize = 50;
/// The least score of the best result: below it a question finds noise, and the prompt shows nothing. Of development
/// questions asked to a conversation that cannot know, half stay below it; of those asked to their own, 99 % are above.
const BEST_SCORE: f64 = 0.25;
/// The least score of the others, as a share of the best one. It is low, because what stands beside an answer is ranked
/// for its place and seldom repeats the question's words.
const SHARE_OF_BEST: f64 = 0.15;
/// How many of the latest turns a prompt without a question shows.
const LATEST_TURNS: usize = 20;
/// How many of the most important facts a prompt without a question shows.
const IMPORTANT_FACTS: usize = 30;

/// A prompt that is about to be rendered; await it.
#[must_use = "nothing is rendered until it is awaited"]
pub struct MemoryContext<'a> {
    memory: &'a Memory,
    query: Option<String>,
    budget_tokens: usize,
    options: Option<RecallOptions>,
    scope: Scope,
}

impl fmt::Debug for MemoryContext<'_> {
    /// Shows the size of the question and not its words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryContext")
            .field("query_bytes", &self.query.as_ref().map(String::len))
            .field("budget_tokens", &self.budget_tokens)
            .field("options", &self.options)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl MemoryContext<'_> {
    /// What the prompt is about. Without it, the latest turns and the most important facts are shown.
    pub fn query(mut self, query: impl Into<String>) -> Self {
        self.query = Some(query.into());
        self
    }

    /// The budget of working memory and recall, in tokens (default 2,000). The core is never cut.
    pub fn budget_tokens(mut self, tokens: usize) -> Self {
        self.budget_tokens = tokens;
        self
    }

    /// Recalls otherwise than by default.
    pub fn options(mut self, options: RecallOptions) -> Self {
        self.options = Some(options);
        self
    }

    /// Whose memory it is, where it is not the handle's.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }
}

impl<'a> IntoFuture for MemoryContext<'a> {
    type Output = Result<String>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let query = self.query.as_deref();
            self.memory.context_with(query, self.budget_tokens, self.options.as_ref(), &self.scope).await
        })
    }
}

impl Memory {
    /// The whole `<memory>` document: core memory first, then working memory, then what is relevant. What a model takes to
    /// reword the question (`deep_search`) is in [`Memory::stats`](super::Memory::stats) alone.
    ///
    /// # Errors
    /// When the returned builder is awaited: as [`Memory::recall`], and what a caller's token counter fails with.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// # let memory = umi_core::Memory::in_memory().await?;
    /// memory.remember("Alice is allergic to peanuts.").await?;
    /// let xml = memory.context().query("What can Alice not eat?").budget_tokens(500).await?;
    /// assert!(xml.starts_with("<memory>\n<core_memory>") && xml.contains("peanuts"));
    /// # Ok(()) }
    /// ```
    pub fn context(&self) -> MemoryContext<'_> {
        MemoryContext { memory: self, query: None, budget_tokens: BUDGET_TOKENS, options: None, scope: Scope::new() }
    }

    /// [`Memory::context`] in the form that bindings use.
    ///
    /// # Errors
    /// As [`Memory::context`].
    pub async fn context_with(
        &self,
        query: Option<&str>,
        budget_tokens: usize,
        options: Option<&RecallOptions>,
        scope: &Scope,
    ) -> Result<String> {
        Ok(self.prompt(query, budget_tokens, options, scope).await?.0)
    }

    /// The document as the items of a context, to be rendered into the messages of a provider: the document as a text, then
    /// the images among what it shows, the best first, at most [`CONTEXT_IMAGES`], which the budget does not count. In the place of one whose content is
    /// lost or cannot be read there is a text that says so: one damaged file costs no prompt.
    ///
    /// # Errors
    /// As [`Memory::context`].
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// # let memory = umi_core::Memory::in_memory().await?;
    /// use umi_core::{BUDGET_TOKENS, Scope};
    /// memory.remember("Alice is allergic to peanuts.").await?;
    /// let items = memory.context_items(Some("What can Alice not eat?"), BUDGET_TOKENS, None, &Scope::new()).await?;
    /// assert_eq!(items.len(), 1);
    /// # Ok(()) }
    /// ```
    pub async fn context_items(
        &self,
        query: Option<&str>,
        budget_tokens: usize,
        options: Option<&RecallOptions>,
        scope: &Scope,
    ) -> Result<Context> {
        let (document, attachments) = self.prompt(query, budget_tokens, options, scope).await?;
        let context = Context::sim(0); // the same question makes the same messages, which services keep
        context.add(NewItem::text(document))?;
        let images = attachments.iter().filter(|attachment| attachment.kind() == context::Kind::Image);
        let mut left = CONTEXT_IMAGES;
        for image in images {
            if left == 0 {
                break;
            }
            let reference = reference(image)?.to_string();
            let note = Metadata::parse(&serde_json::json!({ "note": &reference }).to_string())?;
            let (Some(blob), Some(media_type)) = (&image.blob, &image.media_type) else {
                // One that is only named is fetched by the provider, as in any other message.
                let url = image.uri.as_deref().map(|uri| context::Url::new(uri, image.media_type.as_deref()));
                if let Some(Ok(url)) = url {
                    left -= 1;
                    context.add(NewItem::url(url).with_metadata(note))?;
                }
                continue;
            };
            let content = match self.content(blob).await {
                Ok(content) => content,
                Err(error) if matches!(error.kind(), ErrorKind::CorruptStore | ErrorKind::StoreIo) => {
                    tracing::warn!(target: "umi::memory", %error, %reference, "a prompt was rendered without an image");
                    let lost = NewItem::text(format!("[not sent: the content of `{reference}` cannot be read]"));
                    context.add(lost.with_metadata(note))?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            left -= 1;
            let item = NewItem::bytes(content, media_type)?.with_metadata(note);
            // Two sessions may have given one ref.
            if context.contains(&image.ref_id.text()) || item.kind() != image.kind() {
                context.add(item)?;
            } else {
                context.insert(image.ref_id, item)?;
            }
        }
        Ok(context)
    }

    /// The document, and what its episodes and the episodes of its facts stand for, the best first.
    async fn prompt(
        &self,
        query: Option<&str>,
        budget_tokens: usize,
        options: Option<&RecallOptions>,
        scope: &Scope,
    ) -> Result<(String, Vec<Attachment>)> {
        self.check_open()?;
        let resolved = self.resolve(scope)?;
        let core = self.ledger().core_rendered(&resolved, self.parts.config.core_limits()).await?;
        let working = self.ledger().working_entries(&resolved, self.now()).await?;
        let items = match query {
            Some(query) => self.relevant(query, options, scope).await?,
            None => self.latest(&resolved, options.unwrap_or(&RecallOptions::default())).await?,
        };
        // What is known of an item may be a fact that was found in its words.
        let origins: BTreeMap<Uuid, Uuid> =
            items.iter().filter_map(|(row, _)| Some((row.id(), row.episode_id()?))).collect();
        let mut attachments = self.attachments(&resolved, origins.values().copied()).await?;
        let named = origins.iter().filter_map(|(row, episode)| Some((*row, attachments.get(episode)?)));
        let named = named.map(|(row, attachment)| Ok((row, reference(attachment)?.to_string())));
        let refs: BTreeMap<Uuid, String> = named.collect::<Result<_>>()?;
        let counter = self.parts.config.token_counter().cloned();
        let (document, shown) = blocking(move || {
            let count = |text: &str| match &counter {
                Some(counter) => counter(text),
                None => Ok(estimate_tokens(text)),
            };
            let mut prompt = Prompt {
                core: &core,
                working: working.iter().map(|entry| (entry.key.as_str(), entry.value.as_slice())).collect(),
                facts: Vec::new(),
                episodes: Vec::new(),
                refs,
                budget_tokens,
            };
            for (row, score) in &items {
                match row {
                    Row::Fact(fact) => prompt.facts.push((fact, *score)),
                    Row::Episode(episode) => prompt.episodes.push((episode, *score)),
                }
            }
            prompt.render_with_refs(&count)
        })
        .await?;
        let shown = shown.iter().filter_map(|row| attachments.remove(origins.get(row)?)).collect();
        Ok((document, shown))
    }

    async fn relevant(&self, query: &str, options: Option<&RecallOptions>, scope: &Scope) -> Result<Vec<(Row, f64)>> {
        let default = RecallOptions::default().with_limit(CANDIDATES)?;
        let FoundRows { rows: mut found, warnings, .. } = self.find(query, options.unwrap_or(&default), scope).await?;
        if options.is_none() {
            let best = found.iter().map(|found| found.score).fold(0.0, f64::max);
            found.retain(|found| best >= BEST_SCORE && found.score >= SHARE_OF_BEST * best);
        }
        for warning in warnings {
            // The document has no place for warnings; `recall` gives them.
            let kind = warning.error.kind();
            tracing::warn!(target: "umi::memory", step = warning.step, ?kind, "a prompt was rendered without a step");
        }
        // The budget is filled in the order of rank.
        Ok(found.into_iter().enumerate().map(|(rank, found)| (found.row, 1.0 / (rank + 1) as f64)).collect())
    }

    /// The session's latest turns and the most important facts, as far as the options admit them; later turns and more
    /// important facts go first into the budget.
    async fn latest(&self, scope: &Scope, options: &RecallOptions) -> Result<Vec<(Row, f64)>> {
        let (start, end) = options.time_range().unzip();
        let until = [options.as_of(), end].into_iter().flatten().min();
        let admits = |kind: EntityType| options.entity_types().is_none_or(|types| types.contains(&kind));
        let mut items = Vec::new();
        if options.include().contains(&Kind::Fact) {
            let valid_at = match (options.as_of(), end) {
                (None, Some(_)) => None,
                (as_of, _) => Some(as_of.unwrap_or_else(|| self.now())),
            };
            let is_filtered = options.entity_types().is_some() || end.is_some();
            let limit = if is_filtered { RECALL_LIMIT } else { IMPORTANT_FACTS };
            let filter = FactFilter { entity_type: None, valid_at, most_important_first: true, limit, offset: 0 };
            let mut facts = self.ledger().facts(scope, &filter).await?;
            facts.retain(|fact| {
                admits(fact.entity_type)
                    && end.is_none_or(|end| fact.valid_from <= end)
                    && start.is_none_or(|start| fact.valid_to.is_none_or(|closed| start < closed))
            });
            facts.truncate(IMPORTANT_FACTS);
            items.extend(facts.into_iter().map(|fact| {
                let importance = fact.importance;
                (Row::Fact(fact), importance)
            }));
        }
        if options.include().contains(&Kind::Episode) && admits(EntityType::Note) {
            let page = EpisodePage { limit: LATEST_TURNS, offset: 0, newest_first: true, until };
            let mut turns = self.ledger().episodes(scope, page).await?;
            turns.retain(|turn| start.is_none_or(|start| start <= turn.at));
            let count = turns.len() as f64;
            let ranked = turns.into_iter().enumerate();
            items.extend(ranked.map(|(index, turn)| (Row::Episode(turn), (index + 1) as f64 / count)));
        }
        if let Some(limit) = options.limit() {
            items.sort_by(|(_, one), (_, other)| other.total_cmp(one));
            items.truncate(limit);
        }
        Ok(items)
    }
}
