"""Contexts in a store: saved, loaded, found by other processes, remembered."""

from __future__ import annotations

import copy
import hashlib
import io
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from umi import Context, Memory, MemoryConfig, Url
from umi.exceptions import CorruptStoreError, FileError, InvalidInputError, NotFoundError, StoreIOError

RED, GREEN = (200, 10, 20), (10, 200, 20)
STORES = Path(__file__).parent / "stores"


def filled(folder: Path, session: str = "s") -> Context:
    """A context with an item of every source."""
    (folder / "näme b%.txt").write_text("hello")
    context = Context(session_id=session)
    context.add("be terse", role="system", metadata={"z": 1, "a": [2**70, {"ü": None}]})
    context.add(folder / "näme b%.txt")
    context.add(Image.new("RGB", (4, 3), RED), metadata={"note": "a red card"})
    context.add(b"x,y\n", media_type="text/csv")
    context.add(Url("https://example.com/a.png"))
    return context


def blobs(store: Path) -> list[str]:
    return sorted(file.name for file in (store / "blobs").iterdir())


def run(script: str, *args: object) -> str:
    command = [sys.executable, "-W", "error", "-c", script, *map(str, args)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def test_a_context_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    context = filled(tmp_path)
    for _ in range(2):
        context.save(tmp_path / "store", user="alice")
    loaded = Context.load("s", tmp_path / "store", user="alice")
    keys = ("ref_id", "role", "kind", "metadata")
    assert [[item[key] for key in keys] for item in loaded.items()] == [
        [item[key] for key in keys] for item in context.items()
    ]
    assert (loaded.changed, context.changed) == ([], [])
    text, path, image, data, url = loaded.ref_ids()
    assert list(loaded.items()[0]["metadata"]) == ["z", "a"]
    assert (loaded.get(text), loaded.get(path), loaded.get(data)) == ("be terse", context.get(path), b"x,y\n")
    assert isinstance(loaded.get(image), Image.Image)
    assert loaded.get(image).convert("RGB").getpixel((3, 2)) == RED
    assert str(loaded.get(url)) == "https://example.com/a.png"
    assert len(blobs(tmp_path / "store")) == 2


def test_a_ref_is_found_from_another_process_and_by_nobody_else(tmp_path: Path) -> None:
    context, store = filled(tmp_path), tmp_path / "store"
    text, path, image, *_ = context.ref_ids()
    context.save(store, "alice")
    script = """
import sys
from umi import Context
row = Context.get(sys.argv[1], db=sys.argv[2], user="alice")
print(sorted(row), row["kind"], row["position"], row["content_hash"] == row["path"].split("/")[-1].split(".")[0])
"""
    keys = sorted([
        "session_id", "ref_id", "role", "kind", "position", "source_kind", "uri", "path", "text", "media_type",
        "metadata", "content_hash", "byte_len", "modified", "is_changed", "saved_at",
    ])  # fmt: skip
    assert run(script, f"s/{image}", store) == f"{keys} image 2 True\n"
    for user in (None, "bob"):
        assert Context.get(f"s/{text}", db=store, user=user) is None
        with pytest.raises(NotFoundError):
            Context.load("s", store, user)
    assert Context.get(text, session_id="s", db=store, user="alice") is not None
    row = Context.get(f"s/{path}", db=store, user="alice")
    assert row is not None
    assert (row["path"], row["byte_len"], row["is_changed"]) == (str(context.get(path)), 5, False)
    assert Context.get("s/img_000000", db=store, user="alice") is None
    for wrong in (text, "s/none", "a/b/txt_000000"):
        with pytest.raises(InvalidInputError):
            Context.get(wrong, db=store)
    # A context's own `get` is another function.
    assert context.get(text) == "be terse"


def test_files_that_are_gone_or_changed_are_told(tmp_path: Path) -> None:
    context = Context(session_id="s")
    names = ("same", "gone", "longer", "disguised")
    for name in names:
        (tmp_path / name).write_text("12345")
    same, gone, longer, disguised = (context.add(tmp_path / name) for name in names)
    context.save(tmp_path / "store")
    stat = (tmp_path / "disguised").stat()
    (tmp_path / "gone").unlink()
    (tmp_path / "longer").write_text("123456")
    (tmp_path / "disguised").write_text("54321")
    os.utime(tmp_path / "disguised", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    loaded = Context.load("s", tmp_path / "store")
    assert loaded.changed == [gone, longer, disguised]
    assert loaded.get(same).read_text() == "12345"
    for made in (copy.copy(loaded), copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded))):
        assert made.changed == [gone, longer, disguised]
        made.changed.clear()
        assert (made.changed, loaded.changed) == ([gone, longer, disguised],) * 2
    (tmp_path / "longer").unlink()
    (tmp_path / "longer").mkdir()
    with pytest.raises(FileError, match=longer):
        context.save(tmp_path / "store")


def test_the_default_store_is_named_by_the_environment_at_each_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(session_id="s")
    context.add("hello")
    monkeypatch.setenv("UMI_DATA_DIR", str(tmp_path / "one"))
    context.save()
    assert (tmp_path / "one" / "contexts" / "umi.db").exists()
    monkeypatch.delenv("UMI_DATA_DIR")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "two"))
    context.save()
    assert (tmp_path / "two" / "umi" / "contexts" / "umi.db").exists()
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    context.save()
    assert (tmp_path / "home" / ".local" / "share" / "umi" / "contexts" / "umi.db").exists()
    assert len(Context.load("s")) == 1
    with pytest.raises(InvalidInputError):
        context.save("")


def test_the_home_folder_is_meant_by_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    context = Context(session_id="s")
    ref = context.add("hello")
    context.save("~/store")
    assert (tmp_path / "home" / "store" / "umi.db").exists()
    assert len(Context.load("s", Path("~/store"))) == 1
    assert Context.get(f"s/{ref}", db="~/store") is not None
    monkeypatch.setenv("UMI_DATA_DIR", "~/data")
    context.save()
    assert (tmp_path / "home" / "data" / "contexts" / "umi.db").exists()
    assert not (tmp_path / "~").exists()


def test_a_store_is_shared_with_a_memory_and_with_other_processes(tmp_path: Path) -> None:
    store = tmp_path / "store"
    script = """
import sys
from umi import Context
for number in range(10):
    context = Context(session_id=f"{sys.argv[2]} {number}")
    context.add(bytes([number]) * 1000, media_type="image/png")
    context.save(sys.argv[1])
"""
    with Memory.open(store) as memory:
        children = [subprocess.Popen([sys.executable, "-c", script, str(store), name]) for name in ("a", "b")]
        filled(tmp_path).save(store)
        memory.remember_sync("The kiln is red.")
        assert [child.wait(timeout=120) for child in children] == [0, 0]
        assert len(blobs(store)) == 12, "one file for one content"
        assert len(Context.load("a 9", store)) == 1
        assert memory.check_sync()["problems"] == []


def test_what_was_saved_outlasts_a_kill_and_leaves_nothing_that_stays(tmp_path: Path) -> None:
    store = tmp_path / "store"
    script = """
import sys
from umi import Context
for number in range(10_000):
    context = Context(session_id=str(number))
    context.add(str(number).encode() * 50_000, media_type="image/png")
    context.save(sys.argv[1])
    print(number, flush=True)
"""
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", script, str(store)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        saved = [int(child.stdout.readline()) for _ in range(5)]
        child.send_signal(signal.SIGKILL)
        saved += [int(line) for line in child.stdout if line.strip()]
        child.wait(timeout=60)
        child.stdout.close()
        for number in saved:
            context = Context.load(str(number), store)
            assert [context.get(ref) for ref in context] == [str(number).encode() * 50_000]
    (store / "blobs" / ("0" * 64 + ".png")).write_bytes(b"of a kill between the blob and its row")
    (store / "blobs" / "019da4c0-0000-7000-8000-000000000000.part").write_bytes(b"half a blob")
    assert Context.gc(store) == 0, "what is young may be about to be named"
    for file in (store / "blobs").iterdir():
        os.utime(file, (1_600_000_000, 1_600_000_000))
    assert Context.gc(store) >= 1
    with Memory.open(store) as memory:
        assert memory.check_sync()["problems"] == []
        assert len(blobs(store)) == memory.check_sync()["checked"]["blobs"]


def test_forgetting_a_user_and_purging_leaves_no_byte(tmp_path: Path) -> None:
    store = tmp_path / "store"
    secret = b"the secret of alice" * 100
    for user in ("alice", "bob"):
        context = Context(session_id="s")
        context.add(secret if user == "alice" else b"bob's", media_type="image/png")
        context.add(f"words of {user}")
        context.save(store, user)
    with Memory.open(store) as memory:
        memory.forget_scope_sync(user="alice")
        memory.purge_sync()
        left = b"".join(file.read_bytes() for file in store.rglob("*") if file.is_file())
        assert b"secret of alice" not in left
        assert b"words of alice" not in left
        assert b"words of bob" in left
    with pytest.raises(NotFoundError):
        Context.load("s", store, "alice")
    assert len(Context.load("s", store, "bob")) == 2


def test_a_lost_blob_is_told(tmp_path: Path) -> None:
    store = tmp_path / "store"
    filled(tmp_path).save(store)
    for name in blobs(store):
        (store / "blobs" / name).write_bytes(b"something else")
    with pytest.raises(CorruptStoreError):
        Context.load("s", store)
    with Memory.open(store) as memory:
        problems = memory.check_sync()["problems"]
    assert len(problems) == 2
    assert all(problem.startswith("blobs: ") for problem in problems)


def test_a_copy_and_a_recovered_store_hold_contexts_and_blobs(tmp_path: Path) -> None:
    store, context = tmp_path / "store", filled(tmp_path)
    context.save(store)
    with Memory.open(store) as memory:
        memory.remember_context_sync(context)
        memory.backup_sync(tmp_path / "copy")
    report = Memory.recover_sync(store, tmp_path / "recovered")
    assert (report["problems"], report["context_items"], report["episodes"]) == ([], 5, 5)
    for name in ("copy", "recovered"):
        assert Context.load("s", tmp_path / name).ref_ids() == context.ref_ids()
        with Memory.open(tmp_path / name) as memory:
            assert memory.check_sync()["problems"] == []
            item = memory.remembered_item_sync(f"s/{context.ref_ids()[3]}")
        assert item is not None
        assert item["content"] == b"x,y\n"


@pytest.mark.parametrize("version", ["version-1", "version-2"])
def test_an_older_store_takes_contexts(version: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(STORES / version, store)
    context = filled(tmp_path)
    context.save(store)
    assert Context.load("s", store).ref_ids() == context.ref_ids()
    with Memory.open(store) as memory:
        assert memory.check_sync()["problems"] == []
    connection = sqlite3.connect(store / "umi.db")
    assert connection.execute("PRAGMA user_version").fetchone() >= (3,)
    connection.close()


async def test_a_remembered_context_is_recalled_with_its_images(tmp_path: Path) -> None:
    context = filled(tmp_path, "trip")
    context.add(Image.new("RGB", (8, 8), GREEN), metadata={"note": "the green kiln in the yard"})
    image = context.ref_ids()[-1]
    async with Memory.open(tmp_path / "store", user="alice") as memory:
        first = await memory.remember_context(context)
        again = await memory.remember_context(context)
        assert len(first.episode_ids) == 6
        assert first.episode_ids == again.episode_ids
        hit = (await memory.recall("Where is the kiln?"))[0]
        assert hit.ref == f"trip/{image}"
        assert type(hit).from_dict(hit.to_dict()) == hit
        item = await memory.remembered_item(hit.ref)
        assert item is not None
        assert item["content"].startswith(b"\x89PNG")
        assert await memory.remembered_item(hit.ref, user="alice", session="other") is None

        document = await memory.context("Where is the kiln?")
        assert f'ref="trip/{image}"' in document
        for format in ("openai", "openai-responses", "anthropic", "gemini"):
            messages = await memory.context("Where is the kiln?", format=format)
            assert f"[ref={image}]" in str(messages)
            assert "image/png" in str(messages)
            assert messages == memory.context_sync("Where is the kiln?", format=format)
        assert isinstance(await memory.context(None, format="openai"), list)

        assert await memory.forget(hit.id)
        assert await memory.remembered_item(f"trip/{image}") is None
        count = len(blobs(tmp_path / "store"))
        await memory.purge()
        assert len(blobs(tmp_path / "store")) == count - 1
    context.add(b"x" * 10, media_type="application/x-unknown")
    (tmp_path / "näme b%.txt").unlink()
    async with Memory.in_memory(config=MemoryConfig(text_bytes=100)) as memory:
        with pytest.raises(FileError, match=context.ref_ids()[1]):
            await memory.remember_context(context)
        assert (await memory.stats())["episodes"] == 0


def test_reading_where_no_store_is_makes_none(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    assert Context.get("s1/img_a1b2c3", db=folder) is None
    assert Context.gc(folder) == 0
    with pytest.raises(NotFoundError, match="no context is saved under the session `s1`"):
        Context.load("s1", db=folder)
    assert not folder.exists()
    with pytest.raises(ValueError, match="is not a global ref"):
        Context.get("a/b", db=folder)
    with pytest.raises(TypeError):
        Context.get(3, db=folder)  # type: ignore[arg-type]
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreIOError):
        Context.load("s1", db=tmp_path / "file")


async def test_a_prompt_outlives_images_that_are_damaged_lost_or_not_taken(tmp_path: Path) -> None:
    context = Context(session_id="trip")
    image = io.BytesIO()
    Image.effect_noise((400, 400), 60).save(image, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(image.getvalue()[:-2000])
    cut = context.add(tmp_path / "cut.jpg", metadata={"note": "the red kiln in the yard"})
    lost = context.add(Image.new("RGB", (8, 8), GREEN), metadata={"note": "the green kiln in the yard"})
    whole = context.add(Image.new("RGB", (8, 8), RED), metadata={"note": "the old kiln in the yard"})
    store = tmp_path / "store"
    async with Memory.open(store, user="alice") as memory:
        await memory.remember_context(context)
        content = [await memory.remembered_item(f"trip/{ref}") for ref in (lost, whole)]
        assert content[0] is not None
        assert content[1] is not None
        name = hashlib.sha256(content[0]["content"]).hexdigest()
        for damage in ("other", None):
            if damage is None:
                (store / "blobs" / f"{name}.png").unlink()
            else:
                (store / "blobs" / f"{name}.png").write_text(damage)
            for format in ("openai", "openai-responses", "anthropic", "gemini"):
                messages = str(await memory.context("Where is the kiln in the yard?", format=format))
                assert f"[ref={cut}]" in messages
                assert messages.count("[not sent: ") == 2
                assert f"[not sent: the content of `trip/{lost}` cannot be read]" in messages
                assert f"[ref={whole}]" in messages
                assert "image/png" in messages


def test_images_keep_their_depth_palette_and_what_is_noted_in_them(tmp_path: Path) -> None:
    context = Context(session_id="s")
    images = []
    for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"):
        image = Image.new(mode, (40, 30))
        for place in range(1200):
            bands = len(image.getbands())
            if bands > 1:
                image.putpixel((place % 40, place // 40), tuple((place * band) % 256 for band in range(1, bands + 1)))
            else:
                value = {"1": place % 2, "I;16": place * 50, "I": place * 70_000, "F": place / 7}.get(mode, place % 256)
                image.putpixel((place % 40, place // 40), value)
        if mode in {"P", "PA"}:
            image.putpalette([channel % 251 for channel in range(768)])
        images.append(image)
    photo = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Umi"
    Image.effect_noise((40, 30), 60).save(photo, "JPEG", exif=exif, dpi=(300, 300))
    images.append(Image.open(photo))
    arrays = [np.arange(12, dtype=kind).reshape(3, 4) for kind in ("<u2", ">u2", "float32", "float64", "uint8")]
    for image in images:
        context.add(image)
    for array in arrays:
        context.add(array)
    for _ in range(2):
        context.save(tmp_path / "store")
        context = Context.load("s", tmp_path / "store")
        loaded = [context.get(ref) for ref in context]
        for image, found in zip(images, loaded, strict=False):
            assert (found.mode, found.size, found.tobytes()) == (image.mode, image.size, image.tobytes())
            assert found.getpalette() == image.getpalette()
        for array, found in zip(arrays, loaded[len(images) :], strict=True):
            assert (found.dtype, found.tolist()) == (array.dtype, array.tolist())
    noted = loaded[len(images) - 1]
    assert (noted.getexif()[0x0112], noted.getexif()[0x010F]) == (6, "Umi")
    assert noted.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    assert len(context.to_messages(on_error="raise")[0]["content"]) == 2 * len(context)


def test_a_damaged_file_of_an_image_is_mended_by_saving_again(tmp_path: Path) -> None:
    store = tmp_path / "store"
    context = filled(tmp_path)
    context.save(store)
    for name in blobs(store):
        file = store / "blobs" / name
        file.write_bytes(bytes(len(file.read_bytes())))
    with pytest.raises(CorruptStoreError):
        Context.load("s", store)
    context.save(store)
    assert len(Context.load("s", store)) == len(context)


def test_a_remembered_image_by_address_is_attached(tmp_path: Path) -> None:
    """As the provider fetches it in any other message; one that is no image is not."""
    ctx = Context()
    ctx.add(Url("http://a.example/okapi.png"), metadata={"note": "an okapi in the garden"})
    ctx.add(Url("http://a.example/okapi.pdf"), metadata={"note": "about the okapi in the garden"})
    with Memory.open(tmp_path / "store", user="a") as memory:
        memory.remember_context_sync(ctx)
        [message] = memory.context_sync("the okapi in the garden", format="openai")
    links = [part["image_url"]["url"] for part in message["content"] if part["type"] == "image_url"]
    assert links == ["http://a.example/okapi.png"]


def test_an_image_whose_file_was_closed_says_so(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        pass
    ctx = Context()
    ctx.add(image)
    with pytest.raises(InvalidInputError, match=r"load\(\) it before"):
        ctx.save(db=tmp_path / "store")
