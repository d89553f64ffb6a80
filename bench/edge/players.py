"""The third table: an audience of 20,000, each with a connection and a link of its own, for a minute."""

from __future__ import annotations

import random
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from rich.table import Table

from bench.edge.audience import BUFFER_S, Result, Task, Viewer
from bench.edge.client import answer_bytes
from bench.edge.content import TITLE, File, Wire, request
from bench.edge.load import Options, result, start
from bench.edge.nginx import nginx, write_media
from bench.edge.servers import Server, appliance

_BITRATES_BPS: Final = (235_000, 375_000, 560_000)
_SEGMENTS_S: Final = (2, 3, 4)
_SEGMENTS: Final = 30
_PROCESSES: Final = 2
"""Of the server and of the load: where a process may have 20,000 descriptors, one is not enough."""
_NETWORKS: Final = 20
_RAMP_S: Final = 15.0

Encode = tuple[File, int, int]
"""A file, the bytes of one of its segments, and its seconds."""


def measured(root: Path, options: Options) -> list[Table]:
    count, seconds, ramp_s = (2_000, 15.0, 3.0) if options.quick else (20_000, 60.0, _RAMP_S)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = count // _PROCESSES * 11 // 10 + 200
    if hard != resource.RLIM_INFINITY and hard < need:
        print(f"bench.edge: players: {need} file descriptors are needed, {hard} allowed", file=sys.stderr)
        return []
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # inherited by servers and load
    encodes = tuple(_encodes())
    files = tuple(file for file, _, _ in encodes)
    write_media(root / "media", files)
    limits = {"connections": 2 * count, "connections_per_network": count, "requests_per_network": 10_000_000}
    # What one worker's descriptors allow.
    alone = count if hard == resource.RLIM_INFINITY else min(count, hard - 1000)
    servers: list[tuple[int, AbstractContextManager[Server]]] = [
        (count, appliance(root / "nearcast", files, workers=_PROCESSES, limits=limits)),
        (count, nginx(root / "nginx", root / "media", workers=_PROCESSES)),
    ]
    if not options.quick:
        servers.append((alone, appliance(root / "one", files, limits=limits, name="ours, 1 worker")))
    rows = []
    for some, opened in servers:
        with opened as server:
            _check(server, encodes)
            rows.append(_row(server, _viewers(server, encodes, some, ramp_s), ramp_s, seconds))
            print(".", end="", file=sys.stderr, flush=True)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    print(file=sys.stderr)
    table = Table(
        title=f"{count:,} players at 235-560 kb/s for {seconds:.0f} s, segments of 2-4 s, a buffer of "
        f"{BUFFER_S:.0f} s; each has its own connection and link",
        caption=f"{_PROCESSES} workers of a server on one core, {_PROCESSES} load processes on the other. PSS: all processes of "
        "the server; TCP: what the kernel holds for both ends. "
        "Targets: no stalls, at most 1.5 GiB.",
    )
    table.add_column("server", no_wrap=True)
    for column in (
        "players", "stalls", "stalled s", "at end", "first p99 ms", "next p99 ms",
        "least buffer", "Gb/s", "req/s", "CPU", "load CPU", "PSS MiB", "TCP MiB",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    return [table]


def _encodes() -> Iterator[Encode]:
    for bitrate_bps in _BITRATES_BPS:
        for seconds in _SEGMENTS_S:
            length = bitrate_bps * seconds // 8
            key = f"{TITLE}/{bitrate_bps}-{seconds}s.mp4"
            yield File(key, length * _SEGMENTS, bitrate_bps), length, seconds


def _check(server: Server, encodes: tuple[Encode, ...]) -> None:
    """One segment of every file, byte by byte."""
    for file, length, _ in encodes:
        asked = request(server.link(file.key), (length, 2 * length))
        answer_bytes(server.port, Wire.PLAIN, asked, file.body()[length : 2 * length])


def _viewers(server: Server, encodes: tuple[Encode, ...], count: int, ramp_s: float) -> list[Viewer]:
    chance = random.Random(0)
    viewers = []
    for number in range(count):
        file, length, seconds = chance.choice(encodes)
        viewers.append(
            Viewer(
                server.link(file.key),
                length,
                seconds,
                _SEGMENTS,
                chance.randrange(_SEGMENTS),
                f"127.0.{1 + number % _NETWORKS}.1",
                chance.uniform(0, ramp_s * 0.8),
            )
        )
    return viewers


def _row(server: Server, viewers: list[Viewer], ramp_s: float, seconds: float) -> list[str]:
    loads = [
        start(
            "bench.edge.audience",
            Task(server.port, server.pids, tuple(viewers[at::_PROCESSES]), ramp_s, seconds),
        )
        for at in range(_PROCESSES)
    ]
    memory, sockets = 0, 0
    until = time.monotonic() + ramp_s + seconds - 1
    while time.monotonic() < until and all(load.poll() is None for load in loads):
        time.sleep(1)
        memory, sockets = max(memory, server.memory_bytes()), max(sockets, _socket_bytes())
    found = [result(load, Result) for load in loads]
    elapsed = max(item.elapsed_s for item in found)
    return [
        server.name,
        f"{len(viewers):,}",
        f"{sum(item.stalls for item in found):,}",
        f"{sum(item.stalled_s for item in found):,.0f}",
        f"{sum(item.waiting for item in found):,}",
        f"{1e3 * max(item.start_p99_s for item in found):,.0f}",
        f"{1e3 * max(item.segment_p99_s for item in found):,.0f}",
        f"{min(item.lowest_buffer_s for item in found):.1f}",
        f"{sum(item.bytes for item in found) * 8 / elapsed / 1e9:.2f}",
        f"{sum(item.segments for item in found) / elapsed:,.0f}",
        f"{max(item.cpu_s for item in found) / elapsed:.0%}",
        f"{sum(item.client_cpu_s for item in found) / elapsed:.0%}",
        f"{memory / 2**20:,.0f}",
        f"{sockets / 2**20:,.0f}",
    ]


def _socket_bytes() -> int:
    """What TCP holds in the kernel, of both ends of every connection of this machine."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            return int(line.split()[-1]) * resource.getpagesize()
    return 0
