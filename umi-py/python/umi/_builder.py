"""`MemoryBuilder`: the parts of a memory, named one by one."""

from __future__ import annotations

from umi._memory import Memory

TYPE_CHECKING = False  # importing `typing` would cost half of the time that importing umi takes
if TYPE_CHECKING:
    from umi._umi import (
        EmbeddingProvider,
        InMemoryStorageBackend,
        LanceStorageBackend,
        LanguageModelProvider,
        ManualClock,
        MemoryConfig,
        SqliteStorageBackend,
    )

__all__ = ["MemoryBuilder"]


class MemoryBuilder:
    """Builds a `Memory` from its parts; what is not named has its default. Every `with_…` method changes the builder.

    Example:
        >>> builder = MemoryBuilder().with_storage(InMemoryStorageBackend()).with_scope(user="alice")
        >>> builder.build().scope.user
        'alice'
    """

    __slots__ = ("_clock", "_config", "_embedder", "_llm", "_reembed", "_scope", "_storage")

    def __init__(self) -> None:
        self._storage: SqliteStorageBackend | LanceStorageBackend | InMemoryStorageBackend | None = None
        self._llm: LanguageModelProvider | None = None
        self._embedder: EmbeddingProvider | None = None
        self._config: MemoryConfig | None = None
        self._scope: tuple[str | None, str | None, str | None] = (None, None, None)
        self._clock: ManualClock | None = None
        self._reembed = False

    def with_llm(self, llm: LanguageModelProvider | None) -> MemoryBuilder:
        """Finds facts in what is said, and relates them, with this language model."""
        self._llm = llm
        return self

    def with_embedder(self, embedder: EmbeddingProvider | None) -> MemoryBuilder:
        """Makes vectors with this embedder."""
        self._embedder = embedder
        return self

    def with_storage(
        self, storage: SqliteStorageBackend | LanceStorageBackend | InMemoryStorageBackend
    ) -> MemoryBuilder:
        """Keeps the store there; in `./umi_memory` unless it is told."""
        self._storage = storage
        return self

    def with_config(self, config: MemoryConfig | None) -> MemoryBuilder:
        """Uses these limits and defaults."""
        self._config = config
        return self

    def with_scope(
        self, *, user: str | None = None, agent: str | None = None, session: str | None = None
    ) -> MemoryBuilder:
        """Reads and writes in this scope where a call names none."""
        self._scope = (user, agent, session)
        return self

    def with_clock(self, clock: ManualClock | None) -> MemoryBuilder:
        """Takes times from this clock."""
        self._clock = clock
        return self

    def with_reembed(self, reembed: bool = True) -> MemoryBuilder:  # noqa: FBT001, FBT002 - a fluent switch
        """Allows an embedder of another space than the store's."""
        self._reembed = reembed
        return self

    def build(self) -> Memory:
        """Opens the memory; as `Memory.open()`."""
        return Memory._open(  # noqa: SLF001 - its own
            self._storage,
            None,
            self._llm,
            self._embedder,
            self._config,
            self._scope,
            self._clock,
            reembed=self._reembed,
        )

    def __repr__(self) -> str:
        return (
            f"MemoryBuilder(storage={self._storage!r}, llm={self._llm!r}, embedder={self._embedder!r}, "
            f"config={self._config!r})"
        )
