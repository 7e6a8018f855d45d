# ruff: noqa: T201 - what a command prints is its result
"""Commands for a store's folder: `python -m umi check STORE`, `backup STORE FOLDER`, `recover STORE FOLDER`."""

from __future__ import annotations

import argparse
import errno
import shlex
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from umi import CorruptStoreError, Memory, StoreIOError, UmiError, __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_DAMAGED, _FAILED, _INTERRUPTED = 1, 2, 130
_DATABASE, _LOG, _JOURNAL = "umi.db", "umi.db-wal", "umi.db-journal"
_MAY_NOT_WRITE = {errno.EACCES, errno.EPERM, errno.EROFS}
_EPILOG = "exit status: 0 done, 1 the store is damaged, 2 it could not be done, 130 interrupted from the keyboard"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit status.

    It is 0 for done, 1 for a damaged store, 2 for what could not be done and 130 for an interrupt from the keyboard.
    """
    options = _parser().parse_args(arguments)
    try:
        if not _has_store(options):
            return _failed(f"there is no store in `{options.store}`", "name the folder that Memory.open() was given")
        return {"check": _check, "backup": _backup, "recover": _recover}[options.command](options)
    except CorruptStoreError as error:
        return _failed(error.message, error.hint, _DAMAGED)
    except UmiError as error:
        return _failed(error.message, error.hint)
    except OSError as error:
        return _failed(f"cannot read `{options.store}`: {(error.strerror or str(error)).lower()}", None)
    except KeyboardInterrupt:
        return _failed("interrupted", None, _INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m umi", description="Looks after the folder of a store.", epilog=_EPILOG
    )
    parser.add_argument("--version", action="version", version=f"umi {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check",
        help="verify a store",
        epilog=_EPILOG,
        description="Verifies every row of a store. One that may only be read is copied into a temporary folder first.",
    )
    backup = commands.add_parser(
        "backup",
        help="copy a store",
        epilog=_EPILOG,
        description="Copies a store, which may be in use, into a new folder. One that may only be read is copied into "
        "a temporary folder first.",
    )
    recover = commands.add_parser(
        "recover",
        help="save what can be read of a damaged store",
        epilog=_EPILOG,
        description="Saves every row of a damaged store that can be read into a new folder, and tells what was lost. "
        "The damaged store is only read. Close it everywhere first.",
    )
    for command in (check, backup, recover):
        command.add_argument("store", type=Path, metavar="STORE", help="the folder of the store")
    for command in (backup, recover):
        command.add_argument("target", type=Path, metavar="FOLDER", help="a folder that is empty or not there")
    return parser


def _has_store(options: argparse.Namespace) -> bool:
    """Whether there is a database or a log. Opening empty ones would make a store; only `recover` does not do that."""
    database, log = options.store / _DATABASE, options.store / _LOG
    return _has_bytes(database) or _has_bytes(log) or (options.command == "recover" and bool(database.exists()))


def _has_bytes(path: Path) -> bool:
    """Whether there is anything but an empty file."""
    return bool(path.exists() and (not path.is_file() or path.stat().st_size))


@contextmanager
def _opened(store: Path) -> Iterator[Memory]:
    """Opens a store, or a temporary copy of one that may only be read.

    SQLite writes a log beside every store that it opens. Nothing of a copy is embedded, so any embedder will do.
    """
    try:
        memory = Memory.open(store, reembed=True)
    except StoreIOError as error:
        if error.errno not in _MAY_NOT_WRITE:
            raise
        with TemporaryDirectory(prefix="umi-") as name:
            copy = Path(name)
            _copy(store, copy)
            try:
                with Memory.open(copy, reembed=True) as memory:
                    yield memory
            except CorruptStoreError as damage:
                # what is damaged is the store itself, and it is what can be recovered
                hint = damage.hint and damage.hint.replace(name, shlex.quote(str(store)))
                raise CorruptStoreError(damage.message.replace(name, str(store)), hint=hint) from damage
    else:
        with memory:
            yield memory


def _copy(store: Path, folder: Path) -> None:
    """Copies a store's files, which nobody may write to meanwhile."""
    files = [path for name in (_DATABASE, _LOG, _JOURNAL) if (path := store / name).exists()]
    before = [path.stat() for path in files]
    for path in files:
        shutil.copyfile(path, folder / path.name)
    for path, was in zip(files, before, strict=True):
        found = path.stat()
        if (found.st_ino, found.st_size, found.st_mtime_ns) != (was.st_ino, was.st_size, was.st_mtime_ns):
            raise StoreIOError(f"`{path}` was written to while it was copied", hint="close the store everywhere first")


def _check(options: argparse.Namespace) -> int:
    with _opened(options.store) as memory:
        report = memory.check_sync()
    for problem in report["problems"]:
        print(problem)
    rows = sum(report["checked"].values())
    if report["ok"]:
        print(f"`{options.store}` is sound: {_count(rows, 'row')} checked")
        return 0
    problems = _count(len(report["problems"]), "problem")
    print(f"`{options.store}` has {problems} in {_count(rows, 'row')}", file=sys.stderr)
    store = shlex.quote(str(options.store))
    print(f"to save what can be read: python -m umi recover {store} NEW_FOLDER", file=sys.stderr)
    return _DAMAGED


def _backup(options: argparse.Namespace) -> int:
    with _opened(options.store) as memory:
        memory.backup_sync(options.target)
    print(f"`{options.target}` is a copy of `{options.store}`")
    return 0


def _recover(options: argparse.Namespace) -> int:
    report = Memory.recover_sync(options.store, options.target)
    print(f"saved into `{options.target}`:")
    print(f"  {_count(report['episodes'], 'episode')}")
    print(f"  {_count(report['facts'], 'saying of a fact', 'sayings of facts')}")
    if report["decisions"]:
        print(f"  {_count(report['decisions'], 'decision of a model', 'decisions of a model')}")
    print(f"  {_count(report['blocks'], 'version of a core block', 'versions of core blocks')}")
    print(f"  {_count(report['working_keys'], 'working key')}")
    if items := report["context_items"]:
        print(f"  {_count(items, 'item of a saved context', 'items of saved contexts')}")
    if to_embed := report["to_embed"]:
        are = "is" if to_embed == 1 else "are"
        print(f"  {to_embed} of them {are} embedded when you open it with the store's own embedder")
    print("damaged or lost:" if report["problems"] else "nothing is damaged")
    for problem in report["problems"]:
        print(f"  {problem}")
    print("the old store is as it was; open the new one with Memory.open()")
    return _DAMAGED if report["problems"] else 0


def _count(number: int, thing: str, things: str | None = None) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {things or thing + 's'}"


def _failed(message: str, hint: str | None, status: int = _FAILED) -> int:
    print(f"error: {message}" + (f"\nhint: {hint}" if hint else ""), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
