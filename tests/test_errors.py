"""Every kind of error has its class, and every exception survives a pickle."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import pytest

import umi
from umi import _umi, exceptions
from umi.exceptions import UmiError

if TYPE_CHECKING:
    from pathlib import Path

BUILTIN = {
    "InvalidInput": ValueError,
    "EmptyText": ValueError,
    "TextTooLong": ValueError,
    "InvalidLimit": ValueError,
    "Capacity": ValueError,
    "NotFound": KeyError,
    "StoreIo": OSError,
    "Closed": RuntimeError,
    "Forked": RuntimeError,
    "FeatureNotBuilt": ImportError,
    "Internal": RuntimeError,
}


@pytest.mark.parametrize(
    ("kind", "error"), _umi._error_kinds(), ids=lambda value: str(value) if isinstance(value, str) else ""
)
def test_every_kind_has_its_class(kind: str, error: UmiError) -> None:
    assert type(error).__name__.removesuffix("Error").lower() == kind.lower()
    assert isinstance(error, BUILTIN.get(kind, UmiError))
    assert str(error) == "message (hint)"
    assert (error.message, error.hint, error.limit, error.requested) == ("message", "hint", 10, 20)
    assert isinstance(error.__cause__, exceptions.InternalError)
    assert isinstance(error.__cause__.__cause__, OSError)
    if isinstance(error, exceptions.StoreIOError):
        assert (error.errno, error.filename) == (28, "file")
    if isinstance(error, exceptions.StorageError):
        assert error.is_retryable
    if isinstance(error, exceptions.ProviderError):
        assert error.provider == "provider"
        assert (error.status, error.request_id, error.retry_after) == (429, "request", 1.5)
        assert error.is_retryable


@pytest.mark.parametrize("name", exceptions.__all__)
def test_every_exception_survives_a_pickle(name: str) -> None:
    kind = getattr(exceptions, name)
    assert getattr(umi, name) is kind
    attributes = {
        "hint": "do it", "limit": 1, "requested": 2, "is_retryable": True, "errno": 13, "filename": "f",
        "provider": "p", "status": 429, "request_id": "r", "retry_after": 1.5,
    }  # fmt: skip
    error = kind("it failed on `x`", **attributes)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert str(twin) == "it failed on `x` (do it)"
        assert {name: getattr(twin, name) for name in attributes} == attributes
    with pytest.raises(TypeError):
        kind("x", colour="red")


def test_the_tree_of_classes() -> None:
    assert issubclass(umi.RefNotFoundError, umi.NotFoundError)
    assert issubclass(umi.EmbeddingSpaceError, umi.EmbeddingError)
    assert issubclass(umi.ProviderTimeoutError, TimeoutError)
    assert issubclass(umi.StoreIOError, OSError)
    assert umi.ProviderError("x").retry_after is None


def test_a_panic_is_an_internal_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(umi.InternalError, match="on purpose"):
        _umi._panic()
    capfd.readouterr()  # the panic's own words on stderr


def test_a_folder_that_cannot_be_opened(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(umi.StoreIOError) as caught:
        umi.Memory.open(file / "store")
    assert caught.value.errno
    assert "file" in str(caught.value.filename)
    assert isinstance(caught.value.__cause__, OSError)


def test_a_closed_memory(memory: umi.Memory) -> None:
    memory.close_sync()
    memory.close_sync()
    assert memory.is_closed
    for call in (memory.pending_sync, memory.working.keys, memory.flush_sync, memory.stats_sync, memory.check_sync):
        with pytest.raises(umi.ClosedError):
            call()
    assert "closed" in repr(memory)
