"""Bad input is refused with its own class, and in every case nothing is written."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from umi import (
    CoreMemory,
    EmptyTextError,
    Entity,
    EvolutionRelation,
    InvalidInputError,
    InvalidLimitError,
    Memory,
    MemoryConfig,
    RecallOptions,
    RememberOptions,
    TextTooLongError,
)

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - naive on purpose
Call = Callable[[Any], Any]  # what a type checker would refuse is the point
OPEN: Any = Memory

CASES: list[tuple[str, Call, type[Exception]]] = [
    ("empty text", lambda m: m.remember_sync(""), EmptyTextError),
    ("white space", lambda m: m.remember_sync(" \t\n\u2003"), EmptyTextError),
    ("empty conversation", lambda m: m.remember_sync([]), EmptyTextError),
    ("long text", lambda m: m.remember_sync("x" * 100_001), TextTooLongError),
    ("long text in bytes", lambda m: m.remember_sync("é" * 50_001), TextTooLongError),
    ("long query", lambda m: m.recall_sync("x" * 100_001), TextTooLongError),
    ("lone surrogate", lambda m: m.remember_sync("a\ud800b"), InvalidInputError),
    ("lone surrogate in a query", lambda m: m.recall_sync("a\ud800b"), InvalidInputError),
    ("lone surrogate in a name", lambda m: m.remember_sync("x", name="\udfff"), InvalidInputError),
    ("lone surrogate in an id", lambda m: m.get_sync("\udfff"), InvalidInputError),
    ("naive time", lambda m: m.remember_sync("x", at=NAIVE), InvalidInputError),
    ("naive as_of", lambda m: m.list_sync(as_of=NAIVE), InvalidInputError),
    (
        "naive time of an entity",
        lambda m: m.add_entity_sync(Entity("person", "n", "c", event_time=NAIVE)),
        InvalidInputError,
    ),
    ("limit 0", lambda m: m.recall_sync("x", RecallOptions(limit=0)), InvalidLimitError),
    ("limit 1001", lambda m: m.recall_sync("x", RecallOptions(limit=1001)), InvalidLimitError),
    ("list limit", lambda m: m.list_sync(limit=0), InvalidLimitError),
    ("episodes limit", lambda m: m.episodes_sync(limit=1001), InvalidLimitError),
    ("negative limit", lambda m: m.episodes_sync(limit=-1), InvalidLimitError),
    ("negative offset", lambda m: m.episodes_sync(offset=-1), InvalidInputError),
    ("configured limit", lambda _: OPEN.in_memory(config=MemoryConfig(recall_limit=0)), InvalidLimitError),
    ("importance", lambda m: m.remember_sync("x", RememberOptions(importance=1.01)), InvalidInputError),
    ("importance NaN", lambda m: m.remember_sync("x", RememberOptions(importance=math.nan)), InvalidInputError),
    ("confidence", lambda m: m.add_entity_sync(Entity("person", "n", "c", confidence=-0.01)), InvalidInputError),
    ("confidence NaN", lambda m: m.add_entity_sync(Entity("person", "n", "c", confidence=math.nan)), InvalidInputError),
    ("source = target", lambda _: EvolutionRelation("a", "a", "update"), InvalidInputError),
    ("empty source", lambda _: EvolutionRelation("", "a", "update"), InvalidInputError),
    ("empty target", lambda _: EvolutionRelation("a", "", "update"), InvalidInputError),
    ("relation's confidence", lambda _: EvolutionRelation("a", "b", "update", "", math.nan), InvalidInputError),
    ("small core", lambda _: CoreMemory(100), InvalidInputError),
    ("small configured core", lambda _: MemoryConfig(core_memory_bytes=100), InvalidInputError),
    ("long name", lambda m: m.add_entity_sync(Entity("person", "é" * 129, "c")), InvalidInputError),
    ("unknown type", lambda m: m.add_entity_sync(Entity("robot", "n", "c")), InvalidInputError),
    ("unknown listed type", lambda m: m.list_sync(entity_type="robot"), InvalidInputError),
    ("empty user", lambda m: m.remember_sync("x", user=""), InvalidInputError),
    ("long session", lambda m: m.remember_sync("x", session="s" * 257), InvalidInputError),
    ("empty role", lambda m: m.remember_sync("x", role=""), InvalidInputError),
    ("empty key", lambda m: m.remember_sync("x", key=""), InvalidInputError),
    ("NaN in metadata", lambda m: m.remember_sync("x", metadata={"k": math.nan}), InvalidInputError),
    ("large metadata", lambda m: m.remember_sync("x", metadata={"k": "x" * 65_536}), InvalidInputError),
    ("forget_scope without a user", lambda m: m.forget_scope_sync(), InvalidInputError),
    ("bytes", lambda m: m.remember_sync(b"x"), TypeError),
    ("None", lambda m: m.remember_sync(None), TypeError),
    ("a number", lambda m: m.remember_sync(3), TypeError),
    ("a dict", lambda m: m.remember_sync({"role": "user", "content": "x"}), TypeError),
    ("a query that is no text", lambda m: m.recall_sync(3), TypeError),
    ("options of the other kind", lambda m: m.remember_sync("x", RecallOptions()), TypeError),
    ("options as a dict", lambda m: m.recall_sync("x", {"limit": 3}), TypeError),
    ("a date as text", lambda m: m.remember_sync("x", at="2026-01-01"), TypeError),
    ("metadata as text", lambda m: m.remember_sync("x", metadata="{}"), TypeError),
    ("a set in metadata", lambda m: m.remember_sync("x", metadata={"k": {1}}), TypeError),
    ("a user that is a number", lambda m: m.remember_sync("x", user=3), TypeError),
    ("an entity as text", lambda m: m.add_entity_sync("Alice"), TypeError),
    ("an id that is no text", lambda m: m.get_sync(3), TypeError),
    ("limit as text", lambda m: m.list_sync(limit="3"), TypeError),
    ("an unknown keyword", lambda m: m.remember_sync("x", colour="red"), TypeError),
    ("a path that is a number", lambda _: OPEN.open(3), TypeError),
    ("a clock that is a function", lambda _: OPEN.in_memory(clock=lambda: 0), TypeError),
    ("an embedder that is a function", lambda _: OPEN.in_memory(embedder=len), TypeError),
    ("a seed that is text", lambda _: OPEN.sim("7"), TypeError),
    ("a block that is bytes", lambda m: m.core.set_block("facts", b"x"), TypeError),
    ("a working value that is text", lambda m: m.working.set("k", "v"), TypeError),
]


def state(memory: Memory) -> list[Any]:
    stats = memory.stats_sync()
    rows = ("episodes", "versions", "sightings", "pieces", "jobs", "block_versions", "working_keys", "seq")
    return [memory.episodes_sync(), memory.list_sync(current=False), *(stats[name] for name in rows)]


@pytest.mark.parametrize(("call", "error"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_nothing_is_written(memory: Memory, call: Call, error: type[Exception]) -> None:
    memory.remember_sync("already there")
    before = state(memory)
    with pytest.raises(error) as caught:
        call(memory)
    if error is not TypeError:
        assert caught.type is error
        assert str(caught.value)
    assert state(memory) == before


@pytest.mark.parametrize("name", ["empty text", "long text", "naive time", "a number", "empty user"])
async def test_it_is_the_same_when_awaited(memory: Memory, name: str) -> None:
    arguments: dict[str, tuple[Any, dict[str, Any]]] = {
        "empty text": ("", {}),
        "long text": ("x" * 100_001, {}),
        "naive time": ("x", {"at": NAIVE}),
        "a number": (3, {}),
        "empty user": ("x", {"user": ""}),
    }
    error = next(case[2] for case in CASES if case[0] == name)
    text, keywords = arguments[name]
    with pytest.raises(error):
        await memory.remember(text, **keywords)
    assert await memory.count() == 0


def test_both_sizes_are_told(memory: Memory) -> None:
    with pytest.raises(TextTooLongError) as caught:
        memory.remember_sync("x" * 100_001)
    assert (caught.value.limit, caught.value.requested) == (100_000, 100_001)
    assert "100001" in str(caught.value)
    assert "100000" in str(caught.value)


def test_an_empty_query_is_no_error(memory: Memory) -> None:
    assert memory.recall_sync("") == []


def test_ids_that_do_not_exist(memory: Memory) -> None:
    for unknown in ("", "nonsense", "0197a000-0000-7000-8000-000000000000", "'; DROP TABLE episodes; --"):
        assert memory.get_sync(unknown) is None
        assert memory.history_sync(unknown) == []
        assert memory.evolutions_sync(unknown) == []
        assert memory.forget_sync(unknown) is False
