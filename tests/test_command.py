"""`python -m umi check`: what it prints and its exit status, for every state of a store."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from umi import Memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def umi_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "umi", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, in a folder whose name has to be quoted."""
    folder = tmp_path_factory.mktemp("sound") / "it's my store"
    with Memory.open(folder, user="alice") as memory:
        memory.remember_sync("The kiln came from Utrecht.")
    return folder


def test_one_problem_is_one(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / sound.name
    shutil.copytree(sound, folder)
    with sqlite3.connect(folder / "umi.db") as database:
        database.execute("UPDATE episodes SET role = ''")
    database.close()
    done = umi_command("check", folder)
    assert done.returncode == 1
    summary, command = done.stderr.splitlines()
    assert summary.startswith(f"`{folder}` has 1 problem in "), summary
    assert shlex.split(command)[-5:] == ["-m", "umi", "recover", str(folder), "NEW_FOLDER"]


@pytest.mark.parametrize("command", ["check", "backup"])
def test_damage_that_opening_finds(sound: Path, tmp_path: Path, command: str) -> None:
    folder = tmp_path / sound.name
    shutil.copytree(sound, folder)
    (folder / "umi.db").write_bytes(b"no database" * 1_000)
    done = umi_command(command, folder, *([tmp_path / "copy"] if command == "backup" else []))
    assert (done.returncode, done.stdout) == (1, "")
    error, hint = done.stderr.splitlines()
    assert error == f"error: `{folder / 'umi.db'}` is not a sound store: it is not a SQLite file"
    assert shlex.split(hint.split("`")[1])[-2:] == [str(folder), "NEW_FOLDER"]


@pytest.mark.parametrize("what", ["no folder", "an empty folder", "an empty file"])
@pytest.mark.parametrize("command", ["check", "backup"])
def test_what_is_no_store_stays_none(tmp_path: Path, command: str, what: str) -> None:
    folder = tmp_path / "store"
    if what != "no folder":
        folder.mkdir()
    if what == "an empty file":
        (folder / "umi.db").touch()
    before = sorted(tmp_path.rglob("*"))
    done = umi_command(command, folder, *([tmp_path / "copy"] if command == "backup" else []))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: there is no store in `{folder}`\nhint: ")
    assert sorted(tmp_path.rglob("*")) == before
    assert what != "an empty file" or (folder / "umi.db").stat().st_size == 0


def test_what_the_system_refuses(tmp_path: Path) -> None:
    (tmp_path / "umi.db").mkdir()
    done = umi_command("check", tmp_path)
    assert done.returncode == 2
    assert f"cannot open `{tmp_path / 'umi.db'}`: is a directory" in done.stderr


LEFT_OPEN = """
import os, sys
from umi import Memory
memory = Memory.open(sys.argv[1], user="alice")
for number in range(30):
    memory.remember_sync(f"turn {number}")
os._exit(0)
"""

COMMANDS = """
from umi.__main__ import main
tempfile.tempdir = sys.argv[2]
for command in (["check", sys.argv[1]], ["backup", sys.argv[1], sys.argv[3]]):
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        status = main(command)
    print(status, *errors.getvalue().splitlines(), sep="|")
print(os.listdir(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("what", "log"),
    [("file", "a log"), ("folder", "no log"), ("both", "a log"), ("mount", "no log"), ("mount", "a log")],
)
def test_a_store_that_may_only_be_read(
    public_path: Path, as_nobody: Callable[..., list[str]], give: Callable[..., None], what: str, log: str
) -> None:
    store, scratch = public_path / "it's read" / "store", public_path / "scratch"
    scratch.mkdir()
    store.parent.mkdir()
    mounted = ["mount", "-t", "tmpfs", "tmpfs", str(store.parent)]
    if what == "mount" and (os.geteuid() or subprocess.run(mounted, capture_output=True, check=False).returncode):
        pytest.skip("no file system can be mounted here")
    try:
        subprocess.run([sys.executable, "-c", LEFT_OPEN, str(store)], check=True, timeout=50)
        if log == "no log":
            Memory.open(store).close_sync()
        for path in store.iterdir():
            if path.name not in {"umi.db", "umi.db-wal"}:
                path.unlink()
        assert (store / "umi.db-wal").exists() == (log == "a log")
        give(scratch, store, *store.iterdir())
        if what in {"file", "both"}:
            (store / "umi.db").chmod(0o444)
        if what in {"folder", "both"}:
            store.chmod(0o555)
        if what == "mount":
            subprocess.run(["mount", "-o", "remount,ro", str(store.parent)], check=True)
        before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in store.iterdir()}
        lines = as_nobody(COMMANDS, store, scratch, scratch / "copy")
        assert lines[0].startswith(f"`{store}` is sound: "), lines
        assert lines[1:] == ["0", f"`{scratch / 'copy'}` is a copy of `{store}`", "0", "['copy']"]
        assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in store.iterdir()} == before
    finally:
        if what == "mount":
            subprocess.run(["umount", str(store.parent)], check=True)
    with Memory.open(scratch / "copy", user="alice") as copy:
        assert {episode.text for episode in copy.episodes_sync()} == {f"turn {number}" for number in range(30)}


INTERRUPTED = """
import os, signal, sys
from umi import Memory
from umi.__main__ import main
def check_sync(memory):
    os.kill(os.getpid(), signal.SIGINT)
Memory.check_sync = check_sync
sys.exit(main(sys.argv[1:]))
"""


def test_damage_of_a_store_that_may_only_be_read(
    sound: Path, public_path: Path, as_nobody: Callable[..., list[str]], give: Callable[..., None]
) -> None:
    """It is told of the store, not of the copy that was looked at."""
    store, scratch = public_path / sound.name, public_path / "scratch"
    shutil.copytree(sound, store)
    scratch.mkdir()
    (store / "umi.db").write_bytes(b"no database" * 1_000)
    give(scratch, store, *store.iterdir())
    store.chmod(0o555)
    for line in as_nobody(COMMANDS, store, scratch, scratch / "copy")[:2]:
        status, error, hint = line.split("|")
        assert (status, error) == ("1", f"error: `{store / 'umi.db'}` is not a sound store: it is not a SQLite file")
        assert shlex.split(hint.split("`")[1])[-2:] == [str(store), "NEW_FOLDER"]


def test_an_interrupt(sound: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED, "check", str(sound)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "error: interrupted\n")
