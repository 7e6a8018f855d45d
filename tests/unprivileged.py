"""Running code as a user who may not do everything, where the tests run as root."""

from __future__ import annotations

import os
import subprocess
import sys

NOBODY = 65534
# The interpreter itself may lie where only root may read: what is needed of it is imported before.
PROLOGUE = f"""
import logging, os, sys, traceback
import umi
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
"""


def run(code: str, *arguments: object) -> list[str]:
    """Runs code without root's rights and gives the lines that it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROLOGUE + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()


def give(*paths: os.PathLike[str]) -> None:
    """Makes files the property of the user that `run` becomes."""
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, NOBODY, NOBODY)
