"""The fourth table: what pacing does to bursts, to a neighbour behind the same line, and to goodput."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
from rich.table import Table

from bench.edge.household import BUFFER_S, WINDOW_S
from bench.edge.line import BITRATE_BPS, BURST_S, FACTOR, LINE, PLAYERS, SEGMENT_S, Plan, Row
from bench.edge.load import Failed, Options

_TOOLS: Final = ("unshare", "nsenter", "ip", "tc")


def measured(root: Path, options: Options) -> list[Table]:
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        print(f"bench.edge: pacing: left out: needs root and {', '.join(_TOOLS)}", file=sys.stderr)
        return []
    offered = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
    controls = tuple(name for name in ("cubic", "bbr") if name in offered)
    plan = Plan(6.0, controls[:1]) if options.quick else Plan(15.0, controls)
    process = subprocess.Popen(
        ["unshare", "--net", sys.executable, "-m", "bench.edge.line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        printed, _ = process.communicate(msgspec.json.encode(plan))
    finally:
        # Ended early, it ends its servers.
        process.terminate()
        process.wait()
    print(file=sys.stderr)
    if process.returncode != 0:
        raise Failed("bench.edge.line ended early")
    return [_table(msgspec.json.decode(printed, type=list[Row]), plan)]


def _table(rows: list[Row], plan: Plan) -> Table:
    table = Table(
        title=f"{PLAYERS} players of {BITRATE_BPS / 1e6:.0f} Mb/s in segments of {SEGMENT_S} s for "
        f"{plan.seconds:.0f} s, behind one line; pacing {FACTOR:g} x after {BURST_S:g} s",
        caption=f"Burst: the most that one player got in {1e3 * WINDOW_S:.0f} ms. Echo: a UDP packet of "
        f"someone else on the line. Both once every buffer of {BUFFER_S:.0f} s has been full. The line of "
        f"{LINE} has a queue of 64 KB.",
    )
    for column in ("line", "congestion control", "pacing"):
        table.add_column(column)
    for column in (
        "burst KB",
        "segment p50 ms",
        "stalls",
        "goodput Mb/s",
        "sent again",
        "echo p50 ms",
        "p99 ms",
    ):
        table.add_column(column, justify="right")
    for row in sorted(rows, key=lambda row: (row.line != "free", row.congestion_control, row.paced)):
        found = row.result
        table.add_row(
            row.line,
            row.congestion_control,
            "on" if row.paced else "off",
            f"{found.burst_bytes / 1e3:,.0f}",
            f"{1e3 * found.segment_p50_s:,.0f}",
            f"{found.stalls}",
            f"{found.bytes * 8 / found.elapsed_s / 1e6:.2f}",
            f"{row.retransmitted / row.sent_segments:.2%}",
            f"{1e3 * found.echo_p50_s:.1f}",
            f"{1e3 * found.echo_p99_s:.1f}",
        )
    return table
