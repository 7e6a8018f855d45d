"""Choose the weights of the ranking on labelled conversations, and say how far the choice can be trusted.

It works on a numpy model of `umi-core/src/index/ranking.rs` (see ranking_prototype.py), which is not used at run time.
The form of the file is described in conversations.py; it needs two conversations at least.

Printed: recall@10 and recall@1 (the share of a question's evidence turns among the first results, averaged over
questions) of the weights of the engine; for each conversation those of the weights that are best on all others, found
among random settings; what is lost without each signal; and how well the best score tells a question's own conversation
from another (area under the ROC curve).
"""

import random
import statistics
import sys
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from conversations import area_under_curve, from_command_line
from ranking_prototype import Conversation, Signals, Weights, best_first, rank

SETTINGS = 150
SEED = 7
# The number of results whose best score counts, as in evaluate_retrieval.py.
SCORED = 20

GRID: dict[str, list[Any]] = {
    "lexical_share": [0.35, 0.4, 0.45, 0.5, 0.55],
    "token_weight": [0.5, 0.65, 0.8, 1.0],
    "token_floor": [0.4, 0.5, 0.6],
    "first_neighbour": [0.2, 0.25, 0.3, 0.35, 0.4],
    "second_neighbour": [0.08, 0.12, 0.16],
    "answered_question": [0, 0.1, 0.15, 0.2, 0.3],
    "lender_tokens": [60, 80, 120],
    "session_weight": [0.15, 0.2, 0.3, 0.4],
    "session_best": [1, 2, 3],
    "speaker_prior": [0, 0.05, 0.1, 0.15, 0.2],
    "first_person_prior": [0, 0.05, 0.1],
    "question_malus": [0, 0.1, 0.15, 0.2],
    "when_prior": [0, 0.1, 0.15, 0.2],
}

ABLATION: dict[str, dict[str, Any]] = {
    "the token match": {"token_weight": 0},
    "the lexical signal": {"lexical_share": 0},
    "the vectors": {"lexical_share": 1},
    "pieces of long texts": {"piece_share": 0},
    "the spread": {"first_neighbour": 0, "second_neighbour": 0, "answered_question": 0},
    "answered questions": {"answered_question": 0},
    "the session bonus": {"session_weight": 0},
    "the speaker prior": {"speaker_prior": 0},
    "the first-person prior": {"first_person_prior": 0},
    "the question malus": {"question_malus": 0},
    "the when prior": {"when_prior": 0},
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A conversation and the signals of its own questions."""

    conversation: Conversation
    signals: Signals

    @classmethod
    def of(cls, sample: dict[str, Any], weights: Weights) -> Self:
        """Analyse a conversation of the file."""
        conversation = Conversation(sample, weights)
        return cls(conversation, Signals.of(conversation, conversation.questions, weights))


@dataclass(frozen=True, slots=True)
class Figures:
    """Recall in percent, one number for each conversation."""

    at_10: list[float]
    at_1: list[float]

    @classmethod
    def of(cls, asked: list[Asked], weights: Weights) -> Self:
        """Measure some weights."""
        at_10: list[float] = []
        at_1: list[float] = []
        for each in asked:
            evidence = each.conversation.evidence
            best = best_first(rank(each.conversation, each.signals, weights))[:, :10]
            found = np.take_along_axis(evidence, best, axis=1)
            at_10.append(100 * float((found.sum(axis=1) / evidence.sum(axis=1)).mean()))
            at_1.append(100 * float((found[:, 0] / evidence.sum(axis=1)).mean()))
        return cls(at_10, at_1)


def average(values: list[float], asked: list[Asked], leave_out: int | None = None) -> float:
    """The average over questions, without those of one conversation where it is to be left out."""
    counts = [len(each.conversation.questions) * (index != leave_out) for index, each in enumerate(asked)]
    return float(np.average(values, weights=counts))


def settings(engine: Weights) -> list[dict[str, Any]]:
    """The changes to the engine's weights that are tried: none, then random ones, the same on every run."""
    chance = random.Random(SEED)
    tried = [{name: chance.choice(values) for name, values in GRID.items()} for _ in range(SETTINGS)]
    return [{}, *({name: value for name, value in each.items() if value != getattr(engine, name)} for each in tried)]


def best_score_area(asked: list[Asked], weights: Weights) -> float:
    """How well the best score tells a question's own conversation from the next one."""

    def best_scores(conversation: Conversation, signals: Signals) -> list[float]:
        found = best_first(rank(conversation, signals, weights))[:, :SCORED]
        best: list[float] = np.take_along_axis(signals.scores(weights), found, axis=1).max(axis=1).tolist()
        return best

    own: list[float] = []
    other: list[float] = []
    for each, stranger in zip(asked, [*asked[1:], asked[0]], strict=True):
        own += best_scores(each.conversation, each.signals)
        signals = Signals.of(stranger.conversation, each.conversation.questions, weights)
        other += best_scores(stranger.conversation, signals)
    return area_under_curve(own, other)


def row(label: str, figures: Figures, asked: list[Asked]) -> str:
    """A line of the tables of all conversations."""
    by_conversation = "".join(f"{value:9.1f}" for value in figures.at_10)
    return f"{label:32}{average(figures.at_10, asked):10.1f}{average(figures.at_1, asked):10.1f}  {by_conversation}"


def main() -> None:
    """Read the file, measure, choose, and print."""
    samples = from_command_line(__doc__, "make weights")
    if len(samples) < 2:
        sys.exit("weights are chosen on some conversations and tried on another: the file needs two at least")
    engine = Weights.of_the_engine()
    asked = [Asked.of(sample, engine) for sample in samples]
    names = [each.conversation.name for each in asked]
    print(f"{'':32}{'recall@10':>10}{'recall@1':>10}  " + "".join(f"{name[:8]:>9}" for name in names))
    default = Figures.of(asked, engine)
    print(row("the weights of ranking.rs", default, asked))
    for label, change in ABLATION.items():
        print(row(f"  without {label}", Figures.of(asked, replace(engine, **change)), asked))
    print(f"area under the ROC curve of the best score: {best_score_area(asked, engine):.3f}")

    tried = settings(engine)
    measured = [Figures.of(asked, replace(engine, **change)) for change in tried]
    print(f"\nEach conversation with the best of {len(tried)} settings on the others:")
    print(
        f"{'':16}{'questions':>10}{'ranking.rs: @10':>17}{'@1':>7}{'chosen: @10':>13}{'@1':>7}{'@10 on the others':>19}"
    )
    held_out: list[Figures] = []
    choices: list[str] = []
    for index, each in enumerate(asked):
        on_others = [average(figures.at_10, asked, leave_out=index) for figures in measured]
        best = int(np.argmax(on_others))
        held_out.append(measured[best])
        print(
            f"{names[index]:16}{len(each.conversation.questions):>10}{default.at_10[index]:17.1f}"
            f"{default.at_1[index]:7.1f}{measured[best].at_10[index]:13.1f}{measured[best].at_1[index]:7.1f}"
            f"{on_others[best]:19.1f}"
        )
        changes = ", ".join(f"{name} {value:g}" for name, value in tried[best].items())
        choices.append(f"chosen without {names[index]}: {changes or 'the weights of ranking.rs'}")
    at_10 = average([figures.at_10[index] for index, figures in enumerate(held_out)], asked)
    at_1 = average([figures.at_1[index] for index, figures in enumerate(held_out)], asked)
    print("\n".join(choices))
    print(f"weights chosen leaving one conversation out: recall@10 {at_10:.1f}, recall@1 {at_1:.1f}")
    spread = sorted(average(figures.at_10, asked) for figures in measured)
    print(f"all settings: recall@10 {spread[0]:.1f} to {spread[-1]:.1f}, median {statistics.median(spread):.1f}")


if __name__ == "__main__":
    main()
