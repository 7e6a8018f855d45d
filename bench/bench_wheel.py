"""What Umi costs before it does anything: the size of its wheel, and the time and memory of `import umi`.

Run by `make bench`, in an environment that holds the optimised wheel.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

WHEEL_MEGABYTES = 20
IMPORT_MILLISECONDS = 60
IMPORT_MEGABYTES = 30
RUNS = 21

IN_A_NEW_PROCESS = """
import json, time
def resident():
    status = open("/proc/self/status").read()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024
before = resident()
started = time.perf_counter()
import umi
elapsed = time.perf_counter() - started
print(json.dumps({"milliseconds": elapsed * 1000, "megabytes": resident() - before}))
"""


def main() -> int:
    """Print each figure beside its budget; return 1 when one is over."""
    wheels = list((Path(sys.prefix) / "wheel").glob("umi_memory-*.whl"))
    if len(wheels) != 1:
        print("No wheel beside this Python: run `make bench`, which builds one.", file=sys.stderr)
        return 2
    imports = [
        json.loads(
            subprocess.run([sys.executable, "-I", "-c", IN_A_NEW_PROCESS], check=True, capture_output=True).stdout
        )
        for _ in range(RUNS)
    ]
    times = sorted(run["milliseconds"] for run in imports)
    figures = [
        ("wheel, MB", wheels[0].stat().st_size / 1e6, WHEEL_MEGABYTES),
        ("import umi, ms, p50", statistics.median(times), IMPORT_MILLISECONDS),
        ("import umi, ms, p95", times[int(0.95 * (RUNS - 1))], IMPORT_MILLISECONDS),
        ("import umi, resident MB", statistics.median(run["megabytes"] for run in imports), IMPORT_MEGABYTES),
    ]
    print(f"{'':26}{'measured':>10}{'budget':>10}")
    for name, measured, budget in figures:
        print(f"{name:26}{measured:10.2f}{budget:10}{'' if measured <= budget else '   OVER'}")
    return int(any(measured > budget for _, measured, budget in figures))


if __name__ == "__main__":
    sys.exit(main())
