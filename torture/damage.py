"""Damage: noise on pages of a store is never a wrong row, and what is on all other pages is saved.

Each round overwrites one page of a copy with noise, reads everything, and recovers it into a new store. What is read or
saved must be what was written; what is lost must be told.
"""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

from umi import CorruptStoreError, Memory, SimEmbeddingProvider

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096


def run(*, seed: int, long: bool, folder: Path) -> dict[str, int | float | str]:
    """Damages a store page by page. Short: 300 episodes, 12 pages; long: 5,000 episodes, 150 pages."""
    episodes, rounds = (5_000, 150) if long else (300, 12)
    chance = random.Random(seed)
    store = folder / "store"
    with _open(store) as memory:
        memory.remember_many_sync(
            {"text": f"turn {number} " + "word " * chance.randrange(60)} for number in range(episodes)
        )
    data = (store / "umi.db").read_bytes()
    known = dict(_texts(store))
    counts = {"rounds": 0, "refused": 0, "found": 0, "lost": 0, "most_lost": 0}
    for number in range(rounds):
        page = chance.randrange(1, len(data) // PAGE + 1)
        where = f"seed {seed}, round {number}, page {page}"
        bad, new = folder / "bad", folder / "new"
        bad.mkdir()
        noisy = bytearray(data)
        noisy[(page - 1) * PAGE : page * PAGE] = chance.randbytes(PAGE)
        (bad / "umi.db").write_bytes(noisy)
        counts[_read(bad, known, where)] += 1
        (bad / "umi.db").write_bytes(noisy)
        report = Memory.recover_sync(bad, new, embedder=SimEmbeddingProvider(1))
        saved = dict(_texts(new))
        assert saved.items() <= known.items(), f"{where}: a saved row is not what was written"
        lost = len(known) - len(saved)
        assert report["lost_episodes"] == lost, f"{where}: {lost} are lost, {report['lost_episodes']} are told"
        assert lost <= PAGE // 60, f"{where}: one page cost {lost} episodes"
        with _open(new) as memory:
            problems = memory.check_sync()["problems"]
            assert not problems, f"{where}: {problems[0]}"
        counts["rounds"] += 1
        counts["lost"] += lost
        counts["most_lost"] = max(counts["most_lost"], lost)
        shutil.rmtree(bad)
        shutil.rmtree(new)
    return {"seed": seed, "episodes": episodes, "pages": len(data) // PAGE, **counts}


def _open(folder: Path) -> Memory:
    return Memory.open(folder, embedder=SimEmbeddingProvider(1))


def _texts(folder: Path) -> list[tuple[str, str]]:
    with _open(folder) as memory:
        texts: list[tuple[str, str]] = []
        while page := memory.episodes_sync(limit=1000, offset=len(texts)):
            texts += [(episode.id, episode.text) for episode in page]
        return texts


def _read(folder: Path, known: dict[str, str], where: str) -> str:
    """Reads everything: refused with the typed error, or told by the check."""
    try:
        assert dict(_texts(folder)) == known, f"{where}: a row that was read is not what was written"
        with _open(folder) as memory:
            memory.recall_sync("turn")
            memory.context_sync("turn")
            assert not memory.check_sync()["ok"], f"{where}: the check says nothing of the noise"
    except CorruptStoreError:
        return "refused"
    return "found"
