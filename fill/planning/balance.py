"""The last few titles: moved by hand until no appliance is overfull, or asked for much more than its share. Pure.

Prices bring a site near its shares; chance leaves some over. What is moved is as little as does it: the titles
whose move comes nearest to what is too much on one side and too little on the other.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_MOST_MOVES: Final = 120
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

    def swap(self, titles: NDArray[np.int64], one: int, other: int) -> None:
        """Exchanges the places of two appliances in the orders of these titles."""
        at, to = self.positions[titles, one], self.positions[titles, other]
        moved = float((self.room[titles, at] - self.room[titles, to]).sum())
        self.rooms[one] -= moved
        self.rooms[other] += moved
        order = self.order[titles]
        size = len(self.free)
        self.loads -= np.bincount(order.ravel(), self.load[titles].ravel(), size)
        rows = np.arange(len(titles))
        order[rows, at], order[rows, to] = other, one
        self.order[titles] = order
        self.positions[titles, one], self.positions[titles, other] = to, at
        self.load[titles] = loads_at(order, self._asked[titles], self._throughput)
        self.loads += np.bincount(order.ravel(), self.load[titles].ravel(), size)

    def moved(self, one: int, other: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The bytes and, nearly, the load that a swap of each title takes off ``one``."""
        base = np.arange(0, self.room.size, self.room.shape[1])
        at, to = base + self.positions[:, one], base + self.positions[:, other]
        ratio = self._throughput[one] / self._throughput[other]
        room, load = self.room.ravel(), self.load.ravel()
        return room.take(at) - room.take(to), load.take(at) - load.take(to) * ratio


def balance(board: Board) -> None:
    """Moves titles until bytes fit, as far as they can, and load is even, as far as bytes allow."""
    for _ in range(_MOST_MOVES):
        if not _make_room(board):
            break
    for _ in range(_MOST_MOVES):
        if not _even_out(board):
            break


def _make_room(board: Board) -> bool:
    """Moves titles off the fullest appliance; False when none is overfull, or no move helps."""
    over = board.rooms - board.free
    one, other = int(np.argmax(over)), int(np.argmin(over))
    if over[one] <= 0 or over[other] >= 0:
        return False
    room, load = board.moved(one, other)
    some = np.flatnonzero(room > 0)
    # The coldest: they leave the load as it is.
    some = some[np.argsort(load[some] / room[some])]
    running = np.cumsum(room[some])
    enough = int(np.searchsorted(running, over[one])) + 1
    some = some[: min(enough, int(np.searchsorted(running, -over[other], side="right")))]
    if not len(some):
        return False
    board.swap(some, one, other)
    return True


def _even_out(board: Board) -> bool:
    """Moves load from the busiest appliance to the idlest that can take it; False when nothing helps."""
    excess = (board.loads - board.target) / board.whole
    one = int(np.argmax(excess))
    if excess[one] <= _TOLERATED:
        return False
    for other in np.argsort(excess)[:3].tolist():
        room, load = board.moved(one, other)
        # Half of the difference makes both even; more than all of it would only swap their parts.
        gap = (excess[one] - excess[other]) * min(board.whole[one], board.whole[other])
        helps = np.flatnonzero((load > 0) & (load < 0.9 * gap))
        if not len(helps):
            continue
        slack = board.free[other] - board.rooms[other]
        # The hottest per byte, together half of the difference; or the one that comes nearest to that.
        helps = helps[np.argsort(-load[helps] / np.maximum(room[helps], 1.0))]
        fits = (np.cumsum(load[helps]) <= gap / 2) & (np.cumsum(room[helps]) <= slack)
        # Both sums ascend, but for what makes room: what fits stands at the beginning.
        count = len(fits) if fits.all() else int(np.argmin(fits))
        if count:
            enough = float(load[helps[:count]].sum()) >= gap / 4
            board.swap(helps[:count], one, other)
            if enough:
                return True
            room, load = board.moved(one, other)
            helps = np.flatnonzero((load > 0) & (load < 0.9 * gap))
            if not len(helps):
                return True
        title = helps[int(np.argmin(np.abs(load[helps] - gap / 2) + room[helps] * (gap / board.free[one])))]
        back = _in_return(board, one, other, float(room[title]), gap / 4)
        if back is None:
            if count:
                return True
            continue
        board.swap(np.array([title]), one, other)
        if back >= 0:
            board.swap(np.array([back]), other, one)
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
