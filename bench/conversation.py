"""Synthetic conversations for measurements: seeded, of words whose frequencies follow Zipf's law, never the same twice.

The frequent words are those of `common_words.txt`, behind them come numbers, derivations and invented names, as rare
as names are: a text has about as many tokens of the bundled embedder a word as a real one. Nobody's text is in it.
"""

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

VOCABULARY = 8_000
SHORTEST, LONGEST = 8, 40  # words of a turn
TURNS_OF_A_SESSION = 20
BETWEEN_SESSIONS = timedelta(days=1)
SPEAKERS = (("user", "Alice"), ("assistant", "Umi"))
SUFFIXES = ("s", "ed", "ing", "er", "ly")
SYLLABLES: tuple[str, ...] = ("ka", "lo", "min", "ra", "te", "so", "vi", "na", "du", "pel")
SYLLABLES += ("gar", "is", "mo", "ze", "fi", "hul", "an", "be", "cor", "ti")
BEGIN = datetime(2020, 1, 1, 9, tzinfo=UTC)


def _vocabulary() -> list[str]:
    common = (Path(__file__).parent / "common_words.txt").read_text(encoding="utf-8").split()
    numbers = [str(number) for number in range(1, 1_000)]
    derived = [word + suffix for suffix in SUFFIXES for word in common if len(word) > 3]
    names = ["".join(syllables).title() for count in (2, 3) for syllables in itertools.product(SYLLABLES, repeat=count)]
    return [*common, *numbers, *derived, *names][:VOCABULARY]


class Conversation:
    """An endless conversation of two speakers, in sessions, and questions about what was said."""

    def __init__(self, seed: int, user: str | None = None) -> None:
        """Begin one; `user` is put into every item, unless it is None."""
        self._random = random.Random(seed)
        self._user = user
        self._words = _vocabulary()
        self._weights = list(itertools.accumulate(1 / rank for rank in range(1, VOCABULARY + 1)))
        self._said = 0

    def text(self, words: int | None = None) -> str:
        """Say `words` words, or as many as a turn has."""
        count = words or self._random.randint(SHORTEST, LONGEST)
        drawn = self._random.choices(self._words, cum_weights=self._weights, k=count)
        return " ".join(drawn).capitalize() + "."

    def turn(self) -> dict[str, Any]:
        """Give the next turn as `remember_many` takes it."""
        session, place = divmod(self._said, TURNS_OF_A_SESSION)
        role, name = SPEAKERS[self._said % len(SPEAKERS)]
        self._said += 1
        turn: dict[str, Any] = {
            "text": self.text(),
            "role": role,
            "name": name,
            "at": BEGIN + session * BETWEEN_SESSIONS + timedelta(minutes=place),
            "session": f"session-{session}",
        }
        return turn if self._user is None else {**turn, "user": self._user}

    def turns(self, count: int) -> Iterator[dict[str, Any]]:
        """Give the next `count` turns."""
        return (self.turn() for _ in range(count))

    def question(self, text: str) -> str:
        """Ask about `text` with some of its own words among others."""
        words = sorted({word.strip(".").lower() for word in text.split() if len(word) > 3})
        own = self._random.sample(words, min(3, len(words)))
        return f"When did {SPEAKERS[0][1]} say {' '.join(own)} {self.text(3).lower().rstrip('.')}?"
