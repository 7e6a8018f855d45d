"""`remember`, `remember_many`, `add_entity` and what becomes of them."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from umi import (
    CallableEmbeddingProvider,
    EmbeddingError,
    EmptyTextError,
    Entity,
    InvalidInputError,
    Job,
    ManualClock,
    Memory,
    RememberOptions,
    RememberResult,
    StepFailure,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_text_is_kept_as_it_was(memory: Memory, clock: ManualClock) -> None:
    text = "  Ünïcödé 語 & <tags>\r\n\x00 kept "
    said = datetime(2026, 2, 1, 9, tzinfo=timezone(timedelta(hours=2)))
    result = memory.remember_sync(
        text, role="assistant", name="Juno", at=said, metadata={"k": [1]}, source="mail", session="s"
    )
    (episode,) = memory.episodes_sync()
    assert [episode.id] == result.episode_ids
    assert (episode.text, episode.role, episode.name, episode.source) == (text, "assistant", "Juno", "mail")
    assert (episode.at, episode.at.tzinfo, episode.recorded_at) == (said, UTC, clock.now())
    assert (episode.user, episode.agent, episode.session) == ("alice", None, "s")
    assert episode.metadata == {"k": [1]}
    assert pickle.loads(pickle.dumps(episode)) == episode == type(episode).from_dict(episode.to_dict())
    note = memory.get_sync(episode.id)
    assert note is not None
    assert (note.entity_type, note.content) == ("note", text)
    assert note.name.startswith("Note: ")


def test_the_result(memory: Memory) -> None:
    result = memory.remember_sync("Alice moved to Rome.")
    assert result.entity_count == 1
    assert result.entity_count() == 1
    assert f"{result.entity_count} {result.has_evolutions}" == "1 False"
    assert not result.has_evolutions
    assert result.has_evolutions() is False
    assert result.warnings == []
    assert result.usage.requests == 0
    assert result.entities[0].content == "Alice moved to Rome."
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()
    for twin in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result), RememberResult.from_dict(result.to_dict())):
        assert twin == result
    with pytest.raises(AttributeError):
        result.entities = []
    assert "entity_count=1" in repr(result)


def test_evolutions_are_true_both_ways(memory: Memory) -> None:
    memory.add_entity_sync(
        Entity("person", "Bob", "works at Acme", attribute="employer", event_time=datetime(2020, 1, 1, tzinfo=UTC))
    )
    result = memory.add_entity_sync(Entity("person", "bob", "works at Globex", attribute="employer"))
    assert result.has_evolutions
    assert result.has_evolutions() is True
    assert f"{result.has_evolutions}" == str(result.has_evolutions) == "True"
    assert result.has_evolutions == 1
    assert result.evolutions[0].type == "update"


def test_a_conversation_is_one_transaction(memory: Memory) -> None:
    turns = [
        {"role": "user", "content": "Where is the kiln from?", "name": "Nadia"},
        {"role": "assistant", "content": "From Utrecht."},
    ]
    result = memory.remember_sync(turns, session="monday")
    assert result.entity_count == 2
    assert [(one.role, one.name, one.session) for one in memory.episodes_sync()] == [
        ("user", "Nadia", "monday"),
        ("assistant", None, "monday"),
    ]
    with pytest.raises(EmptyTextError):
        memory.remember_sync([{"role": "user", "content": "fine"}, {"role": "user", "content": " "}])
    wrong: list[tuple[Any, str]] = [
        ({"role": "user"}, "a turn lacks its `content`"),
        ({"content": "fine"}, "a turn lacks its `role`"),
        ({}, "a turn lacks its `role`"),
        ({"role": "user", "text": "fine"}, "a turn has an unknown key `text`"),
        ({"role": "user", "content": "fine", "colour": "red"}, "a turn has an unknown key `colour`"),
        ({"role": "user", "content": "fine", 3: "red"}, "a turn has an unknown key `3`"),
    ]
    for turn, told in wrong:
        with pytest.raises(InvalidInputError, match=f"^{told}"):
            memory.remember_sync([{"role": "user", "content": "fine"}, turn])
    wrong = [
        ({}, "an item lacks its `text`"),
        ({"content": "fine"}, "an item has an unknown key `content`"),
        ({"text": "fine", "colour": "red"}, "an item has an unknown key `colour`"),
        ({"text": [{"role": "user", "text": "fine"}]}, "a turn has an unknown key `text`"),
    ]
    for item, told in wrong:
        with pytest.raises(InvalidInputError, match=f"^{told}"):
            memory.remember_many_sync(["fine", item])
    with pytest.raises(EmptyTextError):
        memory.remember_sync([])
    assert memory.count_sync() == 2


def test_a_key_makes_a_call_idempotent(memory: Memory) -> None:
    first = memory.remember_sync("once", key="k")
    again = memory.remember_sync("once", key="k")
    assert again.episode_ids == first.episode_ids
    assert memory.remember_sync("once", key="k", user="bob").episode_ids != first.episode_ids
    assert memory.count_sync() == 1


def test_many_are_read_lazily_in_batches(memory: Memory) -> None:
    read: list[int] = []
    told: list[tuple[int, int | None]] = []

    def items() -> Iterator[str | dict[str, Any]]:
        for number in range(5):
            read.append(number)
            yield f"item {number}" if number % 2 else {"text": f"item {number}", "session": "s", "role": "tool"}

    def progress(done: int, total: int | None) -> None:
        told.append((done, total))
        assert len(read) == done

    results = memory.remember_many_sync(items(), batch_size=2, progress=progress)
    assert told == [(2, None), (4, None), (5, None)]
    assert [one.text for one in memory.episodes_sync()] == [f"item {number}" for number in range(5)]
    assert [result.entity_count for result in results] == [1] * 5
    memory.remember_many_sync(["a", "b"], progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (2, 2)


def test_what_is_nothing_is_made_once_for_many_results(memory: Memory) -> None:
    """An event loop waits while results are made and dropped."""
    first, second = memory.remember_many_sync(["one", "two"])
    assert first.usage is second.usage
    assert first.usage.to_dict() == {"input_tokens": 0, "output_tokens": 0, "requests": 0}
    for name in ("episode_ids", "entities", "evolutions", "warnings"):
        assert getattr(first, name) is not getattr(second, name), "lists are the caller's"


def test_a_batch_that_fails_is_not_written(memory: Memory) -> None:
    with pytest.raises(EmptyTextError):
        memory.remember_many_sync(["one", "two", "three", "", "five"], batch_size=2)
    assert [one.text for one in memory.episodes_sync()] == ["one", "two"]
    for bad in ("text", {"text": "x"}, [3], 3):
        with pytest.raises(TypeError):
            memory.remember_many_sync(bad)  # type: ignore[arg-type]
    for item in ({"txt": "x"}, {"text": "x", "colour": 1}, {"role": "user"}):
        with pytest.raises(InvalidInputError):
            memory.remember_many_sync([item])
    for size in (0, -1):
        with pytest.raises(InvalidInputError):
            memory.remember_many_sync(["x"], batch_size=size)
    assert memory.count_sync() == 2


def test_a_failing_embedder_loses_nothing() -> None:
    broken = True

    def embed(texts: list[str]) -> list[list[float]]:
        if broken:
            raise LookupError("no vectors today")
        return [[1.0, float(len(text))] for text in texts]

    embedder = CallableEmbeddingProvider(embed, dimensions=2, name="mine")
    with Memory.in_memory(embedder=embedder) as memory:
        result = memory.remember_sync("The kiln came from Utrecht.")
        (warning,) = result.warnings
        assert warning.step == "embed"
        assert isinstance(warning.error, EmbeddingError)
        assert isinstance(warning.error.__cause__, LookupError)
        assert StepFailure.from_dict(warning.to_dict()) == warning == pickle.loads(pickle.dumps(warning))
        (job,) = memory.pending_sync()
        assert (job.id, job.episode_id) == (warning.job_id, result.episode_ids[0])
        assert Job.from_dict(job.to_dict()) == job == pickle.loads(pickle.dumps(job))
        found = memory.recall_sync("kiln")
        assert [hit.content for hit in found] == ["The kiln came from Utrecht."]
        assert [failure.step for failure in found.warnings] == ["embed_query"]
        broken = False
        assert memory.retry_pending_sync() == 1
        assert memory.pending_sync() == []
        assert memory.recall_sync("kiln").warnings == []


@pytest.mark.parametrize(
    "answer",
    [[[1.0]], [[1.0, 2.0], [1.0, 2.0]], [[1.0, float("nan")]], 3, [["a", "b"]], [None]],
)
def test_an_embedder_that_answers_nonsense(answer: Any) -> None:
    with Memory.in_memory(embedder=CallableEmbeddingProvider(lambda _: answer, dimensions=2, name="odd")) as memory:
        result = memory.remember_sync("kept")
        assert [type(failure.error) for failure in result.warnings] == [EmbeddingError]
        assert memory.count_sync() == 1


def test_options_of_remembering(memory: Memory) -> None:
    memory.remember_sync("without a vector", RememberOptions().without_embeddings())
    assert memory.stats_sync()["vectors"] == 0
    memory.remember_sync("later", RememberOptions(wait="durable", importance=0.9))
    memory.flush_sync()
    assert memory.stats_sync()["vectors"] == 1
    assert memory.pending_sync() == []
