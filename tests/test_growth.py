"""How costs grow: what must not depend on the size of a store does not. Only ratios, never times.

Costs are processor time, so that a busy machine changes little, and the two sides of a ratio are measured in turns.
"""

from __future__ import annotations

import itertools
import statistics
import time
from typing import TYPE_CHECKING

import pytest

from umi import Memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MUCH = 3.0  # what must be equal may differ by less than this: far above the noise, far below any growth
THINGS = ("apples", "a lantern", "two tickets", "bread", "a kayak", "medicine", "a telescope", "paint", "a quilt")
PLACES = ("market", "harbour", "museum", "library", "bakery", "station", "school", "orchard")


def turns(count: int, user: str) -> Iterator[dict[str, str]]:
    for number in range(count):
        text = f"Ana{number % 97} bought {THINGS[number % 9]} at the {PLACES[number % 8]}, it was day {number}."
        yield {"text": text, "user": user, "session": f"s{number // 20}"}


def cost(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def ratio(dear: Callable[[], object], cheap: Callable[[], object], repeats: int) -> float:
    dear(), cheap()  # what is loaded or compiled on first use
    pairs = [(cost(dear), cost(cheap)) for _ in range(repeats)]
    dears, cheaps = zip(*pairs, strict=True)
    return float(statistics.median(dears) / statistics.median(cheaps))


def recall(memory: Memory) -> Callable[[], object]:
    questions = itertools.cycle(["Who bought the lantern?", "What did Ana5 buy?", "Which day was the museum?"])
    return lambda: memory.recall_sync(next(questions), user="alice")


@pytest.fixture
def alone() -> Iterator[Memory]:
    """A memory in which nobody but alice says anything."""
    with Memory.in_memory() as memory:
        yield memory


def test_other_users_do_not_make_recall_slower(alone: Memory) -> None:
    with Memory.in_memory() as crowded:
        for memory in (alone, crowded):
            memory.remember_many_sync(turns(4_000, "alice"))
        crowded.remember_many_sync(turn for other in range(40) for turn in turns(50, f"user-{other}"))
        assert ratio(recall(crowded), recall(alone), 15) < MUCH


def test_recall_grows_no_faster_than_what_is_remembered(alone: Memory) -> None:
    with Memory.in_memory() as small:
        alone.remember_many_sync(turns(4_000, "alice"))
        small.remember_many_sync(turns(500, "alice"))
        assert ratio(recall(alone), recall(small), 15) < MUCH * 4_000 / 500


def test_a_recall_after_a_write_follows_it_and_does_not_load_anew(alone: Memory) -> None:
    alone.remember_many_sync(turns(4_000, "alice"))
    ask = recall(alone)
    load = cost(ask)

    def write_and_recall() -> None:
        alone.remember_sync("Ana3 lost the kayak.", user="alice")
        ask()

    assert statistics.median(cost(write_and_recall) for _ in range(11)) * MUCH < load


def test_what_is_stored_does_not_make_remember_slower(alone: Memory) -> None:
    with Memory.in_memory() as small:
        alone.remember_many_sync(turns(5_000, "alice"))
        small.remember_many_sync(turns(500, "alice"))
        large, few = (
            lambda memory=memory: memory.remember_sync("Ana3 sold a kayak at the harbour.", user="alice")
            for memory in (alone, small)
        )
        assert ratio(large, few, 100) < MUCH


def test_versions_of_a_block_do_not_make_core_memory_slower(alone: Memory) -> None:
    many, few = alone.scoped(user="alice").core, alone.scoped(user="bob").core
    for core, versions in ((many, 1_000), (few, 10)):
        for version in range(versions):
            core.set_block("human", f"Prefers answer number {version:04}.")
    assert ratio(many.render, few.render, 300) < MUCH
    assert ratio(lambda: many.set_block("human", "New."), lambda: few.set_block("human", "New."), 60) < MUCH
