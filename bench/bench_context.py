"""What the multimodal context costs through its public Python API.

Run by `make bench`, in an environment that holds the optimised wheel; about half a minute. Prints a Markdown table and
exits with 1 when a figure is over its budget (`--no-fail` to print only). With `--peer PYTHON`, an interpreter that has
the package `mm-ctx`, that is measured by the same script, in turns with ours, and compared; it takes minutes more.
"""

import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from PIL import Image

from context_script import PHOTOS
from report import Budget, Report, Unit, run_bench, shown

ROUNDS = {"items": 3, "tables": 3, "messages": 5}
IMPORTS = 7  # of each of so many rounds
SCRIPT = Path(__file__).with_name("context_script.py")


def best_of(seconds: float) -> Budget:
    """Make a budget that was set beside the best runs of the peer, and that the best of ours are held to."""
    return Budget(seconds, of_best=True)


BUDGETS = {
    "import": Budget(60e-3),
    "`get(ref)`, str, 10,000 items": best_of(120e-9),
    "`get(ref)`, Path, over `pathlib.Path(str)`": Budget(500e-9),
    "`uuid7()`": best_of(400e-9),
    "`add(str)`": best_of(1e-6),
    "`add(PIL)`": best_of(1e-6),
    "`add(Path)`": best_of(8e-6),
    "`repr`, 10,000 items": best_of(1e-3),
    "`print_tree`, 10,000 items, to a file": best_of(15e-3),
    "miss, 10,000 items, unread": best_of(2e-6),
    "miss, 10,000 items, read": best_of(1e-3),
    "`remove(ref)`, 10,000 items": best_of(2e-6),
    "`to_md`, 1,000 Markdown files, first": Budget(150e-3),
    "`to_md`, 1,000 Markdown files, again": best_of(10e-3),
    "`to_messages`, 100 texts, 20 photos of 2 MP, again": best_of(0.5e-3),
    "`to_messages`, 100 texts, 20 photos of 12 MP, again": best_of(0.5e-3),
    "memory per Path item, 100,000, beside the path": Budget(120, "bytes"),
}
# These import nothing that the module would then find loaded.
IMPORT = """
import sys, time
begin = time.perf_counter()
module = __import__(sys.argv[1])
module.Context()
print(time.perf_counter() - begin)
"""


def over_peer(size: str) -> str:
    """Name the time of the first messages beside the peer's."""
    return f"`to_messages`, 100 texts, 20 photos of {size}, first, over mm-ctx"


def budgets() -> dict[str, Budget]:
    """Give the budgets, with those beside the peer where there is one."""
    ratios = {over_peer(size): Budget(1 / 3, "times") for size in PHOTOS} if "--peer" in sys.argv else {}
    return BUDGETS | ratios


def measure(report: Report, folder: Path) -> None:
    make_files(folder)
    peer = sys.argv[sys.argv.index("--peer") + 1] if "--peer" in sys.argv else None
    ours, theirs = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    runs = [(ours, sys.executable, "umi")] + ([] if peer is None else [(theirs, peer, "mm")])
    for _ in range(IMPORTS):
        for samples, python, module in runs:
            samples["import"].append(float(run([python, "-c", IMPORT, module], folder / "imports")))
    for part, rounds in ROUNDS.items():
        for turn in range(rounds):
            for samples, python, module in runs:
                # A home of its own, for a peer that keeps there what it did.
                done = run([python, str(SCRIPT), module, str(folder), part], folder / f"home-{part}-{turn}")
                for operation, measured in json.loads(done).items():
                    samples[operation].extend(measured)
    for operation, found in ours.items():
        report.add(operation, found, unit_of(operation))
    if peer is not None:
        for size in PHOTOS:
            operation = over_peer(size).removesuffix(", over mm-ctx")
            pairs = zip(ours[operation], theirs[operation], strict=True)
            report.add(over_peer(size), [mine / other for mine, other in pairs], "times")
        compare(ours, theirs)


def unit_of(operation: str) -> Unit:
    return "bytes" if operation.startswith("memory") else "s"


def compare(ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> None:
    """Print the medians and the best of both."""
    print("\n| operation | umi, p50 | mm-ctx, p50 | umi, best | mm-ctx, best |\n| --- | --- | --- | --- | --- |")
    for operation in theirs:
        figures = [made(samples[operation]) for made in (statistics.median, min) for samples in (ours, theirs)]
        print(f"| {operation} | {' | '.join(shown(figure, unit_of(operation)) for figure in figures)} |")


def make_files(folder: Path) -> None:
    """Make what is added: 10,000 and 100,000 names of images, 1,000 notes, and photos of two sizes."""
    for name, count in (("files", 10_000), ("many", 100_000)):
        for number in range(count):
            path = folder / name / (f"{number // 1_000}" if name == "many" else "") / f"{number}.jpg"
            if number % 1_000 == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (folder / "notes").mkdir()
    for number in range(1_000):
        text = f"# Note {number}\n\n" + f"What was said in meeting {number}. " * 50
        (folder / "notes" / f"{number}.md").write_text(text, encoding="utf-8")
    for size, sides in zip(PHOTOS, ((1_632, 1_224), (4_032, 3_024)), strict=True):
        (folder / size).mkdir()
        for number in range(20):
            photo(sides, number).save(folder / size / f"{number}.jpg", quality=90)


def photo(sides: tuple[int, int], number: int) -> Image.Image:
    """Make what takes a decoder as long as a photo does: large shapes, and grain."""
    shapes = Image.merge("RGB", [Image.effect_noise((8, 6), 100 + number + band) for band in range(3)])
    grain = Image.effect_noise((sides[0] // 2, sides[1] // 2), 40).convert("RGB").resize(sides)
    return Image.blend(shapes.resize(sides, Image.Resampling.BICUBIC), grain, 0.3)


def run(command: list[str], home: Path) -> str:
    """Give what a child prints, whose home is this folder."""
    home.mkdir(exist_ok=True)
    environment = {**os.environ, "HOME": str(home)}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


if __name__ == "__main__":
    sys.exit(run_bench(budgets(), measure))
