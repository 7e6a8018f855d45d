"""Core memory is always in the prompt; working memory holds what matters for an hour. Both are durable."""

import asyncio
import tempfile
from datetime import UTC, datetime, timedelta

from umi import ManualClock, Memory


async def main() -> None:
    """Edit blocks, restore a version, let a working key expire, and survive a restart."""
    clock = ManualClock(datetime(2026, 6, 1, 9, 0, tzinfo=UTC))
    with tempfile.TemporaryDirectory() as folder:
        async with Memory.open(folder, user="nadia", agent="juno", session="studio", clock=clock) as memory:
            core = memory.core
            await core.set_block_async("system", "You are a helpful assistant.")
            await core.set_block_async("human", "Prefers concise answers.", label="Nadia", importance=0.9)
            await core.set_block_async("goals", "Open the studio in April.")
            await core.set_block_async("goals", "Open the studio on the second of May.")
            print(core.render())
            print(f"used {core.used_bytes} of {core.max_bytes} bytes ({core.utilization:.1%})\n")

            print("versions of goals:")
            for block in core.versions("goals"):
                print(f"  {block.version}: {block.content}")
            await core.restore_async("goals", version=1)
            print("restored:", core.get_block("goals"), "\n")

            working = memory.working
            await working.set_async("draft", b"Dear Tarek,", ttl_secs=60)
            await working.append_async("draft", b" the shelves are beautiful.")
            await working.incr_async("visitors", 40)
            print(await memory.context(budget_tokens=100))

            clock.advance(timedelta(minutes=2))
            print("\nafter two minutes:", working.keys(), "draft:", working.get("draft"))

        # Another process, or the same one tomorrow, finds both.
        async with Memory.open(folder, user="nadia", agent="juno", session="studio", clock=clock) as memory:
            print("after a restart:", memory.core.get_block("goals"), memory.working.get("visitors"))


if __name__ == "__main__":
    asyncio.run(main())
