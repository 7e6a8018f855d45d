//! Umi: a memory engine for AI agents, in the user's own process: durable, private, and right about what is true now
//! and what was true before.
//!
//! A [`Memory`] remembers texts verbatim as episodes and facts as versions in time, recalls them by words and vectors,
//! and renders them as XML for a model's prompt. It needs no key, no network and no model download.
//!
//! # Example
//! ```
//! # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
//! use umi_core::{BlockType, Memory};
//! let memory = Memory::in_memory().await?;
//! memory.core().set_block(BlockType::Human, "Prefers concise answers.", None, None).await?;
//! memory.remember("My sister Ana moved to Lisbon.").user("alice")?.await?;
//! let found = memory.recall("Where does Ana live?").user("alice")?.await?;
//! assert_eq!(found[0].entity.content, "My sister Ana moved to Lisbon.");
//! # Ok(()) }
//! ```
//!
//! # With a language model
//! A [`LanguageModel`] finds the facts in what is said, relates them to what is stored, and rewords questions
//! ([`RecallOptions::with_deep_search`]): [`AnthropicModel`], [`OpenAIModel`] for OpenAI and every compatible server, or
//! one of your own. What it fails with is a warning of the result; the words are durable all the same, and
//! [`Memory::retry_pending`] reads them again.
//!
//! ```
//! # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
//! use std::sync::Arc;
//! use umi_core::{ListOptions, MemoryBuilder, Scope, SimLanguageModel, StorageBackend};
//! let memory = MemoryBuilder::new()
//!     .storage(StorageBackend::in_memory())
//!     .language_model(Arc::new(SimLanguageModel::new(7))) // or: AnthropicModel::new(&key)?, OpenAIModel::new(&key)?
//!     .build()
//!     .await?;
//! memory.remember("Ana works at Acme.").await?;
//! let result = memory.remember("Ana works at Globex.").await?;
//! for evolution in &result.evolutions {
//!     println!("{}: {}", evolution.evolution_type, evolution.reason);
//! }
//! let facts = memory.list(&ListOptions::default(), &Scope::new()).await?;
//! assert_eq!((facts.len(), facts[0].content.as_str()), (1, "Ana works at Globex"));
//! assert_eq!(memory.history(&facts[0].id.to_string(), &Scope::new()).await?.len(), 2);
//! # Ok(()) }
//! ```
//!
//! The folder `examples` tells more: `cargo run -p umi-core --example quickstart`.
//!
//! # Feature flags
//! None is on by default.
//!
//! - `lance`: [`StorageBackend::lance`], an index on LanceDB in the store's folder, for stores that outgrow memory. It
//!   takes ten minutes to compile and needs `protoc` with its well-known types (Debian: `protobuf-compiler`,
//!   `libprotobuf-dev`).
//! - `candle`: sentence-transformers models from a folder, run in this process.
//!
//! The clients of Anthropic and OpenAI are always there: [`AnthropicModel`], [`OpenAIModel`], [`OpenAIEmbedder`].
//!
//! # Runtime
//! Times are [`jiff::Timestamp`]s in microseconds, ids are version 7 UUIDs. Every call needs a tokio runtime with its timer
//! enabled; the clients of services need its I/O enabled too. No key and no URL is read from the environment: they are
//! passed in.

mod blocking;
pub mod context;
mod core_memory;
mod digest;
mod embed;
mod entity;
mod episode;
mod error;
mod evolve;
mod expand;
mod extract;
mod fence;
mod index;
mod ledger;
mod llm;
mod memory;
mod metadata;
mod scope;
mod working_memory;
mod world;
mod xml;

pub use async_trait::async_trait;
pub use jiff::Timestamp;
pub use uuid::Uuid;

#[cfg(feature = "candle")]
pub use self::embed::local::LocalEmbedder;
pub use self::{
    core_memory::{Block, BlockType, CoreLimits, CoreMemory},
    embed::{
        Embedder, EmbeddingSpace, check_vectors, openai::OpenAIEmbedder, sim::SimEmbedder, static_table::StaticEmbedder,
    },
    entity::{
        Closing, Entity, EntityType, EvolutionRelation, EvolutionType, Sighting, Span, chain, check_bytes, check_unit,
        fold,
    },
    episode::{Episode, Kind},
    error::{Details, Error, ErrorKind, Result},
    index::{IndexStats, LanceStats},
    ledger::{CheckReport, ForgetReach, Job, JobKind, LedgerStats, Owner},
    llm::{
        ANTHROPIC_MODEL, AnswerSchema, COMPLETION_TOKENS, Completion, CompletionRequest, LanguageModel, Message,
        MessagePart, MessageRole, OPENAI_EMBEDDING_MODEL, OPENAI_MODEL, anthropic::AnthropicModel, http::HttpOptions,
        openai::OpenAIModel, scripted::ScriptedModel, sim::SimLanguageModel,
    },
    memory::{
        BUDGET_TOKENS, CONTEXT_IMAGES, FactChange, INDEX_MEMORY_BYTES, ListOptions, Memory, MemoryBuilder,
        MemoryConfig, MemoryContext, MemoryCore, MemoryStats, MemoryWorking, ModelUsage, Progress, RECALL_LIMIT,
        RECALLED_SOURCE, REMEMBER_BATCH, Recall, RecallOptions, RecallResults, Recalled, RecoverReport, Remember,
        RememberOptions, RememberRequest, RememberResult, StepFailure, StorageBackend, TEXT_BYTES, TokenCounter,
        TokenPrices, Turn, Usage, Wait, after_fork_in_child, after_fork_in_parent, before_fork, estimate_tokens,
        new_id, prepare, recalled_source,
    },
    metadata::{METADATA_BYTES, METADATA_DEPTH, Metadata},
    scope::{SCOPE_NAME_BYTES, Scope},
    working_memory::{TimeToLive, WorkingLimits, WorkingMemory},
    world::{Clock, Ids, ManualClock, RandomIds, SeededIds, SystemClock},
};
