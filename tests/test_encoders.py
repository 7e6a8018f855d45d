"""The registry of encoders, the cache of what they made, and the readers that need other packages."""

from __future__ import annotations

import base64
import builtins
import copy
import importlib
import io
import pickle
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import umi
from media_files import film, picture, saved
from umi import Context, encoders

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _texts(messages: list[Any]) -> list[str]:
    return [part["text"] for message in messages for part in message["content"] if part["type"] == "text"]


def _images(messages: list[Any]) -> list[Image.Image]:
    parts = [part for message in messages for part in message["content"] if part["type"] == "image_url"]
    return [Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2]))) for part in parts]


def test_the_encoders_are_listed() -> None:
    """By kind, the default first."""
    assert encoders.list_encoders("image") == {"image": ["resize", "tile"]}
    names = encoders.list_encoders()
    assert names["video"] == ["frames", "mosaic", "native"]
    assert names["document"] == ["rasterize", "page-text", "native"]
    assert names["audio"] == ["native"]
    assert {names[kind][0] for kind in ("text", "code", "data", "config")} == {"text"}
    with pytest.raises(ValueError, match="known kinds"):
        encoders.list_encoders("picture")


def test_an_encoder_of_ones_own(tmp_path: Path) -> None:
    """It gives texts, media, images and parts of OpenAI's, and is called with what was added."""
    calls: list[Any] = []

    class Caption:
        name = "caption"
        kind = "image"

        def encode(self, source: Any, *, words: str = "an image") -> list[Any]:
            calls.append(source)
            url = "data:image/png;base64," + base64.b64encode(saved(picture(3, 3), "PNG")).decode()
            return [
                words,
                encoders.Media(saved(picture(2, 2), "PNG"), "image/png"),
                picture(4, 4),
                {"type": "image_url", "image_url": {"url": url}},
                {"role": "user", "content": [{"type": "text", "text": "as a message"}]},
            ]

    assert encoders.register(Caption) is Caption
    assert "caption" in encoders.list_encoders("image")["image"]
    path = tmp_path / "a.png"
    picture().save(path)
    ctx = Context()
    ctx.add(path)
    ctx.add(saved(picture(), "PNG"), media_type="image/png")
    ctx.add(picture())
    options: dict[str, Any] = {"encoders": {"image": "caption"}, "encoder_kwargs": {"image": {"words": "hello"}}}
    messages = ctx.to_messages(**options)
    assert _texts(messages).count("hello") == 3
    assert _texts(messages).count("as a message") == 3
    assert [image.size for image in _images(messages)] == [(2, 2), (4, 4), (3, 3)] * 3
    kinds = sorted(type(source).__name__ for source in calls)
    assert kinds == ["Image", type(path).__name__, "bytes"]
    ctx.to_messages(**options)
    assert len(calls) == 6, "what Python gives is not kept"


def test_an_encoder_that_fails_is_told_with_its_cause() -> None:
    """The exception of the encoder is the cause of the one that is raised."""

    class Broken:
        name = "broken"
        kind = "image"

        def encode(self, source: Any) -> list[str]:
            raise KeyError("oh no")

    encoders.register(Broken())
    ctx = Context()
    ref = ctx.add(picture())
    with pytest.raises(umi.InvalidInputError, match="encoder `broken` failed") as raised:
        ctx.to_messages(encoders={"image": "broken"})
    assert isinstance(raised.value.__cause__, KeyError)
    assert ref in str(raised.value)
    [_, told] = _texts(ctx.to_messages(encoders={"image": "broken"}, on_error="placeholder"))
    assert told.startswith("[not sent: encoder `broken` failed")


@pytest.mark.parametrize("made", [3, [3], [{"type": "video_url"}], [{"type": "image_url", "image_url": {"url": "x"}}]])
def test_what_an_encoder_may_not_give(made: Any) -> None:
    """It is told."""

    class Odd:
        name = "odd"
        kind = "image"

        def encode(self, source: Any) -> Any:
            return made

    encoders.register(Odd())
    ctx = Context()
    ctx.add(picture())
    with pytest.raises(ValueError, match="encoder `odd` failed"):
        ctx.to_messages(encoders={"image": "odd"})


def test_what_cannot_be_registered() -> None:
    """An encoder has a name, a kind and a method."""

    class Nameless:
        name = ""
        kind = "image"

        def encode(self, source: Any) -> list[str]:
            return []

    class Kindless(Nameless):
        name = "a"
        kind = "picture"

    for wrong, error in ((Nameless(), TypeError), (Kindless(), ValueError), (object(), AttributeError)):
        with pytest.raises(error):
            encoders.register(wrong)  # type: ignore[type-var]


def test_the_cache_is_bounded(tmp_path: Path) -> None:
    """In bytes, and it can be turned off."""
    before, limit = encoders.cache_bytes()
    assert limit == 256 * 1024 * 1024
    try:
        encoders.set_cache_bytes(100_000)
        ctx = Context()
        for index in range(30):
            path = tmp_path / f"{index}.png"
            Image.effect_noise((100, 100), index + 1).save(path)
            ctx.add(path)
        first = ctx.to_messages()
        assert 0 < encoders.cache_bytes()[0] <= 100_000
        assert ctx.to_messages() == first
        encoders.set_cache_bytes(0)
        assert encoders.cache_bytes() == (0, 0)
        assert ctx.to_messages() == first
        with pytest.raises(ValueError, match="-1"):
            encoders.set_cache_bytes(-1)
    finally:
        encoders.set_cache_bytes(limit)
    assert before >= 0


def test_media_is_a_value() -> None:
    """It cannot be changed, and holds bytes."""
    media = encoders.Media(b"x", "image/png", "a.png")
    assert repr(media) == "Media(1 bytes, 'image/png', name='a.png')"
    with pytest.raises(AttributeError):
        media.data = b"y"
    with pytest.raises(TypeError):
        encoders.Media("x", "image/png")  # type: ignore[arg-type]


def test_avif_is_read_by_pillow() -> None:
    """Where it can; else the way to it is told."""
    from PIL import features

    ctx = Context()
    if features.check("avif"):
        ctx.add(saved(picture(), "AVIF"), media_type="image/avif")
        [seen] = _images(ctx.to_messages())
        assert seen.size == (40, 30)
    ctx = Context()
    ctx.add(b"\0\0\0\x20ftypheic\0\0\0\0mif1heic" + bytes(40), media_type="image/heic")
    with pytest.raises((umi.FeatureNotBuiltError, ValueError)):
        ctx.to_messages()


def test_without_pillow_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of a format that takes Pillow."""
    original = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] in {"PIL", "pillow_heif"}:
            raise ImportError(name)
        return original(name, *rest, **more)

    for name in [name for name in sys.modules if name.partition(".")[0] in {"PIL", "pillow_heif"}]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(builtins, "__import__", missing)
    ctx = Context()
    ctx.add(b"\0\0\0\x20ftypavif\0\0\0\0" + bytes(40), media_type="image/avif")
    with pytest.raises(umi.FeatureNotBuiltError, match="pip install pillow"):
        ctx.to_messages()


def test_films_are_shown_by_their_pictures(tmp_path: Path) -> None:
    """Frames and mosaics by PyAV, from a file and from bytes."""
    path = tmp_path / "clip.mp4"
    film(path)
    for item, media_type in ((path, None), (path.read_bytes(), "video/mp4")):
        ctx = Context()
        ctx.add(item, media_type=media_type)
        messages = ctx.to_messages()
        images = _images(messages)
        assert [image.size for image in images] == [(64, 48)] * 3
        shades = [int(np.asarray(image.convert("L"))[20, 30]) for image in images]
        assert shades == sorted(shades), shades
        assert max(abs(shade - wanted) for shade, wanted in zip(shades, (42, 127, 212), strict=True)) < 15, shades
        assert "frames at 0:00.5, 0:01.5, 0:02.5" in _texts(messages)[1]
        mosaic = ctx.to_messages(encoders={"video": "mosaic"}, encoder_kwargs={"video": {"fps": 1, "columns": 2}})
        assert [image.size for image in _images(mosaic)] == [(128, 96)]
        with pytest.raises(ValueError, match="does not take video/mp4"):
            ctx.to_messages(encoders={"video": "native"})
        [part] = [
            part for part in ctx.to_messages("gemini", encoders={"video": "native"})[0]["parts"] if "text" not in part
        ]
        assert part["inline_data"] == {"mime_type": "video/mp4", "data": path.read_bytes()}


@pytest.mark.timeout(120)
def test_a_film_whose_pictures_seldom_stand_by_themselves_comes_to_its_end(tmp_path: Path) -> None:
    """Five minutes, one picture of 50 seconds stands by itself."""
    av = pytest.importorskip("av")
    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=2, options={"g": "100", "preset": "ultrafast"})
        stream.width = stream.height = 32
        for index in range(600):
            shade = index * 255 // 600
            container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (32, 32), (shade, shade, shade)))))
        container.mux(stream.encode())
    ctx = Context()
    ctx.add(path)
    images = _images(ctx.to_messages(encoders={"video": "frames"}, encoder_kwargs={"video": {"max_frames": 16}}))
    shades = [image.convert("L").tobytes()[16 * image.width + 16] for image in images]
    assert len(shades) == 16
    for index, shade in enumerate(shades):
        assert abs(shade - 255 * (index + 0.5) / 16) < 12, shades


def test_a_picture_that_takes_too_long_is_an_error(tmp_path: Path) -> None:
    """The decoder of another package is not waited for without end."""
    pytest.importorskip("av")
    path = tmp_path / "clip.mp4"
    film(path, seconds=1)
    media = importlib.import_module("umi._media")
    assert len(media.film_frames(path, "mov,mp4", [0.5], 64, 120.0)) == 1
    with pytest.raises(umi.CapacityError, match="took more than"):
        media.film_frames(path, "mov,mp4", [0.5], 64, -0.1)


def test_what_only_says_that_it_is_a_film_opens_no_other_file_and_no_network(tmp_path: Path) -> None:
    """Lists of files and descriptions of sessions are refused, as bytes and as files."""
    pytest.importorskip("av")
    secret = tmp_path / "secret.mp4"
    film(secret)
    session = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    session += b"a=rtpmap:96 H264/90000\n"
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{secret}\n#EXT-X-ENDLIST\n".encode()
    for evil in (session, f"ffconcat version 1.0\nfile {secret.name}\n".encode(), playlist):
        path = tmp_path / "evil.mp4"
        path.write_bytes(evil)
        for item, media_type in ((path, None), (evil, "video/mp4")):
            ctx = Context()
            ctx.add(item, media_type=media_type) if media_type else ctx.add(item)
            with pytest.raises((umi.UmiError, ValueError), match="film cannot be decoded"):
                ctx.to_messages()


def test_an_image_is_decoded_as_what_it_says_that_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other plugins of Pillow, one of which starts Ghostscript, are not asked."""
    asked: list[dict[str, Any]] = []
    opened = Image.open

    def watched(*args: Any, **options: Any) -> Any:
        asked.append(options)
        return opened(*args, **options)

    monkeypatch.setattr(Image, "open", watched)
    ctx = Context()
    ctx.add(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", media_type="image/heic")
    with pytest.raises(umi.InvalidInputError, match="no image of HEIC or AVIF"):
        ctx.to_messages()
    assert asked
    assert all(set(options["formats"]) <= {"HEIF", "AVIF"} for options in asked)


def test_an_interrupt_in_an_encoder_is_no_fault_of_the_item() -> None:
    """It ends the call, with a placeholder too; an exception without words is told by its class."""

    class Interrupted:
        name = "interrupted"
        kind = "image"

        def encode(self, source: Any, /, *, error: str = "KeyError") -> list[str]:
            raise getattr(builtins, error)

    encoders.register(Interrupted())
    ctx = Context()
    ctx.add(picture())
    options: dict[str, Any] = {"encoders": {"image": "interrupted"}, "on_error": "placeholder"}
    for error in (KeyboardInterrupt, SystemExit):
        with pytest.raises(error):
            ctx.to_messages(encoder_kwargs={"image": {"error": error.__name__}}, **options)
    [_, told] = _texts(ctx.to_messages(encoder_kwargs={"image": {"error": "KeyError"}}, **options))
    assert told == "[not sent: encoder `interrupted` failed: KeyError]"


def _interrupted(call: Callable[[], object], started: threading.Event, release: threading.Event) -> None:
    """The keyboard ends a call once it has started, before what it waits for is released."""

    def interrupt() -> None:
        started.wait(60)
        signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
        assert not release.is_set()
    finally:
        release.set()
        thread.join()


def test_the_keyboard_ends_the_wait_for_an_encoder() -> None:
    """However long it takes."""
    started, release = threading.Event(), threading.Event()

    class Slow:
        name = "slow"
        kind = "image"

        def encode(self, source: Any) -> list[str]:
            started.set()
            release.wait(60)
            return ["done"]

    encoders.register(Slow())
    ctx = Context()
    ctx.add(picture())
    _interrupted(lambda: ctx.to_messages(encoders={"image": "slow"}), started, release)


@pytest.mark.parametrize("call", [Context.to_md, lambda ctx: ctx.to_md("fast"), Context._repr_html_])
def test_a_long_rendering_is_interrupted(call: Callable[[Context], str]) -> None:
    """However long an item takes to tell about itself."""
    started, release = threading.Event(), threading.Event()

    class Slow(Image.Image):
        @property
        def size(self) -> tuple[int, int]:
            if threading.current_thread() is not threading.main_thread():
                started.set()
                release.wait(60)
            return super().size

    ctx = Context()
    ctx.add(Slow())
    _interrupted(lambda: call(ctx), started, release)


def test_images_of_rare_modes_are_sent() -> None:
    """With premultiplied alpha, and of more than 16 bits."""
    ctx = Context()
    ctx.add(Image.new("LA", (2, 2), (200, 255)).convert("La"))
    wide = Image.new("I", (2, 1), 1 << 20)
    wide.putpixel((1, 0), 1 << 19)
    ctx.add(wide)
    pale, deep = _images(ctx.to_messages())
    assert pale.convert("RGBA").getpixel((0, 0)) == (200, 200, 200, 255)
    assert list(deep.convert("L").tobytes()) == [128, 64]


def test_without_a_decoder_of_films_the_command_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither PyAV nor ffmpeg is there."""
    import umi._media

    monkeypatch.setattr(umi._media, "has_av", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"\0\0\0\x18ftypisom")
    ctx = Context()
    ctx.add(path)
    with pytest.raises(umi.FeatureNotBuiltError, match=r"pip install .umi-memory\[video\]"):
        ctx.to_messages()


def test_media_are_values() -> None:
    media = encoders.Media(b"x", "image/png", "a.png")
    for same in (pickle.loads(pickle.dumps(media)), copy.copy(media), copy.deepcopy(media)):
        assert same == media
        assert hash(same) == hash(media)
    assert media != encoders.Media(b"x", "image/png")
    with pytest.raises(AttributeError, match="immutable"):
        del media.data
    with pytest.raises(TypeError, match="expected str, got int"):
        encoders.Media(b"x", 5)  # type: ignore[arg-type]
    with pytest.raises(umi.InvalidInputError, match="not a media type"):
        encoders.Media(b"x", "bad")


def test_an_encoder_gives_one_image_or_many() -> None:
    class Red:
        name = "red"
        kind = "image"

        def encode(self, source: Any) -> Any:
            return Image.new("RGB", (3, 2), "red")

    encoders.register(Red())
    ctx = Context()
    ctx.add(picture())
    assert [image.size for image in _images(ctx.to_messages(encoders={"image": "red"}))] == [(3, 2)]


def test_a_damaged_image_of_a_format_that_is_read_is_said_to_be_damaged(tmp_path: Path) -> None:
    """And one whose format is not read here names the package once."""
    (tmp_path / "junk.avif").write_bytes(b"junk")
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    (tmp_path / "cut.heic").write_bytes(heic)
    expected: dict[str, tuple[type[Exception], str]] = {"junk.avif": (umi.InvalidInputError, "damaged")}
    try:
        importlib.import_module("pillow_heif")
        expected["cut.heic"] = (umi.InvalidInputError, "damaged")
    except ImportError:
        expected["cut.heic"] = (umi.FeatureNotBuiltError, "pip install")
    for name, (kind, words) in expected.items():
        ctx = Context()
        ctx.add(tmp_path / name)
        with pytest.raises(kind, match=words) as raised:
            ctx.to_messages()
        assert str(raised.value).count("pip install") <= 1
