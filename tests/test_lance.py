"""A store with an index on LanceDB: kills, two processes, a feeder that is stopped past its lease, forgetting."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from umi import (
    FeatureNotBuiltError,
    LanceStorageBackend,
    ManualClock,
    Memory,
    MemoryBuilder,
    RecallOptions,
    StoreLockedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

try:
    LanceStorageBackend.connect()
except FeatureNotBuiltError:
    pytest.skip("this build has no LanceDB", allow_module_level=True)

pytestmark = pytest.mark.timeout(300)  # the extension under test is not optimised

WRITER = """
import sys
from umi import LanceStorageBackend, MemoryBuilder
memory = MemoryBuilder().with_storage(LanceStorageBackend.connect(sys.argv[1])).with_scope(user="alice").build()
first, rounds = int(sys.argv[2]), int(sys.argv[3])
for number in range(rounds):
    texts = [f"Parcel {first + number * 40 + i} is in the cellar." for i in range(40)]
    ids = [id for result in memory.remember_many_sync(texts) for id in result.episode_ids]
    print(len(ids), flush=True)  # these are durable
    memory.flush_sync()
memory.close_sync()
print("closed", flush=True)
"""


def open_memory(path: Path, clock: ManualClock | None = None) -> Memory:
    storage = LanceStorageBackend.connect(path)
    return MemoryBuilder().with_storage(storage).with_scope(user="alice").with_clock(clock).build()


def writer(path: Path, first: int, rounds: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", WRITER, str(path), str(first), str(rounds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def lines(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line.strip()


def assert_sound(memory: Memory) -> None:
    assert memory.check_sync()["problems"] == []


def holds(folder: Path, text: str) -> bool:
    return any(text.encode() in file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_a_store_on_lance_remembers_recalls_and_forgets_as_any_other(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        said = memory.remember_sync("The kiln came from Utrecht.").episode_ids[0]
        memory.remember_many_sync([f"Plate {number} is on shelf {number % 7}." for number in range(100)])
        assert memory.recall_sync("kiln")[0].id == said
        memory.flush_sync()
        stats = memory.stats_sync()["index"]["lance"]
        assert stats["rows"] == 101
        assert stats["commits"] > 0
        assert stats["bytes_on_disk"] > 0
        assert stats["failures"] == 0
        assert_sound(memory)
    assert (tmp_path / "lance").is_dir()
    with open_memory(tmp_path) as memory:
        assert memory.recall_sync("kiln")[0].id == said
        assert memory.forget_sync(said)
        assert all(hit.id != said for hit in memory.recall_sync("kiln"))
        memory.flush_sync()
        assert_sound(memory)


def test_the_same_store_without_lance_and_with_it_again(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        memory.remember_sync("The kiln came from Utrecht.")
    with Memory.open(tmp_path, user="alice") as memory:
        memory.remember_sync("The oven came from Delft.")
        assert len(memory.recall_sync("what came from where")) == 2
    shutil.rmtree(tmp_path / "lance")
    with open_memory(tmp_path) as memory:
        assert len(memory.recall_sync("what came from where")) == 2
        memory.flush_sync()
        assert memory.stats_sync()["index"]["lance"]["rebuilds"] == 1
        assert_sound(memory)
    with Memory.open(tmp_path, user="alice") as memory:
        memory.purge_sync()
    assert not (tmp_path / "lance").exists()


def test_purging_leaves_no_byte_in_the_folder_of_the_index(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory:
        secret = memory.remember_sync("The combination is zanzibar.", session="vault-7f3a").episode_ids[0]
        memory.remember_many_sync([f"Plate {number} is on the shelf." for number in range(50)])
        memory.flush_sync()
        traces = ["zanzibar", secret, secret.replace("-", ""), "vault-7f3a"]
        assert any(holds(tmp_path / "lance", trace) for trace in traces), "the search sees what is there"
        assert memory.forget_sync(secret)
        memory.purge_sync()
        for trace in traces[:3]:
            assert not holds(tmp_path / "lance", trace), trace
        assert not holds(tmp_path / "lance", "vault-7f3a")
        assert_sound(memory)


def test_a_feeder_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    dice = random.Random(5)
    durable = 0
    for attempt in range(6):
        with writer(tmp_path, attempt * 10_000, 50) as process:
            wanted = dice.randint(1, 4)
            for line in lines(process):
                durable += int(line)
                wanted -= 1
                if wanted == 0:
                    break
            # The batch that it has just told is being fed.
            process.send_signal(signal.SIGKILL)
            durable += sum(int(line) for line in lines(process))
        with open_memory(tmp_path) as memory:
            assert memory.count_sync() >= durable
            durable = memory.count_sync()
            assert_sound(memory)
            assert memory.recall_sync(f"parcel {attempt * 10_000}")[0].content.startswith("Parcel")
    # The lease of the last one that was killed ends by itself.
    with open_memory(tmp_path, ManualClock(datetime.now(UTC) + timedelta(hours=1))) as memory:
        memory.flush_sync()
        assert memory.stats_sync()["index"]["lance"]["rows"] == durable
        assert_sound(memory)


def test_two_processes_feed_one_store(tmp_path: Path) -> None:
    with open_memory(tmp_path) as memory, writer(tmp_path, 10_000, 5) as process:
        for number, line in enumerate(lines(process)):
            if line == "closed":
                break
            memory.remember_sync(f"Letter {number} is on the desk.")
            memory.flush_sync()
            assert memory.recall_sync(f"parcel {10_000 + number * 40}")[0].content.startswith("Parcel")
        assert process.wait() == 0
        memory.flush_sync()
        assert memory.count_sync() == 205
        assert_sound(memory)


@pytest.mark.parametrize("told", [1, 2, 3])
def test_a_feeder_that_is_stopped_past_its_lease_brings_nothing_back(tmp_path: Path, told: int) -> None:
    later = ManualClock(datetime.now(UTC) + timedelta(hours=1))
    with writer(tmp_path, 0, 4) as process, contextlib.ExitStack() as end:
        end.callback(process.kill)  # it may stand still, and nobody would wait for it for ever
        told_lines = lines(process)
        for _ in range(told):
            last = next(told_lines)
        process.send_signal(signal.SIGSTOP)
        with open_memory(tmp_path, later) as memory:
            newest = memory.episodes_sync(limit=1)[-1].id
            while True:
                try:
                    assert memory.forget_sync(newest)
                    break
                except StoreLockedError:  # it was stopped in the middle of a write
                    process.send_signal(signal.SIGCONT)
                    last = next(told_lines, last)  # on a busy machine it would get nowhere without a wait
                    process.send_signal(signal.SIGSTOP)
            memory.flush_sync()
            assert_sound(memory)
            process.send_signal(signal.SIGCONT)
            assert [last, *told_lines][-1] == "closed"
            assert process.wait() == 0
            assert memory.get_sync(newest) is None
            everything = RecallOptions(limit=1_000)
            assert all(hit.id != newest for hit in memory.recall_sync("parcel in the cellar", everything))
            memory.flush_sync()
            assert memory.stats_sync()["index"]["lance"]["rows"] == memory.count_sync()
            assert_sound(memory)
