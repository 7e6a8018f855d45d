"""What was survived is told to the logger `umi`."""

from __future__ import annotations

import logging

import pytest

from umi import CallableEmbeddingProvider, Memory


def down(_texts: list[str]) -> list[list[float]]:
    """An embedding service that is out of order."""
    raise ConnectionError("no route to the embedding service")


def test_a_survived_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A query that could not be embedded leaves a warning with its reason, and none of the query's words."""
    embedder = CallableEmbeddingProvider(down, dimensions=3, name="down")
    with caplog.at_level(logging.WARNING, logger="umi"), Memory.in_memory(embedder=embedder) as memory:
        memory.remember_sync("a secret word")
        memory.recall_sync("another secret word")
    records = [record for record in caplog.records if record.name.startswith("umi")]
    assert any(record.levelno == logging.WARNING and "could not be embedded" in record.message for record in records)
    assert not any("secret" in record.getMessage() for record in records)


def test_the_library_is_silent_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a handler of the application nothing is printed."""
    with Memory.in_memory():
        assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("umi").handlers)
    assert capsys.readouterr() == ("", "")
