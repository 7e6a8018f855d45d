"""The clients of language models and embeddings, against servers that hold them to the vendors' own SDKs' types."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import umi
from model_servers import (
    MALFORMED,
    Answer,
    AnthropicServer,
    ContextOverflow,
    Cut,
    Failure,
    Hang,
    OpenAIServer,
    Raw,
    fenced,
    hashed_vector,
)
from umi import (
    AnthropicProvider,
    AuthenticationError,
    CallableProvider,
    Completion,
    CompletionRequest,
    ContextOverflowError,
    EmbeddingError,
    InvalidInputError,
    InvalidResponseError,
    LanguageModelProvider,
    Memory,
    OpenAIEmbeddingProvider,
    OpenAIProvider,
    ProviderError,
    ProviderTimeoutError,
    RateLimitError,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from model_servers import ModelServer

SCHEMA = {
    "type": "object",
    "properties": {"facts": {"type": "array", "items": {"type": "string"}}},
    "required": ["facts"],
    "additionalProperties": False,
}
FACTS = {"facts": ["Zoë wohnt in Köln"]}
ASKED = CompletionRequest("Ich wohne in Köln.", system="Find the facts.", schema=SCHEMA, schema_name="facts")
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(20)
SERVERS: list[Any] = [AnthropicServer, OpenAIServer]


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def client(server: ModelServer, **settings: Any) -> LanguageModelProvider:
    """Make the client of a server that never waits between two tries, because it makes no second one."""
    kind = AnthropicProvider if isinstance(server, AnthropicServer) else OpenAIProvider
    settings = {"api_key": server.api_key, "base_url": server.base_url, "max_retries": 0, **settings}
    return kind(settings.pop("api_key"), **settings)


def embedder(server: ModelServer, **settings: Any) -> OpenAIEmbeddingProvider:
    settings = {"base_url": server.base_url, "max_retries": 0, **settings}
    return OpenAIEmbeddingProvider(server.api_key, **settings)


@pytest.mark.parametrize("kind", SERVERS)
def test_an_answer_in_the_form_that_was_asked_for(kind: Callable[..., ModelServer]) -> None:
    with kind([FACTS]) as server:
        completion = client(server).complete_sync(ASKED)
    assert completion.json() == FACTS
    assert not completion.is_cut
    assert completion.request_id
    assert completion.usage.requests == 1
    assert completion.usage.input_tokens > 0
    (request,) = server.requests
    assert (request.schema_name, request.data) == ("facts", "Ich wohne in Köln.")


@pytest.mark.parametrize("kind", SERVERS)
async def test_words_and_pictures(kind: Callable[..., ModelServer]) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [{"media_type": "image/png", "data": PICTURE}, "What is it?"]},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "Sure?"},
    ]
    request = CompletionRequest(messages, max_tokens=7)
    assert (request.prompt, request.schema, request.schema_name, request.max_tokens) == ("Sure?", None, None, 7)
    assert request.messages[0]["content"][0] == {"media_type": "image/png", "data": PICTURE}
    with kind(["Yes.", Answer("Yes, it is.", is_cut=True)]) as server:
        assert (await client(server).complete(request)).text == "Yes."
        cut = await client(server).complete("Really?")
        assert "Yes, it is.".startswith(cut.text)
        assert cut.is_cut
    assert base64.b64encode(PICTURE).decode() in json.dumps(server.requests[0].body)


FAULTS: list[tuple[str, Any, type[ProviderError], int | None, bool]] = [
    ("a rate limit", Failure(429, retry_after=3600), RateLimitError, 429, True),
    ("a failure of the server", Failure(500), ProviderError, 500, True),
    ("a connection cut within a body", Cut(FACTS), ProviderError, 200, True),
    ("a connection cut before the head", Cut(FACTS, share=None), ProviderError, None, True),
    ("malformed JSON", MALFORMED, InvalidResponseError, 200, False),
    ("another form", Raw(b"[]"), InvalidResponseError, 200, False),
    ("no words", Answer(""), InvalidResponseError, 200, False),
    ("too long a context", ContextOverflow(), ContextOverflowError, 400, False),
    ("a page", Raw(b"<html>Bad Gateway</html>", status=502, content_type="text/html"), ProviderError, 502, True),
]


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize(("fault", "error", "status", "is_retryable"), [fault[1:] for fault in FAULTS],
                         ids=[fault[0] for fault in FAULTS])  # fmt: skip
def test_faults_are_typed_errors(
    kind: Callable[..., ModelServer], fault: Any, error: type[ProviderError], status: int | None, is_retryable: bool
) -> None:
    with kind([fault]) as server, pytest.raises(error) as caught:
        client(server).complete_sync(ASKED)
    assert type(caught.value) is error
    assert (caught.value.status, caught.value.is_retryable) == (status, is_retryable)
    assert caught.value.provider == ("anthropic" if kind is AnthropicServer else "openai")
    if status is not None:
        assert caught.value.request_id
    if error is RateLimitError:
        assert caught.value.retry_after == 3600
    assert pickle.loads(pickle.dumps(caught.value)).status == status


@pytest.mark.parametrize("kind", SERVERS)
def test_what_passes_is_tried_again(kind: Callable[..., ModelServer]) -> None:
    with kind([Failure(429, retry_after=0), Cut(FACTS), FACTS]) as server:
        completion = client(server, max_retries=2).complete_sync(ASKED)
    assert (completion.json(), completion.usage.requests) == (FACTS, 3)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_hangs_is_given_up(kind: Callable[..., ModelServer]) -> None:
    with kind([Hang()]) as server:
        with pytest.raises(ProviderTimeoutError, match="did not answer in time: `timeout` is 200ms") as caught:
            client(server, timeout=0.2).complete_sync("Hello?")
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.hint == "try again later, or raise `timeout`"


@pytest.mark.parametrize("kind", SERVERS)
async def test_cancelling_ends_the_request(kind: Callable[..., ModelServer]) -> None:
    with kind([Hang(), "Hello."]) as server:
        provider = client(server, max_concurrency=1)
        call = asyncio.ensure_future(provider.complete("Hello?").start())
        await asyncio.to_thread(server.wait_for, requests=1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.to_thread(server.wait_for, departed=1)
        assert (await provider.complete("Hello?")).text == "Hello."


@pytest.mark.parametrize("kind", SERVERS)
def test_no_more_requests_at_once_than_allowed(kind: Callable[..., ModelServer]) -> None:
    hang = Hang("Hello.")
    with kind(lambda _: hang) as server, ThreadPoolExecutor(9) as threads:
        provider = client(server, max_concurrency=3)
        calls = [threads.submit(provider.complete_sync, "Hello?") for _ in range(9)]
        server.wait_for(concurrent=3)
        hang.release()
        assert [call.result().text for call in calls] == ["Hello."] * 9
        assert server.most_concurrent == 3


@pytest.mark.parametrize("kind", SERVERS)
def test_a_wrong_key_is_told_and_never_shown(
    kind: Callable[..., ModelServer], caplog: pytest.LogCaptureFixture
) -> None:
    secret = "sk-secret-0123456789"
    caplog.set_level(logging.DEBUG)
    with kind([FACTS]) as server:
        provider = client(server, api_key=secret, max_retries=2)
        with pytest.raises(AuthenticationError) as caught:
            provider.complete_sync(ASKED)
        server.problems.clear()
    assert caught.value.status == 401
    told = [repr(provider), str(caught.value), repr(caught.value), repr(vars(caught.value)), caplog.text]
    assert all(secret not in text for text in told)


def test_a_server_without_json_schemas_is_asked_for_an_object() -> None:
    with OpenAIServer([FACTS, FACTS], takes_json_schema=False) as server:
        provider = client(server)
        assert provider.complete_sync(ASKED).usage.requests == 2
        assert provider.complete_sync(ASKED).usage.requests == 1
        server.problems.clear()
    assert server.received == 3


def test_an_answer_in_a_fence_is_given_as_it_is() -> None:
    with OpenAIServer([fenced(FACTS)]) as server:
        assert "```json" in client(server).complete_sync(ASKED).text


@pytest.mark.parametrize(
    ("make", "variable", "url"),
    [
        (AnthropicProvider, "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
        (OpenAIProvider, "OPENAI_API_KEY", "OPENAI_BASE_URL"),
        (OpenAIEmbeddingProvider, "OPENAI_API_KEY", "OPENAI_BASE_URL"),
    ],
)
def test_the_environment(make: Callable[..., Any], variable: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInputError, match=f"the environment has no `{variable}`"):
        make()
    kind = AnthropicServer if make is AnthropicProvider else OpenAIServer
    with kind(["Hello."]) as server:
        monkeypatch.setenv(variable, server.api_key)
        monkeypatch.setenv(url, server.base_url)
        provider = make()
        monkeypatch.delenv(variable)
        if isinstance(provider, OpenAIEmbeddingProvider):
            assert len(provider.embed_sync(["Hello?"])[0]) == 1536
        else:
            assert provider.complete_sync("Hello?").text == "Hello."


def test_settings_are_checked() -> None:
    for wrong in (
        {"api_key": " "}, {"api_key": "a\nb"}, {"model": ""}, {"base_url": "nowhere"}, {"max_tokens": 0},
        {"timeout": 0}, {"timeout": float("nan")}, {"max_retries": -1}, {"max_retries": 99}, {"max_concurrency": 0},
    ):  # fmt: skip
        settings: dict[str, Any] = {"api_key": "key", **wrong}
        for kind in (AnthropicProvider, OpenAIProvider):
            with pytest.raises(InvalidInputError):
                kind(**settings)
    for wrong in ({"dimensions": 0}, {"batch_size": 0}, {"batch_size": 9999}, {"model": "unknown"}):
        with pytest.raises(InvalidInputError):
            OpenAIEmbeddingProvider("key", **wrong)
    assert AnthropicProvider("key").name == f"anthropic:{umi._umi.ANTHROPIC_MODEL}"
    assert OpenAIProvider("key", model="m").name == "openai:m"
    shown = repr(OpenAIProvider("key", base_url="http://user:secret@host/v1?key=secret"))
    assert shown == f"OpenAIProvider(model='{umi._umi.OPENAI_MODEL}', base_url='http://host/v1')"
    with pytest.raises(TypeError):
        AnthropicProvider("key").complete_sync(7)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        CompletionRequest([{"role": "assistant", "content": "Hello."}])
    with pytest.raises(InvalidInputError):
        CompletionRequest("Hello?", schema_name="facts")


@pytest.mark.parametrize("name", ["", "the facts", "fäcts", "facts\n", "x" * 65])
def test_a_schema_has_a_name_that_the_vendors_take(name: str) -> None:
    with pytest.raises(InvalidInputError, match="the name of the answer's schema is `"):
        CompletionRequest("Hello?", schema=SCHEMA, schema_name=name)
    assert CompletionRequest("Hello?", schema=SCHEMA, schema_name="Facts_of-2026").schema_name == "Facts_of-2026"


def test_nothing_is_not_asked() -> None:
    with AnthropicServer() as server:
        for provider in (client(server), CallableProvider(lambda _: "Hello."), umi.SimLLMProvider()):
            for text in ("", " \n"):
                with pytest.raises(InvalidInputError, match="the message of a request is empty"):
                    provider.complete_sync(text)
    said: dict[str, Any] = {"role": "user", "content": "Hello?"}
    silent: list[Any] = [
        "", [], [said, {"role": "assistant", "content": " "}, said], [{"role": "user", "content": []}],
        [{"role": "user", "content": [{"media_type": "image/png", "data": b""}]}],
    ]  # fmt: skip
    for messages in silent:
        with pytest.raises(InvalidInputError):
            CompletionRequest(messages)


@pytest.mark.parametrize("kind", SERVERS)
def test_what_is_no_answer_is_asked_for_once_more(kind: Callable[..., ModelServer]) -> None:
    fact = {"turn": 1, "type": "person", "name": "Ana", "attribute": None, "content": "Ana likes tea",
            "confidence": 0.9, "event_time": "0000-01-01"}  # fmt: skip
    for bad in (Answer(""), {"facts": None}, {"error": "overloaded"}, MALFORMED):
        with kind([bad, {"facts": [fact]}]) as server, Memory.in_memory(llm=client(server)) as memory:
            result = memory.remember_sync("Ana likes tea.")
            (entity,) = result.entities
            assert (entity.content, entity.event_time, memory.pending_sync()) == ("Ana likes tea", None, [])
            (warning,) = result.warnings
            assert "`0000-01-01`, no date of the years 1 to 9999" in str(warning.error)
            first, second = server.requests
            assert first.data == second.data
            assert "An earlier answer to this message could not be used" in (second.system or "")
        with kind([bad, bad]) as server, Memory.in_memory(llm=client(server)) as memory:
            result = memory.remember_sync("Ana likes tea.")
            assert [type(warning.error) for warning in result.warnings] == [InvalidResponseError]
            assert (len(memory.pending_sync()), len(server.requests)) == (1, 2)
    with kind([{"facts": []}]) as server, Memory.in_memory(llm=client(server)) as memory:
        assert memory.remember_sync("Hello!").warnings == []


def test_a_service_that_says_a_short_key_back() -> None:
    secret = "hunter2-hunter2"
    for echo in (secret, "hunt****er2", secret.upper()):
        with OpenAIServer([Failure(400, message=f"the key {echo} is wrong")], api_key=secret) as server:
            with pytest.raises(ProviderError, match="holds a part of the API key") as caught:
                client(server).complete_sync(ASKED)
            assert "hunt" not in repr(caught.value).lower()


def test_a_plain_function_is_a_model() -> None:
    seen: list[CompletionRequest] = []
    threads: list[int] = []

    def answer(request: CompletionRequest) -> dict[str, Any]:
        seen.append(request)
        threads.append(threading.get_ident())
        return FACTS

    provider = CallableProvider(answer, name="mine")
    completion = provider.complete_sync(ASKED)
    assert completion.json() == FACTS
    assert completion.usage == Usage(requests=1)
    assert seen == [ASKED]
    assert (seen[0].system, seen[0].schema, seen[0].schema_name) == ("Find the facts.", SCHEMA, "facts")
    assert threads != [threading.get_ident()]
    assert (provider.name, repr(provider)) == ("mine", "CallableProvider(name='mine')")


def test_no_more_calls_of_a_function_at_once_than_allowed() -> None:
    running, most, lock, full = 0, 0, threading.Lock(), threading.Event()

    def answer(_: CompletionRequest) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == 3:
                full.set()
        assert full.wait(20)
        with lock:
            running -= 1
        return "Hello."

    provider = CallableProvider(answer, max_concurrency=3)
    with ThreadPoolExecutor(9) as threads:
        calls = [threads.submit(provider.complete_sync, "Hello?") for _ in range(9)]
        assert [call.result().text for call in calls] == ["Hello."] * 9
    assert most == 3
    for wrong in (0, -1, 1025):
        with pytest.raises(InvalidInputError):
            CallableProvider(answer, max_concurrency=wrong)


async def test_an_async_function_is_a_model_on_the_loop_of_the_caller() -> None:
    async def answer(request: CompletionRequest) -> Completion:
        assert asyncio.get_running_loop() is loop
        await asyncio.sleep(0)
        return Completion(request.prompt.upper(), input_tokens=3, output_tokens=4)

    loop = asyncio.get_running_loop()
    completion = await CallableProvider(answer).complete("hello")
    assert (completion.text, completion.usage) == ("HELLO", Usage(3, 4, 1))


def test_a_function_that_fails_is_the_cause() -> None:
    def fail(_: CompletionRequest) -> str:
        raise LookupError("sk-secret")

    with pytest.raises(ProviderError, match="raised `LookupError`") as caught:
        CallableProvider(fail).complete_sync("hello")
    assert isinstance(caught.value.__cause__, LookupError)
    assert "sk-secret" not in str(caught.value)
    wrong: Any = lambda _: 7  # noqa: E731
    with pytest.raises(InvalidResponseError, match="gave no answer") as caught:
        CallableProvider(wrong).complete_sync("hello")
    assert isinstance(caught.value.__cause__, TypeError)
    with pytest.raises(TypeError, match="not callable"):
        CallableProvider(7)  # type: ignore[arg-type]


def test_vectors_come_in_the_order_of_their_texts() -> None:
    with OpenAIServer(reorders_embeddings=True) as server:
        provider = embedder(server, batch_size=2, dimensions=16)
        texts = ["one", "", "two", "  ", "three", "four", "five"]
        vectors = provider.embed_sync(texts)
        for text, vector in zip(texts, vectors, strict=True):
            expected = hashed_vector(text, 16) if text.strip() else [0.0] * 16
            assert vector == pytest.approx(expected, abs=1e-6)
    assert server.received == 3


def test_embeddings_fail_with_typed_errors() -> None:
    with OpenAIServer(embedding_script=[Failure(429, retry_after=3600), MALFORMED, Cut({})]) as server:
        provider = embedder(server)
        with pytest.raises(RateLimitError):
            provider.embed_sync(["a"])
        with pytest.raises(InvalidResponseError):
            provider.embed_sync(["a"])
        with pytest.raises(ProviderError):
            provider.embed_sync(["a"])
    with OpenAIServer() as server:
        with pytest.raises(EmbeddingError, match="gave 1536 dimensions instead of 7"):
            embedder(server, model="text-embedding-ada-002", dimensions=7).embed_sync(["a"])
        assert server.problems == ["400: This model does not support specifying dimensions."]
        server.problems.clear()


def test_a_memory_embeds_remotely_and_each_text_once(tmp_path: Path) -> None:
    with OpenAIServer() as server:
        with Memory.open(tmp_path, embedder=embedder(server, dimensions=32)) as memory:
            assert memory.remember_sync("The kiln came from Utrecht.").warnings == []
            for _ in range(3):
                assert memory.recall_sync("Where is the kiln from?").warnings == []
            asked = server.received
            assert asked <= 3
            memory.recall_sync("Where is the kiln from?")
            assert server.received == asked
        server.close()
        with Memory.open(tmp_path, embedder=embedder(server, dimensions=32, timeout=5.0)) as memory:
            results = memory.recall_sync("Where is the kiln from?")
            assert results[0].content == "The kiln came from Utrecht."
            assert [type(warning.error) for warning in results.warnings] == [ProviderError]
            result = memory.remember_sync("It weighs a ton.")
            assert isinstance(result.warnings[0].error, ProviderError)
            assert len(memory.pending_sync()) == 1


def test_providers_can_be_dropped_at_any_time() -> None:
    with AnthropicServer(["Hello."]) as server:
        client(server).complete_sync("Hello?")
        gc.collect()
