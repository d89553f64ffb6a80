"""How near a real run keeps to its cap: bytes that pass from the origin, over every ten seconds."""

from __future__ import annotations

import subprocess
from pathlib import Path

from rich.table import Table

from bench.fill.relay import Relay
from bench.fill.site import MIB, Box, fill, free_port, publish, write_fill, write_fleet
from demo.origin import OriginServer

OVER_S = 10.0


def measure(folder: Path, rates_bps: list[int], seconds: int) -> Table:
    """One run of about ``seconds`` for each of ``rates_bps``."""
    table = Table(
        title=f"agent.rate_bps, over every {OVER_S:.0f} s of a run of {seconds} s",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column in ("cap, Mb/s", "most / cap", "least / cap", "spans"):
        table.add_column(column, justify="right")
    for number, rate_bps in enumerate(rates_bps):
        root = folder / str(number)
        size = rate_bps // 8 * seconds // MIB * MIB
        with OriginServer(root / "origin", free_port(), "bench-fill") as origin, Relay(origin.port) as relay:
            publish(origin, root / "made", size).unlink()
            box = Box.make("isp-a1", root / "a1", origin, 2 * size)
            write_fleet(root, [box])
            config = write_fill(root, origin, box, endpoint_url=relay.url, rate_bps=rate_bps)
            subprocess.run(fill("plan", "--json", "--config", config), check=True, capture_output=True)
            box.start()
            try:
                relay.reset()
                subprocess.run(fill("run", "--json", "--config", config), check=True, capture_output=True)
            finally:
                box.stop()
            found = [count * 8 / (rate_bps * OVER_S) for count in relay.windows(OVER_S)]
        table.add_row(f"{rate_bps / 1e6:.0f}", f"{max(found):.3f}", f"{min(found):.3f}", str(len(found)))
    return table
