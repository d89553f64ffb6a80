"""The last few titles: moved by hand until no appliance is overfull, or asked for much more than its share. Pure.

Prices bring a site near its shares; chance leaves some over. What is moved is as little as does it: the titles
whose move comes nearest to what is too much on one side and too little on the other.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_MOST_MOVES: Final = 120
_IDLEST: Final = 3
_LEAST_GAIN: Final = 0.05
"""Of what would make two appliances even: less is not worth a move."""
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
    """Moves load from the busiest appliance to one of the idlest; False when nothing helps."""
    excess = (board.loads - board.target) / board.whole
    one = int(np.argmax(excess))
    if excess[one] <= _TOLERATED:
        return False
    for other in np.argsort(excess)[:_IDLEST].tolist():
        # Half of the difference makes both even.
        half = (excess[one] - excess[other]) * min(board.whole[one], board.whole[other]) / 2
        if half > 0 and _exchange(board, one, other, half):
            return True
    return False


def _exchange(board: Board, one: int, other: int, half: float) -> bool:
    """Moves about ``half`` of load from ``one`` to ``other``, and as many bytes back as there is no room for.

    One title goes, or the hottest per byte together, whichever comes nearer to ``half``; the coldest come. False
    when neither gains anything that is worth its bytes.
    """
    room, load = board.moved(one, other)
    hot = np.flatnonzero((load > 0) & (load < 2 * half))
    hot = hot[np.argsort(-load[hot] / np.maximum(room[hot], 1.0))]
    theirs, back = board.moved(other, one)
    cold = np.flatnonzero((theirs > 0) & (back >= 0))
    cold = cold[np.argsort(back[cold] / theirs[cold])]
    coming = np.concatenate(([0.0], np.cumsum(theirs[cold])))
    brought = np.concatenate(([0.0], np.cumsum(back[cold])))

    def worth(going: NDArray[np.float64], leaving: NDArray[np.float64]) -> tuple[int, float, int]:
        """The best of these: which, by how much it comes nearer to even, and how many cold titles it takes."""
        lacking = going - (board.free[other] - board.rooms[other])
        count = np.searchsorted(coming, lacking, side="left")
        may = count < len(coming)
        count = np.where(may, count, 0)
        gained = leaving - brought[count]
        # Not worth it: what is more of an appliance's bytes than it is of its load.
        may &= going / board.free[one] <= gained / board.whole[one]
        may &= coming[count] - going <= board.free[one] - board.rooms[one]
        nearer = np.where(may, half - np.abs(half - gained), 0.0)
        best = int(np.argmax(nearer))
        return best, float(nearer[best]), int(count[best])

    if not len(hot):
        return False
    alone, gain_alone, for_one = worth(room[hot], load[hot])
    last, gain_together, for_all = worth(np.cumsum(room[hot]), np.cumsum(load[hot]))
    if max(gain_alone, gain_together) <= half * _LEAST_GAIN:
        return False
    together = gain_together >= gain_alone
    board.swap(hot[: last + 1] if together else hot[alone : alone + 1], one, other)
    board.swap(cold[: for_all if together else for_one], other, one)
    return True
