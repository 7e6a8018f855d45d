"""What README.md shows works as it is shown."""

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import umi
from media_files import pdf, picture

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The twenty lines run as they stand and print what they promise."""
    example, _ = blocks("python")
    assert len(example.splitlines()) <= 20
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert "fact: lives in Lisbon" in printed
    assert "episode: My sister Ana moved from Porto to Lisbon in May." in printed
    assert "<memory>\n<core_memory>" in printed


def test_the_example_of_a_context_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It runs as it stands, and finds in the memory and in the store what it put there."""
    _, example = blocks("python")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UMI_DATA_DIR", str(tmp_path / "data"))
    picture().save("photo.jpg")
    Path("paper.pdf").write_bytes(pdf("A paper about attention"))
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), names)
    refs = names["ctx"].ref_ids()
    assert [message["role"] for message in names["messages"]] == ["system", "user"]
    assert set(names["request"]) == {"system", "messages"}
    printed = capsys.readouterr().out.splitlines()
    assert f"{tmp_path.resolve()}/photo.jpg [] " in printed[len(names["ctx"].tree().splitlines())]
    assert any(line.startswith(f"{names['ctx'].session_id}/{refs[2]} ") for line in printed), printed
    assert (tmp_path / "data/contexts/umi.db").is_file()


def test_a_store_is_read_with_sqlite(tmp_path: Path) -> None:
    """The queries that the README shows give rows."""
    with umi.Memory.open(tmp_path / "umi_memory", user="alice") as memory:
        memory.remember_sync("My sister Ana moved to Lisbon.", name="Alice")
        memory.add_entity_sync(umi.Entity("person", "Ana", "lives in Lisbon", attribute="home"))
    queries = re.findall(r"sqlite3 (\S+) '(SELECT [^']*)'", README)
    assert len(queries) == 2
    for path, query in queries:
        connection = sqlite3.connect(tmp_path / path)
        (row,) = connection.execute(query).fetchall()
        connection.close()
        assert any("Lisbon" in str(value) for value in row)
