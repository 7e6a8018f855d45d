"""The page of the multimodal Context: every block of Python on it runs as it stands there, and does what it says.

The blocks are taken out of `fixtures/mm_context.txt`, which is the page. `import mm` finds Umi.
"""

from __future__ import annotations

import ast
import base64
import inspect
import io
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

import umi
from gemini_server import GeminiServer
from media_files import film, pdf, picture
from message_types import CHECKS
from model_servers import OpenAIServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_servers import Request

PAGE = (Path(__file__).parent / "fixtures/mm_context.txt").read_text(encoding="utf-8")
STATEMENTS = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
REF = r"[a-z]{3}_[0-9a-f]{6}"


def _is_python(lines: list[str]) -> bool:
    """Whether lines are imports, assignments and calls, and no prose that happens to parse."""
    try:
        tree = ast.parse("\n".join(lines))
    except SyntaxError:
        return False
    calls = any(isinstance(node, ast.Call) for node in ast.walk(tree))  # none in the arguments of a signature
    return calls and all(
        isinstance(each, STATEMENTS) or (isinstance(each, ast.Expr) and isinstance(each.value, ast.Call))
        for each in tree.body
    )


def _blocks() -> Iterator[str]:
    """The longest runs of lines that are Python."""
    lines = PAGE.splitlines()
    start = 0
    while start < len(lines):
        ends = [end for end in range(start + 1, min(start + 40, len(lines)) + 1) if _is_python(lines[start:end])]
        if ends and not lines[start].startswith("#"):
            yield "\n".join(lines[start : ends[-1]]) + "\n"
            start = ends[-1]
        else:
            start += 1


TLDR, EXAMPLE, MESSAGES, OVERRIDES, TO_MD, OPENAI, GEMINI = BLOCKS = list(_blocks())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the page, a place for the user's data, and `mm` for Umi."""
    monkeypatch.setitem(sys.modules, "mm", umi)
    monkeypatch.setenv("UMI_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "files").mkdir()
    monkeypatch.chdir(tmp_path / "files")
    for name in ("photo.jpg", "whiteboard.jpg"):
        picture(64, 48).save(name)
    picture(256, 192).save("x.png")
    Path("paper.pdf").write_bytes(pdf("Attention is all you need", "Abstract"))
    Path("slides.pdf").write_bytes(pdf("Q3"))
    film(Path("clip.mp4"))
    return tmp_path / "files"


def _run(*blocks: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "mm_context.txt", "exec"), names)
    return names


def _texts(messages: list[Any]) -> list[str]:
    return [
        part["text"] for message in messages for part in message.get("content") or message["parts"] if "text" in part
    ]


def test_these_are_the_blocks_of_the_page() -> None:
    """None more, and the copy is the page that lies beside the project, where it does."""
    assert [block.splitlines()[0] for block in BLOCKS] == [
        "import mm",
        'text = ctx.add("Compare the image and document below.", role="user")',
        "from openai.types.chat import ChatCompletionMessageParam",
        "messages: list[ChatCompletionMessageParam] = ctx.to_messages(",
        "print(ctx.to_md())",
        "import mm",
        "import mm",
    ]
    for parent in Path(__file__).parents:
        page = parent / "shared/spec/seed_mm_context.txt"
        if page.is_file():
            assert page.read_text(encoding="utf-8") == PAGE


def test_the_summary_of_the_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = _run(TLDR)
    ctx = names["ctx"]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", ctx.session_id)
    refs = [names[name] for name in ("sys", "txt", "img", "img2", "doc", "vid")]
    assert [ref.split("_")[0] for ref in refs] == ["txt", "txt", "img", "img", "doc", "vid"]
    assert all(type(ref) is str and re.fullmatch(REF, ref) for ref in refs)
    assert refs == list(ctx)

    for form in ("openai", "gemini"):
        CHECKS[form](names[f"messages_{form}"])
    system, user = names["messages_openai"]
    assert [system["role"], user["role"]] == ["system", "user"]
    assert [part["text"] for part in system["content"]] == [f"[ref={refs[0]}]", "You are a terse visual analyst."]
    leads = [text for text in _texts([user]) if text.startswith("[ref=")]
    assert leads == [
        f"[ref={refs[1]}]",
        f"[ref={refs[2]}]",
        f"[ref={refs[3]}] note: product hero shot",
        f'[ref={refs[4]}]; summary: "Attention is all you need"; tags: ["nlp","transformer"]',
        f'[ref={refs[5]}]; scene: 3; actor: "A"',
    ]
    [gemini] = names["messages_gemini"]
    assert gemini["role"] == "user"
    assert [part["text"] for part in gemini["parts"][:3]] == [
        "[role=system]",
        f"[ref={refs[0]}]",
        "You are a terse visual analyst.",
    ]
    assert sum("inline_data" in part for part in gemini["parts"]) == 2 + 2 + 3  # images, pages, frames

    assert names["obj"] == folder / "photo.jpg"
    assert isinstance(names["obj"], Path)
    assert ctx.get(refs[3]) is ctx.get(f"{ctx.session_id}/{refs[3]}")
    assert isinstance(ctx.get(refs[3]), Image.Image)
    assert names["row"] is None, "nothing was saved"
    ctx.save()
    row = umi.Context.get(f"{ctx.session_id}/{refs[2]}")
    assert row is not None
    assert (row["ref_id"], row["uri"]) == (refs[2], (folder / "photo.jpg").as_uri())

    printed = capsys.readouterr().out
    tree, contents, shown = ctx.tree() + "\n", ctx.to_md(mode="metadata") + "\n", repr(ctx) + "\n"
    assert printed == tree + contents + shown
    lines = tree.splitlines()
    assert lines[3].split()[2:] == ["img_" + lines[3].split("img_")[1][:6], "user", "image", f"{folder}/photo.jpg"]
    assert lines[5:6] == ['│   └─ note: "product hero shot"']
    assert lines[7:9] == ['│   ├─ summary: "Attention is all you need"', "│   └─ tags: [nlp, transformer]"]
    assert lines[10:] == ['    └─ metadata: {"scene": 3, "actor": "A"}']
    assert re.findall(r"\w+", contents.splitlines()[0]) == ["ref", "role", "kind", "source", "content"]
    assert re.findall(r"\w+", shown.splitlines()[2]) == ["ref", "role", "kind", "source"]


def test_the_example_of_adding() -> None:
    names = _run("import mm\nfrom pathlib import Path\nctx = mm.Context()\n", EXAMPLE)
    ctx = names["ctx"]
    assert list(ctx) == [names[name] for name in ("text", "img", "doc", "vid")]
    assert ctx.get(names["text"]) == "Compare the image and document below."
    assert [item["metadata"] for item in ctx.items()] == [
        {},
        {"note": "hero shot"},
        {"summary": "Attention is all you need", "tags": ["nlp", "transformer"]},
        {"scene": 3},
    ]


def test_the_messages_and_their_encoders() -> None:
    names = _run(TLDR, MESSAGES, OVERRIDES)
    for form in ("openai", "gemini"):
        CHECKS[form](names[f"messages_{form}"])
    CHECKS["openai"](names["messages"])
    images = [
        Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2])))
        for message in names["messages"]
        for part in message["content"]
        if part["type"] == "image_url"
    ]
    photo, shot, *pages, film = [image.size for image in images]
    assert (photo, shot) == ((64, 48), (256, 192)), "neither is so large that it comes in tiles"
    assert pages == [(1024, 512)] * 2
    assert film == (256, 96), "a mosaic of three frames"


def test_the_defaults_are_known_by_the_names_of_the_page() -> None:
    """They are the same as nothing."""
    ctx = _run(TLDR)["ctx"]
    encoders = {"image": "image-resize", "video": "video-frames", "document": "document-rasterize"}
    assert all(name in PAGE for name in encoders.values())
    assert ctx.to_messages(encoders=encoders) == ctx.to_messages()


def test_the_table_of_contents(capsys: pytest.CaptureFixture[str]) -> None:
    names = _run(TLDR, TO_MD)
    ctx = names["ctx"]
    table = ctx.to_md()
    assert capsys.readouterr().out.endswith(repr(ctx) + "\n" + table + "\n")
    cells = [[cell.strip() for cell in row[1:-1].split("|")] for row in table.splitlines()]
    assert cells[0] == ["ref", "role", "kind", "source", "content"]
    contents = [row[4] for row in cells[2:]]
    assert contents[:2] == ["You are a terse visual analyst.", "Summarize these assets."]
    assert "64×48" in contents[2]
    assert contents[3]
    assert "2 pages" in contents[4]
    assert contents[5]


def test_the_signatures_of_the_page() -> None:
    """Names, order and defaults of arguments; there may be more of them behind."""
    assert umi.Ref is str
    assert list(inspect.signature(umi.Context).parameters)[:2] == ["root", "session_id"]
    assert str(inspect.signature(umi.Context.add)).startswith("(self, /, obj, *, role='user', metadata=None")
    assert list(inspect.signature(umi.Context.get).parameters) == ["ref", "session_id", "db", "user"]
    assert str(inspect.signature(umi.Context.to_messages)).startswith(
        "(self, format: 'Format' = 'openai', *, encoders:"
    )
    assert inspect.signature(umi.Context.to_md).parameters["mode"].default == "metadata"
    assert inspect.signature(umi.Context.print_tree).parameters["layout"].default == "insertion"
    assert umi.Context.resolve is not None


def test_a_miss_reads_as_on_the_page() -> None:
    names = _run(TLDR)
    ctx, img = names["ctx"], names["img"]
    typo = img[:-1] + ("0" if img[-1] != "0" else "1")
    if typo in ctx:
        typo = img[:-1] + "z"
    with pytest.raises(KeyError) as raised:
        ctx.get(typo)
    assert isinstance(raised.value, umi.RefNotFoundError)
    text = str(raised.value)
    assert text.startswith(
        f"ref '{typo}' not found in session {ctx.session_id}. Did you mean: {img}?\n\nAvailable refs:\n"
    )
    assert text.rstrip().endswith(repr(ctx).rstrip())
    ctx.remove(f"{ctx.session_id}/{img}")
    assert img not in ctx
    with pytest.raises(umi.RefNotFoundError):
        ctx.remove(img)
    with pytest.raises(ValueError, match="session"):
        ctx.remove(f"another/{names['doc']}")
    for obj, error in ((3, TypeError), (Path("none.jpg"), FileNotFoundError)):
        with pytest.raises(error):
            ctx.add(obj)
    with pytest.raises(ValueError, match="metadata"):
        ctx.add("x", metadata={"a": object()})


def test_the_recipe_of_openai(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It runs as it stands; only the environment says where OpenAI is."""

    def answer(request: Request) -> str:
        return f"{request.images} images: {request.system}"

    with OpenAIServer(answer) as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        names = _run(OPENAI)
        names["client"].close()
    refs = names["ctx"].ref_ids()
    assert capsys.readouterr().out == f"2 images: [ref={refs[0]}]Summarise the attached context.\n"
    [request] = server.requests
    assert request.body["model"] == "gpt-4o"
    assert request.body["messages"] == names["ctx_messages"]
    assert f"[ref={refs[1]}] note: meeting notes" in request.data
    assert f'[ref={refs[2]}]; summary: "Q3 plan"' in request.data


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_the_recipe_of_gemini(capsys: pytest.CaptureFixture[str]) -> None:
    """It runs as it stands; `configure`, which the page leaves out, says where Gemini is."""
    import google.generativeai as genai

    with GeminiServer(lambda request: f"{request.images} frames") as server:
        settings: Any = {"transport": "rest", "client_options": {"api_endpoint": server.base_url}}
        genai.configure(api_key=server.api_key, **settings)  # type: ignore[attr-defined]
        names = _run(GEMINI)
    assert capsys.readouterr().out == "3 frames\n"
    [request] = server.requests
    assert request.path.startswith("/v1beta/models/gemini-2.0-pro:generateContent")
    refs = names["ctx"].ref_ids()
    [(role, said)] = request.messages
    assert role == "user"
    assert said.splitlines()[:2] == [f"[ref={refs[0]}]", "Summarise this lecture."]
    assert f'[ref={refs[1]}]; summary: "lecture on attention"' in said
    CHECKS["gemini"](names["contents"])


def test_the_other_sdk_of_gemini_takes_the_same() -> None:
    """google-genai, with the list of `to_messages` and with `to_request`."""
    from google import genai
    from google.genai import types

    ctx = _run(TLDR)["ctx"]
    with GeminiServer(lambda request: f"{request.images} images, {request.system!r}") as server:
        client = genai.Client(
            api_key=server.api_key, http_options=types.HttpOptions(base_url=server.base_url, api_version="v1beta")
        )
        listed = client.models.generate_content(model="gemini-2.0-pro", contents=ctx.to_messages(format="gemini"))
        whole = client.models.generate_content(model="gemini-2.0-pro", **ctx.to_request("gemini"))
        client.close()
    assert listed.text == "7 images, ''"
    assert whole.text is not None
    assert whole.text.startswith("7 images, '[ref=")
    assert "You are a terse visual analyst." in whole.text
