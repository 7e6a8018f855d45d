"""Gemini's `generateContent` for `model_servers`, read and answered with the protocol buffers of Google's own SDK."""

from __future__ import annotations

import json
import re
import warnings
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict, ParseError  # type: ignore[import-untyped]

from model_protocols import Answer, Failure, Protocol, RefusedError, Request, Settings, require
from model_servers import ModelServer, Script

if TYPE_CHECKING:
    from collections.abc import Mapping

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # of versions of Python that will not be supported one day
    from google.ai import generativelanguage as gemini

PATH = re.compile(r"/v1beta/models/[a-z0-9.-]+:generateContent(\?.*)?")


class GeminiProtocol(Protocol):
    """The REST form of the service."""

    request_id_header = "x-request-id"

    def read(self, path: str, headers: Mapping[str, str], body: dict[str, Any], settings: Settings) -> Request:
        require(PATH.fullmatch(path), f"no such path: {path}", 404)
        if headers.get("x-goog-api-key") != settings.api_key:
            raise RefusedError(Failure(400, "API key not valid. Please pass a valid API key."), is_expected=True)
        try:
            taken = gemini.GenerateContentRequest.from_json(json.dumps(body))  # knows every key, or refuses it
        except ParseError as error:
            raise RefusedError(Failure(400, f"Invalid JSON payload received. {error}")) from error
        require(taken.contents, "* GenerateContentRequest.contents: contents is not specified")
        images = 0
        for content in taken.contents:
            require(content.role in {"user", "model"}, "Please use a valid role: user, model.")
            require(content.parts, "* GenerateContentRequest.contents[0].parts: contents.parts must not be empty.")
            for part in content.parts:
                require("text" in part or "inline_data" in part or "file_data" in part, "a part has no data")
                if "inline_data" in part:
                    require(part.inline_data.data and part.inline_data.mime_type, "inline_data is not whole")
                    images += part.inline_data.mime_type.startswith("image/")
        return Request(
            path=path,
            headers=headers,
            body=body,
            system="\n".join(part.text for part in taken.system_instruction.parts),
            messages=tuple(
                (content.role, "\n".join(part.text for part in content.parts if "text" in part))
                for content in taken.contents
            ),
            images=images,
        )

    def answer(self, request: Request, answer: Answer, number: int) -> dict[str, Any]:
        reason = "MAX_TOKENS" if answer.is_cut else "STOP"
        response = gemini.GenerateContentResponse(
            candidates=[
                gemini.Candidate(
                    content=gemini.Content(role="model", parts=[gemini.Part(text=answer.text)]), finish_reason=reason
                )
            ],
            usage_metadata={
                "prompt_token_count": answer.input_tokens,
                "candidates_token_count": answer.output_tokens,
                "total_token_count": answer.input_tokens + answer.output_tokens,
            },
        )
        told: dict[str, Any] = MessageToDict(gemini.GenerateContentResponse.pb(response))
        return told

    def failure(self, failure: Failure, number: int) -> dict[str, Any]:
        return {"error": {"code": failure.status, "message": failure.message, "status": "INVALID_ARGUMENT"}}


class GeminiServer(ModelServer):
    """Gemini's content generation; the arguments are those of `ModelServer`."""

    def __init__(self, script: Script = (), **settings: Any) -> None:
        super().__init__(GeminiProtocol(), "", script, **settings)
