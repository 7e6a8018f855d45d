"""The table at the end of a measurement: figures in readable units, beside their budgets."""

import math
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import umi

Unit = Literal["s", "bytes", "times", "turns/s"]


@dataclass(frozen=True)
class Budget:
    """What an operation may cost: the most, or the least where more is better, of its median or of its best."""

    limit: float
    unit: Unit = "s"
    at_least: bool = False
    or_else: str = ""  # what excuses more, in words
    of_best: bool = False  # where it was set beside the best run of a peer

    def __str__(self) -> str:
        words = f"{'≥' if self.at_least else '≤'} {shown(self.limit, self.unit)} {self.or_else}".rstrip()
        return f"{words}, at best" if self.of_best else words

    def holds(self, measured: float) -> bool:
        """Tell whether what was measured is within the budget."""
        return measured >= self.limit if self.at_least else measured <= self.limit


@dataclass
class Report:
    """Figures in the order of their measurement; each is printed when it is there."""

    budgets: Mapping[str, Budget]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    medians: dict[str, float] = field(default_factory=dict)

    def add(self, operation: str, samples: Sequence[float], unit: Unit = "s", *, is_excused: bool = False) -> None:
        """Take the samples of one operation; a budget of that name is compared with them, unless excused."""
        budget = self.budgets.get(operation)
        median = statistics.median(samples)
        best_first = sorted(samples, reverse=budget is not None and budget.at_least)
        tail = shown(best_first[math.ceil(0.95 * len(samples)) - 1], unit) if len(samples) >= 5 else ""
        compared = best_first[0] if budget is not None and budget.of_best else median
        within = "" if budget is None else "yes" if is_excused or budget.holds(compared) else "**no**"
        if within == "**no**":
            self.missed.append(operation)
        self.medians[operation] = median
        best = shown(best_first[0], unit) if len(samples) > 1 else ""
        self.rows.append((operation, "" if budget is None else str(budget), best, shown(median, unit), tail, within))
        print("  ".join(cell for cell in self.rows[-1] if cell), flush=True)

    def end(self) -> None:
        """Print the table and the machine; say what is over its budget or was never measured."""
        header = ("operation", "budget", "best", "p50", "p95", "within?")
        print()
        for row in (header, tuple("---" for _ in header), *self.rows):
            print(f"| {' | '.join(row)} |")
        print(f"\n{machine()}")
        self.missed += [f"{operation} (not measured)" for operation in self.budgets if operation not in self.medians]
        if self.missed:
            print(f"\nOver budget: {'; '.join(self.missed)}")


def run_bench(budgets: Mapping[str, Budget], measure: Callable[[Report, Path], None]) -> int:
    """Measure with stores in a folder of the project, print the table, and return 1 when something is over its budget.

    With `--no-fail` on the command line it returns 0 then, too.
    """
    report = Report(budgets)
    stores = Path(__file__).parent.parent / ".cache"
    stores.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=stores) as name:
        folder = Path(name)
        print(f"umi from {umi.__file__}\nstores on {file_system(folder)}\n")
        measure(report, folder)
    report.end()
    return int(bool(report.missed)) if "--no-fail" not in sys.argv[1:] else 0


def shown(value: float, unit: Unit) -> str:
    """Give a value with three digits, in the unit that suits its size."""
    match unit:
        case "s":
            scale, name = next(
                ((scale, name) for scale, name in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")) if value >= scale),
                (1e-9, "ns"),
            )
            return f"{_digits(value / scale)} {name}"
        case "bytes":
            return f"{_digits(value / 1e6)} MB" if value >= 1e4 else f"{_digits(value)} B"
        case "times":
            return f"{_digits(value)} times"
        case "turns/s":
            return f"{value:,.0f} turns/s"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == round(value) else f"{value:.3g}"


def machine() -> str:
    """Describe what was measured on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{average:.2f}" for average in os.getloadavg())
    return (
        f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()} ({sys.implementation.name}); load average at the end: {load}"
    )


def file_system(folder: Path) -> str:
    """Name the type and device of the file system that holds `folder`."""
    mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    holders = [(mount, kind, device) for device, mount, kind in mounts if folder.resolve().is_relative_to(mount)]
    mount, kind, device = max(holders, key=lambda holder: len(holder[0]))
    return f"{kind} on {device} ({mount})"
