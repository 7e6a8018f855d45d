"""Every torture in its short form, with a seed that stays; `make torture` runs the long ones, with seeds of the day."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from torture import run as driver
from torture._child import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SEED = 4


@pytest.mark.timeout(240)  # seconds on an idle machine; it is a bound and no measure
@pytest.mark.parametrize("name", driver.modules())
def test_torture(name: str, tmp_path: Path) -> None:
    """What fails says its seed: `python -m torture.run --short --only NAME --seed SEED` repeats it."""
    counts = importlib.import_module(f"torture.{name}").run(seed=SEED, long=False, folder=tmp_path)
    assert counts


def drive(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "torture.run", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_driver_prints_seed_and_counts(tmp_path: Path) -> None:
    page = tmp_path / "report.md"
    done = drive("--short", "--only", "forks", "--seed", "7", "--report", str(page))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("seed 7, at most 60 minutes: forks\n")
    assert "| forks | passed |" in page.read_text()
    assert "children 4" in page.read_text()


def test_a_step_that_does_not_fit_is_said_and_fails() -> None:
    done = drive("--short", "--only", "forks", "--minutes", "0.1")
    assert done.returncode == 1
    assert "skipped: it needs" in done.stdout
    assert "| forks | **skipped**" in done.stdout


def test_a_step_that_takes_too_long_is_ended(capfd: pytest.CaptureFixture[str]) -> None:
    step = driver.Step("endless", [sys.executable, "-c", "import time; print('began', flush=True); time.sleep(60)"], 1)
    outcome = driver.perform(step, 1.0)
    assert outcome.verdict.startswith("**stopped**")
    assert "began" in capfd.readouterr().out


def test_a_failing_step_says_what_it_said_last() -> None:
    step = driver.Step("failing", [sys.executable, "-c", "raise AssertionError('seed 3: a row is lost')"], 1)
    outcome = driver.perform(step, 30.0)
    assert outcome.verdict == "**failed** (1)"
    assert outcome.counts == "AssertionError: seed 3: a row is lost"


def test_fuzzing_takes_more_targets_at_once_where_time_is_short() -> None:
    step = driver.fuzzing(3, 2)
    assert driver.fitting(step, 3, step.seconds) == step
    assert driver.fitting(step, 3, step.seconds - 1).seconds < step.seconds
    other = driver.Step("kills", [], 9)
    assert driver.fitting(other, 3, 1.0) is other
