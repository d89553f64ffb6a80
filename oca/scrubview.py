"""``oca scrub``: how far each disk has been read again, as a table, and as bars on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from daemon.cli import human_bytes, print_table
from oca.status import DiskStatus

_LOOK_S: Final = 0.5


def show(disks: Sequence[DiskStatus], now: float) -> None:
    """``now`` is seconds since 1970."""
    print_table(
        ["DISK", "SCRUB", "LAST WHOLE PASS", "ROTTEN", "QUARANTINE"],
        [
            [
                disk.path,
                _doing(disk),
                _ago(disk.scrub.ended_at, now) if disk.scrub is not None else "-",
                disk.scrub.bad_objects if disk.scrub is not None else 0,
                f"{disk.quarantined_files} files, {human_bytes(disk.quarantined_bytes)}",
            ]
            for disk in disks
        ],
    )


def follow(ask: Callable[[], Sequence[DiskStatus]]) -> Sequence[DiskStatus]:
    """Draws a bar for each disk until none is read any more; what was said last."""
    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[rate]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bars = {disk.path: progress.add_task(disk.path, total=1.0, rate="") for disk in ask()}
        while True:
            disks = ask()
            for disk in disks:
                if disk.scrub is not None and disk.path in bars:
                    rate = f"{human_bytes(disk.scrub.rate_bytes_per_s)}/s"
                    progress.update(bars[disk.path], completed=disk.scrub.share_done, rate=rate)
            if not any(disk.scrub is not None and disk.scrub.reading for disk in disks):
                return disks
            time.sleep(_LOOK_S)


def _doing(disk: DiskStatus) -> str:
    if disk.scrub is None:
        return "is not scrubbed" if disk.state == "serving" else disk.state
    if not disk.scrub.reading:
        return "rests until the next pass"
    return f"{disk.scrub.share_done:.0%}, {human_bytes(disk.scrub.rate_bytes_per_s)}/s"


def _ago(ended_at: float, now: float) -> str:
    if not ended_at:
        return "none yet"
    hours = max(0.0, now - ended_at) / 3600
    return f"{hours / 24:.0f} days ago" if hours >= 48 else f"{hours:.0f} hours ago"
