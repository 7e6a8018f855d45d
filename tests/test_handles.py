"""How a handle is opened, entered and derived from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from umi import ClosedError, InvalidInputError, Memory, SqliteStorageBackend

if TYPE_CHECKING:
    from pathlib import Path


class Mine(Memory):
    """A memory with a word of its own."""

    def word(self) -> str:
        return f"mine of {self.scope.user}"


def test_a_derived_class_opens_itself(tmp_path: Path) -> None:
    for opened in (Mine.in_memory(user="alice"), Mine.sim(7, user="alice"), Mine.open(tmp_path / "m", user="alice")):
        with opened as memory:
            assert type(memory) is Mine
            assert memory.word() == "mine of alice"
            assert memory.scoped(user="bob").word() == "mine of bob"


@pytest.mark.parametrize("path", ["", "a\0b", "\0"])
def test_a_path_that_names_no_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: Memory, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (Memory.open, SqliteStorageBackend.connect, memory.backup_sync):
        with pytest.raises(InvalidInputError, match="the path") as caught:
            call(path)
        assert "\0" not in str(caught.value)
    assert not list(tmp_path.iterdir())


async def test_a_closed_memory_is_not_entered(memory: Memory) -> None:
    await memory.close()
    with pytest.raises(ClosedError), memory:
        pytest.fail("entered")
    with pytest.raises(ClosedError):
        async with memory:
            pytest.fail("entered")
