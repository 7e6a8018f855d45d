"""What the ranking reads of a text, modelled after `umi-core/src/index/analysis`, and the bundled table of vectors.

Word lists and numbers are read from the Rust sources and the table from its asset, so that there is one copy of each.
"""

# Marks of other scripts look like those of English.
# ruff: noqa: RUF001

import json
import re
import struct
import sys
import unicodedata
from calendar import month_name
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import snowballstemmer  # type: ignore[import-untyped]
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

Floats = NDArray[np.float32]

CORE = Path(__file__).resolve().parent.parent / "umi-core"
ANALYSIS = CORE / "src" / "index" / "analysis"


def constants(file: Path) -> dict[str, Any]:
    """Read the top-level constants of a Rust file that are numbers, strings, or lists of them."""
    found: dict[str, Any] = {}
    for name, value in re.findall(
        r"^(?:pub(?:\(\w+\))? )?const (\w+): [^=]+ = &?([^;]+);", file.read_text(encoding="utf-8"), re.MULTILINE
    ):
        plain = value if '"' in value else value.replace("_", "")
        try:
            found[name] = json.loads(re.sub(r",\s*\]$", "]", plain))
        except json.JSONDecodeError:
            continue
    return found


def constant(file: Path, name: str) -> Any:
    """Read one constant of a Rust file."""
    found = constants(file)
    if name not in found:
        sys.exit(f"{file} no longer has the constant {name}: bring bench/ranking_text.py up to it")
    return found[name]


STOP_WORDS = frozenset(constant(ANALYSIS / "words.rs", "STOP_WORDS"))
TIME_WORDS = "|".join(constant(ANALYSIS / "features.rs", "TIME_WORDS"))
PIECE_UNITS: int = constant(ANALYSIS / "sentences.rs", "PIECE_UNITS")
WHOLE_UNITS: int = constant(ANALYSIS / "sentences.rs", "WHOLE_UNITS")

MARKS = "".join(chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code))[0] == "M")
WORD_CHARACTERS = rf"(?:[^\W_]|[{MARKS}])+"
WORD = re.compile(rf"{WORD_CHARACTERS}(?:['’]{WORD_CHARACTERS})*")
# By blocks, where the engine looks at each character's script.
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U000323af]+"
)
FOLDED = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "ı": "i", "þ": "th"})
ISO_DATE = re.compile(r"\b(\d{4})-(\d\d)-(\d\d)\b")
NOTE = re.compile(r"\s*\[[^\[\]]*\]\s*$")
ASKS_WHEN = re.compile(r"\b(?:when|how long|(?:what|which) (?:date|day|month|year|time|week))\b", re.IGNORECASE)
TEMPORAL = re.compile(rf"\b(?:{TIME_WORDS}|(?:19|20)\d\d)s?\b", re.IGNORECASE)
FIRST_PERSON = re.compile(r"\b(?:i|my|me|we|our|mine|us)\b", re.IGNORECASE)
SENTENCE = re.compile(r"""\n|[.!?。！？؟।][.!?。！？؟।"'”’)»\]]*""")
STEMMER = snowballstemmer.stemmer("english")


def head(name: str, at: datetime) -> str:
    """What is indexed before a turn's text: who said it, and when."""
    half = "am" if at.hour < 12 else "pm"
    return f"{name} ({at.hour % 12 or 12}:{at.minute:02} {half} on {at.day} {month_name[at.month]}, {at.year}): "


def query_text(question: str) -> str:
    """The question with ISO dates in the words that the index holds."""

    def in_words(date: re.Match[str]) -> str:
        year, month, day = date.groups()
        return f"{int(day)} {month_name[int(month)]}, {year}" if 1 <= int(month) <= 12 else date[0]

    return ISO_DATE.sub(in_words, question)


def words(text: str) -> list[str]:
    """The words of a text in lower case."""
    return WORD.findall(unicodedata.normalize("NFKC", text).lower())


def plain_words(text: str) -> list[str]:
    """The words of a text in lower case, a possessive `'s` cut: where a speaker's name is looked for."""
    return [re.sub("['’]s$", "", word) for word in words(text)]


def terms(text: str) -> list[str]:
    """The terms of a text for BM25, in its order."""
    found: list[str] = []
    for word in words(text):
        if re.sub("['’]", "", word) in STOP_WORDS:
            continue
        term = re.sub("['’]", "", re.sub("['’]s$", "", word))
        if not term or term in STOP_WORDS:
            continue
        if UNSPACED.search(term) and not term.isascii():
            for run in filter(None, re.split(f"({UNSPACED.pattern})", term)):
                pairs = [run[index : index + 2] for index in range(len(run) - 1)] if UNSPACED.match(run) else []
                found += pairs or [run]
        else:
            term = without_accents(term)
            found.append(STEMMER.stemWord(term) if term.isascii() else term)
    return found


def without_accents(word: str) -> str:
    """Latin letters without their accents; other scripts as they are."""
    if word.isascii():
        return word
    kept: list[str] = []
    after_latin = False
    for character in unicodedata.normalize("NFD", word):
        if unicodedata.category(character)[0] == "M" and after_latin:
            continue
        after_latin = unicodedata.name(character, "").startswith("LATIN")
        kept.append(character)
    return unicodedata.normalize("NFC", "".join(kept).translate(FOLDED))


def sentences(text: str) -> list[str]:
    """The sentences of a text, trimmed, without empty ones."""
    found: list[str] = []
    start = 0
    for mark in SENTENCE.finditer(text):
        follows_space = mark.end() == len(text) or text[mark.end()].isspace()
        if mark[0] == "\n" or follows_space or mark[0][0] in "。！？":
            found.append(text[start : mark.end()])
            start = mark.end()
    found.append(text[start:])
    return [sentence.strip() for sentence in found if sentence.strip()]


def units(text: str) -> int:
    """The length of a text: words at white space, and two characters of an unspaced script for one."""
    return len(text.split()) + len("".join(UNSPACED.findall(text))) // 2


def pieces(text: str) -> list[str]:
    """The parts of a long text, packed from whole sentences; a short text is its own only one."""
    if units(text) <= WHOLE_UNITS:
        return [text]
    packed: list[str] = []
    current: list[str] = []
    length = 0
    for sentence in sentences(text):
        parts = [sentence]
        split = sentence.split()
        if len(split) > PIECE_UNITS and units(sentence) > 2 * PIECE_UNITS:
            parts = [" ".join(split[at : at + PIECE_UNITS]) for at in range(0, len(split), PIECE_UNITS)]
        for part in parts:
            more = units(part)
            if current and length + more > PIECE_UNITS:
                packed.append(" ".join(current))
                current, length = [], 0
            current.append(part)
            length += more
    packed.append(" ".join(current))
    return packed if len(packed) > 1 else [text]


def ends_asking(sentence: str) -> bool:
    """Whether a sentence, or the last one of a text, is a question."""
    return sentence.rstrip("\"'”’)»] .!").endswith(("?", "？", "؟"))


def question_share(body: str) -> float:
    """The share of a text's characters that are in questions."""
    found = sentences(body)
    total = sum(map(len, found))
    return sum(len(sentence) for sentence in found if ends_asking(sentence)) / total if total else 0.0


class StaticTable:
    """The bundled table, read from the asset that `umi-core/assets/make_static_table.py` describes.

    Attributes:
        rows: A vector for each token.
        units: The same with length 1.
        lengths: The length of each row.
    """

    def __init__(self, asset: bytes) -> None:
        header = struct.Struct("<8sIIIIQ")
        magic, version, count, dimensions, vocabulary_bytes, _ = header.unpack_from(asset)
        if (magic, version) != (b"UMISTATT", 1):
            sys.exit("the asset is of another version: bring bench/ranking_text.py up to make_static_table.py")
        scales, unit_scales = np.frombuffer(asset, "<f4", 2 * count, header.size).reshape(2, count, 1)
        values = np.frombuffer(asset, np.int8, count * dimensions, header.size + 8 * count).reshape(count, dimensions)
        self.rows: Floats = values * scales
        self.units: Floats = values * unit_scales
        self.lengths: Floats = np.linalg.norm(self.rows, axis=1)
        vocabulary: dict[str, int] = {}
        at = len(asset) - vocabulary_bytes
        while at < len(asset):
            end = at + 1 + asset[at]
            vocabulary[asset[at + 1 : end].decode()] = len(vocabulary)
            at = end
        self._tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))  # noqa: S106
        self._tokenizer.normalizer = BertNormalizer()
        self._tokenizer.pre_tokenizer = BertPreTokenizer()
        single = [ids for word in STOP_WORDS if len(ids := self.tokens(word)) == 1]
        self._meaningless = {vocabulary["[UNK]"]}.union(*single)

    def tokens(self, text: str) -> list[int]:
        """The ids of a text's tokens, without special ones."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def query_tokens(self, question: str) -> list[int]:
        """The distinct tokens of a question, in its order, without stop words, punctuation and unknown words."""
        ids = self.tokens(" ".join(re.findall(WORD_CHARACTERS, question)))
        return [token for token in dict.fromkeys(ids) if token not in self._meaningless]

    def embed(self, tokens: list[int]) -> Floats:
        """The unit vector of a text of these tokens, kept in int8 as the index keeps it."""
        if not tokens:
            return np.zeros(self.rows.shape[1], np.float32)
        mean = self.rows[tokens].mean(axis=0)
        mean /= max(float(np.linalg.norm(mean)), 1e-9)
        step = max(float(np.abs(mean).max()) / 127, 1e-9)
        vector: Floats = np.round(mean / step) * np.float32(step)
        return vector


@cache
def static_table() -> StaticTable:
    """The table of this repository, read on first use."""
    return StaticTable((CORE / "assets" / "static_table.bin").read_bytes())
