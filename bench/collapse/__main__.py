"""``python -m bench.collapse``: many players ask at once for a file that the cache does not have. See README.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.collapse.content import content
from bench.collapse.measure import Row, Trouble, measured
from bench.collapse.servers import CONTENDERS, Contender
from bench.edge.bystanders import Bystanders
from demo.origin import OriginServer
from tests.appliance import free_port

_MIB: Final = 1 << 20
_PATIENCE_S: Final = 150.0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.collapse", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200 players and 16 MiB")
    parser.add_argument("--players", type=int, help="(2000; quick: 200)")
    parser.add_argument("--mib", type=int, help="size of the file (64; quick: 16)")
    parser.add_argument(
        "--mbps", type=float, default=1000.0, help="of the line to the upstream (1000); 0 for no bound"
    )
    parser.add_argument("--only", default="", metavar="NAME", help="rows, by the beginning of their names")
    given = parser.parse_args(argv)
    players = given.players or (200 if given.quick else 2000)
    size = (given.mib or (16 if given.quick else 64)) * _MIB
    if players < 2 or size < _MIB:
        parser.error("at least 2 players and 1 MiB")
    rows = [
        (contender, trouble)
        for contender, trouble in _rows()
        if _name(contender, trouble).startswith(given.only)
    ]
    if not rows:
        parser.error(f"no row begins with {given.only!r}")
    console = Console(width=190)
    table = _table(
        f"collapse: {players:,} players, one file of {size // _MIB} MiB, {given.mbps:.0f} Mb/s upstream"
    )
    with tempfile.TemporaryDirectory(prefix="bench-collapse-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        with (
            OriginServer(root / "s3", free_port(), "collapse") as s3,
            content(root, size, s3) as wanted,
        ):
            for number, (contender, trouble) in enumerate(rows):
                others = Bystanders()
                try:
                    row = measured(
                        contender,
                        root / str(number),
                        wanted,
                        players=players,
                        mbps=given.mbps,
                        patience_s=_PATIENCE_S,
                        trouble=trouble,
                    )
                except FileNotFoundError as missing:
                    console.print(f"left out: {missing}")
                    continue
                _add(table, _name(contender, trouble), row, size, others.share())
    console.print(table)
    return 0


def _rows() -> list[tuple[Contender, Trouble]]:
    plain = [(contender, Trouble.NONE) for contender in CONTENDERS]
    one_worker, two_workers = CONTENDERS[:2]
    return [
        *plain,
        (one_worker, Trouble.HELD),
        (two_workers, Trouble.HELD),
        (two_workers, Trouble.LEAVES),
        (two_workers, Trouble.KILLED),
    ]


def _name(contender: Contender, trouble: Trouble) -> str:
    return ": ".join(filter(None, (contender.name, trouble.value)))


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("cache", no_wrap=True)
    for column in (
        *("complete", "correct", "cut", "upstream / file", "its own count", "requests", "asked in ms"),
        *("first p50 ms", "p99", "max", "read p99", "all in s", "CPU s", "MiB", "others"),
    ):
        table.add_column(column, justify="right")
    return table


def _add(table: Table, name: str, row: Row, size: int, others: float) -> None:
    first, read = row.first_ms or [float("nan")], row.read_ms or [float("nan")]
    own = "" if row.pulled_bytes is None else f"{row.pulled_bytes / size:.3f}"
    refused = "".join(f" ({count} x {status})" for status, count in row.refused.items())
    table.add_row(
        name,
        f"{row.complete:,}{refused}",
        f"{row.correct:,}",
        f"{row.cut:,}",
        f"{row.upstream_bytes / size:.3f}",
        own,
        str(row.upstream_requests),
        f"{row.asked_ms:.0f}",
        *(f"{first[int(len(first) * share)]:.0f}" for share in (0.5, 0.99)),
        f"{first[-1]:.0f}",
        f"{read[int(len(read) * 0.99)]:.0f}",
        f"{row.all_s:.1f}",
        f"{row.cpu_s:.1f}",
        f"{row.memory_bytes / _MIB:.0f}",
        f"{others:.0%}",
    )


if __name__ == "__main__":
    sys.exit(main())
