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
//! # Features
//! - `lance` (off by default): [`StorageBackend::lance`], an index on LanceDB for stores that outgrow memory. It takes ten
//!   minutes to compile and needs `protoc` with its well-known types (Debian: `protobuf-compiler`, `libprotobuf-dev`).
//!
//! Times are [`jiff::Timestamp`]s in microseconds, ids are version 7 UUIDs. Every call needs a tokio runtime with its timer
//! enabled.

mod blocking;
mod core_memory;
mod embed;
mod entity;
mod episode;
mod error;
mod index;
mod ledger;
mod llm;
mod memory;
mod metadata;
mod scope;
mod working_memory;
mod world;
mod xml;

pub use jiff::Timestamp;
pub use uuid::Uuid;

pub use self::{
    core_memory::{Block, BlockType, CoreLimits, CoreMemory},
    embed::{Embedder, EmbeddingSpace, check_vectors, sim::SimEmbedder, static_table::StaticEmbedder},
    entity::{
        Entity, EntityType, EvolutionRelation, EvolutionType, Sighting, Span, chain, check_bytes, check_unit, fold,
    },
    episode::{Episode, Kind},
    error::{Details, Error, ErrorKind, Result},
    index::{IndexStats, LanceStats},
    ledger::{CheckReport, ForgetReach, Job, JobKind, LedgerStats, Owner},
    llm::{AnswerSchema, Completion, CompletionRequest, LanguageModel, Message, MessagePart, MessageRole},
    memory::{
        BUDGET_TOKENS, FactChange, INDEX_MEMORY_BYTES, ListOptions, Memory, MemoryBuilder, MemoryConfig, MemoryContext,
        MemoryCore, MemoryStats, MemoryWorking, Progress, RECALL_LIMIT, REMEMBER_BATCH, Recall, RecallOptions,
        RecallResults, Recalled, RecoverReport, Remember, RememberOptions, RememberRequest, RememberResult,
        StepFailure, StorageBackend, TEXT_BYTES, TokenCounter, Turn, Usage, Wait, after_fork_in_child,
        after_fork_in_parent, before_fork, estimate_tokens, new_id, prepare,
    },
    metadata::{METADATA_BYTES, METADATA_DEPTH, Metadata},
    scope::{SCOPE_NAME_BYTES, Scope},
    working_memory::{TimeToLive, WorkingLimits, WorkingMemory},
    world::{Clock, Ids, ManualClock, RandomIds, SeededIds, SystemClock},
};
