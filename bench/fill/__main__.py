"""``python -m bench.fill``: the fill beside s5cmd, as a table."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from bench.fill.throughput import measure

_MIB = 1 << 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.fill", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a file of 512 MiB, three rounds")
    parser.add_argument("--size-mib", type=int, metavar="N", default=0)
    parser.add_argument("--rounds", type=int, metavar="N", default=0)
    given, _ = parser.parse_known_args()  # `make bench` gives all benches the same arguments
    size = (given.size_mib or (512 if given.quick else 2048)) * _MIB
    rounds = given.rounds or (3 if given.quick else 5)
    with tempfile.TemporaryDirectory(prefix="bench-fill-") as folder:
        table, said = measure(Path(folder), size, rounds)
    Console(width=110).print(table)
    print(f"\n{said}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
