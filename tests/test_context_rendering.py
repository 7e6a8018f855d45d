"""How a context shows itself: as Markdown, trees and HTML."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from umi import Context, Url

if TYPE_CHECKING:
    from pathlib import Path

LAYOUTS = ("insertion", "paths", "kind", "flat", "hybrid")


def numbered(ctx: Context, text: str) -> str:
    """Replace every ref by its number, with as many characters."""
    for number, ref in enumerate(ctx.ref_ids(), 1):
        text = text.replace(ref, f"{ref.split('_')[0]}_{number:06}")
    return text


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    (tmp_path / "docs").mkdir()
    for name in ("photo.jpg", "docs/paper.pdf", "clip.mp4", "notes.md"):
        (tmp_path / name).write_bytes(b"# Notes\nof *mine* | yours\n")
    ctx = Context(session_id="s1")
    ctx.add(tmp_path / "photo.jpg")
    ctx.add(Image.new("RGB", (1024, 768)), metadata={"note": "product hero shot"})
    ctx.add(
        tmp_path / "docs/paper.pdf",
        metadata={"summary": "Attention is all you need", "tags": ["nlp", "[bold]"], "x": {"y": 1}},
    )
    ctx.add(tmp_path / "clip.mp4", metadata={"scene": 3, "actor": "A"})
    ctx.add("You are concise.\n[/red] :smile: <b>", role="system")
    ctx.add(Url("https://example.com/a.png"))
    ctx.add(tmp_path / "notes.md")
    return ctx


def test_the_tree_is_that_of_the_page(ctx: Context, tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    assert (
        numbered(ctx, ctx.tree())
        == f"""\
Context(session=s1, items=7)
├── [1] img_000001  user  image  {folder}/photo.jpg
├── [2] img_000002  user  image  PIL.Image(RGB, 1024×768)
│   └─ note: "product hero shot"
├── [3] doc_000003  user  document  {folder}/docs/paper.pdf
│   ├─ summary: "Attention is all you need"
│   ├─ tags: [nlp, [bold]]
│   └─ metadata: {{"x": {{"y": 1}}}}
├── [4] vid_000004  user  video  {folder}/clip.mp4
│   └─ metadata: {{"scene": 3, "actor": "A"}}
├── [5] txt_000005  system  text  You are concise. [/red] :smile: <b>
├── [6] img_000006  user  image  https://example.com/a.png
└── [7] txt_000007  user  text  {folder}/notes.md"""
    )


def test_the_other_layouts(ctx: Context, tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    assert (
        numbered(ctx, ctx.tree("paths"))
        == f"""\
Context(session=s1, items=7)
├── {folder}/
│   ├── clip.mp4                             vid_000004
│   ├── docs/
│   │   └── paper.pdf                        doc_000003
│   ├── notes.md                             txt_000007
│   └── photo.jpg                            img_000001
├── https://example.com/
│   └── a.png                                img_000006
└── (in memory)
    ├── PIL.Image(RGB, 1024×768)             img_000002
    └── You are concise. [/red] :smile: <b>  txt_000005"""
    )
    kinds = numbered(ctx, ctx.tree("kind"))
    assert (
        f"""\
├── image (3)
│   ├── [1] img_000001  user  {folder}/photo.jpg
│   ├── [2] img_000002  user  PIL.Image(RGB, 1024×768)
│   │   └─ note: "product hero shot"
│   └── [6] img_000006  user  https://example.com/a.png
├── video (1)
"""
        in kinds
    )
    flat = numbered(ctx, ctx.tree("flat")).splitlines()
    assert flat[1] == f"img_000001  user    image     {folder}/photo.jpg"
    assert flat[5] == "txt_000005  system  text      You are concise. [/red] :smile: <b>"
    assert """\
    ├── PIL.Image(RGB, 1024×768)             img_000002
    │     user · image · note: "product hero shot"
""" in numbered(ctx, ctx.tree("hybrid"))


def test_what_is_unknown_is_refused(ctx: Context) -> None:
    with pytest.raises(ValueError, match="known layouts: insertion, paths, kind, flat, hybrid"):
        ctx.tree("rainbow")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="known modes"):
        ctx.to_md(mode="bogus")  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_printing_writes_the_tree_and_nothing_else(
    ctx: Context, layout: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = io.StringIO()
    ctx.print_tree(layout, file=out)  # type: ignore[arg-type]
    assert out.getvalue() == ctx.tree(layout) + "\n"  # type: ignore[arg-type]
    ctx.print_tree(layout)  # type: ignore[arg-type]
    assert capsys.readouterr().out == out.getvalue()


def test_the_repr_is_a_table_whose_columns_are_in_line(ctx: Context, capsys: pytest.CaptureFixture[str]) -> None:
    shown = repr(ctx)
    assert shown.startswith("Context(session=s1, items=7)\n\n| ref        | role   | kind     | source ")
    rows = shown.splitlines()[2:]
    assert all(row.startswith("| ") and row.endswith(" |") for row in rows[:1] + rows[2:])
    assert len({row.index("|", 15) for row in rows}) == 1
    ctx.print_table()
    assert capsys.readouterr().out == shown.split("\n\n", 1)[1]
    assert repr(Context(session_id="s2")) == "Context(session=s2, items=0)\n"
    ctx.add("x" * 100_000)
    assert len(repr(ctx)) < len(shown) + 300


def test_the_contents_are_told_without_a_model(ctx: Context, tmp_path: Path) -> None:
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in ctx.to_md().splitlines()]
    assert rows[0] == ["ref", "role", "kind", "source", "content"]
    contents = [row[4] for row in rows[2:]]
    assert contents[2].startswith("application/pdf, ")
    assert contents[4] == "You are concise. [/red] :smile: <b>"
    assert contents[5] == "image/png"
    assert contents[6] == "# Notes of *mine* \\| yours"
    (tmp_path / "notes.md").write_text("changed since")
    (tmp_path / "clip.mp4").unlink()
    assert "changed since" in ctx.to_md()
    assert "[cannot be read: No such file" in ctx.to_md()


class Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_html_is_escaped(ctx: Context) -> None:
    hostile = "<script>alert('1')</script>"
    ctx.add(hostile, metadata={"note": hostile, hostile: hostile})
    page = Cells()
    page.feed(ctx._repr_html_())
    assert "script" not in page.tags
    assert hostile in page.words
    assert page.tags.count("tr") == 9


def test_the_html_is_a_table(tmp_path: Path) -> None:
    """All of it, but for styles, refs and the data of pictures."""
    Image.new("RGB", (400, 100), "red").save(tmp_path / "wide.png")
    ctx = Context(session_id="s<1>")
    ctx.add("Be *terse* <b>\nnow", role="system")
    ctx.add(tmp_path / "wide.png", metadata={"note": "a & b", "tags": ["x", "<y>"]})
    ctx.add(b"nothing", media_type="image/png")
    shown = re.sub(r' style="[^"]*"', "", re.sub(r"base64,[^\"]*", "base64,…", numbered(ctx, ctx._repr_html_())))
    assert (
        shown
        == f"""\
<div>
<p><b>Context</b> session s&lt;1&gt;, 3 items</p>
<table>
<thead><tr><th></th><th>ref</th><th>role</th><th>kind</th><th>source</th><th>metadata</th></tr></thead>
<tbody>
<tr><td>1</td><td><code>txt_000001</code></td><td>system</td><td>text</td>\
<td>Be *terse* &lt;b&gt; now</td><td></td></tr>
<tr><td>2</td><td><code>img_000002</code></td><td>user</td><td>image</td>\
<td><img src="data:image/png;base64,…" width="128" height="32" alt="img_000002"><br>{tmp_path.resolve()}/wide.png</td>\
<td>note: &quot;a &amp; b&quot;<br>tags: [x, &lt;y&gt;]</td></tr>
<tr><td>3</td><td><code>img_000003</code></td><td>user</td><td>image</td>\
<td><i>cannot be read as an image</i><br>image/png (7 B)</td><td></td></tr>
</tbody>
</table>
</div>"""
    )
    assert Context(session_id="s2")._repr_html_() == "<div>\n<p><b>Context</b> session s2, 0 items</p>\n</div>"


def test_images_are_shown_small_in_html(tmp_path: Path) -> None:
    ctx = Context()
    Image.new("RGB", (400, 100), "red").save(tmp_path / "<wide>.png")
    ctx.add(tmp_path / "<wide>.png")
    ctx.add(Image.new("L", (64, 640)))
    ctx.add(b"nothing", media_type="image/png")
    shown = ctx._repr_html_()
    assert shown.count('src="data:image/png;base64,') == 2
    assert 'width="128" height="32"' in shown
    assert 'width="13" height="128"' in shown
    assert "<i>cannot be read as an image</i>" in shown
    assert "&lt;wide&gt;.png" in shown


def test_a_closed_image_is_shown_all_the_same() -> None:
    ctx = Context()

    class Broken(Image.Image):
        @property
        def size(self) -> tuple[int, int]:
            raise RuntimeError("no size")

    ctx.add(Broken())
    assert "PIL.Image" in repr(ctx)
    assert "PIL.Image" in ctx.tree()
    assert ctx.items()[0]["byte_len"] is None
