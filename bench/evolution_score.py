"""How well what a memory noted agrees with what the judged set expects. Pure.

A noted fact agrees with an expected one if all of this holds:

- its type is the same;
- its name is the same after folding (NFKC, case, white space), or the words of one are among those of the other and
  no other expected subject of the dialogue fits as well ("Daniel" is neither of two Daniels);
- it was noted from the turn that says it, or from a later one of the same session or one that repeats it;
- its attribute fits: where a slot is expected the same one or a synonym (`SYNONYMS`), where none is expected any that
  is no slot of that list;
- its content says the fact's keys, the words that the dialogue turns on ("York"): of each an alternative, folded.

Each expected fact agrees with one noted fact at most, and the other way round; the most similar pairs are taken first,
by Dice's coefficient of the pairs of neighbouring letters and digits of their contents. A closure is right if both of
its facts agree, its day if it is the expected one too (in UTC); a relation is right if both facts and the type agree. A
negative is broken by a noted fact of its turn that agrees with nothing and is similar to it (`SIMILAR`). A sentence
that says the keys and denies them passes: the figures compare models and prompts with each other, they are no absolute
truth.
"""

import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from evolution_script import Dialogue, Fact

SIMILAR = 0.5
SYNONYMS = {
    "employer": ("company", "workplace", "works at", "organization"),
    "home": ("residence", "city", "address", "lives in", "home city", "place of residence"),
    "role": ("job", "job title", "position", "occupation", "profession", "title"),
    "spouse": ("husband", "wife", "marital status", "married to"),
    "phone": ("phone number", "telephone", "mobile"),
    "status": ("state", "progress", "relationship status"),
    "deadline": ("due", "due date"),
    "date": ("day", "time", "when", "schedule"),
    "location": ("place", "seat", "headquarters", "office"),
    "owner": ("lead", "leader", "manager"),
}
CANONICAL = {word: slot for slot, words in SYNONYMS.items() for word in (slot, *words)}


@dataclass(frozen=True)
class Noted:
    """A fact of the memory."""

    id: str
    type: str
    name: str
    attribute: str | None
    content: str
    turn: int
    valid_from: datetime
    valid_to: datetime | None


@dataclass(frozen=True)
class NotedRelation:
    """A relation of the memory, between ids of its facts."""

    older: str
    newer: str
    type: str


@dataclass
class Count:
    """Right ones among expected and found ones."""

    right: int = 0
    expected: int = 0
    found: int = 0

    @property
    def precision(self) -> float:
        """The share of what was found that is right."""
        return self.right / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        """The share of what was expected that was found."""
        return self.right / self.expected if self.expected else 1.0

    def add(self, other: "Count") -> None:
        """Count on."""
        self.right += other.right
        self.expected += other.expected
        self.found += other.found


@dataclass
class Score:
    """The counts of some dialogues, and what was wrong in them."""

    facts: Count = field(default_factory=Count)
    closures: Count = field(default_factory=Count)
    times: Count = field(default_factory=Count)  # closures on the right day
    relations: Count = field(default_factory=Count)
    negatives: int = 0
    broken: int = 0  # negatives that were noted
    dialogues: int = 0
    misses: list[str] = field(default_factory=list)

    def add(self, other: "Score") -> None:
        """Count on."""
        for mine, others in zip(self.counts(), other.counts(), strict=True):
            mine.add(others)
        self.negatives += other.negatives
        self.broken += other.broken
        self.dialogues += other.dialogues
        self.misses += other.misses

    def counts(self) -> tuple[Count, Count, Count, Count]:
        """Give the counts in the order in which they are printed."""
        return (self.facts, self.closures, self.times, self.relations)

    @property
    def is_perfect(self) -> bool:
        """Whether all is right and nothing is too much."""
        return not self.broken and all(count.precision == count.recall == 1.0 for count in self.counts())


def folded(text: str) -> str:
    """Fold a text as subjects are."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def slot(attribute: str | None) -> str | None:
    """Give the slot of an attribute, which may be a synonym."""
    if attribute is None:
        return None
    words = folded(attribute.replace("_", " ").replace("-", " "))
    return CANONICAL.get(words, words)


def pairs(text: str) -> Counter[str]:
    """Count the pairs of neighbouring letters and digits."""
    letters = "".join(letter for letter in folded(text) if letter.isalnum())
    return Counter(letters[place : place + 2] for place in range(max(len(letters) - 1, 1)))


def similarity(one: str, other: str) -> float:
    """Compare two texts, from 0 to 1."""
    first, second = pairs(one), pairs(other)
    return 2 * (first & second).total() / (first.total() + second.total())


def says(content: str, keys: tuple[str, ...]) -> bool:
    """Whether a content has an alternative of each key."""
    text = folded(content)
    return all(any(folded(word) in text for word in key.split("|")) for key in keys)


def is_same_name(expected: str, noted: str, subjects: set[str]) -> bool:
    """Whether a name is that of an expected subject, and of no other one."""
    mine, theirs = folded(expected), folded(noted)
    if mine == theirs:
        return True
    if theirs in subjects:
        return False

    def fits(subject: str) -> bool:
        one, other = set(subject.split()), set(theirs.split())
        return one <= other or other <= one

    return [subject for subject in sorted(subjects) if fits(subject)] == [mine]


def _may_agree(dialogue: Dialogue, expected: Fact, noted: Noted) -> bool:
    first = dialogue.turn_of[expected.id]
    session = dialogue.turns[first].session
    is_near = noted.turn >= first and dialogue.turns[noted.turn].session == session
    subjects = {folded(fact.name) for fact in dialogue.facts.values() if fact.type == expected.type}
    slots = (slot(expected.attribute), slot(noted.attribute))
    return (
        expected.type == noted.type
        and (is_near or expected.id in dialogue.turns[noted.turn].repeats)
        and (slots[0] == slots[1] if expected.attribute else slots[1] not in SYNONYMS)
        and is_same_name(expected.name, noted.name, subjects)
        and says(noted.content, expected.keys)
    )


def agreements(dialogue: Dialogue, noted: list[Noted]) -> dict[str, str]:
    """Give the ids of expected facts by those of the noted ones that agree with them."""
    candidates = sorted(
        (-similarity(expected.content, fact.content), expected.id, place, fact.id)
        for place, fact in enumerate(noted)
        for expected in dialogue.facts.values()
        if _may_agree(dialogue, expected, fact)
    )
    agreed: dict[str, str] = {}
    for _, expected_id, _, noted_id in candidates:
        if noted_id not in agreed and expected_id not in agreed.values():
            agreed[noted_id] = expected_id
    return agreed


def score(dialogue: Dialogue, noted: list[Noted], relations: list[NotedRelation]) -> Score:
    """Count what agrees in one dialogue."""
    agreed = agreements(dialogue, noted)
    result = Score(dialogues=1, negatives=len(dialogue.negatives))
    result.facts = Count(len(agreed), len(dialogue.facts), len(noted))
    missing = [fact.content for name, fact in dialogue.facts.items() if name not in agreed.values()]
    surplus = [fact for fact in noted if fact.id not in agreed]
    result.misses += [f"{dialogue.id}: fact missing: {content}" for content in missing]
    result.misses += [f"{dialogue.id}: fact too much: {fact.type} {fact.name}: {fact.content}" for fact in surplus]

    contents = {fact.id: fact.content for fact in noted}
    ends = {fact.id: fact.valid_to for fact in noted if fact.valid_to}
    closing = {"update", "contradict"}
    # Of several facts that could end one, the first did: the others find it ended.
    begins = {fact.id: fact.valid_from for fact in noted}
    by: dict[str, str] = {}
    for relation in sorted(relations, key=lambda relation: (begins[relation.newer], relation.newer)):
        if relation.type in closing and relation.older in ends:
            by.setdefault(relation.older, relation.newer)
    found = [(agreed.get(old), agreed.get(by.get(old, "")), old, end) for old, end in ends.items()]
    days = {(old, new): end.date() for old, new, _, end in found}
    expected = {(closure.fact, closure.by): closure.end.date() for closure in dialogue.closures}
    on_time = [both for both in expected if days.get(both) == expected[both]]
    result.closures = Count(sum(both in days for both in expected), len(expected), len(found))
    result.times = Count(len(on_time), len(expected), len(found))
    for both, day in expected.items():
        if both not in on_time:
            told = f"it did on {days[both]}" if both in days else "it did not, or not by the right fact"
            content = dialogue.facts[both[0]].content
            result.misses.append(f"{dialogue.id}: should have ended on {day}, {told}: {content}")
    for old, new, noted_id, end in found:
        if old is None or new is None or (old, new) not in expected:
            result.misses.append(f"{dialogue.id}: should not have ended on {end.date()}: {contents[noted_id]}")

    wanted = {(relation.older, relation.newer, relation.type) for relation in dialogue.relations}
    got = Counter((agreed.get(item.older), agreed.get(item.newer), item.type) for item in relations)
    result.relations = Count(sum(triple in got for triple in wanted), len(wanted), len(relations))
    for older, newer, kind in sorted(wanted - set(got)):
        first, second = dialogue.facts[older].content, dialogue.facts[newer].content
        result.misses.append(f"{dialogue.id}: relation missing: {first} -{kind}-> {second}")
    for item in relations:
        if (agreed.get(item.older), agreed.get(item.newer), item.type) not in wanted:
            told = f"{contents[item.older]} -{item.type}-> {contents[item.newer]}"
            result.misses.append(f"{dialogue.id}: relation too much: {told}")

    for negative in dialogue.negatives:
        wrong = [
            fact.content
            for fact in surplus
            if fact.turn == negative.turn and similarity(negative.content, fact.content) >= SIMILAR
        ]
        result.broken += bool(wrong)
        result.misses += [f"{dialogue.id}: {negative.kind} taken for a fact: {content}" for content in wrong]
    return result
