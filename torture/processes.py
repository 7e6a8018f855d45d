"""Several processes write and read one store at once.

No error reaches a caller, no row is missing or doubled, none starves, each finds what the others wrote as soon as it
was acknowledged, and none returns what another has forgotten. Two more open and close the store beside them.

Every process writes what it is about to do and what was acknowledged into a log of its own, and reads the logs of all
before and after each of its reads: what was acknowledged before a read began must be in it, unless somebody has begun
to forget it; what was forgotten before it began must not.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

from torture._child import Child, letters, listen, say
from umi import Memory

SHORT_SECONDS, LONG_SECONDS = 3.0, 20.0
WRITERS, VISITORS = 4, 2
# Of the mean, at least, for the slowest. Three seconds of a machine that does other things as well tell only whether
# somebody starves.
SHORT_SHARE, LONG_SHARE = 0.2, 0.5
USER = "alice"
PAGE = 1_000


class Logs:
    """What every process has said so far."""

    def __init__(self, folder: Path) -> None:
        self.files = [(folder / f"log-{number}").open("rb") for number in range(WRITERS)]
        self.halves = [b""] * WRITERS
        self.rows: dict[str, str] = {}
        self.order: list[str] = []
        self.forgetting: set[str] = set()
        self.forgotten: set[str] = set()
        self.set = [0] * WRITERS
        self.setting = [0] * WRITERS
        self.increments = 0

    def read(self) -> None:
        """Takes what was added."""
        for number, file in enumerate(self.files):
            lines = (self.halves[number] + file.read()).split(b"\n")
            self.halves[number] = lines.pop()
            for line in lines:
                self.take(number, json.loads(line))

    def take(self, number: int, line: list[Any]) -> None:
        match line:
            case ["row", id, text]:
                self.rows[id] = text
                self.order.append(id)
            case ["forgetting", id]:
                self.forgetting.add(id)
            case ["forgot", id]:
                self.forgotten.add(id)
            case ["setting", value]:
                self.setting[number] = value
            case ["set", value]:
                self.set[number] = value
            case ["increment"]:
                self.increments += 1

    def close(self) -> None:
        for file in self.files:
            file.close()


class Worker:
    """One of the processes that write and read."""

    def __init__(self, number: int, seed: int, store: Path, folder: Path) -> None:
        self.number, self.store = number, store
        self.random = random.Random(seed * 100 + number)
        self.texts = (f"Process{letters(number)} wrote Word{letters(seed)}x{letters(n)} today." for n in count())
        self.log = os.open(folder / f"log-{number}", os.O_WRONLY | os.O_APPEND)
        self.logs = Logs(folder)
        self.figures = dict.fromkeys(("rows", "recalls", "forgotten", "edits", "longest_call_ms"), 0)

    def note(self, *line: object) -> None:
        os.write(self.log, (json.dumps(line) + "\n").encode())

    def run(self) -> None:
        with Memory.open(self.store, user=USER) as memory:
            memory.count_sync()
            say("ready")
            end = time.monotonic() + listen()
            for turn in count():
                if time.monotonic() >= end:
                    break
                began = time.monotonic()
                self.turn(memory, turn)
                self.figures["longest_call_ms"] = max(
                    self.figures["longest_call_ms"], int((time.monotonic() - began) * 1_000)
                )
        self.logs.close()
        os.close(self.log)
        say(self.figures)

    def turn(self, memory: Memory, turn: int) -> None:
        """One write, and now and then a read, a forgetting, an edit."""
        if turn % 16 == 5:
            batch = [next(self.texts) for _ in range(8)]
            ids = [result.episode_ids[0] for result in memory.remember_many_sync(batch)]
            for id, text in zip(ids, batch, strict=True):
                self.note("row", id, text)
            self.figures["rows"] += len(batch)
        else:
            text = next(self.texts)
            self.note("row", memory.remember_sync(text).episode_ids[0], text)
            self.figures["rows"] += 1
        if turn % 4 == 0:
            self.read(memory)
        if turn % 6 == 0:
            self.forget(memory)
        if turn % 8 == 0:
            self.edit(memory, turn // 8 + 1)

    def read(self, memory: Memory) -> None:
        """Recalls the newest rows of all, and one that was forgotten."""
        logs = self.logs
        logs.read()
        known = [id for id in logs.order[-12:] if id not in logs.forgetting]
        wanted = self.random.choice(known) if known else None
        gone = set(logs.forgotten)
        before = list(logs.set)
        hits, there = [], None
        if wanted is not None:
            hits = [hit.id for hit in memory.recall_sync(logs.rows[wanted])]
            there = memory.get_sync(wanted)
        lost = self.random.choice(sorted(gone)) if gone else None
        back = []
        if lost is not None:
            back = [hit.id for hit in memory.recall_sync(logs.rows[lost])]
            assert memory.get_sync(lost) is None, "get() returns a forgotten row"
        owner = self.random.randrange(WRITERS)
        shared = memory.scoped(agent=f"agent-{owner}")
        value = int(shared.working.get("counter") or b"0")
        block = int(shared.core.get_block("scratch") or "0")
        logs.read()
        assert not gone & {*hits, *back}, "recall returns a row that was forgotten before it began"
        if wanted is not None and wanted not in logs.forgetting:
            assert wanted in hits, f"recall does not find `{logs.rows[wanted]}`, which was acknowledged before"
            assert there is not None, "get() does not find a row that was acknowledged before"
        for what, seen in (("working", value), ("core", block)):
            assert before[owner] <= seen <= logs.setting[owner], (
                f"{what} memory has {seen}, {before[owner]} was acknowledged and {logs.setting[owner]} begun"
            )
        self.figures["recalls"] += (wanted is not None) + (lost is not None)

    def forget(self, memory: Memory) -> None:
        """Forgets any process's row; another may be at it as well."""
        self.logs.read()
        known = [id for id in self.logs.order[-60:] if id not in self.logs.forgetting]
        if known:
            id = self.random.choice(known)
            self.note("forgetting", id)
            self.figures["forgotten"] += memory.forget_sync(id)
            self.note("forgot", id)

    def edit(self, memory: Memory, value: int) -> None:
        """Edits what belongs to this process, and counts where all of them count."""
        own = memory.scoped(agent=f"agent-{self.number}")
        self.note("setting", value)
        own.working.set("counter", str(value).encode())
        own.core.set_block("scratch", str(value))
        self.note("set", value)
        memory.working.incr("all")
        self.note("increment")
        self.figures["edits"] += 3


def visit(store: Path) -> None:
    """Opens the store, reads, writes a row and closes it, again and again."""
    say("ready")
    end = time.monotonic() + listen()
    visits = 0
    while time.monotonic() < end:
        with Memory.open(store, user="visitor") as memory:
            memory.remember_sync(f"Visit {visits} of {os.getpid()}")
            assert memory.recall_sync(f"Visit {visits} of {os.getpid()}"), "a visitor does not find its own row"
        visits += 1
    say({"visits": visits})


def run(*, seed: int, long: bool, folder: Path) -> dict[str, int | float | str]:
    """Lets four processes at one store, and two that come and go; see the module."""
    seconds = LONG_SECONDS if long else SHORT_SECONDS
    store = folder / "store"
    for number in range(WRITERS):
        (folder / f"log-{number}").touch()
    children = [
        Child("torture.processes", "work", store, number, seed, folder, log=folder / f"errors-{number}")
        for number in range(WRITERS)
    ] + [Child("torture.processes", "visit", store, log=folder / f"visitor-{n}") for n in range(VISITORS)]
    try:
        for child in children:
            assert child.hear() == "ready", f"seed {seed}: {child.problem()}"
        for child in children:
            child.tell(seconds)
        said = []
        for child in children:
            figures = child.hear(seconds * 10 + 60)
            assert figures is not None, f"seed {seed}: an error reached a caller: {child.problem()}"
            child.end()
            said.append(figures)
    finally:
        for child in children:
            child.__exit__()
    workers, visitors = said[:WRITERS], said[WRITERS:]
    rows = [worker["rows"] for worker in workers]
    slowest = min(rows) / (sum(rows) / WRITERS)
    visits = sum(visitor["visits"] for visitor in visitors)
    verify(seed, store, folder, visits)
    assert slowest >= (LONG_SHARE if long else SHORT_SHARE), (
        f"seed {seed}: the slowest has {slowest:.2f} of its share: {rows}"
    )
    assert min(visitor["visits"] for visitor in visitors) > 0, f"seed {seed}: a visitor starved"
    return {
        "seconds": seconds,
        **{figure: sum(worker[figure] for worker in workers) for figure in ("rows", "recalls", "forgotten", "edits")},
        "rows_of_each": " ".join(map(str, rows)),
        "slowest_share": round(slowest, 3),
        "longest_call_ms": max(worker["longest_call_ms"] for worker in workers),
        "visits": visits,
    }


def verify(seed: int, store: Path, folder: Path, visits: int) -> None:
    """Holds the store to what all processes have logged."""
    logs = Logs(folder)
    logs.read()
    logs.close()
    with Memory.open(store, user=USER) as memory:
        found = [
            (episode.id, episode.text)
            for offset in range(0, len(logs.rows) + PAGE, PAGE)
            for episode in memory.episodes_sync(limit=PAGE, offset=offset)
        ]
        wanted = {id: text for id, text in logs.rows.items() if id not in logs.forgotten}
        assert len(found) == len({text for _, text in found}), f"seed {seed}: a row is there twice"
        assert dict(found) == wanted, (
            f"seed {seed}: {len(wanted.keys() - dict(found).keys())} rows are missing, "
            f"{len(dict(found).keys() - wanted.keys())} were not acknowledged or are forgotten"
        )
        total = int(memory.working.get("all") or b"0")
        assert total == logs.increments, f"seed {seed}: {logs.increments} increments amount to {total}"
        assert memory.count_sync(user="visitor") == visits, f"seed {seed}: a visitor's row is missing"
        report = memory.check_sync()
        assert report["ok"], f"seed {seed}: {report['problems']}"


if __name__ == "__main__":
    if sys.argv[1] == "work":
        _, _, store, number, seed, folder = sys.argv
        Worker(int(number), int(seed), Path(store), Path(folder)).run()
    else:
        visit(Path(sys.argv[2]))
