"""Two replicas on two cores beside one: each core carries a replica and everybody who asks it, and NATS is between them.

Every appliance speaks to every replica, as docs/steering.md has it, and each passes on what it hears and who plays.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from contextlib import ExitStack
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final

import uvloop
from rich.console import Console

from bench.steering.http import Server, serving
from bench.steering.load import Asker, Fleet, questions
from bench.steering.planet import BEAT_EVERY_S, Size
from tests.natsserver import NatsServer

_CONNECTIONS = 64
_SETTLED_S: Final = 60.0
"""For hellos at most: replica and load share a core."""


def run(size: Size, console: Console, seconds: float = 10.0) -> None:
    if not shutil.which("nats-server") and not Path("/usr/sbin/nats-server").exists():
        console.print("replicas: no nats-server here (Debian: apt-get install nats-server)")
        return
    one = _measured(1, size, console, seconds)
    two = _measured(2, size, console, seconds)
    console.print(f"two beside one: {two / one:.2f} times the starts")


def _measured(replicas: int, size: Size, console: Console, seconds: float) -> float:
    """Starts answered a second, by all."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nats = NatsServer(folder / "jetstream")
        nats.start()
        stack.callback(nats.stop)
        servers: list[Server] = []
        for core in range(replicas):
            mine = folder / f"replica{core}"
            if core:
                shutil.copytree(folder / "replica0", mine)  # the keys
            else:
                mine.mkdir()
            servers.append(stack.enter_context(serving(size, core, mine, nats.url)))
        context = multiprocessing.get_context("spawn")
        ready, told = context.Barrier(replicas), context.Queue()
        loads = [
            context.Process(target=_load, args=(server.port, server.key, size, core, seconds, ready, told))
            for core, server in enumerate(servers)
        ]
        for load in loads:
            load.start()
        rows = [told.get() for _ in loads]
        for load in loads:
            load.join()
        starts = 0.0
        for server, row in zip(servers, rows, strict=True):
            starts += row["starts_per_s"]
            console.print(
                f"{replicas} replica(s): {row['starts_per_s']:6.0f} starts/s  p99 {row['p99_ms']:6.1f} ms  refused "
                f"{row['refused_per_s']:5.0f}/s  {row['beats_per_s']:6.0f} heartbeats/s  its load's core "
                f"{row['load_share']:4.0%}  {server.resident_mib} MiB"
            )
        return starts


def _load(port: int, key: str, size: Size, core: int, seconds: float, ready: Barrier, told: Any) -> None:
    os.sched_setaffinity(0, {core})
    told.put(uvloop.run(_drive(port, key, size, seconds, ready)))


async def _drive(port: int, key: str, size: Size, seconds: float, ready: Barrier) -> dict[str, float]:
    import asyncio
    import time

    fleet = Fleet([f"a{number}" for number in range(size.appliances)])
    await fleet.connect(port)
    asker = Asker(questions(size, key, 20_000))
    await asker.connect(port, _CONNECTIONS)
    rate = size.appliances / BEAT_EVERY_S
    until = time.perf_counter() + _SETTLED_S
    while fleet.counted.statuses.total() < 2 * size.appliances and time.perf_counter() < until:
        await fleet.speak(rate, time.perf_counter() + BEAT_EVERY_S)  # hellos, and once around
    ready.wait()
    for counted in (fleet.counted, asker.counted):
        counted.seconds.clear()
        counted.statuses.clear()
    began, worked = time.perf_counter(), time.process_time()
    speaking = asyncio.create_task(fleet.speak(rate, began + seconds))
    await asker.ask(None, began + seconds)
    await speaking
    took = time.perf_counter() - began
    (p99_ms,) = asker.counted.quantiles_ms(0.99)
    answered = len(asker.counted.seconds)
    return {
        "starts_per_s": answered / took,
        "refused_per_s": (asker.counted.statuses.total() - answered) / took,
        "p99_ms": p99_ms,
        "beats_per_s": len(fleet.counted.seconds) / took,
        "load_share": (time.process_time() - worked) / took,
    }
