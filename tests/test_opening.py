"""Opening on an event loop: what the loop does not wait for, and where a bad store is told."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

import umi
from umi import Memory

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE = 60


def locked_by_another_process(folder: Path) -> subprocess.Popen[str]:
    """Holds the lock of writers, which making a new store waits for, until its stdin is closed."""
    folder.mkdir()
    code = """
import fcntl, sys, pathlib
file = pathlib.Path(sys.argv[1], "umi.lock").open("a+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    return holder


def let_go(holder: subprocess.Popen[str]) -> None:
    holder.communicate(timeout=DEADLINE)


@pytest.mark.skipif(os.name != "posix", reason="the locks are those of POSIX")
async def test_a_loop_does_not_wait_for_an_opening_that_takes_long(tmp_path: Path) -> None:
    """Another process holds the lock that making a store needs; the loop lets it go only once `open` has returned."""
    holder = locked_by_another_process(tmp_path / "store")
    memory = Memory.open(tmp_path / "store", user="alice")
    assert "being opened" in repr(memory)
    assert memory.scope.user == "alice"
    assert not memory.is_closed
    scoped = memory.scoped(session="s")
    assert (scoped.scope.user, scoped.scope.session) == ("alice", "s")
    core = memory.core
    calls = [asyncio.ensure_future(call) for call in (memory.remember("abc"), scoped.remember("def"), memory.count())]
    let_go(holder)
    async with memory as entered:
        assert entered is memory
        await asyncio.gather(*calls)
        assert await memory.count() == 2
        assert core.render() == "<core_memory>\n</core_memory>"
        assert [hit.content for hit in await scoped.recall("def")] == ["def"]
        assert str(tmp_path) in repr(memory)
    assert memory.is_closed


@pytest.mark.skipif(os.name != "posix", reason="the locks are those of POSIX")
async def test_a_handle_that_is_dropped_or_cancelled_while_it_opens(tmp_path: Path) -> None:
    holder = locked_by_another_process(tmp_path / "store")
    Memory.open(tmp_path / "store")

    async def enter() -> None:
        async with Memory.open(tmp_path / "store"):
            pass

    entering = asyncio.ensure_future(enter())
    await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    let_go(holder)
    async with Memory.open(tmp_path / "store") as memory:
        assert await memory.count() == 0


def bad_stores(folder: Path) -> dict[str, tuple[Path, type[umi.StorageError]]]:
    """What a look at a folder and at the header of its database tells."""

    def store(name: str, content: bytes) -> Path:
        (folder / name).mkdir()
        (folder / name / "umi.db").write_bytes(content)
        return folder / name

    with Memory.open(folder / "sound") as memory:
        memory.remember_sync("The kiln came from Utrecht.")
    sound = (folder / "sound" / "umi.db").read_bytes()
    sql = sqlite3.connect(store("foreign", b"") / "umi.db")
    sql.execute("CREATE TABLE recipes (id INTEGER)")
    sql.close()
    (folder / "file").write_bytes(b"")
    (folder / "directory" / "umi.db").mkdir(parents=True)
    return {
        "no database": (store("text", b"no database at all: " * 100), umi.CorruptStoreError),
        "short": (store("short", sound[:50]), umi.CorruptStoreError),
        "cut": (store("cut", sound[:-4096]), umi.CorruptStoreError),
        "foreign": (folder / "foreign", umi.StoreVersionError),
        "newer": (store("newer", sound[:60] + (99).to_bytes(4, "big") + sound[64:]), umi.StoreVersionError),
        "a file in its place": (folder / "file", umi.StoreIOError),
        "a file above it": (folder / "file" / "store", umi.StoreIOError),
        "a folder in its database's place": (folder / "directory", umi.StoreIOError),
    }


async def test_a_bad_store_is_refused_where_it_is_opened_however_busy_the_workers_are(tmp_path: Path) -> None:
    """All threads that opening could use wait until `open` has raised, so it did not wait for them."""
    bad = await asyncio.to_thread(bad_stores, tmp_path)
    entered, release = threading.Semaphore(0), threading.Event()

    def progress(*_: int) -> None:
        entered.release()
        release.wait(DEADLINE)

    for name in ("one", "two"):
        async with Memory.open(tmp_path / name) as memory:
            await memory.remember("The kiln came from Utrecht.")
    embedder = umi.SimEmbeddingProvider(1)
    async with (
        Memory.open(tmp_path / "one", embedder=embedder, reembed=True) as one,
        Memory.open(tmp_path / "two", embedder=embedder, reembed=True) as two,
    ):
        busy = [asyncio.ensure_future(memory.reembed(progress=progress)) for memory in (one, two)]
        for _ in busy:
            while not entered.acquire(blocking=False):  # noqa: ASYNC110 - released by another thread
                await asyncio.sleep(0)
        told = {}
        try:
            for name, (store, kind) in bad.items():
                with pytest.raises(kind) as on_a_loop:
                    Memory.open(store)
                told[name] = (str(on_a_loop.value), repr(on_a_loop.value.__cause__))
        finally:
            release.set()
        await asyncio.gather(*busy)
    for name, (store, kind) in bad.items():
        with pytest.raises(kind) as in_a_thread:
            await asyncio.to_thread(Memory.open, store)
        assert told[name] == (str(in_a_thread.value), repr(in_a_thread.value.__cause__)), name
        assert [path.name for path in store.glob("umi.*")] in ([], ["umi.db"]), name


@pytest.mark.skipif(os.name != "posix", reason="the locks are those of POSIX")
async def test_a_look_leaves_the_locks_of_an_open_store_alone(tmp_path: Path) -> None:
    """Closing a file drops what the process has locked in it: another handle is not looked at, it joins."""
    async with Memory.open(tmp_path) as memory:
        await memory.remember("The kiln came from Utrecht.")
        async with Memory.open(tmp_path) as other:
            assert await other.count() == 1
        code = """
import fcntl, os, struct, sys
descriptor = os.open(sys.argv[1], os.O_RDWR)
# SQLite's shared lock, which every open store holds: 510 bytes from this place on
request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0x40000002, 510, 0)
print(struct.unpack("hhqqi4x", fcntl.fcntl(descriptor, fcntl.F_GETLK, request))[0] != fcntl.F_UNLCK)
"""
        command = [sys.executable, "-c", code, str(tmp_path / "umi.db")]
        held = await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, text=True)
        assert held.stdout == "True\n"


@pytest.mark.skipif(os.name != "posix", reason="the locks are those of POSIX")
async def test_a_late_failure_of_an_opening_is_told_by_every_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The folder's database turns out to be another program's only once the lock of writers is free."""
    holder = locked_by_another_process(tmp_path / "store")
    memory = Memory.open(tmp_path / "store")
    assert "being opened" in repr(memory)
    with sqlite3.connect(tmp_path / "store" / "umi.db") as foreign:
        foreign.execute("CREATE TABLE recipes (id INTEGER)")
    foreign.close()
    let_go(holder)
    for use in (memory.count, memory.__aenter__, memory.close):
        with pytest.raises(umi.StoreVersionError, match="another program"):
            await use()
    for blocking in (memory.count_sync, memory.__enter__, memory.core.render, lambda: memory.path):
        with pytest.raises(umi.StoreVersionError, match="another program"):
            blocking()
    assert "could not be opened" in repr(memory)
    assert any("could not be opened" in record.getMessage() for record in caplog.records)


async def test_opening_from_a_thread_waits(tmp_path: Path) -> None:
    """Where no loop runs in the caller's thread, an opening has ended when `open` returns."""
    memory = await asyncio.to_thread(Memory.open, tmp_path)
    assert str(tmp_path) in repr(memory)
    await memory.close()
