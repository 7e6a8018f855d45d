"""The durable core and working memory."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from umi import CapacityError, InvalidInputError, ManualClock, Memory, MemoryConfig, NotFoundError, WorkingMemory

if TYPE_CHECKING:
    from pathlib import Path


async def test_core_blocks_are_versions(memory: Memory) -> None:
    core = memory.core
    core.set_block("goals", "one", label="Week", importance=0.75)
    await core.set_block_async("goals", "two")
    core.set_block_with_label("human", "Nadia", "potter")
    assert core.get_block("goals") == await core.get_block_async("goals") == "two"
    assert [(one.version, one.content, one.label) for one in core.versions("goals")] == [
        (1, "one", "Week"),
        (2, "two", "Week"),
    ]
    assert core.restore("goals", 1).version == 3
    assert core.get_block("goals") == "one"
    with pytest.raises(NotFoundError):
        await core.restore_async("goals", 9)
    assert [block.type for block in core.blocks()] == ["human", "goals"]
    assert core.render() == await core.render_async()
    assert core.render_markdown().startswith("# Core Memory")
    assert core.has_block("human")
    assert not await core.has_block_async("facts")
    assert (core.used_bytes, core.max_bytes, core.available_bytes) == (9, 32768, 32759)
    assert core.utilization == 9 / 32768
    assert core.remove_block("human")
    assert not core.remove_block("human")
    core.clear()
    assert core.render() == "<core_memory>\n</core_memory>"
    assert "goals" not in repr(core)


def test_core_limits(memory: Memory) -> None:
    with Memory.in_memory(config=MemoryConfig(core_memory_bytes=4096)) as small:
        with pytest.raises(CapacityError):
            small.core.set_block("facts", "x" * 4097)
        assert small.core.blocks() == []
    with pytest.raises(InvalidInputError):
        memory.core.set_block("x", "y")
    with pytest.raises(InvalidInputError):
        memory.core.set_block("facts", "y", importance=math.nan)
    with pytest.raises(InvalidInputError):
        memory.core.restore("facts", -1)


async def test_working_values_expire(memory: Memory, clock: ManualClock) -> None:
    working = memory.working
    working.set("short", b"\x00\xff", ttl_secs=60)
    await working.set_async("long", b"2", math.inf)
    assert working.keys() == await working.keys_async() == ["long", "short"]
    assert working.incr("long") == 3
    assert await working.incr_async("long", -5) == -2
    assert working.append("short", b"!") == 3
    assert (working.ttl("short"), working.ttl("long"), working.ttl("none")) == (60, math.inf, None)
    clock.advance(timedelta(seconds=30))
    assert working.touch("short", ttl_secs=60)
    assert working.ttl("short") == 60
    assert working.get("short") == b"\x00\xff!"
    clock.advance(timedelta(seconds=60))
    assert working.get("short") is None
    assert not await working.exists_async("short")
    assert not working.touch("short")
    assert (working.entry_count, working.used_bytes, working.is_empty) == (1, 6, False)
    assert working.max_bytes - working.available_bytes == 6
    working.cleanup_expired()
    assert working.delete("long")
    assert not working.delete("long")
    working.clear()
    assert working.is_empty


def test_working_limits(memory: Memory) -> None:
    for key, ttl in (("", None), ("k" * 257, None), ("k", 0), ("k", 8 * 86400), ("k", math.nan)):
        with pytest.raises(InvalidInputError):
            memory.working.set(key, b"v", ttl)
    with pytest.raises(CapacityError):
        memory.working.set("k", b"v" * 65537)
    with pytest.raises(TypeError):
        memory.working.set("k", "text")  # type: ignore[arg-type]
    memory.working.set("text", b"abc")
    with pytest.raises(InvalidInputError):
        memory.working.incr("text")
    assert memory.working.keys() == ["text"]


def test_they_belong_to_their_scope(tmp_path: Path) -> None:
    with Memory.open(tmp_path) as memory:
        one = memory.scoped(user="u", agent="a", session="1")
        two = memory.scoped(user="u", agent="a", session="2")
        other = memory.scoped(user="u", agent="b", session="1")
        one.core.set_block("persona", "Juno")
        one.working.set("k", b"1")
        assert two.core.get_block("persona") == "Juno"
        assert other.core.get_block("persona") is None
        assert two.working.get("k") is None
    with Memory.open(tmp_path, user="u", agent="a", session="1") as again:
        assert again.core.get_block("persona") == "Juno"
        assert again.working.get("k") == b"1"


NOT_BYTES: list[Any] = [[1, 2], (1, 2), range(3), [256], bytearray(b"x"), memoryview(b"x"), "x", 1, None]


@pytest.mark.parametrize("value", NOT_BYTES, ids=repr)
def test_both_working_memories_take_bytes_alone(memory: Memory, value: Any) -> None:
    for working in (memory.working, WorkingMemory()):
        working.set("kept", b"x")
        for call in (working.set, working.append):
            for key in ("kept", "new"):
                with pytest.raises(TypeError, match="expected bytes"):
                    call(key, value)
        assert working.keys() == ["kept"]
        assert working.get("kept") == b"x"
