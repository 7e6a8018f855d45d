"""What is used for long stays as fast and as small as it was: working memory that turns over, a fact that changes.

While a child process holds an idle handle and another one reads without a pause, working memory takes a million
operations and one fact a hundred thousand updates. The log (`umi.db-wal`) stays below a bound and the database does
not grow with the operations; the last tenth of them is about as fast as the first; every version is there, in its
time; and forgetting one of them costs what it costs in a short chain.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from torture._child import ROOT
from torture._measure import MIB, Figures, Latencies
from umi import Entity, ManualClock, Memory, RecallOptions

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

OPERATIONS, UPDATES = 1_000_000, 100_000
SHORT_OPERATIONS, SHORT_UPDATES = 5_000, 1_500
TASKS, OPERATIONS_OF_A_ROUND = 64, 20
KEYS = 12  # of each task
AT_ONCE = 15  # updates, and one that nothing runs beside
WAL_BOUND = 40 * MIB
DATABASE_SLACK = 4 * MIB
TIMES = 3.0
SAMPLES = 20
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
QUESTION = "Where does Ana live?"

IDLE = """
import sys
from umi import Memory
with Memory.open(sys.argv[1], user="alice") as memory:
    memory.recall_sync("anything")
    next(iter(memory.list_sync(limit=1)), None)
    memory.working.get("task0-0"), memory.core.render()
    print("ready", flush=True)
    sys.stdin.readline()
"""
BUSY = """
import sys, threading
from umi import Memory
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), ended.set()), daemon=True).start()
with Memory.open(sys.argv[1], user="alice") as memory:
    print("ready", flush=True)
    reads = 0
    while not ended.is_set():
        memory.working.keys(), memory.episodes_sync(limit=100), memory.list_sync(limit=10)
        reads += 1
    print(reads, flush=True)
"""


@contextmanager
def others(folder: pathlib.Path) -> Iterator[dict[str, int]]:
    """Two more processes on the store: one idle, one that reads without a pause and tells how often in the end."""
    told: dict[str, int] = {}
    command = [sys.executable, "-c"]
    with (
        subprocess.Popen(
            [*command, IDLE, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as idle,
        subprocess.Popen(
            [*command, BUSY, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as busy,
    ):
        try:
            for child in (idle, busy):
                assert child.stdout is not None
                assert child.stdout.readline() == "ready\n", "a process beside could not open the store"
            yield told
            reads, _ = busy.communicate("\n", timeout=120)
            idle.communicate("\n", timeout=120)
            assert (busy.returncode, idle.returncode) == (0, 0), "a process beside failed"
            told["reads"] = int(reads)
        finally:
            for child in (idle, busy):
                if child.poll() is None:
                    child.kill()


class Files:
    """The sizes of a store's files."""

    def __init__(self, folder: pathlib.Path, seed: int) -> None:
        """Of this folder."""
        self.folder = folder
        self.seed = seed
        self.most_wal = 0

    def look(self) -> None:
        """The log must be below its bound, always."""
        wal = self.folder / "umi.db-wal"
        self.most_wal = max(self.most_wal, wal.stat().st_size if wal.exists() else 0)
        assert self.most_wal <= WAL_BOUND, f"seed {self.seed}: the log has {self.most_wal} bytes"

    def database(self) -> int:
        """Bytes of the database."""
        return (self.folder / "umi.db").stat().st_size


class Working:
    """One task's keys in working memory, and what must be in them."""

    def __init__(self, memory: Memory, clock: ManualClock, name: str, seed: int) -> None:
        """Begins with none."""
        self.working = memory.working
        self.clock = clock
        self.name = name
        self.random = random.Random(f"{seed} {name}")
        self.values: dict[str, tuple[bytes, datetime]] = {}
        self.latencies = Latencies()

    def expected(self, key: str) -> bytes | None:
        """The value that a key has now."""
        value, expires = self.values.get(key, (b"", BEGIN))
        return value if expires > self.clock.now() else None

    async def operate(self, count: int) -> None:
        """Some operations, each checked."""
        for _ in range(count):
            key = f"{self.name}-{self.random.randrange(KEYS)}"
            kind = self.random.random()
            began = time.perf_counter()
            if kind < 0.6:
                value = self.random.randbytes(self.random.randrange(1, 300))
                seconds = self.random.choice((2, 5, 60))
                await self.working.set_async(key, value, ttl_secs=seconds)
                self.latencies.seconds.append(time.perf_counter() - began)
                self.values[key] = (value, self.clock.now() + timedelta(seconds=seconds))
            elif kind < 0.85:
                assert await self.working.get_async(key) == self.expected(key), f"{key} has another value"
            elif kind < 0.97:
                was_there = await self.working.delete_async(key)
                assert was_there == (self.expected(key) is not None), f"{key} was there or not"
                self.values.pop(key, None)
            else:
                await self.working.cleanup_expired_async()


def turn_over(folder: pathlib.Path, seed: int, operations: int, *, long: bool) -> Figures:
    """Working memory whose keys come, change, expire and go."""
    clock = ManualClock(BEGIN)
    with Memory.open(folder, user="alice", clock=clock) as memory, others(folder) as beside:
        tasks = [Working(memory, clock, f"task{number}", seed) for number in range(TASKS)]
        files = Files(folder, seed)
        rounds = max(20, operations // (TASKS * OPERATIONS_OF_A_ROUND))
        each = operations // (rounds * TASKS)
        early = 0

        async def go() -> None:
            nonlocal early
            for number in range(rounds):
                await asyncio.gather(*(task.operate(each) for task in tasks))
                clock.advance(timedelta(seconds=1))
                files.look()
                if number == rounds // 10:
                    early = files.database()

        began = time.perf_counter()
        asyncio.run(go())
        elapsed = time.perf_counter() - began
        memory.working.cleanup_expired()
        live = {key: task.expected(key) for task in tasks for key in task.values}
        live = {key: value for key, value in live.items() if value is not None}
        names = memory.working.keys()
        assert {key: memory.working.get(key) for key in names} == live, f"seed {seed}: other keys"
        assert memory.working.entry_count == len(live)
        assert memory.stats_sync()["working_keys"] == len(live), f"seed {seed}: rows of keys that are gone"
        grown = files.database() - early
        assert grown <= DATABASE_SLACK, f"seed {seed}: the database grew by {grown} bytes behind the first tenth"
        assert memory.check_sync()["ok"], f"seed {seed}: {memory.check_sync()}"
    latencies = Latencies()
    for numbers in zip(*(task.latencies.seconds for task in tasks), strict=False):
        latencies.seconds.extend(numbers)
    if long:
        latencies.assert_bounded("a working-memory operation", seed, TIMES)
    return {
        "working_operations": rounds * each * TASKS,
        "working_operations_per_s": round(rounds * each * TASKS / elapsed),
        "reads_beside": beside["reads"],
        "wal_most_MiB": round(files.most_wal / MIB, 1),
        "database_grown_bytes": grown,
        **latencies.figures("working_set"),
    }


def chained(folder: pathlib.Path, seed: int, updates: int, *, long: bool) -> Figures:
    """One fact that changes again and again."""
    generator = random.Random(seed)
    with Memory.open(folder, user="alice") as memory, others(folder) as beside:
        first = memory.add_entity_sync(Entity("person", "Ana", "lives in house 0", attribute="home")).entities[0]
        short = memory.add_entity_sync(Entity("person", "Bob", "lives in house 0", attribute="home")).entities[0]
        for number in range(1, 50):
            memory.update_sync(short.id, content=f"lives in house {number}")
        files, latencies, costs = Files(folder, seed), Latencies(), Latencies()
        known: list[Entity] = []
        rounds = updates // (AT_ONCE + 1)
        said = [first.content]

        async def go() -> None:
            number = 0
            for _ in range(rounds):
                contents = [f"lives in house {number + one}" for one in range(1, AT_ONCE + 1)]
                number += AT_ONCE + 1
                await asyncio.gather(*(memory.update(first.id, content=content) for content in contents))
                began, spent = time.perf_counter(), time.process_time()
                known.append(await memory.update(first.id, content=f"lives in house {number}"))
                latencies.seconds.append(time.perf_counter() - began)
                costs.seconds.append(time.process_time() - spent)
                said.extend([*contents, known[-1].content])
                files.look()

        began = time.perf_counter()
        asyncio.run(go())
        elapsed = time.perf_counter() - began
        began = time.perf_counter()
        history = memory.history_sync(first.id)
        history_seconds = time.perf_counter() - began
        assert sorted(version.content for version in history) == sorted(said), f"seed {seed}: versions are missing"
        for older, newer in pairwise(history):
            assert older.valid_to == newer.valid_from, f"seed {seed}: {older.id} does not end where {newer.id} begins"
        assert history[-1].valid_to is None
        assert history[-1].content == known[-1].content, f"seed {seed}: {history[-1].content} is current"
        found = memory.recall_sync(QUESTION)[0]
        assert found.content == known[-1].content, f"seed {seed}: recalled {found.content}"
        for version in generator.sample(known, SAMPLES):
            [read] = [fact for fact in memory.list_sync(as_of=version.valid_from) if fact.name == "Ana"]
            assert read.content == version.content, f"seed {seed}: {read.content} at {version.valid_from}"
            options = RecallOptions(as_of=version.valid_from, include=("facts",))
            found = next(hit for hit in memory.recall_sync(QUESTION, options) if hit.name == "Ana")
            assert found.content == version.content, f"seed {seed}: recalled {found.content} at {version.valid_from}"
        forgotten = forget_some(memory, seed, [history[place].id for place in (-30, len(history) // 2, 30)], short.id)
        left = memory.history_sync(first.id)
        assert len(left) == len(history) - 3, f"seed {seed}: {len(left)} of {len(history)} versions are left"
        assert all(older.valid_to == newer.valid_from for older, newer in pairwise(left)), f"seed {seed}: a gap is left"
        report = memory.check_sync()
        assert report["ok"], f"seed {seed}: {report}"
        files.look()
    tenth = max(1, len(costs.seconds) // 10)
    grown = statistics.median(costs.seconds[-tenth:]) / statistics.median(costs.seconds[:tenth])
    assert grown <= TIMES, f"seed {seed}: an update costs {grown:.1f} times the processor time of the first ones"
    if long:
        latencies.assert_bounded("an update", seed, TIMES)
    return {
        "updates": rounds * (AT_ONCE + 1),
        "updates_per_s": round(rounds * (AT_ONCE + 1) / elapsed),
        "update_reads_beside": beside["reads"],
        "update_wal_most_MiB": round(files.most_wal / MIB, 1),
        "bytes_a_version": files.database() // len(history),
        "history_s": round(history_seconds, 2),
        "as_of_reads": 2 * SAMPLES,
        "forget_long_to_short": forgotten,
        **latencies.figures("update"),
    }


def forget_some(memory: Memory, seed: int, ids: list[str], short: str) -> float:
    """Forgets versions of a long chain and of a short one, and gives the ratio of what they cost."""
    versions = [version.id for version in memory.history_sync(short)][10:13]
    long_costs: list[float] = []
    short_costs: list[float] = []
    for costs, chain in ((short_costs, versions), (long_costs, ids)):
        for id in chain:
            spent = time.process_time()
            assert memory.forget_sync(id)
            costs.append(time.process_time() - spent)
    ratio: float = round(statistics.median(long_costs) / statistics.median(short_costs), 1)
    assert ratio <= 2 * TIMES, f"seed {seed}: forgetting a version of a long chain costs {ratio} times a short one's"
    return ratio


def run(*, seed: int, long: bool, folder: pathlib.Path) -> Figures:
    """Working memory that turns over, then a fact that changes."""
    operations, updates = (OPERATIONS, UPDATES) if long else (SHORT_OPERATIONS, SHORT_UPDATES)
    return {
        **turn_over(folder / "working", seed, operations, long=long),
        **chained(folder / "chain", seed, updates, long=long),
    }
