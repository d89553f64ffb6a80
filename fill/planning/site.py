"""What each appliance of one site shall hold. Pure: the same catalog, demand and plan of before give the same.

`wanted` says how much, `copies` how often, `spread` where; `churn` then keeps the change within what one night
carries. What comes out is a matrix: a row per object that the site holds, a column per appliance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.fleet import Site, Tier
from contracts.placement import Reason
from fill.planning.churn import Before, Change, bytes_of_each, settle, sum_where
from fill.planning.copies import Copies, count_copies
from fill.planning.rules import Rules
from fill.planning.spread import Boxes, spread
from fill.planning.steered import evened
from fill.planning.table import ObjectTable
from fill.planning.wanted import Rank, Wanted, wanted


@dataclass(frozen=True, eq=False)
class Placed:
    """The plan of one site."""

    site: Site
    rows: NDArray[np.int64]
    """Objects of the table that are held anywhere at the site, ascending."""
    holders: NDArray[np.bool_]
    """Of each of those: which appliances."""
    reason: NDArray[np.uint8]
    """Of each of those: a `Reason`."""
    level: NDArray[np.uint16]
    """Of each of those: how wanted it is; the higher goes first."""
    urgent: NDArray[np.bool_]
    wanted: Wanted
    licensed: NDArray[np.bool_]
    """Of each title."""
    change: Change

    def held_bytes(self, table: ObjectTable) -> NDArray[np.int64]:
        """Bytes that each appliance shall hold."""
        return bytes_of_each(self.holders, table.size[self.rows])

    def hit_share(self) -> float:
        """The share of the expected demand that is held at the site."""
        total = float(self.wanted.demand.sum())
        return float(self.wanted.demand[self.rows].sum()) / total if total else 1.0

    def load_shares(self) -> NDArray[np.float64]:
        """Of the demand that the site holds: each appliance's part over its share by throughput; 1 is even.

        Steering spreads an object's viewers over its holders in proportion to their throughput.
        """
        throughput = self._throughput()
        demand = self.wanted.demand[self.rows]
        together = np.zeros(len(self.rows))
        for box, bps in enumerate(throughput):
            together += np.where(self.holders[:, box], bps, 0.0)
        per_bps = demand / np.maximum(together, 1e-30)
        loads = np.array(
            [bps * sum_where(per_bps, self.holders[:, box]) for box, bps in enumerate(throughput)]
        )
        found: NDArray[np.float64] = loads / max(float(demand.sum()), 1e-30) / (throughput / throughput.sum())
        return found

    def steered_shares(self) -> NDArray[np.float64]:
        """The same once steering has evened it out, as far as copies allow."""
        return evened(self.wanted.demand[self.rows], self.holders, self._throughput())

    def _throughput(self) -> NDArray[np.float64]:
        return np.array([box.throughput_bps for box in self.site.appliances], np.float64)


def plan_site(
    table: ObjectTable,
    site: Site,
    demand: NDArray[np.float64],
    rules: Rules,
    now: float,
    before: Before | None = None,
) -> Placed:
    """The plan of ``site`` for a day on which ``demand`` bytes of each object are expected to be asked for."""
    licensed = table.licensed(site.country)
    boxes = Boxes.of(site.appliances, rules.headroom)
    copies_before = before.copies() / len(boxes) if before is not None else None
    want = wanted(table, demand, licensed, rules, now, copies_before)
    copies = count_copies(table, want, site.tier, boxes.capacity, rules)
    shares = before.title_shares(table) if before is not None else None
    positions = spread(table, copies.count, want.demand, boxes, shares)
    level = _levels_with_startup(table, want)
    rows = np.flatnonzero(copies.count)
    # A column at a time is how it is read from here on: each is made to lie together in memory.
    holders = (positions.T[:, table.title[rows]] < copies.count[rows]).T
    urgent_titles = table.dated & (np.abs(table.published_at - now) <= _URGENT_S)
    rows, holders, change = settle(table, rows, holders, level, urgent_titles, licensed, boxes, rules, before)
    reason = _reasons(table, site.tier, rows, want, copies)
    return Placed(
        site,
        rows,
        holders,
        reason,
        level[rows],
        urgent_titles[table.title[rows]],
        want,
        licensed,
        change,
    )


_URGENT_S = 86_400


def _levels_with_startup(table: ObjectTable, want: Wanted) -> NDArray[np.uint16]:
    """As wanted as the most wanted encode of its title, and a little more: what a title needs to start."""
    if not len(table):
        return want.level
    most = np.maximum.reduceat(want.level, table.starts[:-1])
    return np.where(table.startup, np.where(most > 0, most + 1, 0)[table.title], want.level).astype(np.uint16)


def _reasons(
    table: ObjectTable, tier: Tier, rows: NDArray[np.int64], want: Wanted, copies: Copies
) -> NDArray[np.uint8]:
    """Why each of ``rows`` is held at all."""
    by_rank = np.zeros(len(Rank), np.uint8)
    by_rank[Rank.UNWANTED] = Reason.KEPT
    by_rank[Rank.TAIL] = Reason.TAIL
    by_rank[Rank.FAVOURITE] = Reason.FAVOURITE
    by_rank[Rank.TOP] = Reason.TOP
    by_rank[Rank.RELEASE] = Reason.RELEASE
    found = by_rank[want.rank[rows]]
    if tier is not Tier.ISP:
        found[:] = Reason.EXCHANGE
    found[copies.shared[rows] & (want.rank[rows] < Rank.TOP)] = Reason.SHARED
    found[table.startup[rows]] = Reason.STARTUP
    found[copies.count[rows] == 0] = Reason.KEPT
    return found
