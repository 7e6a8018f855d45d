"""What one user remembers, no other reads."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umi import Entity, InvalidInputError, Memory, NotFoundError, RecallOptions

NAMES = st.one_of(st.none(), st.sampled_from(["a", "b", "A", "a%", "_", "'", "a' OR '1'='1", "ａ", "None", "*"]))  # noqa: RUF001 - names that look alike
SCOPES = st.fixed_dictionaries({"user": NAMES, "agent": NAMES, "session": NAMES})


def admits(read: dict[str, str | None], written: dict[str, str | None]) -> bool:
    """The rule in words: the user is equal; agent and session narrow where they are named."""
    return read["user"] == written["user"] and all(read[part] in (None, written[part]) for part in ("agent", "session"))


def whole(scope: dict[str, str | None]) -> tuple[str | None, ...]:
    """A scope by its parts; Hypothesis gives their names in any order."""
    return scope["user"], scope["agent"], scope["session"]


def seen(*shown: object) -> set[int]:
    """The canaries in what was shown, each written by one scope."""
    return {int(number) for number in re.findall(r"canary(\d+)x", repr(shown))}


@settings(max_examples=25, deadline=None)
@given(st.lists(SCOPES, min_size=1, max_size=4, unique_by=whole), SCOPES)
def test_no_read_returns_what_another_scope_wrote(written: list[dict[str, Any]], other: dict[str, Any]) -> None:
    """All scopes speak of one subject's one attribute, so that their facts are versions of one chain."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with Memory.in_memory() as memory:
        ids = []
        for number, scope in enumerate(written):
            canary, at = f"canary{number}x", start + timedelta(days=number)
            said = memory.remember_sync(f"The {canary} sings.", at=at, **scope).episode_ids[0]
            entity = Entity("person", "Ana", f"sings as {canary}", attribute="voice", event_time=at)
            fact = memory.add_entity_sync(entity, **scope).entities[0].id
            handle = memory.scoped(**scope)
            handle.core.set_block("facts", f"core {canary}")
            handle.working.set("key", f"working {canary}".encode())
            ids.append((said, fact))
        for read in [*written, other]:
            handle = memory.scoped(**read)
            admitted = {number for number, scope in enumerate(written) if admits(read, scope)}
            of_agent = {n for n, scope in enumerate(written) if (scope["user"], scope["agent"]) == _pair(read)}
            of_session = {n for n, scope in enumerate(written) if scope == read}

            said_here = handle.episodes_sync()
            assert seen(said_here) == admitted
            assert seen(memory.episodes_sync(**read)) == admitted
            assert seen([fact.to_dict() for fact in handle.list_sync(current=False)]) == admitted
            for query in ("canary sings", "canary0x canary1x canary2x canary3x"):
                hits = handle.recall_sync(query, RecallOptions(limit=100))
                assert seen([hit.to_dict() for hit in hits]) <= admitted
                assert bool(hits) == bool(admitted)
                assert seen(memory.recall_sync(query, **read)) <= admitted
            for prompt in (handle.context_sync("canary sings"), handle.context_sync()):
                recalled = prompt[prompt.index("</core_memory>") :].partition("<recalled>")[2]
                assert seen(recalled) <= admitted
                assert bool(seen(recalled)) == bool(admitted)
                assert seen(prompt) <= admitted | of_agent | of_session
            assert seen(handle.core.render(), handle.core.versions("facts")) == of_agent
            assert seen(handle.working.get("key")) == of_session

            for number, (said, fact) in enumerate(ids):
                chain, relations = handle.history_sync(fact), handle.evolutions_sync(fact)
                shown = [version.to_dict() for version in chain]
                assert seen(shown, [relation.to_dict() for relation in relations]) <= admitted
                if number in admitted:
                    assert number in seen(shown)
                    assert handle.get_sync(said) is not None
                if written[number]["user"] != read["user"]:
                    assert handle.get_sync(said) is None
                    assert handle.get_sync(fact) is None
                    assert (chain, relations) == ([], [])
                    assert handle.forget_sync(fact, chain=True) is False
                    assert handle.forget_sync(said) is False
                    with pytest.raises(NotFoundError):
                        handle.update_sync(fact, content="mine now")
        for scope, (said, fact) in zip(written, ids, strict=True):
            assert memory.get_sync(said, user=scope["user"]) is not None
            assert memory.get_sync(fact, user=scope["user"]) is not None


def _pair(scope: dict[str, Any]) -> tuple[str | None, str | None]:
    return scope["user"], scope["agent"]


def test_no_user_is_a_tenant_of_its_own() -> None:
    with Memory.in_memory() as memory:
        memory.remember_sync("nobody's words")
        memory.remember_sync("Alice's words", user="alice")
        assert [one.text for one in memory.episodes_sync()] == ["nobody's words"]
        assert [one.text for one in memory.episodes_sync(user="alice")] == ["Alice's words"]


def test_a_pinned_user() -> None:
    with Memory.in_memory() as memory:
        alice = memory.scoped(user="alice")
        alice.remember_sync("mine", session="s")
        assert alice.count_sync(user="alice") == 1
        for call in (alice.count_sync, alice.episodes_sync, alice.scoped):
            with pytest.raises(InvalidInputError):
                call(user="bob")
        assert alice.scoped(session="s").count_sync() == 1
        alice.close_sync()
        assert alice.is_closed
        assert memory.count_sync(user="alice") == 1


def test_forgetting_a_scope(memory: Memory) -> None:
    for user, session in [("alice", "one"), ("alice", "two"), ("bob", "one")]:
        memory.remember_sync("words", user=user, session=session)
    assert memory.forget_scope_sync(user="alice", session="one") == 1
    assert memory.count_sync(user="alice") == 1
    assert memory.forget_scope_sync(user="alice") == 1
    assert memory.count_sync(user="bob") == 1
