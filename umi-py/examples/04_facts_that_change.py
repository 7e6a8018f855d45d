"""Facts change: what is true now, what was true then, and how the one became the other."""

import asyncio
from datetime import UTC, datetime

from umi import Entity, Memory, RecallOptions


def year(number: int) -> datetime:
    """The first day of a year."""
    return datetime(number, 1, 1, tzinfo=UTC)


async def main() -> None:
    """Tell an employment history out of order and read it in order."""
    async with Memory.in_memory(user="nadia") as memory:
        for start, employer in [(2019, "Acme Corp"), (2024, "Initech"), (2021, "Globex")]:
            result = await memory.add_entity(
                Entity("person", "Tarek", f"works at {employer}", attribute="employer", event_time=year(start))
            )
            for evolution in result.evolutions:
                print(f"{evolution.type}: {evolution.reason}")

        current = (await memory.list())[0]
        print("\nnow:    ", current.content, f"(since {current.valid_from:%Y})")
        for then in (2020, 2022):
            found = await memory.recall("Where does Tarek work?", RecallOptions(as_of=year(then)))
            print(f"in {then}:", found[0].content)

        print("\nhistory:")
        for version in await memory.history(current.id):
            until = f"{version.valid_to:%Y}" if version.valid_to else "now"
            print(f"  {version.valid_from:%Y} to {until:4}  {version.content}")

        newer = await memory.update(current.id, content="works at Initech as head of design")
        print("\nupdated:", newer.content)
        relations = await memory.evolutions(newer.id)
        print("because:", [(relation.type, relation.source_id == current.id) for relation in relations])

        # Forgetting a version reads as if it had never been said: its predecessor is current again.
        await memory.forget(newer.id)
        print("after forgetting it:", (await memory.list())[0].content)


if __name__ == "__main__":
    asyncio.run(main())
