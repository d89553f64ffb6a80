"""What a plan comes to, in the figures that an operator looks at. Pure."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from contracts.fleet import Tier
from fill.planning.churn import sum_where
from fill.planning.rules import Rules
from fill.planning.site import Placed
from fill.planning.table import ObjectTable

_MOST_NAMES: Final = 100


class ApplianceReport(msgspec.Struct, frozen=True):
    appliance: str
    site: str
    tier: Tier
    titles: int
    objects: int
    bytes: int
    share: float
    """Of its capacity."""
    load: float
    """What it is asked for, over its share by throughput, as steering begins: in proportion to throughput."""
    steered_load: float
    """The same once steering has evened it out, as far as copies allow."""
    added_bytes: int
    removed_bytes: int
    put_off_bytes: int
    """Wanted, and more than this night carries."""
    nights: float
    """How many nights of fill what is added takes."""


class SiteReport(msgspec.Struct, frozen=True):
    site: str
    tier: Tier
    hit_share: float
    """The share of the expected bytes that the site holds."""
    held_bytes: int
    """Of different objects."""
    left_out: tuple[str, ...]
    """Titles that are wanted and of which nothing is held, most wanted first; the first hundred."""
    not_licensed: tuple[str, ...]
    """Titles that may not lie here; the first hundred."""
    appliances: tuple[ApplianceReport, ...]


def report(table: ObjectTable, placed: Placed, rules: Rules) -> SiteReport:
    site, change = placed.site, placed.change
    held = placed.held_bytes(table)
    room = table.room[placed.rows].astype(np.float64)
    loads = placed.load_shares()
    steered = placed.steered_shares()
    titles = table.title[placed.rows]
    rows = []
    for at, box in enumerate(site.appliances):
        column = placed.holders[:, at]
        rows.append(
            ApplianceReport(
                box.id,
                site.id,
                site.tier,
                # Rows ascend, and so do their titles.
                int(np.count_nonzero(np.diff(titles[column], prepend=-1))),
                int(np.count_nonzero(column)),
                int(held[at]),
                sum_where(room, column) / box.capacity_bytes,
                float(loads[at]),
                float(steered[at]),
                int(change.added[at]),
                int(change.removed[at]),
                int(change.put_off[at]),
                float(change.added[at] / rules.night_bytes),
            )
        )
    return SiteReport(
        site.id,
        site.tier,
        placed.hit_share(),
        int(table.size[placed.rows].sum()),
        _left_out(table, placed),
        tuple(table.titles[title] for title in np.flatnonzero(~placed.licensed)[:_MOST_NAMES]),
        tuple(rows),
    )


def _left_out(table: ObjectTable, placed: Placed) -> tuple[str, ...]:
    missing = np.ones(len(table.titles), np.bool_)
    missing[table.title[placed.rows]] = False
    if not missing.any():
        return ()
    order = table.title[placed.wanted.order]
    names = dict.fromkeys(order[missing[order]].tolist())
    return tuple(table.titles[title] for title in list(names)[:_MOST_NAMES])
