"""Facts that change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from umi import Entity, InvalidInputError, ManualClock, Memory, NotFoundError, RecallOptions


def year(number: int) -> datetime:
    return datetime(number, 1, 1, tzinfo=UTC)


def job(content: str, since: int) -> Entity:
    return Entity("person", "Tarek", content, attribute="employer", event_time=year(since))


@pytest.fixture
def told(memory: Memory) -> dict[str, str]:
    """Three employers, told out of order."""
    return {
        content: memory.add_entity_sync(job(content, since)).entities[0].id
        for content, since in [("Acme", 2018), ("Initech", 2024), ("Globex", 2021)]
    }


def test_the_chain(memory: Memory, told: dict[str, str]) -> None:
    chain = memory.history_sync(told["Globex"])
    assert [(one.content, one.valid_from, one.valid_to) for one in chain] == [
        ("Acme", year(2018), year(2021)),
        ("Globex", year(2021), year(2024)),
        ("Initech", year(2024), None),
    ]
    assert [one.content for one in memory.list_sync()] == ["Initech"]
    assert len(memory.list_sync(current=False)) == 3
    assert [one.content for one in memory.list_sync(as_of=year(2022))] == ["Globex"]
    assert memory.list_sync(entity_type="place") == []
    (relation,) = [one for one in memory.evolutions_sync(told["Acme"]) if one.source_id == told["Acme"]]
    assert (relation.type, relation.target_id) == ("update", told["Globex"])


def test_recall_in_time(memory: Memory, told: dict[str, str]) -> None:
    def found(options: RecallOptions) -> set[str]:
        return {hit.content for hit in memory.recall_sync("Where does Tarek work?", options)}

    assert found(RecallOptions()) == {"Initech"}
    assert found(RecallOptions(as_of=year(2019))) == {"Acme"}
    assert found(RecallOptions(as_of=year(2000))) == set()
    assert found(RecallOptions(time_range=(year(2019), year(2022)))) == {"Acme", "Globex"}


def test_forgetting_a_version(memory: Memory, told: dict[str, str]) -> None:
    assert memory.forget_sync(told["Initech"])
    assert [one.content for one in memory.list_sync()] == ["Globex"]
    assert memory.forget_sync(told["Globex"], chain=True)
    assert memory.list_sync(current=False) == []
    assert memory.history_sync(told["Acme"]) == []


def test_a_fact_that_lies_ahead_waits(memory: Memory, clock: ManualClock) -> None:
    memory.add_entity_sync(job("Acme", 2020))
    memory.add_entity_sync(job("Umbrella", 2027))
    assert [one.content for one in memory.list_sync()] == ["Acme"]
    clock.advance(timedelta(days=400))
    assert [one.content for one in memory.list_sync()] == ["Umbrella"]


def test_update(memory: Memory, told: dict[str, str], clock: ManualClock) -> None:
    clock.advance(timedelta(days=1))
    new = memory.update_sync(told["Initech"], content="Hooli", metadata={"a": 1}, confidence=0.5)
    assert (new.content, new.metadata, new.confidence, new.valid_from) == ("Hooli", {"a": 1}, 0.5, clock.now())
    assert new.id != told["Initech"]
    clock.advance(timedelta(days=1))
    newer = memory.update_sync(new.id, metadata={"b": 2}, importance=1.0)
    assert (newer.content, newer.metadata, newer.importance) == ("Hooli", {"a": 1, "b": 2}, 1.0)
    assert len(memory.history_sync(newer.id)) == 5
    for bad in ({"confidence": 2.0}, {"content": " "}, {"importance": float("nan")}):
        with pytest.raises(InvalidInputError):
            memory.update_sync(newer.id, **bad)
    with pytest.raises(NotFoundError):
        memory.update_sync("nonsense", content="x")
    episode = memory.remember_sync("said").episode_ids[0]
    with pytest.raises(InvalidInputError, match="episode"):
        memory.update_sync(episode, content="x")
    assert len(memory.history_sync(newer.id)) == 5


async def test_the_largest_and_the_smallest_datetime_are_clamped(memory: Memory, told: dict[str, str]) -> None:
    last = datetime(9999, 12, 30, 22, tzinfo=UTC)
    largest, smallest = datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)
    west, east = timezone(timedelta(hours=-12)), timezone(timedelta(hours=14))
    assert told["Initech"] == memory.list_sync(as_of=largest)[0].id
    assert memory.list_sync(as_of=smallest) == []
    options = RecallOptions(time_range=(datetime.min.replace(tzinfo=east), datetime.max.replace(tzinfo=west)))
    assert options.time_range == (smallest, last)
    assert RecallOptions.from_dict(options.to_dict()) == options
    assert len(memory.recall_sync("Tarek's employer", options)) == 3
    assert RecallOptions(as_of=largest).as_of == last
    assert memory.recall_sync("Tarek's employer", RecallOptions(as_of=largest))
    for at, kept in [(largest, last), (datetime.min.replace(tzinfo=east), smallest)]:
        result = await memory.remember("The kiln came from Utrecht.", at=at)
        assert result.warnings == []
        assert kept in [episode.at for episode in memory.episodes_sync()]
    assert memory.context_sync("kiln")
    assert memory.check_sync()["problems"] == []
    with pytest.raises(InvalidInputError, match="2026-01-01 00:00:00"):
        await memory.remember("x", at=datetime(2026, 1, 1))  # noqa: DTZ001 - naive on purpose
