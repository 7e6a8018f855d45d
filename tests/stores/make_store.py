"""Makes the store that is committed for a schema version: `python tests/stores/make_store.py FOLDER`.

Run it once, with the build that introduces a version, and commit the folder; a test then opens a copy of each with
every later build. It writes every kind of row, at fixed times, with the bundled embedder; from version 3 on a saved
context too, one of whose files is gone (give a folder of /tmp, so that its path says nothing of the machine).
"""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from umi import Context, Entity, ManualClock, Memory, Url

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
TURNS = [
    "The kiln came from Utrecht.",
    "Ünïcödé 🏺 and \x00 NUL",
    "A long story. " + "It went on and on, about kilns. " * 100,
]
HOMES = ["Rome", "Porto", "Lisbon"]
# the smallest image that there is: one grey pixel
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c636800000082008177cd72b60000000049454e44ae426082"
)
TABLE = b"kiln,degrees\nbig,1280\n"


def context_in(folder: Path) -> Context:
    """A context with an item of every source, one of them a file in `folder`."""
    (folder / "note.txt").write_text("The glaze is celadon.")
    context = Context(session_id="trip")
    context.add("You are a potter.", role="system", metadata={"z": 2**70, "a": [None, {"ü": 1.5}]})
    context.add(folder / "note.txt")
    context.add(PNG, media_type="image/png", metadata={"note": "a pale kiln in the yard"})
    context.add(TABLE, media_type="text/csv")
    context.add(Url("https://example.com/a.png"))
    return context


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
        memory.remember_context_sync(context_in(folder.parent), user="carol")
    context = context_in(folder.parent)
    context.save(folder, user="carol")
    (folder.parent / "note.txt").unlink()
    for name in ("umi.lock", "umi.queue"):
        (folder / name).unlink()


if __name__ == "__main__":
    make(Path(sys.argv[1]))
