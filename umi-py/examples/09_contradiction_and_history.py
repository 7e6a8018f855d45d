"""What a language model decides about facts that do not go together, and the history that is left.

The model here is a script, so that the example runs without a key: it says what a real one would say to these
sentences. With ``AnthropicProvider()`` or ``OpenAIProvider()`` in its place the rest stays as it is.
"""

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

from umi import CallableProvider, CompletionRequest, Memory, RecallOptions

STORY = [
    (datetime(2026, 1, 6, tzinfo=UTC), "I don't eat any meat.", ("Ines", "Ines eats no meat")),
    (datetime(2026, 2, 3, tzinfo=UTC), "My grandfather Albin was born in Riga.", ("Albin", "Albin was born in Riga")),
    (datetime(2026, 5, 9, tzinfo=UTC), "Steak twice this week!", ("Ines", "Ines eats meat again")),
    (datetime(2026, 6, 2, tzinfo=UTC), "It was Tallinn, his papers say.", ("Albin", "Albin was born in Tallinn")),
]
# Of a new fact and a stored one: how they relate, and why.
DECISIONS = {
    ("Ines eats meat again", "Ines eats no meat"): ("update", "her diet has changed"),
    ("Albin was born in Tallinn", "Albin was born in Riga"): ("contradict", "one is born in one place"),
}
SHOWN = re.compile(r'<(stored|new) (?:id|number)="([^"]+)"[^>]*>\n(.*?)\n</')


def model(request: CompletionRequest) -> dict[str, Any]:
    """Say what a language model would."""
    if request.schema_name == "facts":
        latest = request.prompt[request.prompt.index("<turn ") :]
        return {
            "facts": [
                {
                    "turn": 1,
                    "type": "person",
                    "name": name,
                    "attribute": None,  # no slot that holds one value at a time: what ends what is to be decided
                    "content": content,
                    "confidence": 0.9,
                    "event_time": None,
                }
                for _, text, (name, content) in STORY
                if text in latest
            ]
        }
    shown = SHOWN.findall(request.prompt)
    return {
        "relations": [
            {"new": int(number), "old": old, "type": kind, "reason": reason, "confidence": 0.9}
            for new, number, fact in shown
            for stored, old, known in shown
            if (new, stored) == ("new", "stored") and (fact, known) in DECISIONS
            for kind, reason in [DECISIONS[fact, known]]
        ]
    }


async def main() -> None:
    """Tell the story, and ask what is true, what was, and why."""
    async with Memory.in_memory(llm=CallableProvider(model), user="ines") as memory:
        for at, text, _ in STORY:
            result = await memory.remember(text, name="Ines", at=at, session=f"{at:%B}")
            print(f"{at:%d %B}  {text}")
            for evolution in result.evolutions:
                print(f"    {evolution.type}: {evolution.reason}")

        print("\nnow:")
        for fact in await memory.list():
            print(f"  {fact.content}")

        in_march = RecallOptions(as_of=datetime(2026, 3, 1, tzinfo=UTC), include=("facts",), limit=1)
        (then,) = await memory.recall("What does Ines eat?", in_march)
        print(f"in March: {then.content} (until {then.valid_to:%d %B})")

        print("\nwhat has ended, and why:")
        for fact in await memory.list(current=False):
            for relation in await memory.evolutions(fact.id):
                if relation.source_id == fact.id:
                    newer = await memory.get(relation.target_id)
                    assert newer is not None
                    mark = "!" if relation.is_conflict() else " "
                    print(f"  {mark} {fact.content} -> {newer.content}: {relation.reason}")


if __name__ == "__main__":
    asyncio.run(main())
