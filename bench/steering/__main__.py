"""``python -m bench.steering``: every table, one after the other. What each says: bench/README.md."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console

from bench.steering import decisions, herd, http, restart
from bench.steering.planet import Size


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.steering", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the fleet")
    parser.add_argument("--only", default="", help="one table: decisions, herd, http, restart")
    given = parser.parse_args()
    size = Size(100, 1700, 100_000, 20_000, 1800) if given.quick else Size()
    console = Console(width=180)
    for name, table in {"decisions": decisions, "herd": herd, "http": http, "restart": restart}.items():
        if given.only in {"", name}:
            table.run(size, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
