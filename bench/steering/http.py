"""Starts per second and their latency over real HTTP, on one core, while the whole fleet's heartbeats flow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

import msgspec
import psutil
import uvloop
from rich.console import Console

from bench.steering.load import beats, drive, starts
from bench.steering.planet import Size

BEAT_EVERY_S = 5.0
PEAK_STARTS_PER_S = 4200.0


def run(size: Size, console: Console, seconds: float = 10.0) -> None:
    os.sched_setaffinity(0, {1})
    rows: list[tuple[str, dict[str, Any]]] = [
        ("starts alone, as many as it can", {"starts_per_s": None, "rate": 0.0}),
        ("with all heartbeats, as many as it can", {"starts_per_s": None, "rate": 1.0}),
        ("with all heartbeats, 4,200 starts/s", {"starts_per_s": PEAK_STARTS_PER_S, "rate": 1.0}),
        ("with all heartbeats, 2,000 starts/s", {"starts_per_s": 2000.0, "rate": 1.0}),
    ]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "bench.steering.server",
            folder,
            msgspec.json.encode(size).decode(),
            "0",
        ]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            told = json.loads(server.stdout.readline())
            known = psutil.Process(server.pid)
            names = [f"a{number}" for number in range(size.appliances)]
            asked = starts(size, told["key"], 50_000)
            console.print(
                f"fleet in memory after {told['made_s']} s, {known.memory_info().rss >> 20} MiB resident"
            )
            # Once around, so that all serve.
            uvloop.run(
                drive(
                    told["port"],
                    asked,
                    beats(names, 1),
                    beats_per_s=1e9,
                    starts_per_s=0.0,
                    seconds=8,
                    connections=1,
                    fleet=size.appliances,
                )
            )
            for what, row in rows:
                rate = row["rate"] * size.appliances / BEAT_EVERY_S
                spoken = beats(names, int(seconds / BEAT_EVERY_S) + 1) if rate else []
                cpu = sum(known.cpu_times()[:2])
                took, statuses, _ = uvloop.run(
                    drive(
                        told["port"],
                        asked,
                        spoken,
                        beats_per_s=rate,
                        starts_per_s=row["starts_per_s"],
                        seconds=seconds,
                        connections=64,
                        fleet=size.appliances,
                    )
                )
                busy = (sum(known.cpu_times()[:2]) - cpu) / seconds
                took.sort()
                p50, p99, worst = (took[int((len(took) - 1) * share)] * 1e3 for share in (0.5, 0.99, 1.0))
                console.print(
                    f"{what:42s} {len(took) / seconds:7.0f} starts/s  p50 {p50:7.2f}  p99 {p99:7.2f}  worst "
                    f"{worst:7.2f} ms  core {busy:4.0%}  {dict(sorted(statuses.items()))}"
                )
            console.print(f"{known.memory_info().rss >> 20} MiB resident at the end")
        finally:
            server.terminate()
            server.wait()
