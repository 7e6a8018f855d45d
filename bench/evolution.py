"""Measure what a memory makes of the judged set: which facts it notes, which end when, and how they relate.

    python bench/evolution.py [--llm scripted | anthropic:MODEL | openai:MODEL] [--language en] [--dialogue en-01]

Each dialogue of bench/evolution is remembered turn by turn, at the times of its turns, in an in-memory store of its
own. Printed: precision and recall of facts, closures (by the right fact; on the right day) and relations, and how many
negatives were noted, for each language and for all; `--misses` lists what was wrong. evolution_score.py says how an
answer of a real model is matched with what is expected. `scripted` answers from the set itself: everything must be
100 %, else the plumbing is wrong, and the exit code is 1. The keys are taken from ANTHROPIC_API_KEY or OPENAI_API_KEY.
"""

import argparse
import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import umi
from evolution_score import Noted, NotedRelation, Score, score
from evolution_script import Dialogue, Script, dialogues

MOST_FACTS = 1_000  # of one dialogue that are read


def callable_provider(answer: Callable[[str, str], str]) -> umi.CallableProvider:
    """Let a function of the schema's name and the data answer: all that depends on what a request looks like."""

    def complete(request: Any) -> str:
        data = request.messages[-1].text
        return answer("relations" if "<new" in data else "facts", data)

    return umi.CallableProvider(complete)


def provider(llm: str, script: Script) -> Any:
    """Make the model that is named on the command line."""
    vendor, _, model = llm.partition(":")
    if llm == "scripted":
        return callable_provider(script.answer)
    if vendor == "anthropic" and model:
        return umi.AnthropicProvider(model=model)
    if vendor == "openai" and model:
        return umi.OpenAIProvider(model=model)
    raise SystemExit(f"--llm {llm}: say scripted, anthropic:MODEL or openai:MODEL")


async def play(dialogue: Dialogue, llm: str) -> tuple[Score, list[str]]:
    """Remember a dialogue, read what was noted, and count; with the warnings that came."""
    script, warnings = Script(dialogue), []
    clock = umi.ManualClock(dialogue.turns[0].at)
    async with umi.Memory.in_memory(llm=provider(llm, script), user=dialogue.id, clock=clock) as memory:
        turn_of: dict[str, int] = {}
        for place, turn in enumerate(dialogue.turns):
            script.turn = place
            clock.set(turn.at)
            result = await memory.remember(turn.text, role=turn.role, name=turn.name, at=turn.at, session=turn.session)
            turn_of |= dict.fromkeys(result.episode_ids, place)
            warnings += [f"{dialogue.id}: {warning.step}: {warning.error!r}" for warning in result.warnings]
        noted, relations = [], {}
        for entity in await memory.list(current=False, limit=MOST_FACTS):
            assert entity.episode_id is not None, f"{entity!r} comes from no turn"
            noted.append(
                Noted(
                    id=entity.id,
                    type=str(entity.entity_type),
                    name=entity.name,
                    attribute=entity.attribute,
                    content=entity.content,
                    turn=turn_of[entity.episode_id],
                    valid_from=entity.valid_from,
                    valid_to=entity.valid_to,
                )
            )
            for item in await memory.evolutions(entity.id):
                relations[item.id] = NotedRelation(item.source_id, item.target_id, str(item.type))
    return score(dialogue, noted, list(relations.values())), warnings


def table(scores: dict[str, Score]) -> str:
    """Lay the scores out for people."""
    columns = ("facts P", "R", "closures P", "R", "right day P", "R", "relations P", "R", "negatives noted")
    head = f"{'':8}{'dialogues':>10}" + "".join(f"{name:>{max(len(name) + 2, 8)}}" for name in columns)
    lines = [head]
    for name, counted in scores.items():
        shares = [share for count in counted.counts() for share in (count.precision, count.recall)]
        cells = [f"{share:.1%}" for share in shares] + [f"{counted.broken} of {counted.negatives}"]
        widths = [max(len(column) + 2, 8) for column in columns]
        row = "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        lines.append(f"{name:8}{counted.dialogues:>10}{row}")
    return "\n".join(lines)


async def evaluate(chosen: list[Dialogue], llm: str) -> tuple[dict[str, Score], list[str]]:
    """Play dialogues one after the other; the scores by language, then of all."""
    by_language: dict[str, Score] = defaultdict(Score)
    warnings: list[str] = []
    for dialogue in chosen:
        counted, told = await play(dialogue, llm)
        by_language[dialogue.language].add(counted)
        warnings += told
    total = Score()
    for counted in by_language.values():
        total.add(counted)
    return {**by_language, "all": total}, warnings


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llm", default="scripted", help="scripted, anthropic:MODEL or openai:MODEL")
    parser.add_argument("--language", help="only this one, such as ja")
    parser.add_argument("--dialogue", help="only this one, such as en-01")
    parser.add_argument("--misses", action="store_true", help="list what was wrong")
    arguments = parser.parse_args()
    chosen = [
        dialogue
        for dialogue in dialogues()
        if arguments.language in (None, dialogue.language) and arguments.dialogue in (None, dialogue.id)
    ]
    if not chosen:
        parser.error("there is no such dialogue")
    scores, warnings = asyncio.run(evaluate(chosen, arguments.llm))
    print(f"{arguments.llm}\n{table(scores)}")
    for line in [*warnings, *(scores["all"].misses if arguments.misses or arguments.llm == "scripted" else ())]:
        print(line)
    return int(arguments.llm == "scripted" and not (scores["all"].is_perfect and not warnings))


if __name__ == "__main__":
    sys.exit(main())
