"""Appliances of one site fill the same film at the same time: what comes from outside, in copies of it."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.fill.relay import Relay
from bench.fill.site import Box, fill, free_port, publish, write_fill, write_fleet
from demo.origin import OriginServer

_NAMES = ("isp-a1", "isp-a2", "isp-a3", "isp-a4")


def measure(folder: Path, size: int) -> Table:
    """Four appliances, one film of ``size`` bytes, planned for all of them."""
    with OriginServer(folder / "origin", free_port(), "bench-fill") as origin, Relay(origin.port) as relay:
        publish(origin, folder / "made", size).unlink()
        boxes = [Box.make(name, folder / name, origin, 2 * size) for name in _NAMES]
        write_fleet(folder, boxes)
        configs = [write_fill(folder, origin, box, endpoint_url=relay.url, rate_bps=0) for box in boxes]
        subprocess.run(fill("plan", "--json", "--config", configs[0]), check=True, capture_output=True)
        try:
            for box in boxes:
                box.start()
            relay.reset()
            began = time.monotonic()
            runs = [
                subprocess.Popen(fill("run", "--json", "--config", config), stdout=subprocess.PIPE, text=True)
                for config in configs
            ]
            said = [_ended(run) for run in runs]
            took_s = time.monotonic() - began
        finally:
            for box in boxes:
                box.stop()
        outside = relay.passed_bytes
    table = Table(
        title=f"four appliances of a site, one film of {size / 1e9:.2f} GB each, in {took_s:.0f} s",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column in ("", "from outside, GB", "from the site, GB"):
        table.add_column(column, justify="left" if not column else "right")
    for name, summary in zip(_NAMES, said, strict=True):
        sources: dict[str, int] = summary["sources"]
        theirs = sources.get("origin", 0)
        table.add_row(name, f"{theirs / 1e9:.3f}", f"{(sum(sources.values()) - theirs) / 1e9:.3f}")
    table.add_row("seen at the origin", f"{outside / 1e9:.3f}", f"{outside / size:.3f} copies")
    return table


def _ended(run: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = run.communicate(timeout=1800)
    if run.returncode != 0:
        raise RuntimeError(f"a fill ended with {run.returncode}")
    found: dict[str, Any] = json.loads(out)
    return found
