"""The driver of `make torture`: every torture in its long form, within a bound of minutes, each in its own process.

First the modules of this folder that have a `run`, one at a time, because some measure shares; then the simulation;
the fuzz targets last. A step that does not fit any more is skipped and said, and the end is an error then.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from torture._child import ROOT

SIMULATED_SEEDS = 2_000
FUZZ_SECONDS = 600  # of each target
FUZZ_AT_ONCE = (2, 3, 4)
FUZZ_TARGETS = sorted((ROOT / "fuzz" / "src" / "bin").glob("*.rs"))
# The engine is optimised, and its own assertions stay.
SIMULATION = ["cargo", "test", "--locked", "--profile", "ci", "--config", "profile.ci.package.umi-core.opt-level=2"]
SIMULATION += ["-p", "umi-core", "--test", "sim"]
BUILD_SECONDS = 200  # of the simulation, of the targets
LAST_LINES = 12


@dataclass
class Step:
    """Something to run in a process of its own, and how many seconds of the bound it must find left."""

    name: str
    command: list[str]
    seconds: int
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """What became of a step."""

    name: str
    verdict: str
    seconds: float = 0.0
    counts: str = ""


def modules() -> list[str]:
    """The tortures of this folder, by name: the modules that have a `run`, without this one."""
    names = [found.name for found in pkgutil.iter_modules([str(Path(__file__).parent)])]
    candidates = [name for name in names if name != "run" and not name.startswith("_")]
    return [name for name in candidates if hasattr(importlib.import_module(f"torture.{name}"), "run")]


def steps(seed: int, *, long: bool) -> list[Step]:
    """All of them, in their order."""
    found = []
    for name in modules():
        command = [sys.executable, "-W", "error", "-m", "torture.run", "--step", name, "--seed", str(seed)]
        # How long a module needs is its own to say.
        needs = int(getattr(importlib.import_module(f"torture.{name}"), "LONG_RUN_SECONDS", 180))
        found.append(Step(name, command if long else [*command, "--short"], needs if long else 30))
    if long:
        found.append(Step("power", [*SIMULATION, "--", "--ignored", "--nocapture", "every_change"], 2 * BUILD_SECONDS))
    count = SIMULATED_SEEDS if long else 50
    found.append(
        Step(
            "simulation",
            # Not by nextest, which ends a test after two minutes.
            [*SIMULATION, "--", "--nocapture"],
            BUILD_SECONDS + count // 10,
            {"UMI_SIM_SEEDS": str(count), "UMI_SIM_FROM": str(seed)},
        )
    )
    if long:
        found.append(fuzzing(seed, FUZZ_AT_ONCE[0]))
    return found


def fuzzing(seed: int, at_once: int) -> Step:
    """Every fuzz target, so many of them at once."""
    command = [sys.executable, "fuzz/run.py", "--seconds", str(FUZZ_SECONDS), "--at-once", str(at_once)]
    rounds = -(-len(FUZZ_TARGETS) // at_once)
    return Step("fuzzing", [*command, "--seed", str(seed)], BUILD_SECONDS + rounds * FUZZ_SECONDS)


def fitting(step: Step, seed: int, left: float) -> Step:
    """The step itself, or fuzzing with more targets at once where two at a time would not fit any more."""
    if step.name != "fuzzing":
        return step
    choices = [fuzzing(seed, at_once) for at_once in FUZZ_AT_ONCE]
    return next((choice for choice in choices if choice.seconds <= left), choices[-1])


def run_module(name: str, seed: int, *, long: bool) -> None:
    """In a process of its own: runs one module and prints its counts as JSON."""
    with tempfile.TemporaryDirectory(prefix=f"umi-torture-{name}-") as folder:
        counts = importlib.import_module(f"torture.{name}").run(seed=seed, long=long, folder=Path(folder))
    print(json.dumps(counts))


def perform(step: Step, seconds: float) -> Outcome:
    """Runs a step, ends it and its children after so many seconds, and gives what became of it."""
    print(f"\n== {step.name}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            step.command,
            cwd=ROOT,
            env={**os.environ, **step.environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        took = time.monotonic() - began
        said = last_lines(output)
    counts = counted(said)
    if code == 0:
        print(f"passed in {took:.1f} s: {counts}", flush=True)
        return Outcome(step.name, "passed", took, counts)
    verdict = f"**failed** ({code})" if code is not None else f"**stopped** after {took:.0f} s"
    print(f"{verdict}\n" + "\n".join(said), flush=True)
    return Outcome(step.name, verdict, took, said[-1] if said else "")


def last_lines(output: IO[str]) -> list[str]:
    """The end of what a step said, without its colours."""
    output.seek(0)
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in output]
    return [line for line in lines if line.strip()][-LAST_LINES:]


def counted(said: list[str]) -> str:
    """The counts of a step: a module's own JSON, of others the last lines that hold a number."""
    if said and said[-1].startswith("{"):
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in json.loads(said[-1]).items())
    figures = [line.strip() for line in said if re.search(r"\d", line)]
    return "; ".join([line for line in figures if line.startswith(("fuzz ", "simulation:"))] or figures[-4:])


def machine() -> list[tuple[str, str]]:
    """What the figures were measured on."""
    cpu = re.search(r"model name\s*: (.*)", read("/proc/cpuinfo"))
    memory = re.search(r"MemTotal:\s*(\d+)", read("/proc/meminfo"))
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return [
        ("cores", str(os.cpu_count())),
        ("memory", f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "unknown"),
        ("kernel", f"{platform.system()} {platform.release()}"),
        ("processor", cpu[1] if cpu else platform.processor() or "unknown"),
        ("Python", platform.python_version()),
        ("revision", revision.stdout.strip() or "unknown"),
    ]


def read(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""


def report(outcomes: list[Outcome], seed: int, minutes: float, command: str) -> str:
    """A page of Markdown."""
    lines = [
        f"`{command}`, seed {seed}, {minutes:.1f} minutes:",
        "",
        "| step | outcome | seconds | counts |",
        "| --- | --- | --- | --- |",
    ]
    for outcome in outcomes:
        counts = outcome.counts.replace("|", "\\|")
        lines.append(f"| {outcome.name} | {outcome.verdict} | {outcome.seconds:.1f} | {counts} |")
    return "\n".join([*lines, "", ", ".join(f"{name} {value}" for name, value in machine()), ""])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m torture.run", description=__doc__)
    parser.add_argument("--seed", type=int, help="repeats a run; from the clock unless it is given, and printed")
    parser.add_argument("--only", nargs="+", metavar="STEP", help="only these steps")
    parser.add_argument("--short", action="store_true", help="what `make test` runs")
    parser.add_argument("--minutes", type=float, default=60.0, help="the bound of all steps together (60)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="writes the figures there, as Markdown")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Runs what was asked for. Gives 0 if all of it ran and passed."""
    asked = arguments()
    seed = asked.seed if asked.seed is not None else int(time.time())
    if asked.step is not None:
        run_module(asked.step, seed, long=not asked.short)
        return 0
    began = time.monotonic()
    planned = steps(seed, long=not asked.short)
    unknown = set(asked.only or ()) - {step.name for step in planned}
    if unknown:
        print(f"there is no step {', '.join(sorted(unknown))}; there are {', '.join(step.name for step in planned)}")
        return 2
    planned = [step for step in planned if not asked.only or step.name in asked.only]
    print(f"seed {seed}, at most {asked.minutes:g} minutes: {', '.join(step.name for step in planned)}", flush=True)
    outcomes = []
    for step in planned:
        left = asked.minutes * 60 - (time.monotonic() - began)
        step = fitting(step, seed, left)  # noqa: PLW2901 - the same step, as it fits
        if left < step.seconds:
            print(
                f"\n== {step.name}\nskipped: it needs {step.seconds} s, and {max(left, 0):.0f} s are left", flush=True
            )
            outcomes.append(Outcome(step.name, "**skipped**, there was no time"))
            continue
        outcomes.append(perform(step, left))
    minutes = (time.monotonic() - began) / 60
    page = report(outcomes, seed, minutes, "python -m torture.run " + " ".join(sys.argv[1:]))
    print(f"\n{page}")
    if asked.report is not None:
        asked.report.write_text(page)
    return 0 if all(outcome.verdict == "passed" for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
