"""The second table: what viewers of hot segments feel while others read from the disk.

Every file is dropped from the page cache before each run, and no byte of them is asked for twice.
"""

from __future__ import annotations

import contextlib
import os
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Final

from rich.table import Table

from bench.edge.beside import Result, Task
from bench.edge.client import Target, answer_bytes
from bench.edge.content import SEGMENTS, TITLE, File, Wire, request
from bench.edge.load import Options, run
from bench.edge.nginx import nginx, write_media
from bench.edge.servers import Server, appliance

_MIB: Final = 1 << 20
_FILE_BYTES: Final = 64 * _MIB
_RANGE_BYTES: Final = _MIB
_HOT_BYTES: Final = 64 << 10
_CONNECTIONS: Final = 16


def measured(root: Path, options: Options) -> list[Table]:
    files = tuple(
        File(f"{TITLE}/1080p/cold{number:03}.mp4", _FILE_BYTES)
        for number in range(8 if options.quick else 32)
    )
    media = root / "media"
    write_media(media, (*SEGMENTS, *files))
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(appliance(root / "nearcast", (*SEGMENTS, *files))),
            stack.enter_context(nginx(root / "nginx", media)),
            stack.enter_context(nginx(root / "aio", media, name="nginx, aio threads", aio_threads=True)),
        ]
        os.sync()  # a page that was not written yet cannot be dropped
        disk_mib_s = _disk_speed(root, files)
        hot = {server: _hot(server) for server in servers}
        cold = {server: _cold(server, files, root) for server in servers}
        found: dict[Server, list[Result]] = {server: [] for server in servers}
        for number in range(options.rounds):
            for at in range(len(servers)):
                server = servers[(number + at) % len(servers)]
                _drop(root)
                task = Task(
                    server.port, server.pids, hot[server], cold[server], _CONNECTIONS,
                    options.seconds, 2 * options.seconds,
                )  # fmt: skip
                found[server].append(run("bench.edge.beside", task, Result))
                print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return [_table(found, disk_mib_s)]


def _hot(server: Server) -> tuple[Target, ...]:
    targets = []
    for file in SEGMENTS[:8]:
        link, body = server.link(file.key), file.body()
        for start in range(0, file.size, _HOT_BYTES):
            end = start + _HOT_BYTES
            asked = request(link, (start, end))
            targets.append(Target(asked, answer_bytes(server.port, Wire.PLAIN, asked, body[start:end])))
    return tuple(targets)


def _cold(server: Server, files: tuple[File, ...], root: Path) -> tuple[Target, ...]:
    """Every range of every file once, in no order; an answer is checked for each file."""
    targets = []
    for file in files:
        link, body = server.link(file.key), file.body()
        lengths: dict[int, int] = {}
        for start in range(0, file.size, _RANGE_BYTES):
            end = start + _RANGE_BYTES
            asked = request(link, (start, end))
            digits = len(f"{start}{end - 1}")
            if digits not in lengths:
                lengths[digits] = answer_bytes(server.port, Wire.PLAIN, asked, body[start:end])
            targets.append(Target(asked, lengths[digits]))
    random.Random(0).shuffle(targets)
    return tuple(targets)


def _drop(root: Path) -> None:
    """Has the kernel forget every large file below ``root``."""
    for path in root.rglob("*"):
        if path.is_file() and path.stat().st_size >= _FILE_BYTES:
            fd = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)


def _disk_speed(root: Path, files: tuple[File, ...]) -> float:
    """MiB per second of one reader that takes the same ranges in no order."""
    _drop(root)
    spans = [(file, start) for file in files[:8] for start in range(0, file.size, _RANGE_BYTES)]
    random.Random(1).shuffle(spans)
    begun = time.perf_counter()
    for file, start in spans[:256]:
        fd = os.open(root / "media" / file.key, os.O_RDONLY)
        try:
            os.pread(fd, _RANGE_BYTES, start)
        finally:
            os.close(fd)
    return min(256, len(spans)) / (time.perf_counter() - begun)


def _table(found: dict[Server, list[Result]], disk_mib_s: float) -> Table:
    table = Table(
        title=f"Hot 64 KiB requests on one connection, calm and beside {_CONNECTIONS} that read cold 1 MiB "
        "ranges; ms, median of the rounds",
        caption=f"The disk gives one reader {disk_mib_s:,.0f} MiB/s in ranges of 1 MiB. "
        "Targets: ours beside at most 3 x ours calm, and at most 0.25 x nginx with aio threads.",
    )
    table.add_column("server", no_wrap=True)
    for column in (
        "calm p50", "calm p99", "beside p50", "beside p99", "worst", "beside / calm",
        "p99 / ours", "cold MiB/s", "per CPU-s",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    ours = next(iter(found.values()))
    for server, rounds in found.items():
        ratios = [item.beside.p99_s / item.calm.p99_s for item in rounds]
        others = [item.beside.p99_s / mine.beside.p99_s for item, mine in zip(rounds, ours, strict=True)]
        table.add_row(
            server.name,
            *(
                f"{1e3 * statistics.median(values):.2f}"
                for values in (
                    [item.calm.p50_s for item in rounds],
                    [item.calm.p99_s for item in rounds],
                    [item.beside.p50_s for item in rounds],
                    [item.beside.p99_s for item in rounds],
                    [item.beside.max_s for item in rounds],
                )
            ),
            f"{statistics.median(ratios):.1f}",
            f"{statistics.median(others):.2f}",
            f"{statistics.median(item.cold_bytes / item.cold_s for item in rounds) / _MIB:,.0f}",
            f"{statistics.median(item.cold_bytes / item.cold_cpu_s for item in rounds) / _MIB:,.0f}",
        )
    return table
