"""Nothing that was acknowledged is lost, whenever a writer is killed.

A child changes one growing store in every way and says what it is about to do and what was acknowledged; it is killed
at a random moment, also while it opens, checkpoints, purges or copies. Then the store is compared with what was said.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torture._child import PATIENCE_SECONDS, Child, letters, listen, say
from umi import CorruptStoreError, Entity, Memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHORT_KILLS, LONG_KILLS = 7, 63
SHORT_HOLDER_KILLS, LONG_HOLDER_KILLS = 1, 5
SHORT_SAMPLE, LONG_SAMPLE = 8, 40
MODES = ("mixed", "checkpoint", "making", "purge", "opening", "backup", "conversations", "mixed", "mixed")
USER = "alice"
PAGE = 1_000
SHORT_HELD_ROWS, LONG_HELD_ROWS = 1_000, 4_000
PADDING = 50_000  # bytes of metadata, so that checkpoints come soon
BATCH = 8  # of the operation `batches`
SUBJECTS = 12
# After a writer's death the next one goes on at once: far below the 30 s after which a lock is given up.
GO_ON_SECONDS = 10.0

Operation = dict[str, Any]


# The child -----------------------------------------------------------------------------------------------------------


def words(mark: str, generator: random.Random) -> str:
    """A text that holds a mark that no other text has."""
    things = ("kiln", "harbour", "violin", "ledger", "orchard", "telescope", "lantern", "ferry")
    return f"{mark} told of the {generator.choice(things)} and the {generator.choice(things)}."


class Writer:
    """The child's side: plans an operation, says it, does it, says that it was acknowledged."""

    def __init__(self, folder: Path, seed: int, mode: str, known: dict[str, Any]) -> None:
        self.folder, self.seed, self.mode = folder, seed, mode
        self.random = random.Random(seed)
        self.episodes: list[str] = known["episodes"]
        self.marks = (f"Mark{letters(seed)}x{letters(number)}" for number in count())

    def text(self) -> str:
        return words(next(self.marks), self.random)

    def run(self) -> None:
        say({"opening": True})
        with Memory.open(self.folder, user=USER) as memory:
            say({"opened": True})
            for number in count():
                operation = self.plan(number)
                say({"begin": operation})
                say({"done": self.perform(memory, operation)})

    def plan(self, number: int) -> Operation:
        if self.mode in {"purge", "backup"} and number % 12 == 11:
            return {"do": self.mode, "to": str(self.folder.parent / f"copy-{self.seed}-{number}")}
        if self.mode == "checkpoint":
            return {"do": "padded", "texts": [self.text() for _ in range(8)]}
        if self.mode == "conversations":
            return {"do": "conversation", "texts": [self.text() for _ in range(self.random.randint(5, 60))]}
        kind = self.random.choices(
            ("one", "keyed", "conversation", "many", "batches", "fact", "update", "forget", "working", "core"),
            (8, 2, 3, 3, 2, 4, 3, 4, 3, 2),
        )[0]
        subject = f"Subject {self.random.randrange(SUBJECTS)}"
        match kind:
            case "conversation" | "many" | "batches":
                return {"do": kind, "texts": [self.text() for _ in range(self.random.randint(2, 24))]}
            case "fact" | "update":
                return {"do": kind, "subject": subject, "text": self.text()}
            case "forget" if self.episodes:
                return {"do": "forget", "id": self.random.choice(self.episodes)}
            case "working" | "core":
                return {"do": kind, "key": self.random.choice(("facts", "goals", "scratch")), "text": self.text()}
            case "keyed":
                return {"do": "keyed", "texts": [self.text()]}
        return {"do": "one", "texts": [self.text()]}

    def perform(self, memory: Memory, operation: Operation) -> list[str]:
        ids: list[str] = []
        match operation["do"]:
            case "one":
                ids = memory.remember_sync(operation["texts"][0]).episode_ids
            case "keyed":
                key = operation["texts"][0][:40]
                ids = memory.remember_sync(operation["texts"][0], key=key).episode_ids
                again = memory.remember_sync(operation["texts"][0], key=key).episode_ids
                assert ids == again, "a repeated call with a key made another row"
            case "conversation":
                turns = [{"role": "user", "content": text} for text in operation["texts"]]
                ids = memory.remember_sync(turns).episode_ids
            case "many":
                ids = [result.episode_ids[0] for result in memory.remember_many_sync(operation["texts"])]
            case "padded":
                items = [{"text": text, "metadata": {"padding": "x" * PADDING}} for text in operation["texts"]]
                ids = [result.episode_ids[0] for result in memory.remember_many_sync(items)]
            case "batches":
                results = memory.remember_many_sync(operation["texts"], batch_size=BATCH)
                ids = [result.episode_ids[0] for result in results]
            case "fact":
                memory.add_entity_sync(Entity("person", operation["subject"], operation["text"], attribute="home"))
            case "update":
                found = [fact for fact in memory.list_sync() if fact.name == operation["subject"]]
                if found:
                    memory.update_sync(found[0].id, content=operation["text"])
                else:
                    memory.add_entity_sync(Entity("person", operation["subject"], operation["text"], attribute="home"))
            case "forget":
                assert memory.forget_sync(operation["id"]), "an episode that was there could not be forgotten"
                self.episodes.remove(operation["id"])
            case "working":
                memory.working.set(operation["key"], operation["text"].encode(), ttl_secs=float("inf"))
            case "core":
                memory.core.set_block(operation["key"], operation["text"])
            case "purge":
                memory.purge_sync()
            case "backup":
                memory.backup_sync(operation["to"])
        self.episodes += ids
        return ids


def hold(folder: Path, rows: int) -> None:
    """Another child: a transaction that holds the lock of writers for long, whenever it is told to."""
    with Memory.open(folder, user="holder") as memory:
        say({"opened": True})
        if not memory.count_sync():
            memory.remember_many_sync([f"Held {turn}" for turn in range(rows)], batch_size=rows)
        say({"holding": True})
        memory.forget_scope_sync(user="holder")
        say({"held": True})


def follow(folder: Path) -> None:
    """Another child: writes a row whenever it is told to."""
    with Memory.open(folder, user="follower") as memory:
        say({"opened": True})
        while True:
            text = listen()["text"]
            say({"writing": True})
            say({"id": memory.remember_sync(text).episode_ids[0]})


# The parent ----------------------------------------------------------------------------------------------------------


@dataclass
class Model:
    """What must be readable."""

    texts: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    facts: dict[str, list[str]] = field(default_factory=dict)
    working: dict[str, str] = field(default_factory=dict)
    core: dict[str, str] = field(default_factory=dict)
    copies: dict[str, dict[str, str]] = field(default_factory=dict)

    def apply(self, operation: Operation, ids: list[str]) -> None:
        """Takes an acknowledged operation."""
        match operation["do"]:
            case "one" | "keyed" | "conversation" | "many" | "batches" | "padded":
                self.texts.update(zip(ids, operation["texts"], strict=True))
            case "fact" | "update":
                self.facts.setdefault(operation["subject"], []).append(operation["text"])
            case "forget":
                del self.texts[operation["id"]]
                self.gone.add(operation["id"])
            case "working":
                self.working[operation["key"]] = operation["text"]
            case "core":
                self.core[operation["key"]] = operation["text"]
            case "backup":
                self.copies[operation["to"]] = dict(self.texts)

    def settle(self, memory: Memory, operation: Operation) -> bool:
        """Takes an operation that was not acknowledged if all of it is there; half of it is an error."""
        match operation["do"]:
            case "one" | "keyed" | "conversation" | "many" | "batches" | "padded":
                wanted = operation["texts"]
                # Behind what was acknowledged there are only rows of this operation.
                new = [row for row in episodes(memory) if row[0] not in self.texts]
                if not new:
                    return False
                batch = BATCH if operation["do"] == "batches" else len(wanted)
                there = [text for _, text in new]
                assert there == wanted[: len(new)] and (len(new) % batch == 0 or len(new) == len(wanted)), (
                    f"of {len(wanted)} texts in transactions of {batch} there are {len(new)}"
                )
                self.apply({**operation, "texts": there}, [id for id, _ in new])
            case "fact" | "update":
                if operation["text"] not in contents(memory, operation["subject"]):
                    return False
                self.apply(operation, [])
            case "forget":
                if memory.get_sync(operation["id"]) is not None:
                    return False
                self.apply(operation, [])
            case "working" | "core":
                parts = {"working": working(memory), "core": core(memory)}[operation["do"]]
                if parts.get(operation["key"]) != operation["text"]:
                    return False
                self.apply(operation, [])
            case _:
                return False
        return True


def episodes(memory: Memory) -> Iterator[tuple[str, str]]:
    """All episodes, page by page."""
    for offset in count(0, PAGE):
        page = memory.episodes_sync(limit=PAGE, offset=offset)
        yield from ((episode.id, episode.text) for episode in page)
        if len(page) < PAGE:
            return


def contents(memory: Memory, subject: str) -> list[str]:
    """The contents of a subject's chain, oldest first."""
    found = [fact for fact in memory.list_sync(limit=PAGE) if fact.name == subject]
    assert len(found) <= 1, f"`{subject}` has {len(found)} current facts"
    return [fact.content for fact in memory.history_sync(found[0].id)] if found else []


def working(memory: Memory) -> dict[str, str]:
    return {key: (memory.working.get(key) or b"").decode() for key in memory.working.keys()}  # noqa: SIM118 - no mapping


def core(memory: Memory) -> dict[str, str]:
    return {block.type: block.content for block in memory.core.blocks()}


class Torture:
    """One store, killed again and again."""

    def __init__(self, seed: int, folder: Path, sample: int) -> None:
        self.sample = sample  # so many rows are recalled after each kill
        self.seed, self.store, self.log = seed, folder / "store", folder / "child.log"
        self.random = random.Random(seed)
        self.model = Model()
        self.figures: dict[str, int] = dict.fromkeys(
            (
                "kills",
                "acknowledged",
                "kept_unacknowledged",
                "kills_in_checkpoint",
                "copies",
                "copies_cut_short",
                "recalls",
            ),
            0,
        )

    def round(self, number: int) -> None:
        mode = MODES[number % len(MODES)]
        if mode == "making":
            self.make(number)
            return
        before, begun = len(self.model.texts), None
        with Child("torture.kills", "write", self.store, self.seed * 1_000 + number, mode, log=self.log) as child:
            child.tell({"episodes": list(self.model.texts)})
            heard = self.strike(child, mode)
            while (line := child.hear()) is not None:
                heard.append(line)
            code = child.process.returncode
            assert code == -signal.SIGKILL, f"the child ended with {code} before it was killed: {child.problem()}"
        for line in heard:
            if "begin" in line:
                begun = line["begin"]
            elif "done" in line:
                assert begun is not None
                self.model.apply(begun, line["done"])
                self.figures["acknowledged"] += 1
                begun = None
        self.figures["kills"] += 1
        self.verify(begun, before)

    def make(self, number: int) -> None:
        """A child that makes a new store, killed while it does."""
        store = self.store.with_name(f"new-{number}")
        with Child("torture.kills", "write", store, number, "mixed", log=self.log) as child:
            child.tell({"episodes": []})
            assert child.hear() == {"opening": True}, child.problem()
            time.sleep(self.random.uniform(0, 0.03))
            child.kill()
        self.figures["kills"] += 1
        with Memory.open(store, user=USER) as memory:
            memory.remember_sync("The store that was made in two tries is whole.")
            assert memory.check_sync()["ok"], "a store whose making was killed is not sound"
        shutil.rmtree(store)

    def strike(self, child: Child, mode: str) -> list[Any]:
        """Kills the child at a moment of its mode and gives what it had said until then, or some of it."""
        heard = [child.hear()]
        assert heard == [{"opening": True}], child.problem()
        if mode == "opening":
            time.sleep(self.random.uniform(0, 0.03))
        elif mode == "checkpoint":
            # In WAL mode checkpoints alone write the database itself.
            heard.append(child.hear())
            written = (self.store / "umi.db").stat().st_mtime_ns
            until(lambda: (self.store / "umi.db").stat().st_mtime_ns != written, "there was no checkpoint")
            time.sleep(self.random.choice((0, 0, 0.0005, 0.002)))
            self.figures["kills_in_checkpoint"] += 1
        else:
            wanted = mode if mode in {"purge", "backup"} else None
            operations = (
                self.random.randint(1, 3) if wanted else self.random.randint(1, 8 if mode == "conversations" else 40)
            )
            while operations:
                line = child.hear()
                assert line is not None, f"the child ended by itself: {child.problem()}"
                heard.append(line)
                operations -= "begin" in line and wanted in {None, line["begin"]["do"]}
            time.sleep(self.random.uniform(0, 0.02 if wanted else 0.004))
        child.kill()
        return heard

    def verify(self, begun: Operation | None, before: int) -> None:
        model = self.model
        with Memory.open(self.store, user=USER) as memory:
            if begun is not None and model.settle(memory, begun):
                self.figures["kept_unacknowledged"] += 1
            report = memory.check_sync()
            assert report["ok"], f"check() after a kill: {report['problems']}"
            found = list(episodes(memory))
            assert len(found) == len(dict(found)), "a row is there twice"
            missing = [text for id, text in model.texts.items() if id not in dict(found)]
            assert dict(found) == model.texts, (
                f"{len(missing)} acknowledged rows are missing, {len(found)} found: {missing[:3]}"
            )
            for subject, texts in model.facts.items():
                there = contents(memory, subject)
                assert there == texts, f"`{subject}` has {len(there)} versions, {len(texts)} were acknowledged"
            assert working(memory) == model.working, "working memory is not what was acknowledged"
            assert core(memory) == model.core, "core memory is not what was acknowledged"
            assert memory.count_sync() == len(model.texts) + len(model.facts)
            for id in self.random.sample(sorted(model.gone), min(20, len(model.gone))):
                assert memory.get_sync(id) is None, "a forgotten row is back"
            new = list(model.texts.items())[before:]
            self.recall(memory, self.random.sample(new, min(self.sample, len(new))))
            self.recall(memory, self.random.sample(sorted(model.texts.items()), min(self.sample, len(model.texts))))
        for copy, copied in model.copies.items():
            with Memory.open(copy, user=USER) as memory:
                assert dict(episodes(memory)) == copied, "a copy is not what the store was"
            shutil.rmtree(copy)
            self.figures["copies"] += 1
        model.copies.clear()
        if begun is not None and begun["do"] == "backup":
            self.look_at_unfinished(Path(begun["to"]))

    def recall(self, memory: Memory, rows: list[tuple[str, str]]) -> None:
        for id, text in rows:
            hits = [hit.id for hit in memory.recall_sync(text.split()[0])]
            assert id in hits, f"an acknowledged row is not recalled: {text[:60]}"
            self.figures["recalls"] += 1

    def look_at_unfinished(self, copy: Path) -> None:
        """A copy that was cut short has no name of a store: what opens as one is whole."""
        if not (copy / "umi.db").exists():
            self.figures["copies_cut_short"] += 1
            if (copy / "unfinished").exists():
                self.refuse(copy)
            return
        with Memory.open(copy, user=USER) as memory:
            assert dict(episodes(memory)) == self.model.texts, "an unfinished copy opens as a store with less in it"
        self.figures["copies"] += 1
        shutil.rmtree(copy)

    def refuse(self, copy: Path) -> None:
        try:
            Memory.open(copy).close_sync()
        except CorruptStoreError:
            return
        raise AssertionError("an unfinished copy opens as a new store")


def run_holders(*, seed: int, long: bool, folder: Path) -> tuple[int, float]:
    """Kills whoever holds the lock of writers while another process waits for it.

    Gives how many were killed, and the longest time that the other waited for, in seconds.
    """
    kills, rows = (LONG_HOLDER_KILLS, LONG_HELD_ROWS) if long else (SHORT_HOLDER_KILLS, SHORT_HELD_ROWS)
    generator, store, longest = random.Random(seed), folder / "held", 0.0
    with Child("torture.kills", "follow", store, log=folder / "follower.log") as follower:
        assert follower.hear() == {"opened": True}
        for number in range(kills):
            with Child("torture.kills", "hold", store, rows, log=folder / "holder.log") as holder:
                assert holder.hear() == {"opened": True}
                assert holder.hear() == {"holding": True}
                until(lambda: is_locked(store / "umi.lock"), "the lock of writers was never taken")
                assert follower.ask({"text": f"Follower {number} of {seed}"}) == {"writing": True}
                time.sleep(generator.uniform(0, 0.01))
                assert is_locked(store / "umi.lock"), f"seed {seed}: the holder let go too soon to be killed"
                holder.kill()
                began = time.monotonic()
                answer = follower.hear()
                longest = max(longest, time.monotonic() - began)
                assert answer is not None, f"seed {seed}: {follower.problem()}"
                assert longest < GO_ON_SECONDS, f"seed {seed}: who waited went on after {longest:.1f} s only"
        follower.end()
    with Memory.open(store) as memory:
        assert memory.count_sync(user="follower") == kills, f"seed {seed}: a row of who waited is missing"
        held = memory.count_sync(user="holder")
        assert held == rows, f"seed {seed}: a transaction that was killed took {rows - held} rows with it"
        assert memory.check_sync()["ok"], f"seed {seed}"
    return kills, longest


def is_locked(path: Path) -> bool:
    """Whether another process holds the record lock of a file. This process must not have the store open."""
    file = os.open(path, os.O_RDWR)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            return True
        raise
    finally:
        os.close(file)
    return False


def until(condition: Callable[[], bool], otherwise: str) -> None:
    """Waits for a condition of another process."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, otherwise


def run(*, seed: int, long: bool, folder: Path) -> dict[str, int | float | str]:
    """Kills writers of one store and holders of its lock; see the module."""
    torture = Torture(seed, folder, LONG_SAMPLE if long else SHORT_SAMPLE)
    for number in range(LONG_KILLS if long else SHORT_KILLS):
        try:
            torture.round(number)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, kill {number} ({MODES[number % len(MODES)]}): {error}") from error
    with Memory.open(torture.store, user=USER) as memory:
        rows = list(torture.model.texts.items())
        torture.recall(memory, rows if long else rows[:SHORT_SAMPLE])
    holders, longest = run_holders(seed=seed, long=long, folder=folder)
    return {
        **torture.figures,
        "rows": len(torture.model.texts),
        "forgotten": len(torture.model.gone),
        "killed_lock_holders": holders,
        "longest_wait_behind_a_killed_holder_s": round(longest, 3),
    }


if __name__ == "__main__":
    role, store = sys.argv[1], Path(sys.argv[2])
    if role == "write":
        Writer(store, int(sys.argv[3]), sys.argv[4], listen()).run()
    elif role == "hold":
        hold(store, int(sys.argv[3]))
    else:
        follow(store)
