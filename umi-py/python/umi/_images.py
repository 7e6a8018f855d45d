"""The forms in which a saved context keeps images of Pillow and arrays of NumPy, and back. They keep every bit."""

from __future__ import annotations

import io
from importlib import import_module

TYPE_CHECKING = False  # importing `typing` takes long
if TYPE_CHECKING:
    from typing import Any

ARRAY = "application/x-npy"
# by the mode of an image: those that PNG keeps as they are, and those that TIFF does
_PNG = frozenset(("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B"))
_TIFF = frozenset(("CMYK", "F", "I", "LAB", "PA", "YCbCr"))
# what no format has: other orders of bytes, premultiplied colours
_PLAIN = {"I;16L": "I", "I;16N": "I", "La": "LA", "RGBa": "RGBA"}


def stored_array(array: Any) -> tuple[str, bytes]:
    """Give the media type and the bytes of an array."""
    file = io.BytesIO()
    import_module("numpy").save(file, array, allow_pickle=False)
    return ARRAY, file.getvalue()


def stored_image(image: Any) -> tuple[str, bytes] | None:
    """Give the media type and the bytes of an image; None for a mode that neither PNG nor TIFF has."""
    if image.mode in _PLAIN:
        plain = image.convert(_PLAIN[image.mode])
        plain.info = image.info
        image = plain
    if image.mode not in _PNG | _TIFF:
        return None
    format = "PNG" if image.mode in _PNG else "TIFF"
    options = {}
    if exif := image.getexif():
        options["exif"] = exif
    if "dpi" in image.info:
        options["dpi"] = image.info["dpi"]
    try:
        data = _saved(image, format, options)
    except (ArithmeticError, KeyError, SyntaxError, TypeError, ValueError, import_module("struct").error):
        if not options:
            raise
        # What a damaged file says of its camera or its resolution is no part of the image.
        data = _saved(image, format, {})
    return f"image/{format.lower()}", data


def _saved(image: Any, format: str, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def restored(media_type: str, data: bytes) -> Any:
    """Give the image or the array again, or None where the package that it is of is not installed."""
    try:
        package = import_module("numpy" if media_type == ARRAY else "PIL.Image")
    except ImportError:
        return None
    file = io.BytesIO(data)
    return package.load(file, allow_pickle=False) if media_type == ARRAY else package.open(file)
