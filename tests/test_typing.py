"""What a type checker sees; run by mypy and by pytest."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal, assert_type

import umi
from umi import Entity, EvolutionRelation, Memory, RecallResults, RememberResult


async def test_types(memory: Memory) -> None:
    result = await memory.remember("x")
    assert_type(result, RememberResult)
    assert_type(result.entity_count(), int)
    assert_type(result.has_evolutions(), bool)
    assert_type(result.entities, list[Entity])
    found = await memory.recall("x")
    assert_type(found, RecallResults)
    assert_type(found[0], umi.Recalled)
    assert_type(found[0].kind, Literal["fact", "episode"])
    assert_type(found[0].at, datetime)
    assert_type(found[0].metadata, dict[str, Any])
    assert_type(memory.recall_sync("x"), RecallResults)
    assert_type(await memory.remember_many(["x"]), list[RememberResult])
    assert_type(await memory.get("x"), Entity | None)
    assert_type(await memory.history("x"), list[Entity])
    assert_type(await memory.evolutions("x"), list[EvolutionRelation])
    assert_type(await memory.list(), list[Entity])
    assert_type(await memory.context(), str)
    assert_type(await memory.forget("x"), bool)
    assert_type(await memory.stats(), dict[str, Any])
    assert_type(memory.core.get_block("facts"), str | None)
    assert_type(await memory.working.get_async("k"), bytes | None)
    assert_type(memory.scoped(user="alice"), Memory)
    assert_type(umi.MemoryConfig().working_memory_ttl, timedelta | float)
    assert_type(umi.RecallOptions().include, tuple[str, ...])
    assert_type(await umi.SimEmbeddingProvider().embed(["x"]), list[list[float]])
    assert_type(umi.uuid7(), str)
    async with memory as same:
        assert_type(same, Memory)
