"""A language model takes facts from what is said, a remote embedder makes the vectors, and LanceDB searches.

Run it with ``ANTHROPIC_API_KEY`` and ``OPENAI_API_KEY`` set; it makes a folder `lance_db` where it is started. It needs
the full build (``pip install umi-memory-full``, or ``--features full`` from source) for the store on LanceDB.
"""

import asyncio
import os
from datetime import timedelta

from umi import (
    AnthropicProvider,
    LanceStorageBackend,
    MemoryBuilder,
    MemoryConfig,
    OpenAIEmbeddingProvider,
    RecallOptions,
    RememberOptions,
)


async def main() -> None:
    """Configure, remember, recall."""
    # Configure production memory
    config = MemoryConfig(
        core_memory_bytes=128 * 1024,
        working_memory_bytes=10 * 1024 * 1024,
        working_memory_ttl=timedelta(hours=4),
        recall_limit=50,
    )

    # Create with real providers
    memory = (
        MemoryBuilder()
        .with_llm(AnthropicProvider(os.environ["ANTHROPIC_API_KEY"]))
        .with_embedder(OpenAIEmbeddingProvider(os.environ["OPENAI_API_KEY"]))
        .with_storage(LanceStorageBackend.connect("./lance_db"))
        .with_config(config)
        .build()
    )

    # Remember with options
    result = await memory.remember(
        "Alice is a software engineer at Acme Corp",
        RememberOptions(
            extract_entities=True,
            generate_embeddings=True,
            detect_evolutions=True,
        ),
    )

    print(f"Stored {result.entity_count} entities")
    if result.has_evolutions:
        for evolution in result.evolutions:
            print(f"Evolution: {evolution.type} - {evolution.reason}")
    for warning in result.warnings:  # what a model or an embedder failed with; the words are stored all the same
        print(f"{warning.step} failed and is tried again later: {warning.error}")

    # Recall with options
    results = await memory.recall(
        "Who works at Acme?",
        RecallOptions(limit=10, use_vector_search=True),
    )

    for entity in results:
        print(f"{entity.name}: {entity.content} (confidence: {entity.confidence})")

    await memory.close()


if __name__ == "__main__":
    asyncio.run(main())
