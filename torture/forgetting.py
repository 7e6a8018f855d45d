"""What is forgotten is in no read of any process at once, and in no byte of the store's folder after `purge()`.

Rows are written in random order of their keys, so that their pages are torn apart, and a part of them is forgotten
while another process has the store open with its index loaded. Every secret is a word that nothing else holds.
"""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path
from typing import Any

from torture._child import Child, letters, listen, say
from umi import CallableProvider, CompletionRequest, Entity, Memory, RecallOptions, StoreLockedError

SHORT_ROWS, LONG_ROWS = 400, 20_000
FORGOTTEN_SHARE = 20  # one of so many
SHORT_AT_ONCE, LONG_AT_ONCE = 5, 100  # so many are asked for before the next one is forgotten
USER, LEAVER, EXPIRED, DECIDED = "alice", "leaver", "expired", "decided"
SECRET = re.compile(rb"zyx[bcdfghjklmnpqrstvwxz]{10}")  # what `secret()` makes, in lower case
BLOB_BYTES = 16  # of a row's vector and terms that are looked for
START = datetime(2025, 1, 1, tzinfo=UTC)
PAGE = 1_000
TURN = re.compile(r"<turn [^>]*>\n(.*?)\n</")
SHOWN = re.compile(r'<(stored|new) (?:id|number)="([^"]+)"[^>]*>\n(.*?)\n</')


def secret(generator: random.Random) -> str:
    """A word that nothing else holds; its end stays when words are stemmed."""
    return "Zyx" + letters(generator.randrange(20**9, 20**10)).rjust(10, "b")


@dataclass
class Row:
    """What is remembered, with the secrets in it."""

    id: str
    asked: str  # what finds it
    words: list[str]


# Reads of a process --------------------------------------------------------------------------------------------------


def seen(memory: Memory, row: dict[str, Any], at: datetime) -> list[str]:
    """The names of the reads that still return a row."""
    id, query = row["id"], row["asked"]
    options = {
        "recall": RecallOptions(limit=5),
        "recall by words": RecallOptions(limit=5, use_vector_search=False),
        "recall by meaning": RecallOptions(limit=5, use_text_search=False),
        "recall as_of": RecallOptions(limit=5, as_of=at),
        "recall time_range": RecallOptions(limit=5, time_range=(START - timedelta(days=1), at)),
    }
    found = [
        name
        for name, option in options.items()
        for hit in memory.recall_sync(query, option)
        if holds(f"{hit.id} {hit.content} {hit.name} {hit.metadata}", row)
    ]
    found += ["get"] if memory.get_sync(id) is not None else []
    found += ["history"] if memory.history_sync(id) else []
    found += ["evolutions"] if memory.evolutions_sync(id) else []
    found += ["context"] if holds(memory.context_sync(query), row) else []
    return found


def listed(memory: Memory, at: datetime) -> str:
    """All that the reads without a question return, as one text."""
    parts: list[object] = [memory.context_sync(), memory.pending_sync(), memory.core.render()]
    for offset in count(0, PAGE):
        page = memory.episodes_sync(limit=PAGE, offset=offset)
        parts += [(row.id, row.text, row.metadata, row.name, row.source) for row in page]
        if len(page) < PAGE:
            break
    for current, as_of in ((True, None), (False, None), (True, at)):
        for offset in count(0, PAGE):
            facts = memory.list_sync(current=current, as_of=as_of, limit=PAGE, offset=offset)
            parts += [(fact.id, fact.name, fact.content, fact.metadata, fact.source) for fact in facts]
            if len(facts) < PAGE:
                break
    return "\n".join(map(str, parts))


def holds(text: str, row: dict[str, Any]) -> bool:
    return row["id"] in text or any(word.lower() in text.lower() for word in row["words"])


def observe(store: Path) -> None:
    """A process that has the store open, and tells what it reads."""
    with Memory.open(store, user=USER) as memory:
        memory.recall_sync("Which secret is loaded?")
        assert memory.stats_sync()["index"]["rows_loaded"] > 0, "the index is not loaded"
        say("ready")
        while True:
            rows, lists = listen()
            at = datetime.now(UTC)
            say([[row["id"], name] for row in rows for name in seen(memory, row, at)])
            text = listed(memory, at) if lists else ""
            say(leaked(text.encode(), rows) + [row["id"] for row in rows if row["id"] in text])


def read_on(store: Path) -> None:
    """A process that never stops reading, for a purge to get along with."""
    with Memory.open(store, user=USER) as memory:
        for turn in count():
            memory.recall_sync("Which secret was kept?")
            memory.episodes_sync(limit=PAGE)
            if turn == 0:
                say("ready")


def purge_on(store: Path) -> None:
    """A process that does nothing but purge, for a kill."""
    with Memory.open(store, user=USER) as memory:
        say("ready")
        while True:
            memory.purge_sync()
            say("purged")


def leaked(data: bytes, rows: list[dict[str, Any]]) -> list[str]:
    """The secrets of rows that bytes hold, in any case."""
    secrets = {word.lower().encode() for row in rows for word in row["words"]}
    return sorted(word.decode() for word in secrets.intersection(SECRET.findall(data.lower())))


# The parent ----------------------------------------------------------------------------------------------------------


def write(memory: Memory, total: int, generator: random.Random) -> list[Row]:
    """Fills the store, in random order of keys and times."""
    rows: list[Row] = []
    numbers = list(range(total))
    generator.shuffle(numbers)
    facts = total // 10
    items: list[dict[str, Any]] = []
    for number in numbers[facts:]:
        words = [secret(generator) for _ in range(6)]
        items.append(
            {
                "text": f"The secret of {words[0]} is {words[1]}, said {words[2]}s.",
                "metadata": {words[3]: words[3]},
                "name": words[4],
                "source": words[5],
                "key": f"{generator.random()} {words[5]}",
                "at": START + timedelta(minutes=number),
            }
        )
        rows.append(Row("", words[1], words))
    results = memory.remember_many_sync(items)
    for row, result in zip(rows, results, strict=True):
        row.id = result.episode_ids[0]
    for number in numbers[:facts]:
        words = [secret(generator) for _ in range(5)]
        memory.add_entity_sync(
            Entity("person", words[0], f"used to live near {words[1]}", attribute="home", metadata={"note": words[2]})
        )
        now = memory.add_entity_sync(
            Entity("person", words[0], f"lives near {words[3]} {number}", attribute="home", source=words[4])
        )
        rows.append(Row(now.entities[0].id, words[3], words))
    generator.shuffle(rows)
    return rows


def fill_parts(memory: Memory, generator: random.Random) -> list[str]:
    """Core and working memory, of a user who leaves, and values that are overwritten, deleted or expired."""
    words = [secret(generator) for _ in range(12)]
    leaver = memory.scoped(user=LEAVER)
    leaver.remember_sync(f"I am {words[0]}.", key=words[1], metadata={"word": words[2]})
    leaver.add_entity_sync(Entity("place", words[3], f"is in {words[4]}"))
    leaver.core.set_block_with_label("human", words[5], f"{words[6]} is my name.")
    leaver.core.set_block("human", f"{words[7]} is my name now.")
    leaver.core.remove_block("human")
    leaver.working.set(words[8], words[8].encode())
    own = memory.working
    own.set("overwritten", words[9].encode())
    own.set("overwritten", b"another value")
    own.set("deleted", words[10].encode())
    own.delete("deleted")
    memory.scoped(user=EXPIRED).working.set(words[11], words[11].encode(), ttl_secs=0.001)
    return words


def model(request: CompletionRequest) -> dict[str, Any]:
    """Takes each turn as a fact that ends those of the same verb, and gives all secrets that it sees as the reason."""
    if request.schema_name == "facts":
        fact = {"turn": 1, "type": "person", "name": "Ida", "attribute": None, "confidence": 0.9, "event_time": None}
        return {"facts": [{**fact, "content": TURN.findall(request.prompt)[-1]}]}
    shown = SHOWN.findall(request.prompt)
    secrets = " ".join(re.findall(r"Zyx\w+", request.prompt))
    return {
        "relations": [
            {"new": int(number), "old": old, "type": "update", "reason": f"unlike {secrets}", "confidence": 0.9}
            for new, number, fact in shown
            for stored, old, known in shown
            if (new, stored) == ("new", "stored") and fact.split()[1] == known.split()[1]
        ]
    }


def decide(store: Path, generator: random.Random) -> tuple[list[str], list[str]]:
    """Has a model decide how facts follow one another. Gives the episodes to forget and the secrets in these."""
    words = [secret(generator) for _ in range(6)]
    verbs = ["fears", "inhabits", "inhabits", "inhabits", "likes", "likes"]
    texts = [f"Ida {verb} {word}" for verb, word in zip(verbs, words, strict=True)]
    with Memory.open(store, user=DECIDED, llm=CallableProvider(model)) as memory:
        told = [memory.remember_sync(text) for text in texts]
        reasons = [evolution.reason for result in told for evolution in result.evolutions]
        assert len(reasons) == 3, f"a model's decisions are not there: {reasons}"
        assert all(words[0] in reason for reason in reasons), f"a reason does not quote what is forgotten: {reasons}"
    # What is only quoted, and the middle of a history.
    return [told[number].episode_ids[0] for number in (0, 2)], [words[0], words[2]]


def check_decided(memory: Memory, seed: int) -> None:
    """What is left of the histories that a model decided on, and of its reasons."""
    left = memory.list_sync(current=False)
    assert [fact.valid_to is None for fact in left] == [False, True, False, True], f"seed {seed}: {left}"
    for older, newer in (left[:2], left[2:]):
        chain = [fact.id for fact in memory.history_sync(newer.id)]
        assert chain == [older.id, newer.id], f"seed {seed}: a history has another gap than what was forgotten: {chain}"
        [evolution] = memory.evolutions_sync(older.id)
        assert evolution.reason == f"“{newer.content}” replaces “{older.content}”", f"seed {seed}: {evolution}"


def print_blobs(store: Path) -> None:
    """Says every row's id with its vector and terms.

    In a process of its own, because a second connection that is closed in this one would drop the engine's locks.
    """
    base = sqlite3.connect(store / "umi.db")
    query = (
        "SELECT coalesce(episodes.id, sightings.id), hex(vector), hex(lexical) FROM pieces"
        " LEFT JOIN vectors USING (piece) LEFT JOIN episodes USING (episode)"
        " LEFT JOIN sightings ON sightings.sighting = pieces.sighting"
    )
    for row in base.execute(query):
        say(row)
    base.close()


def blobs(store: Path, rows: list[Row], log: Path) -> dict[bytes, str]:
    """Stretches of the vectors and terms of these rows that no other row has."""
    ids = {row.id for row in rows}
    kept: list[bytes] = []
    lost: list[tuple[str, bytes]] = []
    with Child("torture.forgetting", "blobs", store, log=log) as child:
        while (line := child.hear()) is not None:
            id, *values = line
            for value in (bytes.fromhex(value) for value in values if value):
                if id in ids:
                    lost.append((id, value))
                else:
                    kept.append(value)
        child.end()
    others, wanted = b"".join(kept), {}
    for id, value in lost:
        parts = (value[at : at + BLOB_BYTES] for at in range(24, len(value) - BLOB_BYTES, 8))
        wanted.update(dict.fromkeys(islice((part for part in parts if part not in others), 1), id))
    return wanted


def search(folder: Path, words: list[str], stretches: dict[bytes, str], copy: Path) -> tuple[list[str], int]:
    """What the bytes of all files of a folder still hold, and how many bytes that were.

    A copy is read, which another process makes: to close a file of an open store gives its locks away.
    """
    secrets = {word.lower().encode() for word in words}
    found, size = [], 0
    shutil.rmtree(copy, ignore_errors=True)
    subprocess.run(["cp", "-r", str(folder), str(copy)], check=True)
    for path in sorted(copy.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            size += len(data)
            found += [f"{word.decode()} in {path.name}" for word in secrets.intersection(SECRET.findall(data.lower()))]
            found += [f"a vector or terms of {id} in {path.name}" for blob, id in stretches.items() if blob in data]
    return found, size


def purge_beside(memory: Memory, store: Path, log: Path) -> int:
    """Purges while another process reads without a pause. Gives how often it was told to try again."""
    refusals = 0
    with Child("torture.forgetting", "read", store, log=log) as reader:
        assert reader.hear() == "ready", reader.problem()
        while True:
            try:
                memory.purge_sync()
            except StoreLockedError as error:
                assert error.is_retryable, "a purge beside a read cannot be tried again"
                refusals += 1
                assert refusals < 5, "a purge never ends beside a process that reads"
                continue
            assert reader.process.poll() is None, f"the reader ended: {reader.problem()}"
            return refusals


def kill_in_purge(store: Path, log: Path, generator: random.Random) -> None:
    """Kills a process within its purge."""
    with Child("torture.forgetting", "purge", store, log=log) as purger:
        assert purger.hear() == "ready", purger.problem()
        time.sleep(generator.uniform(0, 0.05))
        purger.kill()


def run(*, seed: int, long: bool, folder: Path) -> dict[str, int | float | str]:
    """Forgets a part of a store and looks for it everywhere; see the module."""
    generator = random.Random(seed)
    store, log = folder / "store", folder / "child.log"
    total = LONG_ROWS if long else SHORT_ROWS
    with Memory.open(store, user=USER) as memory:
        rows = write(memory, total, generator)
        parts = fill_parts(memory, generator)
        decided, quoted = decide(store, generator)
        parts += quoted
        gone, kept = rows[: total // FORGOTTEN_SHARE], rows[total // FORGOTTEN_SHARE :]
        stretches = blobs(store, gone, log)
        assert len(stretches) > len(gone), f"seed {seed}: only {len(stretches)} blobs can be looked for"
        words = [word for row in gone for word in row.words] + parts
        found, _ = search(store, words, stretches, folder / "searched")
        assert len(found) >= len(words) + len(stretches), f"seed {seed}: the search does not find what is there"
        told = [asdict(row) for row in gone]
        with Child("torture.forgetting", "observe", store, log=log) as observer:
            assert observer.hear() == "ready", observer.problem()
            forget(memory, observer, told, seed, long=long)
            assert memory.forget_scope_sync(user=LEAVER) == 2, f"seed {seed}: a user is not forgotten"
            decider = memory.scoped(user=DECIDED)
            for id in decided:
                assert decider.forget_sync(id), f"seed {seed}: a turn is not there to be forgotten"
            check_decided(decider, seed)
            assert memory.count_sync() == len(kept), f"seed {seed}: of {len(kept)} rows {memory.count_sync()} are left"
            refusals = purge_beside(memory, store, folder / "reader.log")
            observer.end()
        found, size = search(store, words, stretches, folder / "searched")
        assert not found, f"seed {seed}: {len(found)} secrets are left after purge(): {found[:5]}"
        memory.backup_sync(folder / "copy")
        found, _ = search(folder / "copy", words, stretches, folder / "searched")
        assert not found, f"seed {seed}: {len(found)} secrets are in a backup: {found[:5]}"
        for row in kept[:: 1 if long else 50]:
            assert row.id in {hit.id for hit in memory.recall_sync(row.asked)}, f"seed {seed}: a row is lost"
    kills = 5 if long else 1
    for number in range(kills):
        lost, kept = kept[:10], kept[10:]
        with Memory.open(store, user=USER) as memory:
            for row in lost:
                assert memory.forget_sync(row.id, chain=True), f"seed {seed}: a row was lost"
        kill_in_purge(store, log, generator)
        with Memory.open(store, user=USER) as memory:
            assert memory.check_sync()["ok"], f"seed {seed}: the store is damaged by kill {number} in a purge"
            assert memory.count_sync() == len(kept), f"seed {seed}: kill {number} in a purge lost a row"
            memory.purge_sync()
        found, _ = search(store, [word for row in lost for word in row.words], {}, folder / "searched")
        assert not found, f"seed {seed}: {len(found)} secrets are left after a purge that was killed: {found[:5]}"
    return {
        "rows": total,
        "forgotten": len(gone),
        "secrets": len(words),
        "blobs": len(stretches),
        "bytes_searched": size,
        "purges_tried_again": refusals,
        "kills_in_purge": kills,
    }


def forget(memory: Memory, observer: Child, told: list[dict[str, Any]], seed: int, *, long: bool) -> None:
    """Forgets row by row; the first ones are asked for at once, of this process and of the other."""
    for number, row in enumerate(told):
        assert memory.forget_sync(row["id"], chain=True), f"seed {seed}: a row is not there to be forgotten"
        if number < (LONG_AT_ONCE if long else SHORT_AT_ONCE):
            at_once = observer.ask([[row], number < 3])
            assert not at_once, f"seed {seed}: another process still reads {at_once}"
            assert not observer.hear(), f"seed {seed}: another process still lists it"
    sample = told if long else told[::5]
    at = datetime.now(UTC)
    own = [(row["id"], name) for row in sample for name in seen(memory, row, at)]
    assert not own, f"seed {seed}: {len(own)} reads return what was forgotten: {own[:5]}"
    text = listed(memory, at)
    assert not leaked(text.encode(), told), f"seed {seed}: a list shows what was forgotten"
    theirs = observer.ask([sample, True])
    assert not theirs, f"seed {seed}: {len(theirs)} reads of another process return it: {theirs[:5]}"
    assert not observer.hear(), f"seed {seed}: a list of another process shows it"


if __name__ == "__main__":
    {"observe": observe, "read": read_on, "purge": purge_on, "blobs": print_blobs}[sys.argv[1]](Path(sys.argv[2]))
