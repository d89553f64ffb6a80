"""What a fill costs those who are being served: players at an appliance, with and without `fill run`, in turns.

The appliance and the fill share one core, the players and the origin the other. The fill runs as its systemd unit has
it: SCHED_IDLE, nice 19, and gives way by the appliance's own metrics.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import psutil
from rich.table import Table

from bench.fill.players import Result, Task
from bench.fill.site import MIB, Box, fill, free_port, key_of, publish, write_fill, write_fleet
from demo.origin import OriginServer

_PLAYERS: Final = 24
_EVERY_S: Final = 0.4
_SEGMENT_BYTES: Final = 1 * MIB
_SERVED_BYTES: Final = 256 * MIB
_SERVED, _FILLED = "tt1", "tt2"
_APPLIANCE_CORE, _LOAD_CORE = {0}, {1}


@dataclass
class _Row:
    name: str
    results: list[Result] = field(default_factory=list)
    filled_bps: list[float] = field(default_factory=list)

    def spread(self, of: str, share: float) -> float:
        found: list[float] = sorted(one for result in self.results for one in getattr(result, of))
        return found[min(len(found) - 1, int(len(found) * share))] * 1000


def measure(folder: Path, seconds: int, rounds: int, rates_bps: list[int]) -> Table:
    """``rounds`` turns of ``seconds`` each, without a fill and with one at each of ``rates_bps``."""
    with OriginServer(folder / "origin", free_port(), "bench-fill") as origin:
        assert origin.process is not None
        _pin(origin.process.pid, _LOAD_CORE)
        # It stands elsewhere in the field: that it shares the players' core must not look like slow answers.
        _step_back(origin.process.pid)
        publish(origin, folder / "made", _SERVED_BYTES, _SERVED).unlink()
        box = Box.make("isp-a1", folder / "a1", origin, 64 << 30)
        write_fleet(folder, [box])
        configs = {rate: _config(folder, origin, box, rate) for rate in rates_bps}
        first = configs[rates_bps[0]]
        _plan(first)
        box.start()
        assert box.process is not None
        _pin(box.process.pid, _APPLIANCE_CORE)
        try:
            subprocess.run(fill("run", "--json", "--config", first), check=True, capture_output=True)
            size = max(rates_bps) // 8 * (seconds + 10) // MIB * MIB
            publish(origin, folder / "made", size, _FILLED).unlink()
            _plan(first)
            _warm(box)
            rows = [_Row("no fill"), *(_Row(_name(rate)) for rate in rates_bps)]
            for number in range(rounds):
                turns = [0, *range(1, len(rows))]
                for turn in turns if number % 2 else reversed(turns):
                    _turn(rows[turn], box, configs[rates_bps[turn - 1]] if turn else None, seconds, number)
        finally:
            box.stop()
    return _table(rows, seconds, rounds)


def _name(rate_bps: int) -> str:
    return f"fill at {rate_bps / 1e6:.0f} Mb/s"


def _config(folder: Path, origin: OriginServer, box: Box, rate_bps: int) -> Path:
    give_way = {"metrics_url": f"http://127.0.0.1:{box.admin}/metrics"}
    made = write_fill(folder, origin, box, rate_bps=rate_bps, give_way=give_way)
    return made.rename(made.with_name(f"fill-{rate_bps}.yaml"))


def _plan(config: Path) -> None:
    subprocess.run(fill("plan", "--json", "--config", config), check=True, capture_output=True)


def _warm(box: Box) -> None:
    """Nobody's first turn is the one that reads the film from the disk."""
    with urllib.request.urlopen(f"{box.url}/{key_of(_SERVED)}") as answer:
        while answer.read(MIB):
            pass


def _turn(row: _Row, box: Box, config: Path | None, seconds: int, seed: int) -> None:
    # Nobody's answers wait for what another turn, or the publishing, has left to be written.
    os.sync()
    if config is None:
        row.results.append(_play(box, seconds, seed))
        return
    run = subprocess.Popen(
        ["chrt", "--idle", "0", "nice", "-n", "19", *fill("run", "--json", "--config", config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, _APPLIANCE_CORE),
    )
    try:
        # What is served without it is learnt before it begins: players play from the first moment on.
        _play(box, 6, seed + 1000)
        before, began = _verified_bytes(box), time.monotonic()
        row.results.append(_play(box, seconds, seed))
        row.filled_bps.append((_verified_bytes(box) - before) * 8 / (time.monotonic() - began))
        if run.poll() is not None:
            raise RuntimeError(f"the fill ended before the players did, with {run.returncode}")
    finally:
        run.terminate()
        run.wait(60)
        box.purge(_FILLED)


def _verified_bytes(box: Box) -> int:
    done = subprocess.run(
        fill("status", "--json", "--config", next(box.root.glob("fill-*.yaml"))),
        capture_output=True,
        text=True,
    )
    return sum(
        one["verified_slices"] * MIB for one in msgspec.json.decode(done.stdout)["holdings"]["incomplete"]
    )


def _play(box: Box, seconds: float, seed: int) -> Result:
    task = Task(
        box.port, f"/{key_of(_SERVED)}", _SERVED_BYTES, _SEGMENT_BYTES, _PLAYERS, _EVERY_S, seconds, seed
    )
    done = subprocess.run(
        [sys.executable, "-m", "bench.fill.players"],
        input=msgspec.json.encode(task),
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, _LOAD_CORE),
    )
    return msgspec.json.decode(done.stdout, type=Result)


def _pin(pid: int, cores: set[int]) -> None:
    """The process and all that it has started."""
    for thread in _threads(pid):
        os.sched_setaffinity(thread, cores)


def _step_back(pid: int) -> None:
    for thread in _threads(pid):
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


def _threads(pid: int) -> list[int]:
    """Of the process and all that it has started."""
    return [int(thread) for one in (pid, *_below(pid)) for thread in os.listdir(f"/proc/{one}/task")]


def _below(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def _table(rows: list[_Row], seconds: int, rounds: int) -> Table:
    table = Table(
        title=f"{_PLAYERS} players, {_SEGMENT_BYTES // MIB} MiB every {_EVERY_S} s each, {rounds} x {seconds} s in turns, ms",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    columns = (
        "",
        "first byte p50",
        "p99",
        "p99 / no fill",
        "segment p50",
        "p99",
        "p99 / no fill",
        "fill, Mb/s",
    )
    for column in columns:
        table.add_column(column, justify="left" if not column else "right")
    calm = rows[0]
    for row in rows:
        cells = []
        for of in ("first_s", "whole_s"):
            p99 = row.spread(of, 0.99)
            cells += [f"{row.spread(of, 0.5):.2f}", f"{p99:.2f}", f"{p99 / calm.spread(of, 0.99):.2f}"]
        filled = f"{sum(row.filled_bps) / len(row.filled_bps) / 1e6:.0f}" if row.filled_bps else ""
        table.add_row(row.name, *cells, filled)
    return table
