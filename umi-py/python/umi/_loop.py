"""The event loops on which async functions of the caller run."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from concurrent.futures import Future

_lock = threading.Lock()
_private: tuple[int, asyncio.AbstractEventLoop, threading.Thread] | None = None


async def _settle(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def submit(awaitable: Awaitable[Any], loop: asyncio.AbstractEventLoop | None) -> Future[Any]:
    """Runs an awaitable on `loop`, or on the one private loop where there is none."""
    return asyncio.run_coroutine_threadsafe(_settle(awaitable), loop or _private_loop())


def _private_loop() -> asyncio.AbstractEventLoop:
    global _private  # noqa: PLW0603 - one thread per process
    with _lock:
        if _private is None or _private[0] != os.getpid():
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=_serve, args=(loop,), name="umi-loop", daemon=True)
            thread.start()
            _private = (os.getpid(), loop, thread)
        return _private[1]


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


def stop() -> None:
    """Ends the private loop and its thread, at the end of the interpreter."""
    global _private
    with _lock:
        private, _private = _private, None
    if private is not None and private[0] == os.getpid():
        _, loop, thread = private
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=1)


def renew_lock() -> None:
    """Gives a forked child a lock that nobody holds."""
    global _lock  # noqa: PLW0603 - one thread per process
    _lock = threading.Lock()
