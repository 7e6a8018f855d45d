"""A parent and its forked children mint ids at once, and the parent's store stays sound.

The parent forks while it has a store open that threads of it are writing to. In each child every inherited handle
refuses to be used, the child's own opening of the same store works, and no id is minted twice by anybody.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from torture._child import Child, listen, say
from umi import Entity, ForkedError, Memory, uuid7

if TYPE_CHECKING:
    from collections.abc import Callable

CHILDREN = 4
SHORT_IDS, LONG_IDS = 10_000, 10_000
SHORT_ROWS, LONG_ROWS = 50, 1_000


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
        lambda: memory.list_sync(),
        lambda: memory.episodes_sync(),
        lambda: memory.update_sync(some, content="another"),
        lambda: memory.forget_sync(some),
        lambda: memory.forget_scope_sync(user="parent"),
        lambda: memory.pending_sync(),
        lambda: memory.retry_pending_sync(),
        lambda: memory.reembed_sync(),
        lambda: memory.purge_sync(),
        lambda: memory.count_sync(),
        lambda: memory.stats_sync(),
        lambda: memory.check_sync(),
        lambda: memory.flush_sync(),
        lambda: memory.core.set_block("facts", "a child's"),
        lambda: memory.core.blocks(),
        lambda: memory.working.set("key", b"a child's"),
        lambda: memory.working.get("key"),
        lambda: scoped.remember_sync("A child wrote into its parent's store."),
        lambda: scoped.count_sync(),
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


def in_child(memory: Memory, scoped: Memory, number: int, ids: int, rows: int, file: Path) -> None:
    """What a forked child does."""
    refused = refuse(memory, scoped)
    memory.__exit__(None, None, None)  # leaves the parent's block, and closes nothing
    with Memory.open(file.parent / "store") as own:
        minted = mint(own, f"child-{number}", ids, rows)
        assert own.count_sync(user=f"child-{number}") == rows, "a child does not find its own rows"
        assert own.recall_sync("Who wrote row 1?", user=f"child-{number}"), "a child does not recall its own rows"
    file.write_text("\n".join([str(refused), *minted]))


def parent(folder: Path, ids: int, rows: int) -> None:
    """The process that forks, one child after the other while threads write."""
    listen()
    with Memory.open(folder / "store") as memory:
        scoped = memory.scoped(user="parent")
        minted = mint(memory, "parent", ids // 2, rows)
        stop, by_threads = threading.Event(), [list[str]() for _ in range(2)]
        threads = [
            threading.Thread(target=write_on, args=(memory, f"thread-{number}", stop, own))
            for number, own in enumerate(by_threads)
        ]
        for thread in threads:
            thread.start()
        children = []
        for number in range(CHILDREN):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    in_child(memory, scoped, number, ids, rows, folder / f"child-{number}")
                    code = 0
                except BaseException:  # noqa: BLE001 - whatever it is, the parent's code must not run here
                    sys.excepthook(*sys.exc_info())
                finally:
                    os._exit(code)
            children.append(child)
        minted += mint(memory, "parent", ids - ids // 2, rows)
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


def run(*, seed: int, long: bool, folder: Path) -> dict[str, int | float | str]:
    """Forks a process that has a store open; see the module."""
    ids, rows = (LONG_IDS, LONG_ROWS) if long else (SHORT_IDS, SHORT_ROWS)
    with Child("torture.forks", folder, ids, rows, log=folder / "errors") as child:
        answer = child.ask("go")
        assert answer == "done", f"seed {seed}: {child.problem()}"
        child.end()
    names = ["parent", *(f"child-{number}" for number in range(CHILDREN))]
    files = {name: (folder / name).read_text().split("\n") for name in names}
    minted = [id for lines in files.values() for id in lines[1:]]
    for name in names:
        assert len(files[name]) > ids, f"seed {seed}: `{name}` minted {len(files[name]) - 1} ids of {ids}"
    doubled = len(minted) - len(set(minted))
    assert doubled == 0, f"seed {seed}: {doubled} ids were minted twice"
    with Memory.open(folder / "store") as memory:
        assert memory.check_sync()["ok"], f"seed {seed}: the store is not sound"
    refused = sum(int(lines[0]) for lines in files.values())
    return {"children": CHILDREN, "ids": len(minted), "doubled": doubled, "calls_refused": refused}


if __name__ == "__main__":
    parent(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
