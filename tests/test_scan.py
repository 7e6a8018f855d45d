"""`Context(root)`: the walk over real folders, its files, filters, searches, texts and refs."""

import copy
import inspect
import io
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import umi


def write(root: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    write(
        root,
        {
            ".gitignore": "*.log\nbuild/\n",
            ".hidden": "x",
            "README.md": "# Read me\nneedle\n",
            "a.csv": "x,y\n1,2\n",
            "build/out.py": "needle",
            "src/main.py": "import os\n# needle\n" * 100,
            "src/x.log": "needle",
            "src/deep/c.toml": "a = 1\n",
            "tool": b"\x7fELF\0\0needle",
        },
    )
    Image.new("RGB", (64, 48)).save(root / "photo.PNG")
    return root


def names(errors: list[umi.UmiError]) -> list[str]:
    return [Path(error.filename).name for error in errors]  # type: ignore[attr-defined]


def paths(context: umi.DirectoryContext) -> list[str]:
    return [file.path for file in context.files]


ALL = ["README.md", "a.csv", "photo.PNG", "src/deep/c.toml", "src/main.py", "tool"]


def test_the_files_below_a_folder_are_listed_in_order(folder: Path) -> None:
    context = umi.Context(folder)
    assert isinstance(context, umi.Context)
    assert isinstance(context, umi.DirectoryContext)
    assert paths(context) == ALL == sorted(ALL)
    assert len(context) == context.num_files == 6
    assert context.root == folder.resolve()
    assert not context.errors
    photo = context.files[2]
    assert photo.to_dict() == {
        "path": "photo.PNG",
        "name": "photo.PNG",
        "stem": "photo",
        "ext": ".png",
        "size": (folder / "photo.PNG").stat().st_size,
        "modified": datetime.fromtimestamp(0, UTC)
        + timedelta(microseconds=(folder / "photo.PNG").stat().st_mtime_ns // 1000),
        "created": photo.created,
        "mime": "image/png",
        "kind": "image",
        "is_binary": True,
        "depth": 0,
        "parent": "",
        "width": 64,
        "height": 48,
    }
    deep = context.files[3]
    assert (deep.kind, deep.depth, deep.parent, deep.width) == ("config", 2, "src/deep", None)
    assert Path(deep) == folder.resolve() / "src/deep/c.toml" == Path(deep.uri)
    assert [file.kind for file in context.files] == ["text", "data", "image", "config", "code", "other"]


def test_nothing_is_ignored_where_that_is_asked_for(folder: Path) -> None:
    assert paths(umi.Context(folder, no_ignore=True)) == sorted([*ALL, "build/out.py", "src/x.log"])


@pytest.mark.parametrize("n_threads", [1, 2, 7])
def test_the_number_of_threads_changes_nothing(folder: Path, n_threads: int) -> None:
    context = umi.Context(folder, n_threads=n_threads, session_id="s")
    assert context.files == umi.Context(str(folder), session_id="s").files


@pytest.mark.parametrize("wrong", [0, -1, 257, 2**80])
def test_a_wrong_number_of_threads_is_refused(folder: Path, wrong: int) -> None:
    with pytest.raises(ValueError, match="threads"):
        umi.Context(folder, n_threads=wrong)


def test_the_home_folder_is_understood(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert umi.Context("~").root == folder.resolve()
    (folder / ".git").mkdir()  # so that the rules of the folder above count
    assert paths(umi.Context("~/src")) == paths(umi.Context(Path("~/src"))) == ["deep/c.toml", "main.py"]


def test_a_root_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        umi.Context(tmp_path / "nowhere")
    assert isinstance(caught.value, umi.UmiError)
    assert caught.value.filename == str(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="empty"):
        umi.Context("")
    for wrong in (5, b"x"):
        with pytest.raises(TypeError):
            umi.Context(wrong)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="slash"):
        umi.Context(tmp_path, session_id="a/b")
    with pytest.raises(TypeError, match="root"):
        umi.Context(n_threads=2)  # type: ignore[call-overload]


def test_a_root_that_is_a_file_is_one_file(folder: Path) -> None:
    context = umi.Context(folder / "README.md")
    assert paths(context) == ["README.md"]
    assert context.cat("README.md").startswith("# Read me")


def test_an_empty_folder_has_no_files(tmp_path: Path) -> None:
    context = umi.Context(tmp_path)
    assert (paths(context), len(context.to_arrow()), context.grep("x")) == ([], 0, [])
    assert repr(context).endswith("files=0)\n")


def test_loops_of_links_end(folder: Path) -> None:
    (folder / "src/loop").symlink_to(folder)
    (folder / "src/self").symlink_to("self")
    (folder / "linked.py").symlink_to("src/main.py")
    context = umi.Context(folder)
    assert paths(context) == ALL
    told = io.StringIO()
    context.info(file=told)
    assert "symbolic links, not followed: 3" in told.getvalue()
    assert umi.Context(folder / "src/loop").root == folder.resolve()


def test_special_files_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    write(tmp_path, {"a.txt": "x"})
    assert paths(umi.Context(tmp_path)) == ["a.txt"]
    with pytest.raises(ValueError, match="neither"):
        umi.Context(tmp_path / "pipe")


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of somebody who is not root, and that user."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    yield root
    os.seteuid(os.getuid())
    shutil.rmtree(root)


def test_what_cannot_be_read_is_said(unprivileged: Path) -> None:
    write(unprivileged, {"a.txt": "needle", "locked/b.txt": "needle", "c.txt": "needle", "unknown": "needle"})
    for name in ("locked", "c.txt", "unknown"):
        (unprivileged / name).chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    context = umi.Context(unprivileged)
    found, listed = context.grep("needle"), paths(context)
    with pytest.raises(PermissionError):
        context.cat("c.txt")
    with pytest.raises(PermissionError):
        umi.Context(unprivileged / "locked")
    os.seteuid(os.getuid())
    assert listed == ["a.txt", "c.txt", "unknown"]
    assert names(context.errors) == ["locked", "unknown"]
    assert all(isinstance(error, PermissionError) and isinstance(error, umi.UmiError) for error in context.errors)
    assert [match["path"] for match in found] == ["a.txt"]
    assert names(found.errors) == ["c.txt", "unknown"]
    told = io.StringIO()
    context.info(file=told)
    assert "errors:  2" in told.getvalue()


def test_a_rule_that_cannot_be_read_is_said(folder: Path) -> None:
    (folder / ".gitignore").write_text("[z-a]\n*.log\nbuild/\n")
    context = umi.Context(folder)
    assert paths(context) == ALL
    assert names(context.errors) == [".gitignore"]


def test_names_that_are_not_unicode_keep_their_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    write(tmp_path, {name: "one"})
    context = umi.Context(tmp_path)
    assert paths(context) == [name]
    assert context.cat(name) == context.cat(context.files[0]) == context.cat("caf�.txt") == "one"
    assert context.grep("one") == [{"path": name, "line_number": 1, "line": "one"}]
    assert context.to_arrow().to_dicts()[0]["path"] == "caf�.txt"
    assert context.refs == {name: context.files[0].global_ref}
    assert context.get(context.ref_for(name)).read_text() == "one"
    strange = "a\nb'\"; --.txt"
    write(tmp_path, {strange: "two"})
    assert umi.Context(tmp_path).cat(strange) == "two"


def test_thousands_of_files_are_listed(tmp_path: Path) -> None:
    for number in range(3_000):
        write(tmp_path, {f"{number % 50}/{number}.txt": str(number)})
    context = umi.Context(tmp_path)
    assert paths(context) == sorted(f"{number % 50}/{number}.txt" for number in range(3_000))
    assert len(set(context.ref_ids())) == 3_000
    assert [match["path"] for match in context.grep("^2999$")] == ["49/2999.txt"]


def test_a_filter_keeps_what_fits_everything(folder: Path) -> None:
    context = umi.Context(folder, session_id="s")
    code = context.filter(kind="code")
    assert isinstance(code, umi.DirectoryContext)
    assert paths(code) == ["src/main.py"]
    assert code.ref_ids() == [context.ref_for("src/main.py")]
    assert (code.session_id, code.root) == ("s", context.root)
    assert paths(context.filter(kind="code, config")) == ["src/deep/c.toml", "src/main.py"]
    assert paths(context.filter(kind=["code", "config"], ext=("py",))) == ["src/main.py"]
    assert paths(context.filter(ext=".PNG,csv")) == ["a.csv", "photo.PNG"]
    assert paths(context.filter(ext="")) == ["tool"]
    assert paths(context.filter(min_size="1KB")) == ["src/main.py"]
    assert paths(context.filter(max_size=8, min_size=8)) == ["a.csv"]
    assert paths(context.filter()) == ALL
    assert paths(code.filter(kind="image")) == []
    with pytest.raises(RuntimeError):
        code.add("x")


def test_a_filter_by_time(folder: Path) -> None:
    os.utime(folder / "a.csv", (1_000, 1_000))
    context = umi.Context(folder)
    at = datetime.fromtimestamp(1_000, UTC)
    assert paths(context.filter(modified_after=at - timedelta(microseconds=1))) == ALL
    assert "a.csv" not in paths(context.filter(modified_after=at))
    assert "a.csv" not in paths(context.filter(modified_after="1970-01-02"))
    assert "a.csv" in paths(context.filter(modified_after="1970-01-01"))
    assert "a.csv" in paths(context.filter(modified_after="1970-01-01T02:16:39+02:00"))
    assert paths(context.filter(modified_after=datetime.max.replace(tzinfo=UTC))) == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"kind": "x' OR '1'='1"}, ValueError),
        ({"kind": "Image"}, ValueError),
        ({"kind": 5}, TypeError),
        ({"kind": [5]}, TypeError),
        ({"min_size": "large"}, ValueError),
        ({"min_size": -1}, ValueError),
        ({"min_size": 1.5}, TypeError),
        ({"max_size": True}, TypeError),
        ({"modified_after": "yesterday"}, ValueError),
        ({"modified_after": "2026-01-01T00:00:00"}, ValueError),
        ({"modified_after": datetime(2026, 1, 1)}, ValueError),  # noqa: DTZ001 - naive on purpose
        ({"modified_after": 5}, TypeError),
        ({"size": 5}, TypeError),
    ],
)
def test_a_filter_refuses_what_it_cannot_read(folder: Path, arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        umi.Context(folder).filter(**arguments)


def test_texts_are_read(folder: Path) -> None:
    context = umi.Context(folder)
    assert context.cat("README.md") == context.cat(folder / "README.md") == "# Read me\nneedle\n"
    assert context.head("src/main.py", 1) == "import os\n"
    assert context.tail("src/main.py", n=1) == "# needle\n"
    assert context.head("src/main.py").count("\n") == context.tail("src/main.py").count("\n") == 10
    for outside in ("../root/README.md", "build/out.py", ".hidden", "/etc/passwd", "nowhere", "src"):
        with pytest.raises(FileNotFoundError):
            context.cat(outside)
    with pytest.raises(ValueError, match="zero byte"):
        context.cat("tool")
    with pytest.raises(ValueError, match="negative"):
        context.head("README.md", -1)
    (folder / "README.md").unlink()
    with pytest.raises(FileNotFoundError):
        context.cat("README.md")


def test_a_file_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "large.txt").open("wb") as file:
        file.write(b"one\n" * 10_000)
        file.truncate(2**40)
    context = umi.Context(tmp_path)
    with pytest.raises(umi.CapacityError):
        context.cat("large.txt")
    assert context.head("large.txt", 2) == "one\none\n"


def test_a_search_finds_lines(folder: Path) -> None:
    context = umi.Context(folder)
    found = context.grep("needle")
    assert found[0] == {"path": "README.md", "line_number": 2, "line": "needle"}
    assert len(found) == 101
    assert not found.errors
    assert len(context.grep("needle", kind="text")) == len(context.grep("NEEDLE", ext="md", ignore_case=True)) == 1
    assert context.grep(r"^import\s", limit=1) == [{"path": "src/main.py", "line_number": 1, "line": "import os"}]
    assert context.filter(kind="data").grep("needle") == []
    with pytest.raises(ValueError, match="regular expression"):
        context.grep("(")
    with pytest.raises(ValueError, match="unknown kind"):
        context.grep("x", kind="y")


def test_files_have_refs(folder: Path) -> None:
    context = umi.Context(folder, session_id="s")
    ref = context.ref_for("a.csv")
    assert ref.startswith("data_")
    assert context.global_ref(folder / "a.csv") == context.files[1].global_ref == context.refs["a.csv"] == f"s/{ref}"
    assert context.get(ref) == context[f"s/{ref}"] == (folder / "a.csv").resolve()
    assert ref in context
    assert "data_000000" not in context
    assert list(context) == context.ref_ids() == [file.ref_id for file in context.files]
    assert umi.Context(folder, session_id="s").ref_ids() == context.ref_ids()
    assert umi.Context(folder).ref_ids() != context.ref_ids()
    with pytest.raises(umi.RefNotFoundError):
        context.get("data_00000")
    with pytest.raises(ValueError, match="belongs"):
        context.get(f"t/{ref}")
    for absent in ("nowhere", "build/out.py"):
        with pytest.raises(ValueError, match="not a file"):
            context.ref_for(absent)


def test_a_scan_becomes_a_context_of_items(folder: Path) -> None:
    scan = umi.Context(folder, session_id="s")
    context = scan.to_context()
    assert type(context) is umi.Context
    assert (context.session_id, context.ref_ids()) == ("s", scan.ref_ids())
    assert context.get(scan.ref_for("a.csv")) == (folder / "a.csv").resolve()
    context.add("What is this?")
    assert (len(context), len(scan)) == (7, 6)


def test_methods_of_the_other_mode_say_which_constructor_gives_them(folder: Path) -> None:
    scan, items = umi.Context(folder), umi.Context()
    of_items = ("add", "changed", "count_tokens", "items", "load", "print_table", "print_tree", "remove", "to_md")
    for name in (*of_items, "to_messages", "to_request", "tree"):
        with pytest.raises(RuntimeError, match=r"Context\(\)"):
            getattr(scan, name)
    for name in ("files", "root", "grep", "sql", "filter", "to_arrow", "cat", "num_files"):
        with pytest.raises(RuntimeError, match=r"Context\(root\)"):
            getattr(items, name)
        assert not hasattr(items, name)
    assert "grep" not in dir(items)
    assert "add" not in dir(scan)
    assert {"add", "get"} < set(dir(items))
    assert {"grep", "get"} < set(dir(scan))
    assert inspect.getmembers(items)
    assert inspect.getmembers(scan)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = items.nonsense  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match=r"Context\(\)"):
        umi.DirectoryContext.load("s")
    # nothing is inherited that would tell of the items, of which a scan has none
    public = {name for name in dir(umi.Context) if not name.startswith("_")}
    assert public - set(vars(umi.DirectoryContext)) == {"session_id", "gc", "resolve"}


def test_a_scan_is_saved_as_items(folder: Path, tmp_path: Path) -> None:
    scan, db = umi.Context(folder, session_id="s"), tmp_path / "store"
    scan.save(db=db)
    assert umi.Context.load("s", db=db).ref_ids() == scan.ref_ids()
    row = umi.Context.get(scan.global_ref("a.csv"), db=db)
    assert row is not None
    assert row["path"] == str((folder / "a.csv").resolve())
    ref = scan.global_ref("a.csv")
    assert umi.Context.resolve(ref, db=db) == row
    with umi.Memory.open(tmp_path / "memory") as memory:
        memory.remember_context_sync(scan)
        assert memory.recall_sync("What says read me?")[0].ref == scan.global_ref("README.md")


def test_a_scan_is_its_own_copy_and_is_not_pickled(folder: Path) -> None:
    context = umi.Context(folder)
    assert copy.copy(context) is copy.deepcopy(context) is context
    with pytest.raises(TypeError, match="to_context"):
        pickle.dumps(context)


def test_a_scan_is_shown(folder: Path) -> None:
    context = umi.Context(folder, session_id="s")
    os.utime(folder / "a.csv", (0, 0))
    context = umi.Context(folder, session_id="s").filter(ext="csv,md")
    out = io.StringIO()
    context.show(file=out, columns=["path", "kind", "size"])
    assert out.getvalue() == (
        "| path      | kind | size |\n"
        "|-----------|------|------|\n"
        "| README.md | text | 17 B |\n"
        "| a.csv     | data | 8 B  |\n"
    )
    out = io.StringIO()
    context.show(1, refs=True, file=out)
    assert out.getvalue().splitlines()[-1] == "and 1 more"
    assert context.ref_ids()[0] in out.getvalue()
    with pytest.raises(ValueError, match="unknown column"):
        context.show(columns=["x"])
    assert repr(context).startswith(f"Context(root={folder.resolve()}, session=s, files=2)\n\n| path ")
    assert "1970-01-01 00:00:00" in repr(context)
    assert context._repr_html_().startswith("<pre>Context(root=")


def test_several_threads_use_one_scan(folder: Path) -> None:
    context = umi.Context(folder)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                assert len(context.sql("SELECT * FROM files WHERE size >= ?", [0])) == 6
                assert len(context.grep("needle")) == 101
                assert context.filter(kind="code").num_files == 1
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_nothing_is_imported_for_a_table(folder: Path) -> None:
    script = (
        "import sys, umi; c = umi.Context(sys.argv[1]); c.to_arrow(); c.sql('SELECT 1')\n"
        "assert not {'pyarrow', 'polars', 'pandas', 'numpy', 'sqlite3'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(folder)], check=True)


def test_a_table_needs_a_column_and_a_miss_tells_the_refs(folder: Path) -> None:
    scan = umi.Context(folder)
    with pytest.raises(umi.InvalidInputError, match="needs a column"):
        scan.show(columns=[])
    known = scan.ref_ids()[0]
    with pytest.raises(umi.RefNotFoundError) as raised:
        scan.get(known[:-1] + "x")
    assert f"Did you mean: {known}?" in str(raised.value)
