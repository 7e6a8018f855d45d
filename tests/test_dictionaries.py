"""`from_dict` refuses what it does not know, and takes defaults for what is missing."""

from __future__ import annotations

from typing import Any

import pytest

from umi import (
    Block,
    CoreMemory,
    Entity,
    Episode,
    EvolutionRelation,
    InvalidInputError,
    Job,
    MemoryConfig,
    Recalled,
    RecallOptions,
    RecallResults,
    RememberOptions,
    RememberResult,
    Scope,
    StepFailure,
    Usage,
    WorkingMemory,
)

ID = "0197a000-0000-7000-8000-000000000000"
TIME = "2026-03-01T12:00:00Z"
FACT = {"id": ID, "entity_type": "person", "name": "n", "content": "c", "created_at": TIME}

# every class with the least that it is made of
CLASSES: list[tuple[Any, dict[str, Any]]] = [
    (Scope, {}),
    (RecallOptions, {}),
    (RememberOptions, {}),
    (MemoryConfig, {}),
    (CoreMemory, {}),
    (WorkingMemory, {}),
    (Usage, {}),
    (Block, {"type": "facts", "content": "c", "updated_at": TIME}),
    (Entity, FACT),
    (Recalled, FACT | {"kind": "fact", "score": 0.5, "at": TIME}),
    (Episode, {"id": ID, "text": "t", "role": "user", "at": TIME}),
    (EvolutionRelation, {"id": ID, "source_id": "a", "target_id": "b", "evolution_type": "update", "created_at": TIME}),
    (Job, {"id": ID, "kind": "embed", "created_at": TIME}),
    (StepFailure, {"step": "embed", "error": {"type": "StorageError", "message": "m"}}),
    (RememberResult, {"episode_ids": [], "entities": []}),
    (RecallResults, {"items": []}),
]


@pytest.mark.parametrize(("kind", "least"), CLASSES, ids=[one[0].__name__ for one in CLASSES])
def test_unknown_and_missing_keys_are_named(kind: Any, least: dict[str, Any]) -> None:
    made = kind.from_dict(least)
    assert kind.from_dict(made.to_dict()) == made
    names: list[Any] = ["usr", 3]
    for unknown in names:
        with pytest.raises(InvalidInputError, match=f"^an? .* has an unknown key `{unknown}`"):
            kind.from_dict({**least, unknown: "alice"})
    for name in least:
        with pytest.raises(InvalidInputError, match=f"^an? .* lacks its `{name}`") as caught:
            kind.from_dict({other: value for other, value in least.items() if other != name})
        assert "a entity" not in str(caught.value)
        assert "a episode" not in str(caught.value)


def test_what_is_missing_has_its_default() -> None:
    assert RecallOptions.from_dict({"limit": 5}) == RecallOptions(limit=5)
    assert RememberOptions.from_dict({"track_evolution": False}) == RememberOptions(detect_evolutions=False)
    assert MemoryConfig.from_dict({"recall_limit": 5}) == MemoryConfig(recall_limit=5)
    assert Scope.from_dict({"user": "alice"}) == Scope("alice")
    assert CoreMemory.from_dict({}) == CoreMemory()
    assert WorkingMemory.from_dict({}) == WorkingMemory()
    assert WorkingMemory.from_dict({"entries": {"k": {"value": b"v"}}}).ttl("k") == pytest.approx(3600, abs=5)
    fact = Entity.from_dict(FACT | {"event_time": "2020-01-01T00:00:00Z"})
    assert (fact.confidence, fact.importance, fact.metadata) == (1.0, 0.5, {})
    assert fact.valid_from == fact.last_seen == fact.event_time


def test_nested_dictionaries_are_checked_too() -> None:
    with pytest.raises(InvalidInputError, match="a working value has an unknown key `tll`"):
        WorkingMemory.from_dict({"entries": {"k": {"value": b"v", "tll": 1}}})
    with pytest.raises(InvalidInputError, match="a block lacks its `content`"):
        CoreMemory.from_dict({"blocks": [{"type": "facts", "updated_at": TIME}]})
    with pytest.raises(InvalidInputError, match="an error lacks its `message`"):
        StepFailure.from_dict({"step": "embed", "error": {"type": "StorageError"}})
    with pytest.raises(InvalidInputError, match="`at` is `yesterday`"):
        Episode.from_dict({"id": ID, "text": "t", "role": "user", "at": "yesterday"})
