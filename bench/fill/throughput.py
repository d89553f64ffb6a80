"""`fill run` and `s5cmd cp` fetch the same file from the same S3 server, in turns."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
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


def s5cmd(origin: OriginServer, target: Path, *, synced: bool = False) -> Run:
    """``synced``: until what it has written is on the device, as what `fill run` has written is."""
    target.unlink(missing_ok=True)
    program = Path(sys.executable).with_name("s5cmd")
    command = [str(program), "--endpoint-url", origin.endpoint_url, "cp"]
    command += [f"s3://{origin.bucket}/media/{KEY}", str(target)]
    env = os.environ | {
        "AWS_SHARED_CREDENTIALS_FILE": str(origin.credentials_file),
        "AWS_REGION": "us-east-1",
    }

    def work() -> None:
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
        if synced:
            subprocess.run(["sync", "--file-system", str(target)], check=True)

    return _timed(work)


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
    return _table(size, found)


@dataclass
class _Found:
    plain: list[Run] = field(default_factory=list)
    synced: list[Run] = field(default_factory=list)
    ours: list[Run] = field(default_factory=list)
    empty: Run = field(default_factory=lambda: Run(0.0, 0.0))
    """A run with nothing to do."""


def _rounds(origin: OriginServer, box: Box, config: Path, target: Path, rounds: int) -> _Found:
    found = _Found()
    turns: list[Callable[[], None]] = [
        lambda: found.plain.append(s5cmd(origin, target)),
        lambda: found.synced.append(s5cmd(origin, target, synced=True)),
        lambda: found.ours.append(ours(box, config)),
    ]
    for number in range(rounds):
        for turn in range(len(turns)):
            # Nobody pays for what another has left in memory.
            target.unlink(missing_ok=True)
            subprocess.run(["sync", "--file-system", str(target.parent)], check=True)
            turns[(turn + number) % len(turns)]()
        if number < rounds - 1:
            box.purge()
    # Nothing is left to fetch: what remains is the command's own beginning and end.
    found.empty = min((ours(box, config) for _ in range(3)), key=lambda run: run.wall_s)
    target.unlink(missing_ok=True)
    return found


def _table(size: int, found: _Found) -> tuple[Table, str]:
    table = Table(
        title=f"one file of {size / _GB:.2f} GB, median of {len(found.ours)} runs in turns",
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

    nothing, empty = Run(0.0, 0.0), found.empty
    rate, cost = row("s5cmd cp: nothing verified, nothing synced", found.plain, nothing)
    synced_rate, _ = row("s5cmd cp, then sync", found.synced, nothing)
    whole_rate, _ = row("fill run, whole command", found.ours, nothing)
    ours_rate, ours_cost = row("fill run, without its start", found.ours, empty)
    said = (
        f"fill run without its start, {empty.wall_s:.1f} s: {ours_rate / rate:.2f} x the rate of s5cmd, "
        f"{ours_rate / synced_rate:.2f} x that of s5cmd and sync, {ours_cost / cost:.2f} x its CPU per GB, the "
        f"appliance's included; with its start {whole_rate / rate:.2f} x and {whole_rate / synced_rate:.2f} x the rate"
    )
    return table, said
