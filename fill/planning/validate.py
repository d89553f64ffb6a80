"""What must be true of a plan before anybody sees it. Pure.

The planner is meant to keep to these; this does not trust it. A plan that breaks one is not published, and the one
in force stays.
"""

from __future__ import annotations

import numpy as np

from fill.planning.churn import bytes_of_each
from fill.planning.site import Placed
from fill.planning.table import ObjectTable


class BadPlan(Exception):
    """A plan that must not be published; the message says what is wrong with it."""


def check(table: ObjectTable, placed: Placed) -> None:
    """Raises `BadPlan` when an appliance holds more than it can, or anything that may not lie there."""
    site = placed.site
    if placed.holders.shape != (len(placed.rows), len(site.appliances)):
        raise BadPlan(f"site {site.id}: holders of {placed.holders.shape} for {len(placed.rows)} objects")
    if len(placed.rows) and (np.diff(placed.rows) <= 0).any():
        raise BadPlan(f"site {site.id}: objects are not in order, or one is there twice")
    for planned, box in zip(
        bytes_of_each(placed.holders, table.room[placed.rows]).tolist(), site.appliances, strict=True
    ):
        if planned > box.capacity_bytes:
            raise BadPlan(
                f"appliance {box.id}: {planned} bytes planned, and its capacity_bytes is {box.capacity_bytes}"
            )
    held = np.zeros(len(table.titles), np.bool_)
    held[table.title[placed.rows]] = True
    for title in np.flatnonzero(held & ~table.licensed(site.country))[:1].tolist():
        raise BadPlan(
            f"site {site.id}: title {table.titles[title]} is not licensed in {site.country or 'no country'}"
        )


def check_sources(table: ObjectTable, published: dict[str, int]) -> None:
    """Raises `BadPlan` when the origin lacks an object of the catalog, or has it in another size."""
    for key, size in zip(table.keys, table.size.tolist(), strict=True):
        found = published.get(key)
        if found != size:
            says = "is not there" if found is None else f"has {found} bytes"
            raise BadPlan(f"media/{key}: {says} at the origin, and the catalog says {size}: publish it again")
