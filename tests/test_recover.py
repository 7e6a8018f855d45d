"""Damage: what opening and reading a damaged store says, and what `recover` saves of it."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import umi
from umi import Entity, Memory

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096
EPISODES = 300
TABLE_LEAF, TABLE_INNER = 0x0D, 0x05


def make(folder: Path, episodes: int) -> Path:
    """A store of episodes whose pieces are small, and of a few rows of every other kind."""
    with open_sim(folder) as memory:
        memory.remember_many_sync(
            {"text": f"turn {number}", "role": "assistant", "name": "Ana", "at": at(number), "metadata": {"n": number},
             "key": f"k{number}", "session": f"s{number % 7}", "agent": "guide", "source": f"urn:{number}"}
            for number in range(episodes)
        )  # fmt: skip
        memory.remember_sync("A long one. " * 3_000, user="bob")
        for home in ("Rome", "Porto", "Lisbon"):
            memory.add_entity_sync(Entity("person", "Ana", home, attribute="home", metadata={"is": home}))
        memory.update_sync(memory.list_sync()[0].id, content="Faro")
        memory.add_entity_sync(Entity("person", "Ana", "likes tea"))
        memory.core.set_block("human", "Prefers concise answers.")
        memory.core.set_block("human", "Prefers very concise answers.", label="style")
        memory.working.set("key", b"\0value")
        memory.forget_sync(memory.remember_sync("forgotten").episode_ids[0])
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("damage") / "store", EPISODES)


@pytest.fixture(scope="module")
def larger_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose first half holds episodes: its first pages are the roots of all tables and indices."""
    return make(tmp_path_factory.mktemp("larger") / "store", 1_000)


def at(number: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)


def open_sim(folder: Path) -> Memory:
    return Memory.open(folder, user="alice", embedder=umi.SimEmbeddingProvider(1))


def contents(folder: Path) -> dict[str, Any]:
    """Everything that can be read of a store."""
    with open_sim(folder) as memory:
        episodes, offset = {}, 0
        while page := memory.episodes_sync(limit=1000, offset=offset):
            episodes.update({episode.id: episode.to_dict() for episode in page})
            offset += len(page)
        facts = {fact.id: fact.to_dict() for fact in memory.list_sync(current=False, limit=1000)}
        for fact in facts.values():
            del fact["updated_at"]  # when the row was last written
        report = memory.check_sync()
        assert report["ok"], report["problems"]
        return {
            "episodes": episodes,
            "bob": [episode.to_dict() for episode in memory.episodes_sync(user="bob")],
            "facts": facts,
            "blocks": [block.to_dict() for block in memory.core.versions("human")],
            "working": {key: memory.working.get(key) for key in memory.working.keys()},  # noqa: SIM118 - no mapping
        }


def pages_of(data: bytes, kind: int) -> list[int]:
    return [page for page in range(2, len(data) // PAGE + 1) if data[(page - 1) * PAGE] == kind]


def with_noise(store: Path, folder: Path, page: int, seed: int) -> Path:
    folder.mkdir()
    data = bytearray((store / "umi.db").read_bytes())
    data[(page - 1) * PAGE : page * PAGE] = random.Random(seed).randbytes(PAGE)
    (folder / "umi.db").write_bytes(data)
    return folder


def recover(source: Path, target: Path) -> dict[str, Any]:
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    report = Memory.recover_sync(source, target, embedder=umi.SimEmbeddingProvider(1))
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before, "the source is as it was"
    assert sorted(path.name for path in target.iterdir()) == ["umi.db"]
    return report


def test_a_sound_store_is_saved_whole(store: Path, tmp_path: Path) -> None:
    report = recover(store, tmp_path / "new")
    assert report["problems"] == []
    assert (report["lost_episodes"], report["lost_facts"], report["to_embed"]) == (0, 0, 0)
    assert contents(tmp_path / "new") == contents(store)
    with open_sim(tmp_path / "new") as memory:
        again = memory.remember_sync("turn 3", key="k3").episode_ids
        assert memory.count_sync() == EPISODES + 2, "keys are kept"
        assert memory.get_sync(again[0]) is not None


@pytest.mark.timeout(300)  # 5,000 episodes, made and read three times
def test_noise_on_a_page_of_episodes_costs_only_the_episodes_on_it(tmp_path: Path) -> None:
    count = 5_000
    store = make(tmp_path / "store", count)
    data = (store / "umi.db").read_bytes()
    leaves = leaves_of_episodes(data)
    assert len(leaves) > 50
    seed = 7
    page = random.Random(seed).choice(leaves)
    bad = with_noise(store, tmp_path / "bad", page, seed)
    on_page = data[(page - 1) * PAGE : page * PAGE].count(b"urn:")
    report = recover(bad, tmp_path / "new")
    assert on_page > 1
    assert report["problems"] == [f"1 damaged page: {page}", f"{on_page} episodes are known to be lost"]
    assert report["lost_episodes"] == on_page
    expected, saved = contents(store), contents(tmp_path / "new")
    assert len(saved["episodes"]) == count - on_page
    assert all(expected["episodes"][id] == episode for id, episode in saved["episodes"].items())
    assert {kind: saved[kind] for kind in saved if kind != "episodes"} == {
        kind: expected[kind] for kind in expected if kind != "episodes"
    }


@pytest.mark.parametrize("page", ["first", "inner"])
def test_noise_on_a_page_without_rows_costs_nothing(store: Path, tmp_path: Path, page: str) -> None:
    data = (store / "umi.db").read_bytes()
    children = {
        inner: int.from_bytes(data[(inner - 1) * PAGE + 3 : (inner - 1) * PAGE + 5])
        for inner in pages_of(data, TABLE_INNER)
    }
    number = 1 if page == "first" else max(children, key=lambda inner: children[inner])
    bad = with_noise(store, tmp_path / "bad", number, 1)
    with pytest.raises(umi.CorruptStoreError) as caught:
        contents(bad)
    assert f"python -m umi recover {bad} NEW_FOLDER" in str(caught.value)
    assert caught.value.filename == str(bad / "umi.db")
    report = recover(bad_alone(bad), tmp_path / "new")
    assert report["episodes"] == EPISODES + 1
    assert contents(tmp_path / "new") == contents(store)


def bad_alone(folder: Path) -> Path:
    for path in folder.iterdir():
        if path.name != "umi.db":
            path.unlink()
    return folder


def read_everything(folder: Path, known: dict[str, Any]) -> str:
    """Reads all, and says how that ended; what is read must be what was written."""
    try:
        with open_sim(folder) as memory:
            offset = 0
            while page := memory.episodes_sync(limit=1000, offset=offset):
                assert all(known["episodes"][episode.id] == episode.to_dict() for episode in page)
                offset += len(page)
            assert offset == EPISODES
            memory.recall_sync("turn")
            memory.context_sync("turn")
            memory.list_sync(limit=1000, current=False)
            memory.core.render()
            memory.working.keys()
            return "sound" if memory.check_sync()["ok"] else "found"
    except umi.CorruptStoreError as error:
        assert "recover" in str(error)  # noqa: PT017 - each seed may end in its own way
        return "refused"


@pytest.mark.timeout(300)
def test_noise_on_any_page_is_told(store: Path, tmp_path: Path) -> None:
    """Never a wrong row, never a panic: a page that is read is refused, one that is not is found by `check()`."""
    known = contents(store)
    pages = (store / "umi.db").stat().st_size // PAGE
    outcomes = []
    for seed in range(24):
        page = seed + 1 if seed < 4 else random.Random(seed).randrange(1, pages + 1)
        folder = with_noise(store, tmp_path / str(seed), page, seed)
        outcome = read_everything(folder, known)
        assert outcome in {"refused", "found"}, (seed, page, outcome)
        outcomes.append(outcome)
        shutil.rmtree(folder)
    assert "refused" in outcomes


@pytest.mark.parametrize("length", [0.5, 0.9])
def test_a_truncated_store(larger_store: Path, tmp_path: Path, length: float) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    data = (larger_store / "umi.db").read_bytes()
    (bad / "umi.db").write_bytes(data[: int(len(data) * length)])
    with pytest.raises(umi.CorruptStoreError, match=rf"it has \d+ of {len(data)} bytes \(restore .* recover"):
        open_sim(bad)
    assert [path.name for path in bad.iterdir()] == ["umi.db"]
    report = recover(bad, tmp_path / "new")
    assert report["problems"][0] == f"it has {int(len(data) * length)} of {len(data)} bytes"
    known, saved = contents(larger_store), contents(tmp_path / "new")
    assert 0 < report["episodes"] <= len(known["episodes"]) + 1
    assert all(known["episodes"][id] == episode for id, episode in saved["episodes"].items())


def leaves_of_episodes(data: bytes) -> list[int]:
    return [page for page in pages_of(data, TABLE_LEAF) if data[(page - 1) * PAGE : page * PAGE].count(b"urn:") > 5]


@pytest.mark.parametrize("kind", ["zeros", "type", "count", "sizes"])
def test_a_loss_on_one_page_is_never_without_a_word(store: Path, tmp_path: Path, kind: str) -> None:
    """A page of zeros, or one flipped bit that makes a leaf an inner page, or hides rows of it."""
    bad = tmp_path / "bad"
    bad.mkdir()
    data = bytearray((store / "umi.db").read_bytes())
    page = leaves_of_episodes(bytes(data))[3]
    start = (page - 1) * PAGE
    match kind:
        case "zeros":
            data[start : start + PAGE] = bytes(PAGE)
        case "type":
            data[start] ^= TABLE_LEAF ^ TABLE_INNER
        case "count":
            data[start + 4] -= 1  # of its cells
        case "sizes":
            last = start + int.from_bytes(data[start + 8 : start + 10])
            data[last + (data[last] >= 0x80)] ^= 1  # of the first row
    (bad / "umi.db").write_bytes(data)
    report = recover(bad, tmp_path / "new")
    assert report["problems"][0] == f"1 damaged page: {page}"
    lost = report["lost_episodes"]
    assert lost > 0
    told = "1 episode is known to be lost" if lost == 1 else f"{lost} episodes are known to be lost"
    assert told in report["problems"]
    assert len(contents(tmp_path / "new")["episodes"]) == EPISODES - lost
    done = umi_command("recover", bad, tmp_path / "again")
    assert (done.returncode, done.stderr) == (1, "")
    assert "nothing is damaged" not in done.stdout
    assert told in done.stdout


def test_freed_pages_and_long_rows_are_no_damage(tmp_path: Path) -> None:
    with open_sim(tmp_path / "store") as memory:
        memory.remember_many_sync(f"{number} " + "word " * 2_000 for number in range(60))
        ids = [episode.id for episode in memory.episodes_sync(limit=60)]
        memory.working.set("zeros", bytes(50_000))
        for id in ids[::2]:
            memory.forget_sync(id)
    connection = sqlite3.connect(tmp_path / "store" / "umi.db")
    assert connection.execute("PRAGMA freelist_count").fetchone()[0] > 10
    connection.close()
    report = recover(tmp_path / "store", tmp_path / "new")
    assert (report["problems"], report["episodes"], report["working_keys"]) == ([], 30, 1)


@pytest.mark.parametrize("length", [0, 10, 5_000])
def test_a_store_of_which_nothing_is_left(store: Path, tmp_path: Path, length: int) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "umi.db").write_bytes((store / "umi.db").read_bytes()[:length])
    with pytest.raises(umi.CorruptStoreError, match=rf"nothing of .* can be read: it has (only )?{length} "):
        Memory.recover_sync(bad, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_files_that_are_no_store_of_this_build_are_refused(store: Path, tmp_path: Path) -> None:
    for name in ("foreign", "text", "newer"):
        (tmp_path / name).mkdir()
    connection = sqlite3.connect(tmp_path / "foreign" / "umi.db")
    connection.execute("CREATE TABLE other (text)")
    connection.execute("INSERT INTO other VALUES ('theirs')")
    connection.commit()
    connection.close()
    (tmp_path / "text" / "umi.db").write_text("Some text. " * 1_000)
    newer = bytearray((store / "umi.db").read_bytes())
    newer[60:64] = (99).to_bytes(4)
    (tmp_path / "newer" / "umi.db").write_bytes(newer)
    for name, kind, why in (
        ("foreign", umi.StoreVersionError, "is a SQLite file of another program"),
        ("text", umi.CorruptStoreError, "does not begin as a SQLite file"),
        ("newer", umi.StoreVersionError, "has schema version 99, this build reads up to 3"),
    ):
        with pytest.raises(kind, match=why):
            Memory.recover_sync(tmp_path / name, tmp_path / "new")
        assert [path.name for path in (tmp_path / name).iterdir()] == ["umi.db"]
        assert not (tmp_path / "new").exists()


def test_a_store_whose_header_names_another_program_is_saved(store: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    data = bytearray((store / "umi.db").read_bytes())
    data[68] ^= 1
    (bad / "umi.db").write_bytes(data)
    report = recover(bad, tmp_path / "new")
    assert report["problems"] == ["its header names another program"]
    assert contents(tmp_path / "new") == contents(store)


KILLED = """
import os, signal, sys
from umi import Memory
memory = Memory.open(sys.argv[1], user="alice")
for number in range(40):
    memory.remember_sync(f"turn {number}")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("place", ["header", "middle"])
def test_a_damaged_log_is_not_dropped_without_a_word(tmp_path: Path, place: str) -> None:
    """SQLite reads a log up to its first broken frame, and would lose what was acknowledged behind it."""
    bad = tmp_path / "bad"
    subprocess.run([sys.executable, "-c", KILLED, str(bad)], check=False, timeout=50)
    log = bad / "umi.db-wal"
    data = bytearray(log.read_bytes())
    assert len(data) > 40 * PAGE
    start = 0 if place == "header" else 32 + len(data) // (PAGE + 24) // 2 * (PAGE + 24)
    data[start : start + 24] = random.Random(1).randbytes(24)
    whole = tmp_path / "whole"
    shutil.copytree(bad, whole)
    log.write_bytes(data)
    with pytest.raises(umi.CorruptStoreError, match="its log has damage before its end") as caught:
        Memory.open(bad)
    assert "recover" in str(caught.value)
    report = Memory.recover_sync(bad, tmp_path / "new")
    assert any("log is damaged" in problem for problem in report["problems"])
    with Memory.open(whole, user="alice") as memory:
        known = {episode.id: episode.text for episode in memory.episodes_sync(limit=100)}
    with Memory.open(tmp_path / "new", user="alice") as memory:
        saved = {episode.id: episode.text for episode in memory.episodes_sync(limit=100)}
    assert len(known) == 40
    assert saved.items() <= known.items()
    assert len(saved) >= 38


def test_a_log_that_a_crash_cut_is_no_damage(tmp_path: Path) -> None:
    store = tmp_path / "store"
    subprocess.run([sys.executable, "-c", KILLED, str(store)], check=False, timeout=50)
    log = store / "umi.db-wal"
    log.write_bytes(log.read_bytes()[:-100])  # of the last transaction
    with Memory.open(store, user="alice") as memory:
        assert memory.count_sync() == 39
        assert memory.check_sync()["ok"]


def test_of_a_foreign_file_nothing_is_saved_and_nothing_made(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "umi.db").write_bytes(random.Random(3).randbytes(20 * PAGE))
    with pytest.raises(umi.CorruptStoreError, match=r"nothing of `.*` can be read"):
        Memory.recover_sync(bad, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_recovery_refuses_what_it_must_not_touch(store: Path, tmp_path: Path) -> None:
    with pytest.raises(umi.InvalidInputError, match="is in the store itself"):
        Memory.recover_sync(store, store / "inside")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(umi.InvalidInputError, match="is not empty"):
        Memory.recover_sync(store, tmp_path / "full")
    with pytest.raises(umi.StoreIOError) as caught:
        Memory.recover_sync(tmp_path / "nowhere", tmp_path / "new")
    assert caught.value.errno == 2
    words = f"cannot open the folder `{tmp_path / 'nowhere'}`: no such file or directory"
    assert (caught.value.message, caught.value.hint) == (words, "name the folder of the damaged store")
    with open_sim(store), pytest.raises(umi.InvalidInputError, match=r"has the store .* open"):
        Memory.recover_sync(store, tmp_path / "new")
    assert not (tmp_path / "new").exists()


LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        print("free")
    except OSError:
        print("held")
"""


def test_nobody_writes_to_a_store_while_it_is_saved(tmp_path: Path) -> None:
    store, found = tmp_path / "store", []

    def failing(_texts: list[str]) -> list[list[float]]:
        raise RuntimeError("no vectors today")

    def looking(texts: list[str]) -> list[list[float]]:
        command = [sys.executable, "-c", LOCK, str(store / "umi.lock")]
        found.append(subprocess.run(command, capture_output=True, text=True, timeout=50, check=True).stdout)
        return [[1.0, 0.0] for _ in texts]

    with Memory.open(store, embedder=umi.CallableEmbeddingProvider(failing, dimensions=2, name="slow")) as memory:
        memory.remember_sync("kept")
    embedder = umi.CallableEmbeddingProvider(looking, dimensions=2, name="slow")
    report = Memory.recover_sync(store, tmp_path / "new", embedder=embedder)
    assert (report["episodes"], report["to_embed"], found) == (1, 0, ["held\n"])


def test_vectors_of_another_embedder_are_kept_and_those_lost_wait_for_it(store: Path, tmp_path: Path) -> None:
    report = Memory.recover_sync(store, tmp_path / "new")  # the bundled embedder is not the store's
    assert report["to_embed"] == 0
    with open_sim(tmp_path / "new") as memory:
        assert memory.stats_sync()["vectors"] == memory.stats_sync()["pieces"]
    with pytest.raises(umi.EmbeddingSpaceError):
        Memory.open(tmp_path / "new")
    connection = sqlite3.connect(store / "umi.db")
    (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'vectors'").fetchone()
    connection.close()
    data = (store / "umi.db").read_bytes()
    last = int.from_bytes(data[(root - 1) * PAGE + 8 : (root - 1) * PAGE + 12])  # the last child of an inner page
    bad = with_noise(store, tmp_path / "bad", last, 5)
    report = Memory.recover_sync(bad, tmp_path / "again")
    assert (report["lost_episodes"], report["lost_facts"]) == (0, 0)
    assert report["to_embed"] > 0
    with open_sim(tmp_path / "again") as memory:
        memory.flush_sync()  # opening has begun to embed them
        figures = memory.stats_sync()
        assert (figures["jobs"], figures["vectors"]) == (0, figures["pieces"])


def umi_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "umi", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.timeout(300)  # nine processes
def test_the_commands(tmp_path: Path) -> None:
    store, copy, new = tmp_path / "store", tmp_path / "copy", tmp_path / "new"
    with Memory.open(store, user="alice") as memory:
        for number in range(300):
            memory.remember_sync(f"turn {number} " + "word " * 40)
    for arguments in (["--help"], ["recover", "--help"]):
        done = umi_command(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert "exit status" in done.stdout
    done = umi_command("check", store)
    assert (done.returncode, done.stderr) == (0, "")
    assert "is sound" in done.stdout
    done = umi_command("backup", store, copy)
    assert (done.returncode, done.stderr) == (0, "")
    data = bytearray((store / "umi.db").read_bytes())
    page = next(
        page for page in pages_of(bytes(data), TABLE_LEAF) if b"turn 7 " in data[(page - 1) * PAGE : page * PAGE]
    )
    data[(page - 1) * PAGE : page * PAGE] = random.Random(2).randbytes(PAGE)
    (store / "umi.db").write_bytes(data)
    done = umi_command("check", store)
    assert done.returncode in {1, 2}
    assert "recover" in done.stderr
    done = umi_command("recover", store, new)
    assert done.returncode == 1, done.stderr
    assert f"1 damaged page: {page}" in done.stdout
    assert "episodes are known to be lost" in done.stdout
    assert umi_command("check", new).returncode == 0
    done = umi_command("recover", store, new)
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    done = umi_command("check", tmp_path / "nowhere")
    assert done.returncode == 2
    assert "there is no store" in done.stderr
    assert not (tmp_path / "nowhere").exists()
    assert umi_command("nothing").returncode == 2


def test_what_a_model_decided_and_what_waits_for_one_are_saved(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    with open_sim(old) as memory:
        episode = memory.remember_sync("I work at Initech now.").episode_ids[0]
        memory.add_entity_sync(Entity("person", "Ana", "works at Acme", event_time=at(1)))
        memory.add_entity_sync(Entity("person", "Ana", "works at Initech", event_time=at(2)))
        acme, initech = memory.list_sync()
    connection = sqlite3.connect(old / "umi.db")
    connection.executescript(
        """
        INSERT INTO decisions SELECT 1, '00000000-0000-4000-8000-000000000001', 98, newer.user, newer.sighting,
            older.sighting, 'contradict', 'one works at one place', 0.75, 7000000, older.slot, newer.valid_from,
            newer.seq
        FROM sightings AS newer, sightings AS older WHERE newer.content LIKE '%Initech' AND older.content LIKE '%Acme';
        INSERT INTO jobs (id, kind, user, agent, session, episode, attempts, created_at, evolves)
        SELECT '00000000-0000-4000-8000-000000000002', 'extract', user, agent, session, episode, 0, 0, 0 FROM episodes;
        """
    )
    connection.close()
    report = Memory.recover_sync(old, new, embedder=umi.SimEmbeddingProvider(1))
    assert (report["decisions"], report["lost_decisions"], report["problems"]) == (1, 0, [])
    with open_sim(new) as memory:
        assert memory.check_sync()["ok"], memory.check_sync()["problems"]
        assert [fact.content for fact in memory.list_sync()] == ["works at Initech"]
        [relation] = memory.evolutions_sync(acme.id)
        assert (relation.source_id, relation.target_id, relation.type) == (acme.id, initech.id, "contradict")
        assert (relation.reason, relation.confidence) == ("one works at one place", 0.75)
        assert [(job.kind, job.episode_id) for job in memory.pending_sync()] == [("extract", episode)]
    connection = sqlite3.connect(new / "umi.db")
    assert connection.execute("SELECT kind, evolves FROM jobs").fetchall() == [("extract", 0)]
    connection.close()


def decide(request: umi.CompletionRequest) -> dict[str, Any]:
    """A model to which each turn is a fact that ends the one before."""
    if request.schema_name == "facts":
        text = re.findall(r"<turn [^>]*>\n(.*?)\n</", request.prompt)[-1]
        fact = {"turn": 1, "type": "person", "name": "Ana", "attribute": None, "content": text, "confidence": 0.9}
        return {"facts": [{**fact, "event_time": None}]}
    olds = re.findall(r'<stored id="([^"]+)"', request.prompt)
    return {
        "relations": [{"new": 1, "old": old, "type": "update", "reason": "moved", "confidence": 0.9} for old in olds]
    }


@pytest.mark.parametrize(
    ("table", "decisions", "lost"), [("decisions", 0, 2), ("evolutions", 2, 0), ("sightings", 0, 2)]
)
def test_what_a_model_decided_is_saved_or_counted(tmp_path: Path, table: str, decisions: int, lost: int) -> None:
    store = tmp_path / "store"
    provider = umi.CallableProvider(decide)
    with Memory.open(store, user="alice", embedder=umi.SimEmbeddingProvider(1), llm=provider) as memory:
        for home in ("Paris", "Rome", "Oslo"):
            memory.remember_sync(f"lives in {home}")
        assert [fact.content for fact in memory.list_sync()] == ["lives in Oslo"]
    connection = sqlite3.connect(store / "umi.db")
    (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    connection.close()
    report = recover(with_noise(store, tmp_path / "bad", page, 1), tmp_path / "new")
    assert (report["decisions"], report["lost_decisions"]) == (decisions, lost)
    assert (f"{lost} decisions of a model are known to be lost" in report["problems"]) == bool(lost)
    with open_sim(tmp_path / "new") as memory:
        assert memory.check_sync()["ok"], memory.check_sync()["problems"]
        current = {"decisions": 3, "evolutions": 1, "sightings": 0}[table]
        assert len(memory.list_sync()) == current
