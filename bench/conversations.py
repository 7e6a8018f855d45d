"""Labelled conversations, as `make eval` and `make weights` read them.

The file is JSON: a list of ``{"conversation": {"session_1": [{"dia_id", "speaker", "text"}, …],
"session_1_date_time": "1:56 pm on 8 May, 2023", …}, "qa": [{"question", "evidence", "category"}, …], "sample_id"}``.
"""

import argparse
import json
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

EVIDENCE = re.compile(r"D\d+:\d+")
SESSION = re.compile(r"session_(\d+)")


def from_command_line(description: str, command: str) -> list[dict[str, Any]]:
    """Read the file that is the only argument; `command` is what the message for a missing one names."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the labelled conversations")
    file: Path = parser.parse_args().file
    if not file.is_file():
        sys.exit(f"there is no file {file}: name one with `{command} FILE=path/to/conversations.json`")
    samples: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return samples


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
