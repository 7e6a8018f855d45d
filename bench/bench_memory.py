"""What Umi costs through its public Python API, beside the physical limit or a peer in the same run.

Run by `make bench`, in an environment that holds the optimised wheel; about four minutes. Prints a Markdown table and
exits with 1 when a median is over its budget (`--no-fail` to print only). Stores are made in the folder of the project,
on whatever file system that is, and deleted.
"""

import asyncio
import contextlib
import itertools
import os
import random
import sqlite3
import subprocess
import sys
import time
import timeit
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

import umi
from conversation import Conversation
from report import Budget, Report, run_bench

SIZES = (1_000, 10_000, 100_000)
USERS = 1_000
BLOCKS = ("system", "persona", "human", "facts", "goals", "scratch")
VALUE = b"y" * 100
T = TypeVar("T")

BUDGETS = {
    "wheel": Budget(20e6, "bytes"),
    "`import umi`, time": Budget(60e-3),
    "`import umi`, resident with the interpreter": Budget(30e6, "bytes"),
    "`CoreMemory.render()`, six blocks, 32 KiB": Budget(25e-6),
    "`WorkingMemory.get`": Budget(300e-9),
    "`WorkingMemory.set`": Budget(1e-6),
    "`remember`, one turn, durable": Budget(1e-3),
    "`remember_sync`, one turn, durable": Budget(1e-3),
    "`memory.core.set_block`, durable": Budget(1e-3),
    "`memory.working.set`, durable": Budget(1e-3),
    "`memory.core.render()`": Budget(10e-6),
    "`memory.core.get_block`": Budget(10e-6),
    "`memory.working.get`": Budget(10e-6),
    "`remember_many`, 100,000 turns of one user": Budget(5_000, "turns/s", at_least=True),
    "`remember_many`, 100,000 turns of 1,000 users": Budget(5_000, "turns/s", at_least=True),
    "`recall`, 10,000 memories": Budget(1e-3),
    "`recall_sync`, 10,000 memories": Budget(1e-3),
    "`recall_sync` over the scan, 10,000": Budget(5, "times", or_else="or 1 ms more"),
    "`recall`, 100,000 memories": Budget(8e-3),
    "`recall_sync`, 100,000 memories": Budget(8e-3),
    "`recall_sync`, 100 of 100,000 memories, over 100 alone": Budget(1.5, "times"),
    "open 100,000 memories and recall, new process": Budget(1.5),
    "longest stall of the event loop during 32 recalls": Budget(5e-3),
}

# These import nothing that `import umi` would then find loaded.
RESIDENT_BYTES = """
import os, sys, time
def resident_bytes():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
"""
IMPORT_IN_A_NEW_PROCESS = f"""{RESIDENT_BYTES}
started = time.perf_counter()
import umi
print(time.perf_counter() - started, resident_bytes())
"""
OPEN_IN_A_NEW_PROCESS = f"""{RESIDENT_BYTES}
import umi
before = resident_bytes()
started = time.perf_counter()
with umi.Memory.open(sys.argv[1], user="alice") as memory:
    found = memory.recall_sync(sys.argv[2])
    elapsed = time.perf_counter() - started
    assert len(found) == 10
    print(elapsed, resident_bytes() - before)
"""


def measure(report: Report, folder: Path) -> None:
    """Measure everything."""
    measure_package(report)
    measure_parts(report)
    measure_writes(report, folder)
    measure_durable_parts(report, folder)
    measure_recall(report, folder)


def measure_package(report: Report) -> None:
    """Measure the wheel, and the import of the package in new processes."""
    for wheel in (Path(sys.prefix) / "wheel").glob("umi_memory-*.whl"):
        report.add("wheel", [wheel.stat().st_size], "bytes")
    runs = [in_a_new_process(IMPORT_IN_A_NEW_PROCESS) for _ in range(21)]
    report.add("`import umi`, time", [elapsed for elapsed, _ in runs])
    report.add("`import umi`, resident with the interpreter", [resident for _, resident in runs], "bytes")


def measure_parts(report: Report) -> None:
    """Measure core and working memory without a store."""
    core = umi.CoreMemory()
    fill_core(core.set_block)
    report.add("`CoreMemory.render()`, six blocks, 32 KiB", in_batches(core.render, number=200))
    working = umi.WorkingMemory()
    for index in range(1_000):
        working.set(f"session:{index}", b"x" * 100)
    report.add("`WorkingMemory.get`", in_batches(lambda: working.get("session:500"), number=20_000))
    report.add("`WorkingMemory.set`", in_batches(lambda: working.set("session:500", VALUE), number=20_000))


def measure_writes(report: Report, folder: Path) -> None:
    """Measure durable writes of one turn, beside what the disk and SQLite need for a commit; in turns, to be fair."""
    speaker = Conversation(1)
    samples: dict[str, list[float]] = {}

    async def remember(memory: umi.Memory, turns: list[dict[str, Any]]) -> list[float]:
        return await each_async(lambda turn: memory.remember(turn.pop("text"), **turn), turns)

    with (
        umi.Memory.open(folder / "writes", user="alice") as memory,
        plain_sqlite(folder / "plain.db") as insert,
        (folder / "plain").open("wb") as file,
    ):
        for _ in range(5):
            texts, turns = list(speaker.turns(80)), list(speaker.turns(80))
            samples.setdefault("fsync of 4 KiB (the disk)", []).extend(each(lambda _: fsync(file), range(80)))
            samples.setdefault("SQLite insert and commit (WAL, FULL), from Python", []).extend(
                each(lambda turn: insert(turn["text"]), texts)
            )
            samples.setdefault("`remember_sync`, one turn, durable", []).extend(
                each(lambda turn: memory.remember_sync(turn.pop("text"), **turn), texts)
            )
            samples.setdefault("`remember`, one turn, durable", []).extend(asyncio.run(remember(memory, turns)))
    for operation, seconds in samples.items():
        report.add(operation, seconds)


def measure_durable_parts(report: Report, folder: Path) -> None:
    """Measure core and working memory of a store; reads look for commits of other processes each time."""
    with umi.Memory.open(folder / "parts", user="alice") as memory:
        core, working = memory.core, memory.working
        fill_core(core.set_block)
        scratch = ["s" * 1_000 + str(index) for index in range(400)]
        report.add("`memory.core.set_block`, durable", each(lambda text: core.set_block("scratch", text), scratch))
        report.add("`memory.working.set`, durable", each(lambda _: working.set("draft", VALUE), range(400)))
        fill_core(core.set_block)
        report.add("`memory.core.render()`", in_batches(core.render, number=200))
        report.add("`memory.core.get_block`", in_batches(lambda: core.get_block("human"), number=200))
        report.add("`memory.working.get`", in_batches(lambda: working.get("draft"), number=200))


def measure_recall(report: Report, folder: Path) -> None:
    """Measure ingestion and recall at growing sizes, the opening of the largest, and many users."""
    for size in SIZES:
        speaker = Conversation(size)
        turns = list(speaker.turns(size))
        store = folder / f"recall-{size}"
        with umi.Memory.open(store, user="alice") as memory:
            rates = ingest(memory, turns)
            if size == SIZES[-1]:
                report.add("`remember_many`, 100,000 turns of one user", rates, "turns/s")
                report.add("size of 100,000 turns on disk", [size_of(store)], "bytes")
            questions = [speaker.question(turn["text"]) for turn in random.Random(1).choices(turns, k=300)]
            measure_questions(report, memory, questions, size)
            if size == SIZES[1]:
                measure_stalls(report, memory, questions)
    opened = [
        in_a_new_process(OPEN_IN_A_NEW_PROCESS, str(folder / f"recall-{SIZES[-1]}"), question)
        for question in questions[:7]
    ]
    report.add("open 100,000 memories and recall, new process", [elapsed for elapsed, _ in opened])
    report.add("100,000 memories loaded, resident", [resident for _, resident in opened], "bytes")
    measure_many_users(report, folder)


def measure_questions(report: Report, memory: umi.Memory, questions: Sequence[str], size: int) -> None:
    """Measure recall of one user, beside a plain exact scan of as many vectors."""
    memory.recall_sync(questions[0])  # loads the user
    asked = questions if size < SIZES[-1] else questions[:150]
    report.add(f"`recall`, {size:,} memories", asyncio.run(each_async(memory.recall, asked)))
    report.add(f"`recall_sync`, {size:,} memories", each(memory.recall_sync, asked))
    numbers = np.random.default_rng(size)
    vectors = numbers.standard_normal((size, 256), dtype=np.float32)
    queries = numbers.standard_normal((len(asked), 256), dtype=np.float32)

    def scan(query: np.ndarray) -> np.ndarray:
        scores = vectors @ query
        best = np.argpartition(scores, -10)[-10:]
        return best[np.argsort(scores[best])[::-1]]

    report.add(f"exact scan of {size:,} f32 vectors with NumPy", each(scan, queries))
    recall = report.medians[f"`recall_sync`, {size:,} memories"]
    plain = report.medians[f"exact scan of {size:,} f32 vectors with NumPy"]
    ratio = recall / plain
    report.add(f"`recall_sync` over the scan, {size:,}", [ratio], "times", is_excused=recall - plain <= 1e-3)


def measure_stalls(report: Report, memory: umi.Memory, questions: Sequence[str]) -> None:
    """Measure how late a task that wants to run every millisecond is while 32 recalls are under way."""

    async def run() -> float:
        longest, interval, is_over = 0.0, 1e-3, asyncio.Event()

        async def tick() -> None:
            nonlocal longest
            while not is_over.is_set():
                started = time.perf_counter()
                await asyncio.sleep(interval)
                longest = max(longest, time.perf_counter() - started - interval)

        ticker = asyncio.create_task(tick())
        await asyncio.sleep(5 * interval)
        await asyncio.gather(*(memory.recall(question) for question in questions[:32]))
        is_over.set()
        await ticker
        return longest

    report.add("longest stall of the event loop during 32 recalls", [asyncio.run(run()) for _ in range(21)])


def measure_many_users(report: Report, folder: Path) -> None:
    """Measure a user with 100 memories, alone and among 1,000 such users, in turns."""
    each_has = SIZES[-1] // USERS
    speakers = [Conversation(index, f"user-{index}") for index in range(USERS)]
    told = [list(speaker.turns(each_has)) for speaker in speakers]
    own = [speakers[0].question(turn["text"]) for turn in random.Random(2).choices(told[0], k=300)]
    others = [(speakers[user].question(told[user][user % each_has]["text"]), f"user-{user}") for user in range(1, 301)]
    with umi.Memory.open(folder / "alone") as alone, umi.Memory.open(folder / "many") as many:
        ingest(alone, told[0])
        # as they would come: the users in turn
        rates = ingest(many, [turns[place] for place in range(each_has) for turns in told])
        report.add("`remember_many`, 100,000 turns of 1,000 users", rates, "turns/s")

        def recall(asked: tuple[str, str]) -> umi.RecallResults:
            query, user = asked
            return many.recall_sync(query, user=user)

        report.add("first `recall_sync` of a user, 100 of 100,000 memories", each(recall, others))
        report.add("`recall_sync`, 300 users in turn, 100 of 100,000 memories each", each(recall, others))
        beside, among = [], []
        for question in own:
            beside += each(lambda query: alone.recall_sync(query, user="user-0"), [question])
            among += each(lambda query: many.recall_sync(query, user="user-0"), [question])
    report.add("`recall_sync`, 100 memories", beside)
    report.add("`recall_sync`, 100 of 100,000 memories, 1,000 users", among)
    ratio = report.medians["`recall_sync`, 100 of 100,000 memories, 1,000 users"]
    ratio /= report.medians["`recall_sync`, 100 memories"]
    report.add("`recall_sync`, 100 of 100,000 memories, over 100 alone", [ratio], "times")


def fill_core(set_block: Callable[[str, str], Any]) -> None:
    """Fill core memory with six blocks of 32 KiB in all, with what has to be escaped in it."""
    text = Conversation(2).text(2_000).replace(" school ", " <A & B> ").encode()[: 32 * 1024 // len(BLOCKS)].decode()
    for block in BLOCKS:
        set_block(block, text)


def ingest(memory: umi.Memory, turns: list[dict[str, Any]]) -> list[float]:
    """Remember turns at once; give the turns a second of each batch."""
    marks = [(time.perf_counter(), 0)]
    memory.remember_many_sync(turns, progress=lambda done, _: marks.append((time.perf_counter(), done)))
    return [(done - before) / (end - begin) for (begin, before), (end, done) in itertools.pairwise(marks)]


def each(call: Callable[[T], Any], arguments: Iterable[T]) -> list[float]:
    """Time a call with each argument."""
    seconds = []
    for argument in arguments:
        started = time.perf_counter()
        call(argument)
        seconds.append(time.perf_counter() - started)
    return seconds


async def each_async(call: Callable[[T], Awaitable[Any]], arguments: Iterable[T]) -> list[float]:
    """Time an awaited call with each argument, one after the other."""
    seconds = []
    for argument in arguments:
        started = time.perf_counter()
        await call(argument)
        seconds.append(time.perf_counter() - started)
    return seconds


def in_batches(call: Callable[[], Any], number: int) -> list[float]:
    """Time a call that is too short to be timed alone: the mean of each of 50 batches of `number`."""
    return [seconds / number for seconds in timeit.repeat(call, number=number, repeat=50)]


def in_a_new_process(code: str, *arguments: str) -> tuple[float, float]:
    """Run code that prints two numbers."""
    command = [sys.executable, "-I", "-c", code, *arguments]
    first, second = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(first), float(second)


@contextlib.contextmanager
def plain_sqlite(path: Path) -> Iterator[Callable[[str], object]]:
    """Give the durable insert of a text that anybody could write."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE turns (id INTEGER PRIMARY KEY, text TEXT)")
        yield lambda text: database.execute("INSERT INTO turns (text) VALUES (?)", (text,))


def fsync(file: IO[bytes]) -> None:
    file.write(os.urandom(4096))
    file.flush()
    os.fsync(file.fileno())


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(run_bench(BUDGETS, measure))
