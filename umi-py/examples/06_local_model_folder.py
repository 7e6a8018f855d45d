"""Embed with a sentence-transformers model from a folder of your own: nothing leaves the machine.

Run it with the folder of all-MiniLM-L6-v2, say (`config.json`, `tokenizer.json`, `model.safetensors`)::

    python umi-py/examples/06_local_model_folder.py path/to/all-MiniLM-L6-v2

It needs the full build, the package ``umi-memory-full``.
"""

import asyncio
import sys

from umi import LocalEmbeddingProvider, Memory, RecallOptions

NOTES = [
    "The puppy chased its ball across the lawn all afternoon.",
    "Our invoice for March is still unpaid.",
    "She practises the violin before breakfast.",
    "The train to Graz leaves from platform nine.",
]
QUESTIONS = ["Which animal was playing?", "Does anybody owe us money?", "Who plays an instrument?"]


async def main() -> None:
    """Remember some notes and find them by their meaning, not by their words."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    embedder = LocalEmbeddingProvider(sys.argv[1])
    async with Memory.in_memory(embedder=embedder, user="nadia") as memory:
        await memory.remember_many(NOTES)
        # Without the words, so that what is found is the embedder's own work.
        by_meaning = RecallOptions(limit=1, use_text_search=False)
        for question in QUESTIONS:
            for hit in await memory.recall(question, by_meaning):
                print(f"{question:28} {hit.score:.2f}  {hit.content}")


if __name__ == "__main__":
    asyncio.run(main())
