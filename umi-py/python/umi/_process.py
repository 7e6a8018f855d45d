"""What happens at a fork and at the end of the interpreter."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from datetime import timedelta

from umi import _umi

TYPE_CHECKING = False  # importing `typing` would cost half of the time that importing umi takes
if TYPE_CHECKING:
    from umi._memory import Memory

_PATIENCE = timedelta(seconds=2)
_open: weakref.WeakSet[Memory] = weakref.WeakSet()


def opened(memory: Memory) -> None:
    """Notes a memory that the end of the interpreter has to close."""
    _open.add(memory)


def _after_fork_in_child() -> None:
    _umi._after_fork_in_child()  # noqa: SLF001 - the package's own module
    _open.clear()
    if (loop := sys.modules.get("umi._loop")) is not None:
        loop.renew_lock()


def _at_exit() -> None:
    # all at once and not one after the other, so that the end comes soon however many embedders hang
    _umi._close_all([memory._engine for memory in list(_open)], _PATIENCE)  # noqa: SLF001 - the package's own
    # first the workers: one that still ran Python code when the interpreter is gone would crash
    _umi._shutdown()  # noqa: SLF001 - the package's own module
    if (loop := sys.modules.get("umi._loop")) is not None:
        loop.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_umi._before_fork,  # noqa: SLF001 - the package's own module
        after_in_parent=_umi._after_fork_in_parent,  # noqa: SLF001 - the package's own module
        after_in_child=_after_fork_in_child,
    )
atexit.register(_at_exit)
