"""Keep a store whose index is a LanceDB dataset: for more memories of a user than fit into the process.

The folder holds both, the ledger, which is the truth, and the index, which is made again when it is lost. It needs the
full build (``pip install umi-memory-full``, or ``--features full`` from source).
"""

import asyncio
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from umi import LanceStorageBackend, Memory, MemoryBuilder, RecallOptions

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
PLANTS = ["basil", "thyme", "sage", "mint", "dill", "chives"]


def open_store(folder: Path) -> Memory:
    """Open the store in a folder, as a program would each time it starts."""
    return MemoryBuilder().with_storage(LanceStorageBackend.connect(folder)).with_scope(user="nadia").build()


async def main() -> None:
    """Fill a store, ask it, and lose its index."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "garden"
        async with open_store(folder) as memory:
            await memory.remember_many(
                {"text": f"On day {day} I watered the {PLANTS[day % len(PLANTS)]}.", "at": START + timedelta(days=day)}
                for day in range(300)
            )
            await memory.flush()  # the last memories are written to the index, too
            print("remembered:", await memory.count())

        kept = sorted(path.name for path in folder.iterdir())
        print("in the folder:", ", ".join(kept))

        async with open_store(folder) as memory:
            march = (START, START + timedelta(days=30))
            for hit in await memory.recall("When was the sage watered?", RecallOptions(limit=2, time_range=march)):
                print(f"  {hit.at:%d %B}  {hit.content}")

        # The index can be thrown away: it is made again from the ledger.
        for path in folder.iterdir():
            if path.is_dir() and "lance" in path.name:
                shutil.rmtree(path)
        async with open_store(folder) as memory:
            (hit,) = await memory.recall("day 123", RecallOptions(limit=1))
            print("after the index was lost:", hit.content)


if __name__ == "__main__":
    asyncio.run(main())
