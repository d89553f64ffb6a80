"""What `fill status` prints for a person: the plan's state, and the objects under way, in 100 columns."""

from __future__ import annotations

from typing import Final

from contracts.ingest import Holdings
from contracts.objectkey import slice_count
from daemon.cli import human_bytes, print_table
from fill.progress import shortened

_KEY_WIDTH: Final = 56
_MOST_ROWS: Final = 10


def print_status(held: Holdings, newest: str | None) -> None:
    """``newest`` is the newest plan's version; None when S3 did not say."""
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
    if not held.incomplete:
        return
    print()
    print_table(
        ("incomplete object", "slices", "of", "size"),
        [
            (
                shortened(item.key, _KEY_WIDTH),
                item.verified_slices,
                slice_count(item.size),
                human_bytes(item.size),
            )
            for item in held.incomplete[:_MOST_ROWS]
        ],
    )
    if len(held.incomplete) > _MOST_ROWS:
        print(f"and {len(held.incomplete) - _MOST_ROWS} more: --json has them all")
