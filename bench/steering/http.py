"""Starts per second and their latency over real HTTP, on one core, while the whole fleet's heartbeats flow."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import msgspec
import psutil
import uvloop
from rich.console import Console

from bench.steering.load import Asker, Fleet, questions
from bench.steering.planet import BEAT_EVERY_S, Size

PEAK_STARTS_PER_S: Final = 4200.0
_CONNECTIONS: Final = 256
_AT_ONCE: Final = 64
"""Of them, that ask again and again for as many starts as can be answered."""
_FLAPPING: Final = 10_000
_PART: Final = 5_000
"""Prefixes in one heartbeat (`oca.routejournal`)."""


class Server:
    """A steering on one core, with the planet's fleet in its memory."""

    def __init__(self, process: subprocess.Popen[str], size: Size) -> None:
        self._process = process
        assert process.stdout is not None
        assert process.stdin is not None
        self._out: IO[str] = process.stdout
        self._in: IO[str] = process.stdin
        told = json.loads(self._out.readline())
        self.port, self.key, self.made_s = int(told["port"]), str(told["key"]), float(told["made_s"])
        self.size = size
        self._known = psutil.Process(process.pid)

    @property
    def resident_mib(self) -> int:
        return int(self._known.memory_info().rss) >> 20

    @property
    def cpu_s(self) -> float:
        return float(sum(self._known.cpu_times()[:2]))

    def worst_stall_ms(self) -> float:
        """The longest turn of its event loop since this was asked last."""
        self._in.write("\n")
        self._in.flush()
        return float(json.loads(self._out.readline())["stall_ms"])


@contextmanager
def serving(size: Size, core: int, folder: Path, nats: str | None = None) -> Iterator[Server]:
    """With the keys that are in ``folder``, or new ones; ``nats`` is the URL of what it has equals by."""
    command = [sys.executable, "-m", "bench.steering.server", str(folder)]
    command += [msgspec.json.encode(size).decode(), str(core), *([] if nats is None else [nats])]
    pipe = subprocess.PIPE
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True)
    try:
        yield Server(process, size)
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class Row:
    what: str
    starts_per_s: float | None = 0.0
    """None: as many as are answered."""
    beats: bool = True
    flap: bool = False


ROWS: Final = (
    Row("nobody speaks", beats=False),
    Row("starts alone, as many as it can", None, beats=False),
    Row("all heartbeats alone"),
    Row("all heartbeats, as many starts as it can", None),
    Row("all heartbeats, 3,000 starts/s", 3000.0),
    Row("all heartbeats, 4,200 starts/s", PEAK_STARTS_PER_S),
    Row("the same, and a flap of 10,000 prefixes", PEAK_STARTS_PER_S, flap=True),
    Row("all heartbeats, 8,400 starts/s", 2 * PEAK_STARTS_PER_S),
)


def run(size: Size, console: Console, seconds: float = 10.0) -> None:
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory() as folder, serving(size, 0, Path(folder)) as server:
        console.print(
            f"fleet in memory after {server.made_s} s, {server.resident_mib} MiB resident; "
            f"{size.appliances} appliances, each tells every {BEAT_EVERY_S:.0f} s"
        )
        uvloop.run(_rows(server, console, seconds))
        console.print(f"{server.resident_mib} MiB resident at the end")


async def _rows(server: Server, console: Console, seconds: float) -> None:
    size = server.size
    await _settled(server)
    names = [f"a{number}" for number in range(size.appliances)]
    asker = Asker(questions(size, server.key, 50_000))
    await asker.connect(server.port, _CONNECTIONS)
    signing = Fleet(names, sessions=False)
    await signing.connect(server.port)
    await _row(server, signing, asker, Row("all heartbeats, each of them signed: once around"), console, 5.0)
    signing.close()
    fleet = Fleet(names)
    await fleet.connect(server.port)
    await _row(server, fleet, asker, Row("all say hello, as after a restart"), console, 5.0)
    for row in ROWS:
        await _row(server, fleet, asker, row, console, seconds)
    fleet.close()
    asker.close()


async def _settled(server: Server) -> None:
    """Returns once the routes, which it has from nowhere, are in its store: a restart would have them there."""
    await asyncio.sleep(12)
    for _ in range(60):
        before = server.cpu_s
        await asyncio.sleep(1)
        if server.cpu_s - before < 0.15:
            return


async def _row(
    server: Server, fleet: Fleet, asker: Asker, row: Row, console: Console, seconds: float
) -> None:
    for counted in (fleet.counted, asker.counted):
        counted.seconds.clear()
        counted.statuses.clear()
    server.worst_stall_ms()
    cpu_s, began = server.cpu_s, time.perf_counter()
    until = began + seconds
    speaking = asyncio.create_task(
        fleet.speak(server.size.appliances / BEAT_EVERY_S if row.beats else 0.0, until)
    )
    flapping = asyncio.create_task(_flap(fleet, until) if row.flap else asyncio.sleep(0))
    await asker.ask(row.starts_per_s if row.starts_per_s != 0.0 else 1e-9, until, _AT_ONCE)
    missed = await speaking
    await flapping
    took = time.perf_counter() - began
    worked_s = server.cpu_s - cpu_s
    stall_ms = server.worst_stall_ms()
    await asyncio.sleep(0.5)  # the last answers
    starts, beats = asker.counted, fleet.counted
    p50, p99, worst = starts.quantiles_ms(0.5, 0.99, 1.0)
    (beat_p99,) = beats.quantiles_ms(0.99)
    refused = sum(count for status, count in starts.statuses.items() if status != 200)
    other = sum(count for status, count in beats.statuses.items() if status != 200)
    each_us = worked_s * 1e6 / max(1, starts.statuses.total() + beats.statuses.total())
    console.print(
        f"{row.what:50s} {len(starts.seconds) / took:6.0f} starts/s  p50 {p50:6.2f}  p99 {p99:6.2f}  worst {worst:6.1f}"
        f"  refused {refused / took:5.0f}/s  |{len(beats.seconds) / took:6.0f} heartbeats/s  p99 {beat_p99:6.2f}"
        f"  not taken {other + missed}  |  core {worked_s / took:4.0%}  {each_us:4.0f} us each  stall {stall_ms:5.1f} ms"
    )


async def _flap(fleet: Fleet, until: float) -> None:
    """Three appliances of one site announce 10,000 prefixes more, and withdraw them, over and over."""
    many = [
        f"100.{64 + (number >> 14)}.{number >> 6 & 255}.{(number & 63) << 2}/30"
        for number in range(_FLAPPING)
    ]
    parts = [tuple(many[at : at + _PART]) for at in range(0, _FLAPPING, _PART)]
    boxes = fleet.boxes[17:20] if len(fleet.boxes) >= 20 else fleet.boxes[:1]
    while time.perf_counter() < until:
        for announced in (True, False):
            for box in boxes:
                box.routes.extend((part, announced) for part in parts)
        while any(box.routes for box in boxes) and time.perf_counter() < until:
            for box in boxes:
                box.beat(time.perf_counter())
            await asyncio.sleep(0.1)
