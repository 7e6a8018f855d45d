"""Stores that cannot be opened or written: the error says what to do, and the files are as they were.

Every class of the `StorageError` family is provoked here for real.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import umi
from umi import Memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with nothing but its database, as a copy of it would be."""
    folder = tmp_path_factory.mktemp("sound") / "store"
    with Memory.open(folder, user="alice") as memory:
        for number in range(5):
            memory.remember_sync(f"turn {number}")
    for name in ("umi.lock", "umi.queue"):
        (folder / name).unlink()
    return folder


def files_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def sql(database: Path, script: str) -> None:
    connection = sqlite3.connect(database)
    connection.executescript(script)
    connection.close()


def truncated(database: Path) -> None:
    with database.open("r+b") as file:
        file.truncate(database.stat().st_size - 4096)


def short(database: Path) -> None:
    with database.open("r+b") as file:
        file.truncate(50)


def foreign(database: Path) -> None:
    database.unlink()
    sql(database, "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")


REFUSED: list[tuple[str, Any, type[umi.StorageError], str]] = [
    ("truncated", truncated, umi.CorruptStoreError, r"it has \d+ of \d+ bytes \(restore it from a backup, or save"),
    ("short", short, umi.CorruptStoreError, r"it has only 50 bytes \(restore it from a backup, or save"),
    (
        "text",
        lambda path: path.write_text("not a database, " * 400),
        umi.CorruptStoreError,
        r"it is not a SQLite file \(restore",
    ),
    (
        "newer",
        lambda path: sql(path, "PRAGMA user_version = 99"),
        umi.StoreVersionError,
        r"has schema version 99, this build reads up to \d+ \(update the package",
    ),
    ("foreign", foreign, umi.StoreVersionError, r"is a SQLite file of another program \(name another folder\)"),
    (
        "other program",
        lambda path: sql(path, "PRAGMA application_id = 7"),
        umi.StoreVersionError,
        r"is a SQLite file of another program",
    ),
]


@pytest.mark.parametrize(("damage", "kind", "says"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_bad_file_is_refused_untouched(
    sound: Path, tmp_path: Path, damage: Any, kind: type[umi.StorageError], says: str
) -> None:
    folder = tmp_path / "store"
    shutil.copytree(sound, folder)
    damage(folder / "umi.db")
    before = files_of(folder)
    for _ in range(2):
        with pytest.raises(kind, match=says) as caught:
            Memory.open(folder)
        assert str(folder / "umi.db") in str(caught.value)
        assert caught.value.hint
        assert not caught.value.is_retryable
        assert files_of(folder) == before, "its bytes are as they were, and nothing lies beside it"


def test_a_damaged_page_that_opening_reads(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    shutil.copytree(sound, folder)
    data = bytearray((folder / "umi.db").read_bytes())
    data[100:4096] = bytes(range(256)) * 15 + bytes(156)  # the schema; the header is as it was
    (folder / "umi.db").write_bytes(data)
    before = files_of(folder)
    with pytest.raises(umi.CorruptStoreError, match="its pages are damaged") as caught:
        Memory.open(folder)
    assert "malformed" in str(caught.value.__cause__)
    assert files_of(folder) == before


OPEN = """
try:
    umi.Memory.open(sys.argv[1])
    print("opened")
except umi.UmiError as error:
    print(type(error).__name__, error.errno, error.filename, type(error.__cause__).__name__, error.strerror)
    print(error)
"""


@pytest.mark.parametrize("what", ["file", "folder", "closed folder", "closed parent", "unreadable file"])
def test_what_a_user_may_not_touch(
    sound: Path, public_path: Path, as_nobody: Callable[..., list[str]], give: Callable[..., None], what: str
) -> None:
    folder = public_path / "store"
    shutil.copytree(sound, folder)
    database = folder / "umi.db"
    give(folder, database)
    refused = {"file": database, "unreadable file": database}.get(what, folder)
    if what == "closed parent":
        shutil.rmtree(folder)
        public_path.chmod(0o555)
    else:
        refused.chmod({"file": 0o444, "folder": 0o555, "closed folder": 0o000, "unreadable file": 0o000}[what])
    try:
        first, message = as_nobody(OPEN, folder)
    finally:
        public_path.chmod(0o755)
        if folder.exists():
            folder.chmod(0o755)
    name = first.split()
    assert (name[0], name[1], name[3]) == ("StoreIOError", "13", "PermissionError"), first
    assert name[2] in {str(folder), str(database)}
    assert first.endswith(" Permission denied")
    assert f"`{name[2]}`: permission denied (change the owner or the mode of" in message
    if what != "closed parent":
        database.chmod(0o600)
        assert {path: content for path, (content, _) in files_of(folder).items()} == {
            path: content for path, (content, _) in files_of(sound).items()
        }


@pytest.mark.parametrize("what", ["a file", "a dangling link", "a folder in its place", "a link in a ring"])
def test_a_path_that_is_no_folder(tmp_path: Path, what: str) -> None:
    path = tmp_path / "store"
    if what == "a file":
        path.write_text("kept")
    elif what == "a folder in its place":
        (path / "umi.db").mkdir(parents=True)
    else:
        path.symlink_to(tmp_path / ("store" if what == "a link in a ring" else "nowhere"))
    with pytest.raises(umi.StoreIOError) as caught:
        Memory.open(path)
    error = caught.value
    assert error.errno in {17, 20, 21, 40}
    assert str(error.filename).startswith(str(path))
    assert isinstance(error, OSError)
    assert isinstance(error.__cause__, OSError)
    assert error.strerror == os.strerror(error.errno or 0)
    assert f"`: {error.strerror.lower()} (check the path" in str(error)
    assert not (tmp_path / "nowhere").exists()
    if what == "a file":
        assert path.read_text() == "kept"


LEFT_OPEN = """
import os, sys
from umi import Memory
memory = Memory.open(sys.argv[1], user="alice")
for number in range(30):
    memory.remember_sync(f"turn {number}")
os._exit(0)
"""


@pytest.mark.parametrize("what", ["without a byte", "missing"])
def test_a_log_whose_database_has_nothing(tmp_path: Path, what: str) -> None:
    """SQLite would take it for a new database, and delete the log."""
    folder = tmp_path / "store"
    subprocess.run([sys.executable, "-c", LEFT_OPEN, str(folder)], check=True, timeout=50)
    database = folder / "umi.db"
    database.unlink()
    if what == "without a byte":
        database.touch()
    before = files_of(folder)
    assert len(before["umi.db-wal"][0]) > 30 * 4096
    for _ in range(2):
        with pytest.raises(umi.CorruptStoreError) as caught:
            Memory.open(folder)
        assert caught.value.message == (
            f"`{database}` is not a sound store: it has no bytes, but there is a log of it, which would be deleted"
        )
        assert f"`python -m umi recover {folder} NEW_FOLDER`" in str(caught.value.hint)
        assert files_of(folder) == before
    for command in (["check", str(folder)], ["backup", str(folder), str(tmp_path / "copy")]):
        done = subprocess.run([sys.executable, "-m", "umi", *command], capture_output=True, timeout=50, check=False)
        assert (done.returncode, files_of(folder)) == (1, before)
    report = Memory.recover_sync(folder, tmp_path / "new")
    assert (report["episodes"], files_of(folder)) == (30, before)
    assert report["problems"][0].startswith("it has 0 of ")
    with Memory.open(tmp_path / "new", user="alice") as memory:
        assert {episode.text for episode in memory.episodes_sync()} == {f"turn {number}" for number in range(30)}
        assert memory.check_sync()["ok"]


def test_an_empty_log_beside_an_empty_database_is_no_store(tmp_path: Path) -> None:
    for name in ("umi.db", "umi.db-wal"):
        (tmp_path / name).touch()
    done = subprocess.run([sys.executable, "-m", "umi", "check", str(tmp_path)], timeout=50, check=False)
    assert (done.returncode, sorted(path.name for path in tmp_path.iterdir())) == (2, ["umi.db", "umi.db-wal"])
    with Memory.open(tmp_path, user="alice") as memory:
        memory.remember_sync("the first")


PIPE = """
import sys
from umi import Memory, StoreIOError
try:
    {"open": Memory.open, "recover": Memory.recover_sync}[sys.argv[1]](*sys.argv[2:])
except StoreIOError as error:
    print(error.message, error.filename, sep="|")
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
@pytest.mark.parametrize(
    ("call", "name"),
    [(call, name) for call in ("open", "recover", "check", "backup") for name in ("umi.db", "umi.db-wal")]
    + [("open", "umi.db-shm"), ("open", "umi.db-journal")],
)
def test_a_pipe_is_never_waited_for(sound: Path, tmp_path: Path, call: str, name: str) -> None:
    folder, target = tmp_path / "store", tmp_path / "target"
    shutil.copytree(sound, folder)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    names = {path.name for path in folder.iterdir()}
    arguments = [call, str(folder), *([str(target)] if call in {"recover", "backup"} else [])]
    program = ["-c", PIPE] if call in {"open", "recover"} else ["-m", "umi"]
    command = [sys.executable, *program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    says = f"cannot open `{folder / name}`: it is no regular file"
    if program[0] == "-c":
        assert (done.stdout, done.stderr) == (f"{says}|{folder / name}\n", "")
    else:
        assert (done.returncode, done.stderr.splitlines()[0]) == (2, f"error: {says}")
    assert {path.name for path in folder.iterdir()} == names
    assert not target.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_a_copy_into_a_pipe(sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound, tmp_path / "store")
    target = tmp_path / "pipe"
    os.mkfifo(target)
    with Memory.open(tmp_path / "store") as memory:
        for to in (target, target / "inside"):
            with pytest.raises(umi.StoreIOError, match="not a directory") as caught:
                memory.backup_sync(to)
            assert caught.value.errno == errno.ENOTDIR
    assert target.is_fifo()


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_a_folder_that_goes_under_an_open_handle(sound: Path, tmp_path: Path, how: str) -> None:
    folder = tmp_path / "store"
    shutil.copytree(sound, folder)
    with Memory.open(folder, user="alice") as memory:
        assert len(memory.recall_sync("turn")) == 5
        memory.working.set("key", b"1")
        if how == "deleted":
            shutil.rmtree(folder)
        else:
            folder.rename(tmp_path / "elsewhere")
        calls: list[Callable[[], object]] = [
            memory.check_sync,
            memory.stats_sync,
            memory.episodes_sync,
            lambda: memory.recall_sync("turn"),
            lambda: memory.working.get("key"),
            lambda: memory.backup_sync(tmp_path / "copy"),
            lambda: memory.remember_sync("refused"),
        ]
        for call in calls:
            with pytest.raises(umi.StoreIOError, match=r"umi\.db` was removed or replaced while it was open") as caught:
                call()
            assert caught.value.filename == str(folder / "umi.db")
            assert str(caught.value.hint).startswith("close every handle and open the store again")
    assert not folder.exists()
    assert not (tmp_path / "copy").exists()


def test_reads_of_a_few_microseconds_look_at_the_files_too(sound: Path, tmp_path: Path) -> None:
    """They do so once a millisecond, not each time."""
    folder = tmp_path / "store"
    shutil.copytree(sound, folder)
    with Memory.open(folder, user="alice") as memory:
        memory.working.set("key", b"1")
        shutil.rmtree(folder)

        def read() -> None:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                assert memory.working.get("key") == b"1"

        with pytest.raises(umi.StoreIOError, match="was removed or replaced while it was open"):
            read()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
@pytest.mark.parametrize("what", ["a pipe", "a device"])
def test_a_database_that_is_no_regular_file(tmp_path: Path, what: str) -> None:
    """Reading a pipe would wait for ever."""
    database = tmp_path / "store" / "umi.db"
    database.parent.mkdir()
    if what == "a pipe":
        os.mkfifo(database)
    else:
        database.symlink_to("/dev/zero")
    with pytest.raises(umi.StoreIOError) as caught:
        Memory.open(database.parent)
    assert caught.value.message == f"cannot open `{database}`: it is no regular file"
    assert caught.value.filename == str(database)
    assert [path.name for path in database.parent.iterdir()] == ["umi.db"]


TOO_MANY = """
import os, resource, sys
from umi import Memory, StoreIOError
Memory.in_memory().close_sync()
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
held = []
try:
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
try:
    Memory.open(sys.argv[1])
except StoreIOError as error:
    print(error.errno, error.strerror, error.is_retryable, error, sep="|")
"""


def test_too_many_open_files(sound: Path, tmp_path: Path) -> None:
    pytest.importorskip("resource")
    shutil.copytree(sound, tmp_path / "store")
    command = [sys.executable, "-W", "error", "-c", TOO_MANY, str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    errno, words, is_retryable, message = done.stdout.strip().split("|")
    assert (errno, words, is_retryable) == ("24", "Too many open files", "True")
    assert message.endswith(
        "`: too many open files (close some files or raise the limit of open files, then call again)"
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mounted)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here; a limit of file sizes stands in for it in another test")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_a_full_disk_in_the_middle_of_a_group_of_writes(small_disk: Path) -> None:
    with Memory.open(small_disk / "store", user="alice") as memory:
        memory.remember_sync("before")
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(1_200_000))
        errors: list[BaseException] = []
        acknowledged: list[str] = ["before"]
        start = threading.Barrier(8)

        def write(number: int) -> None:
            start.wait()
            for turn in range(200):
                text = f"writer {number} turn {turn} " + "word " * 200
                try:
                    memory.remember_sync(text)
                except umi.UmiError as error:
                    errors.append(error)
                    return
                acknowledged.append(text)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(errors) == 8
        for error in errors:
            assert isinstance(error, umi.StorageError)
            assert error.is_retryable
            assert error.hint
        full = [error for error in errors if isinstance(error, umi.StoreIOError)]
        assert full
        assert (full[0].errno, full[0].filename) == (28, str(small_disk / "store" / "umi.db"))
        assert str(full[0]) == (
            f"cannot write `{full[0].filename}`: no space left on device (free some space, then call again)"
        )
        assert full[0].__cause__ is not None
        assert memory.recall_sync("before"), "reads go on"
        ballast.unlink()
        memory.remember_sync("after")
        acknowledged.append("after")
        kept = [episode.text for episode in memory.episodes_sync(limit=1000)]
        assert sorted(kept) == sorted(acknowledged), "what was acknowledged is there, and nothing else"
        report = memory.check_sync()
        assert report["ok"], report["problems"]
    with Memory.open(small_disk / "store", user="alice") as memory:
        assert memory.count_sync() == len(acknowledged)


LIMITED = """
import resource, signal, sys
import umi
from umi import Memory
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with Memory.open(sys.argv[1], user="alice") as memory:
    memory.remember_sync("before")
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    kept = 1
    try:
        while True:
            memory.remember_sync("word " * 200)
            kept += 1
    except umi.StoreIOError as error:
        print(error.errno, error.filename)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    memory.remember_sync("after")
    print(memory.count_sync() == kept + 1, memory.check_sync()["ok"])
"""


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    refused, after = done.stdout.splitlines()
    assert refused.split()[1] == str(tmp_path / "umi.db")
    assert after == "True True"


HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
connection.close()
"""


def test_a_write_lock_that_another_program_holds(tmp_path: Path) -> None:
    """It takes the five seconds that a write waits for a program that does not know the writers' own lock."""
    with Memory.open(tmp_path, user="alice") as memory:
        memory.remember_sync("before")
        database = str(tmp_path / "umi.db")
        command = [sys.executable, "-c", HOLDER, database]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(umi.StoreLockedError) as caught:
            memory.remember_sync("refused")
        error = caught.value
        assert error.is_retryable
        assert str(error) == (
            f"another process holds the write lock of `{database}` (call again once its transaction has ended)"
        )
        assert "database is locked" in str(error.__cause__)
        assert memory.count_sync() == 1, "reads go on"
        holder.communicate("\n", timeout=20)
        memory.remember_sync("after")
        assert [episode.text for episode in memory.episodes_sync()] == ["before", "after"]
        assert memory.check_sync()["ok"]
