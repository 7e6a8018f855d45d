"""Work that runs by itself behind a language model: how often it is asked, and what closing stops."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from model_servers import Answer, AnthropicServer, Hang, OpenAIServer
from umi import (
    AnthropicProvider,
    CallableProvider,
    Completion,
    CompletionRequest,
    Memory,
    OpenAIProvider,
    ProviderError,
    RememberOptions,
)

if TYPE_CHECKING:
    from pathlib import Path

DURABLE = RememberOptions(wait="durable")
FACT = {
    "turn": 1, "type": "person", "name": "Ana", "attribute": None, "content": "Ana likes tea", "confidence": 0.9,
    "event_time": None,
}  # fmt: skip
FOUND: dict[str, Any] = {"facts": [FACT]}


def model(server: AnthropicServer, api_key: str | None = None) -> AnthropicProvider:
    return AnthropicProvider(api_key or server.api_key, base_url=server.base_url, max_retries=0)


def test_a_wrong_key_costs_one_request_a_text() -> None:
    with AnthropicServer([]) as server:
        with Memory.in_memory(llm=model(server, "wrong-key")) as memory:
            for number in range(20):
                memory.remember_sync(f"text {number}", DURABLE)
                memory.flush_sync()
            assert server.received == 20
            jobs = memory.pending_sync()
            assert len(jobs) == 20
            assert all(job.last_error and job.attempts == 0 for job in jobs)
        server.problems.clear()


def test_closing_stops_the_request_and_the_next_opening_makes_it(tmp_path: Path) -> None:
    with AnthropicServer([Hang(), FOUND]) as server:
        memory = Memory.open(tmp_path, llm=model(server))
        memory.remember_sync("Ana likes tea", DURABLE)
        server.wait_for(requests=1)
        memory.close_sync()
        server.wait_for(departed=1)
        with Memory.open(tmp_path, llm=model(server)) as memory:
            memory.flush_sync()
            assert memory.pending_sync() == []
            assert [fact.content for fact in memory.list_sync()] == ["Ana likes tea"]


@pytest.mark.parametrize("wait", ["extracted", "durable"])
def test_answers_of_no_use_are_counted(wait: Any) -> None:
    def answer(request: CompletionRequest) -> Completion:
        return Completion("I would rather not.", input_tokens=100, output_tokens=5)

    with Memory.in_memory(llm=CallableProvider(answer)) as memory:
        result = memory.remember_sync("Ana likes tea", RememberOptions(wait=wait))
        memory.flush_sync()
        if wait == "extracted":
            assert (result.usage.input_tokens, result.usage.output_tokens, result.usage.requests) == (200, 10, 2)
        assert memory.stats_sync()["usage"]["total"] == {"input_tokens": 200, "output_tokens": 10, "requests": 2}


@pytest.mark.parametrize(("server", "provider"), [(AnthropicServer, AnthropicProvider), (OpenAIServer, OpenAIProvider)])
def test_an_empty_answer_of_a_service_is_counted(server: Any, provider: Any) -> None:
    with server([Answer(""), Answer(json.dumps(FOUND))]) as service:
        model = provider(service.api_key, base_url=service.base_url)
        with Memory.in_memory(llm=model) as memory:
            usage = memory.remember_sync("Ana likes tea").usage
    of_one = Answer("")
    assert usage.requests == 2
    assert (usage.input_tokens, usage.output_tokens) == (2 * of_one.input_tokens, 2 * of_one.output_tokens)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_an_async_function_that_would_end_the_program_ends_its_call(error: BaseException) -> None:
    """The loop that it runs on goes on, for itself and for others."""

    calls: list[CompletionRequest] = []

    async def answer(request: CompletionRequest) -> Completion:
        calls.append(request)
        if len(calls) == 1:
            raise error
        return Completion(json.dumps({"facts": []}))

    with Memory.in_memory(llm=CallableProvider(answer)) as memory:
        result = memory.remember_sync("Ana likes tea")
        (warning,) = result.warnings
        assert isinstance(warning.error, ProviderError)
        assert type(error).__name__ in f"{warning.error} {warning.error.__cause__}"
        assert memory.remember_sync("Bo sings").warnings == []
        assert len(memory.pending_sync()) == 1


def test_an_answer_that_is_cut_is_asked_for_with_half_of_the_turns() -> None:
    shown: list[int] = []

    def answer(request: CompletionRequest) -> Completion:
        shown.append(turns := request.prompt.count("<turn "))
        return Completion(json.dumps(FOUND), is_cut=turns > 1)

    with Memory.in_memory(llm=CallableProvider(answer)) as memory:
        result = memory.remember_sync([{"role": "user", "content": f"tea {number}"} for number in range(3)])
        assert shown == [3, 1, 2, 1, 1]
        assert result.warnings == []
