"""`DirectoryContext`, what `Context(root)` gives: the files below a folder, and `Table`, what it is as a table."""

from __future__ import annotations

import os

from umi._context import Context, OfOtherMode
from umi._umi import BaseContext, BaseTable, DirectoryScan
from umi.exceptions import FeatureNotBuiltError

TYPE_CHECKING = False  # importing `typing` would cost half of the time that importing umi takes
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path
    from typing import Any, NoReturn, Self, TypedDict

    import pandas as pd  # type: ignore[import-untyped]
    import polars as pl
    from _typeshed import SupportsWrite

    from umi._umi import FileEntry
    from umi.exceptions import UmiError

    class GrepMatch(TypedDict):
        """A line in which a pattern was found."""

        path: str
        line_number: int
        line: str

else:
    GrepMatch = dict

__all__ = ["DirectoryContext", "GrepMatch", "GrepResults", "Table"]


class Table(BaseTable):
    """Rows in columns, for every library that takes Arrow's PyCapsule interface.

        polars.DataFrame(table)
        pyarrow.table(table)
        duckdb.sql("SELECT kind, sum(size) FROM table GROUP BY kind")

    `len` counts the rows, `to_dicts()` gives them as plain values. Times have no zone in Arrow; they are of UTC.
    """

    __slots__ = ()

    def to_polars(self) -> pl.DataFrame:
        """Give a DataFrame of Polars.

        Raises:
            FeatureNotBuiltError: Polars is not installed; an `ImportError`.
        """
        try:
            import polars as pl  # noqa: PLC0415 - where it is wanted
        except ImportError as error:
            raise FeatureNotBuiltError("Polars is not installed", hint="pip install polars") from error
        return pl.DataFrame(self)

    def to_pandas(self) -> pd.DataFrame:
        """Give a DataFrame of pandas. PyArrow is not needed.

        A column of whole numbers or truth with missing values has the nullable type of pandas.

        Raises:
            FeatureNotBuiltError: pandas is not installed; an `ImportError`.
        """
        try:
            import numpy as np  # noqa: PLC0415 - comes with pandas
            import pandas as pd  # noqa: PLC0415 - where it is wanted
        except ImportError as error:
            raise FeatureNotBuiltError("pandas is not installed", hint="pip install pandas") from error
        series = []
        for name, kind, is_missing, values in self._columns():
            if kind.startswith("Timestamp"):
                series.append(pd.Series(np.array(values, dtype="datetime64[us]"), name=name))
            elif kind.startswith(("Int", "UInt")):
                series.append(pd.Series(values, name=name, dtype=kind if is_missing else kind.lower()))
            elif kind == "Boolean":
                series.append(pd.Series(values, name=name, dtype="boolean" if is_missing else "bool"))
            elif kind == "Float64":
                series.append(pd.Series(values, name=name, dtype="float64"))
            elif kind == "Utf8":
                series.append(pd.Series(values, name=name, dtype=None if values else "str"))
            else:
                series.append(pd.Series(values, name=name, dtype="object"))
        return pd.concat(series, axis=1) if series else pd.DataFrame()

    def __repr__(self) -> str:
        return f"Table({self.num_rows} rows, {', '.join(self.column_names)})"


class GrepResults(list[GrepMatch]):
    """The matches of a search by file and line: dicts with `path`, `line_number` and `line`.

    Attributes:
        errors: The files that could not be searched, or not in whole, as exceptions.
    """

    __slots__ = ("errors",)
    errors: list[UmiError]

    def __init__(self, matches: Iterable[GrepMatch] = (), errors: Iterable[UmiError] = ()) -> None:
        super().__init__(matches)
        self.errors = list(errors)


class DirectoryContext(Context):
    """The files below a folder as they were when it was scanned: `Context(root)`.

        context = Context("~/data")
        context.filter(kind="image", min_size="1MB").to_polars()
        context.grep(r"TODO|FIXME", kind="code")
        context.sql("SELECT kind, sum(size) FROM files WHERE depth < ? GROUP BY kind", [3])

    The files are sorted by path. Hidden ones are left out, and so is what a `.gitignore`, `.ignore` or
    `.git/info/exclude` names: those of the folders above count up to the root of the repository, those of the user's
    own settings of Git do not. Symbolic links are not followed. What could not be read is in `errors`.

    A path is one from the root on, or absolute. Every file has a ref, by which `get`, `context[ref]` and `in` find it;
    it follows from session and absolute path, so that another scan in the same session gives the same. A scan never
    changes: a copy of it is itself. `to_context()` makes items of its files, for `to_messages` and everything else
    that a prompt takes.
    """

    __slots__ = ("_scan",)
    _scan: DirectoryScan

    def __new__(
        cls,
        root: str | os.PathLike[str],
        *,
        session_id: str | None = None,
        n_threads: int | None = None,
        no_ignore: bool = False,
    ) -> Self:
        path = os.path.expanduser(os.fspath(root))  # noqa: PTH111 - a Path of "" would be the current folder
        return cls._of(DirectoryScan(path, session_id=session_id, n_threads=n_threads, no_ignore=no_ignore))

    @classmethod
    def _of(cls, scan: DirectoryScan) -> Self:
        made = BaseContext.__new__(cls, session_id=scan.session_id)  # which stays empty
        made._scan = scan  # noqa: SLF001 - its own
        return made

    @property
    def root(self) -> Path:
        """The folder or file that was scanned: absolute, without symbolic links."""
        return _path(self._scan.root)

    @property
    def errors(self) -> list[UmiError]:
        """What could not be read, as exceptions with `filename`; those of the whole scan, also after a filter."""
        return self._scan.errors

    @property
    def files(self) -> list[FileEntry]:
        """The files, sorted by path."""
        return self._scan.files

    @property
    def num_files(self) -> int:
        """How many files there are."""
        return len(self._scan)

    @property
    def refs(self) -> dict[str, str]:
        """The global ref of every path."""
        return self._scan.refs

    def ref_ids(self) -> list[str]:
        """Give the refs, in the order of the files."""
        return self._scan.ref_ids()

    def ref_for(self, path: str | os.PathLike[str]) -> str:
        """Give the ref of a path.

        Raises:
            InvalidInputError: It is none of this scan; a `ValueError`.
        """
        return self._scan.ref_for(path)

    def global_ref(self, path: str | os.PathLike[str]) -> str:
        """Give the global ref of a path. Raises what `ref_for` does."""
        return self._scan.global_ref(path)

    def get(self, ref: str, /) -> Path:
        """Give the absolute path of the file of a ref, or of a global ref of this session.

        Raises:
            RefNotFoundError: There is no such file; a `KeyError`.
            InvalidInputError: It is a global ref of another session; a `ValueError`.
        """
        return _path(self._scan.get(ref).uri)

    def filter(
        self,
        *,
        kind: str | Iterable[str] | None = None,
        ext: str | Iterable[str] | None = None,
        min_size: int | str | None = None,
        max_size: int | str | None = None,
        modified_after: datetime | str | None = None,
    ) -> DirectoryContext:
        """Give the files that fit everything that is asked for, as a context with the same session and refs.

        Args:
            kind: Kinds such as `image` and `code`: a list, or a text with commas.
            ext: Extensions, in any case, with or without the period: a list, or a text with commas.
            min_size: The least size: bytes, or a text such as `1KB` (1,000 bytes) or `1KiB` (1,024).
            max_size: The largest size.
            modified_after: A time that the change of the file is later than: an aware datetime, or a text such as
                `2026-01-31` (in UTC) or `2026-01-31T12:00:00+01:00`.

        Raises:
            InvalidInputError: An unknown kind, something that is no size or no time; a `ValueError`.
        """
        scan = self._scan.filter(
            kind=kind, ext=ext, min_size=min_size, max_size=max_size, modified_after=modified_after
        )
        return self._of(scan)

    def grep(
        self,
        pattern: str,
        *,
        kind: str | Iterable[str] | None = None,
        ext: str | Iterable[str] | None = None,
        ignore_case: bool = False,
        limit: int | None = None,
    ) -> GrepResults:
        """Search the texts for a regular expression, line by line, in parallel.

        Binary files are left out. Files that cannot be searched are in `errors` of what is given.

        Args:
            pattern: The expression, in the syntax of the Rust crate `regex`: without references to groups and looking
                around, and so in linear time. `(?i)` ignores case.
            kind: The kinds of files to search, as `filter` takes them.
            ext: The extensions of files to search, as `filter` takes them.
            ignore_case: Whether capital and small letters are the same.
            limit: The most matches, the first in order; all unless given.

        Raises:
            InvalidInputError: The pattern is malformed, or a kind unknown; a `ValueError`.
            CapacityError: The lines found have more than 256 MiB.
        """
        matches, errors = self._scan.grep(pattern, kind=kind, ext=ext, ignore_case=ignore_case, limit=limit)
        return GrepResults(matches, errors)

    def cat(self, path: str | os.PathLike[str]) -> str:
        """Give the text of a file. What is not UTF-8 in it is replaced by `U+FFFD`.

        Raises:
            FileError: It is none of this scan (a `FileNotFoundError`) or cannot be read; an `OSError`.
            InvalidInputError: It is binary; a `ValueError`.
            CapacityError: It has more than 64 MiB.
        """
        return self._scan.cat(path)

    def head(self, path: str | os.PathLike[str], n: int = 10) -> str:
        """Give the first `n` lines of a file. Raises what `cat` does, but that it is the lines that may be too long."""
        return self._scan.head(path, n)

    def tail(self, path: str | os.PathLike[str], n: int = 10) -> str:
        """Give the last `n` lines of a file. Raises what `head` does."""
        return self._scan.tail(path, n)

    def to_arrow(self, *, refs: bool = False) -> Table:
        """Give the files as a table.

        The columns are `path`, `name`, `stem`, `ext`, `size`, `modified`, `created`, `mime`, `kind`, `is_binary`,
        `depth`, `parent`, `width` and `height`. What of a name is not UTF-8 is replaced by `U+FFFD`.

        Args:
            refs: Whether the columns `session_id` and `ref_id` are there too.
        """
        return Table(self._scan.to_arrow(refs))

    def to_polars(self, *, refs: bool = False) -> pl.DataFrame:
        """Give the files as a DataFrame of Polars; see `to_arrow`.

        Raises:
            FeatureNotBuiltError: Polars is not installed; an `ImportError`.
        """
        return self.to_arrow(refs=refs).to_polars()

    def to_pandas(self, *, refs: bool = False) -> pd.DataFrame:
        """Give the files as a DataFrame of pandas; see `to_arrow`.

        Raises:
            FeatureNotBuiltError: pandas is not installed; an `ImportError`.
        """
        return self.to_arrow(refs=refs).to_pandas()

    def sql(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> Table:
        """Give the rows of a query over the table `files`, which has the columns of `to_arrow(refs=True)`.

        It runs in SQLite in memory, where it can read and nothing else. In a query a time is the number of microseconds
        since 1970 in UTC and truth is 0 and 1; in the result the columns of the table have their own types again.

        Args:
            query: One statement, with `?`, or `:name`, in the place of every value.
            parameters: The values: a list for `?`, a dict for names. They are None, bool, int, float, str, bytes or an
                aware datetime.

        Raises:
            InvalidInputError: The query is malformed, would write or fails, or the parameters do not fit; a
                `ValueError`.
            CapacityError: The rows take more than 256 MiB.
        """
        return Table(self._scan.sql(query, parameters))

    def show(
        self,
        limit: int = 50,
        columns: Sequence[str] | None = None,
        *,
        refs: bool = False,
        file: SupportsWrite[str] | None = None,
    ) -> None:
        """Print a table of the first files.

        Args:
            limit: The most files.
            columns: The names of the columns; `path`, `kind`, `size` and `modified` unless given.
            refs: Whether the ref is shown too.
            file: Where to; standard output unless given.

        Raises:
            InvalidInputError: A column is unknown; a `ValueError`.
        """
        print(self._scan.show(limit, columns, refs), end="", file=file)

    def info(self, *, file: SupportsWrite[str] | None = None) -> None:
        """Print what was scanned in a few lines: root, session, files by kind, what could not be read.

        Args:
            file: Where to; standard output unless given.
        """
        print(self._scan.info(), end="", file=file)

    def to_context(self) -> Context:
        """Give a context with the files as items, with the same session and refs, in the same order.

        Files can then be added and removed, and it has `to_messages`, `to_md` and everything else of a prompt.
        """
        context = Context(session_id=self.session_id)
        self._scan.add_to(context)
        return context

    def save(self, db: str | os.PathLike[str] | None = None, user: str | None = None) -> None:
        """Save the files as items of the session, which `Context.load` gives; takes and raises what it does there.

        Every file is read once, for the hash of its content.
        """
        self.to_context().save(db, user)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        return self.to_arrow().__arrow_c_schema__()

    def __repr__(self) -> str:
        table = self._scan.show(20, None, refs=False) if len(self._scan) else ""
        return f"{self._scan.header()}\n\n{table}" if table else f"{self._scan.header()}\n"

    def __len__(self) -> int:
        return len(self._scan)

    def __contains__(self, value: object, /) -> bool:
        return value in self._scan

    def __iter__(self) -> Iterator[str]:
        return iter(self._scan.ref_ids())

    def __getitem__(self, ref: str, /) -> Path:
        return self.get(ref)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object, /) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a scan cannot be pickled: scan the folder again, or pickle its to_context()")

    def _repr_html_(self) -> str:
        from html import escape  # noqa: PLC0415 - for notebooks alone

        return f"<pre>{escape(repr(self))}</pre>"


def _path(path: str) -> Path:
    from pathlib import Path  # noqa: PLC0415 - importing it takes longer than half of umi

    return Path(path)


for _name in (
    "add",
    "changed",
    "count_tokens",
    "items",
    "llm",
    "load",
    "print_table",
    "print_tree",
    "remove",
    "to_md",
    "to_md_async",
    "to_messages",
    "to_request",
    "tree",
):
    _message = (
        f"Context.{_name} requires an incremental context. Construct it with Context() or Context(session_id=...), or "
        "make one of this scan with to_context()"
    )
    setattr(DirectoryContext, _name, OfOtherMode(_message))
