"""The judged set as objects, and a model that answers from it as a perfect one would."""

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "evolution"
CONFIDENCE = 0.9
# As umi-core/src/evolve.rs writes them; a tag's name ends with a number where a text contains such a tag.
ELEMENT = re.compile(r"<(stored|new)((?:-[0-9a-f]+)?)((?: [a-z]+=\"[^\"]*\")*)>\n(.*?)\n</\1\2>", re.DOTALL)
ATTRIBUTE = re.compile(r" ([a-z]+)=\"([^\"]*)\"")


@dataclass(frozen=True)
class Fact:
    """What is to be noted."""

    id: str
    type: str
    name: str
    attribute: str | None
    content: str
    event_time: str | None
    keys: tuple[str, ...]  # what its content must say, each with alternatives apart by `|`


@dataclass(frozen=True)
class Turn:
    """What is said, and the facts in it."""

    session: str
    at: datetime
    role: str
    text: str
    name: str | None = None
    facts: tuple[Fact, ...] = ()  # said for the first time
    repeats: tuple[str, ...] = ()  # said again


@dataclass(frozen=True)
class Closure:
    """That a fact ends."""

    fact: str
    by: str
    end: datetime


@dataclass(frozen=True)
class Relation:
    """How a fact relates to one that was true earlier."""

    older: str
    newer: str
    type: str
    decided_by: str
    reason: str = ""


@dataclass(frozen=True)
class Negative:
    """What must not be noted."""

    turn: int
    kind: str
    content: str


@dataclass(frozen=True)
class Dialogue:
    """A dialogue and what is expected of it; evolution/README.md describes the form."""

    id: str
    language: str
    covers: tuple[str, ...]
    turns: tuple[Turn, ...]
    closures: tuple[Closure, ...]
    relations: tuple[Relation, ...]
    negatives: tuple[Negative, ...]
    facts: dict[str, Fact] = field(init=False)
    turn_of: dict[str, int] = field(init=False)  # where a fact is said first

    def __post_init__(self) -> None:
        places = {fact.id: (place, fact) for place, turn in enumerate(self.turns) for fact in turn.facts}
        object.__setattr__(self, "facts", {name: fact for name, (_, fact) in places.items()})
        object.__setattr__(self, "turn_of", {name: place for name, (place, _) in places.items()})

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> "Dialogue":
        """Read a line of the set."""
        turns = [
            turn
            | {
                "at": datetime.fromisoformat(turn["at"]),
                "facts": tuple(Fact(**fact | {"keys": tuple(fact["keys"])}) for fact in turn.get("facts", ())),
                "repeats": tuple(turn.get("repeats", ())),
            }
            for turn in row["turns"]
        ]
        closures = [closure | {"end": datetime.fromisoformat(closure["end"])} for closure in row["closures"]]
        return cls(
            id=row["id"],
            language=row["language"],
            covers=tuple(row["covers"]),
            turns=tuple(Turn(**turn) for turn in turns),
            closures=tuple(Closure(**closure) for closure in closures),
            relations=tuple(Relation(**relation) for relation in row["relations"]),
            negatives=tuple(Negative(**negative) for negative in row["negatives"]),
        )


def dialogues() -> list[Dialogue]:
    """Read the whole set."""
    rows = [line for path in sorted(FOLDER.glob("*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Dialogue.from_dict(json.loads(row)) for row in rows]


class Script:
    """A model that says what is expected, for one dialogue, turn after turn.

    It looks at what it is asked, and fails where that lacks what a model would need.
    """

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self.turn = 0  # the place of the turn that is being remembered
        self.asked = 0

    def answer(self, schema: str, data: str) -> str:
        """Answer a request whose answer has the schema `facts` or `relations`."""
        self.asked += 1
        turn = self._dialogue.turns[self.turn]
        if schema == "facts":
            assert turn.text in data, f"{self._dialogue.id}: the turn is not in what the model is shown: {data}"
            return json.dumps({"facts": [self._fact(fact) for fact in self._said()]}, ensure_ascii=False)
        assert schema == "relations", f"an answer of the unknown schema `{schema}` is asked for"
        return json.dumps({"relations": list(self._relations(data))}, ensure_ascii=False)

    def _said(self) -> list[Fact]:
        turn = self._dialogue.turns[self.turn]
        return [*turn.facts, *(self._dialogue.facts[name] for name in turn.repeats)]

    @staticmethod
    def _fact(fact: Fact) -> dict[str, Any]:
        return {
            "turn": 1,  # the only one of a request, because turns are remembered one by one
            "type": fact.type,
            "name": fact.name,
            "attribute": fact.attribute,
            "content": fact.content,
            "confidence": CONFIDENCE,
            "event_time": fact.event_time,
        }

    def _relations(self, data: str) -> Iterator[dict[str, Any]]:
        shown = [
            (tag, {key: html.unescape(value) for key, value in ATTRIBUTE.findall(attributes)}, content)
            for tag, _, attributes, content in ELEMENT.findall(data)
        ]
        new = [(attributes["number"], self._names(attributes, text)) for tag, attributes, text in shown if tag == "new"]
        stored = [
            (attributes["id"], self._names(attributes, text)) for tag, attributes, text in shown if tag == "stored"
        ]
        assert new, f"{self._dialogue.id}: no new facts are shown: {data}"
        for number, new_names in new:
            for stored_id, stored_names in stored:
                for relation in self._dialogue.relations:
                    pairs = ((relation.older, relation.newer), (relation.newer, relation.older))
                    if relation.decided_by == "model" and any(
                        old in stored_names and latest in new_names for old, latest in pairs
                    ):
                        yield {
                            "new": int(number),
                            "old": stored_id,
                            "type": relation.type,
                            "reason": relation.reason,
                            "confidence": CONFIDENCE,
                        }

    def _names(self, shown: dict[str, str], content: str) -> set[str]:
        """Tell which facts a shown one is: more than one where a later version has the same words."""
        names = {
            fact.id
            for fact in self._dialogue.facts.values()
            if (fact.type, fact.name, fact.content) == (shown["type"], shown["name"], content)
        }
        assert names, f"{self._dialogue.id}: nobody said `{content}` of {shown}"
        return names
