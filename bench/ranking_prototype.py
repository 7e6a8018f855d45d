"""A numpy model of `umi-core/src/index/ranking.rs`, for choosing its weights; it is not used at run time.

It ranks all turns of a conversation for all its questions at once, which makes trying hundreds of weights a matter of
a minute. The defaults are read from `ranking.rs`: a constant that the model does not know stops it.
"""

import sys
from collections import defaultdict
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

import ranking_text
from conversations import questions, turns
from ranking_text import CORE, Floats

RANKING = CORE / "src" / "index" / "ranking.rs"
# The labelled conversations hold neither roles nor importance.
NOT_MODELLED = {"ROLE_PRIOR", "IMPORTANCE_WEIGHT"}


@dataclass(frozen=True, slots=True)
class Weights:
    """The constants of `ranking.rs`, which says what each is."""

    k1: float
    b: float
    lexical_share: float
    piece_share: float
    candidates: int
    token_weight: float
    token_floor: float
    cosine_floor: float
    query_tokens: int
    first_neighbour: float
    second_neighbour: float
    answered_question: float
    lender_tokens: float
    pause_microseconds: int
    session_weight: float
    session_best: int
    speaker_prior: float
    first_person_prior: float
    question_malus: float
    question_tokens: float
    when_prior: float
    score_parts: list[float]

    @classmethod
    def of_the_engine(cls) -> Self:
        """Read them; exit where the engine has others than this model."""
        found = {name: value for name, value in ranking_text.constants(RANKING).items() if name not in NOT_MODELLED}
        differing = {name.lower() for name in found} ^ {field.name for field in fields(cls)}
        if differing:
            sys.exit(f"{RANKING.name} and this model differ in {', '.join(sorted(differing))}: bring Weights up to it")
        return cls(**{name.lower(): value for name, value in found.items()})


class Texts:
    """The columns of some texts: how often each holds each term, their vectors, their tokens."""

    def __init__(self, texts: list[str], terms: dict[str, int]) -> None:
        table = ranking_text.static_table()
        analysed = [ranking_text.terms(text) for text in texts]
        for term in (term for text in analysed for term in text):
            terms.setdefault(term, len(terms))
        self.counts = np.zeros((len(texts), len(terms)), np.float32)
        for row, text in enumerate(analysed):
            np.add.at(self.counts[row], [terms[term] for term in text], 1)
        self.term_lengths: Floats = self.counts.sum(axis=1)
        tokens = [table.tokens(text) for text in texts]
        self.vectors = np.array([table.embed(text) for text in tokens])
        self.token_lengths = np.array([len(text) for text in tokens])
        self.token_starts = np.cumsum(self.token_lengths) - self.token_lengths
        self.distinct_tokens, self.token_places = np.unique(np.concatenate(tokens), return_inverse=True)
        self.token_items = np.zeros(len(table.rows))
        for ids in tokens:
            self.token_items[list(set(ids))] += 1


class Conversation:
    """What no question and no weight changes of a conversation: a user's turns, in the order of their time.

    Attributes:
        name: The conversation's own name.
        questions: What is asked of it.
        evidence: For each question and turn whether the turn answers it.
    """

    def __init__(self, sample: dict[str, Any], weights: Weights) -> None:
        named = sorted(turns(sample), key=lambda turn: turn[1]["at"])
        items = [item for _, item in named]
        self.name = str(sample["sample_id"])
        asked = list(questions(sample))
        self.questions = [question for question, _, _ in asked]
        self.evidence = np.array([[dia_id in evidence for dia_id, _ in named] for _, _, evidence in asked])

        heads = [ranking_text.head(item["name"], item["at"]) for item in items]
        parts = [ranking_text.pieces(item["text"]) for item in items]
        self.terms: dict[str, int] = {}
        self.wholes = Texts([head + item["text"] for head, item in zip(heads, items, strict=True)], self.terms)
        self.pieces = self.wholes
        counts = np.array([len(pieces) for pieces in parts])
        self.piece_starts = np.cumsum(counts) - counts
        if counts.max() > 1:
            texts = [head + piece for head, pieces in zip(heads, parts, strict=True) for piece in pieces]
            self.pieces = Texts(texts, dict(self.terms))

        bodies = [ranking_text.NOTE.sub("", item["text"]) for item in items]
        self.is_asking = np.array([ranking_text.ends_asking(body.rstrip()) for body in bodies], np.float32)
        self.question_share = np.array([ranking_text.question_share(body) for body in bodies], np.float32)
        self.is_temporal = np.array([bool(ranking_text.TEMPORAL.search(body)) for body in bodies], np.float32)
        self.is_first_person = np.array([bool(ranking_text.FIRST_PERSON.search(body)) for body in bodies], np.float32)
        self.speakers = np.array([" ".join(ranking_text.words(item["name"])) for item in items])

        sessions: dict[str, list[int]] = defaultdict(list)
        for index, item in enumerate(items):
            sessions[item["session"]].append(index)
        self.sessions = [np.array(members) for members in sessions.values()]
        self.neighbours = [neighbours(items, list(sessions.values()), distance, weights) for distance in (1, 2)]

    def best_piece(self, of_pieces: Floats) -> Floats:
        """The best of each turn's pieces, from a column for each piece."""
        best: Floats = of_pieces
        if self.pieces is not self.wholes:
            best = np.maximum.reduceat(of_pieces, self.piece_starts, axis=1)
        return best


def neighbours(
    items: list[dict[str, Any]], sessions: list[list[int]], distance: int, weights: Weights
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The pairs (earlier, later) of turns so far apart in a session, no long pause between them."""
    pause = timedelta(microseconds=weights.pause_microseconds)
    pairs = [
        (members[index], members[index + distance])
        for members in sessions
        for index in range(len(members) - distance)
        if all(
            items[members[index + step + 1]]["at"] - items[members[index + step]]["at"] <= pause
            for step in range(distance)
        )
    ]
    earlier, later = np.array(pairs, np.intp).reshape(-1, 2).T
    return earlier, later


def inverse_document_frequency(frequency: NDArray[Any], items: int) -> NDArray[Any]:
    """How much a term says that so many of the items hold."""
    rarity: NDArray[Any] = np.log(1 + (items - frequency + 0.5) / (frequency + 0.5))
    return rarity


@dataclass(frozen=True, slots=True)
class Signals:
    """The raw signals of a list of questions (rows) for the turns of a conversation (columns).

    They hold what the search leaves as it is: K1, B, COSINE_FLOOR, QUERY_TOKENS.
    """

    lexical: Floats
    lexical_of_piece: Floats
    share: Floats
    cosine: Floats
    cosine_of_piece: Floats
    token: Floats
    is_named: Floats
    asks_when: Floats

    @classmethod
    def of(cls, conversation: Conversation, asked: list[str], weights: Weights) -> Self:
        """Compute them."""
        table = ranking_text.static_table()
        asked = [ranking_text.query_text(question) for question in asked]
        wholes, pieces = conversation.wholes, conversation.pieces
        items = len(wholes.counts)
        rarity = inverse_document_frequency((wholes.counts > 0).sum(axis=0), items)
        weighted: Floats = np.zeros((len(asked), len(conversation.terms)), np.float32)
        total = np.zeros(len(asked), np.float32)
        for row, question in enumerate(asked):
            distinct = set(ranking_text.terms(question))
            known = [conversation.terms[term] for term in distinct if term in conversation.terms]
            weighted[row, known] = rarity[known]
            unknown = inverse_document_frequency(np.zeros(len(distinct) - len(known)), items)
            total[row] = weighted[row].sum() + unknown.sum()

        mean_length = wholes.term_lengths.mean()

        def term_weights(texts: Texts) -> Floats:
            longer = weights.k1 * (1 - weights.b + weights.b * texts.term_lengths / mean_length)
            counts = texts.counts[:, : len(conversation.terms)]
            matched: Floats = weighted @ (counts * (weights.k1 + 1) / (counts + longer[:, None])).T
            return matched

        share: Floats = np.divide(weighted @ (wholes.counts > 0).T, np.maximum(total, 1e-9)[:, None])
        vectors = np.array([table.embed(table.tokens(question)) for question in asked])
        lexical, cosine = term_weights(wholes), vectors @ wholes.vectors.T
        has_pieces = pieces is not wholes
        names = sorted({name for name in conversation.speakers.tolist() if name})
        is_named = np.zeros((len(asked), items), np.float32)
        for row, question in enumerate(asked):
            spoken = f" {' '.join(ranking_text.plain_words(question))} "
            named = [name for name in names if f" {name} " in spoken]
            if len(named) == 1:
                is_named[row] = conversation.speakers == named[0]
        return cls(
            lexical=lexical,
            lexical_of_piece=conversation.best_piece(term_weights(pieces)) if has_pieces else lexical,
            share=share,
            cosine=cosine,
            cosine_of_piece=conversation.best_piece(vectors @ pieces.vectors.T) if has_pieces else cosine,
            token=conversation.best_piece(token_matches(conversation, asked, weights)),
            is_named=is_named,
            asks_when=np.array([bool(ranking_text.ASKS_WHEN.search(question)) for question in asked], np.float32),
        )

    def scores(self, weights: Weights) -> Floats:
        """The scores that users see."""
        cosine, share, token = weights.score_parts
        scores: Floats = (
            cosine * np.maximum(0, np.maximum(self.cosine, self.cosine_of_piece))
            + share * self.share
            + token * self.token
        )
        return scores


def token_matches(conversation: Conversation, asked: list[str], weights: Weights) -> Floats:
    """The token match of each question with each piece, from 0 to 1."""
    table = ranking_text.static_table()
    wholes, pieces = conversation.wholes, conversation.pieces
    matches = np.zeros((len(asked), len(pieces.counts)), np.float32)
    for row, question in enumerate(asked):
        tokens = np.array(table.query_tokens(question), np.intp)
        importance = inverse_document_frequency(wholes.token_items[tokens], len(wholes.counts)) * table.lengths[tokens]
        heaviest = np.argsort(-importance, kind="stable")[: weights.query_tokens]
        tokens, importance = tokens[heaviest], importance[heaviest]
        if not len(tokens):
            continue
        cosines = table.units[tokens] @ table.units[pieces.distinct_tokens].T
        similar = np.maximum(0, (cosines - weights.cosine_floor) / (1 - weights.cosine_floor))
        best = np.maximum.reduceat(similar[:, pieces.token_places], pieces.token_starts, axis=1)
        matches[row] = importance @ best / importance.sum()
    return matches


def scaled(values: Floats, low: Floats | float) -> Floats:
    """Each row's values in the range from `low` to its highest, from 0 to 1."""
    places: Floats = (values - low) / np.maximum(values.max(axis=1, keepdims=True) - low, 1e-9)
    return places


def rank(conversation: Conversation, signals: Signals, weights: Weights) -> Floats:
    """The value that orders the turns, for each question (row) and turn (column)."""
    piece = weights.piece_share
    vector = (1 - piece) * signals.cosine + piece * signals.cosine_of_piece
    lexical = scaled((1 - piece) * signals.lexical + piece * signals.lexical_of_piece, 0.0)
    vector = scaled(vector, vector.min(axis=1, keepdims=True))
    value = weights.lexical_share * lexical + (1 - weights.lexical_share) * vector

    candidates = best_first(value)[:, : weights.candidates]
    raw = np.take_along_axis(signals.token, candidates, axis=1)
    best = raw.max(axis=1, keepdims=True)
    above = np.maximum(0, (raw - weights.token_floor * best) / np.maximum(best - weights.token_floor * best, 1e-9))
    token = np.zeros_like(value)
    np.put_along_axis(token, candidates, above.astype(np.float32), axis=1)
    value += weights.token_weight * token

    lengths = np.maximum(conversation.wholes.token_lengths, 1)
    lends = np.sqrt(np.minimum(1, weights.lender_tokens / lengths))
    evidence = (value - value.mean(axis=1, keepdims=True)) * lends
    for number, (earlier, later) in enumerate(conversation.neighbours):
        lent = (weights.first_neighbour, weights.second_neighbour)[number]
        answered = weights.answered_question * conversation.is_asking[earlier] if number == 0 else 0.0
        value[:, later] += evidence[:, earlier] * (lent + answered)
        value[:, earlier] += evidence[:, later] * lent

    mean = value.mean(axis=1, keepdims=True)
    for members in conversation.sessions:
        turns_of_it = value[:, members]
        count = min(weights.session_best, len(members))
        best = np.partition(turns_of_it, len(members) - count, axis=1)[:, len(members) - count :]
        value[:, members] += weights.session_weight * (best.mean(axis=1, keepdims=True) - mean)

    shrinking = np.minimum(1, weights.question_tokens / lengths)
    value += weights.speaker_prior * signals.is_named
    value += weights.first_person_prior * conversation.is_first_person
    value -= weights.question_malus * conversation.question_share * shrinking
    value += weights.when_prior * np.outer(signals.asks_when, conversation.is_temporal)
    return value


def best_first(values: Floats) -> NDArray[np.intp]:
    """The columns of each row, highest value first; of equal ones the newer turn."""
    newest = values.shape[1] - 1
    places: NDArray[np.intp] = newest - np.argsort(-values[:, ::-1], axis=1, kind="stable")
    return places
