//! What the calls of a memory give, as the Python layer takes it.

use std::{thread, time::Duration};

use pyo3::{
    prelude::*,
    types::{PyDict, PyList, PyTuple},
};
use umi_core::{self as core, Metadata};

use crate::{
    convert::dict_of,
    entity::Entity,
    episode::{Episode, Job},
    error::to_value,
    evolution::EvolutionRelation,
    metadata::Meta,
    recalled::Recalled,
};

/// So many values are made at once, in a fraction of a millisecond; then another thread may have the interpreter.
const AT_ONCE: usize = 128;
/// Long enough for a thread that waits for the interpreter to wake up and have it. Without it, the one that lets go would
/// nearly always be back before.
const GAP: Duration = Duration::from_micros(50);

/// Makes a list. However long it is, an event loop that waits for the interpreter does not wait for all of it: native code
/// is never asked to let go, as Python code is.
fn list<'py, T, V: IntoPyObject<'py>>(
    py: Python<'py>,
    values: impl IntoIterator<Item = T>,
    make: impl Fn(T) -> PyResult<V>,
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for (place, value) in values.into_iter().enumerate() {
        if place > 0 && place % AT_ONCE == 0 {
            py.detach(|| thread::sleep(GAP));
        }
        list.append(make(value)?)?;
    }
    Ok(list)
}

fn failures(py: Python<'_>, failures: Vec<core::StepFailure>) -> PyResult<Bound<'_, PyList>> {
    list(py, failures, |failure| {
        Ok((failure.step, to_value(py, &failure.error)?, failure.job_id.map(|id| id.to_string())))
    })
}

fn usage(usage: core::Usage) -> (u64, u64, u64) {
    (usage.input_tokens, usage.output_tokens, usage.requests)
}

pub(crate) fn entities(py: Python<'_>, entities: Vec<core::Entity>) -> PyResult<Bound<'_, PyList>> {
    list(py, entities, |entity| Ok(Entity::from_core(entity)))
}

pub(crate) fn relations(py: Python<'_>, found: Vec<core::EvolutionRelation>) -> PyResult<Bound<'_, PyList>> {
    list(py, found, |inner| Ok(EvolutionRelation { inner }))
}

pub(crate) fn episodes(py: Python<'_>, found: Vec<core::Episode>) -> PyResult<Bound<'_, PyList>> {
    list(py, found, |inner| Ok(Episode { inner }))
}

pub(crate) fn jobs(py: Python<'_>, found: Vec<core::Job>) -> PyResult<Bound<'_, PyList>> {
    list(py, found, |job| Ok(Job::from(job)))
}

fn texts(py: Python<'_>, texts: Vec<String>) -> PyResult<Bound<'_, PyList>> {
    list(py, texts, Ok)
}

/// The results of many calls.
pub(crate) fn all_remembered(py: Python<'_>, results: Vec<core::RememberResult>) -> PyResult<Bound<'_, PyList>> {
    list(py, results, |result| remembered(py, result))
}

/// (`episode_ids`, entities, evolutions, warnings, usage)
pub(crate) fn remembered(py: Python<'_>, result: core::RememberResult) -> PyResult<Bound<'_, PyTuple>> {
    (
        list(py, result.episode_ids, |id| Ok(id.to_string()))?,
        entities(py, result.entities)?,
        relations(py, result.evolutions)?,
        failures(py, result.warnings)?,
        usage(result.usage),
    )
        .into_pyobject(py)
}

/// (items, warnings, usage)
pub(crate) fn recalled(py: Python<'_>, results: core::RecallResults) -> PyResult<Bound<'_, PyTuple>> {
    let items = list(py, results.items, |item| Py::new(py, Recalled::make(item)))?;
    (items, failures(py, results.warnings)?, usage(results.usage)).into_pyobject(py)
}

/// Rows, bytes and the state of the index, as a dictionary.
pub(crate) fn stats(py: Python<'_>, stats: core::MemoryStats) -> PyResult<Bound<'_, PyDict>> {
    let (ledger, index) = (&stats.ledger, &stats.index);
    let space = dict_of!(py,
        "model" => &stats.embedding_space.model,
        "dimensions" => stats.embedding_space.dimensions,
        "digest" => &stats.embedding_space.digest,
    );
    let lance = index.lance.as_ref().map(|lance| lance_stats(py, lance)).transpose()?;
    let index = dict_of!(py,
        "users_loaded" => index.users_loaded,
        "rows_loaded" => index.rows_loaded,
        "bytes" => index.bytes,
        "bytes_limit" => index.bytes_limit,
        "scans" => index.scans,
        "evictions" => index.evictions,
        "lag" => stats.index_lag,
        "lance" => lance,
    );
    let usage = dict_of!(py,
        "extract" => counted(py, stats.usage.extract)?,
        "evolve" => counted(py, stats.usage.evolve)?,
        "expand" => counted(py, stats.usage.expand)?,
        "total" => counted(py, stats.usage.total())?,
        "cost" => stats.usage.cost,
    );
    Ok(dict_of!(py,
        "path" => stats.path.as_ref().map(|path| path.to_string_lossy().into_owned()),
        "episodes" => ledger.episodes,
        "current_facts" => ledger.current_facts,
        "versions" => ledger.versions,
        "sightings" => ledger.sightings,
        "evolutions" => ledger.evolutions,
        "pieces" => ledger.pieces,
        "vectors" => ledger.vectors,
        "jobs" => ledger.jobs,
        "block_versions" => ledger.block_versions,
        "working_keys" => ledger.working_keys,
        "users" => ledger.users,
        "bytes_on_disk" => ledger.bytes_on_disk,
        "seq" => ledger.seq,
        "index_lag" => stats.index_lag,
        "index" => index,
        "embedder" => space,
        "usage" => usage,
    ))
}

/// What a model's service counted, as a dictionary.
fn counted(py: Python<'_>, usage: core::Usage) -> PyResult<Bound<'_, PyDict>> {
    Ok(dict_of!(py,
        "input_tokens" => usage.input_tokens,
        "output_tokens" => usage.output_tokens,
        "requests" => usage.requests,
    ))
}

/// The state of an index on LanceDB, as a dictionary.
fn lance_stats<'py>(py: Python<'py>, lance: &core::LanceStats) -> PyResult<Bound<'py, PyDict>> {
    Ok(dict_of!(py,
        "rows" => lance.rows,
        "unindexed_rows" => lance.unindexed_rows,
        "fragments" => lance.fragments,
        "versions" => lance.versions,
        "bytes_on_disk" => lance.bytes_on_disk,
        "tail_rows" => lance.tail_rows,
        "commits" => lance.commits,
        "compactions" => lance.compactions,
        "indexings" => lance.indexings,
        "cleaned_bytes" => lance.cleaned_bytes,
        "rebuilds" => lance.rebuilds,
        "conflicts" => lance.conflicts,
        "failures" => lance.failures,
    ))
}

/// The findings of a check, as a dictionary.
pub(crate) fn report(py: Python<'_>, report: core::CheckReport) -> PyResult<Bound<'_, PyDict>> {
    let checked = PyDict::new(py);
    for (table, rows) in &report.checked {
        checked.set_item(table, rows)?;
    }
    Ok(
        dict_of!(py, "ok" => report.problems.is_empty(), "problems" => texts(py, report.problems)?, "checked" => checked),
    )
}

/// What a recovery saved and what not, as a dictionary.
pub(crate) fn recovered(py: Python<'_>, report: core::RecoverReport) -> PyResult<Bound<'_, PyDict>> {
    Ok(dict_of!(py,
        "episodes" => report.episodes,
        "facts" => report.facts,
        "decisions" => report.decisions,
        "blocks" => report.blocks,
        "working_keys" => report.working_keys,
        "context_items" => report.context_items,
        "to_embed" => report.to_embed,
        "lost_episodes" => report.lost_episodes,
        "lost_facts" => report.lost_facts,
        "lost_decisions" => report.lost_decisions,
        "problems" => texts(py, report.problems)?,
    ))
}

/// An empty JSON object where the caller gave no metadata.
pub(crate) fn metadata_or_empty(metadata: Option<Meta>) -> Metadata {
    metadata.unwrap_or_default().0
}
