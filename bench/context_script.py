"""One measurement of the multimodal context, in a process of its own: `python context_script.py MODULE FOLDER PART`.

`MODULE` is `umi`, or the module of a peer with the same surface; `PART` is `items`, `tables` or `messages`. Prints a
JSON object of operations and their samples, in seconds, and in bytes for memory. Needs nothing but the module, and
Pillow.
"""

import contextlib
import importlib
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from PIL import Image

ITEMS = 10_000
MANY = 100_000
BATCH = 500
PHOTOS = ("2 MP", "12 MP")


def main(module: str, folder: pathlib.Path, part: str) -> dict[str, list[float]]:
    """Measure one part once."""
    mm = importlib.import_module(module)
    return {"items": items, "tables": tables, "messages": messages}[part](mm, folder)


def items(mm: Any, folder: pathlib.Path) -> dict[str, list[float]]:
    """Measure what is done to items, and what shows them."""
    samples: dict[str, list[float]] = {"memory per Path item, 100,000, beside the path": [memory(mm, folder / "many")]}
    files = sorted((folder / "files").iterdir())
    texts = [f"text number {number}" for number in range(ITEMS)]

    samples["`uuid7()`"] = each(lambda _: mm.uuid7(), range(ITEMS))
    ctx = mm.Context()
    samples["`add(str)`"] = each(ctx.add, texts)
    samples["`get(ref)`, str, 10,000 items"] = each(ctx.get, ctx.ref_ids())
    image = Image.new("RGB", (64, 48))
    samples["`add(PIL)`"] = each(mm.Context().add, [image] * ITEMS)
    ctx = mm.Context()
    samples["`add(Path)`"] = each(ctx.add, files)
    paths, refs = [str(file) for file in files], ctx.ref_ids()
    made, got = [], []
    for start in range(0, ITEMS, BATCH):  # in turns, since the processor is faster at one moment than at another
        made += each(pathlib.Path, paths[start : start + BATCH], batch=BATCH)
        got += each(ctx.get, refs[start : start + BATCH], batch=BATCH)
    samples["`pathlib.Path(str)`"] = made
    samples["`get(ref)`, Path, 10,000 items"] = got
    samples["`get(ref)`, Path, over `pathlib.Path(str)`"] = [min(got) - min(made)]
    samples["`repr`, 10,000 items"] = each(lambda _: repr(ctx), range(10))
    samples["`print_tree`, 10,000 items, to a file"] = each(lambda _: print_tree(ctx, folder), range(3))
    samples["miss, 10,000 items, unread"] = each(lambda _: miss(mm, ctx, is_read=False), range(200))
    samples["miss, 10,000 items, read"] = each(lambda _: miss(mm, ctx, is_read=True), range(10))
    samples["`remove(ref)`, 10,000 items"] = each(ctx.remove, refs[:1_000], batch=10)
    return samples


def tables(mm: Any, folder: pathlib.Path) -> dict[str, list[float]]:
    """Measure what is told of files that nothing has read yet, and once more."""
    ctx = mm.Context()
    for file in sorted((folder / "notes").iterdir()):
        ctx.add(file)
    return {
        "`to_md`, 1,000 Markdown files, first": each(lambda _: ctx.to_md(), range(1)),
        "`to_md`, 1,000 Markdown files, again": each(lambda _: ctx.to_md(), range(10)),
    }


def messages(mm: Any, folder: pathlib.Path) -> dict[str, list[float]]:
    """Measure the messages of a long prompt with photos, those of 2 megapixels and those of a telephone."""
    samples: dict[str, list[float]] = {}
    for size in PHOTOS:
        ctx, photos = mm.Context(), sorted((folder / size).iterdir())
        for number in range(100):
            ctx.add(f"What was said in turn {number}. " * 10)
        for photo in photos:
            ctx.add(photo)
        # By itself the peer sends those of a telephone in tiles: named, both do the same work.
        options = {"encoders": {"image": "resize"}} if size == "12 MP" else {}
        to_messages = partial(ctx.to_messages, **options)
        operation = f"`to_messages`, 100 texts, 20 photos of {size}"
        samples[f"{operation}, first"] = each(to_messages, ["openai"])
        samples[f"{operation}, again"] = each(to_messages, ["openai"] * 30)
        kinds = [part["type"] for message in to_messages() for part in message["content"]]
        if kinds.count("image_url") != len(photos):
            raise AssertionError(f"{kinds.count('image_url')} photos were sent")
    return samples


def each(call: Callable[[Any], object], arguments: Iterable[Any], *, batch: int = BATCH) -> list[float]:
    """Time calls in batches, so that the clock costs nothing, and give the seconds of one call of each batch."""
    arguments = list(arguments)
    size = max(1, min(batch, len(arguments) // 10))
    samples = []
    for start in range(0, len(arguments) - size + 1, size):
        chosen = arguments[start : start + size]
        begin = time.perf_counter()
        for argument in chosen:
            call(argument)
        samples.append((time.perf_counter() - begin) / size)
    return samples


def print_tree(ctx: Any, folder: pathlib.Path) -> None:
    with (folder / "tree.txt").open("w", encoding="utf-8") as file, contextlib.redirect_stdout(file):
        ctx.print_tree()


def miss(mm: Any, ctx: Any, *, is_read: bool) -> None:
    try:
        ctx.get("img_00000g")
    except mm.RefNotFoundError as error:
        if is_read:
            str(error)


def memory(mm: Any, folder: pathlib.Path) -> float:
    """Give the bytes that a Path item takes, without those of its path."""
    ctx = mm.Context()
    names = [f"{folder.resolve()}/{number // 1_000}/{number}.jpg" for number in range(MANY)]
    length = sum(len(name) for name in names)
    ctx.add(pathlib.Path(names[0]))  # what is loaded on first use
    before = resident()
    for name in names:
        ctx.add(pathlib.Path(name))
    return (resident() - before - length) / MANY


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - pathlib is what is measured
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3])))
