"""The native module of umi. Import `umi` instead."""

import builtins
import os
from asyncio import Future
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import GenericAlias
from typing import Any, Generic, Literal, Protocol, Self, TypeAlias, TypeVar, final

from typing_extensions import disjoint_base

from umi._results import Usage
from umi.exceptions import UmiError

__version__: str
REMEMBER_BATCH: int
COMPLETION_TOKENS: int
ANTHROPIC_MODEL: str
OPENAI_MODEL: str
OPENAI_EMBEDDING_MODEL: str

_T = TypeVar("_T")
_ScopeArgs: TypeAlias = tuple[str | None, str | None, str | None]
_Answer: TypeAlias = str | dict[str, Any] | Completion
_Failure: TypeAlias = tuple[str, UmiError, str | None]
_RememberedParts: TypeAlias = tuple[
    list[str], list[Entity], list[EvolutionRelation], list[_Failure], tuple[int, int, int]
]
_RecalledParts: TypeAlias = tuple[list[Recalled], list[_Failure], tuple[int, int, int]]

@final
class Operation(Generic[_T]):
    """A call of the engine that has not begun: `start()` gives an awaitable, `wait()` blocks. One of them, once."""

    def start(self) -> Future[_T]:
        """Begins on the worker threads and gives a future of the running event loop; cancelling it drops the call."""
    def wait(self, timeout: timedelta | None = None) -> _T:
        """Blocks until it is done, without holding the interpreter; raises `TimeoutError` after `timeout`."""
    def __await__(self) -> Generator[Any, None, _T]: ...
    @classmethod
    def __class_getitem__(cls, key: Any) -> GenericAlias: ...

@final
class Block:
    """One block of core memory: an immutable value."""

    @property
    def type(self) -> str:
        """The kind of block: system, persona, human, facts, goals or scratch."""
    @property
    def label(self) -> str | None:
        """A short title, or None."""
    @property
    def content(self) -> str:
        """The text."""
    @property
    def importance(self) -> float:
        """How important it is, from 0 to 1; 0.5 unless it was set."""
    @property
    def version(self) -> int:
        """1 for the first text of this kind, then one more with every edit."""
    @property
    def updated_at(self) -> datetime:
        """When it was last edited, in UTC."""
    def to_dict(self) -> dict[str, Any]:
        """Its fields as plain values, times as ISO 8601 text."""
    @staticmethod
    def from_dict(fields: dict[str, Any]) -> Block:
        """Makes a block from what `to_dict()` gave."""
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class CoreMemory:
    """Six typed blocks of text that are always in the model's prompt, in memory only.

    The blocks are system, persona, human, facts, goals and scratch. Limits are in bytes of UTF-8 content: 32 KiB in
    all unless it is told, and a block up to the larger of 16 KiB and half of that.
    """

    def __new__(cls, max_size_bytes: int = 32768, *, block_bytes: int | None = None) -> Self: ...
    def set_block(self, type: str, content: str, *, label: str | None = None, importance: float | None = None) -> None:
        """Replaces a block. A label or importance of None keeps the old one; an empty label takes it away.

        Raises `InvalidInputError` for an unknown type, a label over 64 bytes or an importance outside of 0 to 1, and
        `CapacityError` when the block or the whole would be over its limit. Nothing has changed then.
        """
    def set_block_with_label(self, type: str, label: str, content: str) -> None:
        """Replaces a block and its label."""
    def get_block(self, type: str) -> str | None:
        """The content of a block, or None."""
    def remove_block(self, type: str) -> bool:
        """Removes a block. Gives whether it was there."""
    def has_block(self, type: str) -> bool:
        """Whether there is a block of this type."""
    def clear(self) -> None:
        """Removes every block."""
    def blocks(self) -> list[Block]:
        """The blocks, in the order of rendering."""
    def render(self) -> str:
        """The blocks as XML for a model's prompt. Content can never leave its element."""
    def render_markdown(self) -> str:
        """The blocks as Markdown."""
    @property
    def used_bytes(self) -> int:
        """The bytes of content in use."""
    @property
    def max_bytes(self) -> int:
        """The bytes of content that fit in all."""
    @property
    def block_bytes(self) -> int:
        """The bytes of content that fit into one block."""
    @property
    def available_bytes(self) -> int:
        """The bytes of content that still fit."""
    @property
    def utilization(self) -> float:
        """How full it is, from 0 to 1."""
    def to_dict(self) -> dict[str, Any]:
        """Its limits and blocks as plain values."""
    @staticmethod
    def from_dict(fields: dict[str, Any]) -> CoreMemory:
        """Makes a core memory from what `to_dict()` gave."""
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, _memo: Any) -> Self: ...
    def __reduce__(self) -> tuple[Any, ...]: ...
    __hash__: None  # type: ignore[assignment]

@final
class WorkingMemory:
    """A key-value store of bytes, each with a time to live, in memory only.

    What has expired counts for nothing and never makes a write fail. Limits: `max_bytes` of keys and values in all
    (1 MiB), 10,000 entries, 64 KiB a value, 256 bytes a key; a time to live is above 0 and at most 7 days, or
    `math.inf` for none.
    """

    def __new__(
        cls, max_bytes: int = 1048576, default_ttl: timedelta | float | None = None, clock: ManualClock | None = None
    ) -> Self: ...
    def set(self, key: str, value: bytes, ttl_secs: float | None = None) -> None:
        """Writes a value. `ttl_secs` None is the default time to live, `math.inf` none.

        Raises `InvalidInputError` for a bad key or time to live and `CapacityError` when it does not fit; nothing has
        changed then.
        """
    def get(self, key: str) -> bytes | None:
        """The value of a live key, or None."""
    def delete(self, key: str) -> bool:
        """Deletes a key. Gives whether it was live."""
    def exists(self, key: str) -> bool:
        """Whether a key is live."""
    def keys(self) -> list[str]:
        """The live keys, sorted."""
    def ttl(self, key: str) -> float | None:
        """The seconds that a key still lives, `math.inf` for ever, None for one that is not there."""
    def incr(self, key: str, delta: int = 1, *, ttl_secs: float | None = None) -> int:
        """Adds to a decimal number and gives the sum; a missing key counts as 0. Keeps the key's own time to live."""
    def append(self, key: str, value: bytes, *, ttl_secs: float | None = None) -> int:
        """Puts bytes behind a value and gives its new length. Keeps the key's own time to live."""
    def touch(self, key: str, ttl_secs: float | None = None) -> bool:
        """Lets a key's time to live begin anew, with `ttl_secs` or its own. Gives whether it was live."""
    def cleanup_expired(self) -> int:
        """Drops what has expired and gives how many keys that were."""
    def clear(self) -> None:
        """Deletes every key."""
    @property
    def used_bytes(self) -> int:
        """The bytes of live keys and values."""
    @property
    def max_bytes(self) -> int:
        """The bytes of keys and values that fit in all."""
    @property
    def available_bytes(self) -> int:
        """The bytes that still fit."""
    @property
    def entry_count(self) -> int:
        """The number of live keys."""
    @property
    def is_empty(self) -> bool:
        """Whether no key is live."""
    @property
    def default_ttl(self) -> timedelta | float:
        """The time to live of a value that is given none: a timedelta, or `math.inf`."""
    def to_dict(self) -> dict[str, Any]:
        """Its limits and live entries as plain values; times to live in seconds."""
    @staticmethod
    def from_dict(fields: dict[str, Any]) -> WorkingMemory:
        """Makes a working memory, on the system's clock, from what `to_dict()` gave; times to live count anew."""
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, _memo: Any) -> Self: ...
    def __reduce__(self) -> tuple[Any, ...]: ...
    __hash__: None  # type: ignore[assignment]

@disjoint_base
class Entity:
    """One version of one fact about a named subject.

    An entity that was made by hand is stored with `memory.add_entity()`. Times are given and read as aware datetimes.
    Changing an entity changes nothing in a store; `memory.update()` does.
    """

    def __new__(
        cls,
        entity_type: str,
        name: str,
        content: str,
        *,
        attribute: str | None = None,
        metadata: dict[str, Any] | None = None,
        confidence: float = 1.0,
        importance: float = 0.5,
        event_time: datetime | None = None,
        document_time: datetime | None = None,
        source: str | None = None,
    ) -> Self: ...
    @property
    def id(self) -> str:
        """The version's id."""
    @property
    def subject_id(self) -> str:
        """The subject's id: the same for every fact of one (user, type, folded name)."""
    @property
    def entity_type(self) -> str:
        """What kind of thing the subject is, in lower case."""
    @property
    def name(self) -> str:
        """The subject's name."""
    @property
    def attribute(self) -> str | None:
        """The slot that holds one value at a time, or None for a fact that stands beside others."""
    @property
    def content(self) -> str:
        """What is said about the subject."""
    @content.setter
    def content(self, content: str) -> None: ...
    @property
    def metadata(self) -> dict[str, Any]:
        """The caller's own fields: a fresh copy, to be changed with `set_meta()`."""
    @property
    def confidence(self) -> float:
        """How sure it is, from 0 to 1."""
    @property
    def importance(self) -> float:
        """A prior of ranking, from 0 to 1; 0.5 is neutral."""
    @property
    def event_time(self) -> datetime | None:
        """When the fact happened or began, or None."""
    @event_time.setter
    def event_time(self, time: datetime | None) -> None: ...
    @property
    def document_time(self) -> datetime | None:
        """When its source was written, or None."""
    @document_time.setter
    def document_time(self, time: datetime | None) -> None: ...
    @property
    def source(self) -> str | None:
        """Where it comes from: a URI or a free text, or None."""
    @property
    def valid_from(self) -> datetime:
        """From when on it is true."""
    @property
    def valid_to(self) -> datetime | None:
        """Until when it is true; None while nothing has followed it."""
    @property
    def last_seen(self) -> datetime:
        """The event time of its latest saying."""
    @property
    def created_at(self) -> datetime:
        """When it was first recorded."""
    @property
    def updated_at(self) -> datetime:
        """When it was last changed."""
    @property
    def episode_id(self) -> str | None:
        """The episode that it was said in, or None."""
    @property
    def user(self) -> str | None:
        """The tenant, or None."""
    @property
    def agent(self) -> str | None:
        """The agent that recorded it, or None."""
    @property
    def session(self) -> str | None:
        """The session that it was recorded in, or None."""
    def get_meta(self, key: str, default: Any = None) -> Any:
        """One of the caller's own fields, or `default`."""
    def set_meta(self, key: str, value: Any) -> None:
        """Sets one of the caller's own fields to a JSON value."""
    def has_temporal_metadata(self) -> bool:
        """Whether an event time or a document time is set."""
    def to_dict(self) -> dict[str, Any]:
        """Its fields as plain values, times as ISO 8601 text."""
    @staticmethod
    def from_dict(fields: dict[str, Any]) -> Entity:
        """Makes an entity from what `to_dict()` gave."""
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, _memo: Any) -> Self: ...
    def __reduce__(self) -> tuple[Any, ...]: ...
    __hash__: None  # type: ignore[assignment]

@final
class EvolutionRelation:
    """How a newer entity (`target_id`) relates to an older one (`source_id`). An immutable value."""

    def __new__(
        cls, source_id: str, target_id: str, evolution_type: str, reason: str = "", confidence: float = 0.5
    ) -> Self: ...
    @property
    def id(self) -> str:
        """The relation's own id."""
    @property
    def source_id(self) -> str:
        """The older entity's id."""
    @property
    def target_id(self) -> str:
        """The newer entity's id."""
    @property
    def evolution_type(self) -> str:
        """The kind of relation: update, extend, derive or contradict."""
    @property
    def type(self) -> str:
        """The same as `evolution_type`."""
    @property
    def reason(self) -> str:
        """Why, in at most 1,024 bytes."""
    @property
    def confidence(self) -> float:
        """How sure it is, from 0 to 1."""
    @property
    def created_at(self) -> datetime:
        """When it was found, in UTC."""
    def is_high_confidence(self) -> bool:
        """Whether its confidence is at least 0.8."""
    def needs_resolution(self) -> bool:
        """Whether it is a sure contradiction, which somebody should settle."""
    def is_conflict(self) -> bool:
        """Whether it is a contradiction."""
    def is_additive(self) -> bool:
        """Whether both entities stand: an extension or a derivation."""
    def to_dict(self) -> dict[str, Any]:
        """Its fields as plain values, times as ISO 8601 text."""
    @staticmethod
    def from_dict(fields: dict[str, Any]) -> EvolutionRelation:
        """Makes a relation from what `to_dict()` gave."""
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Scope:
    """Whose memory: `user` is the tenant, `agent` and `session` narrow a read. An immutable value.

    No user is a tenant of its own, never "all".
    """

    def __new__(cls, user: str | None = None, agent: str | None = None, session: str | None = None) -> Self: ...
    @property
    def user(self) -> str | None:
        """The tenant, or None."""
    @property
    def agent(self) -> str | None:
        """The agent, or None."""
    @property
    def session(self) -> str | None:
        """The session, or None."""
    def with_user(self, user: str) -> Scope:
        """The same scope of another user."""
    def with_agent(self, agent: str) -> Scope:
        """The same scope of another agent."""
    def with_session(self, session: str) -> Scope:
        """The same scope of another session."""
    def to_dict(self) -> dict[str, Any]:
        """Its three parts as plain values."""
    @staticmethod
    def from_dict(fields: dict[str, Any]) -> Scope:
        """Makes a scope from what `to_dict()` gave."""
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class ManualClock:
    """A clock that moves only when it is told to, for tests and simulations.

    It is accepted by `WorkingMemory(clock=)` and by every way to open a `Memory`.
    """

    def __new__(cls, start: datetime) -> Self: ...
    def now(self) -> datetime:
        """The time that it stands at, in UTC."""
    def advance(self, by: timedelta) -> None:
        """Moves it forward by a timedelta."""
    def set(self, now: datetime) -> None:
        """Sets it to an aware datetime, backwards too."""

@final
class RememberOptions:
    """How a text is remembered. An immutable value; the `with_…` and `without_…` methods give copies.

    `extract_entities` and `detect_evolutions` are used by a language model; without one they change nothing.
    `importance` is a prior of ranking, from 0 to 1; 0.5 is neutral. `wait` is "extracted" (until vectors and facts are
    stored, or have failed with a warning) or "durable" (until the words are safe; `flush()` waits for the rest).
    """

    def __new__(
        cls,
        extract_entities: bool = True,
        generate_embeddings: bool = True,
        detect_evolutions: bool | None = None,
        importance: float = 0.5,
        wait: Literal["extracted", "durable"] = "extracted",
        *,
        track_evolution: bool | None = None,
    ) -> Self: ...
    @property
    def extract_entities(self) -> bool:
        """Whether a language model extracts facts."""
    @property
    def generate_embeddings(self) -> bool:
        """Whether the text gets a vector. Without one it is found by its words."""
    @property
    def detect_evolutions(self) -> bool:
        """Whether a language model relates new facts to old ones."""
    @property
    def track_evolution(self) -> bool:
        """The same as `detect_evolutions`."""
    @property
    def importance(self) -> float:
        """The prior of ranking, from 0 to 1."""
    @property
    def wait(self) -> Literal["extracted", "durable"]:
        """What the call waits for: extracted or durable."""
    def with_extract_entities(self, extract_entities: bool = True) -> RememberOptions:
        """A copy that extracts facts, or not."""
    def without_extraction(self) -> RememberOptions:
        """A copy that extracts no facts."""
    def with_generate_embeddings(self, generate_embeddings: bool = True) -> RememberOptions:
        """A copy that makes vectors, or not."""
    def with_embeddings(self) -> RememberOptions:
        """A copy that makes vectors."""
    def without_embeddings(self) -> RememberOptions:
        """A copy that makes no vectors."""
    def with_detect_evolutions(self, detect_evolutions: bool = True) -> RememberOptions:
        """A copy that relates new facts to old ones, or not."""
    def without_evolution(self) -> RememberOptions:
        """A copy that does not relate new facts to old ones."""
    def with_importance(self, importance: float) -> RememberOptions:
        """A copy with another prior of ranking, from 0 to 1."""
    def with_wait(self, wait: Literal["extracted", "durable"]) -> RememberOptions:
        """A copy that waits for something else: extracted or durable."""
    def to_dict(self) -> dict[str, Any]:
        """Its fields as plain values."""
    @staticmethod
    def from_dict(fields: dict[str, Any]) -> RememberOptions:
        """Makes options from what `to_dict()` gave."""
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class RecallOptions:
    """What a recall reads and gives. An immutable value; the `with_…` methods give copies.

    `limit` is 1 to 1,000, None the configuration's `recall_limit`. `as_of` reads what was true, and had been said, at a
    time; `time_range` is (start, end), both included; a time beyond 9999-12-30 22:00 UTC, such as `datetime.max`, means
    that last moment. `include` names "facts", "episodes" or both. `min_score` is an absolute relevance from 0 to 1.
    `deep_search` lets a language model rewrite the query, None as the configuration says; True without a model is an
    `InvalidInputError` of the recall.
    """

    def __new__(
        cls,
        limit: int | None = None,
        use_vector_search: bool = True,
        use_text_search: bool = True,
        deep_search: bool | None = None,
        time_range: tuple[datetime, datetime] | None = None,
        as_of: datetime | None = None,
        entity_types: Iterable[str] | None = None,
        include: Iterable[str] | None = ("facts", "episodes"),
        min_score: float = 0.0,
        explain: bool = False,
    ) -> Self: ...
    @property
    def limit(self) -> int | None:
        """The most results, or None for the configuration's."""
    @property
    def use_vector_search(self) -> bool:
        """Whether vectors find."""
    @property
    def use_text_search(self) -> bool:
        """Whether words find."""
    @property
    def deep_search(self) -> bool | None:
        """Whether a language model rewrites the query, or None for the configuration's."""
    @property
    def time_range(self) -> tuple[datetime, datetime] | None:
        """The range of time, both ends included, or None."""
    @property
    def as_of(self) -> datetime | None:
        """The time of truth, or None for now."""
    @property
    def entity_types(self) -> tuple[str, ...] | None:
        """The types of fact, or None for all."""
    @property
    def include(self) -> tuple[str, ...]:
        """The kinds of result: facts, episodes or both."""
    @property
    def min_score(self) -> float:
        """The least score of a result."""
    @property
    def explain(self) -> bool:
        """Whether every signal of a result is told."""
    def with_limit(self, limit: int) -> RecallOptions:
        """A copy with another number of results, 1 to 1,000."""
    def with_vector_search(self, use_vector_search: bool = True) -> RecallOptions:
        """A copy that finds by vectors, or not."""
    def with_text_search(self, use_text_search: bool = True) -> RecallOptions:
        """A copy that finds by words, or not."""
    def with_deep_search(self, deep_search: bool = True) -> RecallOptions:
        """A copy that lets a language model rewrite the query, or not."""
    def fast_only(self) -> RecallOptions:
        """A copy that asks no language model."""
    def with_time_range(self, start: datetime, end: datetime) -> RecallOptions:
        """A copy that reads only what was said, or was true, between two times, both included."""
    def with_as_of(self, as_of: datetime) -> RecallOptions:
        """A copy that reads what was true, and had been said, at a time."""
    def with_entity_types(self, entity_types: Iterable[str]) -> RecallOptions:
        """A copy that reads only facts of these types; an episode is of type note."""
    def with_include(self, include: Iterable[str]) -> RecallOptions:
        """A copy that gives facts, episodes or both."""
    def with_min_score(self, min_score: float) -> RecallOptions:
        """A copy with another least score, from 0 to 1."""
    def with_explain(self, explain: bool = True) -> RecallOptions:
        """A copy that tells every signal, or not."""
    def to_dict(self) -> dict[str, Any]:
        """Its fields as plain values, times as ISO 8601 text."""
    @staticmethod
    def from_dict(fields: dict[str, Any]) -> RecallOptions:
        """Makes options from what `to_dict()` gave."""
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class MemoryConfig:
    """Limits and defaults of a memory. An immutable value; the `with_…` methods give checked copies.

    Sizes are in bytes. `core_memory_bytes` 4 KiB to 16 MiB, `core_block_bytes` None for the larger of 16 KiB and half
    of it; `working_memory_bytes` keys and values, `working_memory_entries` of them, `working_value_bytes` one value;
    `working_memory_ttl` a timedelta up to 7 days, or `math.inf`; `recall_limit` 1 to 1,000; `text_bytes` up to 10 MB;
    `index_memory_bytes` the bound of the index in memory; `embedding_cache_bytes` what the vectors of texts that a
    remote embedder saw last may take, 0 to keep none; `deep_search` lets a language model rewrite the queries of
    recalls that do not say otherwise, and changes nothing where the memory has none; `token_counter` is a function
    from text to its number of tokens; `token_prices` is what a million tokens read and a million written by the
    language model cost, in whatever currency, so that `stats()` tells a cost.
    """

    def __new__(
        cls,
        core_memory_bytes: int = 32768,
        core_block_bytes: int | None = None,
        working_memory_bytes: int = 1048576,
        working_memory_ttl: timedelta | float | None = None,
        recall_limit: int = 10,
        text_bytes: int = 100000,
        index_memory_bytes: int | None = None,
        deep_search: bool = False,
        token_counter: Callable[[str], int] | None = None,
        working_memory_entries: int = 10000,
        working_value_bytes: int = 65536,
        token_prices: tuple[float, float] | None = None,
        embedding_cache_bytes: int = 16777216,
    ) -> Self: ...
    @property
    def core_memory_bytes(self) -> int:
        """Bytes of core memory in all."""
    @property
    def core_block_bytes(self) -> int:
        """Bytes of one block of core memory."""
    @property
    def working_memory_bytes(self) -> int:
        """Bytes of working memory, keys and values."""
    @property
    def working_memory_entries(self) -> int:
        """How many entries working memory holds."""
    @property
    def working_value_bytes(self) -> int:
        """Bytes of one working value."""
    @property
    def working_memory_ttl(self) -> timedelta | float:
        """How long a working value lives that is given no time to live: a timedelta, or `math.inf`."""
    @property
    def recall_limit(self) -> int:
        """How many results a recall gives that names no limit."""
    @property
    def text_bytes(self) -> int:
        """Bytes of one text to remember or query."""
    @property
    def embedding_cache_bytes(self) -> int:
        """Bytes of the vectors of a remote embedder that are kept."""
    @property
    def index_memory_bytes(self) -> int:
        """Bytes of the index in memory."""
    @property
    def deep_search(self) -> bool:
        """Whether a language model rewrites the query of a recall unless it is told."""
    @property
    def token_counter(self) -> Callable[[str], int] | None:
        """The function that counts tokens, or None for the estimate by script."""
    @property
    def token_prices(self) -> tuple[float, float] | None:
        """What a million tokens read and a million written cost, or None where that is not known."""
    def with_core_memory_bytes(self, core_memory_bytes: int) -> MemoryConfig:
        """A copy with other bytes of core memory."""
    def with_core_block_bytes(self, core_block_bytes: int | None) -> MemoryConfig:
        """A copy with other bytes of one block; None for the larger of 16 KiB and half of core memory."""
    def with_working_memory_bytes(self, working_memory_bytes: int) -> MemoryConfig:
        """A copy with other bytes of working memory."""
    def with_working_memory_entries(self, working_memory_entries: int) -> MemoryConfig:
        """A copy with another number of entries of working memory."""
    def with_working_value_bytes(self, working_value_bytes: int) -> MemoryConfig:
        """A copy with other bytes of one working value."""
    def with_working_memory_ttl(self, working_memory_ttl: timedelta | float) -> MemoryConfig:
        """A copy with another time to live of working values."""
    def with_recall_limit(self, recall_limit: int) -> MemoryConfig:
        """A copy with another number of results."""
    def with_text_bytes(self, text_bytes: int) -> MemoryConfig:
        """A copy with other bytes of one text."""
    def with_embedding_cache_bytes(self, embedding_cache_bytes: int) -> MemoryConfig:
        """A copy with other bytes of the vectors of a remote embedder that are kept, or 0."""
    def with_index_memory_bytes(self, index_memory_bytes: int) -> MemoryConfig:
        """A copy with other bytes of the index."""
    def with_deep_search(self, deep_search: bool = True) -> MemoryConfig:
        """A copy that lets a language model rewrite queries, or not."""
    def with_token_counter(self, token_counter: Callable[[str], int] | None) -> MemoryConfig:
        """A copy with another function that counts tokens, or None."""
    def with_token_prices(self, token_prices: tuple[float, float] | None) -> MemoryConfig:
        """A copy with what a million tokens read and a million written cost, for the cost in `stats()`, or None."""
    def to_dict(self) -> dict[str, Any]:
        """Its fields as plain values; the time to live in seconds, the function that counts tokens as it is."""
    @staticmethod
    def from_dict(fields: dict[str, Any]) -> MemoryConfig:
        """Makes a configuration from what `to_dict()` gave."""
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, _memo: Any) -> Self: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Recalled(Entity):
    """One result of a recall: an entity, how relevant it is, and where it comes from.

    An episode shows itself as an entity of type `note`, its text whole in `content`.
    """

    @property
    def kind(self) -> Literal["fact", "episode"]:
        """`fact` or `episode`."""
    @property
    def score(self) -> float:
        """The absolute relevance, from 0 to 1."""
    @property
    def signals(self) -> dict[str, float]:
        """What the score and the rank were made of, by name; all of it with `explain=True`."""
    @property
    def role(self) -> str | None:
        """The speaker's part, or None for a fact."""
    @property
    def speaker(self) -> str | None:
        """The speaker's name, or None."""
    @property
    def at(self) -> datetime:
        """When it was said, or from when on it is true, in UTC."""
    @property
    def ref(self) -> str | None:
        """The global ref of the item of a context that it comes from, or None; see `Memory.remembered_item`."""
    @property
    def recalled_source(self) -> str:
        """The `source` to remember its words under where an agent says them again.

        Then no facts are taken from them a second time.
        """
    @property
    def entity(self) -> Entity:
        """The entity alone."""
    def to_dict(self) -> dict[str, Any]:
        """Its fields as plain values, times as ISO 8601 text."""
    @staticmethod
    def from_dict(fields: dict[str, Any]) -> Recalled:
        """Makes a result from what `to_dict()` gave."""
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, _memo: Any) -> Self: ...

@final
class Episode:
    """A text as it was remembered, with who said it and when. An immutable value, never rewritten."""

    @property
    def id(self) -> str:
        """The episode's id."""
    @property
    def text(self) -> str:
        """What was said, verbatim."""
    @property
    def role(self) -> str:
        """The speaker's part: user, assistant, system, tool or another word."""
    @property
    def name(self) -> str | None:
        """The speaker's name, or None."""
    @property
    def at(self) -> datetime:
        """When it was said, in UTC."""
    @property
    def recorded_at(self) -> datetime:
        """When it was recorded, in UTC."""
    @property
    def user(self) -> str | None:
        """The tenant, or None."""
    @property
    def agent(self) -> str | None:
        """The agent that recorded it, or None."""
    @property
    def session(self) -> str | None:
        """The session that it belongs to, or None."""
    @property
    def source(self) -> str | None:
        """Where it comes from, or None."""
    @property
    def metadata(self) -> dict[str, Any]:
        """The caller's own fields: a fresh copy."""
    @property
    def importance(self) -> float:
        """A prior of ranking, from 0 to 1; 0.5 is neutral."""
    def to_dict(self) -> dict[str, Any]:
        """Its fields as plain values, times as ISO 8601 text."""
    @staticmethod
    def from_dict(fields: dict[str, Any]) -> Episode:
        """Makes an episode from what `to_dict()` gave."""
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Job:
    """Work that was left for later. An immutable value."""

    @property
    def id(self) -> str:
        """The job's id."""
    @property
    def kind(self) -> str:
        """What is to be done."""
    @property
    def episode_id(self) -> str | None:
        """The episode that it is about, or None for a fact that no episode said."""
    @property
    def attempts(self) -> int:
        """How often it has failed; a service that is misconfigured, which refuses the key say, is not counted."""
    @property
    def last_error(self) -> str | None:
        """Why the last try failed, or None."""
    @property
    def created_at(self) -> datetime:
        """When it was made, in UTC."""
    def to_dict(self) -> dict[str, Any]:
        """Its fields as plain values, times as ISO 8601 text."""
    @staticmethod
    def from_dict(fields: dict[str, Any]) -> Job:
        """Makes a job from what `to_dict()` gave."""
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@disjoint_base
class EmbeddingProvider:
    """What turns texts into vectors. Made through one of its subclasses."""

    @property
    def name(self) -> str:
        """The model's name."""
    @property
    def dimensions(self) -> int:
        """The number of dimensions of a vector."""
    def embed(self, texts: Iterable[str]) -> Operation[list[list[float]]]:
        """Turns texts into vectors, in order. To be awaited.

        Raises `EmbeddingError` when the answer is not one vector a text, of `dimensions` finite numbers.
        """
    def embed_sync(self, texts: Iterable[str]) -> list[list[float]]:
        """Turns texts into vectors, in order, and blocks meanwhile."""

@final
class StaticEmbeddingProvider(EmbeddingProvider):
    """The default: a table of word vectors that ships with the package. English first; no network, no download."""

    def __new__(cls) -> Self: ...

@final
class SimEmbeddingProvider(EmbeddingProvider):
    """Vectors that depend on a seed and on the words of a text, for tests and simulations."""

    def __new__(cls, seed: int = 0) -> Self: ...

@final
class CallableEmbeddingProvider(EmbeddingProvider):
    """Vectors from a function of yours: `fn(texts: list[str]) -> list[list[float]]`, plain or async.

    A plain function runs in a worker thread, never on the event loop; an async one runs on the loop that awaits the
    call, else on a loop of its own thread. Arrays are accepted. What it raises is the cause of the `EmbeddingError`.
    """

    def __new__(
        cls,
        fn: Callable[[list[str]], Iterable[Any]] | Callable[[list[str]], Awaitable[Iterable[Any]]],
        *,
        dimensions: int,
        name: str,
    ) -> Self: ...

@final
class LocalEmbeddingProvider(EmbeddingProvider):
    """Vectors of a sentence-transformers model in a folder, computed here: a BERT encoder such as all-MiniLM-L6-v2.

    The folder holds `config.json`, `tokenizer.json` and `model.safetensors`. Its name is the provider's name, so a
    store is opened with a folder of the same name again. Nothing is downloaded.

    Raises `InvalidInputError` that names the file and what of it is missing, malformed or not supported, and
    `FeatureNotBuiltError`, with the command that adds it, in the light build.
    """

    def __new__(cls, folder: str | os.PathLike[str]) -> Self: ...

@final
class OpenAIEmbeddingProvider(EmbeddingProvider):
    """Vectors of OpenAI's embeddings, or of a compatible server.

    The key is that of `OPENAI_API_KEY` and the URL (with `/v1`) that of `OPENAI_BASE_URL` unless they are given. The
    timeout is that of one try, in seconds. Dimensions that are not given are those that the model is known to have.
    """

    def __new__(
        cls,
        api_key: str | None = None,
        *,
        model: str | None = None,
        dimensions: int | None = None,
        base_url: str | None = None,
        timeout: float = 60.0,
        max_retries: int = 2,
        batch_size: int = 100,
    ) -> Self: ...

@final
class CompletionRequest:
    """What a model is asked: instructions, messages, and the form of its answer.

    No message may be empty, the last one is the user's. The name of a schema is 1 to 64 ASCII letters, digits, `_` and
    `-`; `answer` where there is none.
    """

    def __new__(
        cls,
        messages: str | Iterable[Mapping[str, Any]],
        *,
        system: str = "",
        schema: dict[str, Any] | None = None,
        schema_name: str | None = None,
        max_tokens: int | None = None,
    ) -> Self: ...
    @property
    def system(self) -> str:
        """The instructions."""
    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages: `{"role": …, "content": …}`, the content a text, or a list of texts and images."""
    @property
    def prompt(self) -> str:
        """The words of the last message, without its images."""
    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON Schema that the answer has to fit, or None for free text."""
    @property
    def schema_name(self) -> str | None:
        """What the answer is, as an identifier (`facts`, say), or None for free text."""
    @property
    def max_tokens(self) -> int | None:
        """The most tokens of the answer, or None for the provider's own limit."""
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@final
class Completion:
    """What a model answered; also what a function of yours gives to `CallableProvider` to say what it took.

    The tokens are those that the service counted, of the instructions, messages and schema (input) and of the answer
    (output). `is_cut` says that the answer ended because it reached its limit of tokens.
    """

    def __new__(cls, text: str, *, input_tokens: int = 0, output_tokens: int = 0, is_cut: bool = False) -> Self: ...
    @property
    def text(self) -> str:
        """The text; where a schema was asked for, what is to be its JSON, as the model wrote it."""
    @property
    def usage(self) -> Usage:
        """What the service counted for this answer: a `Usage`.

        Its `requests` are all that it took, so more than 1 says that some were tried again. A service that counts no
        tokens has 0 of them, a function counts as one request.
        """
    @property
    def request_id(self) -> str | None:
        """The service's id of the request that succeeded, or None."""
    @property
    def is_cut(self) -> bool:
        """Whether the answer ended because it reached its limit of tokens."""
    def json(self) -> Any:
        """The answer to a request with a schema, as Python's `json` reads it: a `ValueError` where it is no JSON."""
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...

@disjoint_base
class LanguageModelProvider:
    """What answers requests. Made through one of its subclasses."""

    @property
    def name(self) -> str:
        """The provider and the model, such as `anthropic:claude-sonnet-4-6`."""
    def complete(self, request: CompletionRequest | str) -> Operation[Completion]:
        """Answers a request, or a text alone. To be awaited; cancelling it stops the request.

        Raises `InvalidInputError` for an empty text, and a `ProviderError` when the service fails: one of its kinds,
        such as `InvalidResponseError` for an empty answer.
        """
    def complete_sync(self, request: CompletionRequest | str) -> Completion:
        """Answers a request, or a text alone, and blocks meanwhile. It raises what `complete` does."""

@final
class AnthropicProvider(LanguageModelProvider):
    """A model of Anthropic's Messages API.

    The key is that of `ANTHROPIC_API_KEY` and the URL (without `/v1`) that of `ANTHROPIC_BASE_URL` unless they are
    given. The timeout is that of one try, in seconds.
    """

    def __new__(
        cls,
        api_key: str | None = None,
        *,
        model: str | None = None,
        base_url: str | None = None,
        max_tokens: int = 4096,
        timeout: float = 60.0,
        max_retries: int = 2,
        max_concurrency: int = 8,
    ) -> Self: ...

@final
class OpenAIProvider(LanguageModelProvider):
    """A model of OpenAI's chat completions, or of a compatible server.

    The key is that of `OPENAI_API_KEY` and the URL (with `/v1`) that of `OPENAI_BASE_URL` unless they are given. The
    timeout is that of one try, in seconds.
    """

    def __new__(
        cls,
        api_key: str | None = None,
        *,
        model: str | None = None,
        base_url: str | None = None,
        max_tokens: int = 4096,
        timeout: float = 60.0,
        max_retries: int = 2,
        max_concurrency: int = 8,
    ) -> Self: ...

@final
class SimLLMProvider(LanguageModelProvider):
    """A model that answers by simple rules, for tests and simulations.

    It finds facts of plain English sentences, and relates them by shared words. One seed gives the same answers twice.
    """

    def __new__(cls, seed: int = 0) -> Self: ...

@final
class CallableProvider(LanguageModelProvider):
    """A model that is a function of yours: `fn(request: CompletionRequest)`, plain or async.

    It gives a `str`, a `dict` (the JSON that `request.schema` asks for) or a `Completion`.

    A plain function runs in a worker thread, never on the event loop; an async one runs on the loop that awaits the
    call, else on a loop of its own thread. What it raises is the cause of the `ProviderError`. No more than
    `max_concurrency` calls run at once, 1 to 1,024; those beyond wait for their turn. There is no timeout: a function
    that waits for something has to give up by itself.
    """

    def __new__(
        cls,
        fn: Callable[[CompletionRequest], _Answer] | Callable[[CompletionRequest], Awaitable[_Answer]],
        *,
        name: str = "callable",
        max_concurrency: int = 8,
    ) -> Self: ...

@final
class SqliteStorageBackend:
    """A store in a folder: one SQLite database. Made with `connect()`; the folder is made when a memory is opened."""

    @staticmethod
    def connect(path: str | os.PathLike[str] = "./umi_memory") -> SqliteStorageBackend:
        """Names the folder of a store."""
    @property
    def path(self) -> str:
        """The folder."""
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class LanceStorageBackend:
    """A store in a folder with an index on LanceDB beside the database, for stores that outgrow memory.

    The index is in the folder `lance` of the store's. It is made from the database by itself, and again where it is
    missing or damaged; it follows in the background, and `flush()` and `close()` write what is left. A folder that this
    process has open keeps the index that it was opened with.
    """

    @staticmethod
    def connect(path: str | os.PathLike[str] = "./umi_memory") -> LanceStorageBackend:
        """Names the folder of a store; the folder is made when a memory is opened.

        Raises:
            FeatureNotBuiltError: This build has no LanceDB; the hint is the command that adds it.
        """
    @property
    def path(self) -> str:
        """The folder."""
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class InMemoryStorageBackend:
    """A store without a file, which lives as long as its handles."""

    def __new__(cls) -> Self: ...

@final
class Batch:
    """The items of one transaction of `remember_many`, read a few at a time so that an event loop can turn between."""

    def __new__(cls, options: RememberOptions | None, scope: _ScopeArgs) -> Self: ...
    def __len__(self) -> int: ...
    def extend(self, items: list[str | Mapping[str, Any]]) -> None:
        """Reads more items. Where one of them is malformed, none of these is added."""

@final
class Engine:
    """A memory of the core, as one process holds it."""

    @staticmethod
    def open(
        storage: SqliteStorageBackend | LanceStorageBackend | InMemoryStorageBackend | None,
        llm: LanguageModelProvider | None,
        embedder: EmbeddingProvider | None,
        config: MemoryConfig | None,
        scope: _ScopeArgs,
        clock: ManualClock | None,
        reembed: bool,
        seed: int | None,
        waits: bool,
    ) -> Engine:
        """Opens a store.

        Where `waits` is false, it may still be under way when this returns, after some milliseconds; what a look at its
        folder and header tells is raised all the same. Every call waits until it is open, or raises why it is not.
        """
    def scoped(self, scope: _ScopeArgs) -> Engine:
        """A handle of another scope on the same store."""
    def parts(self) -> Parts:
        """The durable core and working memory of its scope."""
    @property
    def scope(self) -> Scope:
        """The scope of a call that names none."""
    @property
    def config(self) -> MemoryConfig:
        """The limits and defaults that it was opened with."""
    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
    @property
    def is_settled(self) -> bool:
        """Whether its opening has ended, well or not."""
    def opened(self) -> Operation[None]:
        """Waits until it is open."""
    @property
    def path(self) -> str | None:
        """The store's folder, or None in memory. Waits until it is open."""
    def remember(
        self,
        content: str | Sequence[Mapping[str, Any]],
        options: RememberOptions | None,
        role: str | None,
        name: str | None,
        at: datetime | None,
        metadata: dict[str, Any] | None,
        source: str | None,
        key: str | None,
        scope: _ScopeArgs,
    ) -> Operation[_RememberedParts]:
        """Remembers a text or a conversation."""
    def remember_batch(self, batch: Batch) -> Operation[list[_RememberedParts]]:
        """Remembers the items of a batch in one transaction."""
    def add_entity(self, entity: Entity, scope: _ScopeArgs) -> Operation[_RememberedParts]:
        """Stores a fact."""
    def recall(self, query: str, options: RecallOptions | None, scope: _ScopeArgs) -> Operation[_RecalledParts]:
        """Finds what is relevant to a query."""
    def context(
        self, query: str | None, budget_tokens: int, options: RecallOptions | None, scope: _ScopeArgs
    ) -> Operation[str]:
        """Renders the XML document of a prompt."""
    def context_items(
        self, query: str | None, budget_tokens: int, options: RecallOptions | None, scope: _ScopeArgs
    ) -> Operation[BaseContext]:
        """The XML document of a prompt and the images that it shows, as a context."""
    def remember_context(
        self, context: BaseContext, options: RememberOptions | None, scope: _ScopeArgs
    ) -> Operation[_RememberedParts]:
        """Remembers the items of a context."""
    def remembered_item(self, reference: str, scope: _ScopeArgs) -> Operation[dict[str, Any] | None]:
        """The item of a context that was remembered under a global ref."""
    def get(self, id: str, scope: _ScopeArgs) -> Operation[Entity | None]:
        """An entity by its id."""
    def history(self, id: str, scope: _ScopeArgs) -> Operation[builtins.list[Entity]]:
        """The chain of versions of an entity."""
    def evolutions(self, id: str, scope: _ScopeArgs) -> Operation[builtins.list[EvolutionRelation]]:
        """The relations of an entity."""
    def list(
        self,
        entity_type: str | None,
        current: bool,
        as_of: datetime | None,
        limit: int,
        offset: int,
        scope: _ScopeArgs,
    ) -> Operation[builtins.list[Entity]]:
        """Lists facts."""
    def episodes(self, limit: int, offset: int, scope: _ScopeArgs) -> Operation[builtins.list[Episode]]:
        """Lists episodes."""
    def update(
        self,
        id: str,
        content: str | None,
        metadata: dict[str, Any] | None,
        confidence: float | None,
        importance: float | None,
        scope: _ScopeArgs,
    ) -> Operation[Entity]:
        """Makes a new version of a fact."""
    def forget(self, id: str, chain: bool, scope: _ScopeArgs) -> Operation[bool]:
        """Forgets a version, a chain or an episode."""
    def forget_scope(self, confirm: bool, scope: _ScopeArgs) -> Operation[int]:
        """Forgets everything of a scope."""
    def pending(self, scope: _ScopeArgs) -> Operation[builtins.list[Job]]:
        """Lists jobs."""
    def retry_pending(self) -> Operation[int]:
        """Runs the jobs."""
    def reembed(self, progress: Callable[[int, int], object] | None) -> Operation[int]:
        """Moves the vectors to this embedder."""
    def purge(self) -> Operation[None]:
        """Rewrites the store without what was forgotten."""
    def count(self, scope: _ScopeArgs) -> Operation[int]:
        """Counts current facts and episodes."""
    def stats(self) -> Operation[dict[str, Any]]:
        """Figures of the store."""
    def backup(self, path: str | os.PathLike[str]) -> Operation[None]:
        """Copies the store."""
    def check(self) -> Operation[dict[str, Any]]:
        """Checks the store."""
    @staticmethod
    def recover(
        source: str | os.PathLike[str], target: str | os.PathLike[str], embedder: EmbeddingProvider | None
    ) -> Operation[dict[str, Any]]:
        """Saves what can be read of a damaged store into a new one."""
    def flush(self) -> Operation[None]:
        """Waits for the background."""
    def close(self) -> Operation[None]:
        """Closes the handle."""

@final
class Parts:
    """The durable core and working memory of an engine's scope."""

    def core_set_block(self, type: str, content: str, label: str | None, importance: float | None) -> Operation[None]:
        """Replaces a block."""
    def core_get_block(self, type: str) -> Operation[str | None]:
        """The content of a block."""
    def core_remove_block(self, type: str) -> Operation[bool]:
        """Removes a block."""
    def core_clear(self) -> Operation[None]:
        """Removes every block."""
    def core_blocks(self) -> Operation[builtins.list[Block]]:
        """The blocks."""
    def core_render(self) -> Operation[str]:
        """The blocks as XML."""
    def core_render_markdown(self) -> Operation[str]:
        """The blocks as Markdown."""
    def core_usage(self) -> Operation[tuple[int, int]]:
        """The pair (`used_bytes`, `max_bytes`)."""
    def core_versions(self, type: str) -> Operation[builtins.list[Block]]:
        """The versions of a block."""
    def core_restore(self, type: str, version: int) -> Operation[Block]:
        """Restores a version."""
    def working_set(self, key: str, value: bytes, ttl: float | None) -> Operation[None]:
        """Writes a value."""
    def working_get(self, key: str) -> Operation[bytes | None]:
        """The value of a key."""
    def working_delete(self, key: str) -> Operation[bool]:
        """Deletes a key."""
    def working_exists(self, key: str) -> Operation[bool]:
        """Whether a key is live."""
    def working_keys(self) -> Operation[builtins.list[str]]:
        """The live keys."""
    def working_ttl(self, key: str) -> Operation[float | None]:
        """The seconds that a key still lives."""
    def working_incr(self, key: str, delta: int) -> Operation[int]:
        """Adds to a number."""
    def working_append(self, key: str, value: bytes) -> Operation[int]:
        """Puts bytes behind a value."""
    def working_touch(self, key: str, ttl: float | None) -> Operation[bool]:
        """Lets a time to live begin anew."""
    def working_cleanup_expired(self) -> Operation[int]:
        """Drops what has expired."""
    def working_clear(self) -> Operation[None]:
        """Deletes every key."""
    def working_usage(self) -> Operation[tuple[int, int, int]]:
        """The triple (`used_bytes`, `entry_count`, `max_bytes`)."""

@final
class GlobalRef:
    """A ref with the session of its context, `<session>/<ref>`: an immutable value.

    Raises `ValueError` for what is not one.
    """

    def __new__(cls, session_id: str, ref_id: str) -> Self: ...
    @classmethod
    def parse(cls, text: str, /) -> GlobalRef:
        """Reads `<session>/<ref>`."""
    @property
    def session_id(self) -> str:
        """The session's id."""
    @property
    def ref_id(self) -> str:
        """The ref within the session."""
    @property
    def kind(self) -> str:
        """What kind of item it names, such as `image`."""
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Url:
    """An http or https address, which a context passes on as it is and never fetches: an immutable value.

    `str(url)` gives the address. Raises `ValueError` for anything else than an address of http or https.
    """

    def __new__(cls, url: str, /, *, media_type: str | None = None) -> Self: ...
    @property
    def media_type(self) -> str | None:
        """The media type of what is there: the one that was given, or that of the extension, or None."""
    @property
    def kind(self) -> str:
        """What kind of thing is there, as far as it is known, such as `image`."""
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, str]]: ...

class _Picture(Protocol):
    """An image of PIL or an array of NumPy, neither of which needs to be installed."""

    @property
    def size(self) -> Any: ...
    def tobytes(self) -> bytes: ...

@final
class _MissingRef:
    """A ref that is not there and the items that were, made into text by `str()`."""

@final
class DirectoryScan:
    """The files below a folder. Use `umi.Context(root)`."""

    def __new__(
        cls,
        root: str | os.PathLike[str],
        *,
        session_id: str | None = None,
        n_threads: int | None = None,
        no_ignore: bool = False,
    ) -> Self: ...
    @property
    def root(self) -> str:
        """The folder or file that was scanned: absolute, without symbolic links."""
    @property
    def session_id(self) -> str:
        """The id of the session."""
    @property
    def links(self) -> int:
        """How many symbolic links were not followed."""
    @property
    def errors(self) -> list[UmiError]:
        """What could not be read, as exceptions."""
    @property
    def files(self) -> list[FileEntry]:
        """The files, sorted by path."""
    def filter(
        self,
        *,
        kind: str | Iterable[str] | None = None,
        ext: str | Iterable[str] | None = None,
        min_size: int | str | None = None,
        max_size: int | str | None = None,
        modified_after: datetime | str | None = None,
    ) -> DirectoryScan:
        """The files that fit everything that is asked for."""
    def grep(
        self,
        pattern: str,
        *,
        kind: str | Iterable[str] | None = None,
        ext: str | Iterable[str] | None = None,
        ignore_case: bool = False,
        limit: int | None = None,
    ) -> tuple[list[Any], list[UmiError]]:
        """The matches of a regular expression, and the errors of files that could not be searched."""
    def cat(self, path: str | os.PathLike[str]) -> str:
        """The text of a file."""
    def head(self, path: str | os.PathLike[str], n: int) -> str:
        """The first lines of a file."""
    def tail(self, path: str | os.PathLike[str], n: int) -> str:
        """The last lines of a file."""
    def get(self, ref: str) -> FileEntry:
        """The file of a ref, or of a global ref of this session."""
    def ref_ids(self) -> list[str]:
        """The refs, in the order of the files."""
    @property
    def refs(self) -> dict[str, str]:
        """The global ref of every path."""
    def ref_for(self, path: str | os.PathLike[str]) -> str:
        """The ref of a path."""
    def global_ref(self, path: str | os.PathLike[str]) -> str:
        """The global ref of a path."""
    def to_arrow(self, refs: bool) -> BaseTable:
        """The files as a table."""
    def sql(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> BaseTable:
        """The rows of a query over the table `files`."""
    def show(self, limit: int, columns: Sequence[str] | None, refs: bool) -> str:
        """A Markdown table of the first files."""
    def info(self) -> str:
        """What was scanned in a few lines."""
    def header(self) -> str:
        """Root, session and number of files in a line."""
    def add_to(self, context: BaseContext) -> None:
        """Puts the files into a context."""
    def __len__(self) -> int: ...
    def __contains__(self, value: object, /) -> bool: ...

@final
class FileEntry:
    """One file of a scan, as it was then. `open(file)` and `Path(file)` take it."""

    @property
    def path(self) -> str:
        """The path from the root on."""
    @property
    def name(self) -> str:
        """The last part of the path."""
    @property
    def stem(self) -> str:
        """The name without its extension."""
    @property
    def ext(self) -> str:
        """The extension in lower case, with its period; empty where there is none."""
    @property
    def size(self) -> int:
        """The size in bytes."""
    @property
    def modified(self) -> datetime | None:
        """When the content was changed last, in UTC; None where the file system does not tell."""
    @property
    def created(self) -> datetime | None:
        """When the file was made, in UTC; None where the file system does not tell."""
    @property
    def mime(self) -> str:
        """The media type."""
    @property
    def kind(self) -> str:
        """The kind: `image`, `video`, `audio`, `document`, `code`, `data`, `config`, `text` or `other`."""
    @property
    def is_binary(self) -> bool:
        """Whether it is of a kind that is not read as text."""
    @property
    def depth(self) -> int:
        """The folders between the root and it."""
    @property
    def parent(self) -> str:
        """The folder from the root on; empty for the root itself."""
    @property
    def width(self) -> int | None:
        """The width of an image in pixels, else None."""
    @property
    def height(self) -> int | None:
        """The height of an image in pixels, else None."""
    @property
    def uri(self) -> str:
        """The absolute path."""
    @property
    def ref_id(self) -> str:
        """The ref. It follows from session and absolute path, so that another scan gives the same."""
    @property
    def session_id(self) -> str:
        """The id of the session."""
    @property
    def global_ref(self) -> str:
        """The session's id, a slash and the ref."""
    def to_dict(self) -> dict[str, Any]:
        """The columns of the table with their values."""
    def __fspath__(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@disjoint_base
class BaseTable:
    """Rows in the columns of Arrow. Use `umi.Table`."""

    def __new__(cls, table: BaseTable) -> Self: ...
    @property
    def num_rows(self) -> int:
        """How many rows there are."""
    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""
    @property
    def schema(self) -> dict[str, str]:
        """The type of every column, as Arrow calls it."""
    def to_dicts(self) -> list[dict[str, Any]]:
        """A dict for each row. Times are aware ones of UTC. Of columns with the same name the last is given."""
    def _columns(self) -> list[tuple[str, str, bool, list[Any]]]:
        """The columns for pandas: name, type, whether a value is missing, values. Times are microseconds since 1970."""
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows as a capsule of an Arrow C stream.

        The schema that is asked for is not looked at, as the interface allows.
        """
    def __arrow_c_schema__(self) -> object:
        """The names and types of the columns as a capsule of an Arrow C schema."""
    def __len__(self) -> int: ...

@disjoint_base
class BaseContext:
    """An ordered list of texts, files, images, bytes and addresses, each behind a short ref. Use `umi.Context`."""

    def __new__(cls, *, session_id: str | None = None) -> Self: ...
    @property
    def session_id(self) -> str:
        """The id of the session."""
    def add(
        self,
        obj: str | Path | bytes | Url | _Picture,
        *,
        role: Literal["system", "developer", "user"] = "user",
        metadata: dict[str, Any] | None = None,
        media_type: str | None = None,
    ) -> str:
        """Puts an item behind all others and gives its new ref.

        Takes a `str` (free text; paths and addresses in it are not followed), a `pathlib.Path` of an existing file, a
        `PIL.Image.Image`, a NumPy array with the pixels of an image, `bytes` with their `media_type`, or an `umi.Url`,
        which is passed on and never fetched. `role` is `system`, `developer` or `user`; only a text may have another
        than `user`. `metadata` is a dict of JSON values, kept as it is now. `media_type` is for bytes and addresses.

        Raises `TypeError` for other objects and for bytes without a media type; `FileNotFoundError`,
        `IsADirectoryError` and other `OSError`s for files; `ValueError` for an unknown role, for a role that the object
        may not have and for metadata that is not JSON. Nothing has been added then.
        """
    def get(self, ref: str, /) -> Any:
        """The content of an item: the same `str`, `bytes` or image that was added, a new `Path`, or an `umi.Url`.

        Takes a ref, or a global ref of this session. Raises `RefNotFoundError`, which names the refs that there are,
        and `ValueError` for a global ref of another session.
        """
    def remove(self, ref: str, /) -> None:
        """Takes an item out. Takes and raises what `get` does."""
    def items(self) -> list[dict[str, Any]]:
        """The items as dicts, in the order in which they were added.

        The keys are `ref_id`, `role`, `kind`, `source_kind` (`path`, `url` or `in_memory`), `source_value` (the path,
        the address or the media type; `image/pil` and `image/numpy` for objects), `byte_len` (of what is in memory,
        else None), `desc` and `metadata`.
        """
    def ref_ids(self) -> list[str]:
        """The refs, in the order in which the items were added."""
    @property
    def refs(self) -> dict[str, str]:
        """The global ref of every ref: the session's id, a slash and the ref."""
    def tree(self, layout: Literal["insertion", "paths", "kind", "flat", "hybrid"] = "insertion") -> str:
        """A tree of text. The layouts are `insertion`, `paths`, `kind`, `flat` and `hybrid`.

        Raises `ValueError` for an unknown layout.
        """
    def _table(self) -> str:
        """A Markdown table of the items."""
    def _to_md(self, is_fast: bool) -> str:
        """A Markdown table of the items with what can be told of them without a model."""
    def _to_md_accurate(self, llm: LanguageModelProvider) -> Operation[str]:
        """A Markdown table of the items with what a language model tells of them. To be awaited, or waited for."""
    def _repr_html_(self) -> str:
        """A table in HTML, for notebooks."""
    def __len__(self) -> int: ...
    def __contains__(self, value: object, /) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def __getitem__(self, ref: str, /) -> Any: ...
    def __reduce__(self) -> tuple[Any, ...]: ...
    @classmethod
    def _restore(cls, session_id: str, rows: list[Any]) -> Self:
        """Makes a context again of what `__reduce__` gave."""

def uuid7() -> str:
    """A new UUID of version 7, as text: ids made later sort later."""

def _error_kinds() -> list[tuple[str, UmiError]]:
    """Every kind of error with the exception that it becomes, for the tests."""

def _panic() -> None:
    """Panics behind the guard, for the tests."""

def _before_fork() -> None:
    """Waits until no thread uses a store, and keeps it so until the fork."""

def _after_fork_in_parent() -> None:
    """Lets the calls of other threads go on."""

def _after_fork_in_child() -> None:
    """Draws a new seed for ids and lets go of what a forked child inherits."""

def _close_all(engines: Sequence[Engine], patience: timedelta) -> None:
    """Closes memories at once, at the end of the interpreter; all of them have `patience` together.

    What does not close in time, or fails to, is left as it is: what was acknowledged is durable without it.
    """

def _shutdown() -> None:
    """Ends the runtime, at the end of the interpreter."""

def _render(
    context: BaseContext,
    what: str,
    format: str,
    encoders: dict[str, str] | None,
    encoder_kwargs: dict[str, dict[str, Any]] | None,
    budget_tokens: int | None,
    on_error: str,
) -> Any:
    """What to make of a context: `messages`, `request` or `tokens`."""

def _save(context: BaseContext, folder: str, user: str | None) -> None:
    """Saves a context."""

def _load(context: BaseContext, folder: str, user: str | None) -> list[str]:
    """Loads what was saved of a context's session into it. Gives the refs of files that have changed."""

def _saved_item(reference: str, folder: str, user: str | None) -> dict[str, Any] | None:
    """An item of a saved context, or None."""

def _gc(folder: str) -> int:
    """Removes blobs that nothing names."""

def _register(encoder: object) -> None:
    """Adds an object with `name`, `kind` and `encode` to the encoders."""

def _list_encoders(kind: str | None = None) -> list[tuple[str, str]]:
    """The kinds and names of the encoders; the default of each kind comes first."""

def _cache_bytes() -> tuple[int, int]:
    """The bytes of encoded media that are kept, and how many may be."""

def _set_cache_bytes(limit: int) -> None:
    """Keeps at most so many bytes of encoded media."""
