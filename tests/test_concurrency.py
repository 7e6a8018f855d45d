"""What happens at once: overlap is shown by barriers and events, and times are left to `make bench`."""

from __future__ import annotations

import asyncio
import collections
import contextvars
import gc
import os
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import umi
from umi import CallableEmbeddingProvider, Memory, RecallOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE = 60
RECALLS = 32


def waiting(barrier: threading.Barrier | asyncio.Barrier) -> CallableEmbeddingProvider:
    """An embedder whose calls with a question wait for one another, plain or async as the barrier is."""
    if isinstance(barrier, asyncio.Barrier):

        async def embed_async(texts: list[str]) -> list[list[float]]:
            if texts[0].startswith("question"):
                await asyncio.wait_for(barrier.wait(), DEADLINE)
            return [[1.0, 0.0] for _ in texts]

        return CallableEmbeddingProvider(embed_async, dimensions=2, name="waits")

    def embed(texts: list[str]) -> list[list[float]]:
        if texts[0].startswith("question"):
            barrier.wait(DEADLINE)
        return [[1.0, 0.0] for _ in texts]

    return CallableEmbeddingProvider(embed, dimensions=2, name="waits")


@pytest.mark.parametrize("make_barrier", [asyncio.Barrier, threading.Barrier], ids=["async", "plain"])
async def test_all_recalls_are_in_the_embedder_at_once(
    tmp_path: Path, make_barrier: Callable[[int], threading.Barrier | asyncio.Barrier]
) -> None:
    """The barrier opens when the last of them has come: none waited for another to leave."""
    async with Memory.open(tmp_path, embedder=waiting(make_barrier(RECALLS))) as memory:
        await memory.remember("The kiln came from Utrecht.", user="alice")
        found = await asyncio.gather(*(memory.recall(f"question {n}", user="alice") for n in range(RECALLS)))
        assert all(len(results) == 1 and results.warnings == [] for results in found)


def test_threads_are_in_the_embedder_at_once(tmp_path: Path) -> None:
    with Memory.open(tmp_path, embedder=waiting(threading.Barrier(8)), user="alice") as memory:
        memory.remember_sync("The kiln came from Utrecht.")
        found: list[umi.RecallResults] = []
        threads = [
            threading.Thread(target=lambda n=n: found.append(memory.recall_sync(f"question {n}"))) for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [len(results) for results in found] == [1] * 8


async def test_nobody_waits_for_the_slow_embedder_of_another(tmp_path: Path) -> None:
    """More calls hang in a plain function than there are threads for it; everything else has its own threads."""
    release, hangs = threading.Event(), threading.Semaphore(0)

    def embed(texts: list[str]) -> list[list[float]]:
        if texts[0].startswith("slow"):
            hangs.release()
            release.wait(DEADLINE)
        return [[1.0, 0.0] for _ in texts]

    slow = CallableEmbeddingProvider(embed, dimensions=2, name="slow")
    async with (
        Memory.open(tmp_path / "slow", embedder=slow) as memory,
        Memory.open(tmp_path / "other", user="bob") as other,
    ):
        await memory.remember("The kiln came from Utrecht.", user="alice")
        await memory.remember("The lathe came from Ghent.", user="bob")
        stuck = [asyncio.ensure_future(memory.recall(f"slow {n}", user="alice")) for n in range(600)]
        while not hangs.acquire(blocking=False):  # noqa: ASYNC110 - released by another thread
            await asyncio.sleep(0)
        words = RecallOptions(use_vector_search=False)
        assert [hit.content for hit in await memory.recall("lathe", words, user="bob")] == [
            "The lathe came from Ghent."
        ]
        assert len(await memory.episodes(user="bob")) == 1
        assert (await memory.check())["ok"]
        await other.remember("The anvil came from Liege. " * 1_000)
        assert await other.recall("anvil")
        await other.reembed()
        for call in stuck[300:]:
            call.cancel()
        release.set()
        ended = await asyncio.gather(*stuck, return_exceptions=True)
        assert sum(isinstance(result, asyncio.CancelledError) for result in ended) == 300
        assert all(len(result) == 1 for result in ended if not isinstance(result, BaseException))


async def test_a_cancelled_call_of_a_plain_function_is_not_begun() -> None:
    """Calls that were given up while they waited for a thread leave it to those behind them."""
    release = threading.Event()
    begun: list[str] = []

    def embed(texts: list[str]) -> list[list[float]]:
        begun.append(texts[0])
        release.wait(DEADLINE)
        return [[1.0, 0.0] for _ in texts]

    class Mark:
        """Lives as long as the context of a call, which the engine holds until it has dropped the call."""

    mark: contextvars.ContextVar[Mark] = contextvars.ContextVar("mark")
    marks: dict[str, weakref.ref[Mark]] = {}
    embedder = CallableEmbeddingProvider(embed, dimensions=2, name="slow")

    async def call(text: str) -> None:
        mark.set(own := Mark())
        marks[text] = weakref.ref(own)
        await embedder.embed([text])

    calls = {f"call {n}": asyncio.ensure_future(call(f"call {n}")) for n in range(600)}
    while len(begun) < 512:  # noqa: ASYNC110 - filled by other threads
        await asyncio.sleep(0)
    queued = calls.keys() - begun
    assert len(queued) == 88
    for text in queued:
        calls.pop(text).cancel()
    while any(marks[text]() for text in queued):  # dropped by other threads
        await asyncio.sleep(0)
        assert embedder.dimensions == 2  # a native call takes back references that such threads let go of
    release.set()
    assert await embedder.embed(["last"]) == [[1.0, 0.0]]
    await asyncio.gather(*calls.values())
    assert len(begun) == 513


async def test_cancelled_recalls_and_remembers_leave_nothing_held() -> None:
    """After a thousand calls were given up inside the embedder, the next ones find everything free."""
    inside, never = 0, asyncio.Event()

    async def embed(texts: list[str]) -> list[list[float]]:
        nonlocal inside
        if "hangs" in texts[0]:
            inside += 1
            try:
                await never.wait()
            finally:
                inside -= 1
        return [[1.0, 0.0] for _ in texts]

    async with Memory.in_memory(embedder=CallableEmbeddingProvider(embed, dimensions=2, name="mine")) as memory:
        await memory.remember("The kiln came from Utrecht.")
        calls: list[asyncio.Future[object]] = [asyncio.ensure_future(memory.recall(f"hangs {n}")) for n in range(500)]
        calls += [asyncio.ensure_future(memory.remember(f"hangs {n}")) for n in range(500)]
        while inside < 1_000:  # noqa: ASYNC110 - counted by the embedder on this loop
            await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in ended)
        while inside:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        assert len(await memory.recall("kiln")) >= 1
        # the words of those that were given up are there, each with its job, and nobody holds it
        jobs = await memory.pending()
        assert await memory.count() == 1 + len(jobs) == 501


async def test_a_thousand_tasks_beside_threads_and_blocking_calls(tmp_path: Path) -> None:
    async with Memory.open(tmp_path, user="alice") as memory:

        async def task(number: int) -> None:
            if number % 2:
                await memory.recall(f"task {number}")
            else:
                await memory.remember(f"task {number} came from Utrecht")

        def thread(number: int) -> None:
            for turn in range(20):
                memory.remember_sync(f"thread {number} turn {turn} came from Ghent")
                assert memory.recall_sync("thread")
                memory.working.incr("turns")
            asyncio.run(memory_of_another_loop())

        async def memory_of_another_loop() -> None:
            assert await memory.recall("Ghent")

        threads = [threading.Thread(target=thread, args=(number,)) for number in range(4)]
        for each in threads:
            each.start()
        tasks = [asyncio.ensure_future(task(number)) for number in range(1_000)]
        for turn in range(10):
            memory.remember_sync(f"blocking turn {turn}")  # on the loop itself
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        for each in threads:
            await asyncio.to_thread(each.join)
        assert await memory.count() == 500 + 80 + 10
        assert memory.working.get("turns") == b"80"
        assert (await memory.check())["ok"]


async def test_an_embedder_that_uses_a_memory_itself(tmp_path: Path) -> None:
    """A plain function that blocks on a memory, and one that runs a loop of its own for it."""
    with Memory.in_memory(user="alice") as inner:
        inner.remember_sync("The kiln came from Utrecht.")

        def embed(texts: list[str]) -> list[list[float]]:
            async def awaited() -> int:
                return len(await inner.recall("kiln"))

            return [[float(len(inner.recall_sync("kiln"))), float(asyncio.run(awaited()))] for _ in texts]

        embedder = CallableEmbeddingProvider(embed, dimensions=2, name="nested")
        assert await embedder.embed(["x"]) == [[1.0, 1.0]]
        async with Memory.open(tmp_path, embedder=embedder) as memory:
            assert (await memory.remember("abc")).warnings == []
            assert (await memory.recall("abc")).warnings == []


def test_the_interpreter_is_free_while_a_call_blocks() -> None:
    """The thread that blocks is inside the engine until another Python thread lets it go on."""
    entered, release = threading.Event(), threading.Event()

    async def embed(texts: list[str]) -> list[list[float]]:
        entered.set()
        while not release.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0)
        return [[1.0, 0.0] for _ in texts]

    with Memory.in_memory(embedder=CallableEmbeddingProvider(embed, dimensions=2, name="mine")) as memory:

        def let_go_on() -> None:
            entered.wait(DEADLINE)
            release.set()

        counting = threading.Thread(target=let_go_on)
        counting.start()
        assert memory.remember_sync("abc").warnings == []
        counting.join()


# ---- the loop turns meanwhile ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [256, 1_000], ids=["batches", "one batch"])
async def test_a_loop_turns_while_many_are_read_and_given(batch_size: int) -> None:
    """No more than some items are read, and no more than some results made, between two turns."""
    turns, read_at, over = 0, [], asyncio.Event()

    async def turn() -> None:
        nonlocal turns
        while not over.is_set():
            turns += 1
            await asyncio.sleep(0)

    def items() -> Iterator[str]:
        for number in range(1_000):
            read_at.append(turns)
            yield f"item {number}"

    async with Memory.in_memory(user="alice") as memory:
        turning = asyncio.ensure_future(turn())
        results = await memory.remember_many(items(), batch_size=batch_size)
        over.set()
        await turning
        assert [result.entities[0].content for result in results] == [f"item {number}" for number in range(1_000)]
    assert max(collections.Counter(read_at).values()) <= 16


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread's priority is its process's")
def test_the_engine_s_threads_give_way_to_the_caller_s() -> None:
    """A loop that wakes would wait for milliseconds until a thread that computes has had its share."""
    with Memory.in_memory(user="alice") as memory:
        memory.remember_sync("The kiln came from Utrecht.")
        assert len(memory.recall_sync("kiln")) == 1
        threads = Path("/proc/self/task").iterdir()
        names = {int(thread.name): (thread / "comm").read_text().strip() for thread in threads}
        workers = [thread for thread, name in names.items() if name == "umi-worker"]
        assert workers
        own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in workers} == {min(own + 5, 19)}


async def test_a_generator_that_raises_takes_its_batch_along() -> None:
    def items() -> Iterator[str]:
        for number in range(150):
            yield f"item {number}"
        raise LookupError("the file ends here")

    async with Memory.in_memory(user="alice") as memory:
        with pytest.raises(LookupError, match="ends here"):
            await memory.remember_many(items(), batch_size=100)
        assert await memory.count() == 100
        many = asyncio.ensure_future(memory.remember_many(f"later {number}" for number in range(100)))
        await asyncio.sleep(0)  # it has read some of them
        many.cancel()
        with pytest.raises(asyncio.CancelledError):
            await many
        assert await memory.count() == 100


def test_other_threads_have_the_interpreter_while_a_long_list_is_made() -> None:
    """Nobody can ask native code to let go of the interpreter, so it must do so by itself, every some values.

    The garbage collector, which runs while lists are made, tells how far another thread has come each time.
    """
    turns, is_over, seen = 0, threading.Event(), set()
    own = threading.get_ident()

    def turn() -> None:
        nonlocal turns
        while not is_over.is_set():
            turns += 1
            time.sleep(1e-4)

    def collecting(phase: str, _: dict[str, int]) -> None:
        if phase == "start" and threading.get_ident() == own:
            seen.add(turns)

    items = [f"item {number}" for number in range(4_000)]
    other = threading.Thread(target=turn)
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    with Memory.in_memory(user="alice") as memory:
        other.start()
        sys.setswitchinterval(3_600)  # nobody asks
        gc.set_threshold(100)
        gc.callbacks.append(collecting)
        try:
            results = memory.remember_many_sync(items, batch_size=len(items))
        finally:
            gc.callbacks.remove(collecting)
            gc.set_threshold(*thresholds)
            sys.setswitchinterval(interval)
            is_over.set()
            other.join()
    assert len(results) == len(items)
    assert len(seen) > 2, "it has let go while it wrote, and not while it made the results"


# ---- functions of the caller that call back --------------------------------------------------------------------------


def test_functions_that_a_worker_calls_may_block_on_a_memory(tmp_path: Path) -> None:
    """A token counter and a progress function that use the memory which calls them."""
    counted: list[int] = []
    done: list[int] = []

    def count_tokens(text: str) -> int:
        counted.append(memory.count_sync())
        return len(text)

    with Memory.open(tmp_path, user="alice", config=umi.MemoryConfig(token_counter=count_tokens)) as memory:
        memory.remember_sync("The kiln came from Utrecht.")
        assert "Utrecht" in memory.context_sync("kiln")
        assert "Utrecht" in asyncio.run(memory.context("kiln"))
        assert counted
        assert set(counted) == {1}
    embedder = umi.SimEmbeddingProvider(1)
    with Memory.open(tmp_path, user="alice", embedder=embedder, reembed=True) as memory:
        memory.reembed_sync(progress=lambda *_: done.append(memory.count_sync()))
        assert done == [1]
    with Memory.open(tmp_path, user="alice", reembed=True) as memory:
        asyncio.run(memory.reembed(progress=lambda *_: done.append(memory.count_sync())))
        assert done == [1, 1]
