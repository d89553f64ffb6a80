"""Which appliances of a site hold each object, given how many shall. Pure.

Each title has an order of the appliances, and an object with so many copies is on as many of the first: so one
appliance holds all encodes of a title that are held anywhere, and a player that changes its encode stays where it is.

The order is a rendezvous: an appliance's score for a title is a hash of both, weighted. One that is added or
removed moves no title between the others. Capacity and throughput are two different ratios on flash and on
storage appliances, so the weight of a title is its appliance's price for bytes and for bits a second together:

    score = noise(appliance, title) + log weight - byte_price * bytes(title) - load_price * load(title)

with noise of a Gumbel distribution, where the highest score is the choice of weighted rendezvous hashing. Prices
rise on whoever is above its share and fall on whoever is below, until neither is; what is scarce on an appliance
is what it is spared. What was planned before stays where it is, and prices decide about the rest.

Source: weighted rendezvous, Schindelhauer and Schomaker (2005); the Gumbel form of it, Yellott (1977); prices,
the auction algorithm, Bertsekas (1979); the problem, Netflix, "Distributing Content to Open Connect".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from contracts.fleet import Appliance
from fill.planning.balance import Board, balance, loads_at
from fill.planning.table import ObjectTable

_ROUNDS: Final = 40
_SAMPLE: Final = 1000
_HEAD: Final = 300
_STAYS: Final = 1e6
"""Above any score: what is there already stays."""
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class Boxes:
    """The appliances of a site as arrays, in the order of the fleet file."""

    ids: tuple[str, ...]
    capacity: NDArray[np.float64]
    """Bytes that may be planned, headroom taken off."""
    throughput: NDArray[np.float64]

    @classmethod
    def of(cls, appliances: Sequence[Appliance], headroom: float) -> Boxes:
        capacity = np.array([box.capacity_bytes for box in appliances], np.float64)
        throughput = np.array([box.throughput_bps for box in appliances], np.float64)
        return cls(tuple(box.id for box in appliances), capacity * (1 - headroom), throughput)

    def __len__(self) -> int:
        return len(self.ids)


def spread(
    table: ObjectTable,
    count: NDArray[np.uint16],
    demand: NDArray[np.float64],
    boxes: Boxes,
    before: NDArray[np.float32] | None = None,
) -> NDArray[np.uint16]:
    """The position of each appliance in each title's order: a row per title, a column per appliance.

    ``before`` is the share of each title that each appliance is planned to hold so far.
    """
    size = len(boxes)
    positions = np.tile(np.arange(size, dtype=np.uint16), (len(table.titles), 1))
    held_room, asked = _by_copies(table, count, demand, size)
    matters = np.flatnonzero(held_room[:, 0] > held_room[:, size - 1])
    if size == 1 or not len(matters):
        return positions
    everywhere_room = float(held_room[:, size - 1].sum())
    room = held_room[matters] - held_room[matters, size - 1 :]
    # What is everywhere is asked for in proportion to throughput: that is even already.
    total = float(asked.sum())
    asked = asked[matters]
    asked[:, size - 1] = 0
    noise = _noise(table.title_hash[matters], boxes.ids)
    if before is not None:
        there = before[matters]
        noise += np.where(there > 0, np.float32(_STAYS) * (1 + there), 0)
    free = np.maximum(boxes.capacity - everywhere_room, 1.0)
    order = np.argsort(-_priced(noise, room, asked, free, boxes.throughput), axis=1)
    board = Board(order, room, asked, free, boxes.throughput, total)
    balance(board)
    positions[matters] = board.positions.astype(np.uint16)
    return positions


def _by_copies(
    table: ObjectTable, count: NDArray[np.uint16], demand: NDArray[np.float64], size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each title: the room taken at each position of its order, and what is asked for of its objects with
    one copy, with two, and so on.
    """
    room = np.zeros((len(table.titles), size))
    asked = np.zeros((len(table.titles), size))
    known = [int(number) for number in np.unique(count) if number > 0]
    start = 0
    for number in known:
        mask = count >= number
        room[:, start:number] = table.by_title(np.where(mask, table.room, 0).astype(np.float64))[:, None]
        asked[:, number - 1] = table.by_title(np.where(count == number, demand, 0.0))
        start = number
    return room, asked


def _noise(titles: NDArray[np.uint64], appliances: Sequence[str]) -> NDArray[np.float32]:
    """Gumbel noise of each pair: a hash of both, and so the same every night."""
    seeds = np.array([xxhash.xxh3_64_intdigest(name.encode()) for name in appliances], np.uint64)
    mixed = titles[:, None] ^ seeds[None, :]
    # The finaliser of splitmix64: every bit of the input reaches every bit of the output.
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9) + _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    uniform = ((mixed >> np.uint64(41)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-23)
    found: NDArray[np.float32] = -np.log(-np.log(uniform))
    return found


def _priced(
    noise: NDArray[np.float32],
    room: NDArray[np.float64],
    asked: NDArray[np.float64],
    free: NDArray[np.float64],
    throughput: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Scores under the prices at which neither bytes nor load are above anybody's share, or nearly so.

    Prices are found on a sample of the titles, spread over all that are wanted.
    """
    whole_room, whole_load = room.sum(axis=1), asked.sum(axis=1)
    target = throughput / throughput.sum() * float(whole_load.sum())
    by_room = np.sqrt(whole_room / max(float(whole_room.mean()), 1.0)).astype(np.float32)
    by_load = np.sqrt(whole_load / max(float(whole_load.mean()), 1e-30)).astype(np.float32)
    size = len(free)
    used = min(1.0, float(whole_room.sum()) / float(free.sum()))
    weights = used * np.log(free / free.sum()) + (1 - used) * np.log(target / target.sum())
    base = noise + weights.astype(np.float32)
    sample, stands_for = _sample(whole_load)
    sample_room, sample_asked = room[sample] * stands_for[:, None], asked[sample] * stands_for[:, None]
    prices = np.zeros((2, size), np.float32)
    for number in range(_ROUNDS):
        scores = _under(base[sample], by_room[sample], by_load[sample], prices)
        order = np.argsort(-scores, axis=1)
        rooms = np.bincount(order.ravel(), sample_room.ravel(), size)
        loads = np.bincount(order.ravel(), loads_at(order, sample_asked, throughput).ravel(), size)
        step = 1.5 * (1 - number / _ROUNDS)
        # Bytes are a must and load is a wish: what does not fit is not held at all.
        prices[0] = np.maximum(0.0, prices[0] + 2 * step * np.clip(rooms / free - 0.99, -1, 1))
        if number < _ROUNDS * 3 // 4:
            prices[1] += step * np.clip(loads / np.maximum(target, 1e-30) - 1, -1, 1)
            prices[1] -= prices[1].mean()
    return _under(base, by_room, by_load, prices)


def _under(
    base: NDArray[np.float32],
    by_room: NDArray[np.float32],
    by_load: NDArray[np.float32],
    prices: NDArray[np.float32],
) -> NDArray[np.float32]:
    found: NDArray[np.float32] = base - by_room[:, None] * prices[0] - by_load[:, None] * prices[1]
    return found


def _sample(load: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Every so many-th title by load, and the few with the most all; and how many each stands for."""
    order = np.argsort(-load)
    every = max(1, (len(order) - _HEAD) // _SAMPLE)
    rest = order[_HEAD::every]
    head = order[:_HEAD]
    return np.concatenate((head, rest)), np.concatenate(
        (np.ones(len(head)), np.full(len(rest), float(every)))
    )
