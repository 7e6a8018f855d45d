"""Many users under a small bound of the index: resident memory stays within it, and every recall is right.

A child opens an empty store and recalls; from there on its resident memory may grow by the index's bound and a fifth.
It reads a store of 2,000 users with 500 memories each, every user three times in random order, the last time with 32
recalls at once. Another child that writes the store is held to the same. The short run, whose bound is smaller than the
code that the recalls call for the first time, leaves the pages of files out.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from torture._measure import MIB, Figures, Growth, answer, in_child, resident
from umi import Memory, MemoryConfig

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from umi import RecallResults

USERS, MEMORIES, BOUND = 2_000, 500, 64 * MIB
SHORT_USERS, SHORT_MEMORIES, SHORT_BOUND = 120, 60, 1 * MIB
SLACK = 0.2
# A bound of one MiB is less than what a process takes by chance: stacks, SQLite's own caches, the allocator's. So the
# short run finds leaks of several MiB; that the bound is kept, it sees by what the index tells of itself, and by
# evictions.
SHORT_SLACK_BYTES = 8 * MIB
QUESTION = "What is the secret combination of the locker in the north tower?"
THINGS = ("lantern", "ticket", "kayak", "medicine", "telescope", "quilt", "violin", "camera", "compass", "anchor")
PLACES = ("market", "harbour", "museum", "library", "bakery", "station", "school", "orchard", "garden", "engine room")
TURNS_OF_A_SESSION = 20
AT_ONCE = 32
ROUND = 200


def secret(seed: int, user: int) -> str:
    """The combination that this user alone knows."""
    return f"{(user * 7_919 + seed * 104_729) % 1_000_003:06}"


def turns(seed: int, user: int, memories: int) -> Iterator[dict[str, Any]]:
    """What a user says; one of the turns tells the secret."""
    generator = random.Random(f"{seed} {user}")
    told = generator.randrange(memories)
    for number in range(memories):
        text = f"On day {number} Ana{generator.randrange(97)} took the {generator.choice(THINGS)} from the "
        text += f"{generator.choice(PLACES)} to the {generator.choice(PLACES)}, number {generator.randrange(10_000)}."
        if number == told:
            text = f"The secret combination of the locker in the north tower is {secret(seed, user)}, tell nobody."
        yield {"text": text, "user": f"user-{user}", "session": f"s{number // TURNS_OF_A_SESSION}"}


def write(*, seed: int, folder: str, users: int, memories: int, bound: int, kind: str) -> Figures:
    """In a child: writes the store."""
    with Memory.open(folder, config=MemoryConfig(index_memory_bytes=bound)) as memory:
        memory.recall_sync(QUESTION, user="nobody")
        growth = Growth(kind)
        for user in range(users):
            memory.remember_many_sync(turns(seed, user, memories), batch_size=memories)
            growth.look()
    return {"growth": growth.most}


def read(*, seed: int, folder: str, users: int, memories: int, bound: int, kind: str) -> Figures:
    """In a child: asks for every user's secret, one after the other and at once."""
    config = MemoryConfig(index_memory_bytes=bound)
    with Memory.open(f"{folder}-empty", config=config) as empty:
        empty.recall_sync(QUESTION, user="nobody")
        growth = Growth(kind)
    generator = random.Random(seed)
    order = list(range(users))
    recalls = 0
    bytes_told = 0

    def check(user: int, results: RecallResults) -> None:
        nonlocal recalls
        recalls += 1
        found = [hit.content for hit in results[:3]]
        assert found, f"seed {seed}: user {user} recalls nothing"
        assert secret(seed, user) in found[0], f"seed {seed}: user {user} recalls {found}"

    with Memory.open(folder, config=config) as memory:

        def look() -> None:
            nonlocal bytes_told
            growth.look()
            index = memory.stats_sync()["index"]
            bytes_told = max(bytes_told, index["bytes"])
            assert index["bytes"] <= bound, f"seed {seed}: the index tells {index} over {bound}"
            assert index["rows_loaded"] == index["users_loaded"] * memories, f"seed {seed}: {index}"

        async def ask_at_once() -> None:
            turn = asyncio.Semaphore(AT_ONCE)

            async def ask(user: int) -> None:
                async with turn:
                    check(user, await memory.recall(QUESTION, user=f"user-{user}"))
                growth.look()

            for start in range(0, users, ROUND):
                await asyncio.gather(*map(ask, order[start : start + ROUND]))

        for _ in range(2):
            generator.shuffle(order)
            for place, user in enumerate(order):
                check(user, memory.recall_sync(QUESTION, user=f"user-{user}"))
                if place % ROUND == 0:
                    look()
        one_by_one = growth.look()
        look()
        generator.shuffle(order)
        asyncio.run(ask_at_once())
        look()
        # Whoever asks for users that do not exist makes nothing grow.
        for number in range(10 * users):
            assert memory.recall_sync(QUESTION, user=f"stranger-{number}") == []
        look()
        evictions = memory.stats_sync()["index"]["evictions"]
    assert evictions > 0, f"seed {seed}: no user had to make room"
    return {
        "recalls": recalls,
        "strangers": 10 * users,
        "evictions": evictions,
        "index_bytes": bytes_told,
        "baseline": growth.before,
        "growth_one_by_one": one_by_one,
        "growth": growth.most,
        "VmHWM": resident("VmHWM"),
    }


def run(*, seed: int, long: bool, folder: pathlib.Path) -> Figures:
    """Writes a store of many users, reads all of them, and holds both processes to the bound."""
    users, memories, bound = (USERS, MEMORIES, BOUND) if long else (SHORT_USERS, SHORT_MEMORIES, SHORT_BOUND)
    allowed = bound * (1 + SLACK) + (0 if long else SHORT_SLACK_BYTES)
    store = folder / "many-users"
    kind = "VmRSS" if long else "RssAnon"
    order = {"seed": seed, "folder": str(store), "users": users, "memories": memories, "bound": bound, "kind": kind}
    figures: Figures = {"users": users, "memories_each": memories, "bound_MiB": bound // MIB}
    for work in ("write", "read"):
        told = in_child(__name__, {"work": work, **order}, 900 if long else 120)
        grown = int(told["growth"])
        assert grown <= allowed, (
            f"seed {seed}: the child that has to {work} grew by {grown / MIB:.1f} MiB of {allowed / MIB:.1f}: {told}"
        )
        for name, value in told.items():
            is_bytes = name in {"growth", "growth_one_by_one", "baseline", "VmHWM", "index_bytes"}
            figures[f"{work}_{name}{'_MiB' if is_bytes else ''}"] = round(int(value) / MIB, 1) if is_bytes else value
    return figures


def _work(*, work: str, **order: Any) -> Figures:
    return {"write": write, "read": read}[work](**order)


if __name__ == "__main__":
    answer(_work)
