"""What the reference document of the bindings wants to run, as it stands there, inside an `async def main`."""

from __future__ import annotations

import asyncio
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

import umi
from model_servers import AnthropicServer, OpenAIServer

if TYPE_CHECKING:
    from pathlib import Path

    from model_servers import Request

FACT = {
    "turn": 1,
    "type": "person",
    "name": "Alice",
    "attribute": "employer",
    "content": "Alice is a software engineer at Acme Corp",
    "confidence": 0.95,
    "event_time": None,
}


def claude(request: Request) -> dict[str, Any]:
    """Take one fact from the sentence, and relate it to nothing."""
    return {"relations": []} if request.schema_name == "relations" else {"facts": [FACT]}


def test_the_full_example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    with AnthropicServer(claude) as anthropic, OpenAIServer() as openai:
        for name, server in (("ANTHROPIC", anthropic), ("OPENAI", openai)):
            monkeypatch.setenv(f"{name}_API_KEY", server.api_key)
            monkeypatch.setenv(f"{name}_BASE_URL", server.base_url)
        names: dict[str, Any] = {}
        exec(f"async def main():\n{textwrap.indent(EXAMPLE, '    ')}    await memory.close()\n", names)
        try:
            asyncio.run(names["main"]())
        except umi.FeatureNotBuiltError as error:
            pytest.skip(f"the light build: {error}")
    told, *recalled = capsys.readouterr().out.splitlines()
    assert told == "Stored 1 entities"
    assert "Alice: Alice is a software engineer at Acme Corp (confidence: 0.95)" in recalled
    assert (tmp_path / "lance_db").is_dir()
    (request,) = anthropic.requests  # there was nothing yet that the fact could relate to
    assert request.schema_name == "facts"
    assert "Alice is a software engineer at Acme Corp" in request.data
    embedded = [text for request in openai.requests for text in request.inputs or ()]
    assert "Who works at Acme?" in embedded


EXAMPLE = """\
from umi import (
    Memory,
    MemoryConfig,
    MemoryBuilder,
    RememberOptions,
    RecallOptions,
    AnthropicProvider,
    OpenAIEmbeddingProvider,
    LanceStorageBackend,
)
import os
from datetime import timedelta

# Configure production memory
config = MemoryConfig(
    core_memory_bytes=128 * 1024,
    working_memory_bytes=10 * 1024 * 1024,
    working_memory_ttl=timedelta(hours=4),
    recall_limit=50,
)

# Create with real providers
memory = MemoryBuilder() \\
    .with_llm(AnthropicProvider(os.environ["ANTHROPIC_API_KEY"])) \\
    .with_embedder(OpenAIEmbeddingProvider(os.environ["OPENAI_API_KEY"])) \\
    .with_storage(LanceStorageBackend.connect("./lance_db")) \\
    .with_config(config) \\
    .build()

# Remember with options
result = await memory.remember(
    "Alice is a software engineer at Acme Corp",
    RememberOptions(
        extract_entities=True,
        generate_embeddings=True,
        detect_evolutions=True,
    )
)

print(f"Stored {result.entity_count} entities")
if result.has_evolutions:
    for evolution in result.evolutions:
        print(f"Evolution: {evolution.type} - {evolution.reason}")

# Recall with options
results = await memory.recall(
    "Who works at Acme?",
    RecallOptions(limit=10, use_vector_search=True)
)

for entity in results:
    print(f"{entity.name}: {entity.content} (confidence: {entity.confidence})")
"""
