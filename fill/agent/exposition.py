"""The run's figures for Prometheus, in a file that node_exporter's textfile collector reads: a run ends, and
nobody could ask it any more.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from daemon.durable import replace_file
from daemon.log import event
from fill.agent.tally import Tally
from fill.agent.view import View

log = logging.getLogger("fill.agent")

_EVERY_S: Final = 10.0
_MODE: Final = 0o644
"""node_exporter runs as a user of its own."""


def exposition(tally: Tally, view: View, sources_left_out: int, *, running: bool) -> bytes:
    """The figures at the moment of ``view``."""
    done = tally.summary
    rows: tuple[tuple[str, str, float], ...] = (
        ("fill_running", "1 while a run is under way", int(running)),
        ("fill_planned_bytes", "bytes of everything planned", done.planned_bytes),
        ("fill_done_bytes", "of those, what is here or was left out in this run", tally.done_bytes),
        ("fill_fetched_bytes", "bytes fetched by this run", done.fetched_bytes),
        ("fill_rate_bytes_per_second", "how fast they came in the last ten seconds", view.rate_bps / 8),
        ("fill_late_objects", "objects that the window leaves no time for, at this rate", view.late.objects),
        ("fill_committed_objects", "objects that this run has put onto the disks", done.committed),
        ("fill_left_out_objects", "objects that failed in this run", len(done.left_out)),
        ("fill_waiting_objects", "objects that wait for a window", done.waiting),
        ("fill_sources_left_out", "appliances that gave wrong bytes, or would not have us", sources_left_out),
        (
            "fill_plan_issued_timestamp_seconds",
            "when the planner put the plan in force; 0: it did not sign that",
            done.issued_at,
        ),
        (
            "fill_latest_refused",
            "1 where plans/latest was not believed and the plan of before was carried out",
            int(bool(done.latest_refused)),
        ),
        (
            "fill_catalog_refused",
            "1 where catalog/latest was not believed and the catalog of before was filled from",
            int(bool(done.catalog_refused)),
        ),
        ("fill_updated_timestamp_seconds", "when this was written", view.at),
    )
    lines = []
    for name, said, value in rows:
        lines += [f"# HELP {name} {said}", f"# TYPE {name} gauge", f"{name} {value}"]
    return ("\n".join(lines) + "\n").encode()


class Exposition:
    """Writes to ``path`` every ten seconds at most; None is nowhere. A folder that is full costs a line in the log."""

    def __init__(self, path: str | None) -> None:
        self._path = Path(path) if path is not None else None
        self._written_at = float("-inf")

    def write(self, tally: Tally, view: View, sources_left_out: int, *, running: bool = True) -> None:
        if self._path is None or (running and view.at - self._written_at < _EVERY_S):
            return
        self._written_at = view.at
        try:
            replace_file(self._path, exposition(tally, view, sources_left_out, running=running), mode=_MODE)
        except OSError as error:
            event(log, "metrics not written", logging.WARNING, why=f"{self._path}: {error.strerror}")
