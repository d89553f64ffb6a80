"""`fill run` and `s5cmd cp` fetch the same file from the same S3 server, in turns."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from bench.fill.site import KEY, Box, fill, free_port, publish, write_fill, write_fleet
from demo.origin import OriginServer

_GB = 1e9


@dataclass(frozen=True)
class Run:
    wall_s: float
    cpu_s: float
    others_cpu_s: float = 0.0
    """Of the appliance that takes the file: the storekeeper reads back and syncs."""


def s5cmd(origin: OriginServer, target: Path) -> Run:
    target.unlink(missing_ok=True)
    program = Path(sys.executable).with_name("s5cmd")
    command = [str(program), "--endpoint-url", origin.endpoint_url, "cp"]
    command += [f"s3://{origin.bucket}/media/{KEY}", str(target)]
    env = os.environ | {
        "AWS_SHARED_CREDENTIALS_FILE": str(origin.credentials_file),
        "AWS_REGION": "us-east-1",
    }
    return _timed(lambda: subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL))


def ours(box: Box, config: Path) -> Run:
    before = box.cpu_s()
    done = _timed(
        lambda: subprocess.run(
            fill("run", "--json", "--config", config), check=True, capture_output=True, text=True
        )
    )
    return Run(done.wall_s, done.cpu_s, box.cpu_s() - before)


def _timed(work: Callable[[], object]) -> Run:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    work()
    wall_s, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def measure(folder: Path, size: int, rounds: int) -> tuple[Table, str]:
    """The table, and what of it is asked for."""
    with OriginServer(folder / "origin", free_port(), "bench-fill") as origin:
        publish(origin, folder / "made", size).unlink()
        box = Box.make("isp-a1", folder / "a1", origin, 4 * size)
        write_fleet(folder, [box])
        config = write_fill(folder, origin, box, rate_bps=0)
        subprocess.run(fill("plan", "--json", "--config", config), check=True, capture_output=True)
        box.start()
        try:
            found = _rounds(origin, box, config, folder / "s5cmd.bin", rounds)
        finally:
            box.stop()
    return _table(size, *found)


def _rounds(
    origin: OriginServer, box: Box, config: Path, target: Path, rounds: int
) -> tuple[list[Run], list[Run], Run]:
    theirs: list[Run] = []
    mine: list[Run] = []
    for number in range(rounds):
        turns: list[Callable[[], None]] = [
            lambda: theirs.append(s5cmd(origin, target)),
            lambda: mine.append(ours(box, config)),
        ]
        for turn in turns if number % 2 else reversed(turns):
            turn()
        if number < rounds - 1:
            box.purge()
            target.unlink(missing_ok=True)
    # Nothing is left to fetch: what remains is the command's own beginning and end.
    empty = min((ours(box, config) for _ in range(2)), key=lambda run: run.wall_s)
    target.unlink(missing_ok=True)
    return theirs, mine, empty


def _table(size: int, theirs: list[Run], mine: list[Run], empty: Run) -> tuple[Table, str]:
    table = Table(
        title=f"one file of {size / _GB:.2f} GB, median of {len(mine)} runs in turns",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column in ("", "MB/s", "CPU s/GB", "appliance CPU s/GB", "runs, MB/s"):
        table.add_column(column, justify="left" if not column else "right")

    def row(name: str, runs: list[Run], less: Run) -> tuple[float, float]:
        rates = [size / 1e6 / (run.wall_s - less.wall_s) for run in runs]
        costs = [(run.cpu_s - less.cpu_s) / (size / _GB) for run in runs]
        others = [(run.others_cpu_s - less.others_cpu_s) / (size / _GB) for run in runs]
        rate, cost = statistics.median(rates), statistics.median(costs)
        other = statistics.median(others)
        table.add_row(
            name,
            f"{rate:.0f}",
            f"{cost:.2f}",
            f"{other:.2f}" if other else "",
            " ".join(f"{one:.0f}" for one in rates),
        )
        return rate, cost + other

    nothing = Run(0.0, 0.0)
    rate, cost = row("s5cmd cp (nothing verified)", theirs, nothing)
    row("fill run, whole command", mine, nothing)
    ours_rate, ours_cost = row("fill run, without its start", mine, empty)
    said = (
        f"fill run beside s5cmd: {ours_rate / rate:.2f} x its rate, {ours_cost / cost:.2f} x its CPU per GB, "
        f"the appliance's included; start and end of the command take {empty.wall_s:.1f} s"
    )
    return table, said
