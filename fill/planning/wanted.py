"""How much each object is wanted at a site, and what it is there: new, a favourite, or of the tail. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fill.planning.rules import Rules
from fill.planning.table import ObjectTable

_DAY_S: Final = 86_400
_LEVELS: Final = 60_000
_OCTAVES: Final = 60


class Rank(enum.IntEnum):
    """What an object is at a site; decides on how many appliances it shall be."""

    UNWANTED = 0  # nobody is expected to ask for it, or it may not lie there
    TAIL = 1  # asked for, and not by many
    FAVOURITE = 2  # among those that make up most of the demand
    TOP = 3  # among the most wanted of all
    RELEASE = 4  # came out a moment ago, or is about to


@dataclass(frozen=True, eq=False)
class Wanted:
    """Of each object of the table at one site."""

    demand: NDArray[np.float64]
    """Bytes a day that are expected to be asked for."""
    order: NDArray[np.int64]
    """Rows that are wanted, most wanted per byte first; startup objects are not among them."""
    rank: NDArray[np.uint8]
    level: NDArray[np.uint16]
    """How wanted per byte, on a scale of logarithms; 0 is not at all."""


def newest_first(table: ObjectTable) -> NDArray[np.float64]:
    """The demand to assume when none is known: every byte is as wanted as another, and the newest a little more."""
    order = np.lexsort((np.arange(len(table.titles)), -table.published_at))
    weight = np.empty(len(order))
    weight[order] = np.linspace(1.1, 1.0, len(order))
    found: NDArray[np.float64] = np.maximum(table.size, 1) * weight[table.title]
    return found


def wanted(
    table: ObjectTable,
    demand: NDArray[np.float64],
    licensed: NDArray[np.bool_],
    rules: Rules,
    now: float,
    copies_before: NDArray[np.float64] | None = None,
) -> Wanted:
    """How wanted everything is where the titles ``licensed`` may lie.

    ``copies_before`` is the share of the site's appliances that each object is planned on so far. What is held is
    taken for more wanted than it is, and the more so the more copies it has: something that is hardly better
    than what it replaces is not worth the transfer, and one that sits on the border between two ranks stays.
    """
    may = licensed[table.title] & ~table.startup
    density = np.where(may, demand / np.maximum(table.size, 1), 0.0)
    if copies_before is not None:
        held = copies_before > 0
        density = np.where(held, density * (1 + rules.hysteresis) ** (1 + copies_before), density)
    new = np.abs(table.published_at - now) <= rules.release_days * _DAY_S
    level = _levels(density)
    # 16-bit keys are sorted by counting, which takes a tenth of the time of comparing.
    order = np.argsort(~level, kind="stable")
    order = order[: int(np.count_nonzero(level))]
    rank = np.zeros(len(table), np.uint8)
    running = np.cumsum(demand[order])
    before = running - demand[order]
    total = float(demand[may].sum())
    rank[order] = Rank.TAIL
    rank[order[: _until(before, level[order], rules.favourite_demand * total)]] = Rank.FAVOURITE
    rank[order[: _until(before, level[order], rules.top_share * total)]] = Rank.TOP
    # A release is one by its date, which must have been set: to publish a catalog is not to release it.
    rank[may & (new & table.dated)[table.title] & (level > 0)] = Rank.RELEASE
    return Wanted(demand, order, rank, level)


def _until(before: NDArray[np.float64], level: NDArray[np.uint16], limit: float) -> int:
    """How many of the first make up ``limit``; those that are as wanted as the last of them go with it."""
    if limit <= 0 or not len(before):
        return 0
    count = int(np.searchsorted(before, limit, side="left"))
    if count == 0:
        return 0
    return int(np.searchsorted(-level.astype(np.int32), -int(level[count - 1]), side="right"))


def _levels(density: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Densities as 1 to 60,000, by logarithm over 60 octaves below the densest; 0 stays 0."""
    found = np.zeros(len(density), np.uint16)
    some = density > 0
    if some.any():
        octaves = np.log2(density[some])
        scaled = _LEVELS + (octaves - octaves.max()) * (_LEVELS / _OCTAVES)
        found[some] = np.clip(np.rint(scaled), 1, _LEVELS).astype(np.uint16)
    return found
