"""What the vendors' own types take as messages of a context."""

from __future__ import annotations

import base64
import io
from typing import Any, Literal

import anthropic.types
import openai.types.chat
import openai.types.responses
from google.genai import types as gemini
from PIL import Image
from pydantic import TypeAdapter

FORMATS: tuple[Literal["openai", "openai-responses", "anthropic", "gemini"], ...] = (
    "openai",
    "openai-responses",
    "anthropic",
    "gemini",
)


def _same(kind: Any, value: Any) -> None:
    """Hold a value to a type of a vendor: it is valid, and has no field that the type does not have."""
    assert TypeAdapter(kind).validate_python(value) == value


def _check_openai(messages: list[Any]) -> None:
    kinds = {
        "system": openai.types.chat.ChatCompletionContentPartTextParam,
        "developer": openai.types.chat.ChatCompletionContentPartTextParam,
        "user": openai.types.chat.ChatCompletionContentPartParam,
    }
    TypeAdapter(list[openai.types.chat.ChatCompletionMessageParam]).validate_python(messages)
    for message in messages:
        assert set(message) == {"role", "content"}
        for part in message["content"]:
            _same(kinds[message["role"]], part)


def _check_responses(messages: list[Any]) -> None:
    TypeAdapter(openai.types.responses.ResponseInputParam).validate_python(messages)
    for message in messages:
        assert set(message) == {"role", "content"}
        assert message["role"] in {"system", "developer", "user"}
        for part in message["content"]:
            _same(openai.types.responses.ResponseInputContentParam, part)


def _check_anthropic(messages: list[Any]) -> None:
    for message in messages:
        assert set(message) == {"role", "content"}
        assert message["role"] == "user"
        for part in message["content"]:
            _same(anthropic.types.ContentBlockParam, part)
            assert part["type"] != "text" or part["text"].strip()


def _check_gemini(contents: list[Any]) -> None:
    for content in contents:
        read = gemini.Content.model_validate(content)
        assert read.role == "user"
        assert read.parts is not None
        for part, given in zip(read.parts, content["parts"], strict=True):
            if "inline_data" in given:
                assert part.inline_data is not None
                assert part.inline_data.data == given["inline_data"]["data"]
                assert part.inline_data.mime_type == given["inline_data"]["mime_type"]


CHECKS = {
    "openai": _check_openai,
    "openai-responses": _check_responses,
    "anthropic": _check_anthropic,
    "gemini": _check_gemini,
}


def parts_of(messages: list[Any]) -> list[dict[str, Any]]:
    return [part for message in messages for part in message.get("content") or message["parts"]]


def texts_of(messages: list[Any]) -> list[str]:
    return [part["text"] for part in parts_of(messages) if "text" in part]


def images_of(messages: list[Any]) -> list[Image.Image]:
    """The images of messages of any format."""
    found: list[Image.Image] = []
    for part in parts_of(messages):
        if "https://" in str(part)[:200]:
            continue  # an address
        if part.get("type") == "image_url":
            data = base64.b64decode(part["image_url"]["url"].partition(",")[2], validate=True)
        elif part.get("type") == "input_image":
            data = base64.b64decode(part["image_url"].partition(",")[2], validate=True)
        elif part.get("type") == "image":
            data = base64.b64decode(part["source"]["data"], validate=True)
        elif part.get("inline_data", {}).get("mime_type", "").startswith("image/"):
            data = part["inline_data"]["data"]
        else:
            continue
        image = Image.open(io.BytesIO(data))
        image.load()
        found.append(image)
    return found
