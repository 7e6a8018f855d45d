"""Awaiting, cancelling, blocking inside a running loop, and embedders that call back into Python."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import threading
from typing import TYPE_CHECKING

import pytest

from umi import CallableEmbeddingProvider, EmbeddingError, Memory, RecallOptions

if TYPE_CHECKING:
    from pathlib import Path


def test_every_method_has_its_twin() -> None:
    """An async method has a `_sync` twin with the same keywords, and the other way round."""
    own = {name: getattr(Memory, name) for name in vars(Memory)}  # `recover` is static
    methods = {name: method for name, method in own.items() if inspect.iscoroutinefunction(method)}
    public = {name for name in methods if not name.startswith("_")}
    assert len(public) > 20
    for name in public:
        twin = own[f"{name}_sync"]
        assert inspect.signature(twin) == inspect.signature(methods[name])
    assert {name.removesuffix("_sync") for name in vars(Memory) if name.endswith("_sync")} == public


async def test_many_at_once(tmp_path: Path) -> None:
    async with Memory.open(tmp_path, user="alice") as memory:
        await asyncio.gather(*(memory.remember(f"note number {number}") for number in range(50)))
        assert await memory.count() == 50
        found = await asyncio.gather(*(memory.recall(f"number {number}") for number in range(50)))
        assert all(found)
    assert memory.is_closed


async def test_blocking_inside_a_running_loop(memory: Memory) -> None:
    memory.remember_sync("The kiln came from Utrecht.")
    assert memory.recall_sync("kiln")[0].content == (await memory.recall("kiln"))[0].content


async def test_an_async_embedder_runs_on_the_awaiting_loop() -> None:
    loops: list[asyncio.AbstractEventLoop] = []
    own = asyncio.get_running_loop()

    async def embed(texts: list[str]) -> list[list[float]]:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return [[1.0, float(len(text))] for text in texts]

    embedder = CallableEmbeddingProvider(embed, dimensions=2, name="mine")
    assert await embedder.embed(["abc"]) == [[1.0, 3.0]]
    assert loops == [own]
    # a call that blocks this loop finds another one
    assert embedder.embed_sync(["abc"]) == [[1.0, 3.0]]
    assert loops[1] is not own
    with Memory.in_memory(embedder=embedder) as memory:
        assert (await memory.remember("abc")).warnings == []
        assert memory.remember_sync("abc").warnings == []
        assert (await memory.recall("abc", RecallOptions(use_text_search=False)))[0].content == "abc"


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [[1.0, 0.0]],
        [[1.0, 0.0]] * 3,
        [[1.0, 0.0], [1.0]],
        [[1.0, 0.0], [math.nan, 0.0]],
        [[1.0, 0.0], [0.0, math.inf]],
        [[1.0, 0.0], [0.0, 1e39]],
    ],
)
async def test_a_direct_call_of_an_embedder_is_checked(answer: list[list[float]]) -> None:
    embedder = CallableEmbeddingProvider(lambda _: answer, dimensions=2, name="mine")
    with pytest.raises(EmbeddingError, match="embedder `mine` gave"):
        embedder.embed_sync(["a", "b"])
    with pytest.raises(EmbeddingError, match="embedder `mine` gave"):
        await embedder.embed(["a", "b"])
    assert embedder.embed_sync([]) == []


async def test_a_plain_embedder_never_runs_on_the_loop() -> None:
    threads: list[int] = []

    def embed(texts: list[str]) -> list[list[float]]:
        threads.append(threading.get_ident())
        return [[1.0, 0.0] for _ in texts]

    async with Memory.in_memory(embedder=CallableEmbeddingProvider(embed, dimensions=2, name="mine")) as memory:
        await memory.remember("abc")
    assert threads
    assert threading.get_ident() not in threads


async def test_a_callable_object_and_one_that_gives_an_awaitable() -> None:
    class Model:
        async def __call__(self, texts: list[str]) -> list[list[float]]:
            return [[1.0, 0.0] for _ in texts]

    async def embed(texts: list[str]) -> list[list[float]]:
        return [[0.0, 1.0] for _ in texts]

    assert await CallableEmbeddingProvider(Model(), dimensions=2, name="a").embed(["x"]) == [[1.0, 0.0]]
    assert await CallableEmbeddingProvider(functools.partial(embed), dimensions=2, name="b").embed(["x"]) == [
        [0.0, 1.0]
    ]


async def test_the_loop_turns_while_a_call_is_under_way() -> None:
    """The embedder waits for the loop: a loop that stalled would never let it go on."""
    entered, release = threading.Event(), threading.Event()

    def embed(texts: list[str]) -> list[list[float]]:
        entered.set()
        assert release.wait(timeout=30)
        return [[1.0, 0.0] for _ in texts]

    async with Memory.in_memory(embedder=CallableEmbeddingProvider(embed, dimensions=2, name="mine")) as memory:
        call = asyncio.ensure_future(memory.remember("abc"))
        while not entered.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0)
        assert not call.done()
        release.set()
        assert (await call).warnings == []


async def test_cancelling_keeps_the_words_or_nothing() -> None:
    entered, released, cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def embed(texts: list[str]) -> list[list[float]]:
        entered.set()
        try:
            await released.wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return [[1.0, 0.0] for _ in texts]

    async with Memory.in_memory(embedder=CallableEmbeddingProvider(embed, dimensions=2, name="mine")) as memory:
        call = asyncio.ensure_future(memory.remember("abc"))
        await entered.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await memory.count(), len(await memory.pending())) == (1, 1)
        await cancelled.wait()
        released.set()


async def test_what_a_callable_raises_is_the_cause() -> None:
    async def embed(texts: list[str]) -> list[list[float]]:
        raise LookupError(texts)

    with pytest.raises(EmbeddingError) as caught:
        await CallableEmbeddingProvider(embed, dimensions=2, name="mine").embed(["x"])
    assert isinstance(caught.value.__cause__, LookupError)


def test_threads(tmp_path: Path) -> None:
    with Memory.open(tmp_path, user="alice") as memory:
        gate = threading.Barrier(4)

        def work(number: int) -> None:
            gate.wait()
            for turn in range(10):
                memory.remember_sync(f"thread {number} turn {turn}")
                memory.recall_sync("thread")
                memory.working.incr("n")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert memory.count_sync() == 40
        assert memory.working.get("n") == b"40"


async def test_a_memory_outlives_its_loop(tmp_path: Path) -> None:
    memory = Memory.open(tmp_path)

    def other_loop() -> None:
        asyncio.run(memory.remember("said on another loop"))

    await asyncio.to_thread(other_loop)
    assert await memory.count() == 1
    await memory.close()


async def test_opening_off_the_loop(tmp_path: Path) -> None:
    """Opening blocks for some milliseconds; a thread takes it off the loop, which goes on meanwhile."""
    ticks, opened = 0, asyncio.Event()

    async def tick() -> None:
        nonlocal ticks
        while not opened.is_set():
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    async with await asyncio.to_thread(Memory.open, tmp_path, user="alice") as memory:
        opened.set()
        await ticking
        await memory.remember("The kiln came from Utrecht.")
        assert (await memory.recall("kiln"))[0].content == "The kiln came from Utrecht."
    assert memory.is_closed
    assert ticks > 1
