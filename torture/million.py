"""A store of a million episodes: opens at once, stays within its bound of memory, recalls what was said.

In two shapes: all of one user, whom the index cannot hold and scans in blocks from the ledger, and of 1,000 users. A
child opens each one, asks, remembers, lists, counts and reads the numbers; another one checks and purges it. Each may
grow by the index's bound and a fifth.
"""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from torture._measure import MIB, Figures, Growth, Latencies, answer, in_child, resident
from torture.memory_bound import PLACES, QUESTION, THINGS
from umi import Memory, MemoryConfig

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

EPISODES, USERS, BOUND = 1_000_000, 1_000, 256 * MIB
SHORT_EPISODES, SHORT_USERS, SHORT_BOUND = 20_000, 50, 2 * MIB
SLACK = 0.2
SHORT_SLACK_BYTES = 48 * MIB
BATCH = 1_000
OPEN_SECONDS = 5.0
SECRETS = 3  # of one user


def secret(seed: int, user: int) -> str:
    """What one of this user's turns says alone."""
    return f"{(user * 7_919 + seed * 104_729) % 1_000_003:06}"


def turns(seed: int, episodes: int, users: int) -> Iterator[dict[str, Any]]:
    """What is said: the users speak in turn; each tells the secret in the middle."""
    generator = random.Random(seed)
    each = episodes // users
    for number in range(episodes):
        place, user = divmod(number, users)
        text = f"On day {number} Ana{generator.randrange(97)} took the {generator.choice(THINGS)} from the "
        text += f"{generator.choice(PLACES)} to the {generator.choice(PLACES)}, number {generator.randrange(10_000)}."
        if place == each // 2:
            text = f"The secret combination of the locker in the north tower is {secret(seed, user)}, tell nobody."
        yield {"text": text, "user": f"user-{user}", "session": f"s{place // 20}"}


def write(*, seed: int, folder: str, episodes: int, users: int, bound: int) -> Figures:
    """In a child: writes the store."""
    began = time.perf_counter()
    with Memory.open(folder, config=MemoryConfig(index_memory_bytes=bound)) as memory:
        said = turns(seed, episodes, users)
        for _ in range(0, episodes, BATCH):
            memory.remember_many_sync(islice(said, BATCH), batch_size=BATCH)
    return {"per_s": round(episodes / (time.perf_counter() - began))}


def empty_first(folder: str, config: MemoryConfig) -> Growth:
    """Looks at the memory of the process after its first recall in an empty store."""
    with Memory.open(f"{folder}-empty", config=config) as empty:
        empty.recall_sync(QUESTION, user="nobody")
        return Growth()


def use(*, seed: int, folder: str, episodes: int, users: int, bound: int) -> Figures:
    """In a child: opens, asks, remembers, lists."""
    config = MemoryConfig(index_memory_bytes=bound)
    growth = empty_first(folder, config)
    generator = random.Random(seed)
    asked = [0] * SECRETS if users == 1 else [generator.randrange(users) for _ in range(users)]
    recalls, remembers = Latencies(), Latencies()
    began = time.perf_counter()
    with Memory.open(folder, config=config) as memory:
        opened = time.perf_counter() - began

        def ask(user: int) -> None:
            found = [hit.content for hit in memory.recall_sync(QUESTION, user=f"user-{user}")]
            assert secret(seed, user) in found[0], f"seed {seed}: user {user} recalls {found}"

        for user in asked:
            recalls.time(partial(ask, user))
            growth.look()
        index = memory.stats_sync()["index"]
        assert (index["scans"] > 0) == (users == 1), f"seed {seed}: {index}"
        assert index["bytes"] <= bound, f"seed {seed}: {index}"
        for number in range(100):
            remembers.time(partial(memory.remember_sync, f"One more, {number}.", user="user-0"))
        # What was just said is found too, whichever way the user is searched.
        found = [hit.content for hit in memory.recall_sync("One more, 99.", user="user-0")]
        assert "One more, 99." in found, f"seed {seed}: {found}"
        growth.look()
        stats = memory.stats_sync()
        assert (stats["episodes"], stats["users"]) == (episodes + 100, users), f"seed {seed}: {stats}"
        each = episodes // users + 100
        assert memory.count_sync(user="user-0") == each
        page = memory.episodes_sync(user="user-0", limit=1_000, offset=each // 2)
        assert len(page) == min(1_000, each - each // 2)
        assert memory.list_sync(user="user-0") == []
        growth.look()
    return {
        "open_s": round(opened, 3),
        "first_recall_s": round(recalls.seconds[0], 3),
        "recall_p50_ms": round(sorted(recalls.seconds)[len(recalls.seconds) // 2] * 1e3, 2),
        "remember_p50_us": round(sorted(remembers.seconds)[50] * 1e6),
        "index_bytes": index["bytes"],
        "rows_loaded": index["rows_loaded"],
        "growth": growth.most,
        "VmHWM": resident("VmHWM"),
    }


def tend(*, seed: int, folder: str, episodes: int, users: int, bound: int) -> Figures:
    """In a child: checks and purges."""
    config = MemoryConfig(index_memory_bytes=bound)
    growth = empty_first(folder, config)
    with Memory.open(folder, config=config) as memory:
        began = time.perf_counter()
        report = memory.check_sync()
        checked = time.perf_counter() - began
        assert report["ok"], f"seed {seed}: {report}"
        growth.look()
        assert memory.forget_sync(memory.episodes_sync(user="user-0", limit=1)[0].id, user="user-0")
        began = time.perf_counter()
        memory.purge_sync()
        purged = time.perf_counter() - began
        growth.look()
        assert memory.stats_sync()["episodes"] == episodes + 99, f"seed {seed}: an episode went ({users} users)"
    return {
        "check_s": round(checked, 2),
        "purge_s": round(purged, 2),
        "growth": growth.most,
        # The most at any moment, within a call too.
        "most": resident("VmHWM") - growth.before,
    }


def one_shape(folder: pathlib.Path, seed: int, users: int, *, long: bool) -> Figures:
    """One store, from its first to its last day."""
    episodes, bound = (EPISODES, BOUND) if long else (SHORT_EPISODES, SHORT_BOUND)
    allowed = bound * (1 + SLACK) + (0 if long else SHORT_SLACK_BYTES)
    name = "one_user" if users == 1 else "many_users"
    order = {"seed": seed, "folder": str(folder / name), "episodes": episodes, "users": users, "bound": bound}
    figures: Figures = {f"{name}_users": users}
    for work in ("write", "use", "tend"):
        told = in_child(__name__, {"work": work, **order}, 1_500 if long else 120)
        for key in ("growth", "most"):
            grown = int(told.get(key, 0))
            assert grown <= allowed, (
                f"seed {seed}: {name}, {work}: grew by {grown / MIB:.1f} MiB, allowed are {allowed / MIB:.1f}: {told}"
            )
        if long and work == "use":
            assert float(told["open_s"]) <= OPEN_SECONDS, f"seed {seed}: {name} opened in {told['open_s']} s"
        for key, value in told.items():
            is_bytes = key in {"growth", "most", "index_bytes", "VmHWM"}
            shown = round(int(value) / MIB, 1) if is_bytes else value
            figures[f"{name}_{work}_{key}{'_MiB' if is_bytes else ''}"] = shown
    return figures


def run(*, seed: int, long: bool, folder: pathlib.Path) -> Figures:
    """Both shapes, at once."""
    with ThreadPoolExecutor(2) as threads:
        shapes = [
            threads.submit(one_shape, folder, seed, users, long=long) for users in (1, USERS if long else SHORT_USERS)
        ]
        figures: Figures = {"episodes_each": EPISODES if long else SHORT_EPISODES}
        for shape in shapes:
            figures |= shape.result()
    return figures


def _work(*, work: str, **order: Any) -> Figures:
    return {"write": write, "use": use, "tend": tend}[work](**order)


if __name__ == "__main__":
    answer(_work)
