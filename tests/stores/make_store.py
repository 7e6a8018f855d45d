"""Makes the store that is committed for a schema version: `python tests/stores/make_store.py FOLDER`.

Run it once, with the build that introduces a version, and commit the folder; a test then opens a copy of each with
every later build. It writes every kind of row, at fixed times, with the bundled embedder.
"""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from umi import Entity, ManualClock, Memory

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
TURNS = [
    "The kiln came from Utrecht.",
    "Ünïcödé 🏺 and \x00 NUL",
    "A long story. " + "It went on and on, about kilns. " * 100,
]
HOMES = ["Rome", "Porto", "Lisbon"]


def make(folder: Path) -> None:
    """Makes the store."""
    clock = ManualClock(START)
    with Memory.open(folder, user="alice", agent="guide", session="first", clock=clock) as memory:
        for number, text in enumerate(TURNS):
            memory.remember_sync(
                text, role="assistant", name="Ana", metadata={"n": number}, source="urn:x", key=f"key-{number}"
            )
            clock.advance(timedelta(minutes=1))
        memory.remember_sync("Of nobody in particular.", user="bob")
        for home in HOMES:
            memory.add_entity_sync(Entity("person", "Ana", home, attribute="home", metadata={"is": home}, source="me"))
            clock.advance(timedelta(days=1))
        memory.update_sync(memory.list_sync()[0].id, content="Faro")
        clock.advance(timedelta(days=1))
        memory.add_entity_sync(Entity("project", "Kiln", "is being built", importance=0.9))
        memory.forget_sync(memory.remember_sync("to be forgotten").episode_ids[0])
        memory.core.set_block("human", "Prefers concise answers.")
        memory.core.set_block("human", "Prefers very concise answers.", label="style", importance=0.75)
        memory.core.set_block("scratch", "removed")
        memory.core.remove_block("scratch")
        memory.working.set("for ever", b"\x00\xff", math.inf)
        memory.working.incr("count", 41)
        memory.purge_sync()
    for name in ("umi.lock", "umi.queue"):
        (folder / name).unlink()


if __name__ == "__main__":
    make(Path(sys.argv[1]))
