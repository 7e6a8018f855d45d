"""What one user remembers, no other reads."""

from __future__ import annotations

import itertools
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


@settings(max_examples=25, deadline=None)
@given(st.lists(SCOPES, min_size=1, max_size=4, unique_by=lambda scope: tuple(scope.values())), SCOPES)
def test_no_read_returns_what_another_scope_wrote(written: list[dict[str, Any]], other: dict[str, Any]) -> None:
    with Memory.in_memory() as memory:
        canaries, ids = [], []
        for number, scope in enumerate(written):
            canary = f"canary{number}x"
            said = memory.remember_sync(f"The {canary} sings.", **scope).episode_ids[0]
            entity = Entity("person", f"Singer {canary}", f"sings as {canary}", attribute="voice")
            fact = memory.add_entity_sync(entity, **scope).entities[0].id
            handle = memory.scoped(**scope)
            handle.core.set_block("facts", f"core {canary}")
            handle.working.set("key", f"working {canary}".encode())
            canaries.append(canary)
            ids.append((said, fact))
        for read in [*written, other]:
            handle = memory.scoped(**read)
            shown: list[list[Any]] = [
                handle.recall_sync("canary sings", RecallOptions(limit=100)),
                handle.list_sync(current=False),
                handle.episodes_sync(),
                memory.recall_sync("canary0x canary1x canary2x canary3x", **read),
                memory.list_sync(**read),
            ]
            texts = [hit.to_dict() for hit in itertools.chain(*shown)]
            everything = repr(texts) + handle.context_sync("canary sings") + handle.context_sync()
            everything += handle.core.render() + repr(handle.core.versions("facts")) + repr(handle.working.get("key"))
            for scope, canary, (said, fact) in zip(written, canaries, ids, strict=True):
                same_tenant = scope["user"] == read["user"]
                if not same_tenant:
                    assert canary not in everything
                    assert handle.get_sync(said) is None
                    assert handle.get_sync(fact) is None
                    assert handle.history_sync(fact) == []
                    assert handle.evolutions_sync(fact) == []
                    assert handle.forget_sync(fact, chain=True) is False
                    assert handle.forget_sync(said) is False
                    with pytest.raises(NotFoundError):
                        handle.update_sync(fact, content="mine now")
                elif not admits(read, scope):
                    assert f"The {canary} sings." not in repr(shown[2])
                else:
                    assert f"The {canary} sings." in repr(shown[2])
        for scope, (said, fact) in zip(written, ids, strict=True):
            assert memory.get_sync(said, user=scope["user"]) is not None
            assert memory.get_sync(fact, user=scope["user"]) is not None


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
