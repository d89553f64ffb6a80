"""Why a title is where it is at a site, from the plan that is published and the demand it was made from."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.catalog import is_licensed
from contracts.fleet import Site
from contracts.placement import SENTENCES
from fill.planning.previous import HeldAt
from fill.planning.table import ObjectTable


class ObjectReason(msgspec.Struct, frozen=True):
    key: str
    size: int
    demand_bytes_per_day: float
    place: int
    """Among all that is asked for at the site, by demand per byte; 0 when it is not asked for."""
    of: int
    appliances: tuple[str, ...]
    """Who holds it."""
    why: str


class Explanation(msgspec.Struct, frozen=True):
    title: str
    site: str
    plan: str
    demand: str | None
    licensed: bool
    objects: tuple[ObjectReason, ...]


def explain(
    table: ObjectTable,
    site: Site,
    title: str,
    held: HeldAt,
    demand: NDArray[np.float64],
    version: str,
    forecast: str | None,
) -> Explanation:
    """Why each object of ``title`` is, or is not, where it is. Raises KeyError for a title not in the catalog."""
    try:
        number = table.titles.index(title)
    except ValueError:
        raise KeyError(title) from None
    licensed = is_licensed(table.countries[number], site.country)
    density = np.where(table.startup, 0.0, demand / np.maximum(table.size, 1))
    of = int(np.count_nonzero(density))
    objects = []
    for row in range(int(table.starts[number]), int(table.starts[number + 1])):
        place = int(np.count_nonzero(density > density[row])) + 1 if density[row] > 0 else 0
        appliances = held.appliances(row)
        if not licensed:
            why = f"not licensed in {site.country or 'a site without a country'}"
        elif appliances:
            why = SENTENCES[held.reason(row)]
        elif place == 0 and not table.startup[row]:
            why = "nobody is expected to ask for it"
        elif table.startup[row]:
            why = "no encode of its title is here"
        else:
            why = f"more is asked for, per byte, than fits: {of} objects are wanted, and the site holds {held.count}"
        objects.append(
            ObjectReason(
                table.keys[row],
                int(table.size[row]),
                float(demand[row]),
                place,
                of,
                appliances,
                why,
            )
        )
    return Explanation(title, site.id, version, forecast, licensed, tuple(objects))
