"""Remember a conversation, recall from it, and print the XML for a model's prompt.

Run it with ``make quickstart``. It needs no key, no network and no model download.
"""

import asyncio
import json
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from umi import Entity, Memory, RecallOptions

CONVERSATION = Path(__file__).with_name("conversation.json")
QUESTIONS = [
    "What is Tarek allergic to?",
    "What kind of work does Nadia do?",
    "Who cut the ribbon?",
    "When is the new opening date?",
]


async def main() -> None:
    """Remember, recall, and render."""
    conversation = json.loads(CONVERSATION.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        async with Memory.open(folder, user=conversation["user"]) as memory:
            turns = 0
            for session in conversation["sessions"]:
                start = datetime.fromisoformat(session["at"])
                items = [
                    {
                        "text": turn["content"],
                        "role": turn["role"],
                        "name": turn["name"],
                        "at": start + timedelta(minutes=number),
                        "session": session["session"],
                    }
                    for number, turn in enumerate(session["turns"])
                ]
                turns += len(await memory.remember_many(items))
            print(f"remembered {turns} turns of {len(conversation['sessions'])} sessions\n")

            # A fact that the caller already has stands beside what was said.
            await memory.add_entity(
                Entity("person", "Nadia", "runs a pottery studio in the old harbour", attribute="occupation")
            )

            for question in QUESTIONS:
                print(question)
                for hit in await memory.recall(question, RecallOptions(limit=2)):
                    print(f"  {hit.score:.2f}  {hit.at:%d %B %Y}  {hit.content}")

            await memory.core.set_block_async("persona", "You are Juno, a warm and brief assistant.")
            await memory.core.set_block_async("human", "Nadia, a potter. Likes concrete dates.")
            print("\n" + await memory.context("What should I order, and when?", budget_tokens=200))


if __name__ == "__main__":
    asyncio.run(main())
