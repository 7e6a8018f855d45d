"""`WorkingMemory`, used alone, on a clock that moves when it is told to."""

from __future__ import annotations

import copy
import math
import pickle
from datetime import timedelta

import pytest

from umi import CapacityError, InvalidInputError, ManualClock, WorkingMemory


@pytest.fixture
def working(clock: ManualClock) -> WorkingMemory:
    return WorkingMemory(clock=clock)


def test_values_expire(working: WorkingMemory, clock: ManualClock) -> None:
    working.set("default", b"1")
    working.set("short", b"2", ttl_secs=60)
    working.set("long", b"3", math.inf)
    assert working.keys() == ["default", "long", "short"]
    assert working.ttl("short") == 60
    assert working.ttl("long") == math.inf
    assert working.ttl("missing") is None
    clock.advance(timedelta(seconds=60))
    assert working.get("short") is None
    assert not working.exists("short")
    assert working.get("default") == b"1"
    clock.advance(timedelta(hours=1))
    assert working.keys() == ["long"]
    assert working.entry_count == 1
    assert not working.is_empty
    assert working.delete("long")
    assert not working.delete("long")
    assert working.is_empty


def test_numbers_and_appended_bytes_keep_their_time_to_live(working: WorkingMemory, clock: ManualClock) -> None:
    assert working.incr("n") == 1
    working.set("n", b"40", ttl_secs=100)
    clock.advance(timedelta(seconds=50))
    assert working.incr("n", 2) == 42
    assert working.append("n", b"0") == 3
    assert working.ttl("n") == 50
    assert working.touch("n")
    assert working.ttl("n") == 100
    assert working.touch("n", ttl_secs=7)
    assert working.ttl("n") == 7
    assert not working.touch("missing")
    working.set("text", b"abc")
    with pytest.raises(InvalidInputError):
        working.incr("text")


def test_expired_values_never_make_a_write_fail(clock: ManualClock) -> None:
    working = WorkingMemory(max_bytes=1024, clock=clock)
    working.set("k", b"x" * 1000, ttl_secs=1)
    with pytest.raises(CapacityError):
        working.set("j", b"y" * 1000)
    clock.advance(timedelta(seconds=1))
    assert working.used_bytes == 0
    working.set("j", b"y" * 1000)
    assert working.available_bytes == 1024 - 1001
    assert working.cleanup_expired() == 0


@pytest.mark.parametrize("ttl", [0, -1, 7 * 86400 + 1, math.nan, -math.inf])
def test_times_to_live_out_of_range(working: WorkingMemory, ttl: float) -> None:
    with pytest.raises(InvalidInputError):
        working.set("k", b"v", ttl_secs=ttl)
    with pytest.raises(InvalidInputError):
        WorkingMemory(default_ttl=ttl)
    assert working.is_empty


def test_limits(working: WorkingMemory) -> None:
    with pytest.raises(InvalidInputError):
        working.set("", b"v")
    with pytest.raises(InvalidInputError):
        working.set("k" * 257, b"v")
    with pytest.raises(CapacityError):
        working.set("k", b"v" * (64 * 1024 + 1))
    with pytest.raises(TypeError):
        working.set("k", "text")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        working.set(b"k", b"v")  # type: ignore[arg-type]
    assert working.is_empty


def test_it_is_a_value() -> None:
    working = WorkingMemory(max_bytes=2048, default_ttl=timedelta(minutes=5))
    working.set("a", b"\x00\xff")
    working.set("b", b"", ttl_secs=math.inf)
    twins = [copy.copy(working), copy.deepcopy(working), pickle.loads(pickle.dumps(working))]
    for twin in [*twins, WorkingMemory.from_dict(working.to_dict())]:
        assert twin == working
        twin.set("a", b"other")
        assert twin != working
    assert working.default_ttl == timedelta(minutes=5)
    assert "entry_count=2" in repr(working)


def test_the_clock(clock: ManualClock) -> None:
    start = clock.now()
    with pytest.raises(InvalidInputError):
        clock.advance(timedelta(seconds=-1))
    with pytest.raises(InvalidInputError):
        clock.advance(timedelta.max)
    with pytest.raises(InvalidInputError):
        ManualClock(start.replace(tzinfo=None))
    with pytest.raises(TypeError):
        clock.advance(5)  # type: ignore[arg-type]
    assert clock.now() == start
    clock.set(start - timedelta(days=1))
    assert clock.now() == start - timedelta(days=1)
