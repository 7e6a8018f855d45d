"""Every class of error that this engine can raise, provoked for real: words, attributes, cause, the store after it.

One row a case, to be read as a user would read it. The errors of a store's files are in the test of bad stores, and
`test_every_class_is_provoked` tells when a class is nowhere.
"""

from __future__ import annotations

import copy
import functools
import math
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from umi import (
    CallableEmbeddingProvider,
    CallableProvider,
    CoreMemory,
    Entity,
    EvolutionRelation,
    ManualClock,
    Memory,
    MemoryConfig,
    RecallOptions,
    RememberOptions,
    Scope,
    SimEmbeddingProvider,
    WorkingMemory,
    _umi,
    exceptions,
)
from umi.exceptions import (
    CapacityError,
    ClosedError,
    EmbeddingError,
    EmbeddingSpaceError,
    EmptyTextError,
    FeatureNotBuiltError,
    ForkedError,
    InvalidInputError,
    InvalidLimitError,
    NotFoundError,
    StoreLockedError,
    TextTooLongError,
    UmiError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - naive on purpose
VECTORS = RecallOptions(use_text_search=False)
MODEL = CallableProvider(lambda request: request.prompt)
UNKNOWN: Any = "later"
NO_PAIR: Any = ()
BUILTIN: dict[type[UmiError], type[Exception]] = {
    EmptyTextError: ValueError,
    TextTooLongError: ValueError,
    InvalidLimitError: ValueError,
    InvalidInputError: ValueError,
    CapacityError: ValueError,
    NotFoundError: KeyError,
    ClosedError: RuntimeError,
    ForkedError: RuntimeError,
    FeatureNotBuiltError: ImportError,
}


@dataclass
class Env:
    """A store of a few rows, and the handles that a case opened on it."""

    folder: Path
    fact: str
    episode: str
    handles: list[Memory] = field(default_factory=list)
    reader: subprocess.Popen[str] | None = None

    @property
    def memory(self) -> Memory:
        return self.opened()

    def opened(self, **settings: Any) -> Memory:
        settings.setdefault("embedder", embedder(lambda texts: [[1.0, 0.0] for _ in texts]))
        memory = Memory.open(self.folder, user="alice", clock=ManualClock(START), **settings)
        self.handles.append(memory)
        return memory

    def closed(self) -> Memory:
        memory = self.opened()
        memory.close_sync()
        return memory

    def scoped_of_closed(self) -> Memory:
        memory = self.opened()
        scoped = memory.scoped(session="s")
        memory.close_sync()
        return scoped

    def read_elsewhere(self) -> Memory:
        """A memory that forgot something which another process still reads."""
        memory = self.opened()
        code = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN")
database.execute("SELECT count(*) FROM episodes").fetchall()
print("reads", flush=True)
sys.stdin.read()
"""
        command = [sys.executable, "-c", code, str(self.folder / "umi.db")]
        self.reader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.reader.stdout is not None
        assert self.reader.stdout.readline() == "reads\n"
        return memory

    def close(self) -> None:
        if self.reader is not None:
            self.reader.communicate(timeout=60)
            self.reader = None
        for memory in self.handles:
            memory.close_sync()


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"k": value}
    return value


def shared(levels: int) -> dict[str, Any]:
    """More values than fit into any memory, of few lists."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value, value]
    return {"k": value}


def fails(_: object) -> Any:
    raise LookupError("the caller's own words")


def embedder(function: Callable[[list[str]], Any], name: str = "mine") -> CallableEmbeddingProvider:
    return CallableEmbeddingProvider(function, dimensions=2, name=name)


def in_a_child(call: Callable[[], object]) -> None:
    """Raises what the call raises in a forked child."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads, which is the case here
        child = os.fork()
    if child == 0:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it is handed on
            os.write(writer, pickle.dumps(error))
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:  # noqa: PTH123 - not a path
        raised = pipe.read()
    os.waitpid(child, 0)
    if raised:
        raise pickle.loads(raised)


@dataclass(frozen=True)
class Case:
    """What is done, what is raised, and in which words."""

    name: str
    error: type[UmiError]
    provoke: Callable[[Env], object]
    message: str
    hint: str | None = None
    sizes: tuple[int, int] | None = None
    cause: type[BaseException] | None = None
    is_retryable: bool = False


# fmt: off
CASES: list[Case] = [
    # EmptyTextError
    Case("empty text", EmptyTextError, lambda env: env.memory.remember_sync(""),
         "the text to remember is empty or white space"),
    Case("white space", EmptyTextError, lambda env: env.memory.remember_sync(" \t\n\u2003"),
         "the text to remember is empty or white space"),
    Case("a conversation without turns", EmptyTextError, lambda env: env.memory.remember_sync([]),
         "the conversation has no turns"),
    Case("a turn without words", EmptyTextError,
         lambda env: env.memory.remember_sync([{"role": "user", "content": "x"}, {"role": "user", "content": ""}]),
         "turn `1`: the text to remember is empty or white space"),
    Case("an item without words", EmptyTextError, lambda env: env.memory.remember_many_sync(["x", " "]),
         "item `1` of its batch: the text to remember is empty or white space"),
    Case("a fact without content", EmptyTextError,
         lambda env: env.memory.add_entity_sync(Entity("person", "Alice", "\u200b")),
         "an entity's content is empty or white space"),
    Case("an update to nothing", EmptyTextError, lambda env: env.memory.update_sync(env.fact, content=" "),
         "an entity's content is empty or white space"),
    # TextTooLongError
    Case("a long text", TextTooLongError, lambda env: env.memory.remember_sync("é" * 50_001),
         "text has 100002 bytes, at most 100000 are allowed",
         hint="cut it into several, or raise `MemoryConfig(text_bytes=…)`", sizes=(100_000, 100_002)),
    Case("a long query", TextTooLongError, lambda env: env.memory.recall_sync("x" * 100_001),
         "query has 100001 bytes, at most 100000 are allowed",
         hint="cut it into several, or raise `MemoryConfig(text_bytes=…)`", sizes=(100_000, 100_001)),
    Case("a long query of a context", TextTooLongError, lambda env: env.memory.context_sync("x" * 100_001),
         "query has 100001 bytes, at most 100000 are allowed",
         hint="cut it into several, or raise `MemoryConfig(text_bytes=…)`", sizes=(100_000, 100_001)),
    Case("a fact's long content", TextTooLongError,
         lambda env: env.memory.add_entity_sync(Entity("person", "Alice", "x" * 1_000_001)),
         "an entity's content has 1000001 bytes, at most 1000000 are allowed", sizes=(1_000_000, 1_000_001)),
    # InvalidLimitError
    Case("recall's limit", InvalidLimitError, lambda env: env.memory.recall_sync("x", RecallOptions(limit=0)),
         "limit is `0`, it must lie between 1 and 1000", sizes=(1_000, 0)),
    Case("a large limit", InvalidLimitError, lambda env: env.memory.recall_sync("x", RecallOptions().with_limit(1_001)),
         "limit is `1001`, it must lie between 1 and 1000", sizes=(1_000, 1_001)),
    Case("list's limit", InvalidLimitError, lambda env: env.memory.list_sync(limit=0),
         "limit is `0`, it must lie between 1 and 1000", sizes=(1_000, 0)),
    Case("episodes' limit", InvalidLimitError, lambda env: env.memory.episodes_sync(limit=1_001),
         "limit is `1001`, it must lie between 1 and 1000", sizes=(1_000, 1_001)),
    Case("a negative limit", InvalidLimitError, lambda env: env.memory.episodes_sync(limit=-1),
         "limit is `-1`, it must lie between 1 and 1000"),
    Case("the configured limit", InvalidLimitError, lambda _: MemoryConfig(recall_limit=0),
         "limit is `0`, it must lie between 1 and 1000", sizes=(1_000, 0)),
    # InvalidInputError: remember
    Case("empty role", InvalidInputError, lambda env: env.memory.remember_sync("x", role=" "),
         "role is empty", hint="leave it out to mean user"),
    Case("long role", InvalidInputError, lambda env: env.memory.remember_sync("x", role="r" * 1_000),
         "role has 1000 bytes, at most 64 are allowed", sizes=(64, 1_000)),
    Case("empty name", InvalidInputError, lambda env: env.memory.remember_sync("x", name=""),
         "name is empty", hint="leave it out to mean none"),
    Case("long name", InvalidInputError, lambda env: env.memory.remember_sync("x", name="n" * 257),
         "name has 257 bytes, at most 256 are allowed", sizes=(256, 257)),
    Case("long source", InvalidInputError, lambda env: env.memory.remember_sync("x", source="s" * 100_000),
         "source has 100000 bytes, at most 2048 are allowed", sizes=(2_048, 100_000)),
    Case("empty key", InvalidInputError, lambda env: env.memory.remember_sync("x", key=""),
         "key is empty", hint="leave it out to mean none"),
    Case("long key", InvalidInputError, lambda env: env.memory.remember_sync("x", key="k" * 10_000),
         "key has 10000 bytes, at most 256 are allowed", sizes=(256, 10_000)),
    Case("the key of another text", InvalidInputError, lambda env: env.memory.remember_sync("other words", key="once"),
         "the key `once` belongs to another text", hint="use one key for one text"),
    Case("naive at", InvalidInputError, lambda env: env.memory.remember_sync("x", at=NAIVE),
         "the datetime `2026-01-01 00:00:00` is naive", hint="give it a time zone, as in datetime.now(timezone.utc)"),
    Case("metadata with NaN", InvalidInputError, lambda env: env.memory.remember_sync("x", metadata={"k": math.nan}),
         "metadata is not JSON: …", cause=ValueError),
    Case("large metadata", InvalidInputError, lambda env: env.memory.remember_sync("x", metadata={"k": "x" * 65_536}),
         "metadata has 65544 bytes of JSON, at most 65536 are allowed", sizes=(65_536, 65_544)),
    Case("deep metadata", InvalidInputError, lambda env: env.memory.remember_sync("x", metadata=nested(33)),
         "metadata nests 34 levels deep, at most 32 are allowed"),
    Case("deepest metadata", InvalidInputError, lambda env: env.memory.remember_sync("x", metadata=nested(100_000)),
         "metadata nests over 64 levels deep or holds itself, at most 32 levels are allowed"),
    Case("endless metadata", InvalidInputError, lambda env: env.memory.remember_sync("x", metadata=shared(40)),
         "metadata has over 131072 bytes of JSON, at most 65536 are allowed", sizes=(65_536, 131_073)),
    Case("empty user", InvalidInputError, lambda env: env.memory.remember_sync("x", user=""),
         "user is empty", hint="leave it out to mean none"),
    Case("long agent", InvalidInputError, lambda env: env.memory.remember_sync("x", agent="a" * 257),
         "agent has 257 bytes, at most 256 are allowed", sizes=(256, 257)),
    Case("long session", InvalidInputError, lambda env: env.memory.remember_sync("x", session="é" * 129),
         "session has 258 bytes, at most 256 are allowed", sizes=(256, 258)),
    Case("a lone surrogate in the text", InvalidInputError, lambda env: env.memory.remember_sync("a\ud800b"),
         "a text holds a lone surrogate at index `1`",
         hint='decode its bytes with the right encoding, or with errors="replace"', cause=UnicodeEncodeError),
    Case("a lone surrogate in metadata", InvalidInputError,
         lambda env: env.memory.remember_sync("x", metadata={"k": "\udfff"}),
         "a text holds a lone surrogate at index `6`",
         hint='decode its bytes with the right encoding, or with errors="replace"', cause=UnicodeEncodeError),
    Case("a turn's unknown key", InvalidInputError,
         lambda env: env.memory.remember_sync([{"role": "user", "content": "x", "colour": "red"}]),
         "a turn has an unknown key `colour`", hint="known are: role, content, name"),
    Case("a turn without a role", InvalidInputError, lambda env: env.memory.remember_sync([{"content": "x"}]),
         "a turn lacks its `role`"),
    Case("a turn without content", InvalidInputError, lambda env: env.memory.remember_sync([{"role": "user"}]),
         "a turn lacks its `content`"),
    Case("another user of a pinned handle", InvalidInputError,
         lambda env: env.memory.scoped(user="alice").remember_sync("x", user="bob"),
         "this handle is pinned to user `alice`, a call on it cannot name user `bob`",
         hint="use the handle that it was made from"),
    Case("another user of a pinned handle's handle", InvalidInputError,
         lambda env: env.memory.scoped(user="alice").scoped(user="bob"),
         "this handle is pinned to user `alice`, a call on it cannot name user `bob`",
         hint="use the handle that it was made from"),
    Case("importance", InvalidInputError, lambda _: RememberOptions(importance=1.01),
         "importance is `1.01`, it must lie between 0 and 1"),
    Case("unknown wait", InvalidInputError, lambda _: RememberOptions(wait=UNKNOWN),
         "unknown wait `later`", hint="known are: extracted, durable"),
    Case("two names of one option that differ", InvalidInputError,
         lambda _: RememberOptions(detect_evolutions=True, track_evolution=False),
         "detect_evolutions and track_evolution are one option and differ"),
    # InvalidInputError: remember_many
    Case("an item's unknown key", InvalidInputError,
         lambda env: env.memory.remember_many_sync([{"text": "x", "colour": "red"}]),
         "an item has an unknown key `colour`",
         hint="known are: text, options, role, name, at, metadata, source, key, user, agent, session"),
    Case("an item without a text", InvalidInputError, lambda env: env.memory.remember_many_sync([{"user": "alice"}]),
         "an item lacks its `text`"),
    Case("a batch of none", InvalidInputError, lambda env: env.memory.remember_many_sync(["x"], batch_size=0),
         "batch_size is `0`, it must be at least 1"),
    # InvalidInputError: facts
    Case("unknown type", InvalidInputError, lambda env: env.memory.add_entity_sync(Entity("robot", "Alice", "x")),
         "unknown entity type `robot`",
         hint="known types: self, person, organization, project, topic, location, event, note, task, preference"),
    Case("an empty name of a fact", InvalidInputError,
         lambda env: env.memory.add_entity_sync(Entity("person", "", "x")),
         "an entity's name is empty"),
    Case("a long name of a fact", InvalidInputError,
         lambda env: env.memory.add_entity_sync(Entity("person", "é" * 129, "x")),
         "an entity's name has 258 bytes, at most 256 are allowed", sizes=(256, 258)),
    Case("an empty attribute", InvalidInputError,
         lambda env: env.memory.add_entity_sync(Entity("person", "Alice", "x", attribute=" ")),
         "an entity's attribute is empty", hint="leave it out to mean none"),
    Case("confidence", InvalidInputError,
         lambda env: env.memory.add_entity_sync(Entity("person", "Alice", "x", confidence=math.nan)),
         "confidence is `NaN`, it must lie between 0 and 1"),
    Case("a naive time of a fact", InvalidInputError, lambda _: Entity("person", "Alice", "x", event_time=NAIVE),
         "the datetime `2026-01-01 00:00:00` is naive", hint="give it a time zone, as in datetime.now(timezone.utc)"),
    Case("an update's confidence", InvalidInputError, lambda env: env.memory.update_sync(env.fact, confidence=-0.5),
         "confidence is `-0.5`, it must lie between 0 and 1"),
    Case("an update of an episode", InvalidInputError, lambda env: env.memory.update_sync(env.episode, content="x"),
         "`{episode}` is an episode, which is never rewritten", hint="remember the new words, or forget the old ones"),
    Case("a relation to itself", InvalidInputError, lambda _: EvolutionRelation("a", "a", "update"),
         "source_id and target_id are both `a`"),
    Case("a relation from nothing", InvalidInputError, lambda _: EvolutionRelation("", "a", "update"),
         "source_id is empty"),
    Case("an unknown relation", InvalidInputError, lambda _: EvolutionRelation("a", "b", "replaces"),
         "unknown evolution type `replaces`", hint="known types: update, extend, derive, contradict"),
    Case("a relation's confidence", InvalidInputError, lambda _: EvolutionRelation("a", "b", "update", "", 1.5),
         "confidence is `1.5`, it must lie between 0 and 1"),
    # InvalidInputError: reads
    Case("a query with a lone surrogate", InvalidInputError, lambda env: env.memory.recall_sync("\ud800"),
         "a text holds a lone surrogate at index `0`",
         hint='decode its bytes with the right encoding, or with errors="replace"', cause=UnicodeEncodeError),
    Case("deep search without a model", InvalidInputError,
         lambda env: env.memory.recall_sync("x", RecallOptions(deep_search=True)),
         "deep_search is on, but this memory has no language model",
         hint="leave deep_search out, or open the memory with a model"),
    Case("neither way of searching", InvalidInputError,
         lambda _: RecallOptions(use_vector_search=False, use_text_search=False),
         "use_vector_search and use_text_search are both false, nothing can be found"),
    Case("a range that ends before it starts", InvalidInputError,
         lambda _: RecallOptions(time_range=(START, START - timedelta(seconds=1))),
         "time_range ends at `2026-03-01T11:59:59Z`, before it starts at `2026-03-01T12:00:00Z`"),
    Case("a range without ends", InvalidInputError, lambda _: RecallOptions(time_range=NO_PAIR),
         "`time_range` is no pair of times", cause=ValueError),
    Case("no entity type", InvalidInputError, lambda _: RecallOptions(entity_types=()),
         "entity_types is empty", hint="leave it out to mean all"),
    Case("an unknown entity type", InvalidInputError, lambda _: RecallOptions(entity_types=("robot",)),
         "unknown entity type `robot`",
         hint="known types: self, person, organization, project, topic, location, event, note, task, preference"),
    Case("nothing included", InvalidInputError, lambda _: RecallOptions(include=()),
         "include is empty", hint="name facts, episodes or both"),
    Case("an unknown kind", InvalidInputError, lambda _: RecallOptions(include=("blocks",)),
         "unknown kind `blocks`", hint="known kinds: facts, episodes"),
    Case("min_score", InvalidInputError, lambda _: RecallOptions(min_score=2.0),
         "min_score is `2`, it must lie between 0 and 1"),
    Case("a naive as_of", InvalidInputError, lambda env: env.memory.list_sync(as_of=NAIVE),
         "the datetime `2026-01-01 00:00:00` is naive", hint="give it a time zone, as in datetime.now(timezone.utc)"),
    Case("an unknown listed type", InvalidInputError, lambda env: env.memory.list_sync(entity_type="x" * 100),
         "unknown entity type `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx`",
         hint="known types: self, person, organization, project, topic, location, event, note, task, preference"),
    Case("a negative offset", InvalidInputError, lambda env: env.memory.list_sync(offset=-1),
         "offset is `-1`, it must not be negative"),
    Case("a negative budget", InvalidInputError, lambda env: env.memory.context_sync("x", budget_tokens=-1),
         "budget_tokens is `-1`, it must not be negative"),
    Case("a token counter that fails", InvalidInputError,
         lambda env: env.opened(config=MemoryConfig(token_counter=fails)).context_sync("kiln"),
         "the token_counter failed", cause=LookupError),
    Case("a token counter below nothing", InvalidInputError,
         lambda env: env.opened(config=MemoryConfig(token_counter=lambda text: -1)).context_sync("kiln"),
         "the token_counter gave `-1`, which is negative"),
    Case("an id with a lone surrogate", InvalidInputError, lambda env: env.memory.get_sync("\udfff"),
         "a text holds a lone surrogate at index `0`",
         hint='decode its bytes with the right encoding, or with errors="replace"', cause=UnicodeEncodeError),
    # InvalidInputError: forgetting and the whole store
    Case("forgetting everything", InvalidInputError, lambda env: env.memory.forget_scope_sync(),
         "forget_scope names no user",
         hint="name the user to forget, or say `confirm=True` for the scope of this handle"),
    Case("a copy into the store", InvalidInputError, lambda env: env.memory.backup_sync(env.folder),
         "the folder `{folder}` is in the store itself",
         hint="name a folder that does not exist yet, outside of the store"),
    Case("a path without a name", InvalidInputError, lambda _: Memory.open(""),
         "the path is empty", hint='"." is the working folder'),
    Case("a path with a NUL", InvalidInputError, lambda _: Memory.open("a\0b"),
         "the path `a\\u{{0}}b` holds a NUL"),
    Case("a negative seed", InvalidInputError, lambda _: Memory.sim(-1),
         "seed is `-1`, it must not be negative"),
    Case("a negative timeout", InvalidInputError,
         lambda env: env.memory._engine.count((None, None, None)).wait(timedelta(seconds=-1)),
         "timeout is `-1000000` microseconds, it must not be negative"),
    Case("a clock beyond the end of time", InvalidInputError, lambda _: ManualClock(START).advance(timedelta.max),
         "a clock at `2026-03-01T12:00:00Z` cannot advance by 9223372036854.775807s", cause=RuntimeError),
    # InvalidInputError: configuration and embedders
    Case("a small core memory", InvalidInputError, lambda _: MemoryConfig(core_memory_bytes=100),
         "a core memory of `100` bytes is out of range", hint="from 4096 to 16777216 bytes are allowed"),
    Case("a block larger than its memory", InvalidInputError, lambda _: MemoryConfig(core_block_bytes=1_000_000),
         "a core block limit of `1000000` bytes is out of range",
         hint="from 1 byte to the whole core memory of 32768 bytes are allowed"),
    Case("a text limit", InvalidInputError, lambda _: MemoryConfig(text_bytes=10_000_001),
         "text_bytes is `10000001`, it must lie between 1 and 10000000"),
    Case("a negative setting", InvalidInputError, lambda _: MemoryConfig(index_memory_bytes=-1),
         "index_memory_bytes is `-1`, it must not be negative"),
    Case("no dimensions", InvalidInputError, lambda _: CallableEmbeddingProvider(fails, dimensions=0, name="mine"),
         "dimensions is `0`, it must lie between 1 and 65536"),
    Case("an embedder without a name", InvalidInputError,
         lambda _: CallableEmbeddingProvider(fails, dimensions=2, name=" "),
         "the name of an embedder is empty", hint="name the model, because vectors of two models are never compared"),
    Case("an embedder's negative seed", InvalidInputError, lambda _: SimEmbeddingProvider(-1),
         "seed is `-1`, it must not be negative"),
    Case("an unknown field", InvalidInputError, lambda _: Scope.from_dict({"tenant": "alice"}),
         "a scope has an unknown key `tenant`", hint="known are: user, agent, session"),
    Case("a field that is missing", InvalidInputError, lambda _: Entity.from_dict({"name": "Alice"}),
         "an entity lacks its `entity_type`"),
    # InvalidInputError: core and working memory
    Case("an unknown block", InvalidInputError, lambda env: env.memory.core.set_block("diary", "x"),
         "unknown block type `diary`", hint="known types: system, persona, human, facts, goals, scratch"),
    Case("a block's importance", InvalidInputError, lambda env: env.memory.core.set_block("human", "x", importance=2.0),
         "importance is `2`, it must lie between 0 and 1"),
    Case("a long label", InvalidInputError, lambda env: env.memory.core.set_block("human", "x", label="l" * 65),
         "a block's label has 65 bytes, at most 64 are allowed", sizes=(64, 65)),
    Case("a negative version", InvalidInputError, lambda env: env.memory.core.restore("human", -1),
         "version is `-1`, it must not be negative"),
    Case("a core memory of its own", InvalidInputError, lambda _: CoreMemory(100),
         "a core memory of `100` bytes is out of range", hint="from 4096 to 16777216 bytes are allowed"),
    Case("an empty key of working memory", InvalidInputError, lambda env: env.memory.working.set("", b"x"),
         "a working memory key is empty"),
    Case("a long key of working memory", InvalidInputError, lambda env: env.memory.working.set("k" * 257, b"x"),
         "a working memory key has 257 bytes, at most 256 are allowed", sizes=(256, 257)),
    Case("a time to live of nothing", InvalidInputError, lambda env: env.memory.working.set("k", b"x", 0),
         "a time to live of `0` seconds is out of range",
         hint="it must be above 0 and at most 604800 seconds (7 days), or infinite for none"),
    Case("a time to live of more than a week", InvalidInputError,
         lambda env: env.memory.working.set("k", b"x", 604_801),
         "a time to live of `604801` seconds is out of range",
         hint="it must be above 0 and at most 604800 seconds (7 days), or infinite for none"),
    Case("adding to what is no number", InvalidInputError, lambda env: env.memory.working.incr("draft"),
         "the value `words` is not a decimal number of 64 bits",
         hint="`incr` works on a new key or on a number's digits; `set` the key first"),
    Case("adding beyond 64 bits", InvalidInputError, lambda env: env.memory.working.incr("count", 2**63 - 1),
         "adding `9223372036854775807` to `1` does not fit into 64 bits"),
    Case("appending to a key without a name", InvalidInputError, lambda env: env.memory.working.append("", b"x"),
         "a working memory key is empty"),
    Case("a working memory of its own", InvalidInputError, lambda _: WorkingMemory(max_bytes=0),
         "a limit of `0` working memory bytes is out of range", hint="from 1 to 1073741824 are allowed"),
    # CapacityError
    Case("a block that is full", CapacityError, lambda env: env.memory.core.set_block("human", "x" * 16_385),
         "the content of block `human` has 16385 bytes, at most 16384 fit",
         hint="shorten it, or raise `MemoryConfig(core_block_bytes=…)`", sizes=(16_384, 16_385)),
    Case("a core memory that is full", CapacityError,
         lambda env: env.opened(config=MemoryConfig(core_memory_bytes=16_384)).core.set_block("facts", "x" * 16_384),
         "core memory would hold 16408 bytes with block `facts`, at most 16384 fit",
         hint="shorten or remove a block, or raise `MemoryConfig(core_memory_bytes=…)`", sizes=(16_384, 16_408)),
    Case("a core memory of its own that is full", CapacityError,
         lambda _: CoreMemory(4_096).set_block("human", "x" * 4_097),
         "the content of block `human` has 4097 bytes, at most 4096 fit",
         hint="shorten it, or raise `MemoryConfig(core_block_bytes=…)`", sizes=(4_096, 4_097)),
    Case("a value that is too large", CapacityError, lambda env: env.memory.working.set("k", b"x" * 65_537),
         "a working value has 65537 bytes, at most 65536 fit",
         hint="split it over several keys, or raise `MemoryConfig(working_value_bytes=…)`", sizes=(65_536, 65_537)),
    Case("an append that is too large", CapacityError, lambda env: env.memory.working.append("draft", b"x" * 65_536),
         "a working value has 65541 bytes, at most 65536 fit",
         hint="split it over several keys, or raise `MemoryConfig(working_value_bytes=…)`", sizes=(65_536, 65_541)),
    Case("too many entries", CapacityError,
         lambda env: env.opened(config=MemoryConfig(working_memory_entries=2)).working.set("third", b"x"),
         "working memory would hold 3 entries, at most 2 fit",
         hint="delete keys, or raise `MemoryConfig(working_memory_entries=…)`", sizes=(2, 3)),
    Case("too many bytes", CapacityError,
         lambda env: env.opened(config=MemoryConfig(working_memory_bytes=1_024)).working.set("third", b"x" * 1_010),
         "working memory would hold 1031 bytes, at most 1024 fit",
         hint="delete keys, or raise `MemoryConfig(working_memory_bytes=…)`", sizes=(1_024, 1_031)),
    Case("too many digits", CapacityError,
         lambda env: env.opened(config=MemoryConfig(working_memory_entries=2)).working.incr("third"),
         "working memory would hold 3 entries, at most 2 fit",
         hint="delete keys, or raise `MemoryConfig(working_memory_entries=…)`", sizes=(2, 3)),
    Case("a working memory of its own that is full", CapacityError,
         lambda _: WorkingMemory(max_bytes=10).set("key", b"x" * 8),
         "working memory would hold 11 bytes, at most 10 fit",
         hint="delete keys, or raise `MemoryConfig(working_memory_bytes=…)`", sizes=(10, 11)),
    # NotFoundError
    Case("an update of what is not there", NotFoundError,
         lambda env: env.memory.update_sync("0197a000-0000-7000-8000-000000000000", content="x"),
         "no fact has the id `0197a000-0000-7000-8000-000000000000` in this scope"),
    Case("an update of what is no id", NotFoundError, lambda env: env.memory.update_sync("nonsense " * 20, content="x"),
         "no fact has the id `nonsense nonsense nonsense nonsense nonsense nonsense nonsense n` in this scope"),
    Case("an update of another user's fact", NotFoundError,
         lambda env: env.memory.update_sync(env.fact, content="x", user="bob"),
         "no fact has the id `{fact}` in this scope"),
    Case("a version that never was", NotFoundError, lambda env: env.memory.core.restore("human", 7),
         "no version `7` of block `human`", hint="`core.versions(type)` lists them"),
    # EmbeddingError
    Case("a query that cannot be embedded", EmbeddingError,
         lambda env: env.opened(embedder=embedder(fails)).recall_sync("x", VECTORS),
         "embedder `mine` raised `LookupError`", hint="its cause is what it raised", cause=LookupError),
    Case("an embedder that gives too few", EmbeddingError, lambda _: embedder(lambda texts: []).embed_sync(["a", "b"]),
         "embedder `mine` gave 0 vectors for 2 texts",
         hint="an embedder gives one vector of finite numbers a text, in order, of its space's dimensions",
         sizes=(2, 0)),
    Case("an embedder that gives too few dimensions", EmbeddingError,
         lambda env: env.opened(embedder=embedder(lambda texts: [[1.0]])).recall_sync("x", VECTORS),
         "embedder `mine` gave 1 dimensions instead of 2 for text 0",
         hint="an embedder gives one vector of finite numbers a text, in order, of its space's dimensions",
         sizes=(2, 1)),
    Case("an embedder that gives no numbers", EmbeddingError,
         lambda _: embedder(lambda texts: [[math.nan, 0.0]]).embed_sync(["a"]),
         "embedder `mine` gave `NaN` at dimension 0 of text 0",
         hint="an embedder gives one vector of finite numbers a text, in order, of its space's dimensions"),
    Case("an embedder that gives no rows", EmbeddingError,
         lambda _: embedder(lambda texts: "no rows").embed_sync(["a"]),
         "embedder `mine` gave no rows of numbers", hint="a function gives one list of numbers a text, in order",
         cause=TypeError),
    Case("moving to an embedder that fails", EmbeddingError,
         lambda env: env.opened(embedder=embedder(fails, name="another"), reembed=True).reembed_sync(),
         "embedder `another` raised `LookupError`", hint="its cause is what it raised", cause=LookupError),
    # EmbeddingSpaceError
    Case("another embedder", EmbeddingSpaceError, lambda env: Memory.open(env.folder, embedder=SimEmbeddingProvider(1)),
         "the store's vectors are of `mine (2 dimensions)`, the embedder's are of `sim-1 (256 dimensions)`",
         hint=("open the store with the embedder that it was written with, or with `reembed=True` and then "
         "call `reembed()`")),
    Case("vectors of another embedder", EmbeddingSpaceError,
         lambda env: env.opened(embedder=SimEmbeddingProvider(1), reembed=True).recall_sync("x", VECTORS),
         "the store's vectors are not of `sim-1 (256 dimensions)`",
         hint="call reembed(); until it has ended, recall finds by words"),
    Case("jobs of another embedder", EmbeddingSpaceError,
         lambda env: env.opened(embedder=SimEmbeddingProvider(1), reembed=True).retry_pending_sync(),
         "the store's vectors are of `mine (2 dimensions)`, the embedder's are of `sim-1 (256 dimensions)`",
         hint=("open the store with the embedder that it was written with, or with `reembed=True` and then "
         "call `reembed()`")),
    # ClosedError
    Case("a closed memory", ClosedError, lambda env: env.closed().count_sync(),
         "this memory is closed", hint="open it again"),
    Case("remembering in a closed memory", ClosedError, lambda env: env.closed().remember_sync("x"),
         "this memory is closed", hint="open it again"),
    Case("entering a closed memory", ClosedError, lambda env: env.closed().__enter__(),
         "this memory is closed", hint="open it again"),
    Case("the parts of a closed memory", ClosedError, lambda env: env.closed().core.render(),
         "this memory is closed", hint="open it again"),
    Case("a handle of a closed memory", ClosedError, lambda env: env.closed().scoped(user="alice"),
         "this memory is closed", hint="open it again"),
    Case("a scoped handle whose memory was closed", ClosedError, lambda env: env.scoped_of_closed().working.keys(),
         "this memory is closed", hint="open it again"),
    # ForkedError
    Case("a forked child", ForkedError, lambda env: in_a_child(env.memory.count_sync),
         "this memory was opened before a fork, in another process", hint="open the store again in the child"),
    Case("remembering in a forked child", ForkedError,
         lambda env: in_a_child(functools.partial(env.memory.remember_sync, "x")),
         "this memory was opened before a fork, in another process", hint="open the store again in the child"),
    Case("a forked child's parts", ForkedError, lambda env: in_a_child(env.memory.core.render),
         "this memory was opened before a fork, in another process", hint="open the store again in the child"),
    # StoreLockedError; that of writers comes after half a minute
    Case("purging while another process reads", StoreLockedError, lambda env: env.read_elsewhere().purge_sync(),
         "the old pages of `{folder}/umi.db` are being read outside of this handle",
         hint="call `purge()` again once that read has ended", is_retryable=True),
]
# fmt: on


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A store with a row of every kind, and the ids of its fact and of its episode."""
    folder = tmp_path_factory.mktemp("template") / "store"
    # of an embedder of two dimensions, so that those of the cases fit
    rows = embedder(lambda texts: [[1.0, 0.0] for _ in texts])
    with Memory.open(folder, user="alice", clock=ManualClock(START), embedder=rows) as memory:
        episode = memory.remember_sync("The kiln came from Utrecht.", key="once").episode_ids[0]
        fact = memory.add_entity_sync(Entity("person", "Alice", "works at the kiln", attribute="job")).entities[0].id
        memory.core.set_block("human", "Prefers concise answers.")
        memory.working.set("draft", b"words")
        memory.working.set("count", b"1")
    return folder, fact, episode


@pytest.fixture
def env(template: tuple[Path, str, str], tmp_path: Path) -> Iterator[Env]:
    folder, fact, episode = template
    shutil.copytree(folder, tmp_path / "store")
    env = Env(tmp_path / "store", fact, episode)
    yield env
    env.close()


def dump(folder: Path) -> list[str]:
    """Every row of a store that nobody has open, in an order that a rewriting of the store leaves as it is."""
    with sqlite3.connect(folder / "umi.db") as database:
        rows = sorted(database.iterdump())
    database.close()
    return rows


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_raised(case: Case, env: Env) -> None:
    if case.error is ForkedError and not hasattr(os, "fork"):
        pytest.skip("there is no fork here")
    before = dump(env.folder)
    with pytest.raises(UmiError) as caught:
        case.provoke(env)
    error = caught.value
    assert type(error) is case.error
    assert isinstance(error, BUILTIN.get(case.error, UmiError))
    names = {"folder": env.folder, "fact": env.fact, "episode": env.episode}
    message, hint = case.message.format_map(names), case.hint and case.hint.format_map(names)
    if message.endswith("…"):  # Python's own words follow, which differ by its version
        assert error.message.startswith(message[:-1])
        message = error.message
    assert (error.message, error.hint) == (message, hint)
    assert str(error) == (f"{message} ({hint})" if hint else message)
    assert (error.limit, error.requested) == (case.sizes or (None, None))
    assert getattr(error, "is_retryable", False) is case.is_retryable
    assert type(error.__cause__) is (case.cause or type(None))
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(twin), str(twin), vars(twin)) == (type(error), str(error), vars(error))
    env.close()
    assert dump(env.folder) == before


def test_the_words_are_of_one_style() -> None:
    """In lower case, without a period, and short enough to be read."""
    for case in CASES:
        for words in filter(None, (case.message, case.hint)):
            assert not words.endswith("."), case.name
            assert words[0] in '`".' or words[0].islower(), case.name
            assert len(words) < 300, case.name


OF_BAD_STORES = {"StorageError", "CorruptStoreError", "StoreVersionError", "StoreIOError"}
# No way leads to one from outside; `test_errors.py` panics on purpose behind the guard.
OF_DEFECTS = {"InternalError"}
# Those of services, provoked in the test of language models.
OF_PROVIDERS = {
    "ProviderError",
    "RateLimitError",
    "AuthenticationError",
    "ProviderTimeoutError",
    "ContextOverflowError",
    "InvalidResponseError",
}
OF_LIGHT_BUILDS = {"FeatureNotBuiltError"}  # in test_packaging.py: this build has every part
# In test_context.py.
OF_CONTEXTS = {"RefNotFoundError", "FileError", "MissingFileError", "IsFolderError", "FilePermissionError"}


def test_every_class_is_provoked() -> None:
    """A new class, or a new kind of the core, needs a row in this table, or in the test of bad stores."""
    provoked = {case.error.__name__ for case in CASES}
    elsewhere = OF_BAD_STORES | OF_DEFECTS | OF_PROVIDERS | OF_LIGHT_BUILDS | OF_CONTEXTS
    assert provoked | elsewhere == set(exceptions.__all__) - {"UmiError"}
    assert not provoked & elsewhere
    assert {type(error).__name__ for _, error in _umi._error_kinds()} <= provoked | elsewhere
    others = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__))
    for name in (OF_BAD_STORES | OF_PROVIDERS | OF_LIGHT_BUILDS | OF_CONTEXTS) - {
        "StorageError"
    }:  # the base of the others, itself for what SQLite has no word for
        assert name in others, f"no test provokes {name}"
