"""Values of the wrong type are refused, and nothing is written; `test_error_classes.py` has the other bad input."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from umi import EmptyTextError, InvalidInputError, Memory, RecallOptions, TextTooLongError

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - naive on purpose
Call = Callable[[Any], Any]  # what a type checker would refuse is the point
OPEN: Any = Memory

CASES: list[tuple[str, Call]] = [
    ("bytes", lambda m: m.remember_sync(b"x")),
    ("None", lambda m: m.remember_sync(None)),
    ("a number", lambda m: m.remember_sync(3)),
    ("a dict", lambda m: m.remember_sync({"role": "user", "content": "x"})),
    ("a query that is no text", lambda m: m.recall_sync(3)),
    ("options of the other kind", lambda m: m.remember_sync("x", RecallOptions())),
    ("options as a dict", lambda m: m.recall_sync("x", {"limit": 3})),
    ("a date as text", lambda m: m.remember_sync("x", at="2026-01-01")),
    ("metadata as text", lambda m: m.remember_sync("x", metadata="{}")),
    ("a set in metadata", lambda m: m.remember_sync("x", metadata={"k": {1}})),
    ("a user that is a number", lambda m: m.remember_sync("x", user=3)),
    ("an entity as text", lambda m: m.add_entity_sync("Alice")),
    ("an id that is no text", lambda m: m.get_sync(3)),
    ("limit as text", lambda m: m.list_sync(limit="3")),
    ("an unknown keyword", lambda m: m.remember_sync("x", colour="red")),
    ("a path that is a number", lambda _: OPEN.open(3)),
    ("a clock that is a function", lambda _: OPEN.in_memory(clock=lambda: 0)),
    ("an embedder that is a function", lambda _: OPEN.in_memory(embedder=len)),
    ("a seed that is text", lambda _: OPEN.sim("7")),
    ("a block that is bytes", lambda m: m.core.set_block("facts", b"x")),
    ("a working value that is text", lambda m: m.working.set("k", "v")),
]


def state(memory: Memory) -> list[Any]:
    stats = memory.stats_sync()
    rows = ("episodes", "versions", "sightings", "pieces", "jobs", "block_versions", "working_keys", "seq")
    return [memory.episodes_sync(), memory.list_sync(current=False), *(stats[name] for name in rows)]


@pytest.mark.parametrize("call", [case[1] for case in CASES], ids=[case[0] for case in CASES])
def test_nothing_is_written(memory: Memory, call: Call) -> None:
    memory.remember_sync("already there")
    before = state(memory)
    with pytest.raises(TypeError):
        call(memory)
    assert state(memory) == before


@pytest.mark.parametrize(
    ("text", "keywords", "error"),
    [
        ("", {}, EmptyTextError),
        ("x" * 100_001, {}, TextTooLongError),
        ("x", {"at": NAIVE}, InvalidInputError),
        (3, {}, TypeError),
        ("x", {"user": ""}, InvalidInputError),
    ],
    ids=["empty text", "long text", "naive time", "a number", "empty user"],
)
async def test_it_is_the_same_when_awaited(
    memory: Memory, text: Any, keywords: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await memory.remember(text, **keywords)
    assert await memory.count() == 0


def test_an_empty_query_is_no_error(memory: Memory) -> None:
    assert memory.recall_sync("") == []


def test_ids_that_do_not_exist(memory: Memory) -> None:
    for unknown in ("", "nonsense", "0197a000-0000-7000-8000-000000000000", "'; DROP TABLE episodes; --"):
        assert memory.get_sync(unknown) is None
        assert memory.history_sync(unknown) == []
        assert memory.evolutions_sync(unknown) == []
        assert memory.forget_sync(unknown) is False
