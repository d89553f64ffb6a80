"""``python -m bench.steering``: every table, one after the other. What each says: bench/steering/README.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from bench.steering import decisions, failover, herd, http, lossy, replicas, restart
from bench.steering.planet import Size

TABLES = ("decisions", "herd", "lossy", "failover", "http", "restart", "replicas")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.steering", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the fleet, two cases, three deaths")
    parser.add_argument("--only", default="", choices=("", *TABLES), help="one table")
    parser.add_argument(
        "--plots", type=Path, metavar="DIR", help="draw herd, lossy and failover there, as SVG"
    )
    given = parser.parse_args()
    size = Size(100, 1700, 100_000, 20_000, 1800) if given.quick else Size()
    console = Console(width=180)
    tables: dict[str, Callable[[], None]] = {
        "decisions": lambda: decisions.run(size, console),
        "herd": lambda: herd.run(size, console, given.plots),
        "lossy": lambda: lossy.run(size, console, given.plots),
        "failover": lambda: failover.run(size, console, given.plots),
        "http": lambda: http.run(size, console),
        "restart": lambda: restart.run(size, console),
        "replicas": lambda: replicas.run(size, console),
    }
    for name in TABLES:
        if given.only in {"", name}:
            tables[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
