"""Where saved contexts are, and an item of one."""

from __future__ import annotations

import os

from umi._umi import GlobalRef, _saved_item
from umi.exceptions import InvalidInputError

TYPE_CHECKING = False  # importing `typing` would cost half of the time that importing umi takes
if TYPE_CHECKING:
    from typing import Any


def store_folder(db: str | os.PathLike[str] | None) -> str:
    """The folder of the store: `db`, or the one in the user's data folder, as the environment names it now."""
    if db is not None:
        folder = os.fspath(db)
        if not folder:
            raise InvalidInputError("db is not the path of a folder", hint="leave it out to mean the user's own store")
        return os.path.expanduser(folder)  # noqa: PTH111 - pathlib takes long to import
    data = os.path.expanduser(os.environ.get("UMI_DATA_DIR", ""))  # noqa: PTH111 - as above
    if not data:
        home = os.environ.get("XDG_DATA_HOME", "")
        # What is not absolute is to be ignored, as the XDG specification says.
        base = home if os.path.isabs(home) else os.path.join(os.path.expanduser("~"), ".local", "share")  # noqa: PTH111, PTH117, PTH118 - pathlib takes long to import
        data = os.path.join(base, "umi")  # noqa: PTH118 - as above
    return os.path.join(data, "contexts")  # noqa: PTH118 - as above


def is_there(folder: str) -> bool:
    """Whether there is anything at the place of a store, which reading is not to make."""
    try:
        os.lstat(folder)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # opening it tells why
    return True


def saved_item(
    ref: str,
    /,
    *,
    session_id: str | None = None,
    db: str | os.PathLike[str] | None = None,
    user: str | None = None,
) -> dict[str, Any] | None:
    """Give an item of a saved context as a dict, or None where there is no such item.

    Args:
        ref: A global ref, `<session>/<ref>`; or a ref, with `session_id`.
        session_id: The session of a ref that names none.
        db: The store's folder; the one in the user's data folder unless given.
        user: Whose context it is.

    The keys are `session_id`, `ref_id`, `role`, `kind`, `position`, `source_kind` (`path`, `url` or `in_memory`),
    `uri`, `path` (the file with the content), `text`, `media_type`, `metadata`, `content_hash` (SHA-256), `byte_len`,
    `modified`, `is_changed` (the file is gone or has another content) and `saved_at`.

    Raises:
        InvalidInputError: It is no global ref, or names another session than `session_id`; a `ValueError`.
        StorageError: The store could not be read.
    """
    if not isinstance(ref, str):
        raise TypeError(f"expected str, got {type(ref).__name__}")
    session, slash, _ = ref.rpartition("/")
    if not slash:
        if session_id is None:
            hint = "pass `<session>/<ref>`, or session_id="
            raise InvalidInputError(f"the ref `{ref[:64]}` names no session", hint=hint)
        ref = f"{session_id}/{ref}"
    elif session_id is not None and session != session_id:
        raise InvalidInputError(f"the global ref `{ref[:64]}` is not of the session `{session_id[:64]}`")
    folder = store_folder(db)
    if not is_there(folder):
        GlobalRef.parse(ref)  # raises for what is none, as the store would
        return None
    return _saved_item(ref, folder, user)
