"""`Context`: what can be added, how it is found again, and what is refused."""

from __future__ import annotations

import copy
import os
import pickle
import re
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import umi
from umi import Context, GlobalRef, InvalidInputError, RefNotFoundError, Url

if TYPE_CHECKING:
    from collections.abc import Callable

REF = re.compile(r"^[a-z]{3,4}_[0-9a-f]{6}$")


@pytest.fixture
def ctx() -> Context:
    return Context(session_id="s1")


def test_refs_are_short_and_uuids_sort_in_the_order_of_making(ctx: Context) -> None:
    ref: umi.Ref = ctx.add("Hello")
    assert REF.match(ref)
    assert ref.startswith("txt_")
    assert type(ref) is str
    made = [umi.uuid7() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert uuid.UUID(Context().session_id).version == 7


def test_what_is_added_is_found_by_identity(ctx: Context, tmp_path: Path) -> None:
    text, data = "Über " * 100, bytes(100)
    image, array = Image.new("RGB", (4, 3)), np.zeros((3, 4, 3), dtype=np.uint8)
    refs = [
        ctx.add(text),
        ctx.add(data, media_type="image/png"),
        ctx.add(image),
        ctx.add(array),
    ]
    assert [ref[:4] for ref in refs] == ["txt_", "img_", "img_", "img_"]
    for ref, obj in zip(refs, (text, data, image, array), strict=True):
        assert ctx.get(ref) is obj
        assert ctx[ref] is obj
        assert ctx.get(f"s1/{ref}") is obj
    url = Url("https://example.com/a.png")
    assert ctx.get(ctx.add(url)) == url


def test_a_path_is_resolved_and_given_back_as_a_new_path(ctx: Context, tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(b"x")
    link = tmp_path / "link"
    link.symlink_to(file)
    ref = ctx.add(link)
    assert ref.startswith("img_")
    assert ctx.get(ref) == file.resolve()
    assert ctx.get(ref) is not ctx.get(ref)
    odd = Path(str(tmp_path) + "/\udcff.txt")
    odd.write_bytes(b"x")
    assert ctx.get(ctx.add(odd)) == odd


@pytest.mark.parametrize(
    ("name", "content", "prefix"),
    [
        ("a.json", b"{}", "data"), ("a.csv", b"", "data"), ("a.toml", b"", "cfg"), ("a.yaml", b"", "cfg"),
        ("a.py", b"", "code"), ("a.md", b"", "txt"), ("a.PDF", b"", "doc"), ("a.mp4", b"", "vid"),
        ("a.wav", b"", "aud"),
        ("a.bin", b"\x00\x01", "obj"), ("a.unheard", b"plain", "txt"), ("a", b"%PDF-1.4", "doc"),
        ("a", b"\x89PNG\r\n\x1a\n\x00", "img"), ("a.zip", b"PK", "obj"),
    ],
)  # fmt: skip
def test_the_kind_is_by_extension_and_else_by_content(
    ctx: Context, tmp_path: Path, name: str, content: bytes, prefix: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    assert ctx.add(file).startswith(f"{prefix}_")


def test_what_cannot_be_added_is_refused_and_adds_nothing(ctx: Context, tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text("x")
    recursive: dict[str, Any] = {}
    recursive["self"] = recursive
    refused: list[tuple[type[Exception], Callable[[], object]]] = [
        (TypeError, lambda: ctx.add(5)),  # type: ignore[arg-type]
        (TypeError, lambda: ctx.add(None)),  # type: ignore[arg-type]
        (TypeError, lambda: ctx.add(b"x")),
        (TypeError, lambda: ctx.add("x", media_type="text/plain")),
        (TypeError, lambda: ctx.add(bytearray(b"x"), media_type="image/png")),  # type: ignore[arg-type]
        (TypeError, lambda: ctx.add(np.zeros((2, 2), dtype=complex))),
        (TypeError, lambda: ctx.add("x", metadata=[1])),  # type: ignore[arg-type]
        (ValueError, lambda: ctx.add("x", role="assistant")),  # type: ignore[arg-type]
        (ValueError, lambda: ctx.add(file, role="system")),
        (ValueError, lambda: ctx.add(Image.new("L", (1, 1)), role="developer")),
        (ValueError, lambda: ctx.add(np.zeros(3, dtype=np.uint8))),
        (ValueError, lambda: ctx.add(np.zeros((0, 3), dtype=np.uint8))),
        (ValueError, lambda: ctx.add(b"x", media_type="png")),
        (ValueError, lambda: ctx.add("\ud800")),
        (ValueError, lambda: ctx.add("x", metadata={"x": float("nan")})),
        (ValueError, lambda: ctx.add("x", metadata={"x": object()})),
        (ValueError, lambda: ctx.add("x", metadata={"x": {1}})),
        (ValueError, lambda: ctx.add("x", metadata={1: "x"})),  # type: ignore[dict-item]
        (ValueError, lambda: ctx.add("x", metadata={"\ud800": 1})),
        (ValueError, lambda: ctx.add("x", metadata=recursive)),
        (ValueError, lambda: ctx.add("x", metadata={"x": "y" * 100_000})),
        (umi.MissingFileError, lambda: ctx.add(tmp_path / "missing.md")),
        (umi.IsFolderError, lambda: ctx.add(tmp_path)),
        (umi.FileError, lambda: ctx.add(file / "below.md")),
        (ValueError, lambda: ctx.add(Path("/dev/null"))),
    ]
    for number, (error, call) in enumerate(refused):
        with pytest.raises(error) as caught:
            call()
        assert type(caught.value) is TypeError or isinstance(caught.value, umi.UmiError), number
        assert len(ctx) == 0, number


def test_a_file_error_names_the_file_and_survives_a_pickle(ctx: Context, tmp_path: Path) -> None:
    assert issubclass(umi.MissingFileError, FileNotFoundError)
    assert issubclass(umi.IsFolderError, IsADirectoryError)
    with pytest.raises(umi.MissingFileError, match=r"missing\.md") as caught:
        ctx.add(tmp_path / "missing.md")
    assert caught.value.filename == str(tmp_path / "missing.md")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again), again.errno) == (umi.MissingFileError, str(caught.value), 2)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_file_that_may_not_be_read_is_a_permission_error(
    public_path: Path, as_nobody: Callable[..., list[str]]
) -> None:
    (public_path / "unknown").write_bytes(b"x")
    (public_path / "unknown").chmod(0o600)
    code = """
import pathlib
try:
    umi.Context().add(pathlib.Path(sys.argv[1]))
except umi.FilePermissionError as error:
    print(isinstance(error, PermissionError), error.errno)
"""
    assert as_nobody(code, public_path / "unknown") == ["True 13"]


@pytest.mark.parametrize("session_id", ["", "a/b", "a\nb", "x" * 300, "\ud800"])
def test_a_session_id_is_checked(session_id: str) -> None:
    with pytest.raises(ValueError, match=r"session id|surrogate"):
        Context(session_id=session_id)


def test_metadata_is_kept_exactly_as_it_is_now(ctx: Context) -> None:
    metadata = {"z": 1, "a": [1, {"y": None, "b": True}], "big": 2**70, "f": 1.5, "é": "\u2028 \x00", "t": (1, 2)}
    ctx.add("x", metadata=metadata)
    metadata["later"] = 1
    kept = ctx.items()[0]["metadata"]
    assert kept == {"z": 1, "a": [1, {"y": None, "b": True}], "big": 2**70, "f": 1.5, "é": "\u2028 \x00", "t": [1, 2]}
    assert list(kept) == ["z", "a", "big", "f", "é", "t"]
    assert list(kept["a"][1]) == ["y", "b"]
    empty: dict[str, Any] = {}
    for none in (empty, None):
        ctx.add("x", metadata=none)
        assert ctx.items()[-1]["metadata"] == {}


def test_it_is_a_collection(ctx: Context) -> None:
    assert not ctx
    refs = [ctx.add(str(number)) for number in range(1_000)]
    assert (len(ctx), ctx.ref_ids(), list(ctx)) == (1_000, refs, refs)
    assert ctx.refs == {ref: f"s1/{ref}" for ref in refs}
    assert refs[0] in ctx
    assert f"s1/{refs[0]}" in ctx
    for absent in (f"s2/{refs[0]}", "img_000000", "", 5, None, "\ud800"):
        assert absent not in ctx
    for ref in refs[::2]:
        ctx.remove(ref)
    assert ctx.ref_ids() == refs[1::2]
    assert [ctx[ref] for ref in ctx] == [str(number) for number in range(1, 1_000, 2)]
    with pytest.raises(TypeError):
        ctx[0]  # type: ignore[index]


def test_items_tell_everything_about_them(ctx: Context, tmp_path: Path) -> None:
    file = tmp_path / "a.pdf"
    file.write_bytes(b"x")
    ctx.add("é", role="system", metadata={"note": "n"})
    ctx.add(file)
    ctx.add(Image.new("RGB", (1024, 768)))
    ctx.add(b"123", media_type="audio/mpeg")
    ctx.add(Url("https://example.com/a"))
    ctx.add(np.zeros((768, 1024), dtype=np.uint8))
    rows = [tuple(item.values())[1:] for item in ctx.items()]
    path = str(file.resolve())
    assert rows == [
        ("system", "text", "in_memory", "text/plain", 2, "é", {"note": "n"}),
        ("user", "document", "path", path, None, path, {}),
        ("user", "image", "in_memory", "image/pil", 2_359_296, "PIL.Image(RGB, 1024×768)", {}),
        ("user", "audio", "in_memory", "audio/mpeg", 3, "audio/mpeg (3 B)", {}),
        ("user", "other", "url", "https://example.com/a", None, "https://example.com/a", {}),
        ("user", "image", "in_memory", "image/numpy", 786_432, "numpy.ndarray(uint8, 1024×768)", {}),
    ]
    keys = ["ref_id", "role", "kind", "source_kind", "source_value", "byte_len", "desc", "metadata"]
    assert list(ctx.items()[0]) == keys


def test_a_miss_tells_what_there_is(ctx: Context) -> None:
    ref = ctx.add("Hello")
    wrong = ref[:-1] + "Z"
    for miss in (ctx.get, ctx.remove, ctx.__getitem__):
        with pytest.raises(RefNotFoundError) as caught:
            miss(wrong)
        told = str(caught.value)
        assert told.startswith(
            f"ref '{wrong}' not found in session s1. Did you mean: {ref}?\n\nAvailable refs:\nContext("
        )
        assert f"| {ref} | user | text | Hello" in told
        assert isinstance(caught.value, KeyError)
        assert isinstance(caught.value, umi.NotFoundError)
        assert caught.value.args == (told,) == (caught.value.message,)
    with pytest.raises(ValueError, match="belongs to session `s2`"):
        ctx.get(f"s2/{ref}")
    with pytest.raises(TypeError):
        ctx.get(5)  # type: ignore[arg-type]


def test_a_miss_is_of_the_moment_when_it_was_raised(ctx: Context) -> None:
    refs = [ctx.add(str(number)) for number in range(600)]
    with pytest.raises(RefNotFoundError) as caught:
        ctx.get("txt_zzzzzz")
    for ref in refs:
        ctx.remove(ref)
    ctx.add("new")
    told = str(caught.value)
    assert "items=600" in told
    assert told.endswith("and 580 more\n")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (RefNotFoundError, told)
    assert str(copy.copy(caught.value)) == told


def test_a_copy_is_a_context_of_its_own(ctx: Context, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"x")
    image = Image.new("RGB", (2, 2), "red")
    ctx.add("one", role="developer", metadata={"b": 2**65, "a": 1})
    ctx.add(image)
    ctx.add(np.full((2, 2), 7, dtype=np.uint8))
    ctx.add(b"123", media_type="image/png")
    ctx.add(Url("https://example.com/a", media_type="image/png"))
    ctx.add(file)
    file.unlink()
    picture, array = ctx.ref_ids()[1:3]
    for made in (copy.copy(ctx), copy.deepcopy(ctx), pickle.loads(pickle.dumps(ctx))):
        assert type(made) is Context
        assert (made.session_id, made.ref_ids()) == ("s1", ctx.ref_ids())
        assert made.items() == ctx.items()
        assert made[array][1, 1] == 7
        made.remove(picture)
        assert picture in ctx
    assert copy.copy(ctx)[picture] is image
    deep = copy.deepcopy(ctx)
    assert deep[picture] is not image
    assert deep[picture].getpixel((0, 0)) == (255, 0, 0)


class Derived(Context):
    pass


def test_a_subclass_stays_one() -> None:
    derived = Derived(session_id="s1")
    ref = derived.add("x")
    for made in (copy.copy(derived), pickle.loads(pickle.dumps(derived))):
        assert type(made) is Derived
        assert made[ref] == "x"


def test_several_threads_may_use_it_freely(ctx: Context) -> None:
    failures: list[BaseException] = []
    start = threading.Barrier(4)

    def work(number: int) -> None:
        try:
            start.wait()
            for turn in range(300):
                ref = ctx.add(f"{number} {turn}")
                assert ctx[ref] == f"{number} {turn}"
                if turn % 50 == 0:
                    image = ctx.add(Image.new("L", (2, 2)))
                    assert "PIL.Image" in ctx.tree()
                    assert repr(ctx)
                    ctx.remove(image)
                    with pytest.raises(RefNotFoundError):
                        ctx.get(image)
                if turn % 2:
                    ctx.remove(ref)
        except BaseException as failure:  # noqa: BLE001 - told by the main thread
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(ctx) == 600


def test_what_is_removed_is_let_go(ctx: Context) -> None:
    gone: list[int] = []

    class Noisy(Image.Image):
        def __del__(self) -> None:
            gone.append(len(ctx))  # code that uses the very context it is dropped from

    ref = ctx.add(Noisy())
    ctx.remove(ref)
    assert gone == [0]


def test_a_global_ref_is_a_value() -> None:
    ref = GlobalRef.parse("s1/img_a1b2c3")
    assert (ref.session_id, ref.ref_id, ref.kind, str(ref)) == ("s1", "img_a1b2c3", "image", "s1/img_a1b2c3")
    assert ref == GlobalRef("s1", "img_a1b2c3")
    assert hash(ref) == hash(GlobalRef("s1", "img_a1b2c3"))
    assert pickle.loads(pickle.dumps(ref)) == copy.copy(ref) == ref
    assert repr(ref) == "GlobalRef(session_id='s1', ref_id='img_a1b2c3')"
    for wrong in ("", "img_a1b2c3", "/img_a1b2c3", "s1/img_A1B2C3", "a/b/img_a1b2c3", "s1/xyz_a1b2c3"):
        with pytest.raises(ValueError, match="is not a global ref"):
            GlobalRef.parse(wrong)


def test_a_url_is_a_value_and_never_fetched() -> None:
    url = Url("https://example.com/a.png?x=1")
    assert (str(url), url.kind, url.media_type) == ("https://example.com/a.png?x=1", "image", "image/png")
    other = Url("http://example.com/a", media_type="audio/mpeg")
    assert (other.kind, other.media_type) == ("audio", "audio/mpeg")
    for value in (url, other):
        assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value
        assert hash(copy.copy(value)) == hash(value)
    assert url != other
    for wrong in ("", "photo.jpg", "ftp://a/b", "file:///etc/passwd", "https://a/b c", "javascript:alert(1)"):
        with pytest.raises(InvalidInputError):
            Url(wrong)
