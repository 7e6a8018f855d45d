"""The judged set is sound, its scores tell right from wrong, and a model that answers from it gets everything right."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from evolution_score import Noted, NotedRelation, Score, score
from evolution_script import Dialogue, Script, dialogues

DIALOGUES = {dialogue.id: dialogue for dialogue in dialogues()}
KINDS = {"self", "person", "organization", "project", "topic", "location", "event", "note", "task", "preference"}


def perfect(dialogue: Dialogue) -> tuple[list[Noted], list[NotedRelation]]:
    """What a perfect memory would hold."""
    ends = {closure.fact: closure.end for closure in dialogue.closures}
    begins = {closure.by: closure.end for closure in dialogue.closures}
    noted = []
    for name, fact in dialogue.facts.items():
        place = dialogue.turn_of[name]
        start = begins.get(name, dialogue.turns[place].at)
        noted.append(Noted(name, fact.type, fact.name, fact.attribute, fact.content, place, start, ends.get(name)))
    return noted, [NotedRelation(item.older, item.newer, item.type) for item in dialogue.relations]


def changed(dialogue: Dialogue, fact: str, **fields: Any) -> Score:
    """Score a perfect memory but for one fact."""
    noted, relations = perfect(dialogue)
    return score(dialogue, [replace(item, **fields) if item.id == fact else item for item in noted], relations)


def test_the_set_is_large_and_of_many_languages() -> None:
    languages = Counter(dialogue.language for dialogue in DIALOGUES.values())
    assert sum(languages.values()) >= 60
    assert len(languages) >= 6
    assert 0.4 <= languages["en"] / sum(languages.values()) <= 0.6
    decided = Counter(relation.type for dialogue in DIALOGUES.values() for relation in dialogue.relations)
    assert set(decided) == {"update", "extend", "derive", "contradict"}


@pytest.mark.parametrize("dialogue", DIALOGUES.values(), ids=lambda dialogue: dialogue.id)
def test_a_dialogue_is_sound(dialogue: Dialogue) -> None:
    assert dialogue.id.startswith(dialogue.language + "-")
    assert 2 <= len(dialogue.turns) <= 8
    times = [turn.at for turn in dialogue.turns]
    assert times == sorted(set(times))
    facts = dialogue.facts
    assert len(facts) == sum(len(turn.facts) for turn in dialogue.turns)
    for fact in facts.values():
        assert fact.type in KINDS
        assert fact.keys
        assert all(any(word in fact.content.casefold() for word in key.split("|")) for key in fact.keys)
    for place, turn in enumerate(dialogue.turns):
        assert all(dialogue.turn_of[name] < place for name in turn.repeats)
    named = {name for item in dialogue.relations for name in (item.older, item.newer)}
    named |= {name for closure in dialogue.closures for name in (closure.fact, closure.by)}
    assert named <= set(facts)
    # What ends is what the relations end, each once.
    ending = {(item.older, item.newer) for item in dialogue.relations if item.type in {"update", "contradict"}}
    assert {(closure.fact, closure.by) for closure in dialogue.closures} == ending
    for relation in dialogue.relations:
        older, newer = facts[relation.older], facts[relation.newer]
        is_one_slot = (older.type, older.name, older.attribute) == (newer.type, newer.name, newer.attribute)
        assert (relation.decided_by == "time") == (is_one_slot and older.attribute is not None)
    assert all(negative.turn < len(dialogue.turns) for negative in dialogue.negatives)
    assert score(dialogue, *perfect(dialogue)).is_perfect


def test_another_wording_agrees() -> None:
    assert changed(DIALOGUES["en-02"], "c", content="Clara moved to York on 18 April 2026", attribute="City").is_perfect
    assert changed(DIALOGUES["ja-01"], "b", content="健太は2026年6月1日から北星電機で働いている").is_perfect
    assert changed(DIALOGUES["en-27"], "c", attribute="birthplace").is_perfect  # where no slot is expected
    assert changed(DIALOGUES["en-15"], "b", name="project heron").is_perfect


@pytest.mark.parametrize(
    ("dialogue", "fact", "fields"),
    [
        ("en-02", "c", {"content": "Clara lives in Oslo"}),
        ("en-02", "c", {"attribute": None}),
        ("en-02", "c", {"attribute": "employer"}),
        ("en-02", "c", {"type": "location"}),
        ("en-02", "c", {"name": "Owen"}),
        ("en-02", "a", {"turn": 3}),  # in the words of another session
        ("en-09", "c", {"name": "Daniel"}),  # either
        ("en-05", "b", {"attribute": "role"}),  # no slot
    ],
)
def test_a_wrong_fact_does_not_agree(dialogue: str, fact: str, fields: dict[str, Any]) -> None:
    counted = changed(DIALOGUES[dialogue], fact, **fields).facts
    assert counted.right == counted.expected - 1 == counted.found - 1
    assert counted.precision == counted.recall < 1.0


def test_a_closure_on_another_day_counts_half() -> None:
    counted = changed(DIALOGUES["en-02"], "a", valid_to=datetime(2026, 4, 20, 19, 32, tzinfo=UTC))
    assert (counted.closures.recall, counted.times.recall) == (1.0, 0.0)
    assert any("2026-04-18" in miss and "2026-04-20" in miss for miss in counted.misses)


def test_a_closure_that_is_missing_or_too_much() -> None:
    still_open = changed(DIALOGUES["en-02"], "a", valid_to=None)
    assert (still_open.closures.recall, still_open.closures.precision) == (0.0, 1.0)
    ended = changed(DIALOGUES["en-02"], "b", valid_to=datetime(2026, 5, 1, tzinfo=UTC))
    assert (ended.closures.recall, ended.closures.precision) == (1.0, 0.5)


def test_relations_of_another_type_or_way_are_wrong() -> None:
    dialogue = DIALOGUES["en-13"]
    noted, (relation,) = perfect(dialogue)
    for wrong in (replace(relation, type="update"), NotedRelation(relation.newer, relation.older, relation.type)):
        counted = score(dialogue, noted, [wrong]).relations
        assert (counted.precision, counted.recall) == (0.0, 0.0)
    counted = score(dialogue, noted, []).relations
    assert (counted.precision, counted.recall) == (1.0, 0.0)


def test_a_negative_that_was_noted() -> None:
    dialogue = DIALOGUES["en-06"]
    noted, relations = perfect(dialogue)
    start = dialogue.turns[0].at
    vineyard = Noted("x", "person", "Rob", None, "Rob owns a vineyard in Tuscany", 0, start, None)
    counted = score(dialogue, [*noted, vineyard], relations)
    assert (counted.broken, counted.negatives, counted.facts.precision) == (1, 2, 0.5)
    assert not counted.is_perfect


def test_the_script_answers_what_it_is_shown() -> None:
    dialogue = DIALOGUES["en-05"]
    script = Script(dialogue)
    with pytest.raises(AssertionError, match="the turn is not in"):
        script.answer("facts", "<data>\n</data>\n")
    facts = json.loads(script.answer("facts", f"<data>\n{dialogue.turns[0].text}\n</data>\n"))["facts"]
    assert [fact["content"] for fact in facts] == ["Ines eats no meat"]
    script.turn = 2
    data = (
        '<data-7>\n<stored-7 id="0197" type="person" name="Ines" since="2026-01-06">\nInes eats no meat\n</stored-7>\n'
        '<new-7 number="1" type="person" name="Ines" since="2026-07-07">\nInes eats meat again\n</new-7>\n</data-7>\n'
    )
    (relation,) = json.loads(script.answer("relations", data))["relations"]
    assert (relation["new"], relation["old"], relation["type"]) == (1, "0197", "update")
    with pytest.raises(AssertionError, match="nobody said"):
        script.answer("relations", data.replace("eats no meat", "eats fish"))


def test_the_scripted_model_gets_everything_right() -> None:
    """The plumbing from a turn's text to facts, ends and relations loses and invents nothing."""
    from evolution import evaluate

    scores, warnings = asyncio.run(evaluate(list(DIALOGUES.values()), "scripted"))
    assert (warnings, scores["all"].misses) == ([], [])
    assert scores["all"].is_perfect
    assert scores["all"].dialogues == len(DIALOGUES)
