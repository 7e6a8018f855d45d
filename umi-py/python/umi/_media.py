"""What the native module asks of other packages: images by Pillow, films by PyAV. Imported when it is first needed."""

from __future__ import annotations

import base64
import binascii
import contextlib
import importlib
import importlib.util
import io
import time
from typing import TYPE_CHECKING, Any

from umi.encoders import Media
from umi.exceptions import CapacityError, FeatureNotBuiltError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_Pixels = tuple[int, int, int, bytes]
# the first brand of a file, and what reads it; every other one is of HEIC
_FORMATS_OF = {b"avif": ("AVIF",), b"avis": ("AVIF",), b"mif1": ("AVIF", "HEIF"), b"msf1": ("AVIF", "HEIF")}
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def image_of(size: tuple[int, int], channels: int, data: bytes) -> Any:
    """Make an image of PIL of pixels."""
    return _pillow().frombytes(_MODES[channels], size, data)


def decode_image(data: bytes, limit: int) -> _Pixels:
    """Decode an image of a format that Pillow or one of its plugins knows, as it is to be seen."""
    image_module = _pillow()
    with contextlib.suppress(ImportError):  # AVIF may do without, and else it is told below
        importlib.import_module("pillow_heif").register_heif_opener()
    image_module.init()
    # others would start programs over what only says that it is such an image
    formats = [name for name in ("HEIF", "AVIF") if name in image_module.OPEN]
    try:
        image = image_module.open(io.BytesIO(data), formats=formats)
    except image_module.DecompressionBombError as error:
        raise CapacityError(f"has more than {limit} pixels", limit=limit) from error
    except importlib.import_module("PIL").UnidentifiedImageError as error:
        brand = data[8:12] if data[4:8] == b"ftyp" else None
        if brand is None or any(name in formats for name in _FORMATS_OF.get(brand, ("HEIF",))):
            raise InvalidInputError("it is damaged, or no image of HEIC or AVIF") from error
        raise FeatureNotBuiltError("Pillow does not know its format", hint="pip install pillow pillow-heif") from error
    if image.width * image.height > limit:
        pixels = image.width * image.height
        raise CapacityError(f"has {pixels} pixels, at most {limit} are read", limit=limit, requested=pixels)
    image = importlib.import_module("PIL.ImageOps").exif_transpose(image)
    return pixels_of(image)


def pixels_of(image: Any) -> _Pixels:
    """Give the pixels of an image of PIL."""
    if image.mode == "La":  # which is converted to this one alone
        image = image.convert("LA")
    if image.mode not in _MODES.values():
        has_alpha = "A" in image.mode or "a" in image.mode or "transparency" in image.info
        image = image.convert("RGBA" if has_alpha else "RGB")
    return image.width, image.height, len(image.getbands()), image.tobytes()


def _pillow() -> Any:
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise FeatureNotBuiltError("it takes Pillow", hint="pip install pillow pillow-heif") from error


def has_av() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def _open(film: Any, formats: str) -> Any:
    # lists of other files, and descriptions of what is sent over a network, are no films
    options = {"format_whitelist": formats, "protocol_whitelist": "file"}
    av = importlib.import_module("av")
    if isinstance(film, bytes):
        return av.open(io.BytesIO(film), options=options | {"protocol_whitelist": "pipe"})
    return av.open(f"file:{film}", options=options)


def film_facts(film: Any, formats: str) -> tuple[float, int, int, float | None]:
    """Give the seconds, width and height of a film, and how many pictures it has in a second."""
    with _open(film, formats) as container:
        if not container.streams.video:
            raise InvalidInputError("it has no pictures")
        stream = container.streams.video[0]
        seconds = 0.0
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            seconds = container.duration / 1_000_000
        rate = float(stream.average_rate) if stream.average_rate else None
        return seconds, stream.codec_context.width, stream.codec_context.height, rate


def film_frames(film: Any, formats: str, times: Sequence[float], sides: int, limit: float) -> list[_Pixels]:
    """Decode the pictures that are seen at these times, which are in order, each within `limit` seconds."""
    end = time.monotonic() + limit
    frames: list[_Pixels] = []
    with _open(film, formats) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        start = float(stream.start_time * stream.time_base) if stream.start_time is not None else 0.0
        waiting = [seen + start for seen in times]
        sought = start
        if len(waiting) > 0 and waiting[0] - start > _SEEK_SECONDS:
            sought = waiting[0]
            _seek(container, stream, sought)
        last = None
        decoder = container.decode(stream)
        left_at = None  # when the picture is seen that was decoded before a seek
        may_seek = True
        while waiting:
            if time.monotonic() > end:
                raise CapacityError(f"a picture took more than {limit:.0f} s")
            frame = next(decoder, None)
            if frame is None:
                break
            at = frame.time if frame.time is not None else 0.0
            # a seek leads to the last picture that stands by itself, which may lie behind what was decoded already
            may_seek = may_seek and (left_at is None or at > left_at)
            left_at = None
            while waiting and at > waiting[0]:
                frames.append(_pixels(last if last is not None else frame, sides))
                waiting.pop(0)
                end = time.monotonic() + limit
            last = frame
            if may_seek and waiting and waiting[0] - at > _SEEK_SECONDS and sought != waiting[0]:
                sought, left_at = waiting[0], at
                _seek(container, stream, sought)
                decoder = container.decode(stream)
                last = None
        # the last picture is seen until the end
        frames.extend(_pixels(last, sides) for _ in waiting if last is not None)
    return frames


_SEEK_SECONDS = 10.0


def _seek(container: Any, stream: Any, seconds: float) -> None:
    container.seek(int(seconds / stream.time_base), stream=stream, backward=True)


def _pixels(frame: Any, sides: int) -> _Pixels:
    scale = min(1.0, sides / max(frame.width, frame.height))
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    plane = frame.reformat(width=width, height=height, format="rgb24").planes[0]
    data, stride = bytes(plane), plane.line_size
    if stride != width * 3:  # rows are padded
        data = b"".join(data[row * stride : row * stride + width * 3] for row in range(height))
    return width, height, 3, data[: width * height * 3]


def parts_of(made: Any) -> list[str | tuple[str, bytes, str | None] | _Pixels]:
    """Give what an encoder of a user's made, in forms that the native module takes."""
    parts: list[str | tuple[str, bytes, str | None] | _Pixels] = []
    for part in [made] if isinstance(made, (str, Media, dict)) or _is_image(made) else made:
        parts.extend(_parts(part))
    return parts


def _is_image(part: Any) -> bool:
    return hasattr(part, "tobytes") and hasattr(part, "mode")


def _parts(part: Any) -> Iterable[str | tuple[str, bytes, str | None] | _Pixels]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, Media):
        yield part.media_type, part.data, part.name
    elif isinstance(part, dict):
        yield from _parts_of_openai(part)
    elif _is_image(part):
        yield pixels_of(part)
    else:
        message = (
            f"an encoder gives texts, umi.encoders.Media, images of PIL or parts of OpenAI's, not {type(part).__name__}"
        )
        raise TypeError(message)


def _parts_of_openai(part: dict[str, Any]) -> Iterable[str | tuple[str, bytes, str | None] | _Pixels]:
    if "content" in part:  # a whole message
        for inner in [part["content"]] if isinstance(part["content"], str) else part["content"]:
            yield from _parts(inner)
    elif part.get("type") == "text":
        yield part["text"]
    elif part.get("type") == "image_url":
        head, _, data = part["image_url"]["url"].partition(",")
        media_type, is_base64 = head.removeprefix("data:").removesuffix(";base64"), head.endswith(";base64")
        if not head.startswith("data:") or not is_base64:
            raise ValueError("an image of an encoder is a data: URL in base 64")
        try:
            yield media_type, base64.b64decode(data, validate=True), None
        except binascii.Error as error:
            raise ValueError("an image of an encoder is not in base 64") from error
    else:
        raise ValueError(f"a part of the type {str(part.get('type'))[:64]!r} is not known")
