"""Copies of a store in use."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

import umi
from umi import Memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WRITER = """
import sys
from umi import Memory
memory = Memory.open(sys.argv[1], user="alice")
number = 0
while True:
    memory.remember_sync(f"{sys.argv[2]} {number}")
    print(number, flush=True)
    number += 1
"""


def numbers_of(folder: Path, writer: str) -> list[int]:
    with Memory.open(folder, user="alice") as memory:
        texts: list[str] = []
        while page := memory.episodes_sync(limit=1000, offset=len(texts)):
            texts += [episode.text for episode in page]
        report = memory.check_sync()
        assert report["ok"], report["problems"]
    return sorted(int(text.split()[1]) for text in texts if text.startswith(f"{writer} "))


def test_a_copy_holds_what_was_acknowledged_before_it_and_is_a_prefix_of_the_feed(  # noqa: C901 - two writers
    tmp_path: Path,
) -> None:
    store = tmp_path / "store"
    acknowledged: dict[str, int] = {"process": -1, "thread": -1}
    with Memory.open(store, user="alice") as memory:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(store), "process"], stdout=subprocess.PIPE, text=True
        )
        stop, moved = threading.Event(), threading.Condition()

        def note(writer: str, number: int) -> None:
            with moved:
                acknowledged[writer] = number
                moved.notify_all()

        def listen() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                note("process", int(line))

        def write() -> None:
            number = 0
            while not stop.is_set():
                memory.remember_sync(f"thread {number}")
                note("thread", number)
                number += 1

        threads = [threading.Thread(target=listen), threading.Thread(target=write)]
        for thread in threads:
            thread.start()
        copies = []
        try:
            for number in range(6):
                with moved:
                    target = {writer: count + 5 for writer, count in acknowledged.items()}
                    while any(acknowledged[writer] < target[writer] for writer in target):
                        assert moved.wait(timeout=30)
                    before = dict(acknowledged)
                memory.backup_sync(tmp_path / f"copy {number}")
                copies.append((tmp_path / f"copy {number}", before))
        finally:
            process.kill()
            process.wait()
            stop.set()
            for thread in threads:
                thread.join()
            assert process.stdout is not None
            process.stdout.close()
    for folder, before in copies:
        assert [path.name for path in folder.iterdir()] == ["umi.db"]
        for writer, count in before.items():
            found = numbers_of(folder, writer)
            assert found == list(range(len(found))), "a prefix, without a gap"
            assert len(found) > count, "all that was acknowledged before"


def test_a_copy_is_its_owner_s_alone_and_a_store_of_its_own(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "store", user="alice") as memory:
        memory.remember_sync("kept")
        (tmp_path / "empty").mkdir(mode=0o700)
        for name in ("new/deep", "empty"):
            memory.backup_sync(tmp_path / name)
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700
            assert stat.S_IMODE((tmp_path / name / "umi.db").stat().st_mode) == 0o600
            with Memory.open(tmp_path / name, user="alice") as copy:
                copy.remember_sync("in the copy")
                assert copy.count_sync() == 2
        assert memory.count_sync() == 1
    with Memory.in_memory(user="alice") as memory:
        memory.remember_sync("kept")
        memory.backup_sync(tmp_path / "of memory")
    with Memory.open(tmp_path / "of memory", user="alice") as copy:
        assert copy.count_sync() == 1


def test_what_a_copy_must_not_overwrite_is_refused(tmp_path: Path) -> None:
    store, full = tmp_path / "store", tmp_path / "full"
    full.mkdir()
    (full / "file").write_text("kept")
    with Memory.open(store, user="alice") as memory:
        memory.remember_sync("kept")
        names = sorted(path.name for path in store.iterdir())
        for target, why in [
            (store, "in the store itself"),
            (store / "a" / "b", "in the store itself"),
            (full, "not empty"),
        ]:
            with pytest.raises(umi.InvalidInputError, match=why):
                memory.backup_sync(target)
        with pytest.raises(umi.StoreIOError) as caught:
            memory.backup_sync(full / "file")
        assert caught.value.errno == 20
        memory.backup_sync(tmp_path / "copy")
        with pytest.raises(umi.InvalidInputError, match="not empty"):
            memory.backup_sync(tmp_path / "copy")
        assert sorted(path.name for path in store.iterdir()) == names
    assert (full / "file").read_text() == "kept"


def test_a_copy_that_was_never_finished_is_no_store(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with Memory.open(tmp_path / "store", user="alice") as memory:
        memory.remember_sync("kept")
        memory.backup_sync(copy)
        # as a process leaves it that is killed meanwhile
        (copy / "unfinished").mkdir()
        (copy / "umi.db").rename(copy / "unfinished" / "umi.db")
        with pytest.raises(umi.CorruptStoreError, match="holds a copy that is not whole") as caught:
            Memory.open(copy)
        assert caught.value.hint is not None
        assert "make the copy again" in caught.value.hint
        assert [path.name for path in copy.iterdir()] == ["unfinished"]
        # one that became whole before its process ended is a store
        (copy / "unfinished" / "umi.db").rename(copy / "umi.db")
        with Memory.open(copy, user="alice") as whole:
            assert whole.count_sync() == 1


def test_of_copies_into_one_folder_at_once_none_is_lost(tmp_path: Path) -> None:
    async def several(memory: Memory, target: Path) -> list[BaseException | None]:
        return await asyncio.gather(*(memory.backup(target) for _ in range(3)), return_exceptions=True)

    with Memory.open(tmp_path / "store", user="alice") as memory:
        memory.remember_many_sync(f"turn {number}" for number in range(300))
        for number in range(8):
            target = tmp_path / str(number)
            outcomes = asyncio.run(several(memory, target))
            assert outcomes.count(None) == 1, outcomes
            for refused in outcomes:
                assert refused is None or isinstance(refused, umi.InvalidInputError)
                assert refused is None or "is not empty" in str(refused) or "another copy" in str(refused)
            assert [path.name for path in target.iterdir()] == ["umi.db"]
    for number in range(8):
        assert numbers_of(tmp_path / str(number), "turn") == list(range(300))


def test_what_another_copy_left_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "copy" / "unfinished").mkdir(parents=True)
    (tmp_path / "copy" / "unfinished" / "umi.db").write_text("kept")
    with (
        Memory.open(tmp_path / "store", user="alice") as memory,
        pytest.raises(umi.InvalidInputError, match="another copy is being made, or was left unfinished") as caught,
    ):
        memory.backup_sync(tmp_path / "copy")
    assert "delete the folder" in str(caught.value)
    assert (tmp_path / "copy" / "unfinished" / "umi.db").read_text() == "kept"


def test_damage_is_not_copied(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with Memory.open(store, user="alice") as memory:
        memory.remember_many_sync(f"turn {number} about clay" for number in range(2_000))
    data = bytearray((store / "umi.db").read_bytes())
    page = next(
        start
        for start in range(4096 * 100, len(data), 4096)
        if data[start] == 13 and b"about clay" in data[start : start + 4096]
    )
    data[page : page + 4096] = bytes(4096)
    (store / "umi.db").write_bytes(data)
    with Memory.open(store, user="alice") as memory:
        with pytest.raises(umi.CorruptStoreError, match="is not a sound store") as caught:
            memory.backup_sync(tmp_path / "copy")
        assert caught.value.filename == str(store / "umi.db")
        assert f"recover {store} NEW_FOLDER" in str(caught.value)
    assert not (tmp_path / "copy").exists()


LIMITED = """
import os, resource, signal, sys
import umi
from umi import Memory
with Memory.open(sys.argv[1], user="alice") as memory:
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, resource.RLIM_INFINITY))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        memory.backup_sync(sys.argv[2])
    except umi.StoreIOError as error:
        print("refused", error.errno, error.filename, error.hint, repr(error.__cause__))
    print(os.path.exists(sys.argv[2]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    memory.backup_sync(sys.argv[2])
with Memory.open(sys.argv[2], user="alice") as memory:
    print(memory.count_sync(), memory.check_sync()["ok"])
"""


def test_a_copy_that_does_not_fit_leaves_nothing_and_can_be_made_again(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "store", user="alice") as memory:
        memory.remember_many_sync(f"turn {number}" for number in range(100))
    command = [sys.executable, "-W", "error", "-c", LIMITED, str(tmp_path / "store"), str(tmp_path / "copy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    refused, is_there, count = done.stdout.splitlines()
    assert refused.startswith("refused ")
    assert str(tmp_path / "copy") in refused
    assert (is_there, count) == ("False", "100 True")


def test_a_copy_without_permission(public_path: Path, as_nobody: Callable[..., list[str]]) -> None:
    closed = public_path / "closed"
    closed.mkdir(mode=0o755)
    if os.geteuid() != 0:
        closed.chmod(0o555)
    code = """
with umi.Memory.in_memory() as memory:
    try:
        memory.backup_sync(sys.argv[1] + "/copy")
    except umi.StoreIOError as error:
        print(error.errno, error.filename, type(error.__cause__).__name__)
"""
    assert as_nobody(code, closed) == [f"13 {closed}/copy PermissionError"]
    assert list(closed.iterdir()) == []
