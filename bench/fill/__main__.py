"""``python -m bench.fill``: the fill beside s5cmd, beside players, under its cap, and on four appliances at once."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from bench.edge.bystanders import Bystanders
from bench.fill import cap, copies, serving, throughput
from bench.fill.site import MIB

_console = Console(width=130)


def _throughput(folder: Path, given: argparse.Namespace) -> None:
    size = (given.size_mib or (512 if given.quick else 2048)) * MIB
    table, said = throughput.measure(folder, size, given.rounds or (3 if given.quick else 5))
    _console.print(table)
    print(f"\n{said}")


def _serving(folder: Path, given: argparse.Namespace) -> None:
    seconds, rounds = (10, 2) if given.quick else (20, 4)
    rates = [400_000_000] if given.quick else [200_000_000, 1_200_000_000]
    _console.print(serving.measure(folder, seconds, given.rounds or rounds, rates))


def _cap(folder: Path, given: argparse.Namespace) -> None:
    rates = [200_000_000] if given.quick else [50_000_000, 200_000_000, 800_000_000]
    _console.print(cap.measure(folder, rates, 20 if given.quick else 30))


def _copies(folder: Path, given: argparse.Namespace) -> None:
    _console.print(copies.measure(folder, (given.size_mib or (256 if given.quick else 1024)) * MIB))


_TABLES: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "throughput": _throughput,
    "serving": _serving,
    "cap": _cap,
    "copies": _copies,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.fill", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller files, fewer rounds")
    parser.add_argument("--only", choices=_TABLES, help="one of the tables")
    parser.add_argument("--size-mib", type=int, metavar="N", default=0)
    parser.add_argument("--rounds", type=int, metavar="N", default=0)
    given, _ = parser.parse_known_args()  # `make bench` gives all benches the same arguments
    for name, measure in _TABLES.items():
        if given.only in {None, name}:
            others = Bystanders()
            with tempfile.TemporaryDirectory(prefix="bench-fill-") as folder:
                measure(Path(folder), given)
            print(f"\nothers took {others.share():.0%} of the machine\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
