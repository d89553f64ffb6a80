"""`fill run` and `s5cmd cp` fetch the same file from the same S3 server, in turns."""

from __future__ import annotations

import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.table import Table

from bench.fill.site import KEY, Box, fill, free_port, publish, write_fill, write_fleet
from demo.origin import OriginServer

_GB: Final = 1e9
_MEMORY: Final = Path("/dev/shm")
"""A tmpfs wherever there is Linux with glibc: shm_overview(7)."""
_TIMES: Final = 4
"""So much of it is free, in sizes of the file, or there are no rows in memory."""


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
    with OriginServer(folder / "origin", free_port(), "bench-fill") as origin, ExitStack() as stack:
        publish(origin, folder / "made", size).unlink()
        places = [_place(folder, origin, size, stack)]
        if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _TIMES * size:
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-fill-", dir=_MEMORY))
            places.append(_place(Path(made), origin, size, stack))
        found = _rounds(origin, places, rounds)
    return _table(size, found)


@dataclass(frozen=True)
class _Place:
    """A file system on which both write: an appliance's disk, and a file of s5cmd."""

    box: Box
    config: Path
    target: Path

    def clear(self) -> None:
        """Nobody pays for what another has left in memory."""
        self.target.unlink(missing_ok=True)
        subprocess.run(["sync", "--file-system", str(self.target.parent)], check=True)


def _place(folder: Path, origin: OriginServer, size: int, stack: ExitStack) -> _Place:
    box = Box.make("isp-a1", folder / "a1", origin, 4 * size)
    write_fleet(folder, [box])
    config = write_fill(folder, origin, box, rate_bps=0)
    subprocess.run(fill("plan", "--json", "--config", config), check=True, capture_output=True)
    box.start()
    stack.callback(box.stop)
    return _Place(box, config, folder / "s5cmd.bin")


@dataclass
class _Found:
    plain: list[Run] = field(default_factory=list)
    synced: list[Run] = field(default_factory=list)
    ours: list[Run] = field(default_factory=list)
    plain_in_memory: list[Run] = field(default_factory=list)
    ours_in_memory: list[Run] = field(default_factory=list)
    """Empty, as the one above, where there is no room in memory."""
    empty: Run = field(default_factory=lambda: Run(0.0, 0.0))
    """A run with nothing to do."""


def _rounds(origin: OriginServer, places: list[_Place], rounds: int) -> _Found:
    found, disk = _Found(), places[0]
    turns: list[Callable[[], None]] = [
        lambda: found.plain.append(s5cmd(origin, disk.target)),
        lambda: found.synced.append(s5cmd(origin, disk.target, synced=True)),
        lambda: found.ours.append(ours(disk.box, disk.config)),
    ]
    if len(places) > 1:
        memory = places[1]
        turns.append(lambda: found.plain_in_memory.append(s5cmd(origin, memory.target)))
        turns.append(lambda: found.ours_in_memory.append(ours(memory.box, memory.config)))
    for number in range(rounds):
        for turn in range(len(turns)):
            for place in places:
                place.clear()
            turns[(turn + number) % len(turns)]()
        if number < rounds - 1:
            for place in places:
                place.box.purge()
    # Nothing is left to fetch: what remains is the command's own beginning and end.
    found.empty = min((ours(disk.box, disk.config) for _ in range(3)), key=lambda run: run.wall_s)
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
        if not runs:
            return math.nan, math.nan
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
    rate, cost = row("s5cmd cp: into the page cache", found.plain, nothing)
    synced_rate, synced_cost = row("s5cmd cp, then sync: on the disk", found.synced, nothing)
    whole_rate, _ = row("fill run: on the disk", found.ours, nothing)
    ours_rate, ours_cost = row("the same without its start", found.ours, empty)
    memory_rate, memory_cost = row("s5cmd cp: in memory", found.plain_in_memory, nothing)
    row("fill run: in memory", found.ours_in_memory, nothing)
    ours_memory_rate, ours_memory_cost = row("the same without its start", found.ours_in_memory, empty)
    said = (
        f"fill run without its start, {empty.wall_s:.1f} s, beside s5cmd, its CPU with the appliance's:\n"
        f"both on the disk {ours_rate / synced_rate:.2f} x the rate ({whole_rate / synced_rate:.2f} x with its "
        f"start), {ours_cost / synced_cost:.2f} x the CPU per GB\n"
        f"both in memory {ours_memory_rate / memory_rate:.2f} x the rate, "
        f"{ours_memory_cost / memory_cost:.2f} x the CPU per GB\n"
        f"ours on the disk, s5cmd in the page cache: {ours_rate / rate:.2f} x the rate, "
        f"{ours_cost / cost:.2f} x the CPU per GB"
    )
    return table, said
