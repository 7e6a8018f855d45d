"""The tables of a scan: Arrow, Polars, pandas, SQL."""

import _thread
import datetime as dt
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pandas as pd  # type: ignore[import-untyped]
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from PIL import Image

import umi

TYPES = {
    "path": pa.string(),
    "name": pa.string(),
    "stem": pa.string(),
    "ext": pa.string(),
    "size": pa.uint64(),
    "modified": pa.timestamp("us"),
    "created": pa.timestamp("us"),
    "mime": pa.string(),
    "kind": pa.string(),
    "is_binary": pa.bool_(),
    "depth": pa.uint16(),
    "parent": pa.string(),
    "width": pa.uint32(),
    "height": pa.uint32(),
}


@pytest.fixture
def context(tmp_path: Path) -> umi.DirectoryContext:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.txt").write_text("one")
    (tmp_path / "c.py").write_text("import os")
    Image.new("L", (7, 9)).save(tmp_path / "d.gif")
    return umi.Context(tmp_path, session_id="s")


def test_every_library_of_arrow_takes_a_table(context: umi.DirectoryContext) -> None:
    table = pa.table(context.to_arrow())
    assert dict(zip(table.schema.names, table.schema.types, strict=True)) == TYPES
    assert table.column("path").to_pylist() == ["a/b.txt", "c.py", "d.gif"]
    assert table.column("width").to_pylist() == [None, None, 7]
    modified = [time.replace(tzinfo=dt.UTC) for time in table.column("modified").to_pylist()]
    assert modified == [file.modified for file in context.files]
    assert pa.table(context) == table
    assert pa.schema(context.to_arrow()) == table.schema
    reader = pa.RecordBatchReader.from_stream(context.to_arrow(refs=True))
    assert reader.schema.names == [*TYPES, "session_id", "ref_id"]
    assert reader.read_all().column("ref_id").to_pylist() == context.ref_ids()


def test_types_stay_after_a_filter_and_when_nothing_is_left(context: umi.DirectoryContext) -> None:
    for kept in (context.filter(kind="code"), context.filter(min_size="1TB")):
        assert pa.table(kept).schema == pa.table(context).schema
        assert kept.to_polars().schema == context.to_polars().schema
        assert list(kept.to_pandas().columns) == list(TYPES)
    assert len(context.filter(min_size="1TB").to_pandas()) == 0


def test_a_stream_is_of_its_own(context: umi.DirectoryContext) -> None:
    stream = context.to_arrow().__arrow_c_stream__()
    del stream  # never read: it releases what it holds
    table = context.to_arrow()
    read = pa.table(table)
    del table, context
    assert read.num_rows == 3
    assert umi.Table(umi.Context(".").to_arrow()).column_names == list(TYPES)


def test_polars_has_it(context: umi.DirectoryContext) -> None:
    frame = context.to_polars(refs=True)
    assert frame.schema["size"] == pl.UInt64
    assert frame.schema["modified"] == pl.Datetime("us")
    assert frame.schema["is_binary"] == pl.Boolean
    assert frame.filter(pl.col("kind") == "image")["height"].to_list() == [9]
    assert frame["ref_id"].to_list() == context.ref_ids()
    assert pl.DataFrame(context).equals(context.to_polars())


def test_pandas_has_it(context: umi.DirectoryContext) -> None:
    frame = context.to_pandas()
    assert list(frame.columns) == list(TYPES)
    assert frame["size"].dtype == "uint64"
    assert frame["modified"].dtype == "datetime64[us]"
    assert frame["is_binary"].dtype == "bool"
    assert frame["depth"].dtype == "uint16"
    assert frame["width"].dtype == "UInt32"
    assert frame["width"].to_list() == [pd.NA, pd.NA, 7]
    assert frame["modified"].dt.tz_localize("UTC").to_list() == [file.modified for file in context.files]
    mixed = context.sql("SELECT 1.5 AS a, x'00' AS b, NULL AS c, 'x' AS d, 2 AS e").to_pandas()
    assert mixed.to_dict("records") == [{"a": 1.5, "b": b"\0", "c": None, "d": "x", "e": 2}]


@pytest.mark.parametrize(("name", "method"), [("polars", "to_polars"), ("pandas", "to_pandas")])
def test_what_is_not_installed_is_said_with_the_command(context: umi.DirectoryContext, name: str, method: str) -> None:
    script = (
        f"import sys; sys.modules[{name!r}] = None\n"
        f"import umi\n"
        f"try: umi.Context(sys.argv[1]).{method}()\n"
        f"except umi.FeatureNotBuiltError as error: assert error.hint == 'pip install {name}'\n"
        f"else: raise SystemExit('no error')"
    )
    subprocess.run([sys.executable, "-c", script, str(context.root)], check=True)


def test_sql_gives_a_table(context: umi.DirectoryContext) -> None:
    table = context.sql("SELECT path, size, modified, is_binary, ref_id FROM files ORDER BY size DESC LIMIT 2")
    rows = table.to_dicts()
    assert [row["size"] for row in rows] == sorted((file.size for file in context.files), reverse=True)[:2]
    by_path = {file.path: file for file in context.files}
    for row in rows:
        file = by_path[row["path"]]
        assert (row["modified"], row["is_binary"], row["ref_id"]) == (file.modified, file.is_binary, file.ref_id)
    assert table.schema["size"] == "UInt64"
    assert pa.table(table).schema.types == [pa.string(), pa.uint64(), pa.timestamp("us"), pa.bool_(), pa.string()]
    assert len(table) == table.num_rows == 2
    total = context.sql("SELECT kind, count(*) AS n, sum(size) AS bytes FROM files GROUP BY kind ORDER BY kind")
    assert [(row["kind"], row["n"]) for row in total.to_dicts()] == [("code", 1), ("image", 1), ("text", 1)]
    empty = context.sql("SELECT size, modified FROM files WHERE 0")
    assert pa.table(empty).schema.types == [pa.uint64(), pa.timestamp("us")]
    assert empty.to_polars().shape == (0, 2)


def test_parameters_are_values_and_never_sql(context: umi.DirectoryContext) -> None:
    evil = "x' OR '1'='1"
    assert len(context.sql("SELECT * FROM files WHERE kind = ?", [evil])) == 0
    assert context.sql("SELECT ? AS x", [evil]).to_dicts() == [{"x": evil}]
    assert context.sql("SELECT :x AS x", {"x": "'; DROP TABLE files; --"}).to_dicts() == [
        {"x": "'; DROP TABLE files; --"}
    ]
    assert len(context.sql("SELECT * FROM files")) == 3
    values = [None, True, 2**63 - 1, 1.5, "ü", b"\0\xff"]
    row = context.sql("SELECT ? AS a, ? AS b, ? AS c, ? AS d, ? AS e, ? AS f", values).to_dicts()[0]
    assert list(row.values()) == [None, 1, *values[2:]]
    after = [context.files[0].modified]
    assert len(context.sql("SELECT * FROM files WHERE modified >= ?", after)) >= 1
    with pytest.raises(ValueError, match="64 bits"):
        context.sql("SELECT ?", [2**63])
    wrong: Any
    for wrong in ("x", b"x", 5, [object()], [[1]]):
        with pytest.raises(TypeError):
            context.sql("SELECT ?", wrong)
    for wrong in ([], [1, 2], {}, {"y": 1}):
        with pytest.raises(ValueError, match="parameter"):
            context.sql("SELECT :x", wrong)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "SELEC",
        "SELECT * FROM nowhere",
        "SELECT nothing FROM files",
        "DELETE FROM files",
        "INSERT INTO files (path) VALUES ('x')",
        "UPDATE files SET path = 'x'",
        "DROP TABLE files",
        "CREATE TABLE t (x)",
        "ATTACH '{path}' AS x",
        "VACUUM INTO '{path}'",
        "PRAGMA journal_mode",
        "PRAGMA user_version = 5",
        "SELECT * FROM pragma_table_info('files')",
        "SELECT load_extension('{path}')",
        "SELECT readfile('/etc/passwd')",
        "SELECT writefile('{path}', 'x')",
        "SELECT 1; SELECT 2",
    ],
)
def test_a_query_reads_and_nothing_else(context: umi.DirectoryContext, tmp_path: Path, query: str) -> None:
    target = tmp_path / "written"
    with pytest.raises(umi.InvalidInputError):
        context.sql(query.replace("{path}", str(target)))
    assert not target.exists()
    assert len(context.sql("SELECT * FROM files")) == 3


def test_rows_without_end_are_refused_before_memory_is_spent(context: umi.DirectoryContext) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT zeroblob(1000000) FROM n"
    with pytest.raises(umi.CapacityError, match="256 MiB"):
        context.sql(endless)


def test_a_query_is_interrupted(context: umi.DirectoryContext) -> None:
    timer = threading.Timer(0.2, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        context.sql("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n")
    timer.join()
    assert len(context.sql("SELECT * FROM files")) == 3
