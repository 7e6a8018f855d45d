"""What was survived is told to the logger `umi`."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from umi import CallableEmbeddingProvider, Memory


def down(_texts: list[str]) -> list[list[float]]:
    """An embedding service that is out of order."""
    raise ConnectionError("no route to the embedding service")


def test_a_survived_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A query that could not be embedded leaves a warning with its reason, and none of the query's words."""
    embedder = CallableEmbeddingProvider(down, dimensions=3, name="down")
    with caplog.at_level(logging.WARNING, logger="umi"), Memory.in_memory(embedder=embedder) as memory:
        memory.remember_sync("a secret word")
        memory.recall_sync("another secret word")
    records = [record for record in caplog.records if record.name.startswith("umi")]
    assert any(record.levelno == logging.WARNING and "could not be embedded" in record.message for record in records)
    assert not any("secret" in record.getMessage() for record in records)


def test_the_library_is_silent_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a handler of the application nothing is printed."""
    with Memory.in_memory():
        assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("umi").handlers)
    assert capsys.readouterr() == ("", "")


BROKEN = """
import logging, os, sys, threading
from umi import CallableEmbeddingProvider, Memory, RememberOptions
def down(texts):
    raise ConnectionError("no route")
def opened():
    return Memory.in_memory(embedder=CallableEmbeddingProvider(down, dimensions=2, name="down"))
logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format="%(process)d %(name)s %(levelname)s")
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", BROKEN + code], capture_output=True, text=True, timeout=50, check=False
    )


def test_the_end_of_the_interpreter_while_things_are_logged() -> None:
    """Threads log without end when the main thread ends, and a handler's stream is closed by then."""
    done = run("""
memories = [opened() for _ in range(4)]
begun = threading.Barrier(5)
def fail(memory):
    memory.recall_sync("kiln")
    begun.wait()
    while True:
        try:
            memory.recall_sync("kiln")
        except Exception:
            return
for memory in memories:
    threading.Thread(target=fail, args=(memory,), daemon=True).start()
    memory.remember_sync("left to the background", RememberOptions(wait="durable"))
begun.wait(30)
""")
    assert (done.returncode, done.stderr) == (0, "")
    assert "WARNING" in done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_logs() -> None:
    """The parent has logged before the fork and logs after it; the child logs what it survives itself."""
    done = run("""
memory = opened()
memory.recall_sync("kiln")
sys.stdout.flush()
child = os.fork()
if child == 0:
    with opened() as own:
        own.recall_sync("kiln")
    sys.stdout.flush()
    os._exit(0)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
memory.recall_sync("kiln")
""")
    assert (done.returncode, done.stderr) == (0, "")
    writers = [line.split()[0] for line in done.stdout.splitlines() if line.endswith("umi.memory WARNING")]
    assert len(writers) == 3
    assert writers[0] == writers[2] != writers[1]
