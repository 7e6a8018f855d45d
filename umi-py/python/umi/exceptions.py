"""The exceptions of Umi. Every one is a `UmiError`, can be pickled with its attributes, and says what to do about it.

The native module looks these classes up once, when it is imported.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # importing `typing` would cost half of the time that importing umi takes
if TYPE_CHECKING:
    from typing import Any


__all__ = [
    "AuthenticationError",
    "CapacityError",
    "ClosedError",
    "ContextOverflowError",
    "CorruptStoreError",
    "EmbeddingError",
    "EmbeddingSpaceError",
    "EmptyTextError",
    "FeatureNotBuiltError",
    "FileError",
    "FilePermissionError",
    "ForkedError",
    "InternalError",
    "InvalidInputError",
    "InvalidLimitError",
    "InvalidResponseError",
    "IsFolderError",
    "MissingFileError",
    "NotFoundError",
    "ProviderError",
    "ProviderTimeoutError",
    "RateLimitError",
    "RefNotFoundError",
    "StorageError",
    "StoreIOError",
    "StoreLockedError",
    "StoreVersionError",
    "TextTooLongError",
    "UmiError",
]

_ATTRIBUTES = (
    "hint",
    "limit",
    "requested",
    "is_retryable",
    "errno",
    "filename",
    "provider",
    "status",
    "request_id",
    "retry_after",
)


class UmiError(Exception):
    """The base of every exception that Umi raises.

    Attributes:
        message: What failed, on which value.
        hint: What to do about it, or None.
        limit: The limit that was exceeded, or None.
        requested: The size that was asked for, or None.
    """

    message: str
    hint: str | None = None
    limit: int | None = None
    requested: int | None = None

    def __init__(self, message: str = "", **attributes: Any) -> None:
        super().__init__(message)
        self.message = message
        for name, value in attributes.items():
            if name not in _ATTRIBUTES:
                raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {name!r}")
            if value is not None:
                setattr(self, name, value)

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        attributes = {name: value for name in _ATTRIBUTES if (value := getattr(self, name, None)) is not None}
        return _rebuild, (type(self), self.message, attributes), dict(vars(self))


# where an exception keeps its arguments
_ARGS: Any = BaseException.args


def _rebuild(cls: type[UmiError], message: str, attributes: dict[str, Any]) -> UmiError:
    return cls(message, **attributes)


class InvalidInputError(UmiError, ValueError):
    """An argument is malformed, too long or out of range. Nothing was written."""


class EmptyTextError(InvalidInputError):
    """A text to remember is empty or white space."""


class TextTooLongError(InvalidInputError):
    """A text is over its limit; `limit` and `requested` are both sizes in bytes."""


class InvalidLimitError(InvalidInputError):
    """A number of results is outside of 1 to 1,000."""


class CapacityError(UmiError, ValueError):
    """A container is full: core memory, working memory or their entries. `limit` and `requested` are the sizes."""


class NotFoundError(UmiError, KeyError):
    """An id, key or ref that must exist does not."""


class RefNotFoundError(NotFoundError):
    """A ref that must be in a context is not.

    `str()` tells the ref that may have been meant and those that there are. That text is made when it is first asked
    for, of the items that there were when the ref was looked up.
    """

    @property
    def message(self) -> str:
        """What failed, with the refs that there are."""
        values = self.args
        return values[0] if values else ""

    @message.setter
    def message(self, text: str) -> None:
        self.args = (text,)

    @property
    def args(self) -> tuple[Any, ...]:
        """The message."""
        values: tuple[Any, ...] = _ARGS.__get__(self)
        if values and type(values[0]) is not str:
            # What the native module raises is made into text now: most misses are never read.
            values = (str(values[0]),)
            _ARGS.__set__(self, values)
        return values

    @args.setter
    def args(self, values: tuple[Any, ...]) -> None:
        _ARGS.__set__(self, values)


class FileError(UmiError, OSError):
    """A file of the caller's is not there or cannot be read.

    Attributes:
        errno: The operating system's error number, or None.
        strerror: The operating system's words for it, or None.
        filename: The file, or None.
    """

    def __init__(self, message: str = "", **attributes: Any) -> None:
        super().__init__(message, **attributes)
        if self.errno is not None:
            self.strerror = os.strerror(self.errno)


class MissingFileError(FileError, FileNotFoundError):
    """There is no such file."""


class IsFolderError(FileError, IsADirectoryError):
    """A file is needed, and it is a folder."""


class FilePermissionError(FileError, PermissionError):
    """The file may not be read."""


class StorageError(UmiError):
    """The ledger or the index failed.

    Attributes:
        is_retryable: Whether the same call may succeed later without a change.
    """

    is_retryable: bool = False


class CorruptStoreError(StorageError):
    """The store's bytes are damaged. `python -m umi recover` saves what can be read of it.

    Attributes:
        filename: The database, or the folder where there is none yet, or None where a row alone is damaged.
    """

    filename: str | None = None


class StoreVersionError(StorageError):
    """The store was written by a newer version, or the folder is not a store."""


class StoreLockedError(StorageError):
    """Another process holds the store's write lock."""


class StoreIOError(StorageError, OSError):
    """The operating system refused: no space, no permission, read-only.

    Attributes:
        errno: The operating system's error number, or None.
        strerror: The operating system's words for it, or None.
        filename: The file that the operation was about, or None.
    """

    def __init__(self, message: str = "", **attributes: Any) -> None:
        super().__init__(message, **attributes)
        if self.errno is not None:
            self.strerror = os.strerror(self.errno)


class EmbeddingError(UmiError):
    """An embedder failed, and no other way was left."""


class EmbeddingSpaceError(EmbeddingError):
    """The store's vectors are of another embedding space than the embedder's."""


class ProviderError(UmiError):
    """A model's service failed, and no other way was left.

    Attributes:
        provider: The provider's name, or None.
        status: The HTTP status of its answer, or None.
        request_id: The request id of its answer, or None.
        retry_after: How many seconds it asks its caller to wait, or None.
        is_retryable: Whether the same call may succeed later without a change.
    """

    provider: str | None = None
    status: int | None = None
    request_id: str | None = None
    retry_after: float | None = None
    is_retryable: bool = False


class RateLimitError(ProviderError):
    """The provider takes no more requests for now; see `retry_after`."""


class AuthenticationError(ProviderError):
    """The provider refused the key."""


class ProviderTimeoutError(ProviderError, TimeoutError):
    """The provider did not answer in time."""


class ContextOverflowError(ProviderError):
    """The request is larger than the model's context."""


class InvalidResponseError(ProviderError):
    """The provider's answer cannot be understood."""


class ClosedError(UmiError, RuntimeError):
    """A memory was used after it was closed."""


class ForkedError(UmiError, RuntimeError):
    """A memory that was opened before a fork was used in the child. Open the store again there."""


class FeatureNotBuiltError(UmiError, ImportError):
    """A part that this build or environment lacks; the hint names the way to get it."""


class InternalError(UmiError, RuntimeError):
    """A defect of Umi itself. Please report it."""
