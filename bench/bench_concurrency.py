"""What happens at once: overlap, the interpreter's freedom, and how long the event loop stands still.

Run by `make bench`, in an environment that holds the optimised wheel; about two minutes. Prints a Markdown table and
exits with 1 when a median is over its budget (`--no-fail` to print only). Stores are made in the folder of the project,
on whatever file system that is, and deleted.

A stall is how late a task is that wants to run every millisecond. That of an idle loop is printed beside the others: it
is what this machine adds to each of them.
"""

import asyncio
import contextlib
import gc
import random
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import umi
from conversation import Conversation
from report import Budget, Report, run_bench

LARGE = 100_000
SLOW_SECONDS = 0.05  # how long a slow embedder waits
STALL = Budget(5e-3)
RUNS = 7

STALLS = (
    "opening a new store, first in a process",
    "opening an existing store, first in a process",
    "opening a new store",
    "opening an existing store",
    "making `StaticEmbeddingProvider()`, first in a process",
    "`remember_many` of 5,000 turns of a generator",
    "`recall`, loading 100,000 memories",
    "32 recalls at 100,000 memories",
    "`recall` of 1,000 hits",
    "`context`",
    "`list` of 1,000",
    "`close` with jobs that wait",
    "`purge`",
    "`backup`",
    "`check`",
    "`reembed`",
)
BUDGETS = {
    "32 recalls, async embedder of 50 ms": Budget(200e-3),
    "32 recalls, plain embedder of 50 ms": Budget(200e-3),
    "64 recalls gathered, over one by one": Budget(0.65, "times"),
    "counting beside `recall_sync`, over alone": Budget(0.5, "times", at_least=True),
    **{f"stall: {name}": STALL for name in STALLS},
}

FIRST_IN_A_PROCESS = """
import asyncio, sys, time
sys.path.insert(0, sys.argv[1])
import umi
from bench_concurrency import stall_of
async def open_and_close():
    async with umi.Memory.open(sys.argv[3], user="alice"):
        pass
async def make_embedder():
    umi.StaticEmbeddingProvider()
print(asyncio.run(stall_of({"open": open_and_close, "embedder": make_embedder}[sys.argv[2]])))
"""


async def stall_of(work: Callable[[], Awaitable[Any]]) -> float:
    """Do some work and give the longest time by which a task that wants to run every millisecond was late meanwhile."""
    longest, interval, is_over = 0.0, 1e-3, False

    async def tick() -> None:
        nonlocal longest
        while not is_over:
            started = time.perf_counter()
            await asyncio.sleep(interval)
            longest = max(longest, time.perf_counter() - started - interval)

    gc.collect()
    ticker = asyncio.create_task(tick())
    await asyncio.sleep(5 * interval)
    longest = 0.0
    await work()
    await asyncio.sleep(2 * interval)
    is_over = True
    await ticker
    return longest


def measure(report: Report, folder: Path) -> None:
    """Measure everything."""
    measure_overlap(report, folder)
    measure_openings(report, folder)
    speaker = Conversation(1)
    turns = list(speaker.turns(LARGE))
    questions = [speaker.question(turn["text"]) for turn in random.Random(1).choices(turns, k=64)]
    with umi.Memory.open(folder / "large", user="alice") as memory:
        memory.remember_many_sync(turns)
    asyncio.run(measure_stalls(report, folder, questions))
    with umi.Memory.open(folder / "large", user="alice") as memory:
        memory.recall_sync(questions[0])
        asyncio.run(measure_gathered(report, memory, questions))
        measure_counting(report, memory, questions)


def slow_embedders() -> Iterator[tuple[str, umi.CallableEmbeddingProvider]]:
    """Give an async and a plain embedder that wait."""

    async def wait_async(texts: list[str]) -> list[list[float]]:
        await asyncio.sleep(SLOW_SECONDS)
        return [[1.0, 0.0] for _ in texts]

    def wait(texts: list[str]) -> list[list[float]]:
        time.sleep(SLOW_SECONDS)
        return [[1.0, 0.0] for _ in texts]

    yield "async", umi.CallableEmbeddingProvider(wait_async, dimensions=2, name="slow")
    yield "plain", umi.CallableEmbeddingProvider(wait, dimensions=2, name="slow")


def measure_overlap(report: Report, folder: Path) -> None:
    """Measure 32 recalls at once whose embedder waits."""

    async def run(embedder: umi.CallableEmbeddingProvider) -> list[float]:
        async with umi.Memory.open(folder / "slow", user="alice", embedder=embedder) as memory:
            await memory.remember("The kiln came from Utrecht.")
            seconds = []
            for _ in range(RUNS):
                started = time.perf_counter()
                await asyncio.gather(*(memory.recall(f"kiln {number}") for number in range(32)))
                seconds.append(time.perf_counter() - started)
            return seconds

    for kind, embedder in slow_embedders():
        report.add(f"32 recalls, {kind} embedder of 50 ms", asyncio.run(run(embedder)))


def measure_openings(report: Report, folder: Path) -> None:
    """Measure the stalls of openings, in new processes and in this one."""

    def first(what: str, store: Path) -> float:
        command = [sys.executable, "-c", FIRST_IN_A_PROCESS, str(Path(__file__).parent), what, str(store)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    async def idle() -> list[float]:
        return [await stall_of(lambda: asyncio.sleep(0.05)) for _ in range(RUNS)]

    async def again(stores: list[Path]) -> list[float]:
        async def open_and_close(store: Path) -> None:
            async with umi.Memory.open(store, user="alice"):
                pass

        return [await stall_of(lambda store=store: open_and_close(store)) for store in stores]

    report.add("stall of an idle loop", asyncio.run(idle()))
    stores = [folder / f"new-{number}" for number in range(RUNS)]
    report.add("stall: opening a new store, first in a process", [first("open", store) for store in stores])
    report.add("stall: opening an existing store, first in a process", [first("open", store) for store in stores])
    others = [folder / f"other-{number}" for number in range(RUNS)]
    report.add("stall: opening a new store", asyncio.run(again(others)))
    report.add("stall: opening an existing store", asyncio.run(again(others)))
    report.add(
        "stall: making `StaticEmbeddingProvider()`, first in a process", [first("embedder", folder) for _ in stores]
    )


async def measure_stalls(report: Report, folder: Path, questions: list[str]) -> None:
    """Measure the stalls of everything else, on a store of 100,000 memories."""

    async def add(name: str, work: Callable[[], Awaitable[Any]], runs: int = RUNS) -> None:
        report.add(f"stall: {name}", [await stall_of(work) for _ in range(runs)])

    @contextlib.asynccontextmanager
    async def large() -> AsyncIterator[umi.Memory]:
        async with umi.Memory.open(folder / "large", user="alice") as memory:
            yield memory

    async with umi.Memory.open(folder / "many", user="alice") as many:
        speaker = Conversation(2)
        await add("`remember_many` of 5,000 turns of a generator", lambda: many.remember_many(speaker.turns(5_000)), 3)
        told = list(speaker.turns(5_000))
        # a batch is one transaction and one conversion: its size is the caller's choice, and no budget's
        await add(
            "`remember_many` of 5,000 turns in one batch", lambda: many.remember_many(told, batch_size=len(told)), 3
        )
        for number in range(1_000):
            await many.add_entity(umi.Entity("person", f"person {number}", f"works at place {number}"))
        await add("`list` of 1,000", lambda: many.list(limit=1_000))
        await many.forget((await many.list(limit=1))[0].id)
        await add("`purge`", many.purge, 3)
        copies = iter(range(100))
        await add("`backup`", lambda: many.backup(folder / f"copy-{next(copies)}"), 3)
        await add("`check`", many.check, 3)

    loading = []
    for _ in range(3):
        async with large() as memory:
            loading.append(await stall_of(lambda memory=memory: memory.recall(questions[0])))
    report.add("stall: `recall`, loading 100,000 memories", loading)
    async with large() as memory:
        await memory.recall(questions[0])
        await add(
            "32 recalls at 100,000 memories",
            lambda: asyncio.gather(*(memory.recall(question) for question in questions[:32])),
        )
        options = umi.RecallOptions(limit=1_000)
        assert len(await memory.recall(questions[0], options)) == 1_000
        await add("`recall` of 1,000 hits", lambda: memory.recall(questions[0], options))
        await add("`context`", lambda: memory.context(questions[1], budget_tokens=20_000))

    closing = []
    for number, (_, embedder) in enumerate(slow_embedders()):
        memory = umi.Memory.open(folder / f"jobs-{number}", user="alice", embedder=embedder)
        for turn in Conversation(3).turns(20):
            await memory.remember(turn["text"], umi.RememberOptions(wait="durable"))
        closing.append(await stall_of(memory.close))
    report.add("stall: `close` with jobs that wait", closing)

    async with umi.Memory.open(
        folder / "many", user="alice", embedder=umi.SimEmbeddingProvider(1), reembed=True
    ) as many:
        await add("`reembed`", many.reembed, 1)


async def measure_gathered(report: Report, memory: umi.Memory, questions: list[str]) -> None:
    """Measure 64 recalls beside one another against the same ones one by one."""
    ratios = []
    for _ in range(RUNS):
        started = time.perf_counter()
        for question in questions:
            await memory.recall(question)
        between = time.perf_counter()
        await asyncio.gather(*(memory.recall(question) for question in questions))
        ratios.append((time.perf_counter() - between) / (between - started))
    report.add("64 recalls gathered, over one by one", ratios, "times")


def measure_counting(report: Report, memory: umi.Memory, questions: list[str]) -> None:
    """Measure how fast a thread counts beside one that recalls, against how fast it counts alone."""

    def count(until: float) -> int:
        counted = 0
        while time.perf_counter() < until:
            counted += 1
        return counted

    def beside(seconds: float) -> int:
        is_over = threading.Event()

        def recall() -> None:
            while not is_over.is_set():
                for question in questions:
                    memory.recall_sync(question)
                    if is_over.is_set():
                        return

        thread = threading.Thread(target=recall)
        thread.start()
        counted = count(time.perf_counter() + seconds)
        is_over.set()
        thread.join()
        return counted

    ratios = []
    for _ in range(RUNS):
        alone = count(time.perf_counter() + 0.3)
        ratios.append(beside(0.3) / alone)
    report.add("counting beside `recall_sync`, over alone", ratios, "times")


if __name__ == "__main__":
    sys.exit(run_bench(BUDGETS, measure))
