"""What the modules about memory and growth share: children that answer with figures, resident memory, latencies."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torture._child import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1024 * 1024

Figures = dict[str, int | float | str]


def in_child(module: str, order: dict[str, Any], timeout: float) -> Figures:
    """Runs `python -m MODULE` with an order of JSON and gives the figures that it prints as its last line."""
    command = [sys.executable, "-m", module, json.dumps(order)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{module} with {order}: {done.stderr[-4_000:]}"
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def answer(work: Callable[..., Figures]) -> None:
    """In a child: does the work of the order and prints its figures."""
    print(json.dumps(work(**json.loads(sys.argv[1]))))


def resident(name: str = "VmRSS") -> int:
    """Bytes of this process in memory (`VmRSS`), those that it took itself (`RssAnon`), or the most ever (`VmHWM`)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"/proc/self/status has no {name}")


class Growth:
    """The most resident memory over that of the beginning."""

    def __init__(self, name: str = "VmRSS") -> None:
        """Begins now, with what `/proc` calls `name`."""
        self.name = name
        self.before = resident(name)
        self.most = 0

    def look(self) -> int:
        """Looks again and gives the growth so far, in bytes."""
        self.most = max(self.most, resident(self.name) - self.before)
        return self.most


class Latencies:
    """Seconds of operations, in their order."""

    def __init__(self) -> None:
        """Begins without any."""
        self.seconds: list[float] = []

    def time(self, call: Callable[[], object]) -> None:
        """Times a call."""
        began = time.perf_counter()
        call()
        self.seconds.append(time.perf_counter() - began)

    def microseconds(self, share: float, tenth: int) -> float:
        """The quantile `share` of a tenth of the operations, 0 for the first one and 9 for the last."""
        count = len(self.seconds)
        part = sorted(self.seconds[count * tenth // 10 : count * (tenth + 1) // 10])
        return round(part[int(len(part) * share)] * 1e6, 1)

    def figures(self, name: str) -> Figures:
        """The median and the 95th percentile of the first and the last tenth, in microseconds."""
        return {
            f"{name}_p{round(share * 100)}_{which}_us": self.microseconds(share, tenth)
            for share in (0.5, 0.95)
            for which, tenth in (("first", 0), ("last", 9))
        }

    def assert_bounded(self, name: str, seed: int, times: float) -> None:
        """The last tenth takes at most so many times as long as the first one."""
        for share in (0.5, 0.95):
            first, last = self.microseconds(share, 0), self.microseconds(share, 9)
            assert last <= times * first, f"seed {seed}: {name} grew from {first} to {last} µs (quantile {share})"
