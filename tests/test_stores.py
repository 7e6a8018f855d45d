"""Stores of every version that was ever released, and folders that two processes open at once."""

from __future__ import annotations

import runpy
import shutil
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import IO

import pytest

from umi import Context, ManualClock, Memory, Url

FOLDER = Path(__file__).parent / "stores"
STORES = sorted(FOLDER.glob("version-*"))
SCRIPT = runpy.run_path(str(FOLDER / "make_store.py"))
START, TURNS, HOMES, PNG, TABLE, make = (SCRIPT[name] for name in ("START", "TURNS", "HOMES", "PNG", "TABLE", "make"))

# Opens the folder once it is told to, and says how that went.
OPENER = """
import sys
from umi import Memory
print("ready", flush=True)
sys.stdin.readline()
memory = Memory.open(sys.argv[1], user="alice")
memory.remember_sync(f"opened by {sys.argv[2]}")
print("opened", flush=True)
sys.stdin.readline()
memory.close_sync()
"""


class Opener:
    """A process that opens a folder when it is told to."""

    def __init__(self, folder: Path, name: str) -> None:
        command = [sys.executable, "-W", "error", "-c", OPENER, str(folder), name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @property
    def input(self) -> IO[str]:
        assert self.process.stdin is not None
        return self.process.stdin

    def expect(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{word}\n"

    def go(self) -> None:
        self.input.write("\n")
        self.input.flush()

    def end(self) -> None:
        self.go()
        assert self.process.wait(timeout=60) == 0
        self.input.close()
        assert self.process.stdout is not None
        self.process.stdout.close()


def open_at_once(folder: Path) -> None:
    openers = [Opener(folder, name) for name in ("one", "two")]
    for opener in openers:
        opener.expect("ready")
    for opener in openers:
        opener.go()
    for opener in openers:
        opener.expect("opened")
    for opener in openers:
        opener.end()


def schema_of(folder: Path) -> list[tuple[str, str]]:
    connection = sqlite3.connect(folder / "umi.db")
    rows = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
    rows.append(("version", str(connection.execute("PRAGMA user_version").fetchone()[0])))
    connection.close()
    return rows


def test_a_store_of_every_version_is_committed() -> None:
    newest = schema_of(STORES[-1])[-1][1]
    assert [store.name for store in STORES] == [f"version-{number}" for number in range(1, int(newest) + 1)]
    assert [schema_of(store)[-1][1] for store in STORES] == [store.name.split("-")[1] for store in STORES]


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.name)
def test_a_store_of_an_older_version_opens_and_reads_as_it_was_written(store: Path, tmp_path: Path) -> None:
    folder, new = tmp_path / "store", tmp_path / "new"
    shutil.copytree(store, folder)
    open_at_once(folder)
    make(new)
    assert schema_of(folder) == schema_of(new), "migrated to what a new store has; if it is new, commit one of it"
    clock = ManualClock(START + timedelta(days=30))
    with Memory.open(folder, user="alice", clock=clock) as memory:
        found = {episode.text: episode for episode in memory.episodes_sync()}
        assert set(found) == {*TURNS, "opened by one", "opened by two"}
        for number, text in enumerate(TURNS):
            episode = found[text]
            assert (episode.role, episode.name, episode.source) == ("assistant", "Ana", "urn:x")
            assert (episode.agent, episode.session, episode.metadata) == ("guide", "first", {"n": number})
            assert episode.at == START + timedelta(minutes=number)
        assert memory.remember_sync(TURNS[0], key="key-0").episode_ids == [found[TURNS[0]].id]
        home = next(fact for fact in memory.list_sync() if fact.attribute == "home")
        assert [fact.content for fact in memory.history_sync(home.id)] == [*HOMES, "Faro"]
        assert len(memory.evolutions_sync(home.id)) == 1
        assert {fact.content for fact in memory.list_sync()} == {"Faro", "is being built"}
        assert memory.recall_sync("Utrecht")[0].content == TURNS[0]
        assert [episode.text for episode in memory.episodes_sync(user="bob")] == ["Of nobody in particular."]
        guide = memory.scoped(agent="guide", session="first")
        assert [block.content for block in guide.core.versions("human")] == [
            "Prefers concise answers.",
            "Prefers very concise answers.",
        ]
        assert (guide.core.get_block("scratch"), guide.working.get("for ever")) == (None, b"\x00\xff")
        report = memory.check_sync()
        assert report["ok"], report["problems"]


@pytest.mark.parametrize("store", STORES[2:], ids=lambda store: store.name)
def test_the_contexts_of_an_older_version_come_back(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    shutil.copytree(store, folder)
    assert len(list((folder / "blobs").iterdir())) == 3
    context = Context.load("trip", folder, user="carol")
    rule, note, image, table, url = context.ref_ids()
    assert [(item["role"], item["kind"]) for item in context.items()] == [
        ("system", "text"), ("user", "text"), ("user", "image"), ("user", "data"), ("user", "image"),
    ]  # fmt: skip
    assert list(context.items()[0]["metadata"].items()) == [("z", 2**70), ("a", [None, {"ü": 1.5}])]
    assert context.changed == [note]
    assert (context[rule], context[image], context[table]) == ("You are a potter.", PNG, TABLE)
    assert context[url] == Url("https://example.com/a.png")
    row = Context.get(f"trip/{image}", db=folder, user="carol")
    assert row is not None
    assert Path(row["path"]).read_bytes() == PNG
    assert Context.get(f"trip/{image}", db=folder) is None
    with Memory.open(folder, user="carol") as memory:
        hits = memory.recall_sync("Where is the kiln?")
        found = next(hit for hit in hits if hit.ref is not None and "/img_" in hit.ref)
        item = memory.remembered_item_sync(str(found.ref))
        assert item is not None
        assert item["content"] == PNG
        assert memory.check_sync()["problems"] == []
    context.save(folder, user="carol")


@pytest.mark.timeout(300)
def test_two_processes_open_a_new_folder_at_once(tmp_path: Path) -> None:
    expected = None
    for number in range(20):
        folder = tmp_path / str(number)
        open_at_once(folder)
        with Memory.open(folder, user="alice") as memory:
            assert sorted(episode.text for episode in memory.episodes_sync()) == ["opened by one", "opened by two"]
            assert memory.check_sync()["ok"]
        schema = schema_of(folder)
        expected = expected or schema
        assert schema == expected
