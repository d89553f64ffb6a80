"""How many appliances of a site shall hold each object. Pure.

A site's storage is given away in four rounds, each from the most wanted per byte to the least:

    1 releases and the top of the demand, on as many appliances as the rules say: they must never be missed,
      and any appliance may fail; what these further copies take from the rest is bounded
    2 everything else once, or as often as keeps any appliance from being asked for more than its share
    3 with what room is left, favourites and tail on as many appliances as the rules say

An exchange stops where it holds its share of the demand, and then uses its room for further copies: nobody counts
on an appliance there being empty, and all ISPs behind it count on it being up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.fleet import Tier
from fill.planning.rules import Rules
from fill.planning.table import ObjectTable
from fill.planning.wanted import Rank, Wanted

_PASSES: Final = 4
_ELBOW_ROOM: Final = 0.005
"""Of a site's storage: left free, since titles do not come in sizes that fill an appliance to the brim."""


@dataclass(frozen=True, eq=False)
class Copies:
    """Of each object of the table: on how many appliances; and which round gave it its last copy."""

    count: NDArray[np.uint16]
    shared: NDArray[np.bool_]
    """Has more than one copy since one appliance alone would be asked for too much."""


def count_copies(
    table: ObjectTable, wanted: Wanted, tier: Tier, capacity: NDArray[np.float64], rules: Rules
) -> Copies:
    """The copies of each object at a site whose appliances have these capacities in bytes."""
    appliances, capacity_bytes = len(capacity), float(capacity.sum()) * (1 - _ELBOW_ROOM)
    order = wanted.order
    if tier is not Tier.ISP:
        order = order[: _enough(wanted, rules.exchange_share)]
    cost = _cost(table, order)
    rank = wanted.rank[order]
    goal = _limited(_goal(rank, tier, appliances, rules), cost, capacity)
    needed, shared = _needed(wanted, order, appliances, rules)
    count = np.zeros(len(order), np.int64)

    # Releases before the top: their demand is a guess, and they must not wait for it to prove right.
    first = np.flatnonzero((rank >= Rank.TOP) & (tier is Tier.ISP))
    first = first[np.argsort(rank[first] != Rank.RELEASE, kind="stable")]
    extra = np.cumsum((goal[first] - 1) * cost[first]) <= rules.replica_space * capacity_bytes
    wished = np.where(extra, goal[first], np.where(rank[first] == Rank.RELEASE, 1, 0))
    granted = np.cumsum(wished * cost[first]) <= capacity_bytes
    count[first[granted]] = wished[granted]
    room = capacity_bytes - float((count * cost).sum())

    once = np.where(count == 0, needed * cost, 0.0)
    count = np.where((count == 0) & _fitting(once, room), needed, count)
    room = capacity_bytes - float((count * cost).sum())

    more = np.where(count > 0, np.maximum(goal - count, 0) * cost, 0.0)
    count = np.where((count > 0) & (np.cumsum(more) <= room), np.maximum(goal, count), count)
    count = _limited(count, cost, capacity)

    of_all = np.zeros(len(table), np.uint16)
    of_all[order] = count
    is_shared = np.zeros(len(table), np.bool_)
    is_shared[order] = shared & (count > 1)
    return Copies(_with_startup(table, of_all), is_shared)


def _fitting(cost: NDArray[np.float64], room: float) -> NDArray[np.bool_]:
    """Which of these, in their order, go into the room: one that is too large leaves its place to smaller ones."""
    found = np.zeros(len(cost), np.bool_)
    pending = np.ones(len(cost), np.bool_)
    for _ in range(_PASSES):
        pending &= cost <= room
        taken = pending & (np.cumsum(np.where(pending, cost, 0.0)) <= room)
        if not taken.any():
            break
        found |= taken
        pending &= ~taken
        room -= float(cost[taken].sum())
    return found


def _goal(rank: NDArray[np.uint8], tier: Tier, appliances: int, rules: Rules) -> NDArray[np.int64]:
    """On how many appliances each shall be if there is room."""
    if tier is not Tier.ISP:
        return np.full(len(rank), appliances, np.int64)
    shares = np.zeros(len(Rank))
    shares[Rank.TAIL] = rules.tail_share
    shares[Rank.FAVOURITE] = rules.favourite_share
    shares[Rank.TOP] = 1.0
    shares[Rank.RELEASE] = rules.release_share
    # A millionth off: 0.2 of 5 is 1, whatever floating point makes of it.
    found: NDArray[np.int64] = np.maximum(1, np.ceil(shares[rank] * appliances - 1e-6)).astype(np.int64)
    return found


def _limited(
    count: NDArray[np.int64], cost: NDArray[np.float64], capacity: NDArray[np.float64]
) -> NDArray[np.int64]:
    """``count``, less where the small appliances of the site cannot take their part.

    An object has at most one copy on an appliance: with k copies on n appliances, any m of them hold k - (n - m)
    at least, and the smallest m must have room for that. Most wanted first; the others have fewer copies, one at
    least. It need be looked at only where capacities change: between, both sides grow in proportion or slower.
    Source: the condition of Gale (1957) on flows, for one-sided demands.
    """
    smallest = np.sort(capacity)
    sums = np.cumsum(smallest)
    for m in np.flatnonzero(np.diff(smallest)) + 1:
        least = len(capacity) - m
        beyond = np.maximum(count - least, 0) * cost
        count = np.where(np.cumsum(beyond) > sums[m - 1], np.minimum(count, least), count)
    return count


def _needed(
    wanted: Wanted, order: NDArray[np.int64], appliances: int, rules: Rules
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The fewest copies with which no appliance is asked for more than its share of one object."""
    total = float(wanted.demand.sum()) or 1.0
    parts = wanted.demand[order] / total * appliances / rules.server_share
    needed = np.clip(np.ceil(parts), 1, appliances).astype(np.int64)
    return needed, needed > 1


def _enough(wanted: Wanted, share: float) -> int:
    """How many of the most wanted make up ``share`` of the demand; those as wanted as the last go with it."""
    demand = wanted.demand[wanted.order]
    running = np.cumsum(demand)
    if not len(running) or share >= 1:
        return len(running)
    count = min(int(np.searchsorted(running, share * running[-1], side="left")) + 1, len(running))
    level = wanted.level[wanted.order].astype(np.int32)
    return int(np.searchsorted(-level, -level[count - 1], side="right"))


def _cost(table: ObjectTable, order: NDArray[np.int64]) -> NDArray[np.float64]:
    """Room of each; that of a title's startup objects is put on its most wanted encode, which they go with."""
    cost = table.room[order].astype(np.float64)
    titles = table.title[order]
    seen = np.full(len(table.titles), -1, np.int64)
    seen[titles[::-1]] = np.arange(len(order))[::-1]  # the first in the order is written last
    some = seen >= 0
    cost[seen[some]] += table.startup_room[some]
    return cost


def _with_startup(table: ObjectTable, count: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """What a title needs to start is wherever any of it is."""
    if not len(count):
        return count
    most = np.maximum.reduceat(count, table.starts[:-1])
    return np.where(table.startup, most[table.title], count)
