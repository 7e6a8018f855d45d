#!/usr/bin/env python3
"""Fuzzes every target with libFuzzer on the stable toolchain, two at a time, and says what it found.

    python3 fuzz/run.py                          ten minutes each
    python3 fuzz/run.py --seconds 60 query xml   a minute each of the named ones
    python3 fuzz/run.py --merge                  the same, and then the smallest corpus into fuzz/corpus

A line a target is for machines: `fuzz target=… seconds=… executions=… coverage=… features=… corpus=… findings=…`. It
ends with 1 where something was found; the inputs are in fuzz/artifacts/<target>. One that is mended belongs into
fuzz/findings/<target>, which `cargo nextest run -p umi-fuzz` replays with the corpora.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FUZZ = Path(__file__).resolve().parent
ROOT = FUZZ.parent
TARGETS = sorted(path.stem for path in (FUZZ / "src" / "bin").glob("*.rs"))
# What cargo-fuzz passes for coverage alone. Addresses are not checked: nothing unsafe of the engine's own sees input.
COVERAGE = (
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
)
# bytes of the longest input: metadata may have 64 KiB, most is found in far less
LENGTHS = {"header": 16384, "metadata": 4096, "stored": 4096}
MEMORY_MB = 2048
INPUT_SECONDS = 20
CORPUS_FILES = 300
CORPUS_BYTES = 300_000


def host() -> str:
    """The machine's own target, named so that build scripts are compiled without the flags for coverage."""
    version = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"^host: (\S+)$", version, re.MULTILINE)
    assert found, version
    return found[1]


def target_folder() -> Path:
    """Where programs, growing corpora and logs are."""
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "fuzz"


def build(machine: str) -> Path:
    """Compiles every target into a target folder of its own, and gives the folder of the programs."""
    flags = [*COVERAGE, "--cfg=fuzzing"]
    if shutil.which("mold"):
        flags.append("-Clink-arg=-fuse-ld=mold")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.endswith("_RUSTFLAGS")},
        "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(flags),
        "CARGO_TARGET_DIR": str(target_folder()),
    }
    command = ["cargo", "build", "--locked", "--profile", "fuzz", "--target", machine, "-p", "umi-fuzz"]
    subprocess.run([*command, "--features", "libfuzzer", "--bins"], check=True, cwd=ROOT, env=environment)
    return target_folder() / machine / "fuzz"


def kept(target: str) -> list[Path]:
    """The committed inputs."""
    return [folder for folder in (FUZZ / "corpus" / target, FUZZ / "findings" / target) if folder.is_dir()]


def fuzz(programs: Path, target: str, seconds: int, seed: int) -> tuple[str, bool]:
    """Fuzzes one target and gives its line and whether nothing was found."""
    corpus = target_folder() / "corpus" / target
    artifacts = FUZZ / "artifacts" / target
    corpus.mkdir(parents=True, exist_ok=True)
    artifacts.mkdir(parents=True, exist_ok=True)
    before = set(artifacts.iterdir())
    log = target_folder() / f"{target}.log"
    command = [
        str(programs / f"fuzz_{target}"),
        str(corpus),
        *map(str, kept(target)),
        f"-max_total_time={seconds}",
        f"-max_len={LENGTHS.get(target, 2048)}",
        "-len_control=20",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-timeout={INPUT_SECONDS}",
        f"-artifact_prefix={artifacts}/",
        f"-seed={seed}",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    if (FUZZ / "dictionaries" / f"{target}.txt").is_file():
        command.append(f"-dict={FUZZ / 'dictionaries' / f'{target}.txt'}")
    with log.open("wb") as output:
        code = subprocess.run(command, check=False, stdout=output, stderr=subprocess.STDOUT).returncode
    text = log.read_text(errors="replace")
    statuses = re.findall(r"^#\d+.* cov: (\d+) ft: (\d+) corp: (\d+)/", text, re.MULTILINE)
    executions = re.findall(r"stat::number_of_executed_units:\s*(\d+)|^#(\d+)\s", text, re.MULTILINE)
    done = max((int(one or other) for one, other in executions), default=0)
    first, last = (statuses[0], statuses[-1]) if statuses else (("0", "0", "0"),) * 2
    found = sorted(set(artifacts.iterdir()) - before)
    line = (
        f"fuzz target={target} seconds={seconds} seed={seed} executions={done} first_coverage={first[0]} "
        f"coverage={last[0]} features={last[1]} corpus={last[2]} findings={len(found)}"
    )
    if code:
        tail = "\n".join(text.splitlines()[-40:])
        line += f"\n{target} ended with {code}, its log is {log}:\n{tail}\n" + "\n".join(map(str, found))
    return line, code == 0


def merge(programs: Path, target: str) -> str:
    """Replaces the committed corpus by the smallest of the same coverage; of too many inputs, some of every size."""
    committed = FUZZ / "corpus" / target
    merged = target_folder() / "merged" / target
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir(parents=True)
    sources = [target_folder() / "corpus" / target, *kept(target)]
    command = [str(programs / f"fuzz_{target}"), "-merge=1", f"-timeout={INPUT_SECONDS}", str(merged)]
    subprocess.run([*command, *map(str, sources)], check=True, capture_output=True)  # one that breaks it is left out
    inputs = sorted(merged.iterdir(), key=lambda path: (path.stat().st_size, path.name))
    step = max(1, -(-len(inputs) // CORPUS_FILES))
    chosen, size = [], 0
    for path in inputs[::step]:
        size += path.stat().st_size
        if size > CORPUS_BYTES:
            break
        chosen.append(path)
    shutil.rmtree(committed, ignore_errors=True)
    committed.mkdir(parents=True)
    for path in chosen:
        shutil.copyfile(path, committed / path.name)
    return (
        f"merged target={target} inputs={len(inputs)} kept={len(chosen)} bytes={sum(p.stat().st_size for p in chosen)}"
    )


def main() -> int:
    """Builds, fuzzes, and says what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help=f"which of {', '.join(TARGETS)}; all unless named")
    parser.add_argument("--seconds", type=int, default=600, help="how long each runs (default: 600)")
    parser.add_argument("--at-once", type=int, default=2, help="how many run at once (default: 2)")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)), help="libFuzzer's seed, above 0")
    parser.add_argument("--list", action="store_true", help="print the targets and do nothing")
    parser.add_argument("--merge", action="store_true", help="then keep the smallest corpus in fuzz/corpus")
    arguments = parser.parse_args()
    if arguments.list:
        print(*TARGETS, sep="\n")
        return 0
    targets = arguments.targets or TARGETS
    if unknown := set(targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    programs = build(host())
    clean = True
    with ThreadPoolExecutor(arguments.at_once) as pool:
        runs = [pool.submit(fuzz, programs, target, arguments.seconds, arguments.seed) for target in targets]
        for run in runs:
            line, is_clean = run.result()
            clean &= is_clean
            print(line, flush=True)
        if arguments.merge:
            for line in pool.map(lambda target: merge(programs, target), targets):
                print(line, flush=True)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
