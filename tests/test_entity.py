"""`Entity`, `EvolutionRelation` and `Scope` as values."""

from __future__ import annotations

import copy
import json
import pickle
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest

import umi
from umi import Entity, EvolutionRelation, InvalidInputError, Scope

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_an_entity_shows_what_it_was_given() -> None:
    entity = Entity(
        "Org", "Acme", "makes anvils", attribute="business", metadata={"a": 1}, confidence=0.75, importance=1,
        event_time=NOON.astimezone(timezone(timedelta(hours=9))), source="https://example.invalid",
    )  # fmt: skip
    assert entity.entity_type == "organization"
    assert (entity.name, entity.content, entity.attribute) == ("Acme", "makes anvils", "business")
    assert (entity.confidence, entity.importance) == (0.75, 1.0)
    assert entity.event_time == entity.valid_from == NOON
    assert entity.event_time is not None
    assert entity.event_time.tzinfo is UTC
    assert entity.document_time is None
    assert entity.has_temporal_metadata()
    assert entity.valid_to is None
    assert uuid.UUID(entity.id).version == 7
    assert entity.subject_id == Entity("organization", "ACME", "other").subject_id
    assert "Acme" in repr(entity)


def test_an_entity_can_be_changed() -> None:
    entity = Entity("person", "Alice", "engineer")
    entity.content = "writer"
    entity.event_time = NOON
    entity.document_time = NOON
    entity.set_meta("tags", ["a", {"b": None}])
    assert entity.content == "writer"
    assert entity.get_meta("tags") == ["a", {"b": None}]
    assert entity.get_meta("missing") is None
    assert entity.get_meta("missing", 3) == 3
    entity.metadata["tags"] = "a copy"
    assert entity.metadata == {"tags": ["a", {"b": None}]}
    with pytest.raises(InvalidInputError):
        entity.content = " "
    with pytest.raises(InvalidInputError):
        entity.event_time = datetime(2026, 1, 1)  # noqa: DTZ001 - naive on purpose
    with pytest.raises(AttributeError):
        entity.name = "Bob"  # type: ignore[misc]
    assert (entity.content, entity.event_time) == ("writer", NOON)


def test_metadata_comes_back_as_it_was() -> None:
    fields = {"z": 10**30, "a": "é\u2028語", "nested": {"list": [1, 2.5, True, None]}}
    entity = Entity("note", "n", "c", metadata=fields)
    assert entity.metadata == fields
    assert list(entity.metadata) == ["z", "a", "nested"]


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"k": float("nan")}, InvalidInputError),
        ({"k": "\ud800"}, InvalidInputError),
        ({"k": "x" * 70_000}, InvalidInputError),
        ({"k": {1, 2}}, TypeError),
        ({1: "k"}, TypeError),
        ({"k": [{2: "k"}]}, TypeError),
        ([("k", 1)], TypeError),
        ("{}", TypeError),
    ],
)
def test_bad_metadata(metadata: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        Entity("note", "n", "c", metadata=metadata)  # type: ignore[arg-type]


def test_deep_and_circular_metadata() -> None:
    deep: dict[str, object] = {}
    for _ in range(40):
        deep = {"k": deep}
    with pytest.raises(InvalidInputError):
        Entity("note", "n", "c", metadata=deep)
    circle: dict[str, object] = {}
    circle["k"] = circle
    with pytest.raises(InvalidInputError):
        Entity("note", "n", "c", metadata=circle)


@pytest.mark.parametrize(
    "changes",
    [
        {"entity_type": "robot"},
        {"name": ""},
        {"name": "x" * 257},
        {"content": ""},
        {"content": "x" * 1_000_001},
        {"confidence": 1.5},
        {"confidence": float("nan")},
        {"importance": -0.1},
        {"importance": 10**400},
        {"attribute": " "},
        {"event_time": datetime(2026, 1, 1)},  # noqa: DTZ001 - naive on purpose
        {"name": "\udcff"},
    ],
)
def test_bad_entities(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        Entity(**({"entity_type": "person", "name": "n", "content": "c"} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes", [{"name": None}, {"content": 3}, {"confidence": "1"}, {"confidence": True}, {"event_time": "now"}]
)
def test_wrong_types(changes: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        Entity(**({"entity_type": "person", "name": "n", "content": "c"} | changes))  # type: ignore[arg-type]


def test_unknown_types_are_listed() -> None:
    with pytest.raises(InvalidInputError, match="preference"):
        Entity("robot", "n", "c")


def test_an_entity_is_a_value() -> None:
    entity = Entity("task", "t", "c", metadata={"a": [1]}, event_time=NOON)
    for twin in (
        copy.copy(entity),
        copy.deepcopy(entity),
        pickle.loads(pickle.dumps(entity)),
        Entity.from_dict(entity.to_dict()),
    ):
        assert twin == entity
        twin.content = "other"
        assert twin != entity
    assert entity != Entity("task", "t", "c")
    assert entity != 3
    assert json.loads(json.dumps(entity.to_dict())) == entity.to_dict()
    with pytest.raises(TypeError):
        hash(entity)
    with pytest.raises(InvalidInputError, match=r"^an entity lacks its `created_at`"):
        Entity.from_dict({"entity_type": "task"})


def test_relations() -> None:
    relation = EvolutionRelation("a", "b", "Contradict", reason="é" * 1000, confidence=0.8)
    assert relation.type == relation.evolution_type == "contradict"
    assert len(relation.reason.encode()) == 1024
    assert relation.is_high_confidence()
    assert relation.needs_resolution()
    assert relation.is_conflict()
    assert not relation.is_additive()
    assert EvolutionRelation("a", "b", "derive").confidence == 0.5
    assert EvolutionRelation("a", "b", "derive").is_additive()
    assert pickle.loads(pickle.dumps(relation)) == relation == EvolutionRelation.from_dict(relation.to_dict())
    assert len({relation, copy.copy(relation)}) == 1
    assert relation.created_at.tzinfo is UTC


@pytest.mark.parametrize(
    "arguments",
    [
        ("", "b", "update"),
        ("a", "", "update"),
        ("a", "a", "update"),
        ("a", "b", "replace"),
        ("a", "b", "update", "", 2.0),
        ("a", "b", "update", "", float("nan")),
    ],
)
def test_bad_relations(arguments: tuple[str, str, str]) -> None:
    with pytest.raises(InvalidInputError):
        EvolutionRelation(*arguments)


def test_scopes() -> None:
    scope = Scope(user="alice", session="monday")
    assert (scope.user, scope.agent, scope.session) == ("alice", None, "monday")
    assert scope.with_agent("a") == Scope("alice", "a", "monday")
    assert pickle.loads(pickle.dumps(scope)) == scope == Scope.from_dict(scope.to_dict())
    assert len({scope, copy.deepcopy(scope)}) == 1
    assert repr(scope) == "Scope(user='alice', agent=None, session='monday')"
    for bad in ("", "x" * 257, "\ud800"):
        with pytest.raises(InvalidInputError):
            Scope(user=bad)
    with pytest.raises(TypeError):
        Scope(user=3)  # type: ignore[arg-type]


def test_ids_sort_by_their_time() -> None:
    made = [umi.uuid7() for _ in range(1000)]
    assert made == sorted(set(made))
    assert {uuid.UUID(one).version for one in made} == {7}
