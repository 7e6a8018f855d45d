"""The event loops on which async functions of the caller run."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_lock = threading.Lock()
_private: tuple[int, asyncio.AbstractEventLoop, threading.Thread] | None = None


def submit(
    function: Callable[[Any], Awaitable[Any]], argument: Any, loop: asyncio.AbstractEventLoop | None
) -> Future[Any]:
    """Calls an async function on `loop`, or on the one private loop where there is none.

    The function is called on the loop itself, so that nothing is left unawaited where the loop ends before. Cancelling
    the future cancels the task.
    """
    loop = loop or _private_loop()
    future: Future[Any] = Future()

    def begin() -> None:
        if future.cancelled():
            return
        try:
            task = asyncio.ensure_future(function(argument))
        except Exception as error:  # noqa: BLE001 - it is the caller's, who finds it in the future
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
            return

        if isinstance(task, asyncio.Task):
            # as asyncio.gather does: where the loop ends before the call, the call is gone and its job is kept
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001

        def stop(future: Future[Any]) -> None:
            if future.cancelled() and not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)

        task.add_done_callback(settle)
        future.add_done_callback(stop)

    def settle(task: asyncio.Future[Any]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if not future.set_running_or_notify_cancel():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(task.result())

    loop.call_soon_threadsafe(begin)
    return future


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
