"""Times the scan of a folder by umi, or by its peer `mm`; prints seconds as JSON. Called by `bench_scan.py`.

python scan_script.py umi|mm FOLDER
"""

import importlib
import json
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

REPEATS = 5


def main() -> None:
    context = importlib.import_module(sys.argv[1]).Context
    folder = sys.argv[2]
    scan = context(folder)
    query = "SELECT kind, count(*) AS n, sum(size) AS bytes FROM files GROUP BY kind"
    operations: dict[str, Callable[[], Any]] = {
        "scan": lambda: context(folder),
        "`filter(kind=, min_size=)`": lambda: scan.filter(kind="code,text", min_size="1KB"),
        "`to_arrow()`": scan.to_arrow,
        "`to_polars()`": scan.to_polars,
        "`sql`, first": lambda: context(folder).sql(query),
        "`sql`, again": lambda: scan.sql(query),
        "`grep`": lambda: scan.grep("needle"),
        "`files`": lambda: scan.files,
    }
    samples: dict[str, list[float]] = {}
    for name, operation in operations.items():
        operation()
        samples[name] = [timed(operation) for _ in range(REPEATS)]
    # the first query of a scan, without the scan
    samples["`sql`, first"] = [max(0.0, sample - min(samples["scan"])) for sample in samples["`sql`, first"]]
    print(json.dumps(samples))


def timed(operation: Callable[[], Any]) -> float:
    start = perf_counter()
    operation()
    return perf_counter() - start


if __name__ == "__main__":
    main()
