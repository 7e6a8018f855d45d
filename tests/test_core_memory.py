"""`CoreMemory`, used alone."""

from __future__ import annotations

import copy
import pickle
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umi import Block, CapacityError, CoreMemory, InvalidInputError

KINDS = ["system", "persona", "human", "facts", "goals", "scratch"]


def test_rendering_is_exact() -> None:
    core = CoreMemory()
    assert core.render() == "<core_memory>\n</core_memory>"
    core.set_block("human", "Prefers concise answers.")
    core.set_block("SYSTEM", "Be <kind> & brief.", label='a "b"', importance=0.9)
    assert core.render() == (
        "<core_memory>\n"
        '<block type="system" label="a &quot;b&quot;" importance="0.90">\nBe &lt;kind&gt; &amp; brief.\n</block>\n'
        '<block type="human" importance="0.50">\nPrefers concise answers.\n</block>\n'
        "</core_memory>"
    )
    assert core.render_markdown().startswith("# Core Memory\n\n")


@given(st.dictionaries(st.sampled_from(KINDS), st.text(st.characters(exclude_categories=["Cs"]), max_size=200)))
def test_content_never_leaves_its_element(contents: dict[str, str]) -> None:
    core = CoreMemory()
    for kind, content in contents.items():
        core.set_block(kind, content, label=content[:10])
    blocks = ET.fromstring(core.render())
    assert [block.get("type") for block in blocks] == [kind for kind in KINDS if kind in contents]
    assert all(len(block) == 0 for block in blocks)


def test_a_block_keeps_what_is_not_given() -> None:
    core = CoreMemory()
    core.set_block("goals", "one", label="This week", importance=0.8)
    core.set_block("goals", "two")
    (block,) = core.blocks()
    assert (block.type, block.label, block.content, block.importance) == ("goals", "This week", "two", 0.8)
    assert block.version == 2
    core.set_block_with_label("goals", "Next", "three")
    assert core.blocks()[0].label == "Next"


def test_reading_and_removing() -> None:
    core = CoreMemory()
    core.set_block("facts", "é")
    assert core.get_block("facts") == "é"
    assert core.get_block("goals") is None
    assert core.has_block("facts")
    assert not core.has_block("goals")
    assert core.remove_block("facts")
    assert not core.remove_block("facts")
    core.set_block("facts", "x")
    core.clear()
    assert core.blocks() == []


def test_bytes_are_counted() -> None:
    core = CoreMemory(4096)
    core.set_block("facts", "é" * 100)
    assert (core.used_bytes, core.max_bytes, core.available_bytes) == (200, 4096, 3896)
    assert core.utilization == 200 / 4096
    assert CoreMemory().max_bytes == 32 * 1024
    assert CoreMemory(128 * 1024).block_bytes == 64 * 1024


def test_a_full_memory_changes_nothing() -> None:
    core = CoreMemory(4096)
    core.set_block("facts", "x" * 4000)
    before = core.render()
    with pytest.raises(CapacityError) as caught:
        core.set_block("goals", "y" * 97)
    assert (caught.value.limit, caught.value.requested) == (4096, 4097)
    assert isinstance(caught.value, ValueError)
    assert core.render() == before


@pytest.mark.parametrize("size", [100, 4095, 16 * 1024 * 1024 + 1, -1, 10**30])
def test_sizes_out_of_range(size: int) -> None:
    with pytest.raises(InvalidInputError):
        CoreMemory(size)


def test_bad_blocks() -> None:
    core = CoreMemory()
    with pytest.raises(InvalidInputError, match="system, persona, human, facts, goals, scratch"):
        core.set_block("nonsense", "x")
    with pytest.raises(InvalidInputError):
        core.set_block("facts", "x", label="y" * 65)
    for importance in (float("nan"), -0.1, 1.1):
        with pytest.raises(InvalidInputError):
            core.set_block("facts", "x", importance=importance)
    with pytest.raises(InvalidInputError):
        core.set_block("facts", "\ud800")
    with pytest.raises(TypeError):
        core.set_block("facts", b"x")  # type: ignore[arg-type]
    assert core.blocks() == []


def test_it_is_a_value() -> None:
    core = CoreMemory(8192)
    core.set_block("facts", "x", label="l", importance=0.25)
    for twin in (
        copy.copy(core),
        copy.deepcopy(core),
        pickle.loads(pickle.dumps(core)),
        CoreMemory.from_dict(core.to_dict()),
    ):
        assert twin == core
        assert twin.render() == core.render()
        twin.set_block("facts", "changed")
        assert twin != core
    assert core.get_block("facts") == "x"
    block = core.blocks()[0]
    assert pickle.loads(pickle.dumps(block)) == block == Block.from_dict(block.to_dict())
    assert hash(block) == hash(copy.copy(block))
    assert "CoreMemory" in repr(core)
    assert "Block" in repr(block)
