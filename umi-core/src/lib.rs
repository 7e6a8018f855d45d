//! Umi: a memory engine for AI agents.

mod core_memory;
mod embed;
mod entity;
mod episode;
mod error;
mod index;
mod ledger;
mod metadata;
mod scope;
mod working_memory;
mod world;

pub use self::{
    core_memory::{Block, BlockType, CoreLimits, CoreMemory},
    embed::{Embedder, EmbeddingSpace, sim::SimEmbedder, static_table::StaticEmbedder},
    entity::{Entity, EntityType, EvolutionRelation, EvolutionType, Sighting, Span, chain, check_bytes, check_unit, fold},
    episode::{Episode, Kind},
    error::{Details, Error, ErrorKind, Result},
    metadata::Metadata,
    scope::Scope,
    working_memory::{TimeToLive, WorkingLimits},
    world::{Clock, Ids, ManualClock, RandomIds, SystemClock},
};
