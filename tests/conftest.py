"""What several tests share."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from umi import ManualClock, Memory

if TYPE_CHECKING:
    from collections.abc import Iterator

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


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
