"""The last few titles: moved by hand until no appliance is overfull, or asked for much more than its share. Pure.

Prices bring a site near its shares; chance leaves some over. What is moved is as little as does it: the titles
whose move comes nearest to what is too much on one side and too little on the other.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_MOST_MOVES: Final = 200
_TOLERATED: Final = 0.04
"""Of an appliance's share of the load: below, nothing is moved."""


def loads_at(
    order: NDArray[np.int64], asked: NDArray[np.float64], throughput: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What is asked of whoever stands at each position of each title's order.

    ``asked`` is what is asked for of a title's objects with one copy, with two, and so on. Steering spreads the
    viewers of an object over its holders in proportion to their throughput.
    """
    mine = throughput[order]
    per_bps = asked / np.cumsum(mine, axis=1)
    found: NDArray[np.float64] = np.cumsum(per_bps[:, ::-1], axis=1)[:, ::-1] * mine
    return found


class Board:
    """Who stands where, and what that means in bytes and load; rows are titles, columns appliances."""

    def __init__(
        self,
        order: NDArray[np.int64],
        room: NDArray[np.float64],
        asked: NDArray[np.float64],
        free: NDArray[np.float64],
        throughput: NDArray[np.float64],
        total: float,
    ) -> None:
        """``order`` has the appliances of each title, ``room`` what each position of it takes, ``free`` the bytes
        of each appliance; ``total`` is what is asked of the site in all.
        """
        self.order = order
        self.room = room
        self.free = free
        self.positions = np.empty_like(order)
        np.put_along_axis(self.positions, order, np.arange(order.shape[1])[None, :], axis=1)
        self._asked = asked
        self._throughput = throughput
        self.load = loads_at(order, asked, throughput)
        self.rooms = np.bincount(order.ravel(), room.ravel(), len(free))
        self.loads = np.bincount(order.ravel(), self.load.ravel(), len(free))
        share = throughput / throughput.sum()
        self.target = share * float(asked.sum())
        self.whole = share * max(total, 1e-30)
        """Of each appliance: its share of all that is asked of the site."""

    def swap(self, title: int, one: int, other: int) -> None:
        """Exchanges the places of two appliances in a title's order."""
        at, to = int(self.positions[title, one]), int(self.positions[title, other])
        row = self.order[title]
        difference = self.room[title, at] - self.room[title, to]
        self.rooms[one] -= difference
        self.rooms[other] += difference
        np.subtract.at(self.loads, row, self.load[title])
        row[at], row[to] = other, one
        self.positions[title, one], self.positions[title, other] = to, at
        self.load[title] = loads_at(row[None, :], self._asked[title][None, :], self._throughput)[0]
        np.add.at(self.loads, row, self.load[title])

    def moved(self, one: int, other: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The bytes and, nearly, the load that a swap of each title takes off ``one``."""
        rows = np.arange(len(self.positions))
        at, to = self.positions[:, one], self.positions[:, other]
        ratio = self._throughput[one] / self._throughput[other]
        return (
            self.room[rows, at] - self.room[rows, to],
            self.load[rows, at] - self.load[rows, to] * ratio,
        )


def balance(board: Board) -> None:
    """Moves titles until bytes fit, as far as they can, and load is even, as far as bytes allow."""
    for _ in range(_MOST_MOVES):
        if not _make_room(board):
            break
    for _ in range(_MOST_MOVES):
        if not _even_out(board):
            break


def _make_room(board: Board) -> bool:
    """Moves one title off the fullest appliance; False when none is overfull, or no move helps."""
    over = board.rooms - board.free
    one, other = int(np.argmax(over)), int(np.argmin(over))
    if over[one] <= 0 or over[other] >= 0:
        return False
    room, load = board.moved(one, other)
    wanted = min(float(over[one]), float(-over[other]))
    fits = (room > 0) & (room <= -over[other])
    if not fits.any():
        return False
    # The coldest that is large enough: it leaves the load as it is.
    distance = np.abs(room - wanted) / wanted + np.abs(load) / board.whole[one] * 20
    board.swap(int(np.argmin(np.where(fits, distance, np.inf))), one, other)
    return True


def _even_out(board: Board) -> bool:
    """Moves load from the busiest appliance to the idlest that can take it; False when nothing helps."""
    excess = (board.loads - board.target) / board.whole
    one = int(np.argmax(excess))
    if excess[one] <= _TOLERATED:
        return False
    for other in np.argsort(excess)[:3]:
        room, load = board.moved(one, int(other))
        # Half of the difference makes both even; more than all of it would only swap their parts.
        gap = (excess[one] - excess[other]) * min(board.whole[one], board.whole[other])
        helps = (load > 0) & (load < 0.9 * gap)
        if not helps.any():
            continue
        title = int(
            np.argmin(np.where(helps, np.abs(load - gap / 2) + room * (gap / board.free[one]), np.inf))
        )
        back = _in_return(board, one, int(other), float(room[title]), gap / 4)
        if back is None:
            continue
        board.swap(title, one, int(other))
        if back >= 0:
            board.swap(back, int(other), one)
        return True
    return False


def _in_return(board: Board, one: int, other: int, room: float, load_limit: float) -> int | None:
    """A cold title for ``other`` to give for one that takes ``room``; -1 when it has room anyway, None for none."""
    lacking = room - (board.free[other] - board.rooms[other])
    if lacking <= 0:
        return -1
    most = room + board.free[one] - board.rooms[one]
    theirs, load = board.moved(other, one)
    fits = (theirs >= lacking) & (theirs <= most) & (load < load_limit)
    if not fits.any():
        return None
    return int(np.argmin(np.where(fits, load, np.inf)))
