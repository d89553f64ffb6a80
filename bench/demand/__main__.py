"""``python -m bench.demand``: hit ratios of ours and its peers, and what ours costs. See bench/demand/README.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.demand import cost
from bench.demand.policies import BASE, FURTHER, OURS, Ratio, Stream, runner
from bench.demand.traces import BadTrace, Trace, made, read_trace

SHARES: Final = (0.01, 0.05, 0.2)
ALLOWED_POINTS: Final = 0.5
"""By which ours may be below the best of `BASE`."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.demand", description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000, help="of each synthetic trace")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="traces whose names begin so")
    parser.add_argument("--further", action="store_true", help=f"also {', '.join(FURTHER)}")
    parser.add_argument(
        "--trace", type=Path, help="a CSV file, time,key,size, instead of the synthetic traces"
    )
    given = parser.parse_args(argv)
    if given.requests < 1000:
        parser.error(f"--requests {given.requests}: at least 1000")
    try:
        traces = [read_trace(given.trace)] if given.trace else list(made(given.seed, given.requests))
    except (BadTrace, OSError) as error:
        print(f"bench.demand: {error}", file=sys.stderr)
        return 2
    traces = [trace for trace in traces if trace.name.startswith(given.only)]
    if not traces:
        parser.error(f"--only {given.only}: no trace has a name that begins so")
    policies = (*BASE, *(FURTHER if given.further else ()), OURS)
    results = [(trace, share, _row(Stream(trace), share, policies)) for trace in traces for share in SHARES]
    console = Console(width=132)
    for which in ("bytes", "requests"):
        console.print(_table(results, policies, which))
    if not given.trace:
        console.print(_costs(given.requests, given.seed))
    return 0


def _row(stream: Stream, share: float, policies: Sequence[str]) -> dict[str, Ratio]:
    print(".", end="", file=sys.stderr, flush=True)
    return {policy: runner(stream, policy)(int(stream.unique * share)) for policy in policies}


def _table(
    results: Sequence[tuple[Trace, float, dict[str, Ratio]]], policies: Sequence[str], which: str
) -> Table:
    table = Table(title=f"hit ratio by {which}, %", title_justify="left")
    for name in ("trace", "size"):
        table.add_column(name)
    for name in (*policies, "ours - best"):
        table.add_column(name, justify="right")
    missed = 0
    for trace, share, row in results:
        ratios = {policy: 100 * float(getattr(row[policy], which)) for policy in policies}
        points = ratios[OURS] - max(ratios[policy] for policy in BASE)
        # What is asked of it is bytes. W-TinyLFU wins requests by leaving out what is large.
        missed += (late := which == "bytes" and points < -ALLOWED_POINTS)
        table.add_row(
            trace.name,
            f"{share:.0%}",
            *(f"{ratio:.2f}" for ratio in ratios.values()),
            f"{points:+.2f}" + (" *" if late else ""),
        )
    if which == "bytes":
        table.caption = f"* more than {ALLOWED_POINTS} points below the best of {', '.join(BASE)}: {missed}"
    return table


def _costs(requests: int, seed: int) -> Table:
    table = Table(title="what ours costs", title_justify="left")
    for name in (
        "objects",
        "us a touch",
        "us a touch that moves",
        "us a miss with an eviction",
        "bytes an object",
        "bytes a disk",
    ):
        table.add_column(name, justify="right")
    for objects in (requests // 20, requests // 2):
        got = cost.measured(objects, 2 * requests, seed)
        table.add_row(
            f"{got.objects:,}",
            f"{got.touch_us:.2f}",
            f"{got.moving_us:.2f}",
            f"{got.miss_us:.1f}",
            f"{got.entry_bytes:.0f}",
            f"{got.fixed_bytes:,}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
