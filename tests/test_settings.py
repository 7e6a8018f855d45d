"""The settings that README.md and the hints of errors name are there, and default to what the core has."""

from __future__ import annotations

import inspect
import re
from datetime import timedelta
from pathlib import Path

import pytest

import umi
from umi import CapacityError, InvalidInputError, Memory, MemoryConfig

ROOT = Path(__file__).parent.parent
SETTINGS = inspect.signature(MemoryConfig).parameters


def named() -> dict[str, str]:
    """Every setting that a text names, with the file that does."""
    found: dict[str, str] = {}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    limits = readme.partition("\n## Limits\n")[2].partition("\n## ")[0]
    for name in re.findall(r"[(` ,]([a-z_]+)=[,`)]", limits):
        found[name] = "README.md"
    sources = [ROOT / "README.md", *ROOT.glob("umi-core/src/**/*.rs"), *ROOT.glob("umi-py/src/*.rs")]
    for path in [*sources, *ROOT.glob("umi-py/python/umi/*.py"), *ROOT.glob("umi-py/examples/*.py")]:
        text = path.read_text(encoding="utf-8")
        for arguments in re.findall(r"\bMemoryConfig\(([^()]*)\)", text):
            for name in re.findall(r"\b([a-z_]+)=", arguments):
                found[name] = str(path.relative_to(ROOT))
        if path.suffix == ".py":
            for name in re.findall(r"`MemoryConfig\.([a-z_]+)`", text):
                found[name] = str(path.relative_to(ROOT))
    return found


def test_every_setting_that_is_named_exists() -> None:
    settings = named()
    assert {"core_memory_bytes", "working_memory_entries", "working_value_bytes", "text_bytes"} <= settings.keys()
    config = MemoryConfig()
    for name, path in settings.items():
        assert name in SETTINGS, f"{path} names {name}"
        assert hasattr(config, name), name
        assert hasattr(config, f"with_{name}"), name
        assert name in config.to_dict(), name


def test_the_defaults_that_are_shown_are_those_of_the_core() -> None:
    config = MemoryConfig()
    shown = {name: one.default for name, one in SETTINGS.items() if one.default is not None}
    assert {"core_memory_bytes", "recall_limit", "text_bytes", "working_memory_entries"} <= shown.keys()
    assert {name: getattr(config, name) for name in shown} == shown
    assert config == MemoryConfig(working_memory_ttl=timedelta(hours=1), index_memory_bytes=256 * 1024 * 1024)
    assert (config.working_memory_entries, config.working_value_bytes) == (10_000, 65_536)
    assert config.embedding_cache_bytes == 16 * 1024 * 1024
    batch = inspect.signature(Memory.remember_many).parameters["batch_size"].default
    assert batch == 256


def test_the_entries_and_values_of_working_memory() -> None:
    config = MemoryConfig(working_memory_entries=2, working_value_bytes=4)
    assert config == MemoryConfig().with_working_memory_entries(2).with_working_value_bytes(4)
    assert config == MemoryConfig.from_dict(config.to_dict())
    assert config != MemoryConfig()
    for bad in (0, -1):
        with pytest.raises(InvalidInputError):
            MemoryConfig(working_memory_entries=bad)
        with pytest.raises(InvalidInputError):
            MemoryConfig(working_value_bytes=bad)
    with Memory.in_memory(config=config) as memory:
        memory.working.set("one", b"1234")
        with pytest.raises(CapacityError, match="working_value_bytes"):
            memory.working.set("two", b"12345")
        memory.working.set("two", b"2")
        with pytest.raises(CapacityError, match="working_memory_entries"):
            memory.working.set("three", b"3")


@pytest.mark.parametrize(("kept_bytes", "asked"), [(16 * 1024 * 1024, 1), (0, 2)], ids=["kept", "not kept"])
def test_the_vector_of_a_question_that_is_asked_again(kept_bytes: int, asked: int) -> None:
    """The embedder is asked for it once, unless nothing is to be kept."""
    questions: list[str] = []

    def embed(texts: list[str]) -> list[list[float]]:
        questions.extend(text for text in texts if text.endswith("?"))
        return [[1.0, 0.0] for _ in texts]

    embedder = umi.CallableEmbeddingProvider(embed, dimensions=2, name="counts")
    with Memory.in_memory(embedder=embedder, config=MemoryConfig(embedding_cache_bytes=kept_bytes)) as memory:
        memory.remember_sync("The kiln came from Utrecht.")
        for _ in range(2):
            assert len(memory.recall_sync("Where is the kiln from?")) == 1
    assert len(questions) == asked


def test_a_memory_tells_its_configuration() -> None:
    config = MemoryConfig(recall_limit=3, token_counter=len)
    with Memory.in_memory(config=config) as memory:
        assert memory.config is config
        assert memory.scoped(user="alice").config is config
        with pytest.raises(AttributeError):
            memory.config = config  # type: ignore[misc]
    with Memory.in_memory() as memory:
        assert memory.config == MemoryConfig()
