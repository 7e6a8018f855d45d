"""What a caller's own code says in an exception stays with the caller: it may hold a key."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from umi import CallableEmbeddingProvider, EmbeddingError, InvalidInputError, Memory, MemoryConfig, RecallOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "sk-live-0123456789abcdef"


class ServiceError(LookupError):
    """A service's own exception."""


def plain(_texts: list[str]) -> list[list[float]]:
    raise ServiceError(f"401 for the key {KEY}")


async def awaited(_texts: list[str]) -> list[list[float]]:
    raise ServiceError(f"401 for the key {KEY}")


def lazy(_texts: list[str]) -> Iterator[list[float]]:
    yield [1.0, 0.0]
    raise ServiceError(f"401 for the key {KEY}")


def hidden(text: str, *places: object) -> None:
    for place in places:
        assert text not in str(place)
        assert text not in repr(place)


@pytest.mark.parametrize("function", [plain, awaited, lazy])
def test_a_key_in_an_embedders_exception_goes_nowhere(
    function: Callable[[list[str]], list[list[float]]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    embedder = CallableEmbeddingProvider(function, dimensions=2, name="mine")
    with caplog.at_level(logging.DEBUG), Memory.open(tmp_path, embedder=embedder, user="alice") as memory:
        result = memory.remember_sync("The kiln came from Utrecht.")
        found = memory.recall_sync("kiln")
        memory.retry_pending_sync()
        jobs = memory.pending_sync()
        with pytest.raises(EmbeddingError) as caught:
            memory.recall_sync("kiln", RecallOptions(use_text_search=False))
        with pytest.raises(EmbeddingError) as direct:
            embedder.embed_sync(["kiln"])
        hidden(KEY, memory, memory.stats_sync(), memory.context_sync("kiln"))
    assert len(result.warnings) == len(found.warnings) == len(jobs) == 1
    assert result.warnings[0].job_id == jobs[0].id
    assert isinstance(jobs[0].id, str)
    assert found.warnings[0].job_id is None
    assert jobs[0].last_error
    assert jobs[0].attempts >= 1
    errors = [result.warnings[0].error, found.warnings[0].error, caught.value, direct.value]
    hidden(KEY, result, found, *jobs, *errors, result.to_dict(), found.to_dict(), jobs[0].to_dict(), jobs[0].last_error)
    for error in errors:
        cause: BaseException | None = error
        while isinstance(cause, EmbeddingError):
            hidden(KEY, cause, cause.message, cause.hint)
            assert "`mine`" in cause.message
            cause = cause.__cause__
        assert type(cause) is ServiceError
        assert KEY in str(cause)
    assert caplog.records
    for record in caplog.records:
        hidden(KEY, record.getMessage(), vars(record))
    stored = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"Utrecht" in content for content in stored)
    assert not any(KEY.encode() in content for content in stored)


def test_the_message_names_the_embedder_and_the_class() -> None:
    for function in (plain, awaited):
        embedder = CallableEmbeddingProvider(function, dimensions=2, name="mine")
        with pytest.raises(EmbeddingError) as caught:
            embedder.embed_sync(["kiln"])
        assert caught.value.message == "embedder `mine` raised `ServiceError`"


def test_a_key_in_other_exceptions_of_the_caller() -> None:
    def count(_text: str) -> int:
        raise ServiceError(KEY)

    with Memory.in_memory(config=MemoryConfig(token_counter=count)) as memory:
        memory.remember_sync("The kiln came from Utrecht.")
        with pytest.raises(InvalidInputError) as caught:
            memory.context_sync("kiln")
    hidden(KEY, caught.value, caught.value.message)
    assert KEY in str(caught.value.__cause__)
