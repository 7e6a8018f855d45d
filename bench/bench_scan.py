"""What the scan of a folder of 10,000 files costs through its public Python API.

Run by `make bench`, in an environment that holds the optimised wheel. Prints a Markdown table and exits with 1 when a
median is over its budget (`--no-fail` to print only). With `--peer PYTHON`, an interpreter that has the package
`mm-ctx`, that is measured by the same script, in turns with ours.
"""

import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from report import Budget, Report, run_bench

ROUNDS = 3
SCRIPT = Path(__file__).with_name("scan_script.py")
FILES = 10_000

BUDGETS = {
    "scan": Budget(250e-3),
    "`filter(kind=, min_size=)`": Budget(20e-3),
    "`to_arrow()`": Budget(30e-3),
    "`sql`, first": Budget(150e-3),
    "`sql`, again": Budget(15e-3),
    "`grep`": Budget(500e-3),
    "`files`": Budget(10e-3),
}


def measure(report: Report, folder: Path) -> None:
    make_files(folder / "tree")
    peer = sys.argv[sys.argv.index("--peer") + 1] if "--peer" in sys.argv else None
    ours, theirs = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for _ in range(ROUNDS):
        collect(ours, sys.executable, "umi", folder)
        if peer is not None:
            collect(theirs, peer, "mm", folder)
    for operation, samples in ours.items():
        report.add(operation, samples)
        if operation in theirs:
            report.add(f"{operation}: mm-ctx", theirs[operation])


def make_files(folder: Path) -> None:
    """Make files of several kinds in 100 folders, every hundredth with a word that is searched for."""
    chance = random.Random(7)
    for number in range(FILES):
        extension = ("py", "md", "json", "toml", "txt", "bin", "rs", "csv")[number % 8]
        path = folder / f"{number % 10}" / f"{number % 100}" / f"{number}.{extension}"
        if number < 100:
            path.parent.mkdir(parents=True, exist_ok=True)
        text = "x = 1\n" * chance.randrange(400) + ("needle\n" if number % 100 == 0 else "")
        path.write_bytes(b"\0" * 100 if extension == "bin" else text.encode())


def collect(samples: dict[str, list[float]], python: str, module: str, folder: Path) -> None:
    """Add the samples of one child; its home is below the folder, for a peer that writes into it."""
    environment = {**os.environ, "HOME": str(folder / "home")}
    command = [python, str(SCRIPT), module, str(folder / "tree")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    for operation, found in json.loads(done.stdout).items():
        samples[operation].extend(found)


if __name__ == "__main__":
    sys.exit(run_bench(BUDGETS, measure))
