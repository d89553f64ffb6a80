"""`fill run` on a terminal: all of it, each object under way, when it ends and what will not fit; 100 columns do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import tzinfo
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from daemon.cli import human_bytes, human_rate
from daemon.line import one_line
from fill.agent.view import UnderWay, View, duration
from fill.agent.window import shown
from fill.progress import log_above, shortened

_KEY_WIDTH: Final = 28
_SOURCE_WIDTH: Final = 12
_WHY_WIDTH: Final = 88
_BAR_WIDTH: Final = 10
_MOST_FILES: Final = 12
_A_SECOND: Final = 4
"""How often it is drawn: a person reads no faster."""


def render(view: View, zone: tzinfo) -> RenderableType:
    """One picture of ``view``; times are of the site's clock."""
    lines: list[RenderableType] = [Text(_head(view, zone), style="bold"), _bars(view)]
    lines += [Text(line) for line in _said(view, zone)]
    lines += [
        Text(f"left out: {shortened(one_line(why), _WHY_WIDTH)}", style="red")
        for why in view.left_out.values()
    ]
    return Group(*lines)


def _head(view: View, zone: tzinfo) -> str:
    window = "no window: it may take as long as it does"
    if view.until is not None:
        closes = shown(view.until, zone)
        window = f"the window closes {closes}, in {duration(view.until - view.at)}"
    return f"{view.appliance}: plan {view.plan}; {window}"


def _bars(view: View) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    for column in range(6):
        table.add_column(justify="left" if column in {0, 1, 5} else "right", no_wrap=True)
    allowed = f"of {human_rate(view.allowed_bps)}" if view.allowed_bps else ""
    _row(table, "all", view.done_bytes, view.planned_bytes, view.rate_bps, allowed)
    for one in view.under_way[:_MOST_FILES]:
        _file(table, one)
    if len(view.under_way) > _MOST_FILES:
        table.add_row(f"and {len(view.under_way) - _MOST_FILES} more")
    return table


def _file(table: Table, one: UnderWay) -> None:
    source = f"from {shortened(one.source, _SOURCE_WIDTH)}" if one.source else "waits"
    _row(table, shortened(one.key, _KEY_WIDTH), one.there_bytes, one.size, one.rate_bps, source)


def _row(table: Table, name: str, there: int, size: int, rate_bps: float, said: str) -> None:
    share = min(there / size, 1.0) if size else 1.0
    bar = ProgressBar(total=1.0, completed=share, width=_BAR_WIDTH)
    amount = f"{human_bytes(there)} of {human_bytes(size)}"
    table.add_row(Text(name), bar, f"{share:.0%}", amount, human_rate(rate_bps), Text(said))


def _said(view: View, zone: tzinfo) -> list[str]:
    counted = f"{view.done_objects} of {view.objects} objects done"
    if view.put_off:
        counted += f", {view.put_off} wait for another appliance"
    if view.left_out_objects:
        counted += f", {view.left_out_objects} left out"
    said = [counted]
    if view.sources:
        best = sorted(view.sources.items(), key=lambda one: -one[1])[:4]
        said.append("came from: " + ", ".join(f"{name} {human_bytes(size)}" for name, size in best))
    if view.cap_bps and view.allowed_bps < view.cap_bps:
        said.append(f"gives way to players: {human_rate(view.allowed_bps)} of {human_rate(view.cap_bps)}")
    said.append(_end(view, zone))
    return said


def _end(view: View, zone: tzinfo) -> str:
    if view.ends_at is None:
        return "when it ends is not known: nothing comes"
    ends = f"ends {shown(view.ends_at, zone)}, in {duration(view.ends_at - view.at)}"
    if view.until is None:
        return ends
    if not view.late.objects:
        return f"{ends}: {duration(view.until - view.ends_at)} before the window closes"
    first = shortened(view.late.first, _KEY_WIDTH)
    return (
        f"{ends}: too late; {view.late.objects} objects, {human_bytes(view.late.size)}, from {first} on, "
        "wait for the next window"
    )


class Screen:
    """A `fill.agent.report.Report`."""

    def __init__(self, live: Live, zone: tzinfo) -> None:
        self._live = live
        self._zone = zone

    def look(self, view: View) -> None:
        self._live.update(render(view, self._zone))

    def done(self, name: str, /, **fields: Any) -> None:
        pass


@contextmanager
def screen(zone: tzinfo, console: Console | None = None) -> Iterator[Screen]:
    """Drawn on standard error until the block ends; what is logged meanwhile stands above it."""
    where = console or Console(stderr=True)
    with Live(console=where, refresh_per_second=_A_SECOND, transient=False) as live, log_above():
        yield Screen(live, zone)
