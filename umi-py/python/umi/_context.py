"""`Context`, where Python is the natural place for it: printing."""

from __future__ import annotations

from umi._umi import BaseContext
from umi.exceptions import InvalidInputError

TYPE_CHECKING = False  # importing `typing` would cost half of the time that importing umi takes
if TYPE_CHECKING:
    from typing import Annotated, Literal, TypeAlias

    from _typeshed import SupportsWrite

    Ref: TypeAlias = Annotated[str, "umi.Ref"]
    Layout: TypeAlias = Literal["insertion", "paths", "kind", "flat", "hybrid"]
else:
    Ref = str


class Context(BaseContext):
    """A prompt of many parts: texts, files, images, bytes and addresses, in the order in which they were added.

        context = Context()
        context.add("You are a terse visual analyst.", role="system")
        photo = context.add(Path("photo.jpg"), metadata={"note": "hero shot"})
        context.print_tree()

    Every item has a short ref, such as `img_a1b2c3`, by which `get`, `remove` and `context[ref]` find it; a `for` loop
    gives the refs, `in` tells whether one is there, `len` counts them. A copy is a context of its own with the same
    session, refs and contents; a deep copy, and one that was pickled, also has images of its own. A context may be used
    from several threads at once.

    Args:
        session_id: The session's id, without a slash, at most 256 bytes; a new UUID of version 7 unless given.
    """

    __slots__ = ("__weakref__",)

    def print_tree(self, layout: Layout = "insertion", *, file: SupportsWrite[str] | None = None) -> None:
        """Print `tree(layout)`.

        Args:
            layout: `insertion`, `paths`, `kind`, `flat` or `hybrid`.
            file: Where to; standard output unless given.

        Raises:
            InvalidInputError: The layout is unknown; a `ValueError`.
        """
        print(self.tree(layout), file=file)  # noqa: T201 - it is what it is for

    def print_table(self, *, file: SupportsWrite[str] | None = None) -> None:
        """Print a table of the items.

        Args:
            file: Where to; standard output unless given.
        """
        print(self._table(), end="", file=file)  # noqa: T201 - it is what it is for

    def to_md(self, mode: Literal["metadata"] = "metadata") -> str:
        """Give a Markdown table of the items with what is in them.

        Args:
            mode: `metadata`: what can be told without a model: the beginning of a text, or else media type and size;
                where that is nothing, the `summary` or `note` of the metadata.

        Raises:
            InvalidInputError: The mode is unknown; a `ValueError`.
        """
        if mode != "metadata":
            raise InvalidInputError(f"unknown mode `{str(mode)[:64]}`", hint="known modes: metadata")
        return self._to_md()
