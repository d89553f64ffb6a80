"""Which sites are equally near a client. Pure.

The longer prefix goes first, then what its routes say (`steering.preference`), then, where it is known, the distance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import groupby
from typing import Final, TypeAlias

from contracts.fleet import Tier
from steering.preference import Order, Route
from steering.snapshot import Reach

_NEAR_KM: Final = 50.0
_NEAR: Final = 1.25
"""Distances as the crow flies say little of the way of light: below these, two are the same."""
_BEYOND: Final = {
    tier: (place, 0, 0, 0, 0, False) for place, tier in enumerate((Tier.IXP, Tier.REGIONAL, Tier.ISP))
}
"""The order of sites that do not announce the client: exchanges, then regional sites."""


Ways: TypeAlias = tuple[tuple[Route, ...], ...]
"""Of the sites that announce a prefix, best first; those of one tuple are equally near as far as routes can tell."""


def ways(routes: Iterable[Route]) -> Ways:
    """``routes``: to one prefix, one of each site."""
    ordered = sorted(routes, key=lambda route: (route.order, route.site))
    return tuple([tuple(group) for _, group in groupby(ordered, lambda route: route.order)])


def groups(reaches: Iterable[Reach]) -> tuple[tuple[Reach, ...], ...]:
    """Sites, best first; those of one tuple are equally near."""
    found: list[list[Reach]] = []
    last: tuple[int, Order] | None = None
    within = math.inf
    keyed = [
        (
            -reach.length,
            _BEYOND[reach.site.tier] if reach.route is None else reach.route.order,
            math.inf if reach.distance_km is None else reach.distance_km,
            reach.site.id,
            reach,
        )
        for reach in reaches
    ]
    for length, order, distance_km, _, reach in sorted(keyed):
        if last == (length, order) and distance_km <= within:
            found[-1].append(reach)
        else:
            last = (length, order)
            within = max(distance_km * _NEAR, distance_km + _NEAR_KM)
            found.append([reach])
    return tuple(map(tuple, found))
