"""`Context`, where Python is the natural place for it: printing, and the choice between items and a scan."""

from __future__ import annotations

from umi._umi import BaseContext
from umi.exceptions import InvalidInputError

TYPE_CHECKING = False  # importing `typing` would cost half of the time that importing umi takes
if TYPE_CHECKING:
    import os
    from typing import Annotated, Any, Literal, Self, TypeAlias, overload

    from _typeshed import SupportsWrite

    from umi._scan import DirectoryContext

    Ref: TypeAlias = Annotated[str, "umi.Ref"]
    Layout: TypeAlias = Literal["insertion", "paths", "kind", "flat", "hybrid"]
else:
    Ref = str

    def overload(function: Any) -> Any:
        """Stand for `typing.overload`."""
        return function


# what a scan has and a context of items has not
_OF_A_SCAN = frozenset(
    (
        "cat",
        "errors",
        "files",
        "filter",
        "global_ref",
        "grep",
        "head",
        "info",
        "num_files",
        "ref_for",
        "root",
        "show",
        "sql",
        "tail",
        "to_arrow",
        "to_context",
        "to_pandas",
        "to_polars",
    )
)


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

    With a root it is the scan of a folder, a `DirectoryContext`: see there.

    Args:
        root: A folder, or one file, to scan; `~` is the home folder.
        session_id: The session's id, without a slash, at most 256 bytes; a new UUID of version 7 unless given.
        n_threads: The threads of a scan, 1 to 256; one for each core up to twelve unless given.
        no_ignore: Whether a scan lists files too that a `.gitignore`, `.ignore` or `.git/info/exclude` names.

    Raises:
        InvalidInputError: A session id or a number of threads that is not allowed; a `ValueError`.
        FileError: There is nothing at the root (a `FileNotFoundError`), or it cannot be listed; an `OSError`.
    """

    __slots__ = ("__weakref__",)

    @overload
    def __new__(cls, root: None = None, *, session_id: str | None = None) -> Self: ...
    @overload
    def __new__(  # noqa: F811 - an overload
        cls,
        root: str | os.PathLike[str],
        *,
        session_id: str | None = None,
        n_threads: int | None = None,
        no_ignore: bool = False,
    ) -> DirectoryContext: ...
    def __new__(  # noqa: F811 - what is overloaded
        cls,
        root: str | os.PathLike[str] | None = None,
        *,
        session_id: str | None = None,
        n_threads: int | None = None,
        no_ignore: bool = False,
    ) -> Any:
        """Make a context of items, or the scan of a root."""
        if root is None:
            if n_threads is not None or no_ignore:
                raise TypeError("n_threads and no_ignore are for the scan of a root")
            return super().__new__(cls, session_id=session_id)
        from umi._scan import DirectoryContext  # noqa: PLC0415 - it is made of this class

        return DirectoryContext(root, session_id=session_id, n_threads=n_threads, no_ignore=no_ignore)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Say what gives the methods of a scan."""
            if name in _OF_A_SCAN:
                raise RuntimeError(f"Context.{name} requires a directory-scan context. Construct it with Context(root)")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def print_tree(self, layout: Layout = "insertion", *, file: SupportsWrite[str] | None = None) -> None:
        """Print `tree(layout)`.

        Args:
            layout: `insertion`, `paths`, `kind`, `flat` or `hybrid`.
            file: Where to; standard output unless given.

        Raises:
            InvalidInputError: The layout is unknown; a `ValueError`.
        """
        print(self.tree(layout), file=file)

    def print_table(self, *, file: SupportsWrite[str] | None = None) -> None:
        """Print a table of the items.

        Args:
            file: Where to; standard output unless given.
        """
        print(self._table(), end="", file=file)

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
