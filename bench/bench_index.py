"""What the index on LanceDB costs and finds, beside the one in memory in the same run and over the same stores.

Run by `make bench-full`, in an environment that holds the wheel `umi-memory-full`. Prints a Markdown table and exits
with 1 when a figure is over its budget (`--no-fail` to print only). Texts are those of `conversation.py`, embedded by
the default embedder. `--rows 100000 --users 1` measures one size alone.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import umi
from conversation import Conversation
from report import Budget, Report, file_system

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = (100_000, 1_000_000)
USERS = (1, 1_000)
QUESTIONS = 100
SAMPLED = 400  # texts that questions are made of
IN_MEMORY_BYTES = 8 * 1024**3  # the peer holds the largest tenant


def main() -> int:
    """Measure the sizes asked for; return 1 when something is over its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, action="append", help="memories in all; may be given several times")
    parser.add_argument("--users", type=int, action="append", help="users that they are spread over")
    parser.add_argument("--no-fail", action="store_true", help="print only")
    arguments = parser.parse_args()
    sizes = [(rows, users) for rows in arguments.rows or ROWS for users in arguments.users or USERS]
    budgets: dict[str, Budget] = {}
    for rows, users in sizes:
        size = shown(rows, users)
        budgets[f"recall@10 against exact, {size}"] = Budget(0.95, "times", at_least=True)
        if rows == 1_000_000 and users == 1:
            budgets[f"`recall_sync` on lance, {size}"] = Budget(20e-3)
    report = Report(budgets)
    stores = Path(__file__).parent.parent / ".cache"
    stores.mkdir(exist_ok=True)
    print(f"umi from {umi.__file__}\nstores on {file_system(stores)}\n")
    for rows, users in sizes:
        with tempfile.TemporaryDirectory(prefix="bench-index-", dir=stores) as folder:
            measure(report, Path(folder), rows, users)
    report.end()
    return int(bool(report.missed)) if not arguments.no_fail else 0


def shown(rows: int, users: int) -> str:
    return f"{rows:,} memories of {users:,} user{'s' if users > 1 else ''}"


def turns(conversations: list[Conversation], rows: int, kept: list[tuple[int, str]]) -> Iterator[dict[str, object]]:
    """Give turns of all users in turn, and keep some to ask about."""
    every = max(1, rows // SAMPLED)
    for number in range(rows):
        user = number % len(conversations)
        turn = conversations[user].turn()
        if number % every == 0:
            kept.append((user, turn["text"]))
        yield turn


def measure(report: Report, folder: Path, rows: int, users: int) -> None:
    """Fill a store, then ask both indexes the same."""
    size = shown(rows, users)
    conversations = [Conversation(seed, f"user-{seed}") for seed in range(users)]
    kept: list[tuple[int, str]] = []
    memory = umi.MemoryBuilder().with_storage(umi.LanceStorageBackend.connect(folder)).build()
    with memory:
        started = time.perf_counter()
        memory.remember_many_sync(turns(conversations, rows, kept))
        ingested = time.perf_counter() - started
        report.add(f"`remember_many` with lance, {size}", [rows / ingested], "turns/s")
        started = time.perf_counter()
        memory.flush_sync()
        report.add(f"time to index behind it, {size}", [time.perf_counter() - started])
        lance = memory.stats_sync()["index"]["lance"]
        print({**lance})
        report.add(f"`umi.db`, {size}", [(folder / "umi.db").stat().st_size], "bytes")
        report.add(f"the folder of the index, {size}", [lance["bytes_on_disk"]], "bytes")
        dice = random.Random(7)
        asked = [(f"user-{user}", conversations[user].question(text)) for user, text in dice.sample(kept, QUESTIONS)]
        found = ask(report, f"`recall_sync` on lance, {size}", memory, asked)
    config = umi.MemoryConfig(index_memory_bytes=IN_MEMORY_BYTES)
    with umi.Memory.open(folder, config=config) as memory:
        exact = ask(report, f"`recall_sync` in memory, {size}", memory, asked)
    shares = [len(one & other) / len(other) for one, other in zip(found, exact, strict=True) if other]
    report.add(f"recall@10 against exact, {size}", [sum(shares) / len(shares)], "times")


def ask(report: Report, operation: str, memory: umi.Memory, asked: list[tuple[str, str]]) -> list[set[str]]:
    """Ask every question, after each user's first one, which loads what the index needs of it."""
    for user in {user for user, _ in asked}:
        memory.recall_sync("warm up", user=user)
    found, samples = [], []
    for user, question in asked:
        started = time.perf_counter()
        results = memory.recall_sync(question, user=user)
        samples.append(time.perf_counter() - started)
        found.append({result.id for result in results})
    report.add(operation, samples)
    return found


if __name__ == "__main__":
    sys.exit(main())
