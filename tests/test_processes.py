"""Two processes on one store, forks, and the end of the interpreter; torture/kills.py has the kills."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from umi import Memory

if TYPE_CHECKING:
    from pathlib import Path


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments], capture_output=True, text=True, timeout=50, check=False
    )


def test_two_processes_on_one_store(tmp_path: Path) -> None:
    code = """
import sys
from umi import Memory
with Memory.open(sys.argv[1], user="alice") as memory:
    assert memory.recall_sync("kiln")[0].content == "The kiln came from Utrecht."
    memory.remember_sync("The oven came from Delft.")
    memory.core.set_block("facts", "two ovens")
    memory.forget_sync(sys.argv[2])
"""
    with Memory.open(tmp_path, user="alice") as memory:
        said = memory.remember_sync("The kiln came from Utrecht.").episode_ids[0]
        assert "oven" not in repr(memory.recall_sync("oven"))
        done = run(code, str(tmp_path), said)
        assert (done.returncode, done.stderr) == (0, "")
        assert memory.recall_sync("oven")[0].content == "The oven came from Delft."
        assert memory.core.get_block("facts") == "two ovens"
        assert memory.get_sync(said) is None
        assert all(hit.id != said for hit in memory.recall_sync("kiln"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child(tmp_path: Path) -> None:
    code = """
import os, sys
from umi import ForkedError, Memory, StaticEmbeddingProvider, uuid7
memory = Memory.open(sys.argv[1], user="alice")
memory.remember_sync("before the fork")
read, write = os.pipe()
child = os.fork()
if child == 0:
    try:
        memory.count_sync()
    except ForkedError as error:
        print("refused", error.hint)
    assert "forked" in repr(memory)
    try:
        with memory:
            sys.exit("entered")
    except ForkedError:
        pass
    memory.__exit__(None, None, None)  # leaving the parent's block closes nothing
    other = Memory.open(sys.argv[1], user="alice")
    other.remember_sync("in the child")
    print("child", other.count_sync())
    del memory
    os.write(write, uuid7().encode())
    other.close_sync()
    sys.exit(0)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert os.read(read, 36).decode() != uuid7()
memory.remember_sync("after the fork")
print("parent", memory.count_sync())
"""
    done = run(code, str(tmp_path))
    assert done.stderr == ""
    assert done.returncode == 0
    assert sorted(line.split(" (")[0] for line in done.stdout.splitlines()) == [
        "child 2",
        "parent 3",
        "refused open the store again in the child",
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_while_other_threads_use_a_memory_for_the_first_time() -> None:
    """What the process makes once, on first use, is not half made in the child, which would wait for it for ever."""
    code = """
import os, sys, threading
from umi import Memory, SimEmbeddingProvider
sys.setswitchinterval(1e-6)
memory = Memory.in_memory(embedder=SimEmbeddingProvider())
threads = [threading.Thread(target=memory.recall_sync, args=("kiln",)) for _ in range(2)]
for thread in threads:
    thread.start()
children = []
for _ in range(12):
    memory.count_sync()  # lets the others run a little
    child = os.fork()
    if child == 0:
        with Memory.in_memory(embedder=SimEmbeddingProvider()) as own:
            own.remember_sync("The kiln came from Utrecht.")
            assert len(own.recall_sync("kiln")) == 1
        os._exit(0)
    children.append(child)
for child in children:
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status
for thread in threads:
    thread.join()
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_interpreter_ends_with_work_under_way(tmp_path: Path) -> None:
    code = """
import sys, threading
from umi import CallableEmbeddingProvider, Memory, RememberOptions
started = threading.Event()
def embed(texts):
    started.set()
    return [[1.0, 0.0] for _ in texts]
memory = Memory.open(sys.argv[1], embedder=CallableEmbeddingProvider(embed, dimensions=2, name="mine"))
memory.remember_sync("left open", RememberOptions(wait="durable"))
started.wait(20)
"""
    done = run(code, str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_interpreter_ends_though_an_embedder_hangs(tmp_path: Path) -> None:
    code = """
import sys, threading
from umi import CallableEmbeddingProvider, Memory, RememberOptions
started = threading.Event()
def embed(texts):
    started.set()
    threading.Event().wait()
memory = Memory.open(sys.argv[1], embedder=CallableEmbeddingProvider(embed, dimensions=2, name="mine"))
memory.remember_sync("kept", RememberOptions(wait="durable"))
started.wait(20)
"""
    done = run(code, str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    with Memory.open(tmp_path, embedder=None, reembed=True) as memory:
        assert memory.count_sync() == 1


def test_the_interpreter_ends_while_a_thread_waits_for_an_embedder_that_hangs() -> None:
    """The call is given up as one on a closed memory, and nothing panics."""
    code = """
import threading
from umi import CallableEmbeddingProvider, ClosedError, Memory
called, never = threading.Event(), threading.Event()
def hangs(texts):
    called.set()
    never.wait()
memory = Memory.in_memory(user="alice", embedder=CallableEmbeddingProvider(hangs, dimensions=3, name="hangs"))
def remember():
    try:
        memory.remember_sync("hello")
    except ClosedError as error:
        print(error.message, flush=True)
    try:
        Memory.in_memory()
    except ClosedError:
        print("refused", flush=True)
threading.Thread(target=remember, daemon=True).start()
called.wait()
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "the interpreter ends"
    assert set(done.stdout.splitlines()[1:]) <= {"refused"}, "the end may come first"


def test_the_end_waits_once_for_all_open_memories() -> None:
    """Thirty embedders hang; two seconds for each of them would be more than `run` allows."""
    code = """
import threading
from umi import CallableEmbeddingProvider, Memory, RememberOptions
memories, started = [], threading.Semaphore(0)
def embed(texts):
    started.release()
    threading.Event().wait()
for _ in range(30):
    memory = Memory.in_memory(embedder=CallableEmbeddingProvider(embed, dimensions=2, name="mine"))
    memory.remember_sync("kept", RememberOptions(wait="durable"))
    memories.append(memory)
for _ in memories:
    assert started.acquire(timeout=20)
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_memories_that_nobody_closed(tmp_path: Path) -> None:
    """Dropped by count of references, in a cycle, on a running loop, and by the end of the interpreter."""
    code = """
import asyncio, gc, sys, weakref
from umi import Memory
class Agent:
    def __init__(self, number):
        self.memory = Memory.open(f"{sys.argv[1]}/{number}", user="alice")
        self.itself = self
    async def remember(self):
        await self.memory.remember("kept")
async def main():
    for number in range(3):
        agent = Agent(number)
        await agent.remember()
        seen = weakref.ref(agent.memory)
        del agent
        gc.collect()
        assert seen() is None
gc.disable()
memory = Memory.in_memory()
memory.remember_sync("dropped")
del memory
asyncio.run(main())
for number in range(3):
    with Memory.open(f"{sys.argv[1]}/{number}", user="alice") as again:
        assert again.count_sync() == 1
left = Agent(3)
asyncio.run(left.remember())
print("end")
"""
    done = run(code, str(tmp_path))
    assert (done.stdout, done.stderr, done.returncode) == ("end\n", "", 0)
    with Memory.open(tmp_path / "3", user="alice") as memory:
        assert memory.count_sync() == 1


def test_an_unawaited_call_and_a_stopped_loop(tmp_path: Path) -> None:
    code = """
import asyncio, sys
from umi import CallableEmbeddingProvider, Memory
async def embed(texts):
    await asyncio.Event().wait()
async def main():
    memory = Memory.open(sys.argv[1], embedder=CallableEmbeddingProvider(embed, dimensions=2, name="mine"))
    task = asyncio.ensure_future(memory.remember("never embedded"))
    while not await memory.count():
        await asyncio.sleep(0)
asyncio.run(main())
"""
    done = run(code, str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interrupt_from_the_keyboard_ends_a_blocking_call(tmp_path: Path) -> None:
    code = """
import os, signal, sys, threading
from umi import CallableEmbeddingProvider, Memory
entered, never = threading.Event(), threading.Event()
def embed(texts):
    entered.set()
    never.wait()
    return []
threading.Thread(target=lambda: (entered.wait(), os.kill(os.getpid(), signal.SIGINT)), daemon=True).start()
memory = Memory.open(sys.argv[1], embedder=CallableEmbeddingProvider(embed, dimensions=2, name="mine"))
try:
    memory.remember_sync("interrupted")
except KeyboardInterrupt:
    print("interrupted", memory.count_sync())
never.set()
"""
    done = run(code, str(tmp_path))
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted 1\n", "", 0)


def test_importing_is_light() -> None:
    code = """
import sys
import umi
heavy = {"asyncio", "dataclasses", "inspect", "concurrent.futures"} & set(sys.modules)
assert not heavy, heavy
assert {name.split(".")[0] for name in sys.modules if name.startswith("numpy")} == set()
"""
    done = run(code)
    assert (done.returncode, done.stderr) == (0, "")
