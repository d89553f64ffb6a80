"""How much a plan may change in one night: no more than the window carries, the most wanted first. Pure.

What cannot be fetched tonight is put off, and what would have made room for it stays: an appliance whose plan
names more than it can fetch would give up what it has for what it does not get. An appliance without a plan of
before has nothing to lose: its plan is whole, and is filled over as many nights as it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fill.planning.rules import Rules
from fill.planning.spread import Boxes
from fill.planning.table import ObjectTable

_URGENT: Final = 65_535
"""Above any level."""


@dataclass(frozen=True, eq=False)
class Before:
    """The plan that is in force, in terms of today's catalog and fleet."""

    rows: NDArray[np.int64]
    """Objects of today's table that the site holds so far, ascending."""
    holders: NDArray[np.bool_]
    """A column per appliance of today's fleet file; one that is new holds nothing."""
    objects: int
    """Rows of the table."""

    def copies(self) -> NDArray[np.float64]:
        """Of each object of the table: how many appliances hold it so far."""
        found = np.zeros(self.objects)
        found[self.rows] = self.holders.sum(axis=1)
        return found

    def title_shares(self, table: ObjectTable) -> NDArray[np.float32]:
        """Of each title: the share of its bytes that each appliance holds so far."""
        found = np.zeros((len(table.titles), self.holders.shape[1]), np.float32)
        title, first = np.unique(table.title[self.rows], return_index=True)
        if len(title):
            weighted = self.holders * table.room[self.rows, None].astype(np.float32)
            found[title] = np.add.reduceat(weighted, first, axis=0)
            found[title] /= np.maximum(found[title].max(axis=1, keepdims=True), 1)
        return found


@dataclass(frozen=True, eq=False)
class Change:
    """What a night brings, per appliance, in bytes."""

    added: NDArray[np.int64]
    removed: NDArray[np.int64]
    put_off: NDArray[np.int64]
    """Wanted, and left for a later night."""
    left_out: NDArray[np.int64]
    """Found no room in the end."""
    is_new: NDArray[np.bool_]
    """Has no plan of before."""


def settle(
    table: ObjectTable,
    rows: NDArray[np.int64],
    holders: NDArray[np.bool_],
    level: NDArray[np.uint16],
    urgent_titles: NDArray[np.bool_],
    licensed: NDArray[np.bool_],
    boxes: Boxes,
    rules: Rules,
    before: Before | None,
) -> tuple[NDArray[np.int64], NDArray[np.bool_], Change]:
    """The plan as far as there is room and a night: its rows, their holders, and what changes."""
    size = len(boxes)
    is_new = np.ones(size, np.bool_)
    if before is not None:
        is_new[:] = ~before.holders.any(axis=0)
    put_off = np.zeros(size, np.int64)
    left_out = np.zeros(size, np.int64)
    old = np.zeros(holders.shape, np.bool_, order="F")
    if before is not None:
        may_stay = licensed[table.title[before.rows]]
        union = np.union1d(rows, before.rows[may_stay])
        holders = _onto(union, rows, holders)
        old = _onto(union, before.rows[may_stay], before.holders[may_stay])
        rows = union
    room = table.room[rows].astype(np.float64)
    first = np.where(urgent_titles[table.title[rows]], _URGENT, level[rows]).astype(np.uint16)
    for box in range(size):
        column = holders[:, box]
        if before is not None and not is_new[box]:
            put_off[box] = _put_off(column, old[:, box], room, first, rules.night_bytes, boxes.capacity[box])
        left_out[box] = _drop_coldest(column, old[:, box], room, first, boxes.capacity[box])
    size_bytes = table.size[rows]
    had = stayed = np.zeros(size, np.int64)
    if before is not None:
        had = bytes_of_each(before.holders, table.size[before.rows])
        stayed = bytes_of_each(holders & old, size_bytes)
    added = bytes_of_each(holders, size_bytes) - stayed
    change = Change(added, had - stayed, put_off, left_out, is_new)
    held = holders.any(axis=1)
    return rows[held], holders[held], change


def bytes_of_each(holders: NDArray[np.bool_], size: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bytes that each appliance holds."""
    # As floating point, in which sums of whole numbers are exact up to 9 PB.
    exact = size.astype(np.float64)
    return np.array([sum_where(exact, holders[:, box]) for box in range(holders.shape[1])]).astype(np.int64)


def sum_where(values: NDArray[np.float64], column: NDArray[np.bool_]) -> float:
    """The sum of ``values`` where ``column`` is true: ten times as fast as picking them out or multiplying."""
    return float(np.where(column, values, 0.0).sum())


def _put_off(
    column: NDArray[np.bool_],
    old: NDArray[np.bool_],
    room: NDArray[np.float64],
    first: NDArray[np.uint16],
    night_bytes: int,
    capacity: float,
) -> int:
    """Takes out of ``column`` what does not go into one night, and keeps what is there meanwhile; its bytes."""
    added = np.flatnonzero(column & ~old)
    if float(room[added].sum()) <= night_bytes:
        return 0
    added = added[np.argsort(~first[added], kind="stable")]
    late = added[np.cumsum(room[added]) > night_bytes]
    column[late] = False
    free = capacity - sum_where(room, column)
    leaving = np.flatnonzero(old & ~column)
    leaving = leaving[np.argsort(~first[leaving], kind="stable")]
    column[leaving[np.cumsum(room[leaving]) <= free]] = True
    return int(room[late].sum())


def _drop_coldest(
    column: NDArray[np.bool_],
    old: NDArray[np.bool_],
    room: NDArray[np.float64],
    first: NDArray[np.uint16],
    capacity: float,
) -> int:
    """Takes the least wanted out of ``column`` until it fits; its bytes. What is new goes before what is there."""
    excess = sum_where(room, column) - capacity
    if excess <= 0:
        return 0
    held = np.concatenate((np.flatnonzero(column & ~old), np.flatnonzero(column & old)))
    held = held[np.argsort(first[held], kind="stable")]
    gone = held[: int(np.searchsorted(np.cumsum(room[held]), excess, side="left")) + 1]
    column[gone] = False
    return int(room[gone].sum())


def _onto(rows: NDArray[np.int64], some: NDArray[np.int64], holders: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """``holders`` of ``some`` rows as rows among ``rows``."""
    found = np.zeros((len(rows), holders.shape[1]), np.bool_, order="F")
    found[np.searchsorted(rows, some)] = holders
    return found
