"""What several tests share."""

from __future__ import annotations

from datetime import UTC, datetime
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
