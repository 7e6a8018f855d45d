"""Values: equal ones hash alike, copies are equal, and no `repr` shows a whole text."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from umi import (
    Block,
    CoreMemory,
    Entity,
    Episode,
    EvolutionRelation,
    Job,
    Memory,
    MemoryConfig,
    RecallOptions,
    RememberOptions,
    RememberResult,
    Scope,
    SqliteStorageBackend,
    uuid7,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LONG = "long words " * 1_000
ID = uuid7()


def block(importance: float, content: str = "x") -> Block:
    core = CoreMemory()
    core.set_block("facts", content, importance=importance)
    return Block.from_dict(core.blocks()[0].to_dict() | {"updated_at": NOW.isoformat()})


def relation(confidence: float, reason: str = "") -> EvolutionRelation:
    made = EvolutionRelation("a", "b", "update", reason, confidence)
    return EvolutionRelation.from_dict(made.to_dict() | {"id": ID, "created_at": NOW.isoformat()})


def episode(importance: float, text: str = "x") -> Episode:
    with Memory.in_memory() as memory:
        memory.remember_sync(text)
        fields = memory.episodes_sync()[0].to_dict()
    times = {"at": NOW.isoformat(), "recorded_at": NOW.isoformat()}
    return Episode.from_dict(fields | times | {"id": ID, "importance": importance})


def job(text: str) -> Job:
    fields = {"id": ID, "kind": "embed", "attempts": 1, "last_error": text, "created_at": NOW.isoformat()}
    return Job.from_dict(fields)


def pairs() -> list[tuple[Any, Any]]:
    return [
        (RememberOptions(importance=-0.0), RememberOptions(importance=0.0)),
        (RecallOptions(min_score=-0.0), RecallOptions(min_score=0.0)),
        (block(-0.0), block(0.0)),
        (relation(-0.0), relation(0.0)),
        (episode(-0.0), episode(0.0)),
        (SqliteStorageBackend.connect("a//b/."), SqliteStorageBackend.connect("a/b")),
        (Scope(user="alice", session="s"), Scope(session="s", user="alice")),
        (RecallOptions(entity_types=["org", "person"]), RecallOptions(entity_types=["person", "organization"])),
        (job("x"), job("x")),
    ]


@pytest.mark.parametrize("pair", pairs(), ids=lambda pair: type(pair[0]).__name__)
def test_what_is_equal_hashes_alike(pair: tuple[Any, Any]) -> None:
    one, other = pair
    assert one == other
    assert hash(one) == hash(other)
    assert len({one, other}) == 1


@pytest.mark.parametrize(
    "others",
    [
        (RememberOptions(), RememberOptions(importance=0.1), RememberOptions(wait="durable")),
        (RecallOptions(), RecallOptions(explain=True), RecallOptions(limit=3), RecallOptions(as_of=NOW)),
        (Scope(user="a"), Scope(agent="a"), Scope(session="a")),
        (block(0.1), block(0.2), block(0.1, "y")),
        (relation(0.1), relation(0.2), relation(0.1, "y")),
        (job("x"), job("y")),
    ],
    ids=lambda others: type(others[0]).__name__,
)
def test_what_differs_hashes_apart(others: tuple[Any, ...]) -> None:
    assert len({hash(one) for one in others}) == len(others)


@pytest.mark.parametrize("pair", pairs(), ids=lambda pair: type(pair[0]).__name__)
def test_copies_are_equal(pair: tuple[Any, Any]) -> None:
    value = pair[0]
    if isinstance(value, SqliteStorageBackend):
        return
    for twin in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert type(twin) is type(value)
        assert twin == value
        assert hash(twin) == hash(value)


def test_a_repr_shows_no_whole_text() -> None:
    class Counter:
        def __call__(self, text: str) -> int:
            return len(text)

        def __repr__(self) -> str:
            return LONG

    entity = Entity("person", "Ana " + "a" * 200, LONG, source=LONG[:2_000], metadata={"note": LONG})
    with Memory.in_memory(user="u" * 256, agent="a" * 256, session="s" * 256) as memory:
        memory.add_entity_sync(entity)
        result = memory.remember_sync([{"role": "user", "content": LONG, "name": "Alice"}] * 20)
        memory.core.set_block("facts", LONG)
        found = memory.recall_sync("long words")
        assert {hit.kind for hit in found} == {"fact", "episode"}
        values: list[Any] = [
            entity,
            *found,
            result,
            *result.entities,
            *memory.episodes_sync(),
            *memory.core.blocks(),
            memory,
            memory.core,
            memory.working,
            memory.scope,
            memory.config,
        ]
        values += [job(LONG), relation(0.5, "r" * 1_000), RecallOptions(), RememberOptions()]
        values += [MemoryConfig(token_counter=Counter()), SqliteStorageBackend.connect(LONG[:4_000])]
        values += [RememberResult(episode_ids=[uuid7() for _ in range(1_000)])]
        for value in values:
            assert LONG.strip() not in repr(value), type(value)
            assert len(repr(value)) <= 600, (type(value), len(repr(value)))
            assert type(value).__name__ in repr(value)
