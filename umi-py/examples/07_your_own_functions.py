"""Bring your own model and your own embedder: each is a Python function, plain or async.

The functions here are toys, so that the example runs without a key and tells the same story each time. In their place
stands a call of whatever you have: a client of another vendor, a model in this process, a queue.
"""

import asyncio
import re
from typing import Any

from umi import CallableEmbeddingProvider, CallableProvider, CompletionRequest, Memory

DIMENSIONS = 64
TURN = re.compile(r'<turn number="(\d+)" [^>]*>\n(.*?)\n</turn>', re.DOTALL)
HOME = re.compile(r"(\w+) (?:lives in|moved to) (\w+)")


async def embed(texts: list[str]) -> list[list[float]]:
    """Count the letters of each text: a vector that knows nothing of meaning, but is of the right form."""
    vectors = []
    for text in texts:
        vector = [1e-6] * DIMENSIONS
        for letter in text.lower():
            vector[ord(letter) % DIMENSIONS] += 1.0
        vectors.append(vector)
    return vectors


def model(request: CompletionRequest) -> dict[str, Any] | str:
    """Answer as a language model would: `request` has `system`, `messages`, `prompt`, `schema_name` and `schema`."""
    if request.schema_name == "facts":
        facts = [
            {
                "turn": int(number),
                "type": "person",
                "name": name,
                "attribute": "home",
                "content": f"{name} lives in {city}",
                "confidence": 0.9,
                "event_time": None,
            }
            for number, text in TURN.findall(request.prompt)
            for name, city in HOME.findall(text)
        ]
        return {"facts": facts}
    if request.schema_name == "relations":
        return {"relations": []}  # within a slot such as `home` the order of time decides, without a model
    return "I only know where people live."


async def main() -> None:
    """Remember what the functions make of two sentences."""
    embedder = CallableEmbeddingProvider(embed, dimensions=DIMENSIONS, name="letters")
    llm = CallableProvider(model, name="toy")
    async with Memory.in_memory(llm=llm, embedder=embedder, user="nadia") as memory:
        for text in ("Tarek lives in Lisbon, above a bakery.", "Guess what: Tarek moved to Porto!"):
            result = await memory.remember(text)
            print(f"{text}\n  -> {[entity.content for entity in result.entities]}")
            for evolution in result.evolutions:
                print(f"  -> {evolution.type}")
        print("now:", [entity.content for entity in await memory.list()])


if __name__ == "__main__":
    asyncio.run(main())
