"""What `fill status` prints for a person: the plan's state, and the objects under way, in 100 columns."""

from __future__ import annotations

from typing import Final

from contracts.ingest import Holdings
from contracts.objectkey import slice_count
from daemon.cli import human_bytes, human_rate, print_table
from fill.agent.view import View, duration
from fill.progress import shortened

_KEY_WIDTH: Final = 44
_SOURCE_WIDTH: Final = 12
_MOST_ROWS: Final = 10


def print_status(held: Holdings, newest: str | None, view: View | None = None, now: float = 0.0) -> None:
    """``newest`` is the newest plan's version, None when S3 did not say; ``view`` a run that is under way.

    ``now`` is in seconds since 1970.
    """
    share = held.held_bytes / held.planned_bytes if held.planned_bytes else 1.0
    print_table(
        ("appliance", "plan in force", "newest plan", "held", "incomplete"),
        [
            (
                shortened(held.appliance, 20),
                held.plan or "none yet",
                newest or "not known",
                f"{held.held_objects} of {held.planned_objects}",
                len(held.incomplete),
            )
        ],
    )
    print(
        f"{human_bytes(held.held_bytes)} of {human_bytes(held.planned_bytes)} planned ({share:.1%}); "
        f"beside the plan {held.other_objects} objects, {human_bytes(held.other_bytes)}"
    )
    if held.plan_issued_at:
        print(f"plan in force for {duration(now - held.plan_issued_at)}, by the planner's signature")
    if held.catalog is not None:
        age = duration(now - held.catalog.issued_at)
        print(f"catalog {held.catalog.version} in force for {age}, by the publisher's signature")
    print(_run(view) if view is not None else "no fill is under way")
    if not held.incomplete:
        return
    rates = {one.key: one for one in view.under_way} if view is not None else {}
    print()
    print_table(
        ("incomplete object", "slices", "of", "size", "rate", "from"),
        [
            (
                shortened(item.key, _KEY_WIDTH),
                item.verified_slices,
                slice_count(item.size),
                human_bytes(item.size),
                human_rate(rates[item.key].rate_bps) if item.key in rates else "",
                shortened(rates[item.key].source, _SOURCE_WIDTH) if item.key in rates else "",
            )
            for item in held.incomplete[:_MOST_ROWS]
        ],
    )
    if len(held.incomplete) > _MOST_ROWS:
        print(f"and {len(held.incomplete) - _MOST_ROWS} more: --json has them all")


def _run(view: View) -> str:
    said = f"fill under way: {human_rate(view.rate_bps)}"
    if view.cap_bps:
        said += f" of {human_rate(view.cap_bps)}"
    if view.ends_at is not None:
        said += f", ends in {duration(view.ends_at - view.at)}"
    if view.until is not None:
        said += f", the window closes in {duration(view.until - view.at)}"
    if view.late.objects:
        said += f"; {view.late.objects} objects ({human_bytes(view.late.size)}) will not fit"
    return said
