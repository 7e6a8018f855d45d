"""Several users in one store: no read of one shows anything of another."""

import asyncio
import tempfile

from umi import InvalidInputError, Memory

SAID = {
    "alice": "My passport number is kept in the blue folder.",
    "bob": "My passport expires in August.",
    "carol": "I have never had a passport.",
}


async def main() -> None:
    """Write for three users, read as each of them, then forget one."""
    with tempfile.TemporaryDirectory() as folder:
        async with Memory.open(folder) as memory:
            for user, text in SAID.items():
                await memory.remember(text, user=user)

            for user in SAID:
                found = await memory.recall("What about my passport?", user=user)
                print(f"{user}: {[hit.content for hit in found]}")
                # An id of another user is an id that does not exist.
                for other in SAID:
                    assert (await memory.get(found[0].id, user=other) is None) == (other != user)

            # A handle for one request is pinned to its user: a bug in a handler cannot reach another.
            alice = memory.scoped(user="alice")
            try:
                await alice.recall("passport", user="bob")
            except InvalidInputError as error:
                print("refused:", error)

            # No user is a tenant of its own, never "all".
            print("without a user:", list(await memory.recall("passport")))

            print("forgotten of bob:", await memory.forget_scope(user="bob"))
            await memory.purge()
            print("left:", {user: await memory.count(user=user) for user in SAID})


if __name__ == "__main__":
    asyncio.run(main())
