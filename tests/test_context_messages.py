"""Messages of a context: what the vendors' own types take, for every kind and format."""

from __future__ import annotations

import base64
import io
import threading
from typing import TYPE_CHECKING, Any

import anthropic.types
import numpy as np
import pytest
from google.genai import types as gemini
from PIL import Image
from pydantic import TypeAdapter

import umi
from media_files import docx, film, pdf, picture, png_bomb, saved, wav, written
from message_types import CHECKS, FORMATS, images_of, parts_of, texts_of
from umi import Context, Url, encoders

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("form", FORMATS)
def test_every_kind_is_what_the_vendor_takes(form: Any, tmp_path: Path) -> None:
    """A file of every kind, images in memory, arrays, bytes and addresses, in every format and with every encoder."""
    files = written(tmp_path)
    for names in ({}, {"image": "tile", "document": "page-text"}, {"document": "native"}):
        ctx = Context()
        ctx.add("You are terse.", role="system")
        ctx.add("In French.", role="developer")
        for name, path in files.items():
            if name == "sound.wav" and form in {"anthropic", "openai-responses"}:
                continue
            if name == "letter.docx" and names.get("document") == "native":
                continue
            ctx.add(path, metadata={"note": f"the file {name}", "n": 2**70})
        ctx.add(picture())
        ctx.add(np.zeros((4, 5), dtype=np.uint8))
        ctx.add(saved(picture(), "PNG"), media_type="image/png")
        ctx.add(Url("https://example.com/a/cat.jpg"))
        ctx.add("")
        messages = ctx.to_messages(form, encoders=names)
        CHECKS[form](messages)
        texts = "\n".join(texts_of(messages))
        for ref in ctx:
            assert f"[ref={ref}]" in texts, ref
        assert f"note: the file main.py; n: {2**70}" in texts
        assert "print('hi')" in texts
        assert "# Notes" in texts
        assert "Dear Ana" in texts or names.get("document") == "native"
        assert len(images_of(messages)) >= 9
        request = ctx.to_request(form, encoders=names)
        if form == "anthropic":
            CHECKS["anthropic"](request["messages"])
            TypeAdapter(list[anthropic.types.TextBlockParam]).validate_python(request["system"])
            assert "You are terse." in [part["text"] for part in request["system"]]
            assert "You are terse." not in texts_of(request["messages"])
        elif form == "gemini":
            config = gemini.GenerateContentConfig.model_validate(request["config"])
            instruction: Any = config.system_instruction
            assert "You are terse." in [part.text for part in instruction.parts]
            CHECKS["gemini"](request["contents"])
        else:
            key = "messages" if form == "openai" else "input"
            assert request == {key: messages}


OF_KINDS = {
    "image": "photo.jpg",
    "video": "clip.mp4",
    "audio": "sound.wav",
    "document": "paper.pdf",
    "code": "main.py",
    "data": "table.csv",
    "config": "settings.toml",
    "text": "notes.md",
}
REFUSED = {  # by kind and encoder
    ("video", "native"): {"openai", "openai-responses", "anthropic"},
    ("audio", "native"): {"openai-responses", "anthropic"},
}
# Before other tests register theirs.
OWN_ENCODERS = encoders.list_encoders()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", OF_KINDS)
def test_every_kind_with_every_encoder_in_every_format(kind: str, form: Any, tmp_path: Path) -> None:
    """From a file and from bytes: what the vendor's types take, or an error that names the ref and the way out."""
    files = written(tmp_path)
    files["clip.mp4"] = tmp_path / "clip.mp4"
    film(files["clip.mp4"], seconds=1)
    path = files[OF_KINDS[kind]]
    media_types = {"video": "video/mp4", "audio": "audio/wav", "document": "application/pdf", "image": "image/jpeg"}
    for item, media_type in ((path, None), (path.read_bytes(), media_types.get(kind, f"text/{path.suffix[1:]}"))):
        ctx = Context()
        ref = ctx.add(item, media_type=media_type, metadata={"note": "of a kind"})
        if media_type is None:
            assert ctx.items()[0]["kind"] == kind
        for encoder in OWN_ENCODERS[kind]:
            if form in REFUSED.get((kind, encoder), ()):
                with pytest.raises(ValueError, match=f"{ref}.* does not take {media_types[kind]}"):
                    ctx.to_messages(form, encoders={kind: encoder})
                told = ctx.to_messages(form, encoders={kind: encoder}, on_error="placeholder")
                CHECKS[form](told)
                assert len(parts_of(told)) == 2
                continue
            messages = ctx.to_messages(form, encoders={kind: encoder})
            CHECKS[form](messages)
            assert texts_of(messages)[0] == f"[ref={ref}] note: of a kind"
            assert len(parts_of(messages)) >= 2, encoder
            assert ctx.count_tokens(form, encoders={kind: encoder}) > 0


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_of_no_known_kind(form: Any, tmp_path: Path) -> None:
    """There is no encoder of it unless one is registered."""
    path = tmp_path / "blob.bin"
    path.write_bytes(bytes(range(256)))
    ctx = Context()
    ref = ctx.add(path)
    assert ref.startswith("obj_")
    with pytest.raises(ValueError, match=f"{ref}.* of the kind `other` cannot be sent"):
        ctx.to_messages(form)
    told = ctx.to_messages(form, on_error="placeholder")
    CHECKS[form](told)
    assert texts_of(told)[1].startswith("[not sent: ")


def test_the_shapes_of_the_page(tmp_path: Path) -> None:
    """One message per run of a role; the lead; a label where there is no such role."""
    ctx = Context()
    one = ctx.add("Be terse.", role="system")
    two = ctx.add("Hi", metadata={"note": "greeting", "tags": ["a", "b"]})
    three = ctx.add("There")
    assert ctx.to_messages() == [
        {
            "role": "system",
            "content": [{"type": "text", "text": f"[ref={one}]"}, {"type": "text", "text": "Be terse."}],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": f'[ref={two}] note: greeting; tags: ["a","b"]'},
                {"type": "text", "text": "Hi"},
                {"type": "text", "text": f"[ref={three}]"},
                {"type": "text", "text": "There"},
            ],
        },
    ]
    gemini = ctx.to_messages("gemini")
    assert [message["role"] for message in gemini] == ["user"]
    assert [part["text"] for part in gemini[0]["parts"]][:3] == ["[role=system]", f"[ref={one}]", "Be terse."]
    assert Context().to_messages("gemini") == [{"role": "user", "parts": []}]
    assert Context().to_messages() == []


@pytest.mark.parametrize("form", FORMATS)
def test_images_keep_their_pixels_and_their_orientation(form: Any, tmp_path: Path) -> None:
    """PNG loses nothing, images of PIL and arrays are sent, and photos are turned."""
    image = picture(64, 48)
    path = tmp_path / "shot.png"
    image.save(path)
    ctx = Context()
    for item in (path, image, np.asarray(image)):
        ctx.add(item)
    ctx.add(path.read_bytes(), media_type="image/png")
    for seen in images_of(ctx.to_messages(form)):
        assert (seen.format, seen.size) == ("PNG", (64, 48))
        assert seen.convert("RGB").tobytes() == image.tobytes()
    for orientation in range(1, 9):
        photo = Image.new("RGB", (40, 20), (0, 0, 250))
        photo.paste((250, 0, 0), (0, 0, 20, 10))
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = saved(photo, "JPEG", exif=exif, quality=95)
        ctx = Context()
        ctx.add(data, media_type="image/jpeg")
        ctx.add(Image.open(io.BytesIO(data)))
        as_seen = [(x < 0.5, y < 0.5) for x, y in _red(Image.open(io.BytesIO(data)))]
        for seen in images_of(ctx.to_messages(form)):
            assert seen.size == ((40, 20) if orientation < 5 else (20, 40)), orientation
            assert [(x < 0.5, y < 0.5) for x, y in _red(seen)] == as_seen, orientation


def _red(image: Image.Image) -> list[tuple[float, float]]:
    """Where an image, as it is to be seen, is red: the middle of that."""
    from PIL import ImageOps

    pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
    ys, xs = np.nonzero((pixels[..., 0] > 180) & (pixels[..., 2] < 80))
    return [(xs.mean() / pixels.shape[1], ys.mean() / pixels.shape[0])]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
def test_images_of_every_mode_are_sent(mode: str) -> None:
    """Whatever an image of PIL is made of, it reaches the model."""
    image = picture().convert("L").convert("I").convert("I;16") if mode == "I;16" else picture().convert(mode)
    ctx = Context()
    ctx.add(image)
    [seen] = images_of(ctx.to_messages())
    assert seen.size == image.size
    if mode in {"CMYK", "YCbCr"}:
        ctx = Context()
        ctx.add(saved(image, "JPEG"), media_type="image/jpeg")
        [seen] = images_of(ctx.to_messages())
        difference = np.abs(np.asarray(seen.convert("RGB")).astype(int) - np.asarray(picture()).astype(int))
        assert difference.mean() < 25, mode


def test_palettes_and_deepimages_of() -> None:
    """A palette with transparency keeps its look, 16 bits become 8."""
    palette = picture().quantize(16)
    ctx = Context()
    ctx.add(saved(palette, "PNG", transparency=0), media_type="image/png")
    [seen] = images_of(ctx.to_messages())
    opaque = np.asarray(seen.convert("RGBA"))[..., 3] > 0
    assert (opaque == (np.asarray(palette) != 0)).all()
    deep = Image.fromarray((np.arange(12).reshape(3, 4) * 5_000).astype(np.uint16))
    ctx = Context()
    ctx.add(saved(deep, "PNG"), media_type="image/png")
    [seen] = images_of(ctx.to_messages())
    assert np.abs(np.asarray(seen.convert("L")).astype(int) - np.asarray(deep).astype(int) // 257).max() <= 1


@pytest.mark.parametrize(
    ("data", "media_type", "error", "word"),
    [
        (saved(picture(300, 300), "JPEG")[:2_000], "image/jpeg", ValueError, "cannot be read"),
        (saved(picture(300, 300), "PNG")[:700], "image/png", ValueError, "cannot be read"),
        (b"no image", "image/png", ValueError, "cannot be read"),
        (png_bomb(), "image/png", umi.CapacityError, "pixels"),
        (b"%PDF-1.7 broken", "application/pdf", ValueError, "cannot be read as PDF"),
        (docx("x" * 9_000_000), "application/x-zip", umi.CapacityError, "bytes of text"),
        (
            b"PK\x03\x04",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            ValueError,
            "cannot",
        ),
        (b"RIFF\0\0\0\0WAVE", "audio/wav", ValueError, "cannot be read as a sound"),
        (b"\xff\xfe\xfd", "text/plain", ValueError, "UTF-8"),
    ],
)
def test_a_bad_file_is_an_error_that_names_its_ref(data: bytes, media_type: str, error: Any, word: str) -> None:
    """Or a text in its place; it never disappears."""
    ctx = Context()
    ctx.add("before")
    if media_type == "application/x-zip":
        media_type = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    bad = ctx.add(data, media_type=media_type)
    ctx.add("after")
    with pytest.raises(error, match=word) as raised:
        ctx.to_messages()
    assert bad in str(raised.value)
    texts = texts_of(ctx.to_messages(on_error="placeholder"))
    assert any(text.startswith("[not sent: ") and word in text for text in texts)
    assert "after" in texts


def test_what_a_format_does_not_take() -> None:
    """Sound for Anthropic follows on_error."""
    ctx = Context()
    ref = ctx.add(wav(), media_type="audio/wav")
    for form in FORMATS:
        if form in {"anthropic", "openai-responses"}:
            with pytest.raises(ValueError, match="does not take audio/wav") as raised:
                ctx.to_messages(form)
            assert ref in str(raised.value)
            assert "does not take" in texts_of(ctx.to_messages(form, on_error="placeholder"))[1]
        else:
            CHECKS[form](ctx.to_messages(form))


def test_mistakes_of_the_caller_are_told() -> None:
    """Unknown formats, encoders, kinds, options and ways; they are no matter of on_error."""
    ctx = Context()
    ctx.add(picture())
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"format": "claude"}, "openai, openai-responses, anthropic, gemini"),
        ({"encoders": {"image": "tyle"}}, "resize, tile"),
        ({"encoders": {"picture": "tile"}}, "image"),
        ({"encoder_kwargs": {"image": {"max_with": 3}}}, "max_width"),
        ({"encoder_kwargs": {"image": {"max_width": "wide"}}}, "whole number"),
        ({"on_error": "ignore"}, "raise"),
        ({"budget_tokens": -1}, "budget"),
    ]
    for arguments, word in wrong:
        with pytest.raises(ValueError, match=word):
            ctx.to_messages(**arguments)
    with pytest.raises((TypeError, ValueError)):
        ctx.to_messages(encoders=["tile"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="options of an encoder as a dict, got int"):
        ctx.to_messages(encoder_kwargs={"image": 3})  # type: ignore[dict-item]


def test_what_is_returned_is_the_callers_own(tmp_path: Path) -> None:
    """Changing a message changes no later one, with and without the cache."""
    files = written(tmp_path)
    ctx = Context()
    for name in ("photo.jpg", "paper.pdf", "main.py"):
        ctx.add(files[name])
    for form in FORMATS:
        first, again = ctx.to_messages(form), ctx.to_messages(form)
        assert first == again
        before = repr(again)
        for part in parts_of(first):
            for value in part.values():
                if isinstance(value, dict):
                    value.clear()
            part.clear()
        assert repr(again) == before == repr(ctx.to_messages(form))


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """The cache knows files by what they are now."""
    path = tmp_path / "a.png"
    picture(10, 10).save(path)
    ctx = Context()
    ctx.add(path)
    assert images_of(ctx.to_messages())[0].size == (10, 10)
    picture(12, 9).save(path)
    assert images_of(ctx.to_messages())[0].size == (12, 9)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        ctx.to_messages()


def test_a_changed_image_is_sent_as_it_is_now() -> None:
    """An image of PIL may be drawn upon."""
    image = picture()
    ctx = Context()
    ctx.add(image)
    ctx.to_messages()
    image.paste((255, 255, 255), (0, 0, 40, 30))
    [seen] = images_of(ctx.to_messages())
    assert seen.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_documents_are_images_and_words() -> None:
    """Of a PDF every page is shown and told; the native encoder sends it as it is."""
    ctx = Context()
    ctx.add(pdf("Hello", "World"), media_type="application/pdf")
    messages = ctx.to_messages()
    assert len(images_of(messages)) == 2
    texts = "\n".join(texts_of(messages))
    assert "page 1 of 2:\nHello" in texts
    assert "page 2 of 2:\nWorld" in texts
    assert images_of(messages)[0].size == (1024, 512)
    words = ctx.to_messages(encoders={"document": "page-text"})
    assert images_of(words) == []
    [file] = [part for part in parts_of(ctx.to_messages(encoders={"document": "native"})) if part["type"] == "file"]
    assert base64.b64decode(file["file"]["file_data"].partition(",")[2]) == pdf("Hello", "World")


def test_tokens_are_counted_and_kept_to_a_budget() -> None:
    """Images are scaled, texts cut and items left out, the least recent first; system parts stay."""
    ctx = Context()
    ctx.add("Never cut this. " * 20, role="system")
    ctx.add(Image.new("RGB", (1000, 1000)))
    ctx.add("old words " * 400)
    ctx.add("new words " * 400)
    for form in FORMATS:
        all_tokens = ctx.count_tokens(form)
        assert all_tokens > 2_000
        assert ctx.to_messages(form, budget_tokens=all_tokens) == ctx.to_messages(form)
        cut = ctx.to_messages(form, budget_tokens=all_tokens - 1_400)
        CHECKS[form](cut)
        texts = "\n".join(texts_of(cut))
        assert "to fit the budget of" in texts
        assert "Never cut this. " * 20 in texts
        assert "new words " * 400 in texts
        assert ctx.count_tokens(form, budget_tokens=all_tokens - 1_400) <= all_tokens - 1_400
        with pytest.raises(umi.CapacityError) as raised:
            ctx.to_messages(form, budget_tokens=10)
        assert raised.value.limit == 10


def test_threads_may_make_messages_at_once(tmp_path: Path) -> None:
    """Of one context, while it grows."""
    files = written(tmp_path)
    ctx = Context()
    for path in files.values():
        ctx.add(path)
    failures = []

    def work() -> None:
        try:
            for _ in range(3):
                ctx.to_messages("gemini")
                ctx.add(picture(8, 8))
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(ctx) == len(files) + 12
