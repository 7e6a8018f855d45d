"""Input of any shape gets a result or a typed error, and one that is refused has changed nothing.

`UMI_STRANGE_EXAMPLES=1000 python -m pytest tests/test_strange_input.py` tries many more, other ones in every run.
"""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torture import strange
from umi import Entity, InvalidInputError, Memory, SqliteStorageBackend, StepFailure, WorkingMemory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANY = int(os.environ.get("UMI_STRANGE_EXAMPLES", "0"))
PROFILE = settings(
    max_examples=MANY or 15,
    derandomize=not MANY,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)

LONE = st.characters()  # lone surrogates among them
TEXTS = st.one_of(
    st.text(LONE, max_size=12),
    st.sampled_from(strange.FRAGMENTS),
    st.lists(st.sampled_from(strange.FRAGMENTS), max_size=4).map("".join),
    st.builds(lambda unit, count: unit * count, st.sampled_from("xé \0🦊"), st.sampled_from(strange.LENGTHS)),
)
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(LONE, max_size=9), st.binary(max_size=5)
)
JSON = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.text(LONE, max_size=5), st.integers()), inner, max_size=3),
        st.tuples(inner, inner),
    ),
    max_leaves=12,
)
NUMBERS = st.one_of(st.sampled_from(strange.NUMBERS), st.integers(), st.floats(), st.integers(1, 100))
TIMES = st.one_of(st.sampled_from(strange.TIMES), st.datetimes(), st.datetimes(timezones=st.just(UTC)))
OTHERS = st.integers(0, len(strange.others()) - 1).map(lambda number: strange.others()[number])
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXTS,
    "type": st.one_of(st.sampled_from(("person", "human", "update", "note")), TEXTS),
    "type*": st.one_of(st.none(), st.lists(TEXTS, max_size=2), st.just(("person",)), TEXTS),
    "kinds": st.one_of(st.just(("facts", "episodes")), st.lists(st.sampled_from(("facts", "x")), max_size=2)),
    "number": NUMBERS,
    "share": st.one_of(st.floats(0, 1), NUMBERS),
    "ttl": st.one_of(st.none(), st.just(1_000.0), st.timedeltas(), NUMBERS),
    "bool": st.sampled_from((True, False, None, 1)),
    "time": TIMES,
    "json": st.one_of(st.dictionaries(st.text(LONE, max_size=5), JSON, max_size=3), JSON, OTHERS),
    "bytes": st.one_of(st.binary(max_size=9), st.sampled_from((b"41", b"x" * 70_000, "x", None))),
    "any": st.one_of(OTHERS, JSON, TIMES, NUMBERS),
}


def drawn(data: st.DataObject, memory: Memory) -> strange.Draw:
    def draw(kind: str) -> Any:
        if kind.endswith("?"):
            return data.draw(st.one_of(st.none(), KINDS[kind[:-1]]))
        if kind == "id":
            rows: list[Any] = [*memory.list_sync(current=False), *memory.episodes_sync()]
            return data.draw(st.one_of(st.sampled_from([row.id for row in rows] or [""]), TEXTS))
        return data.draw(KINDS[kind])

    return draw


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", strange.CALLS)
def test_a_call_has_a_result_or_a_typed_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a backup may be asked for under any name

    @PROFILE
    @given(st.data())
    def attempt(data: st.DataObject) -> None:
        with strange.prepared() as memory:
            strange.attempt(memory, name, drawn(data, memory))
            assert not memory.check_sync()["problems"]

    attempt()


@pytest.fixture
def memory() -> Iterator[Memory]:
    with Memory.in_memory() as memory:
        yield memory


def test_lists_that_hold_one_another_are_refused_before_they_are_written_out(memory: Memory) -> None:
    doubled: list[Any] = []
    doubled.extend([doubled, doubled])
    shared: Any = 1
    for _ in range(64):
        shared = [shared, shared]
    deep: Any = shared
    for _ in range(70):
        deep = [deep]
    for value in (doubled, shared, deep, ["x" * 1_000_000] * 1_000_000):
        with pytest.raises(InvalidInputError, match="metadata"):
            memory.remember_sync("x", metadata={"k": value})
    assert memory.count_sync() == 0


def test_the_largest_metadata_is_taken(memory: Memory) -> None:
    text, values = "x" * (64 * 1024 - len('{"k":""}')), [0] * 32_764
    for metadata in ({"k": text}, {"k": values}):
        memory.remember_sync("x", metadata=metadata)
        assert memory.episodes_sync(limit=1_000)[-1].metadata == metadata
    with pytest.raises(InvalidInputError):
        memory.remember_sync("x", metadata={"k": text + "x"})


@pytest.mark.parametrize("path", ["\ud800", "a" * 5_000, "a\0b", ""])
def test_a_path_that_names_no_folder(path: str, memory: Memory) -> None:
    for call in (Memory.open, SqliteStorageBackend.connect, memory.backup_sync):
        with pytest.raises(InvalidInputError) as caught:
            call(path)
        assert len(str(caught.value).encode()) < 200
    with pytest.raises(TypeError):
        Memory.open(None)  # type: ignore[arg-type]


def test_remember_many_is_checked_before_the_first_batch(memory: Memory) -> None:
    any_progress: Any = "no function"
    with pytest.raises(TypeError, match="progress"):
        memory.remember_many_sync(["x"], progress=any_progress)
    with pytest.raises(InvalidInputError, match="at least 1"):
        memory.remember_many_sync(["x"], batch_size=-(10**5_000))
    assert memory.count_sync() == 0
    assert len(memory.remember_many_sync(["x", "y"], batch_size=10**400)) == 2


def test_a_generator_that_fails_in_the_middle(memory: Memory) -> None:
    def items() -> Iterator[str]:
        yield from ("one", "two", "three")
        raise RuntimeError("the caller's own")

    with pytest.raises(RuntimeError, match="the caller's own"):
        memory.remember_many_sync(items(), batch_size=2)
    assert [episode.text for episode in memory.episodes_sync()] == ["one", "two"]


class OddTime(datetime):
    """A subclass as libraries make them, whose difference is of another kind."""

    def __sub__(self, other: Any) -> Any:
        return 5

    def utcoffset(self) -> timedelta | None:
        return None


def test_a_time_of_a_subclass_is_read_as_the_class_has_it(memory: Memory) -> None:
    at = OddTime(2026, 5, 1, 12, tzinfo=UTC)
    memory.remember_sync("x", at=at)
    assert memory.episodes_sync()[0].at == datetime(2026, 5, 1, 12, tzinfo=UTC)
    with pytest.raises(InvalidInputError, match="naive"):
        memory.remember_sync("x", at=OddTime(2026, 5, 1))


@pytest.mark.parametrize("text", ["-005000-01-01T00:00:00Z", "9999-12-30T22:00:00.999999999Z"])
def test_a_time_in_words_is_one_that_python_can_tell(text: str) -> None:
    entity = Entity.from_dict({**Entity("note", "n", "c").to_dict(), "event_time": text})
    assert entity.event_time is not None
    assert entity.event_time.year in {1, 9999}


def test_a_message_can_be_printed() -> None:
    unknown: dict[str, Any] = {"step": "embed", "error": None, "job_id": None, "\ud800": 1}
    with pytest.raises(InvalidInputError) as caught:
        StepFailure.from_dict(unknown)
    assert str(caught.value).encode()


def test_expiry_beyond_the_end_of_time() -> None:
    from umi import ManualClock

    with Memory.in_memory(clock=ManualClock(datetime.max.replace(tzinfo=UTC))) as late:
        for working in (late.working, WorkingMemory(clock=ManualClock(datetime.max.replace(tzinfo=UTC)))):
            working.set("k", b"v")
            working.set("forever", b"v", math.inf)
            working.ttl("k")
            assert working.get("forever") == b"v"
