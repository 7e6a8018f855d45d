"""`RememberOptions`, `RecallOptions`, `MemoryConfig` and the builder."""

from __future__ import annotations

import copy
import json
import math
import pickle
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from umi import (
    CallableProvider,
    InMemoryStorageBackend,
    InvalidInputError,
    InvalidLimitError,
    Memory,
    MemoryBuilder,
    MemoryConfig,
    RecallOptions,
    RememberOptions,
    SimEmbeddingProvider,
    SqliteStorageBackend,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T1, T2 = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


def test_remember_options() -> None:
    options = RememberOptions()
    assert (options.extract_entities, options.generate_embeddings, options.detect_evolutions) == (True, True, True)
    assert (options.importance, options.wait) == (0.5, "extracted")
    changed = (
        options.without_extraction().without_embeddings().without_evolution().with_importance(0.9).with_wait("durable")
    )
    assert changed == RememberOptions(
        extract_entities=False, generate_embeddings=False, detect_evolutions=False, importance=0.9, wait="durable"
    )
    assert changed.with_embeddings().generate_embeddings
    assert options == RememberOptions()
    assert not RememberOptions(track_evolution=False).detect_evolutions
    assert not RememberOptions(track_evolution=False).track_evolution
    with pytest.raises(InvalidInputError):
        RememberOptions(detect_evolutions=True, track_evolution=False)
    with pytest.raises(InvalidInputError):
        RememberOptions(wait="never")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        RememberOptions(extract_entities=1)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        options.importance = 1.0  # type: ignore[misc]
    for importance in (-0.1, 1.1, math.nan, math.inf):
        with pytest.raises(InvalidInputError):
            RememberOptions(importance=importance)
        with pytest.raises(InvalidInputError):
            options.with_importance(importance)


def test_recall_options() -> None:
    options = RecallOptions()
    assert (options.limit, options.deep_search, options.time_range, options.as_of) == (None, None, None, None)
    assert (options.entity_types, options.include, options.min_score) == (None, ("facts", "episodes"), 0.0)
    full = (
        options.with_limit(5).with_text_search(False).with_deep_search().with_time_range(T1, T2).with_as_of(T2)
        .with_entity_types(["Place", "person"]).with_include(["facts"]).with_min_score(0.5).with_explain()
    )  # fmt: skip
    assert full == RecallOptions(
        limit=5, use_text_search=False, deep_search=True, time_range=(T1, T2), as_of=T2,
        entity_types=["person", "location"], include=("fact",), min_score=0.5, explain=True,
    )  # fmt: skip
    assert full.time_range == (T1, T2)
    assert full.entity_types == ("person", "location")
    assert full.fast_only().deep_search is False
    assert full.with_text_search().with_vector_search(False).use_vector_search is False


@pytest.mark.parametrize("limit", [0, -1, 1001, 10**30])
def test_limits_out_of_range(limit: int) -> None:
    for make in (RecallOptions, RecallOptions().with_limit, lambda limit: MemoryConfig(recall_limit=limit)):
        with pytest.raises(InvalidLimitError):
            make(limit)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: RecallOptions(time_range=(T2, T1)), InvalidInputError),
        (lambda: RecallOptions(time_range=(T1.replace(tzinfo=None), T2)), InvalidInputError),
        (lambda: RecallOptions(as_of=T1.replace(tzinfo=None)), InvalidInputError),
        (lambda: RecallOptions(entity_types=["robot"]), InvalidInputError),
        (lambda: RecallOptions(entity_types=[]), InvalidInputError),
        (lambda: RecallOptions(entity_types="person"), TypeError),
        (lambda: RecallOptions(include=[]), InvalidInputError),
        (lambda: RecallOptions(include=["all"]), InvalidInputError),
        (lambda: RecallOptions(min_score=1.5), InvalidInputError),
        (lambda: RecallOptions(use_vector_search=False, use_text_search=False), InvalidInputError),
        (lambda: RecallOptions(limit="5"), TypeError),  # type: ignore[arg-type]
        (lambda: RecallOptions(limit=True), TypeError),
        (lambda: RecallOptions(limit=2.0), TypeError),  # type: ignore[arg-type]
        (lambda: RecallOptions(as_of="2026-01-01"), TypeError),  # type: ignore[arg-type]
        (lambda: MemoryConfig(core_memory_bytes=100), InvalidInputError),
        (lambda: MemoryConfig(working_memory_bytes=0), InvalidInputError),
        (lambda: MemoryConfig(text_bytes=10_000_001), InvalidInputError),
        (lambda: MemoryConfig(index_memory_bytes=-1), InvalidInputError),
        (lambda: MemoryConfig(working_memory_ttl=timedelta(days=8)), InvalidInputError),
        (lambda: MemoryConfig(working_memory_ttl="1h"), TypeError),  # type: ignore[arg-type]
        (lambda: MemoryConfig(token_counter=3), TypeError),  # type: ignore[arg-type]
    ],
)
def test_bad_options(make: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


def test_configuration() -> None:
    config = MemoryConfig(
        core_memory_bytes=128 * 1024,
        working_memory_bytes=10 * 1024 * 1024,
        working_memory_ttl=timedelta(hours=4),
        recall_limit=50,
    )
    assert (config.core_memory_bytes, config.core_block_bytes) == (128 * 1024, 64 * 1024)
    assert config.working_memory_bytes == 10 * 1024 * 1024
    assert config.working_memory_ttl == timedelta(hours=4)
    assert (config.recall_limit, config.text_bytes, config.deep_search) == (50, 100_000, False)
    assert config.with_working_memory_ttl(math.inf).working_memory_ttl == math.inf
    assert config.with_core_memory_bytes(8192).core_block_bytes == 8192
    assert config.with_core_block_bytes(4096).with_text_bytes(10).text_bytes == 10
    assert config.with_token_counter(len).token_counter is len
    assert config == config.with_recall_limit(50)
    assert config != config.with_recall_limit(51)
    with pytest.raises(InvalidInputError):
        config.with_core_memory_bytes(100)
    with pytest.raises(TypeError):
        MemoryConfig(recal_limit=5)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "value",
    [
        RememberOptions(importance=0.25, wait="durable"),
        RecallOptions(limit=5, time_range=(T1, T2), as_of=T1, entity_types=["person"], include=["facts"]),
        RecallOptions(),
        MemoryConfig(recall_limit=3),
        MemoryConfig(working_memory_ttl=math.inf),
    ],
)
def test_options_are_values(value: Any) -> None:
    for twin in (
        copy.copy(value),
        copy.deepcopy(value),
        pickle.loads(pickle.dumps(value)),
        type(value).from_dict(value.to_dict()),
    ):
        assert twin == value
        assert hash(twin) == hash(value)
    assert type(value).from_dict(json.loads(json.dumps(value.to_dict()))) == value
    assert repr(value).startswith(type(value).__name__)


def test_the_token_counter_is_asked(memory: Memory) -> None:
    asked: list[str] = []

    def count(text: str) -> int:
        asked.append(text)
        return 1

    with Memory.in_memory(config=MemoryConfig(token_counter=count)) as counted:
        counted.remember_sync("The kiln came from Utrecht.")
        assert "Utrecht" in counted.context_sync("kiln")
    assert asked

    def fail(text: str) -> int:
        raise LookupError(text)

    with Memory.in_memory(config=MemoryConfig(token_counter=fail)) as failing:
        failing.remember_sync("The kiln came from Utrecht.")
        with pytest.raises(InvalidInputError) as caught:
            failing.context_sync("kiln")
        assert isinstance(caught.value.__cause__, LookupError)


def test_the_builder(tmp_path: Path) -> None:
    builder = (
        MemoryBuilder()
        .with_llm(None)
        .with_embedder(SimEmbeddingProvider(1))
        .with_storage(SqliteStorageBackend.connect(tmp_path / "store"))
        .with_config(MemoryConfig(recall_limit=1))
        .with_scope(user="alice", agent="a", session="s")
    )
    with builder.build() as memory:
        memory.remember_many_sync(["one fish", "two fish"])
        assert len(memory.recall_sync("fish")) == 1
        assert memory.scope.to_dict() == {"user": "alice", "agent": "a", "session": "s"}
        assert memory.stats_sync()["embedder"]["model"] == "sim-1"
    assert (tmp_path / "store").is_dir()
    with pytest.raises(TypeError):
        MemoryBuilder().with_storage("./folder").build()  # type: ignore[arg-type]
    with MemoryBuilder().with_storage(InMemoryStorageBackend()).build() as other:
        assert other.path is None


def test_a_memory_takes_a_language_model() -> None:
    model = CallableProvider(lambda _: {"facts": [], "relations": []})
    with MemoryBuilder().with_storage(InMemoryStorageBackend()).with_llm(model).build() as memory:
        assert memory.remember_sync("The harbour is closed.").usage.requests == 1
    with pytest.raises(TypeError):
        Memory.in_memory(llm=object())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Memory()
