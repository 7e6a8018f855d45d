"""The durable core and working memory of a `Memory`."""

from __future__ import annotations

TYPE_CHECKING = False  # importing `typing` would cost half of the time that importing umi takes
if TYPE_CHECKING:
    from umi._umi import Block, Parts

__all__ = ["DurableCoreMemory", "DurableWorkingMemory"]


class DurableCoreMemory:
    """The core memory of a handle's (user, agent), kept in the store: each edit is a version.

    Every method blocks and has a twin named `…_async`.
    """

    __slots__ = ("_parts",)

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def set_block(self, type: str, content: str, *, label: str | None = None, importance: float | None = None) -> None:
        """Replaces a block. A label or importance of None keeps the old one; an empty label takes it away."""
        self._parts.core_set_block(type, content, label, importance).wait()

    async def set_block_async(
        self, type: str, content: str, *, label: str | None = None, importance: float | None = None
    ) -> None:
        """As `set_block()`, awaited."""
        await self._parts.core_set_block(type, content, label, importance)

    def set_block_with_label(self, type: str, label: str, content: str) -> None:
        """Replaces a block and its label."""
        self._parts.core_set_block(type, content, label, None).wait()

    async def set_block_with_label_async(self, type: str, label: str, content: str) -> None:
        """As `set_block_with_label()`, awaited."""
        await self._parts.core_set_block(type, content, label, None)

    def get_block(self, type: str) -> str | None:
        """Gives the content of a block, or None."""
        return self._parts.core_get_block(type).wait()

    async def get_block_async(self, type: str) -> str | None:
        """As `get_block()`, awaited."""
        return await self._parts.core_get_block(type)

    def remove_block(self, type: str) -> bool:
        """Removes a block. Gives whether it was there."""
        return self._parts.core_remove_block(type).wait()

    async def remove_block_async(self, type: str) -> bool:
        """As `remove_block()`, awaited."""
        return await self._parts.core_remove_block(type)

    def has_block(self, type: str) -> bool:
        """Says whether there is a block of this type."""
        return (self._parts.core_get_block(type).wait()) is not None

    async def has_block_async(self, type: str) -> bool:
        """As `has_block()`, awaited."""
        return (await self._parts.core_get_block(type)) is not None

    def clear(self) -> None:
        """Removes every block."""
        self._parts.core_clear().wait()

    async def clear_async(self) -> None:
        """As `clear()`, awaited."""
        await self._parts.core_clear()

    def blocks(self) -> list[Block]:
        """Gives the blocks, in the order of rendering."""
        return self._parts.core_blocks().wait()

    async def blocks_async(self) -> list[Block]:
        """As `blocks()`, awaited."""
        return await self._parts.core_blocks()

    def render(self) -> str:
        """Renders the blocks as XML for a model's prompt. Content can never leave its element."""
        return self._parts.core_render().wait()

    async def render_async(self) -> str:
        """As `render()`, awaited."""
        return await self._parts.core_render()

    def render_markdown(self) -> str:
        """Renders the blocks as Markdown."""
        return self._parts.core_render_markdown().wait()

    async def render_markdown_async(self) -> str:
        """As `render_markdown()`, awaited."""
        return await self._parts.core_render_markdown()

    def versions(self, type: str) -> list[Block]:
        """Lists the versions of a block, oldest first."""
        return self._parts.core_versions(type).wait()

    async def versions_async(self, type: str) -> list[Block]:
        """As `versions()`, awaited."""
        return await self._parts.core_versions(type)

    def restore(self, type: str, version: int) -> Block:
        """Makes the content of an older version the newest one."""
        return self._parts.core_restore(type, version).wait()

    async def restore_async(self, type: str, version: int) -> Block:
        """As `restore()`, awaited."""
        return await self._parts.core_restore(type, version)

    @property
    def used_bytes(self) -> int:
        """The bytes of content in use."""
        return self._parts.core_usage().wait()[0]

    @property
    def max_bytes(self) -> int:
        """The bytes of content that fit in all."""
        return self._parts.core_usage().wait()[1]

    @property
    def available_bytes(self) -> int:
        """The bytes of content that still fit."""
        used, most = self._parts.core_usage().wait()
        return max(most - used, 0)

    @property
    def utilization(self) -> float:
        """How full it is, from 0 to 1."""
        used, most = self._parts.core_usage().wait()
        return used / most

    def __repr__(self) -> str:
        kinds = ", ".join(block.type for block in self.blocks())
        return f"DurableCoreMemory(blocks=[{kinds}])"


class DurableWorkingMemory:
    """The working memory of a handle's (user, agent, session), kept in the store.

    Every method blocks and has a twin named `…_async`.
    """

    __slots__ = ("_parts",)

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def set(self, key: str, value: bytes, ttl_secs: float | None = None) -> None:
        """Writes a value, a `bytes`. `ttl_secs` None is the default time to live, `math.inf` none."""
        self._parts.working_set(key, value, ttl_secs).wait()

    async def set_async(self, key: str, value: bytes, ttl_secs: float | None = None) -> None:
        """As `set()`, awaited."""
        await self._parts.working_set(key, value, ttl_secs)

    def get(self, key: str) -> bytes | None:
        """Gives the value of a live key, or None."""
        return self._parts.working_get(key).wait()

    async def get_async(self, key: str) -> bytes | None:
        """As `get()`, awaited."""
        return await self._parts.working_get(key)

    def delete(self, key: str) -> bool:
        """Deletes a key. Gives whether it was live."""
        return self._parts.working_delete(key).wait()

    async def delete_async(self, key: str) -> bool:
        """As `delete()`, awaited."""
        return await self._parts.working_delete(key)

    def exists(self, key: str) -> bool:
        """Says whether a key is live."""
        return self._parts.working_exists(key).wait()

    async def exists_async(self, key: str) -> bool:
        """As `exists()`, awaited."""
        return await self._parts.working_exists(key)

    def keys(self) -> list[str]:
        """Gives the live keys, sorted."""
        return self._parts.working_keys().wait()

    async def keys_async(self) -> list[str]:
        """As `keys()`, awaited."""
        return await self._parts.working_keys()

    def ttl(self, key: str) -> float | None:
        """Gives the seconds that a key still lives, `math.inf` for ever, None for one that is not there."""
        return self._parts.working_ttl(key).wait()

    async def ttl_async(self, key: str) -> float | None:
        """As `ttl()`, awaited."""
        return await self._parts.working_ttl(key)

    def incr(self, key: str, delta: int = 1) -> int:
        """Adds to a decimal number and gives the sum; a missing key counts as 0. Keeps the time to live."""
        return self._parts.working_incr(key, delta).wait()

    async def incr_async(self, key: str, delta: int = 1) -> int:
        """As `incr()`, awaited."""
        return await self._parts.working_incr(key, delta)

    def append(self, key: str, value: bytes) -> int:
        """Puts bytes behind a value and gives its new length. Keeps the time to live."""
        return self._parts.working_append(key, value).wait()

    async def append_async(self, key: str, value: bytes) -> int:
        """As `append()`, awaited."""
        return await self._parts.working_append(key, value)

    def touch(self, key: str, ttl_secs: float | None = None) -> bool:
        """Lets a time to live begin anew, with `ttl_secs` or the key's own. Gives whether the key was live."""
        return self._parts.working_touch(key, ttl_secs).wait()

    async def touch_async(self, key: str, ttl_secs: float | None = None) -> bool:
        """As `touch()`, awaited."""
        return await self._parts.working_touch(key, ttl_secs)

    def cleanup_expired(self) -> int:
        """Drops what has expired and gives how many keys that were."""
        return self._parts.working_cleanup_expired().wait()

    async def cleanup_expired_async(self) -> int:
        """As `cleanup_expired()`, awaited."""
        return await self._parts.working_cleanup_expired()

    def clear(self) -> None:
        """Deletes every key."""
        self._parts.working_clear().wait()

    async def clear_async(self) -> None:
        """As `clear()`, awaited."""
        await self._parts.working_clear()

    @property
    def used_bytes(self) -> int:
        """The bytes of live keys and values."""
        return self._parts.working_usage().wait()[0]

    @property
    def entry_count(self) -> int:
        """The number of live keys."""
        return self._parts.working_usage().wait()[1]

    @property
    def max_bytes(self) -> int:
        """The bytes of keys and values that fit in all."""
        return self._parts.working_usage().wait()[2]

    @property
    def available_bytes(self) -> int:
        """The bytes that still fit."""
        used, _, most = self._parts.working_usage().wait()
        return max(most - used, 0)

    @property
    def is_empty(self) -> bool:
        """Whether no key is live."""
        return self.entry_count == 0

    def __repr__(self) -> str:
        return f"DurableWorkingMemory(entry_count={self.entry_count})"
