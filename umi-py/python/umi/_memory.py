"""`Memory`: the handle that users hold."""

from __future__ import annotations

import sys
from itertools import islice
from operator import length_hint
from sys import maxsize

from umi import _process
from umi._context import items_of, messages_of
from umi._durable import DurableCoreMemory, DurableWorkingMemory
from umi._results import recalled, remembered
from umi._umi import (
    REMEMBER_BATCH,
    AnthropicProvider,
    Batch,
    Engine,
    InMemoryStorageBackend,
    OpenAIEmbeddingProvider,
    OpenAIProvider,
    SqliteStorageBackend,
)
from umi.exceptions import ClosedError, ForkedError, InvalidInputError, UmiError

TYPE_CHECKING = False  # importing `typing` would cost half of the time that importing umi takes
if TYPE_CHECKING:
    import builtins
    import os
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType
    from typing import Any, Self, overload

    from umi._context import Context, Format
    from umi._results import RecallResults, RememberResult
    from umi._umi import (
        EmbeddingProvider,
        Entity,
        Episode,
        EvolutionRelation,
        Job,
        LanceStorageBackend,
        LanguageModelProvider,
        ManualClock,
        MemoryConfig,
        RecallOptions,
        RememberOptions,
        Scope,
    )

else:

    def overload(function: object) -> object:
        """What `typing` has it for is not needed when nothing is checked."""
        return function


__all__ = ["Memory"]

# Between two turns of the event loop, in a fraction of a millisecond. The caller's own generator makes the items.
_ITEMS_AT_ONCE = 16
_RESULTS_AT_ONCE = 64


class Memory:
    """A memory for AI agents: one store, one embedder, a default scope.

    Open one with `Memory.open()`, `Memory.in_memory()`, `Memory.sim()` or a `MemoryBuilder`. Every method is async and
    has a twin named `…_sync`, which blocks without holding the interpreter and works inside a running event loop too.

    In every call `user`, `agent` and `session` name whose memory it is; None means the handle's. The user is the
    tenant: an id of another user behaves exactly as one that does not exist.

    Example:
        >>> with Memory.in_memory(user="alice") as memory:
        ...     _ = memory.remember_sync("I moved to Rome in May.")
        ...     memory.recall_sync("Where does she live?")[0].content
        'I moved to Rome in May.'
    """

    __slots__ = ("__weakref__", "_engine")
    _engine: Engine

    def __init__(self) -> None:
        raise TypeError("open a memory with Memory.open(), Memory.in_memory() or MemoryBuilder().build()")

    @classmethod
    def _of(cls, engine: Engine) -> Self:
        memory = object.__new__(cls)
        memory._engine = engine
        return memory

    @classmethod
    def _open(  # noqa: PLR0917 - called by three constructors and the builder, in this order
        cls,
        storage: SqliteStorageBackend | LanceStorageBackend | InMemoryStorageBackend | None,
        seed: int | None,
        llm: LanguageModelProvider | None,
        embedder: EmbeddingProvider | None,
        config: MemoryConfig | None,
        scope: tuple[str | None, str | None, str | None],
        clock: ManualClock | None,
        *,
        reembed: bool,
    ) -> Self:
        waits = not _is_on_an_event_loop()
        memory = cls._of(Engine.open(storage, llm, embedder, config, scope, clock, reembed, seed, waits))
        _process.opened(memory)
        return memory

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] = "./umi_memory",
        *,
        llm: LanguageModelProvider | None = None,
        embedder: EmbeddingProvider | None = None,
        config: MemoryConfig | None = None,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
        clock: ManualClock | None = None,
        reembed: bool = False,
    ) -> Self:
        """Opens the store in a folder, which is made if it is missing.

        Where no event loop runs, it blocks until the store is open: some milliseconds, some ten for a new store. On an
        event loop it raises what a look at the folder and at the file's header tells, and waits for the rest for three
        at most. What takes longer ends on the worker threads: `async with` and awaited calls wait for it, and raise
        what this would have raised; so do a call that blocks, and `path`.

        Args:
            path: The folder. Opening it again in one process gives another handle on the same store.
            llm: What finds facts in what is said, and relates them. Without one what is said is remembered as it is.
            embedder: What makes vectors; `StaticEmbeddingProvider()` unless it is given.
            config: Limits and defaults.
            user: The tenant of calls that name none.
            agent: The agent of calls that name none.
            session: The session of calls that name none.
            clock: A clock for tests; the system's unless it is given.
            reembed: Allows an embedder of another space than the store's; `reembed()` then moves the store to it.

        Raises:
            InvalidInputError: The path is empty or holds a NUL, or another argument is malformed.
            StoreIOError: The folder cannot be made, read or written.
            CorruptStoreError: It is damaged.
            StoreVersionError: It was written by a newer version, or is no store.
            EmbeddingSpaceError: Its vectors are of another embedder.
        """
        return cls._open(
            SqliteStorageBackend.connect(path),
            None,
            llm,
            embedder,
            config,
            (user, agent, session),
            clock,
            reembed=reembed,
        )

    @classmethod
    def in_memory(
        cls,
        *,
        llm: LanguageModelProvider | None = None,
        embedder: EmbeddingProvider | None = None,
        config: MemoryConfig | None = None,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
        clock: ManualClock | None = None,
        reembed: bool = False,
    ) -> Self:
        """Opens a new store without a file, which lives as long as its handles."""
        return cls._open(
            InMemoryStorageBackend(), None, llm, embedder, config, (user, agent, session), clock, reembed=reembed
        )

    @classmethod
    def sim(
        cls,
        seed: int,
        *,
        llm: LanguageModelProvider | None = None,
        embedder: EmbeddingProvider | None = None,
        config: MemoryConfig | None = None,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
        clock: ManualClock | None = None,
        reembed: bool = False,
    ) -> Self:
        """Opens a simulated store: no file, and ids, vectors and a clock that depend on the seed alone."""
        return cls._open(None, seed, llm, embedder, config, (user, agent, session), clock, reembed=reembed)

    @classmethod
    def with_anthropic(
        cls,
        anthropic_key: str | None = None,
        openai_key: str | None = None,
        db_path: str | os.PathLike[str] = "./umi_memory",
    ) -> Self:
        """Opens a store with Anthropic's default model and OpenAI's default embeddings.

        Args:
            anthropic_key: The key for Anthropic; `ANTHROPIC_API_KEY` unless it is given.
            openai_key: The key for OpenAI; `OPENAI_API_KEY` unless it is given.
            db_path: The store's folder.

        Raises:
            InvalidInputError: A key is neither given nor in the environment.
        """
        llm, embedder = AnthropicProvider(anthropic_key), OpenAIEmbeddingProvider(openai_key)
        return cls.open(db_path, llm=llm, embedder=embedder)

    @classmethod
    def with_openai(cls, openai_key: str | None = None, db_path: str | os.PathLike[str] = "./umi_memory") -> Self:
        """Opens a store with OpenAI's default model and default embeddings.

        Args:
            openai_key: The key; `OPENAI_API_KEY` unless it is given.
            db_path: The store's folder.

        Raises:
            InvalidInputError: The key is neither given nor in the environment.
        """
        llm, embedder = OpenAIProvider(openai_key), OpenAIEmbeddingProvider(openai_key)
        return cls.open(db_path, llm=llm, embedder=embedder)

    def scoped(self, *, user: str | None = None, agent: str | None = None, session: str | None = None) -> Self:
        """Gives a handle of another scope on the same store; a user named here is pinned.

        Closing it does not close the store.
        """
        return self._of(self._engine.scoped((user, agent, session)))

    @property
    def scope(self) -> Scope:
        """The scope of calls that name none."""
        return self._engine.scope

    @property
    def config(self) -> MemoryConfig:
        """The limits and defaults that it was opened with."""
        return self._engine.config

    @property
    def path(self) -> str | None:
        """The store's folder, or None in memory."""
        return self._engine.path

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._engine.is_closed

    @property
    def core(self) -> DurableCoreMemory:
        """The durable core memory of this handle's (user, agent)."""
        return DurableCoreMemory(self._engine.parts())

    @property
    def working(self) -> DurableWorkingMemory:
        """The durable working memory of this handle's (user, agent, session)."""
        return DurableWorkingMemory(self._engine.parts())

    async def remember(
        self,
        text: str | Sequence[Mapping[str, Any]],
        options: RememberOptions | None = None,
        *,
        role: str = "user",
        name: str | None = None,
        at: datetime | None = None,
        metadata: dict[str, Any] | None = None,
        source: str | None = None,
        key: str | None = None,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> RememberResult:
        """Remembers a text, or a conversation as one transaction.

        Once the input is accepted, nothing that an embedder or a language model does makes it fail: the words are
        kept, and what failed is in `warnings` and in `pending()`.

        With a language model, the facts of a text, or of a conversation as a whole, are found, related to stored ones
        and recorded in a second transaction; without one, or where it finds nothing, `entities` holds the episodes as
        notes. An answer that cannot be read is asked for once more; one that ends at its limit of tokens is asked for
        with half of the turns, down to a single one, of which what came before the end is used, with a warning. What
        fails is tried again as `retry_pending()` says. `usage` counts every answer, also those of no use. With
        `RememberOptions(wait="durable")` the model is asked behind the call, and its failures are in `pending()` alone.

        A call that is cancelled stops the model's request. Either nothing has happened then, or the episodes are
        stored with their jobs, which `flush()`, `retry_pending()` or the next opening runs. What is forgotten while it
        is read is in no result.

        What was recalled is not read a second time. A `<memory>` document of `context()` in a text is left out, and the
        words around it are read. A turn whose `source` is a `Recalled.recalled_source` is kept and not read at all, so
        that what is new in it belongs into a call of its own.

        Args:
            text: What was said, or a list of turns `{"role": …, "content": …}`, each with a `"name"` or without.
            options: How it is remembered.
            role: Who spoke: user, assistant, system, tool or another word; a turn's own role comes first.
            name: The speaker's name.
            at: When it was said, an aware datetime; now unless it is given. One beyond 9999-12-30 22:00 UTC, such as
                `datetime.max`, is kept as that last moment.
            metadata: Your own fields: a JSON object of at most 64 KiB.
            source: Where it comes from.
            key: Makes a repeated call idempotent, within the user.
            user: The tenant, if not the handle's.
            agent: The agent, if not the handle's.
            session: The session, if not the handle's.

        Raises:
            EmptyTextError: The text is empty or white space.
            TextTooLongError: It is over `MemoryConfig.text_bytes`.
            InvalidInputError: Another argument is malformed.
            StorageError: It could not be written.
        """
        return remembered(
            await self._engine.remember(text, options, role, name, at, metadata, source, key, (user, agent, session))
        )

    def remember_sync(
        self,
        text: str | Sequence[Mapping[str, Any]],
        options: RememberOptions | None = None,
        *,
        role: str = "user",
        name: str | None = None,
        at: datetime | None = None,
        metadata: dict[str, Any] | None = None,
        source: str | None = None,
        key: str | None = None,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> RememberResult:
        """As `remember()`, blocking."""
        return remembered(
            self._engine.remember(text, options, role, name, at, metadata, source, key, (user, agent, session)).wait()
        )

    async def remember_many(
        self,
        items: Iterable[str | Mapping[str, Any]],
        options: RememberOptions | None = None,
        *,
        batch_size: int = REMEMBER_BATCH,
        progress: Callable[[int, int | None], object] | None = None,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> builtins.list[RememberResult]:
        """Remembers many texts, each batch as one transaction.

        The items are read lazily, so that a generator may be given. A batch that fails is not written, nor are those
        behind it.

        Args:
            items: Texts, or dictionaries of the keywords of `remember()`: `{"text", "user", "role", "name", "at", …}`.
            options: How they are remembered.
            batch_size: How many items make one transaction.
            progress: Is told (done, total) after each batch; the total is None where it is not known.
            user: The tenant, if not the handle's.
            agent: The agent, if not the handle's.
            session: The session, if not the handle's.
        """
        results: builtins.list[RememberResult] = []
        iterator, total = _begin(items, batch_size, progress)
        while True:
            batch = Batch(options, (user, agent, session))
            for slice_ in _slices(iterator, batch_size):
                batch.extend(slice_)
                await _Pause()  # the event loop has other work, too
            if not batch:
                return results
            parts = iter(await self._engine.remember_batch(batch))
            while some := list(map(remembered, islice(parts, _RESULTS_AT_ONCE))):
                results.extend(some)
                await _Pause()
            if progress is not None:
                progress(len(results), total)

    def remember_many_sync(
        self,
        items: Iterable[str | Mapping[str, Any]],
        options: RememberOptions | None = None,
        *,
        batch_size: int = REMEMBER_BATCH,
        progress: Callable[[int, int | None], object] | None = None,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> builtins.list[RememberResult]:
        """As `remember_many()`, blocking."""
        results: builtins.list[RememberResult] = []
        iterator, total = _begin(items, batch_size, progress)
        while True:
            batch = Batch(options, (user, agent, session))
            for slice_ in _slices(iterator, batch_size):
                batch.extend(slice_)
            if not batch:
                return results
            results.extend(map(remembered, self._engine.remember_batch(batch).wait()))
            if progress is not None:
                progress(len(results), total)

    async def add_entity(
        self, entity: Entity, *, user: str | None = None, agent: str | None = None, session: str | None = None
    ) -> RememberResult:
        """Stores a fact that you already have, by the same rules of time as an extracted one.

        A fact with the subject and attribute of an older one closes it and records an `update`.
        """
        return remembered(await self._engine.add_entity(entity, (user, agent, session)))

    def add_entity_sync(
        self, entity: Entity, *, user: str | None = None, agent: str | None = None, session: str | None = None
    ) -> RememberResult:
        """As `add_entity()`, blocking."""
        return remembered(self._engine.add_entity(entity, (user, agent, session)).wait())

    async def recall(
        self,
        query: str,
        options: RecallOptions | None = None,
        *,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> RecallResults:
        """Finds what is relevant to a query, best first. An empty query has an empty result.

        A query that cannot be embedded is answered by its words, and one that a model fails to rewrite is searched as
        it is; both are in `warnings`.

        Raises:
            InvalidInputError: `deep_search` is on in the options, and this memory has no language model; or another
                argument is malformed.
            EmbeddingError: The query cannot be embedded, and `use_text_search` is off.
            TextTooLongError: The query is over `MemoryConfig.text_bytes`.
            StorageError: The store could not be read.
        """
        return recalled(await self._engine.recall(query, options, (user, agent, session)))

    def recall_sync(
        self,
        query: str,
        options: RecallOptions | None = None,
        *,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> RecallResults:
        """As `recall()`, blocking."""
        return recalled(self._engine.recall(query, options, (user, agent, session)).wait())

    @overload
    async def context(
        self,
        query: str | None = None,
        *,
        budget_tokens: int = 2000,
        options: RecallOptions | None = None,
        format: None = None,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> str: ...
    @overload
    async def context(  # noqa: F811 - an overload
        self,
        query: str | None = None,
        *,
        budget_tokens: int = 2000,
        options: RecallOptions | None = None,
        format: Format,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> builtins.list[Any]: ...
    async def context(  # noqa: F811 - an overload
        self,
        query: str | None = None,
        *,
        budget_tokens: int = 2000,
        options: RecallOptions | None = None,
        format: Format | None = None,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> str | builtins.list[Any]:
        """Renders core memory, working memory and what a recall finds as one XML document for a model's prompt.

        Args:
            query: What to recall; None for the session's latest turns and the most important current facts.
            budget_tokens: How much working memory and recalled items may take. Core memory is never cut, and the images
                that messages have are not counted.
            options: How to recall.
            format: None for the document alone. `openai`, `openai-responses`, `anthropic` or `gemini` for messages, as
                `Context.to_messages` gives them, of the document and of the images of remembered contexts among what it
                shows: the best first, at most eight, each behind the ref that the document has for it. A text that
                says why stands for an image that is damaged, lost, or not taken by the format.
            user: The tenant, if not the handle's.
            agent: The agent, if not the handle's.
            session: The session, if not the handle's.
        """
        if format is None:
            return await self._engine.context(query, budget_tokens, options, (user, agent, session))
        items = await self._engine.context_items(query, budget_tokens, options, (user, agent, session))
        from asyncio import to_thread  # noqa: PLC0415 - it takes long to import

        return await to_thread(messages_of, items, format)

    @overload
    def context_sync(
        self,
        query: str | None = None,
        *,
        budget_tokens: int = 2000,
        options: RecallOptions | None = None,
        format: None = None,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> str: ...
    @overload
    def context_sync(  # noqa: F811 - an overload
        self,
        query: str | None = None,
        *,
        budget_tokens: int = 2000,
        options: RecallOptions | None = None,
        format: Format,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> builtins.list[Any]: ...
    def context_sync(  # noqa: F811 - an overload
        self,
        query: str | None = None,
        *,
        budget_tokens: int = 2000,
        options: RecallOptions | None = None,
        format: Format | None = None,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> str | builtins.list[Any]:
        """As `context()`, blocking."""
        if format is None:
            return self._engine.context(query, budget_tokens, options, (user, agent, session)).wait()
        return messages_of(
            self._engine.context_items(query, budget_tokens, options, (user, agent, session)).wait(), format
        )

    async def remember_context(
        self,
        context: Context,
        options: RememberOptions | None = None,
        *,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> RememberResult:
        """Remembers the items of a context, an episode each, in order.

        An episode holds the text; of a file or an image its name, the `note`, `summary` and `caption` of its metadata
        and what can be extracted without a model. The content is copied into the store. Texts without words are passed
        over. Images in memory are kept as PNG of 8 bits a channel, as models read them. A repeated call with the same
        contents and metadata gives the same episodes.

        A result of `recall()` that comes from one of them has its `ref`, by which `remembered_item()` gives the
        content.

        Raises:
            FileError: A file cannot be read; an `OSError`, which names the ref. Nothing has been remembered.
            CapacityError: A file has more than 256 MiB.
            StorageError: The store could not be written.
        """
        return remembered(await self._engine.remember_context(items_of(context), options, (user, agent, session)))

    def remember_context_sync(
        self,
        context: Context,
        options: RememberOptions | None = None,
        *,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> RememberResult:
        """As `remember_context()`, blocking."""
        return remembered(self._engine.remember_context(items_of(context), options, (user, agent, session)).wait())

    async def remembered_item(
        self, ref: str, *, user: str | None = None, agent: str | None = None, session: str | None = None
    ) -> dict[str, Any] | None:
        """Gives an item of a remembered context by the global ref of a result, or None where there is none.

        The keys are `episode_id`, `session_id`, `ref_id`, `kind`, `name`, `uri`, `media_type`, `text` (what is
        remembered in words) and `content` (its bytes; None of an address).

        Raises:
            InvalidInputError: It is no global ref; a `ValueError`.
            CorruptStoreError: The content is lost.
        """
        return await self._engine.remembered_item(ref, (user, agent, session))

    def remembered_item_sync(
        self, ref: str, *, user: str | None = None, agent: str | None = None, session: str | None = None
    ) -> dict[str, Any] | None:
        """As `remembered_item()`, blocking."""
        return self._engine.remembered_item(ref, (user, agent, session)).wait()

    async def get(
        self, id: str, *, user: str | None = None, agent: str | None = None, session: str | None = None
    ) -> Entity | None:
        """Gives an entity by its id, a closed version too; the note form of an episode; None for an unknown id."""
        return await self._engine.get(id, (user, agent, session))

    def get_sync(
        self, id: str, *, user: str | None = None, agent: str | None = None, session: str | None = None
    ) -> Entity | None:
        """As `get()`, blocking."""
        return self._engine.get(id, (user, agent, session)).wait()

    async def history(
        self, id: str, *, user: str | None = None, agent: str | None = None, session: str | None = None
    ) -> builtins.list[Entity]:
        """Gives a fact's versions, what it replaced and what replaced it, oldest first; empty for an unknown id."""
        return await self._engine.history(id, (user, agent, session))

    def history_sync(
        self, id: str, *, user: str | None = None, agent: str | None = None, session: str | None = None
    ) -> builtins.list[Entity]:
        """As `history()`, blocking."""
        return self._engine.history(id, (user, agent, session)).wait()

    async def evolutions(
        self, id: str, *, user: str | None = None, agent: str | None = None, session: str | None = None
    ) -> builtins.list[EvolutionRelation]:
        """Gives the relations from and to an entity, oldest first; empty for an unknown id."""
        return await self._engine.evolutions(id, (user, agent, session))

    def evolutions_sync(
        self, id: str, *, user: str | None = None, agent: str | None = None, session: str | None = None
    ) -> builtins.list[EvolutionRelation]:
        """As `evolutions()`, blocking."""
        return self._engine.evolutions(id, (user, agent, session)).wait()

    async def list(
        self,
        *,
        entity_type: str | None = None,
        current: bool = True,
        as_of: datetime | None = None,
        limit: int = 100,
        offset: int = 0,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> builtins.list[Entity]:
        """Lists facts.

        Args:
            entity_type: Only facts of this type.
            current: Only what is true now; False for every version.
            as_of: What was true at a time, in the place of `current`; `datetime.max` means the last moment that can
                be kept, 9999-12-30 22:00 UTC.
            limit: The most to give, 1 to 1,000.
            offset: How many to pass over.
            user: The tenant, if not the handle's.
            agent: The agent, if not the handle's.
            session: The session, if not the handle's.
        """
        return await self._engine.list(entity_type, current, as_of, limit, offset, (user, agent, session))

    def list_sync(
        self,
        *,
        entity_type: str | None = None,
        current: bool = True,
        as_of: datetime | None = None,
        limit: int = 100,
        offset: int = 0,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> builtins.list[Entity]:
        """As `list()`, blocking."""
        return self._engine.list(entity_type, current, as_of, limit, offset, (user, agent, session)).wait()

    async def episodes(
        self,
        *,
        limit: int = 100,
        offset: int = 0,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> builtins.list[Episode]:
        """Lists what was said, in the order of time; `limit` is 1 to 1,000."""
        return await self._engine.episodes(limit, offset, (user, agent, session))

    def episodes_sync(
        self,
        *,
        limit: int = 100,
        offset: int = 0,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> builtins.list[Episode]:
        """As `episodes()`, blocking."""
        return self._engine.episodes(limit, offset, (user, agent, session)).wait()

    async def update(
        self,
        id: str,
        *,
        content: str | None = None,
        metadata: dict[str, Any] | None = None,
        confidence: float | None = None,
        importance: float | None = None,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> Entity:
        """Makes a new version of a fact, true from now on; the version that holds now is closed.

        Whichever version of the fact the id names, metadata is merged into that of the version that holds now, and
        what is None stays as it is there. A version that is planned for later stays ahead.

        Raises:
            NotFoundError: No fact of this scope has the id.
            InvalidInputError: The id is an episode's, a value is malformed, or another agent or session said what
                holds now and `content` is None.
        """
        return await self._engine.update(id, content, metadata, confidence, importance, (user, agent, session))

    def update_sync(
        self,
        id: str,
        *,
        content: str | None = None,
        metadata: dict[str, Any] | None = None,
        confidence: float | None = None,
        importance: float | None = None,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> Entity:
        """As `update()`, blocking."""
        return self._engine.update(id, content, metadata, confidence, importance, (user, agent, session)).wait()

    async def forget(
        self,
        id: str,
        *,
        chain: bool = False,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> bool:
        """Forgets a fact's version, or an episode with all that was derived from it. Gives whether it was there.

        It reads as if it had never been said: the predecessor of a forgotten version is current again, or ends where
        what followed begins. `chain=True` forgets the whole history, as `history()` shows it.

        What an episode of `remember_context()` stands for is not found any more at once. Its bytes are in the store's
        folder until `purge()`, or until `Context.gc()` an hour after they were put; where another episode or a saved
        context holds the same content, they stay.
        """
        return await self._engine.forget(id, chain, (user, agent, session))

    def forget_sync(
        self,
        id: str,
        *,
        chain: bool = False,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
    ) -> bool:
        """As `forget()`, blocking."""
        return self._engine.forget(id, chain, (user, agent, session)).wait()

    async def forget_scope(
        self, *, confirm: bool = False, user: str | None = None, agent: str | None = None, session: str | None = None
    ) -> int:
        """Forgets everything of a scope: facts, episodes, core and working memory, jobs, and saved contexts.

        Nothing finds it any more at once. Its bytes, files of images among them, are in the store's folder until
        `purge()`; those of images also go with `Context.gc()` an hour after they were put.

        It needs an explicit `user`, or `confirm=True` for the handle's own scope.

        Returns:
            How many episodes and facts that were.
        """
        return await self._engine.forget_scope(confirm, (user, agent, session))

    def forget_scope_sync(
        self, *, confirm: bool = False, user: str | None = None, agent: str | None = None, session: str | None = None
    ) -> int:
        """As `forget_scope()`, blocking."""
        return self._engine.forget_scope(confirm, (user, agent, session)).wait()

    async def pending(
        self, *, user: str | None = None, agent: str | None = None, session: str | None = None
    ) -> builtins.list[Job]:
        """Lists work that waits, oldest first."""
        return await self._engine.pending((user, agent, session))

    def pending_sync(
        self, *, user: str | None = None, agent: str | None = None, session: str | None = None
    ) -> builtins.list[Job]:
        """As `pending()`, blocking."""
        return self._engine.pending((user, agent, session)).wait()

    async def retry_pending(self) -> int:
        """Runs the work that waits, of all users, and gives how many jobs were finished. One that fails stays.

        Each job is tried once a call; when a service is out, those behind it are left. By itself a job is tried once,
        by the call that left it or behind it, and again when the store is opened. Behind a failure that passes (a
        timeout, a connection that breaks, a status of 429 or 5xx) it is also tried after 30 seconds, then after a
        minute, and so on up to an hour, or when the service said; behind others, a wrong key say, it is not.

        A job that another call or process is at is left to it, for a minute after that one was last heard of: jobs of a
        process that was killed come back then, by themselves where a memory with the store open is there to take them.
        """
        return await self._engine.retry_pending()

    def retry_pending_sync(self) -> int:
        """As `retry_pending()`, blocking."""
        return self._engine.retry_pending().wait()

    async def reembed(self, *, progress: Callable[[int, int], object] | None = None) -> int:
        """Moves the store's vectors to this memory's embedder, and gives how many rows that were. May be resumed.

        Args:
            progress: Is told (done, total), from a worker thread. What it raises reaches you once the move is done.
        """
        return await self._engine.reembed(progress)

    def reembed_sync(self, *, progress: Callable[[int, int], object] | None = None) -> int:
        """As `reembed()`, blocking."""
        return self._engine.reembed(progress).wait()

    async def purge(self) -> None:
        """Rewrites the store so that no byte of what was forgotten is left in its folder."""
        await self._engine.purge()

    def purge_sync(self) -> None:
        """As `purge()`, blocking."""
        self._engine.purge().wait()

    async def count(self, *, user: str | None = None, agent: str | None = None, session: str | None = None) -> int:
        """Counts current facts and episodes."""
        return await self._engine.count((user, agent, session))

    def count_sync(self, *, user: str | None = None, agent: str | None = None, session: str | None = None) -> int:
        """As `count()`, blocking."""
        return self._engine.count((user, agent, session)).wait()

    async def stats(self) -> dict[str, Any]:
        """Gives the rows by kind, bytes on disk, the state of the index, the embedder and what the model took.

        `usage` has the steps `extract`, `evolve` and `expand` (rewriting queries, those of `context()` too) and their
        `total`, each with `input_tokens`, `output_tokens` and `requests`, and `cost`, None without
        `MemoryConfig(token_prices=…)`. It counts every answer since this memory was opened, also those of no use.
        """
        return await self._engine.stats()

    def stats_sync(self) -> dict[str, Any]:
        """As `stats()`, blocking."""
        return self._engine.stats().wait()

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Writes a consistent copy of the store, while it is in use, into a folder that is empty or not there.

        The folder holds nothing that could be taken for a store until the copy is whole and on the disk.

        Raises:
            InvalidInputError: The folder holds something, or is in the store itself.
            StoreIOError: It cannot be written; nothing is left of the copy.
        """
        await self._engine.backup(path)

    def backup_sync(self, path: str | os.PathLike[str]) -> None:
        """As `backup()`, blocking."""
        self._engine.backup(path).wait()

    async def check(self) -> dict[str, Any]:
        """Checks the whole store: `ok`, a list of `problems`, and how many rows were `checked` by table.

        It looks at every page, reference, row, chain, place in the feed, piece and vector, and compares what the index
        holds with the ledger. It takes as long as reading the store takes, and writes go on meanwhile.
        """
        return await self._engine.check()

    def check_sync(self) -> dict[str, Any]:
        """As `check()`, blocking."""
        return self._engine.check().wait()

    @staticmethod
    async def recover(
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        *,
        embedder: EmbeddingProvider | None = None,
    ) -> dict[str, Any]:
        """Saves every row of a damaged store that can still be read into a new folder. The source is only read.

        Episodes keep their ids, keys and all their fields, facts are computed again from their sayings, core blocks
        keep their versions. The same on the command line: `python -m umi recover SOURCE TARGET`.

        Args:
            source: The folder of the damaged store, which no memory of this process may have open.
            target: A folder that is empty or not there.
            embedder: The store's embedder, for vectors that are lost; `StaticEmbeddingProvider()` unless it is given.
                Where it is not the store's own, what lacks a vector waits for it as a job.

        Returns:
            What is in the new store (`episodes`, `facts`, `decisions` of a model, `blocks`, `working_keys`,
            `context_items`), how many texts wait `to_embed`, what is known to be lost (`lost_episodes`, `lost_facts`,
            `lost_decisions`) and a list of `problems`.

        Raises:
            InvalidInputError: The target holds something, or the source is open here.
            StoreIOError: The files cannot be read or written.
            StoreLockedError: Another process is writing to the source.
            CorruptStoreError: Nothing at all can be read.
        """
        return await Engine.recover(source, target, embedder)

    @staticmethod
    def recover_sync(
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        *,
        embedder: EmbeddingProvider | None = None,
    ) -> dict[str, Any]:
        """As `recover()`, blocking."""
        return Engine.recover(source, target, embedder).wait()

    async def flush(self) -> None:
        """Waits for work that runs in the background. What a cancelled call left undone is done too.

        What has failed is not tried again: that is `retry_pending()`.
        """
        await self._engine.flush()

    def flush_sync(self) -> None:
        """As `flush()`, blocking."""
        self._engine.flush().wait()

    async def close(self) -> None:
        """Closes the store, or only this handle where it was made by `scoped()`. May be called again.

        It does not wait for embedders and models: what they do in the background is given up and its requests are
        stopped, the jobs stay in the store, and the next opening runs them. Call `flush()` before to have them done.
        """
        await self._engine.close()

    def close_sync(self) -> None:
        """As `close()`, blocking."""
        self._engine.close().wait()

    def _entered(self) -> Self:
        if self.is_closed:
            raise ClosedError("this memory is closed", hint="open it again")
        return self

    async def __aenter__(self) -> Self:
        await self._engine.opened()
        return self._entered()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:  # noqa: SIM105 - contextlib would be imported for this alone
            await self.close()
        except ForkedError:
            pass  # a child that was forked inside the block leaves it without closing what is its parent's

    def __enter__(self) -> Self:
        self._engine.opened().wait()
        return self._entered()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:  # noqa: SIM105 - contextlib would be imported for this alone
            self.close_sync()
        except ForkedError:
            pass  # as above

    def __repr__(self) -> str:
        try:
            if self._engine.is_settled:
                state = f"closed, path={self.path!r}" if self.is_closed else f"path={self.path!r}"
            else:
                state = "being opened"
        except ForkedError:
            return "Memory(inherited by a forked child)"
        except UmiError as error:
            return f"Memory(could not be opened: {error.message})"
        return f"Memory({state}, scope={self.scope!r})"


class _Pause:
    """Lets the event loop turn once, as `asyncio.sleep(0)` does."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield


def _is_on_an_event_loop() -> bool:
    """Says whether an event loop runs in this thread, without importing asyncio for it."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _begin(
    items: Iterable[str | Mapping[str, Any]], batch_size: int, progress: object
) -> tuple[Iterator[str | Mapping[str, Any]], int | None]:
    """Gives the items one by one, and how many they are where that is known."""
    if isinstance(items, (str, bytes, dict)):
        raise TypeError(f"expected an iterable of items, got {type(items).__name__}")
    if type(batch_size) is not int:
        raise TypeError(f"batch_size must be an int, got {type(batch_size).__name__}")
    if batch_size < 1:
        raise InvalidInputError(f"batch_size is `{max(batch_size, -maxsize)}`, it must be at least 1")
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be callable, got {type(progress).__name__}")
    hint = length_hint(items, -1)
    total = hint if hint >= 0 else None
    return iter(items), total


def _slices(iterator: Iterator[str | Mapping[str, Any]], size: int) -> Iterator[list[str | Mapping[str, Any]]]:
    """Gives the next `size` items, some at a time."""
    while some := list(islice(iterator, min(size, _ITEMS_AT_ONCE))):
        yield some
        size -= len(some)
