"""What a language model costs beside its own time: a server here speaks Anthropic's protocol and waits 50 ms.

Run by `make bench`, in an environment that holds the optimised wheel; some seconds. Prints a Markdown table and exits
with 1 when a median is over its budget (`--no-fail` to print only). The time that the server spent is measured by the
server; what is left of a `remember` is ours, HTTP included.
"""

import asyncio
import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import umi
from report import Budget, Report, run_bench

ANSWER_SECONDS = 0.05
AT_ONCE = 8
USERS = 64
RUNS = 40

BUDGETS = {
    "`remember` with a model, our own time": Budget(5e-3),
    "`remember` with a model, calls": Budget(2, "times"),
    "64 `remember` at once, share of the provider's 8 places in use": Budget(0.9, "times", at_least=True),
}


class Model:
    """A server that answers after 50 ms: a fact about Ana for every extraction, an extension for every decision."""

    def __init__(self) -> None:
        self.answers = 0
        self.seconds = 0.0

    async def serve(self) -> None:
        """Serve until this process is ended; the port is printed first."""
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                began = time.perf_counter()
                length = next(
                    (line.split(":")[1] for line in head.split("\r\n") if line.startswith("content-length")), 0
                )
                body = await reader.readexactly(int(length))
                if head.startswith("get"):
                    answer: dict[str, Any] = {"answers": self.answers, "seconds": self.seconds}
                else:
                    answer = self._answer(json.loads(body))
                    await asyncio.sleep(ANSWER_SECONDS - (time.perf_counter() - began))
                    self.answers += 1
                    self.seconds += time.perf_counter() - began
                data = json.dumps(answer).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                writer.write(f"content-length: {len(data)}\r\n\r\n".encode() + data)
                await writer.drain()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["tools"][0]["name"]
        fact = {"turn": 1, "type": "person", "name": "Ana", "attribute": None, "confidence": 0.9, "event_time": None}
        told = {
            "facts": {"facts": [{**fact, "content": f"Ana has seen {self.answers} harbours"}]},
            "relations": {"relations": []},
        }[name]
        return {
            "id": f"msg_{self.answers}",
            "type": "message",
            "role": "assistant",
            "model": request["model"],
            "content": [{"type": "tool_use", "id": f"toolu_{self.answers}", "name": name, "input": told}],
            "stop_reason": "tool_use",
            "stop_sequence": None,
            "usage": {"input_tokens": 900, "output_tokens": 60},
        }


async def spent(port: int) -> float:
    """Ask the server for how long it has answered, in all."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /stats HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    answer = await reader.readuntil(b"}")
    writer.close()
    return float(json.loads(answer)["seconds"])


async def measure_models(report: Report, folder: Path, port: int) -> None:
    """Remember one by one, then for many users at once."""
    model = umi.AnthropicProvider("no key", base_url=f"http://127.0.0.1:{port}", max_concurrency=AT_ONCE)
    async with umi.Memory.open(folder / "models", llm=model) as memory:
        own, calls = [], []
        for turn in range(-3, RUNS):
            before, began = await spent(port), time.perf_counter()
            result = await memory.remember(f"Ana has been to harbour number {turn}.", user="alice")
            took = time.perf_counter() - began - (await spent(port) - before)
            assert not result.warnings, result.warnings
            if turn >= 0:  # the first ones make the connection, and find nothing to compare with
                own.append(took)
                calls.append(float(result.usage.requests))
        report.add("`remember` with a model, our own time", own)
        report.add("`remember` with a model, calls", calls, "times")

        users = [f"user {number}" for number in range(USERS)]
        await asyncio.gather(*(memory.remember("Ana likes the sea.", user=user) for user in users))
        before, began = await spent(port), time.perf_counter()
        results = await asyncio.gather(*(memory.remember("Ana likes the hills too.", user=user) for user in users))
        took, busy = time.perf_counter() - began, await spent(port) - before
        assert all(result.usage.requests == 2 and not result.warnings for result in results), results
        share = "64 `remember` at once, share of the provider's 8 places in use"
        report.add(share, [busy / (took * AT_ONCE)], "times")


def measure(report: Report, folder: Path) -> None:
    """Start the server and measure beside it."""
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            asyncio.run(measure_models(report, folder, int(server.stdout.readline())))
        finally:
            server.kill()


if __name__ == "__main__":
    if "--serve" in sys.argv:
        asyncio.run(Model().serve())
    else:
        sys.exit(run_bench(BUDGETS, measure))
