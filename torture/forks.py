"""A parent and its forked children mint ids at once, and the parent's store stays sound.

The parent forks while it has a store open that threads of it are writing to. In each child every inherited handle
refuses to be used, the child's own opening of the same store works, also longer than the parent's, and no id is minted
twice by anybody.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torture._child import ROOT, Child, listen, say
from umi import Entity, ForkedError, Memory, uuid7

if TYPE_CHECKING:
    from collections.abc import Callable

CHILDREN = 4
IDS = 10_000  # of each
SHORT_ROWS, LONG_ROWS = 50, 1_000  # of them are remembered
SHORT_PARENTS, LONG_PARENTS = 1, 10  # one after the other, because a fork in a bad moment is rare


def mint(memory: Memory, name: str, ids: int, rows: int) -> list[str]:
    """Ids of both doors: the function, and rows that are remembered."""
    minted = [uuid7() for _ in range(ids - rows)]
    results = memory.remember_many_sync([f"{name} wrote row {number}." for number in range(rows)], user=name)
    return minted + [result.episode_ids[0] for result in results]


def refuse(memory: Memory, scoped: Memory) -> int:
    """Uses every public method of inherited handles, and gives how many refused."""
    some = "01890000-0000-7000-8000-000000000000"
    calls: list[Callable[[], object]] = [
        lambda: memory.remember_sync("A child wrote into its parent's store."),
        lambda: memory.remember_many_sync(["A child wrote into its parent's store."]),
        lambda: memory.add_entity_sync(Entity("person", "Ana", "is a child")),
        lambda: memory.recall_sync("What did the child write?"),
        lambda: memory.context_sync("What did the child write?"),
        lambda: memory.get_sync(some),
        lambda: memory.history_sync(some),
        lambda: memory.evolutions_sync(some),
        memory.list_sync,
        memory.episodes_sync,
        lambda: memory.update_sync(some, content="another"),
        lambda: memory.forget_sync(some),
        lambda: memory.forget_scope_sync(user="parent"),
        memory.pending_sync,
        memory.retry_pending_sync,
        memory.reembed_sync,
        memory.purge_sync,
        lambda: memory.backup_sync("never-made"),
        memory.count_sync,
        memory.stats_sync,
        memory.check_sync,
        memory.flush_sync,
        lambda: memory.core.set_block("facts", "a child's"),
        memory.core.blocks,
        lambda: memory.working.set("key", b"a child's"),
        lambda: memory.working.get("key"),
        lambda: scoped.remember_sync("A child wrote into its parent's store."),
        scoped.count_sync,
        memory.__enter__,
    ]
    for number, call in enumerate(calls):
        try:
            call()
        except ForkedError:
            continue
        raise AssertionError(f"an inherited handle did not refuse call {number}")
    return len(calls)


def write_on(memory: Memory, name: str, stop: threading.Event, minted: list[str]) -> None:
    """A thread of the parent that writes all the while."""
    while not stop.is_set():
        minted += mint(memory, name, 12, 4)


def in_child(memory: Memory, scoped: Memory, file: Path, rows: int) -> None:
    """What a forked child does."""
    name = file.name
    refused = refuse(memory, scoped)
    memory.__exit__(None, None, None)  # leaves the parent's block, and closes nothing
    with Memory.open(file.parent / "store") as own:
        minted = mint(own, name, IDS, rows)
        assert own.count_sync(user=name) == rows, "a child does not find its own rows"
        assert own.recall_sync("Who wrote row 1?", user=name), "a child does not recall its own rows"
    file.write_text("\n".join([str(refused), *minted]))


def parent(folder: Path, rows: int) -> None:
    """The process that forks, one child after the other while threads write."""
    listen()
    with Memory.open(folder / "store") as memory:
        scoped = memory.scoped(user="parent")
        minted = mint(memory, "parent", IDS // 2, rows)
        stop, by_threads = threading.Event(), [list[str]() for _ in range(2)]
        threads = [
            threading.Thread(target=write_on, args=(memory, f"thread-{number}", stop, own))
            for number, own in enumerate(by_threads)
        ]
        for thread in threads:
            thread.start()
        children = [
            fork(partial(in_child, memory, scoped, folder / f"child-{number}", rows)) for number in range(CHILDREN)
        ]
        minted += mint(memory, "parent", IDS - IDS // 2, rows)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        stop.set()
        for thread in threads:
            thread.join()
        assert codes == [0] * CHILDREN, f"the children ended with {codes}"
        assert memory.count_sync(user="parent") == 2 * rows, "the parent does not find its own rows"
        for number in range(CHILDREN):
            assert memory.count_sync(user=f"child-{number}") == rows, "the parent does not find a child's rows"
            assert memory.recall_sync("Who wrote row 1?", user=f"child-{number}"), "it does not recall a child's rows"
        assert memory.check_sync()["ok"], "the parent's store is not sound"
        minted += [id for own in by_threads for id in own]
        (folder / "parent").write_text("\n".join(["0", *minted]))
    say("done")


def fork(work: Callable[[], None]) -> int:
    """Runs work in a forked child and gives its process id."""
    child = os.fork()
    if child != 0:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the parent's code must not run here
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def outlive(folder: Path) -> None:
    """A child and a grandchild go on with stores of their own after their parents have closed theirs.

    A store that was opened beside inherited connections would share their locks, which the child does not have: the
    next process to close the store would take away the log that the child writes to.
    """
    listen()
    store = folder / "outlived"
    opened, closed = os.pipe(), os.pipe()

    def visit(text: str) -> None:
        with Memory.open(store) as memory:
            memory.remember_sync(text)

    def grandchild() -> None:
        with Memory.open(store) as own:
            own.remember_sync("The grandchild opened it.")
            os.write(opened[1], b"2")
            assert os.read(closed[0], 1), "the parents never closed the store"
            visitor = subprocess.run([sys.executable, "-m", "torture.forks", "visit", store], cwd=ROOT, check=False)
            assert visitor.returncode == 0, "another process cannot use the store"
            own.remember_sync("The grandchild outlived its parents.")
            assert own.count_sync() == 6, "the grandchild does not find what others wrote"
            assert own.recall_sync("Who came by?"), "the grandchild does not recall what others wrote"

    def child() -> None:
        own = Memory.open(store)
        own.remember_sync("The child opened it.")
        last = fork(grandchild)
        assert os.read(opened[0], 1), "the grandchild never opened the store"
        own.remember_sync("The child is about to close it.")
        own.close_sync()
        os.write(closed[1], b"1")
        assert os.waitstatus_to_exitcode(os.waitpid(last, 0)[1]) == 0, "the grandchild failed"

    with Memory.open(store) as memory:
        memory.remember_sync("The parent opened it.")
        first = fork(child)
    assert os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) == 0, "the child failed"
    visit("All have gone.")
    with Memory.open(store) as memory:
        assert memory.count_sync() == 7, "a row of a child is lost"
        assert memory.check_sync()["ok"], "the store is not sound"
    say("done")


def run(*, seed: int, long: bool, folder: Path) -> dict[str, int | float | str]:
    """Forks processes that have a store open; see the module."""
    parents, rows = (LONG_PARENTS, LONG_ROWS) if long else (SHORT_PARENTS, SHORT_ROWS)
    minted: list[str] = []
    refused = 0
    for number in range(parents):
        place = folder / f"parent-{number}"
        place.mkdir()
        for role in ("parent", "outlive"):
            with Child("torture.forks", role, place, rows, log=folder / "errors") as child:
                child.tell("go")
                assert child.hear() == "done", f"seed {seed}, {role} {number}: {child.problem()}"
                child.end()
        for name in ("parent", *(f"child-{number}" for number in range(CHILDREN))):
            first, *ids = (place / name).read_text().split("\n")
            refused += int(first)
            assert len(ids) >= IDS, f"seed {seed}: `{name}` minted {len(ids)} ids of {IDS}"
            minted += ids
        with Memory.open(place / "store") as memory:
            assert memory.check_sync()["ok"], f"seed {seed}: the store is not sound"
    doubled = len(minted) - len(set(minted))
    assert doubled == 0, f"seed {seed}: {doubled} ids were minted twice"
    return {"parents": parents, "children": parents * CHILDREN, "ids": len(minted), "calls_refused": refused}


if __name__ == "__main__":
    role, place = sys.argv[1], Path(sys.argv[2])
    # Newer Pythons warn of every fork beside threads, which is what is tried here.
    warnings.simplefilter("ignore", DeprecationWarning)
    if role == "parent":
        parent(place, int(sys.argv[3]))
    elif role == "outlive":
        outlive(place)
    else:
        with Memory.open(place) as visited:
            visited.remember_sync("Another process came by.")
