"""What the simulations and measurements of steering found, as pictures for the documentation. Loads matplotlib."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bench.steering.failover import Fall
    from bench.steering.herd import Midnight
    from bench.steering.lossy import Outcome

COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Okabe and Ito: told apart by who sees fewer colours."""
_STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "nearcast",  # the same figures give the same file
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}


@contextmanager
def _figure(path: Path, rows: int, columns: int, size: tuple[float, float]) -> Iterator[list[Axes]]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        grid = figure.subplots(rows, columns, squeeze=False)
        yield [axes for row in grid for axes in row]
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
        path.parent.mkdir(parents=True, exist_ok=True)
        # Its description names hosts, and says nothing else.
        path.write_text(re.sub(r" *<metadata>.*?</metadata>\n", "", drawn.getvalue(), flags=re.DOTALL))


def draw_lossy(outcomes: Sequence[Outcome], path: Path) -> None:
    from bench.steering.lossy import BREAKS_S, MENDS_S, X

    by_name = {outcome.case.name: outcome for outcome in outcomes}
    shown = [
        name
        for name in ("nothing is told", "told", "told, and players stay where they began", "told, floor 0.5")
        if name in by_name
    ]
    with _figure(path, 3, 1, (8, 7)) as (weight, share, stalled):
        for colour, name in zip(COLOURS, shown, strict=False):
            outcome = by_name[name]
            minutes = range(1, len(outcome.weight) + 1)
            weight.plot(minutes, outcome.weight, color=colour, label=name)
            share.plot(minutes, [100 * value for value in outcome.at_lossy], color=colour)
            stalled.plot(minutes, [100 * value for value in outcome.stalled[X]], color=colour)
        weight.set(ylabel="weight of a0 for X", ylim=(0, 1.05))
        share.set(ylabel="X's sessions at a0, %", ylim=(0, None))
        stalled.set(ylabel="time stalled, X, %", xlabel="minutes", ylim=(0, None))
        for axes in (weight, share, stalled):
            axes.axvspan(BREAKS_S / 60, MENDS_S / 60, color="#999999", alpha=0.15, lw=0)
        weight.legend(loc="lower right", fontsize=8)
        weight.set_title("the path from a0, of four appliances, to network X is lossy in the grey time")


def draw_herd(midnights: Sequence[Midnight], path: Path) -> None:
    with _figure(path, 2, len(midnights), (3.6 * len(midnights), 5)) as all_axes:
        for column, midnight in enumerate(midnights):
            fill, ratio = all_axes[column], all_axes[column + len(midnights)]
            seconds = range(len(midnight.near_mean))
            for colour, values, label in (
                (COLOURS[0], midnight.near_max, "site, fullest"),
                (COLOURS[4], midnight.near_mean, "site, mean"),
                (COLOURS[1], midnight.far_max, "exchange, fullest"),
                (COLOURS[5], midnight.far_mean, "exchange, mean"),
            ):
                fill.plot(seconds, [100 * value for value in values], color=colour, label=label)
            fill.axhline(100, color="#000000", lw=0.6, ls=":")
            fill.set(ylim=(0, 105), title=midnight.name, ylabel="of throughput, %" if not column else "")
            ratio.plot(seconds, midnight.ratio, color=COLOURS[0])
            ratio.axhline(1.15, color="#000000", lw=0.6, ls=":")
            ratio.set(ylim=(1, 2), xlabel="seconds", ylabel="site: max / mean" if not column else "")
        all_axes[0].legend(loc="lower right", fontsize=7)


def draw_failover(falls: Sequence[Fall], path: Path) -> None:
    """The share of deaths after which the appliance is out of the answers by then."""
    with _figure(path, 1, 1, (6, 3.5)) as (axes,):
        for colour, how in zip(COLOURS, sorted({fall.how for fall in falls}), strict=False):
            took = sorted(fall.took_s for fall in falls if fall.how == how)
            shares = [100 * (place + 1) / len(took) for place in range(len(took))]
            axes.step([0.0, *took], [0.0, *shares], where="post", color=colour, label=f"{how} ({len(took)})")
        axes.axvline(5, color="#000000", lw=0.6, ls=":")
        axes.set(xlabel="seconds since the death", ylabel="out of the answers, %", xlim=(0, 6), ylim=(0, 101))
        axes.legend(loc="lower right")
