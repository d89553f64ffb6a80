"""The fifth table: two workers on two cores beside one on one core, each core with its share of the load.

The load needs a core too. So one core carries a worker and its load, and then two cores carry two
workers and two loads: perfect scaling is a factor of two, whatever the load costs.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.table import Table

from bench.edge.client import Result, Target, Task
from bench.edge.content import SEGMENTS, WORKLOADS, Workload
from bench.edge.load import Options, result, start
from bench.edge.requests import prepared
from bench.edge.servers import Server, appliance

_NAMES: Final = ("64 KiB ranges", "256 KiB ranges", "2 MiB files")
_CONNECTIONS: Final = 32
"""Of each load: SO_REUSEPORT deals them out by hash, and few would fall unevenly."""


@dataclass(frozen=True)
class Round:
    requests_per_s: float
    per_cpu_s: float
    server_cores: float
    load_cores: float


def measured(root: Path, options: Options) -> list[Table]:
    chosen = {item.name: item for item in reversed(WORKLOADS) if item.name in _NAMES}
    rounds: dict[str, tuple[list[Round], list[Round]]] = {}
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(appliance(root / "one", SEGMENTS))
        two = stack.enter_context(appliance(root / "two", SEGMENTS, workers=2, cores=(0, 1)))
        for name in _NAMES:
            targets = {server: prepared(server, chosen[name]) for server in (one, two)}
            rounds[name] = ([], [])
            for number in range(options.rounds):
                for at in (0, 1) if number % 2 == 0 else (1, 0):
                    server, cores = ((one, (0,)), (two, (0, 1)))[at]
                    rounds[name][at].append(
                        _round(server, chosen[name], targets[server], cores, options.seconds)
                    )
                    print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return [_table(rounds)]


def _round(
    server: Server, workload: Workload, targets: tuple[Target, ...], cores: tuple[int, ...], seconds: float
) -> Round:
    task = Task(server.port, workload.wire, server.pids, targets, _CONNECTIONS, 0.5, seconds)
    loads = [start("bench.edge.client", task, core) for core in cores]
    found = [result(load, Result) for load in loads]
    # Each load reads the CPU time of the whole server, over the same seconds.
    used = statistics.mean(item.cpu_s / item.elapsed_s for item in found)
    rate = sum(item.requests / item.elapsed_s for item in found)
    return Round(rate, rate / used, used, sum(item.client_cpu_s / item.elapsed_s for item in found))


def _table(rounds: dict[str, tuple[list[Round], list[Round]]]) -> Table:
    table = Table(
        title="One worker and its load on one core, two workers and two loads on two cores (median of the rounds)",
        caption=f"{_CONNECTIONS} connections per load. What the two shares of a core lack to 1.00 others took.",
    )
    table.add_column("workload", no_wrap=True)
    for column in (
        "1: req/s", "server share", "load share", "2: req/s", "server share", "load share", "req/s, 2 / 1",
        "req per CPU-s, 2 / 1",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for name, (one, two) in rounds.items():
        cells = []
        for some, cores in ((one, 1), (two, 2)):
            cells += [
                f"{statistics.median(item.requests_per_s for item in some):,.0f}",
                f"{statistics.median(item.server_cores for item in some) / cores:.2f}",
                f"{statistics.median(item.load_cores for item in some) / cores:.2f}",
            ]
        pairs = list(zip(one, two, strict=True))
        cells.append(f"{statistics.median(b.requests_per_s / a.requests_per_s for a, b in pairs):.2f}")
        cells.append(f"{statistics.median(b.per_cpu_s / a.per_cpu_s for a, b in pairs):.2f}")
        table.add_row(name, *cells)
    return table
