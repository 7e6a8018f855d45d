"""The event loops on which async functions of the caller run."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Awaitable, Callable

_lock = threading.Lock()
_private: tuple[int, AbstractEventLoop, threading.Thread] | None = None


class _Call:
    """One call of an async function on an event loop, and the future that its caller waits for."""

    def __init__(self, function: Callable[[Any], Awaitable[Any]], argument: Any, loop: AbstractEventLoop) -> None:
        self.future: Future[Any] = Future()
        self._function = function
        self._argument = argument
        self._loop = loop

    def begin(self) -> None:
        if self.future.cancelled():
            return
        try:
            self._task = asyncio.ensure_future(self._run(self._function(self._argument)))
        except BaseException as error:  # noqa: BLE001 - it is the caller's, who finds it in the future
            self._give(_plain(error), None)
            return
        if isinstance(self._task, asyncio.Task):
            # as asyncio.gather does: where the loop ends before the call, the call is gone and its job is kept
            self._task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
        self._task.add_done_callback(self._settle)
        self.future.add_done_callback(self._stop)

    @staticmethod
    async def _run(awaitable: Awaitable[Any]) -> Any:
        try:
            return await awaitable
        except (SystemExit, KeyboardInterrupt) as error:
            # asyncio would end its loop with it, and whoever waits for the future would wait for ever
            raise _plain(error) from error

    def _stop(self, future: Future[Any]) -> None:
        if future.cancelled() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)

    def _settle(self, task: asyncio.Future[Any]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._give(error, None if error else task.result())

    def _give(self, error: BaseException | None, result: Any) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


def _plain(error: BaseException) -> BaseException:
    """What asks for the end of the program, as an error that ends the call alone; others as they are."""
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        return RuntimeError(f"the function raised `{type(error).__name__}`, which ends nothing but its call")
    return error


def submit(function: Callable[[Any], Awaitable[Any]], argument: Any, loop: AbstractEventLoop | None) -> Future[Any]:
    """Calls an async function on `loop`, or on the one private loop where there is none.

    The function is called on the loop itself, so that nothing is left unawaited where the loop ends before. Cancelling
    the future cancels the task.
    """
    loop = loop or _private_loop()
    call = _Call(function, argument, loop)
    loop.call_soon_threadsafe(call.begin)
    return call.future


def _private_loop() -> AbstractEventLoop:
    global _private  # noqa: PLW0603 - one thread per process
    with _lock:
        if _private is None or _private[0] != os.getpid():
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=_serve, args=(loop,), name="umi-loop", daemon=True)
            thread.start()
            _private = (os.getpid(), loop, thread)
        return _private[1]


def _serve(loop: AbstractEventLoop) -> None:
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
