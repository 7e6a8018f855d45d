"""What the multimodal context costs through its public Python API.

Run by `make bench`, in an environment that holds the optimised wheel; about half a minute. Prints a Markdown table and
exits with 1 when a median is over its budget (`--no-fail` to print only). With `--peer PYTHON`, an interpreter that has
the package `mm-ctx`, that is measured by the same script, in turns with ours; it takes minutes more.
"""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from report import Budget, Report, Unit, run_bench

ROUNDS = 3
SCRIPT = Path(__file__).with_name("context_script.py")

BUDGETS = {
    "`get(ref)`, str, 10,000 items": Budget(120e-9),
    "`get(ref)`, Path, over `pathlib.Path(str)`": Budget(500e-9),
    "`uuid7()`": Budget(400e-9),
    "`add(str)`": Budget(1e-6),
    "`add(PIL)`": Budget(1e-6),
    "`add(Path)`": Budget(8e-6),
    "`repr`, 10,000 items": Budget(1e-3),
    "`print_tree`, 10,000 items, to a file": Budget(15e-3),
    "miss, 10,000 items, unread": Budget(2e-6),
    "miss, 10,000 items, read": Budget(1e-3),
    "`remove(ref)`, 10,000 items": Budget(2e-6),
    "`to_md`, 1,000 Markdown files, first": Budget(150e-3),
    "`to_md`, 1,000 Markdown files, again": Budget(10e-3),
    "memory per Path item, 100,000, beside the path": Budget(120, "bytes"),
}


def measure(report: Report, folder: Path) -> None:
    make_files(folder)
    peer = sys.argv[sys.argv.index("--peer") + 1] if "--peer" in sys.argv else None
    ours, theirs = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for _ in range(ROUNDS):
        collect(ours, sys.executable, "umi", folder)
        if peer is not None:
            collect(theirs, peer, "mm", folder)
    for operation, samples in ours.items():
        unit: Unit = "bytes" if operation.startswith("memory") else "s"
        report.add(operation, samples, unit)
        if operation in theirs:
            report.add(f"{operation}: mm-ctx", theirs[operation], unit)


def make_files(folder: Path) -> None:
    """Make what is added: 10,000 and 100,000 names of images, and 1,000 notes."""
    for name, count in (("files", 10_000), ("many", 100_000)):
        for number in range(count):
            path = folder / name / (f"{number // 1_000}" if name == "many" else "") / f"{number}.jpg"
            if number % 1_000 == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (folder / "notes").mkdir()
    for number in range(1_000):
        text = f"# Note {number}\n\n" + f"What was said in meeting {number}. " * 50
        (folder / "notes" / f"{number}.md").write_text(text, encoding="utf-8")


def collect(samples: dict[str, list[float]], python: str, module: str, folder: Path) -> None:
    """Add the samples of one child; its home is below the folder, for a peer that writes into it."""
    environment = {**os.environ, "HOME": str(folder / "home")}
    command = [python, str(SCRIPT), module, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    for operation, found in json.loads(done.stdout).items():
        samples[operation].extend(found)


if __name__ == "__main__":
    sys.exit(run_bench(BUDGETS, measure))
