"""`python -m umi check`: what it prints and its exit status, for every state of a store."""

from __future__ import annotations

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


INTERRUPTED = """
import os, signal, sys
from umi import Memory
from umi.__main__ import main
def check_sync(memory):
    os.kill(os.getpid(), signal.SIGINT)
Memory.check_sync = check_sync
sys.exit(main(sys.argv[1:]))
"""


def test_an_interrupt(sound: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED, "check", str(sound)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "error: interrupted\n")
