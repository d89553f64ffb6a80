"""``python -m bench.store``: a store of many objects is started and ended in several ways; one table."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench.store.disk import Place, fill, place
from bench.store.start import Started

_MIB = 1 << 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.store", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20,000 objects instead of a million")
    parser.add_argument("--objects", type=int, metavar="N")
    given, _ = parser.parse_known_args()  # `make bench` gives all benches the same arguments
    count = given.objects or (20_000 if given.quick else 1_000_000)
    with (
        tempfile.TemporaryDirectory(prefix="bench-store-") as folder,
        place(Path(folder), count) as made,
    ):
        began = time.monotonic()
        fill(made.folder, count)
        print(f"{count:,} objects were put on one disk in {time.monotonic() - began:.0f} s\n")
        Console(width=110).print(_measured(made, count))
    return 0


def _measured(made: Place, count: int) -> Table:
    table = Table(title=f"a store of {count:,} objects", title_justify="left", box=None, pad_edge=False)
    for column in ("start", "s", "compared in s", "loop late by ms", "index MiB", "bytes/object", "end in s"):
        table.add_column(column, justify="left" if column == "start" else "right")

    def row(name: str, before: Callable[[], bool], *, kept: bool) -> None:
        if not kept:
            (made.folder / "index.snapshot").unlink(missing_ok=True)
        if not before():
            table.add_row(name, "needs root and a loop device")
            return
        done = _start(made.folder)
        compared = [f"{done.compare_s:.1f}", f"{done.lag_s * 1000:.0f}"] if kept else ["", ""]
        held = [f"{done.index_bytes / _MIB:.0f}", f"{done.index_bytes / max(1, done.objects):.0f}"]
        table.add_row(name, f"{done.open_s:.1f}", *compared, *held, f"{done.end_s:.1f}")

    row("every file read, nothing in memory", made.cold, kept=False)
    row("every file read, all in memory", lambda: True, kept=False)
    row("from the snapshot", lambda: True, kept=True)
    row("from the snapshot, nothing in memory", made.cold, kept=True)
    return table


def _start(folder: Path) -> Started:
    command = [sys.executable, "-m", "bench.store.start", str(folder), "compare"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Started)


if __name__ == "__main__":
    sys.exit(main())
