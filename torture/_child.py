"""Children of a torture: started, spoken to in lines of JSON, killed."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any, Self

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 120.0
_END = object()


class Child:
    """A process of this interpreter that runs `python -m MODULE ARGUMENTS…` and speaks JSON, a line each way.

    Its standard error goes to a file, so that no pipe can fill; `problem()` reads it.
    """

    def __init__(self, module: str, *arguments: object, log: Path) -> None:
        """Starts it."""
        self._log = log
        with log.open("ab") as errors:
            self.process: subprocess.Popen[str] = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", module, *map(str, arguments)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._said: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def _listen(self) -> None:
        for line in _pipe(self.process.stdout):
            # A killed child may leave half a line: it was never said.
            if line.endswith("\n"):
                self._said.put(json.loads(line))
        self._said.put(_END)

    def tell(self, what: object) -> None:
        """Writes it a line."""
        pipe = _pipe(self.process.stdin)
        pipe.write(json.dumps(what) + "\n")
        pipe.flush()

    def hear(self, patience: float = PATIENCE_SECONDS) -> Any | None:
        """What it says next, or None once it has ended and all was heard."""
        try:
            said = self._said.get(timeout=patience)
        except queue.Empty:
            raise AssertionError(f"a child said nothing for {patience} s: {self.problem()}") from None
        if said is _END:
            self._said.put(_END)
            return None
        return said

    def ask(self, what: object) -> Any:
        """Tells it something and gives its answer."""
        self.tell(what)
        answer = self.hear()
        assert answer is not None, f"a child ended early: {self.problem()}"
        return answer

    def kill(self) -> None:
        """Ends it by SIGKILL, wherever it is."""
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

    def end(self) -> None:
        """Waits for its end, which must be a good one."""
        _pipe(self.process.stdin).close()
        code = self.process.wait(PATIENCE_SECONDS)
        assert code == 0, f"a child ended with {code}: {self.problem()}"
        assert self.problem() == "", f"a child complained: {self.problem()}"

    def problem(self) -> str:
        """The end of what it wrote to its standard error."""
        return self._log.read_text(errors="replace")[-4_000:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.process.poll() is None:
            self.kill()
        self._reader.join(PATIENCE_SECONDS)
        for pipe in (self.process.stdin, self.process.stdout):
            _close(_pipe(pipe))


def _close(pipe: IO[str]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:
        return  # what was not sent goes with the child


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def say(what: object) -> None:
    """In a child: says a line to the parent, in one write, so that a kill leaves all of it or none."""
    os.write(1, (json.dumps(what) + "\n").encode())


def listen() -> Any:
    """In a child: the parent's next line."""
    line = sys.stdin.readline()
    if not line:
        raise SystemExit(0)
    return json.loads(line)


def letters(number: int) -> str:
    """A number in letters, so that it is part of a word."""
    out = ""
    while True:
        number, digit = divmod(number, 20)
        out += "bcdfghjklmnpqrstvwxz"[digit]
        if not number:
            return out
