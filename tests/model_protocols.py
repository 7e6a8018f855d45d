"""The protocols of `model_servers`: requests are parsed with the vendors' SDKs' types, answers built with theirs."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import anthropic.types as claude
import openai.types as gpt
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from anthropic.types.shared.error_response import ErrorResponse
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.shared.error_object import ErrorObject
from pydantic import TypeAdapter, ValidationError

CREATED = 1_790_000_000  # seconds since 1970 in OpenAI's answers
IDENTIFIER = re.compile(r"[a-zA-Z0-9_-]{1,64}")
ANTHROPIC_VERSIONS = ("2023-06-01", "2026-10-21")  # the first one, and that of the SDK in requirements-dev.txt
MOST_INPUTS = 2048  # of one request for embeddings
MODELS_WITH_DIMENSIONS = "text-embedding-3-"


@dataclass(frozen=True)
class Answer:
    """What the model says: a JSON object, or a text in its place; `is_cut` where it ran into its limit of tokens."""

    value: dict[str, Any] | str
    is_cut: bool = False
    refusal: str | None = None
    input_tokens: int = 11
    output_tokens: int = 7

    @property
    def text(self) -> str:
        """The value as a text, without its second half where it is cut."""
        text = self.value if isinstance(self.value, str) else json.dumps(self.value, ensure_ascii=False)
        return text[: len(text) // 2] if self.is_cut else text


@dataclass(frozen=True)
class Failure:
    """An error as the vendor sends it; a `retry_after` in seconds or as a date."""

    status: int
    message: str = "this is a test"
    retry_after: float | datetime | None = None
    code: str | None = None  # of OpenAI
    param: str | None = None  # of OpenAI

    def headers(self) -> dict[str, str]:
        """Tell when to come again."""
        if self.retry_after is None:
            return {}
        if isinstance(self.retry_after, datetime):
            return {"retry-after": format_datetime(self.retry_after.astimezone(UTC), usegmt=True)}
        return {"retry-after": f"{self.retry_after:g}"}


@dataclass(frozen=True)
class ContextOverflow:
    """The vendor's error for a request that is longer than the model reads: 400 for its tokens, 413 for its bytes."""

    status: int = 400


class RefusedError(Exception):
    """A request that the vendor answers with an error; `is_expected` where a good client may cause it."""

    def __init__(self, failure: Failure, *, is_expected: bool = False) -> None:
        super().__init__(f"{failure.status}: {failure.message}")
        self.failure = failure
        self.is_expected = is_expected


@dataclass(frozen=True)
class Request:
    """A request as it came, and what most tests ask of it."""

    path: str
    headers: Mapping[str, str]  # names in lower case
    body: dict[str, Any]
    schema_name: str | None = None  # of the object that is to be answered
    schema: dict[str, Any] | None = None
    system: str = ""
    messages: tuple[tuple[str, str], ...] = ()  # (role, text), without the system's
    images: int = 0
    inputs: tuple[str, ...] | None = None  # of an embedding

    @property
    def data(self) -> str:
        """The text of the last message."""
        return self.messages[-1][1]


@dataclass(frozen=True)
class Settings:
    """What a server takes."""

    api_key: str
    takes_json_schema: bool
    embed: Callable[[str, int], list[float]]
    reorders_embeddings: bool


def hashed_vector(text: str, dimensions: int) -> list[float]:
    """Embed a text by its digest: equal texts alike, unit length, exact in 32 bits to seven digits."""
    digest = hashlib.shake_256(text.encode()).digest(dimensions)
    length = sum((byte - 127.5) ** 2 for byte in digest) ** 0.5
    return [(byte - 127.5) / length for byte in digest]


def _exhaust(value: Any) -> Any:
    """Take what was parsed apart: pydantic checks the items of an `Iterable` only when they are taken."""
    if isinstance(value, Mapping):
        return {key: _exhaust(item) for key, item in value.items()}
    if isinstance(value, str) or not isinstance(value, Iterable):
        return value
    return [_exhaust(item) for item in value]


def parse(adapter: TypeAdapter[Any], body: Any) -> dict[str, Any]:
    """Parse a body with a vendor's parameter type, which must know all of it."""
    try:
        taken = _exhaust(adapter.validate_python(body, strict=False))
    except ValidationError as error:
        raise RefusedError(Failure(400, str(error))) from error
    if taken != body:
        raise RefusedError(Failure(400, f"unknown keys or other types: {body!r} is taken as {taken!r}"))
    assert isinstance(taken, dict)
    return taken


def require(condition: object, message: str, status: int = 400, **details: Any) -> None:
    """Refuse the request unless a rule of the vendor's holds."""
    if not condition:
        raise RefusedError(Failure(status, message, **details))


def require_strict(schema: Any, name: str) -> None:
    """Hold a schema to the subset of structured outputs: no property beside the named ones, each of them required."""
    if isinstance(schema, list):
        for item in schema:
            require_strict(item, name)
    elif isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            start = f"Invalid schema for response_format '{name}':"
            require(
                schema.get("additionalProperties") is False,
                f"{start} 'additionalProperties' is required to be supplied and to be false.",
            )
            require(
                sorted(schema.get("required", ())) == sorted(schema["properties"]),
                f"{start} 'required' is required to be supplied and to be an array including every key in properties.",
            )
        for item in schema.values():
            require_strict(item, name)


def _texts(content: Any) -> str:
    """Join the texts of a message's content."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content or () if part["type"] == "text")


def _require_base64(data: str) -> None:
    try:
        valid = bool(base64.b64decode(data, validate=True))
    except binascii.Error:
        valid = False
    require(valid, "the image is not base64")


class Protocol:
    """What one vendor takes and says."""

    request_id_header: str

    def read(self, path: str, headers: Mapping[str, str], body: dict[str, Any], settings: Settings) -> Request:
        """Check a request as the vendor does."""
        raise NotImplementedError

    def answer(self, request: Request, answer: Answer, number: int) -> dict[str, Any]:
        """Build the body of an answer."""
        raise NotImplementedError

    def failure(self, failure: Failure, number: int) -> dict[str, Any]:
        """Build the body of an error."""
        raise NotImplementedError

    def overflow(self, overflow: ContextOverflow) -> Failure:
        """Say that a request is too long."""
        raise NotImplementedError

    def vectors(self, request: Request, settings: Settings) -> dict[str, Any]:
        """Build the body of embeddings."""
        raise NotImplementedError


class AnthropicProtocol(Protocol):
    """The Messages API."""

    request_id_header = "request-id"
    _parameters: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsNonStreaming)
    _errors = TypeAdapter(ErrorResponse)

    def read(self, path: str, headers: Mapping[str, str], body: dict[str, Any], settings: Settings) -> Request:
        require(path == "/v1/messages", f"no such path: {path}", 404)
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        require("x-api-key" in headers or bearer, "x-api-key header is required", 401)
        if headers.get("x-api-key", bearer) != settings.api_key:
            raise RefusedError(Failure(401, "invalid x-api-key"), is_expected=True)
        require(headers.get("anthropic-version") in ANTHROPIC_VERSIONS, "anthropic-version: header is required")
        taken = parse(self._parameters, body)
        require(taken["max_tokens"] > 0, "max_tokens: must be greater than 0")
        messages = taken["messages"]
        require(messages, "messages: at least one message is required")
        require(messages[0]["role"] == "user", "messages: first message must use the user role")
        require(messages[-1]["role"] == "user", "messages: the last one is not the user's")
        images = 0
        for message in messages:
            content = message["content"]
            parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
            require(parts, "messages: at least one content block is required")
            for part in parts:
                if part["type"] == "text":
                    require(part["text"], "messages: text content blocks must be non-empty")
                elif part["type"] == "image":
                    images += 1
                    if part["source"]["type"] == "base64":
                        _require_base64(part["source"]["data"])
        name, schema = self._forced_tool(taken)
        return Request(
            path=path,
            headers=headers,
            body=body,
            schema_name=name,
            schema=schema,
            system=_texts(taken.get("system", "")),
            messages=tuple((message["role"], _texts(message["content"])) for message in messages),
            images=images,
        )

    @staticmethod
    def _forced_tool(taken: dict[str, Any]) -> tuple[str | None, dict[str, Any] | None]:
        tools = {tool["name"]: tool for tool in taken.get("tools", ())}
        for name, tool in tools.items():
            require(IDENTIFIER.fullmatch(name), f"tools.0.name: `{name}` is no identifier")
            require(tool["input_schema"].get("type") == "object", "tools.0.input_schema.type: Field required")
        choice = taken.get("tool_choice")
        if choice is None:
            return None, None
        require(tools, "tool_choice may only be specified while providing tools")
        if choice["type"] != "tool":
            return None, None
        require(choice["name"] in tools, f"Tool '{choice['name']}' not found in provided tools")
        return choice["name"], tools[choice["name"]]["input_schema"]

    def answer(self, request: Request, answer: Answer, number: int) -> dict[str, Any]:
        content: list[claude.TextBlock | claude.ToolUseBlock] = []
        stop: claude.StopReason = "end_turn"
        if answer.refusal is not None:
            stop = "refusal"
        elif request.schema_name is not None and isinstance(answer.value, dict):
            # Where the tokens end inside a tool's input, what comes is the keys that were whole.
            value = dict(list(answer.value.items())[:-1]) if answer.is_cut else answer.value
            content = [
                claude.ToolUseBlock(id=f"toolu_{number:06}", name=request.schema_name, input=value, type="tool_use")
            ]
            stop = "tool_use"
        elif answer.text:
            content = [claude.TextBlock(text=answer.text, type="text")]
        message = claude.Message(
            id=f"msg_{number:06}",
            content=list(content),
            model=request.body["model"],
            role="assistant",
            stop_reason="max_tokens" if answer.is_cut else stop,
            type="message",
            usage=claude.Usage(input_tokens=answer.input_tokens, output_tokens=answer.output_tokens),
        )
        return message.to_dict()

    def failure(self, failure: Failure, number: int) -> dict[str, Any]:
        kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
        kinds |= {429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error"}
        # 413 has a kind of its own, which the SDK's types do not name.
        by_range = "invalid_request_error" if failure.status < 500 else "api_error"
        kind = kinds.get(failure.status, by_range)
        error = self._errors.validate_python(
            {
                "type": "error",
                "error": {"type": kind, "message": failure.message},
                "request_id": f"req_{number:06}",
            }
        ).to_dict()
        if failure.status == 413:
            error["error"] = {"type": "request_too_large", "message": failure.message}
        return error

    def overflow(self, overflow: ContextOverflow) -> Failure:
        if overflow.status == 413:
            return Failure(413, "Request exceeds the maximum size")
        return Failure(overflow.status, "prompt is too long: 210318 tokens > 200000 maximum")


class OpenAIProtocol(Protocol):
    """Chat completions and embeddings."""

    request_id_header = "x-request-id"
    _parameters: TypeAdapter[Any] = TypeAdapter(CompletionCreateParamsNonStreaming)
    _embedding_parameters: TypeAdapter[Any] = TypeAdapter(gpt.EmbeddingCreateParams)

    def read(self, path: str, headers: Mapping[str, str], body: dict[str, Any], settings: Settings) -> Request:
        require(path in ("/v1/chat/completions", "/v1/embeddings"), f"Invalid URL (POST {path})", 404)
        kind, _, key = headers.get("authorization", "").partition(" ")
        require(kind == "Bearer", "You didn't provide an API key.", 401)
        if key != settings.api_key:
            wrong = Failure(401, f"Incorrect API key provided: {key[:3]}***.", code="invalid_api_key")
            raise RefusedError(wrong, is_expected=True)
        if path == "/v1/embeddings":
            return self._read_embedding(path, headers, body)
        taken = parse(self._parameters, body)
        both = "max_tokens" in taken and "max_completion_tokens" in taken
        require(not both, "max_tokens and max_completion_tokens cannot both be set")
        messages = taken["messages"]
        require(messages, "[] is too short - 'messages'")
        name, schema = self._answer_format(taken, settings)
        images = 0
        for message in messages:
            for part in message["content"] if isinstance(message["content"], list) else ():
                if part["type"] == "image_url":
                    images += 1
                    url = part["image_url"]["url"]
                    if url.startswith("data:"):
                        _require_base64(url.partition(";base64,")[2])
        told = [message for message in messages if message["role"] in ("system", "developer")]
        return Request(
            path=path,
            headers=headers,
            body=body,
            schema_name=name,
            schema=schema,
            system="\n".join(_texts(message["content"]) for message in told),
            messages=tuple(
                (message["role"], _texts(message["content"])) for message in messages if message not in told
            ),
            images=images,
        )

    @staticmethod
    def _answer_format(taken: dict[str, Any], settings: Settings) -> tuple[str | None, dict[str, Any] | None]:
        form = taken.get("response_format", {"type": "text"})
        if form["type"] == "json_object":
            said = " ".join(_texts(message["content"]) for message in taken["messages"])
            require(
                "json" in said.lower(),
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
                param="messages",
            )
        if form["type"] != "json_schema":
            return None, None
        if not settings.takes_json_schema:
            raise RefusedError(
                Failure(
                    400,
                    "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
                    param="response_format",
                ),
                is_expected=True,
            )
        name, schema = form["json_schema"]["name"], form["json_schema"].get("schema")
        require(IDENTIFIER.fullmatch(name), f"Invalid 'response_format.json_schema.name': `{name}`")
        require(isinstance(schema, dict) and schema.get("type") == "object", "schema must be of type 'object'")
        if form["json_schema"].get("strict"):
            require_strict(schema, name)
        return name, schema

    def _read_embedding(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> Request:
        taken = parse(self._embedding_parameters, body)
        inputs = [taken["input"]] if isinstance(taken["input"], str) else taken["input"]
        require(0 < len(inputs) <= MOST_INPUTS, f"'input' has {len(inputs)} items", param="input")
        require(all(isinstance(item, str) and item for item in inputs), "'$.input' is invalid.", param="input")
        if "dimensions" in taken:
            knows = taken["model"].startswith(MODELS_WITH_DIMENSIONS)
            require(knows, "This model does not support specifying dimensions.", param="dimensions")
            require(taken["dimensions"] > 0, "'dimensions' is not positive", param="dimensions")
        return Request(path=path, headers=headers, body=body, inputs=tuple(inputs))

    def answer(self, request: Request, answer: Answer, number: int) -> dict[str, Any]:
        completion = ChatCompletion.model_validate(
            {
                "id": f"chatcmpl-{number:06}",
                "object": "chat.completion",
                "created": CREATED,
                "model": request.body["model"],
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "length" if answer.is_cut else "stop",
                        "logprobs": None,
                        "message": {
                            "role": "assistant",
                            "content": answer.text if answer.refusal is None else None,
                            "refusal": answer.refusal,
                        },
                    }
                ],
                "usage": {
                    "prompt_tokens": answer.input_tokens,
                    "completion_tokens": answer.output_tokens,
                    "total_tokens": answer.input_tokens + answer.output_tokens,
                },
            }
        )
        return completion.to_dict()

    def failure(self, failure: Failure, number: int) -> dict[str, Any]:
        kinds = {429: "rate_limit_exceeded", 404: "not_found_error"}
        by_range = "invalid_request_error" if failure.status < 500 else "server_error"
        error = ErrorObject(
            message=failure.message,
            type=kinds.get(failure.status, by_range),
            param=failure.param,
            code=failure.code or kinds.get(failure.status),
        )
        return {"error": error.to_dict()}

    def overflow(self, overflow: ContextOverflow) -> Failure:
        message = (
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 210318 tokens."
        )
        return Failure(overflow.status, message, code="context_length_exceeded", param="messages")

    def vectors(self, request: Request, settings: Settings) -> dict[str, Any]:
        assert request.inputs is not None
        dimensions = request.body.get("dimensions", 1536)
        vectors = [settings.embed(text, dimensions) for text in request.inputs]
        data = [
            gpt.Embedding(embedding=vector, index=index, object="embedding") for index, vector in enumerate(vectors)
        ]
        if settings.reorders_embeddings:
            data.reverse()
        tokens = sum(len(text.split()) for text in request.inputs)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        response = gpt.CreateEmbeddingResponse.model_validate(
            {
                "object": "list",
                "model": request.body["model"],
                "data": [item.to_dict() for item in data],
                "usage": usage,
            }
        ).to_dict()
        if request.body.get("encoding_format") == "base64":  # what the wire has then is no list, whatever the type says
            for item in response["data"]:  # type: ignore[attr-defined]
                packed = struct.pack(f"<{len(item['embedding'])}f", *item["embedding"])
                item["embedding"] = base64.b64encode(packed).decode()
        return response
