"""Encoders: what becomes of an item of a context in a message, by its kind.

    context.to_messages(encoders={"image": "tile"}, encoder_kwargs={"image": {"max_width": 768}})

`list_encoders()` names those that there are, `register()` adds one of your own. What they made is kept, bounded in
bytes, for the next message; see `cache_bytes()`.
"""

from __future__ import annotations

from umi._umi import _cache_bytes, _list_encoders, _register, _set_cache_bytes
from umi.exceptions import InvalidInputError

TYPE_CHECKING = False  # importing `typing` would cost half of the time that importing umi takes
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Protocol, TypeVar

    class Encoder(Protocol):
        """What can be registered.

        Attributes:
            name: By which it is chosen.
            kind: The kind of item that it encodes, such as `image`.
        """

        name: str
        kind: str

        def encode(self, source: Any, /) -> Iterable[Any]:
            """Make the parts of a message.

            Args:
                source: A `pathlib.Path`, `bytes`, or an image of PIL. The options of `encoder_kwargs` follow as
                    keywords.
            """

    _E = TypeVar("_E", bound=Encoder | type[Encoder])

__all__ = ["Media", "cache_bytes", "list_encoders", "register", "set_cache_bytes"]


class Media:
    """Encoded bytes that an encoder gives. An immutable value.

    Attributes:
        data: The bytes.
        media_type: What they are, such as `image/png`.
        name: The name of the file, where there is one.

    Raises:
        TypeError: One of them is of another type.
        InvalidInputError: It is not a media type; a `ValueError`.
    """

    __slots__ = ("data", "media_type", "name")
    data: bytes
    media_type: str
    name: str | None

    def __init__(self, data: bytes, media_type: str, name: str | None = None) -> None:
        """Take the bytes and what they are."""
        for value, kinds, words in ((data, bytes, "bytes"), (media_type, str, "str"), (name, (str, type(None)), "str")):
            if not isinstance(value, kinds):
                raise TypeError(f"expected {words}, got {type(value).__name__}")
        if "/" not in media_type:
            raise InvalidInputError(
                f"`{media_type[:64]}` is not a media type", hint="a media type is such as `image/png`"
            )
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "media_type", media_type)
        object.__setattr__(self, "name", name)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Media is immutable: cannot set `{name}`")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Media is immutable: cannot delete `{name}`")

    def __reduce__(self) -> tuple[type[Media], tuple[bytes, str, str | None]]:
        return type(self), (self.data, self.media_type, self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Media) and self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash((self.data, self.media_type, self.name))

    def __repr__(self) -> str:
        return f"Media({len(self.data)} bytes, {self.media_type!r}, name={self.name!r})"


def register(encoder: _E) -> _E:
    """Add an encoder, in the place of one of the same kind and name.

    Its `encode(source, **options)` gives texts, `Media`, images of PIL, or parts and messages in the form of OpenAI. It
    is called in worker threads, with a `pathlib.Path`, `bytes` or an image of PIL. What it gives is not kept.

    Args:
        encoder: An object with `name`, `kind` and `encode`; also a class, which is called without arguments for one.

    Returns:
        The encoder, so that it may be a decorator of a class.
    """
    _register(encoder() if isinstance(encoder, type) else encoder)
    return encoder


def list_encoders(kind: str | None = None) -> dict[str, list[str]]:
    """Give the names of the encoders by kind; the default of each kind comes first.

    Args:
        kind: Only those of this kind.

    Raises:
        InvalidInputError: The kind is unknown; a `ValueError`.
    """
    names: dict[str, list[str]] = {}
    for of_kind, name in _list_encoders(kind):
        names.setdefault(of_kind, []).append(name)
    return names


def cache_bytes() -> tuple[int, int]:
    """Give the bytes of encoded media that are kept, and how many may be."""
    return _cache_bytes()


def set_cache_bytes(limit: int) -> None:
    """Keep at most so many bytes of encoded media from now on; 256 MiB unless set, 0 keeps nothing.

    Args:
        limit: The bytes.

    Raises:
        InvalidInputError: The limit is negative; a `ValueError`.
    """
    _set_cache_bytes(limit)
