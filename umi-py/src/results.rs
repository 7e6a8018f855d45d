//! What the calls of a memory give, as the Python layer takes it.

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

fn failures(py: Python<'_>, failures: Vec<core::StepFailure>) -> PyResult<Bound<'_, PyList>> {
    let list = PyList::empty(py);
    for failure in failures {
        let job = failure.job_id.map(|id| id.to_string());
        list.append((failure.step, to_value(py, &failure.error)?, job))?;
    }
    Ok(list)
}

fn usage(usage: core::Usage) -> (u64, u64, u64) {
    (usage.input_tokens, usage.output_tokens, usage.requests)
}

pub(crate) fn entities(py: Python<'_>, entities: Vec<core::Entity>) -> PyResult<Bound<'_, PyList>> {
    let entities: Vec<Py<Entity>> =
        entities.into_iter().map(|entity| Py::new(py, Entity::from_core(entity))).collect::<PyResult<_>>()?;
    PyList::new(py, entities)
}

pub(crate) fn relations(py: Python<'_>, found: Vec<core::EvolutionRelation>) -> PyResult<Bound<'_, PyList>> {
    let found: Vec<Py<EvolutionRelation>> =
        found.into_iter().map(|inner| Py::new(py, EvolutionRelation { inner })).collect::<PyResult<_>>()?;
    PyList::new(py, found)
}

pub(crate) fn episodes(py: Python<'_>, found: Vec<core::Episode>) -> PyResult<Bound<'_, PyList>> {
    let found: Vec<Py<Episode>> =
        found.into_iter().map(|inner| Py::new(py, Episode { inner })).collect::<PyResult<_>>()?;
    PyList::new(py, found)
}

pub(crate) fn jobs(py: Python<'_>, found: Vec<core::Job>) -> PyResult<Bound<'_, PyList>> {
    let found: Vec<Py<Job>> = found.into_iter().map(|inner| Py::new(py, Job::from(inner))).collect::<PyResult<_>>()?;
    PyList::new(py, found)
}

/// (`episode_ids`, entities, evolutions, warnings, usage)
pub(crate) fn remembered(py: Python<'_>, result: core::RememberResult) -> PyResult<Bound<'_, PyTuple>> {
    let ids: Vec<String> = result.episode_ids.iter().map(core::Uuid::to_string).collect();
    (
        ids,
        entities(py, result.entities)?,
        relations(py, result.evolutions)?,
        failures(py, result.warnings)?,
        usage(result.usage),
    )
        .into_pyobject(py)
}

/// (items, warnings, usage)
pub(crate) fn recalled(py: Python<'_>, results: core::RecallResults) -> PyResult<Bound<'_, PyTuple>> {
    let items: Vec<Py<Recalled>> =
        results.items.into_iter().map(|item| Py::new(py, Recalled::make(item))).collect::<PyResult<_>>()?;
    (PyList::new(py, items)?, failures(py, results.warnings)?, usage(results.usage)).into_pyobject(py)
}

/// Rows, bytes and the state of the index, as a dictionary.
pub(crate) fn stats(py: Python<'_>, stats: core::MemoryStats) -> PyResult<Bound<'_, PyDict>> {
    let (ledger, index) = (&stats.ledger, &stats.index);
    let space = dict_of!(py,
        "model" => &stats.embedding_space.model,
        "dimensions" => stats.embedding_space.dimensions,
        "digest" => &stats.embedding_space.digest,
    );
    let index = dict_of!(py,
        "users_loaded" => index.users_loaded,
        "rows_loaded" => index.rows_loaded,
        "bytes" => index.bytes,
        "bytes_limit" => index.bytes_limit,
        "scans" => index.scans,
        "evictions" => index.evictions,
        "lag" => stats.index_lag,
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
    ))
}

/// The findings of a check, as a dictionary.
pub(crate) fn report(py: Python<'_>, report: core::CheckReport) -> PyResult<Bound<'_, PyDict>> {
    let checked = PyDict::new(py);
    for (table, rows) in &report.checked {
        checked.set_item(table, rows)?;
    }
    Ok(dict_of!(py, "ok" => report.problems.is_empty(), "problems" => report.problems, "checked" => checked))
}

/// What a recovery saved and what not, as a dictionary.
pub(crate) fn recovered(py: Python<'_>, report: core::RecoverReport) -> PyResult<Bound<'_, PyDict>> {
    Ok(dict_of!(py,
        "episodes" => report.episodes,
        "facts" => report.facts,
        "blocks" => report.blocks,
        "working_keys" => report.working_keys,
        "to_embed" => report.to_embed,
        "lost_episodes" => report.lost_episodes,
        "lost_facts" => report.lost_facts,
        "problems" => report.problems,
    ))
}

/// An empty JSON object where the caller gave no metadata.
pub(crate) fn metadata_or_empty(metadata: Option<Meta>) -> Metadata {
    metadata.unwrap_or_default().0
}
