"""Measure retrieval on a file of labelled conversations, through the public Python API.

The file is JSON: a list of ``{"conversation": {"session_1": [{"dia_id", "speaker", "text"}, …],
"session_1_date_time": "1:56 pm on 8 May, 2023", …}, "qa": [{"question", "evidence", "category"}, …], "sample_id"}``.
Each conversation is a user, each of its sessions a session, each turn an episode with ``name`` and ``at``.

Printed: recall@1/5/10/20 (the share of a question's evidence turns among the first k results, averaged over questions)
by question category and by conversation, and how well the best score tells a question's own conversation from another
(area under the ROC curve).
"""

import argparse
import asyncio
import json
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import umi

CUTS = (1, 5, 10, 20)
EVIDENCE = re.compile(r"D\d+:\d+")
SESSION = re.compile(r"session_(\d+)")
# Category 5 of LoCoMo asks about what the other speaker said, on purpose.
ADVERSARIAL = 5


def session_start(text: str) -> datetime:
    """Read ``1:56 pm on 8 May, 2023``."""
    return datetime.strptime(text, "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)


def turns(sample: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give (dia_id, item for remember_many) in order."""
    conversation = sample["conversation"]
    for key in sorted(filter(SESSION.fullmatch, conversation), key=lambda name: int(name.rpartition("_")[2])):
        start = session_start(conversation[f"{key}_date_time"])
        for number, turn in enumerate(conversation[key]):
            text = turn["text"]
            if turn.get("blip_caption"):
                text += f" [shares {turn['blip_caption']}]"
            item = {"text": text, "name": turn["speaker"], "at": start + timedelta(seconds=number), "session": key}
            yield turn["dia_id"], item


def questions(sample: dict[str, Any]) -> Iterator[tuple[str, int, set[str]]]:
    """Give (question, category, evidence) of every question that has evidence among the turns."""
    known = {dia_id for dia_id, _ in turns(sample)}
    for entry in sample["qa"]:
        evidence = {dia_id for text in entry.get("evidence", []) for dia_id in EVIDENCE.findall(text)} & known
        if evidence:
            yield entry["question"], entry["category"], evidence


def area_under_curve(own: list[float], other: list[float]) -> float:
    """The chance that a score of the first list is above one of the second; a tie counts half."""
    ranked = sorted([(score, 1) for score in own] + [(score, 0) for score in other])
    ranks: dict[float, list[int]] = defaultdict(list)
    for position, (score, _) in enumerate(ranked, start=1):
        ranks[score].append(position)
    total = sum(statistics.fmean(ranks[score]) for score in own)
    return (total - len(own) * (len(own) + 1) / 2) / (len(own) * len(other))


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the labelled conversations")
    file: Path = parser.parse_args().file
    if not file.is_file():
        sys.exit(f"there is no file {file}: name one with `make eval FILE=path/to/conversations.json`")
    asyncio.run(evaluate(json.loads(file.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
