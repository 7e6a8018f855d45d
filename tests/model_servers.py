"""Local servers that speak the vendors' protocols: Anthropic's messages, OpenAI's chat completions and embeddings.

What a client sends is parsed with the parameter types of the vendors' own SDKs, unknown keys included; what it gets is
built with their response models. A server answers from a script: a list, taken in order, or a function of the request.

    with AnthropicServer([Failure(429, retry_after=1), {"facts": []}]) as server:
        ...  # a client of `server.base_url` with `server.api_key`
    assert [request.schema_name for request in server.requests] == ["facts", "facts"]

A request that the vendor would not take is answered as the vendor would, is in `problems`, and makes leaving the block
fail. Nothing here sleeps: `Hang` waits for its release, for the client's leaving or for the server's end.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from model_protocols import (
    Answer,
    AnthropicProtocol,
    ContextOverflow,
    Failure,
    OpenAIProtocol,
    Protocol,
    RefusedError,
    Request,
    Settings,
    hashed_vector,
    require,
)

__all__ = [
    "MALFORMED",
    "Answer",
    "AnthropicServer",
    "ContextOverflow",
    "Cut",
    "Failure",
    "Hang",
    "ModelServer",
    "OpenAIServer",
    "Raw",
    "Reply",
    "Request",
    "fenced",
    "hashed_vector",
]

DEADLINE = 20.0  # seconds that a test waits for what must come


Said = Answer | dict[str, Any] | str


@dataclass(frozen=True)
class Raw:
    """Bytes that need not be a proper answer."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"


MALFORMED = Raw(b'{"id": "msg_1", "content": [{"type": "te')


@dataclass(frozen=True)
class Cut:
    """An answer whose connection ends after a share of its body; None ends it before the head."""

    answer: Said
    share: float | None = 0.5


class Hang:
    """Silence until it is released, the client leaves or the server ends; then the answer, if there is one."""

    def __init__(self, answer: Said | None = None) -> None:
        self.answer = answer
        self._lock = threading.Lock()
        self._is_released = False
        self._wakers: list[socket.socket] = []

    def release(self) -> None:
        """Let all the requests that hang here go on, now and later."""
        with self._lock:
            self._is_released = True
            while self._wakers:
                self._wakers.pop().close()

    def wait(self, connection: socket.socket) -> bool:
        """Hang, and say whether the client is still there."""
        woken, waker = socket.socketpair()
        with woken:
            with self._lock:
                self._wakers.append(waker)
            if self._is_released:
                self.release()
            ready, _, _ = select.select([connection, woken], [], [])
            with self._lock:
                if waker in self._wakers:
                    self._wakers.remove(waker)
            waker.close()
        return connection not in ready or bool(connection.recv(1, socket.MSG_PEEK))


Reply = Said | Failure | ContextOverflow | Raw | Cut | Hang
Script = Iterable[Reply] | Callable[[Request], Reply]


def fenced(value: Mapping[str, Any]) -> Answer:
    """Give an object as chatty models do: in a fence, with prose around it."""
    return Answer(f"Here it is:\n```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```\nAnything else?")


class ModelServer:
    """A server on a free port of this machine, from entering its block to leaving it.

    Args:
        protocol: The vendor.
        base_path: What its clients' base URLs end with.
        script: The answers of the model.
        embedding_script: The replies to the first requests for embeddings, where they are not to be vectors; None
            stands for vectors.
        api_key: The key that is taken; another one is answered with 401.
        takes_json_schema: Whether OpenAI's `json_schema` is understood, or answered with 400.
        embed: Gives the vector of a text and a number of dimensions.
        reorders_embeddings: Whether vectors come in another order than their texts, told apart by `index`.
    """

    def __init__(
        self,
        protocol: Protocol,
        base_path: str,
        script: Script,
        *,
        embedding_script: Iterable[Reply | None] = (),
        api_key: str = "test-key",
        takes_json_schema: bool = True,
        embed: Callable[[str, int], list[float]] = hashed_vector,
        reorders_embeddings: bool = False,
    ) -> None:
        self.protocol = protocol
        self.settings = Settings(api_key, takes_json_schema, embed, reorders_embeddings)
        self.requests: list[Request] = []  # in the order of their coming, those that were refused left out
        self.problems: list[str] = []  # what the vendor would not have taken, and errors of the script
        self.concurrent = 0  # requests that are being answered
        self.most_concurrent = 0
        self.departed = 0  # clients that left while they were waiting
        self.received = 0  # requests, those that were refused included
        self._base_path = base_path
        self._script = script if callable(script) else _in_turn(iter(script))
        self._embedding_script = iter(embedding_script)
        self._condition = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._is_closing = False
        self._listener = _Listener(("127.0.0.1", 0), _Handler)
        self._listener.model_server = self
        self._thread = threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def base_url(self) -> str:
        """What a client is told: without `/v1` for Anthropic, with it for OpenAI."""
        return f"http://127.0.0.1:{self._listener.server_port}{self._base_path}"

    @property
    def api_key(self) -> str:
        """The key that is taken."""
        return self.settings.api_key

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is None:
            assert self.problems == [], "\n".join(self.problems)

    def close(self) -> None:
        """Let go of every client and stop."""
        self._listener.shutdown()
        self._thread.join()
        with self._condition:
            self._is_closing = True
            for connection in self._connections:
                _shut(connection)
        self._listener.server_close()  # waits for the threads

    def wait_for(self, *, requests: int = 0, concurrent: int = 0, departed: int = 0) -> None:
        """Wait until so many requests came, are being answered at once, or were left by their clients."""

        def is_reached() -> bool:
            return len(self.requests) >= requests and self.concurrent >= concurrent and self.departed >= departed

        with self._condition:
            assert self._condition.wait_for(is_reached, DEADLINE), (
                f"requests: {len(self.requests)}, concurrent: {self.concurrent}, departed: {self.departed}"
            )

    # What the handlers of its requests call, each on its own thread.

    def take(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Request | None, Reply | None]:
        """Number a request, check it and choose the reply; no reply where vectors are to be computed."""
        with self._condition:
            self.received += 1
            number = self.received
        try:
            is_json = headers.get("content-type", "").partition(";")[0] == "application/json"
            require(is_json, "the content type is not application/json", 415)
            request = self.protocol.read(path, headers, json.loads(body), self.settings)
        except RefusedError as error:
            if not error.is_expected:
                self.note(str(error))
            return number, None, error.failure
        except ValueError as error:
            self.note(f"the body is no JSON: {error}")
            return number, None, Failure(400, "could not parse the body")
        with self._condition:  # one by one, so that a script need not be of several threads
            self.requests.append(request)
            self._condition.notify_all()
            is_embedding = request.inputs is not None
            return number, request, next(self._embedding_script, None) if is_embedding else self._script(request)

    def note(self, problem: str) -> None:
        """Keep what went wrong."""
        with self._condition:
            self.problems.append(problem)

    def depart(self) -> None:
        """Count a client that did not wait."""
        with self._condition:
            self.departed += 1
            self._condition.notify_all()

    @contextmanager
    def connected(self, connection: socket.socket) -> Iterator[None]:
        """Know a connection while it is open."""
        with self._condition:
            self._connections.add(connection)
            if self._is_closing:
                _shut(connection)
        try:
            yield
        finally:
            with self._condition:
                self._connections.discard(connection)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count a request while it is being answered."""
        with self._condition:
            self.concurrent += 1
            self.most_concurrent = max(self.most_concurrent, self.concurrent)
            self._condition.notify_all()
        try:
            yield
        finally:
            with self._condition:
                self.concurrent -= 1
                self._condition.notify_all()


class AnthropicServer(ModelServer):
    """Anthropic's messages; the arguments are those of `ModelServer`."""

    def __init__(self, script: Script = (), **settings: Any) -> None:
        super().__init__(AnthropicProtocol(), "", script, **settings)


class OpenAIServer(ModelServer):
    """OpenAI's chat completions and embeddings, or a compatible server's; the arguments are those of `ModelServer`."""

    def __init__(self, script: Script = (), **settings: Any) -> None:
        super().__init__(OpenAIProtocol(), "/v1", script, **settings)


def _in_turn(replies: Iterator[Reply]) -> Callable[[Request], Reply]:
    def answer(_request: Request) -> Reply:
        reply = next(replies, None)
        assert reply is not None, "the script has no reply left"
        return reply

    return answer


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):  # it may have ended already
        connection.shutdown(socket.SHUT_RDWR)


class _Listener(ThreadingHTTPServer):
    daemon_threads = False  # closing waits for each of them
    request_queue_size = 256
    model_server: ModelServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.model_server.note(traceback.format_exc())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept
    server: _Listener
    connection: socket.socket

    def handle(self) -> None:
        with self.server.model_server.connected(self.connection), suppress(ConnectionError):
            super().handle()

    def do_POST(self) -> None:
        model_server = self.server.model_server
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", "0")))
        with model_server.counted():
            try:
                number, request, reply = model_server.take(self.path, headers, body)
            except Exception:
                self._send(500, b"{}", {})
                raise
            self._reply(number, request, reply)

    def do_GET(self) -> None:
        self.server.model_server.note(f"GET {self.path}")
        self._send(405, b"{}", {})

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def _reply(self, number: int, request: Request | None, reply: Reply | None) -> None:
        if isinstance(reply, Hang):
            if not reply.wait(self.connection):
                self.server.model_server.depart()
                self._end()
                return
            if reply.answer is None:
                self._end()
                return
            reply = reply.answer
        share = 1.0
        if isinstance(reply, Cut):
            if reply.share is None:
                self._end()
                return
            share = reply.share
            reply = reply.answer
        self._answer(number, request, reply, share)

    def _answer(
        self, number: int, request: Request | None, reply: Raw | ContextOverflow | Failure | Said | None, share: float
    ) -> None:
        protocol = self.server.model_server.protocol
        headers = {protocol.request_id_header: f"req_{number:06}"}
        if isinstance(reply, Raw):
            self._send(reply.status, reply.body, headers, reply.content_type)
            return
        if isinstance(reply, ContextOverflow):
            reply = protocol.overflow(reply)
        if isinstance(reply, Failure):
            body = protocol.failure(reply, number)
            self._send(reply.status, _encoded(body), headers | reply.headers())
            return
        assert request is not None
        if reply is None:
            body = protocol.vectors(request, self.server.model_server.settings)
        else:
            body = protocol.answer(request, reply if isinstance(reply, Answer) else Answer(reply), number)
        self._send(200, _encoded(body), headers, share=share)

    def _send(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str],
        content_type: str = "application/json",
        share: float = 1.0,
    ) -> None:
        self.send_response(status)
        for name, value in {"content-type": content_type, "content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: int(len(body) * share)])
        if share < 1.0:
            self._end()

    def _end(self) -> None:
        self.close_connection = True
        _shut(self.connection)


def _encoded(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()
