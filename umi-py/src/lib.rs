//! The native module `umi._umi`: conversion, exceptions and the runtime of `umi-core` for Python. No logic.

#![expect(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over by value")]
#![expect(clippy::unused_self, reason = "a method of Python has its self")]

mod completions;
mod config;
mod context;
mod convert;
mod core_memory;
mod durable;
mod encoders;
mod entity;
mod episode;
mod error;
mod evolution;
mod functions;
mod local;
mod logging;
mod memory;
mod metadata;
mod models;
mod opening;
mod providers;
mod recall_options;
mod recalled;
mod remember_options;
mod request;
mod results;
mod runtime;
mod scan;
mod scope;
mod settings;
mod working_memory;
mod world;

use pyo3::prelude::*;

/// The native part of umi. Import `umi` instead.
#[pymodule(gil_used = false)]
mod _umi {
    use super::{PyModule, PyResult, error};
    #[pymodule_export]
    use super::{
        completions::{Completion, CompletionRequest},
        config::MemoryConfig,
        context::{
            BaseContext, GlobalRef, MissingRef, Url,
            messages::_render,
            saved::{_gc, _load, _save, _saved_item},
        },
        core_memory::{Block, CoreMemory},
        durable::Parts,
        encoders::{_cache_bytes, _list_encoders, _register, _set_cache_bytes},
        entity::Entity,
        episode::{Episode, Job},
        error::{_error_kinds, _panic},
        evolution::EvolutionRelation,
        local::LocalEmbeddingProvider,
        memory::{_close_all, Engine},
        models::{AnthropicProvider, CallableProvider, LanguageModelProvider, OpenAIProvider, SimLLMProvider},
        providers::{
            CallableEmbeddingProvider, EmbeddingProvider, InMemoryStorageBackend, LanceStorageBackend,
            OpenAIEmbeddingProvider, SimEmbeddingProvider, SqliteStorageBackend, StaticEmbeddingProvider,
        },
        recall_options::RecallOptions,
        recalled::Recalled,
        remember_options::RememberOptions,
        request::Batch,
        runtime::{_shutdown, Operation},
        scan::{BaseTable, DirectoryScan, FileEntry},
        scope::Scope,
        working_memory::WorkingMemory,
        world::{_after_fork_in_child, _after_fork_in_parent, _before_fork, ManualClock, uuid7},
    };
    use pyo3::{Bound, types::PyModuleMethods};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("REMEMBER_BATCH", umi_core::REMEMBER_BATCH)?;
        module.add("COMPLETION_TOKENS", umi_core::COMPLETION_TOKENS)?;
        module.add("ANTHROPIC_MODEL", umi_core::ANTHROPIC_MODEL)?;
        module.add("OPENAI_MODEL", umi_core::OPENAI_MODEL)?;
        module.add("OPENAI_EMBEDDING_MODEL", umi_core::OPENAI_EMBEDDING_MODEL)?;
        error::load_classes(module.py())
    }
}
