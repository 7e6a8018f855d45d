"""The local model servers speak as the vendors do: the vendors' own clients understand them."""

from __future__ import annotations

import http.client
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest

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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anthropic.types import ImageBlockParam, Message, TextBlockParam, ToolParam
    from openai.types.chat import ChatCompletion
    from openai.types.chat.completion_create_params import ResponseFormat

    from model_servers import ModelServer, Request

SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"facts": {"type": "array", "items": {"type": "string"}}},
    "required": ["facts"],
    "additionalProperties": False,
}
FACTS = {"facts": ["Zoë wohnt in Köln"]}
TOOL: ToolParam = {"name": "facts", "description": "Note the facts.", "input_schema": SCHEMA}
JSON_SCHEMA: ResponseFormat = {
    "type": "json_schema",
    "json_schema": {"name": "facts", "strict": True, "schema": SCHEMA},
}


@pytest.fixture(scope="module", autouse=True)
def _clients() -> Iterator[None]:
    """Make the clients once, which takes a while, without what the caller's environment says to them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("ANTHROPIC_", "OPENAI_")):
                patch.delenv(name)
        yield
        _claude().close()
        _gpt().close()


@cache
def _claude() -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="test-key", max_retries=0, timeout=30)


@cache
def _gpt() -> openai.OpenAI:
    return openai.OpenAI(api_key="test-key", max_retries=0, timeout=30)


def claude(server: AnthropicServer, key: str = "test-key") -> anthropic.Anthropic:
    return _claude().with_options(base_url=server.base_url, api_key=key)


def gpt(server: OpenAIServer, key: str = "test-key") -> openai.OpenAI:
    return _gpt().with_options(base_url=server.base_url, api_key=key)


def ask_claude(server: AnthropicServer, text: str = "Hello", *, key: str = "test-key", tool: bool = True) -> Message:
    return claude(server, key).messages.create(
        model="claude-test",
        max_tokens=100,
        system="Be brief.",
        messages=[{"role": "user", "content": text}],
        tools=[TOOL] if tool else anthropic.omit,
        tool_choice={"type": "tool", "name": "facts"} if tool else anthropic.omit,
    )


def ask_gpt(
    server: OpenAIServer, text: str = "Hello", *, key: str = "test-key", form: ResponseFormat | None = JSON_SCHEMA
) -> ChatCompletion:
    return gpt(server, key).chat.completions.create(
        model="gpt-test",
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}],
        response_format=form or openai.omit,
    )


def embed(server: OpenAIServer, texts: list[str], **settings: Any) -> list[list[float]]:
    response = gpt(server).embeddings.create(model="text-embedding-3-small", input=texts, **settings)
    return [item.embedding for item in sorted(response.data, key=lambda item: item.index)]


def test_claude_answers_with_the_tool_it_was_forced_to() -> None:
    with AnthropicServer([FACTS]) as server:
        message = ask_claude(server, "Wo wohnt Zoë?")
    (block,) = message.content
    assert block.type == "tool_use"
    assert (block.name, block.input, message.stop_reason) == ("facts", FACTS, "tool_use")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (11, 7)
    assert message._request_id == "req_000001"
    (request,) = server.requests
    assert (request.schema_name, request.schema, request.system) == ("facts", SCHEMA, "Be brief.")
    assert (request.data, request.messages) == ("Wo wohnt Zoë?", (("user", "Wo wohnt Zoë?"),))


def test_gpt_answers_in_the_schema() -> None:
    with OpenAIServer([FACTS]) as server:
        completion = ask_gpt(server, "Wo wohnt Zoë?")
    (choice,) = completion.choices
    assert json.loads(choice.message.content or "") == FACTS
    assert (choice.finish_reason, completion._request_id) == ("stop", "req_000001")
    assert completion.usage
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (11, 7)
    (request,) = server.requests
    assert (request.schema_name, request.schema, request.system) == ("facts", SCHEMA, "Be brief.")
    assert request.messages == (("user", "Wo wohnt Zoë?"),)


def test_free_text_empty_refused_and_cut() -> None:
    with AnthropicServer(["Hello!", "", Answer("", refusal="No."), Answer("1234", is_cut=True)]) as server:
        told = [ask_claude(server, tool=False) for _ in range(4)]
    assert [[block.text for block in message.content if block.type == "text"] for message in told] == [
        ["Hello!"],
        [],
        [],
        ["12"],
    ]
    assert [message.stop_reason for message in told] == ["end_turn", "end_turn", "refusal", "max_tokens"]
    with OpenAIServer(["Hello!", "", Answer("", refusal="No."), Answer("1234", is_cut=True)]) as server_of_gpt:
        choices = [ask_gpt(server_of_gpt, form=None).choices[0] for _ in range(4)]
    assert [choice.message.content for choice in choices] == ["Hello!", "", None, "12"]
    assert choices[2].message.refusal == "No."
    assert [choice.finish_reason for choice in choices] == ["stop", "stop", "stop", "length"]


def test_a_cut_object() -> None:
    cut = Answer({"facts": ["a"], "more": 1}, is_cut=True)
    with AnthropicServer([cut]) as server:
        message = ask_claude(server)
    assert [block.input for block in message.content if block.type == "tool_use"] == [{"facts": ["a"]}]
    assert message.stop_reason == "max_tokens"
    with OpenAIServer([cut]) as server_of_gpt:
        choice = ask_gpt(server_of_gpt).choices[0]
    assert (choice.message.content, choice.finish_reason) == ('{"facts": ["a', "length")


def test_a_fence() -> None:
    with OpenAIServer([fenced(FACTS)]) as server:
        text = ask_gpt(server).choices[0].message.content
    assert text
    assert "```json\n{" in text
    with AnthropicServer([fenced(FACTS)]) as server_of_claude:
        (block,) = ask_claude(server_of_claude).content
    assert block.type == "text"
    assert block.text == text


def test_a_server_without_json_schema() -> None:
    with OpenAIServer([FACTS], takes_json_schema=False) as server:
        with pytest.raises(openai.BadRequestError) as caught:
            ask_gpt(server)
        assert caught.value.param == "response_format"
        answer = ask_gpt(server, "Answer in JSON.", form={"type": "json_object"})
    assert json.loads(answer.choices[0].message.content or "") == FACTS


@pytest.mark.parametrize(
    ("reply", "error", "kind"),
    [
        (Failure(400), anthropic.BadRequestError, "invalid_request_error"),
        (Failure(403), anthropic.PermissionDeniedError, "permission_error"),
        (Failure(404), anthropic.NotFoundError, "not_found_error"),
        (Failure(413), anthropic.RequestTooLargeError, "request_too_large"),
        (ContextOverflow(), anthropic.BadRequestError, "invalid_request_error"),
        (ContextOverflow(413), anthropic.RequestTooLargeError, "request_too_large"),
        (Failure(429), anthropic.RateLimitError, "rate_limit_error"),
        (Failure(500), anthropic.InternalServerError, "api_error"),
        (Failure(529), anthropic.OverloadedError, "overloaded_error"),
    ],
)
def test_failures_of_claude(reply: Failure | ContextOverflow, error: type[anthropic.APIStatusError], kind: str) -> None:
    with AnthropicServer([reply]) as server, pytest.raises(error) as caught:
        ask_claude(server)
    body = caught.value.body
    assert isinstance(body, dict)
    assert (body["type"], body["error"]["type"]) == ("error", kind)
    assert caught.value.request_id == "req_000001"
    if isinstance(reply, ContextOverflow) and reply.status == 400:
        assert body["error"]["message"].startswith("prompt is too long: ")


@pytest.mark.parametrize(
    ("reply", "error", "code"),
    [
        (Failure(400), openai.BadRequestError, None),
        (Failure(404, code="model_not_found"), openai.NotFoundError, "model_not_found"),
        (ContextOverflow(), openai.BadRequestError, "context_length_exceeded"),
        (Failure(429), openai.RateLimitError, "rate_limit_exceeded"),
        (Failure(429, code="insufficient_quota"), openai.RateLimitError, "insufficient_quota"),
        (Failure(500), openai.InternalServerError, None),
        (Failure(503), openai.InternalServerError, None),
    ],
)
def test_failures_of_gpt(
    reply: Failure | ContextOverflow, error: type[openai.APIStatusError], code: str | None
) -> None:
    with OpenAIServer([reply]) as server, pytest.raises(error) as caught:
        ask_gpt(server)
    assert (caught.value.code, caught.value.request_id) == (code, "req_000001")


def test_a_wrong_key() -> None:
    with AnthropicServer() as server, pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"):
        ask_claude(server, key="another")
    with OpenAIServer() as server_of_gpt:
        with pytest.raises(openai.AuthenticationError) as caught:
            ask_gpt(server_of_gpt, key="another")
        assert caught.value.code == "invalid_api_key"
        assert "another" not in str(caught.value)


@pytest.mark.parametrize(
    ("when", "header"),
    [
        (0.5, "0.5"),
        (30, "30"),
        (datetime(2026, 11, 21, 12, tzinfo=UTC), "Sat, 21 Nov 2026 12:00:00 GMT"),
    ],
)
def test_retry_after(when: float | datetime, header: str) -> None:
    with AnthropicServer([Failure(429, retry_after=when)]) as server, pytest.raises(anthropic.RateLimitError) as caught:
        ask_claude(server)
    assert caught.value.response.headers["retry-after"] == header


@pytest.mark.parametrize("share", [None, 0.0, 0.5])
def test_a_connection_that_is_cut(share: float | None) -> None:
    with AnthropicServer([Cut(FACTS, share)]) as server, pytest.raises(anthropic.APIConnectionError):
        ask_claude(server)
    with OpenAIServer([Cut(FACTS, share)]) as server_of_gpt, pytest.raises(openai.APIConnectionError):
        ask_gpt(server_of_gpt)


def test_a_body_that_is_no_json() -> None:
    with OpenAIServer([MALFORMED, Raw(b"<html>", 502, "text/html")]) as server:
        with pytest.raises(json.JSONDecodeError):
            ask_gpt(server)
        with pytest.raises(openai.InternalServerError):
            ask_gpt(server)


def test_a_hang_that_is_released() -> None:
    hang = Hang(FACTS)
    with AnthropicServer(lambda _: hang) as server, ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask_claude, server) for _ in range(3)]
        server.wait_for(concurrent=3)
        assert not any(future.done() for future in asked)
        hang.release()
        assert [future.result().stop_reason for future in asked] == ["tool_use"] * 3
        assert ask_claude(server).stop_reason == "tool_use"  # released for good
    assert (server.most_concurrent, server.concurrent, server.departed) == (3, 0, 0)


def test_a_client_that_leaves() -> None:
    with OpenAIServer([Hang()]) as server:
        client = gpt(server).with_options(timeout=0.05)
        with pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(model="gpt-test", messages=[{"role": "user", "content": "Hello"}])
        server.wait_for(departed=1)


def test_the_end_of_the_server_ends_a_hang() -> None:
    failures: list[Exception] = []

    def ask() -> None:
        try:
            ask_claude(server)
        except anthropic.APIConnectionError as error:
            failures.append(error)

    with AnthropicServer([Hang()]) as server:
        thread = threading.Thread(target=ask)
        thread.start()
        server.wait_for(requests=1, concurrent=1)
    thread.join()
    assert len(failures) == 1


def test_a_script_may_be_a_function() -> None:
    def echo(request: Request) -> str:
        return request.data.upper()

    with OpenAIServer(echo) as server:
        assert ask_gpt(server, "hello", form=None).choices[0].message.content == "HELLO"


def test_an_image() -> None:
    image: ImageBlockParam = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0K"},
    }
    question: TextBlockParam = {"type": "text", "text": "What is it?"}
    with AnthropicServer(["A dot."]) as server:
        claude(server).messages.create(
            model="claude-test", max_tokens=10, messages=[{"role": "user", "content": [image, question]}]
        )
    assert (server.requests[0].images, server.requests[0].data) == (1, "What is it?")


def test_embeddings() -> None:
    with OpenAIServer(embedding_script=[None, Failure(500)], reorders_embeddings=True) as server:
        vectors = embed(server, ["one", "two"], dimensions=4)  # the SDK asks for base64
        assert vectors == [pytest.approx(hashed_vector(text, 4), abs=1e-6) for text in ("one", "two")]
        with pytest.raises(openai.InternalServerError):
            embed(server, ["one"])
        (vector,) = embed(server, ["one"], encoding_format="float")
        assert vector == hashed_vector("one", 1536)
    assert [request.inputs for request in server.requests] == [("one", "two"), ("one",), ("one",)]


def send(server: ModelServer, path: str, body: Any, **headers: str) -> int:
    """Send what no SDK would, with all the right headers but those given."""
    connection = http.client.HTTPConnection("127.0.0.1", int(server.base_url.split(":")[2].split("/")[0]), timeout=20)
    good = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
    good |= {"x-api-key": "test-key"} if isinstance(server, AnthropicServer) else {"authorization": "Bearer test-key"}
    good |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", path, json.dumps(body), {name: value for name, value in good.items() if value})
    status = connection.getresponse().status
    connection.close()
    return status


GOOD_MESSAGE = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
GOOD_COMPLETION = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
LOOSE = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
NOT_ALL_REQUIRED = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}


def in_schema(schema: dict[str, Any], name: str = "facts") -> dict[str, Any]:
    form = {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}
    return GOOD_COMPLETION | {"response_format": form}


def image_of(url: str) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": url}}
    return GOOD_COMPLETION | {"messages": [{"role": "user", "content": [part]}]}


@pytest.mark.parametrize(
    ("make", "path", "body", "headers", "status"),
    [
        (AnthropicServer, "/v1/messages", GOOD_MESSAGE, {"anthropic_version": ""}, 400),
        (AnthropicServer, "/v1/messages", GOOD_MESSAGE, {"x_api_key": ""}, 401),
        (AnthropicServer, "/v1/messages", GOOD_MESSAGE, {"content_type": "text/plain"}, 415),
        (AnthropicServer, "/messages", GOOD_MESSAGE, {}, 404),
        (AnthropicServer, "/v1/messages", GOOD_MESSAGE | {"temprature": 0}, {}, 400),
        (AnthropicServer, "/v1/messages", GOOD_MESSAGE | {"max_tokens": "5"}, {}, 400),
        (AnthropicServer, "/v1/messages", GOOD_MESSAGE | {"max_tokens": 0}, {}, 400),
        (AnthropicServer, "/v1/messages", GOOD_MESSAGE | {"messages": []}, {}, 400),
        (AnthropicServer, "/v1/messages", GOOD_MESSAGE | {"messages": [{"role": "robot", "content": "hi"}]}, {}, 400),
        (AnthropicServer, "/v1/messages", GOOD_MESSAGE | {"messages": [{"role": "user", "content": ""}]}, {}, 400),
        (AnthropicServer, "/v1/messages", GOOD_MESSAGE | {"tool_choice": {"type": "tool", "name": "facts"}}, {}, 400),
        (AnthropicServer, "/v1/messages", {"model": "m"}, {}, 400),
        (OpenAIServer, "/v1/chat/completions", GOOD_COMPLETION, {"authorization": "test-key"}, 401),
        (OpenAIServer, "/chat/completions", GOOD_COMPLETION, {}, 404),
        (OpenAIServer, "/v1/chat/completions", GOOD_COMPLETION | {"system": "Be brief."}, {}, 400),
        (OpenAIServer, "/v1/chat/completions", GOOD_COMPLETION | {"response_format": {"type": "json_object"}}, {}, 400),
        (OpenAIServer, "/v1/chat/completions", in_schema(LOOSE), {}, 400),
        (OpenAIServer, "/v1/chat/completions", in_schema(NOT_ALL_REQUIRED), {}, 400),
        (OpenAIServer, "/v1/chat/completions", in_schema(SCHEMA, name="the facts"), {}, 400),
        (OpenAIServer, "/v1/chat/completions", image_of("data:image/png;base64,%%"), {}, 400),
        (OpenAIServer, "/v1/embeddings", {"model": "m", "input": ["a", ""]}, {}, 400),
        (OpenAIServer, "/v1/embeddings", {"model": "m", "input": []}, {}, 400),
        (OpenAIServer, "/v1/embeddings", {"model": "text-embedding-ada-002", "input": "a", "dimensions": 4}, {}, 400),
    ],
)
def test_what_the_vendor_would_not_take(
    make: Callable[[], ModelServer], path: str, body: dict[str, Any], headers: dict[str, str], status: int
) -> None:
    server = make()
    with pytest.raises(AssertionError, match=f"{status}: "), server:
        assert send(server, path, body, **headers) == status
    assert server.requests == []
    assert len(server.problems) == 1


@pytest.mark.parametrize(
    "headers",
    [{}, {"x_api_key": "", "authorization": "Bearer test-key", "anthropic_version": "2026-10-21"}],
)
def test_both_ways_to_say_the_key(headers: dict[str, str]) -> None:
    with AnthropicServer(["Hello."]) as server:
        assert send(server, "/v1/messages", GOOD_MESSAGE, **headers) == 200


def test_a_script_that_ends_too_early() -> None:
    server = AnthropicServer([])
    with pytest.raises(AssertionError, match="no reply left"), server:
        assert send(server, "/v1/messages", GOOD_MESSAGE) == 500
