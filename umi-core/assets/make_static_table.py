"""Make the bundled embedding table from the folder that holds its source files.

    python make_static_table.py FOLDER

FOLDER holds `static_minilm_wordnet_256.npz` and `tokenizer.json`. Two files are written beside this script: the asset
that the crate compiles in, and the fixtures that its tests compare with, computed by the `tokenizers` package and from
the source table. Needs numpy, tokenizers and xxhash.

The asset, little endian:

    8 bytes   magic "UMISTATT"
    u32       version, 1
    u32       rows
    u32       dimensions
    u32       bytes of the vocabulary
    u64       digest: XXH3-64 of all that follows
    f32       per row: the scale; a row's vector is its int8 values times the scale
    f32       per row: the scale divided by the vector's length, which makes the row a unit vector
    int8      rows x dimensions
    u8, ...   the vocabulary: per row its length in bytes and its UTF-8
"""

# The texts are odd characters on purpose; the chance is seeded and guards no secret.
# ruff: noqa: RUF001, S311

import json
import random
import struct
import sys
from pathlib import Path

import numpy as np
import xxhash
from tokenizers import Tokenizer

FULL = "Ada moved to Lisbon in March 2021 and works at a bakery."  # the text whose whole vector is compared
TEXTS = [
    "",
    "   \n\t ",
    FULL,
    "Don't forget: my sister's birthday is on 3 May, at 6:30 pm!",
    "Élodie mange une crème brûlée à l'hôtel; naïve coöperation, Ångström, İstanbul",
    "Tomorrow 我们 meet at 東京駅, then カフェ and 한국어 lessons",
    "豈 and 金 are written twice here",
    "Party 🎉🎉 tonight 👩‍👩‍👧 see you 😀",
    "unbelievably antidisestablishmentarianism electroencephalographically",
    "a" * 100 + " " + "b" * 101,
    "x\u200by\u00adz \u0000nul\ufffd and\x0bline\x0cfeed\x85next",
    "“curly” — dash… ‘quotes’ ½ ² № ™ €20 £5 ¥100 $3.50",
    "[CLS] hello [SEP] [MASK] ##ing [UNK]",
    "Привет, как дела? Γειά σου; ÀÈÌ \u1e9b\u0323 \u0958 שָׁלוֹם السَّلَام สวัสดี",
    "e-mail: someone@example.com, see https://example.com/a_b?c=d#e",
    "1234567890 3,141.59 0x1F 10^6 50% #1",
    "a\u0301\u0323\u0327 \u1ea5 \u2260 \u212b \u037e \u2126 \u1fef",
    "ǅungla ﬁne ﬂight ＦＵＬＬ　ＷＩＤＴＨ ß ẞ ſtraße",
]


def random_texts(count: int) -> list[str]:
    """Gives texts of characters from all over Unicode, the same on every run."""
    chance = random.Random(7)
    ranges = [(32, 126), (32, 126), (0, 0x2FF), (0x300, 0x52F), (0x900, 0x1FFF), (0x2000, 0x33FF), (0x3400, 0xD7FF)]
    ranges += [(0xE000, 0xFFFF), (0x10000, 0x1FFFF), (0x20000, 0x323AF), (0xE0000, 0x10FFFF)]

    def text() -> str:
        mixed = [*chance.sample(ranges, chance.randint(1, 3)), (32, 32)]
        return "".join(chr(chance.randint(*chance.choice(mixed))) for _ in range(chance.randint(1, 40)))

    return [text() for _ in range(count)]


def main(folder: Path) -> None:
    """Writes the asset and its fixtures."""
    here = Path(__file__).parent
    source = np.load(folder / "static_minilm_wordnet_256.npz")
    rows, scales = source["table_i8"], source["row_scale"].astype(np.float32)
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    if rows.dtype != np.int8 or sorted(vocabulary.values()) != list(range(len(rows))):
        sys.exit("the table is not int8, or the vocabulary does not number its rows")

    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    unit_scales = np.where(lengths > 0, 1 / np.maximum(lengths, 1e-12), 0).astype(np.float32)
    encoded = [piece.encode() for piece in pieces]
    words = b"".join(bytes([len(piece)]) + piece for piece in encoded)
    body = scales.astype("<f4").tobytes() + unit_scales.astype("<f4").tobytes() + rows.tobytes() + words
    header = struct.pack("<8sIIIIQ", b"UMISTATT", 1, *rows.shape, len(words), xxhash.xxh3_64_intdigest(body))
    (here / "static_table.bin").write_bytes(header + body)

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # what users write is text, "[SEP]" too

    def fixture(text: str, dimensions: int) -> dict[str, object]:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        vector = (rows[ids].astype(np.float64) * scales[ids, None]).mean(axis=0) if ids else np.zeros(rows.shape[1])
        length = np.linalg.norm(vector)
        vector = vector / length if length > 0 else vector
        return {"text": text, "ids": ids, "vector": [round(float(value), 8) for value in vector[:dimensions]]}

    fixtures = [fixture(text, rows.shape[1] if text == FULL else 8) for text in TEXTS]
    fixtures += [fixture(text, 4) for text in random_texts(100)]
    lines = ",\n".join(json.dumps(fixture) for fixture in fixtures)
    (here / "static_table_fixtures.json").write_text(f"[\n{lines}\n]\n", encoding="ascii")


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
