"""What several tests share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from umi import ManualClock, Memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOBODY = 65534
# The interpreter itself may lie where only root may read: what is needed of it is imported before.
PROLOGUE = f"""
import contextlib, io, locale, logging, os, sys, tempfile, traceback
import umi
import umi.__main__
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
"""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def memory(clock: ManualClock) -> Iterator[Memory]:
    """A memory without a file, of the user alice, on a clock that stands."""
    with Memory.in_memory(user="alice", clock=clock) as memory:
        yield memory


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A folder that every user may enter, for children without root's rights."""
    folder = Path(tempfile.mkdtemp(prefix="umi-public-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def as_nobody() -> Callable[..., list[str]]:
    """Runs code, with arguments, as a user who may not do everything, and gives the lines that it prints."""

    def run(code: str, *arguments: object) -> list[str]:
        command = [sys.executable, "-W", "error", "-c", PROLOGUE + code, *map(str, arguments)]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, env=environment)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout.splitlines()

    return run


@pytest.fixture
def give() -> Callable[..., None]:
    """Makes files the property of the user that `as_nobody` becomes."""

    def give(*paths: Path) -> None:
        if os.geteuid() == 0:
            for path in paths:
                os.chown(path, NOBODY, NOBODY)

    return give
