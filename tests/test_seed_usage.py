"""The Usage section of the reference document of the bindings, as it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

USAGE = """
import umi

# Core Memory (32KB, always in LLM context)
core = umi.CoreMemory()
core.set_block("system", "You are a helpful assistant.")
core.set_block("human", "User prefers concise responses.")
core.set_block("facts", "User's name is Alice.")

# Render to XML for LLM context
context = core.render()
print(context)

# Check usage
print(f"Used: {core.used_bytes}/{core.max_bytes} bytes ({core.utilization*100:.1f}%)")

# Working Memory (1MB KV store with TTL)
working = umi.WorkingMemory()
working.set("session_id", b"abc123")
working.set("user_prefs", b'{"theme": "dark"}', ttl_secs=3600)  # 1 hour TTL

value = working.get("session_id")  # Returns bytes
if value:
    print(f"Session: {value.decode()}")

# Entity for archival storage
entity = umi.Entity("person", "Alice", "Software engineer at Acme Corp")
print(f"{entity.name}: {entity.content}")
print(f"Type: {entity.entity_type}, ID: {entity.id}")

# Evolution relation (memory updates/contradictions)
relation = umi.EvolutionRelation(
    source_id="entity-1",
    target_id="entity-2",
    evolution_type="update",
    reason="Job change",
    confidence=0.95
)
print(f"Evolution: {relation.evolution_type} ({relation.confidence})")
"""


def test_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(USAGE, "usage", "exec"), {})
    printed = capsys.readouterr().out
    assert '<block type="system" importance="0.50">\nYou are a helpful assistant.\n</block>' in printed
    assert "Used: 80/32768 bytes (0.2%)" in printed
    assert "Session: abc123" in printed
    assert "Alice: Software engineer at Acme Corp\nType: person, ID: " in printed
    assert "Evolution: update (0.95)" in printed
