"""Measure retrieval on a file of labelled conversations, through the public Python API.

The form of the file is described in conversations.py.
Each conversation is a user, each of its sessions a session, each turn an episode with ``name`` and ``at``.

Printed: recall@1/5/10/20 (the share of a question's evidence turns among the first k results, averaged over questions)
by question category and by conversation, and how well the best score tells a question's own conversation from another
(area under the ROC curve).
"""

import asyncio
import statistics
from collections import defaultdict
from typing import Any

import umi
from conversations import area_under_curve, from_command_line, questions, turns

CUTS = (1, 5, 10, 20)
# Category 5 of LoCoMo asks about what the other speaker said, on purpose.
ADVERSARIAL = 5


async def evaluate(samples: list[dict[str, Any]]) -> None:
    """Index, ask, and print."""
    hits: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    own_scores: list[float] = []
    other_scores: list[float] = []
    options = umi.RecallOptions(limit=max(CUTS))
    async with umi.Memory.in_memory() as memory:
        dia_ids: dict[str, str] = {}
        users = [str(sample["sample_id"]) for sample in samples]
        for user, sample in zip(users, samples, strict=True):
            names, items = zip(*turns(sample), strict=True)
            results = await memory.remember_many([item | {"user": user} for item in items])
            dia_ids |= {result.episode_ids[0]: name for result, name in zip(results, names, strict=True)}
        for number, (user, sample) in enumerate(zip(users, samples, strict=True)):
            stranger = users[(number + 1) % len(users)]
            for question, category, evidence in questions(sample):
                found = await memory.recall(question, options, user=user)
                ranked = [dia_ids[hit.id] for hit in found]
                for group in ("all", f"category {category}", f"conversation {user}"):
                    for cut in CUTS:
                        hits[group][cut].append(len(evidence & set(ranked[:cut])) / len(evidence))
                if category != ADVERSARIAL:
                    for cut in CUTS:
                        hits["without category 5"][cut].append(len(evidence & set(ranked[:cut])) / len(evidence))
                own_scores.append(max((hit.score for hit in found), default=0.0))
                if stranger != user:
                    elsewhere = await memory.recall(question, options, user=stranger)
                    other_scores.append(max((hit.score for hit in elsewhere), default=0.0))
    print(f"{'':24}{'questions':>10}" + "".join(f"{f'recall@{cut}':>11}" for cut in CUTS))
    for group in sorted(hits):
        row = "".join(f"{100 * statistics.fmean(hits[group][cut]):11.1f}" for cut in CUTS)
        print(f"{group:24}{len(hits[group][1]):>10}{row}")
    if other_scores:
        print(f"area under the ROC curve of the best score: {area_under_curve(own_scores, other_scores):.3f}")


def main() -> None:
    """Read the arguments and run."""
    asyncio.run(evaluate(from_command_line(__doc__, "make eval")))


if __name__ == "__main__":
    main()
