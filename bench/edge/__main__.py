"""``python -m bench.edge``: every table, one after the other. What each says: bench/README.md."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Final

from rich.console import Console

from bench.edge import cold, pacing, players, requests, workers
from bench.edge.bystanders import Bystanders
from bench.edge.client import WrongAnswer
from bench.edge.content import WORKLOADS
from bench.edge.load import Failed, Options, end_cleanly

TABLES: Final[dict[str, ModuleType]] = {
    "requests": requests,
    "cold": cold,
    "players": players,
    "pacing": pacing,
    "workers": workers,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.edge", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="all of it, short and small: below 3 minutes")
    parser.add_argument("--seconds", type=float, help="measured time of one round (2; quick: 0.5)")
    parser.add_argument("--rounds", type=int, help="rounds of each row and server (3; quick: 1)")
    parser.add_argument(
        "--only",
        default="",
        help=f'one table ({", ".join(TABLES)}), or the workloads whose names begin so, such as "64 KiB"',
    )
    given = parser.parse_args()
    if given.only not in TABLES and not any(item.name.startswith(given.only) for item in WORKLOADS):
        parser.error(f"--only {given.only}: neither a table nor the beginning of a workload's name")
    options = Options(
        seconds=given.seconds or (0.5 if given.quick else 2.0),
        rounds=given.rounds or (1 if given.quick else 3),
        quick=given.quick,
        only=given.only,
    )
    if (os.cpu_count() or 1) < 2:
        print("bench.edge: two cores are needed, one for the server and one for the load", file=sys.stderr)
        return 1
    end_cleanly()
    # Wide enough for every table, wherever it is printed.
    console = Console(width=132)
    for name, table in TABLES.items():
        if options.only in {"", name} or (name == "requests" and options.only not in TABLES):
            others = Bystanders()
            with tempfile.TemporaryDirectory(prefix="bench-edge-") as folder:
                try:
                    for made in table.measured(Path(folder), options):
                        console.print(made)
                except (WrongAnswer, Failed) as error:
                    print(f"bench.edge: {name}: {error}", file=sys.stderr)
                    return 1
            console.print(f"{name}: others took {others.share():.0%} of the machine meanwhile\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
