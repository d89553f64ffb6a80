"""How starts are spread over appliances and sites that are equally near. Pure.

Inside a site: rendezvous hashing of the title with bounded loads. All starts of a title go to the same appliances in
the same order, so that it is in the memory of few; none takes more than `BOUND` of the mean share, and what
is above goes to the next in the title's order. One title that everybody starts at midnight so ends up on all.

Between sites that nothing else tells apart: the less loaded of the two that the session's hash names.

Source: Mirrokni, Thorup, Zadimoghaddam, Consistent Hashing with Bounded Loads (2018); Schindelhauer and
Schomaker, Weighted Distributed Hash Tables (2005), logarithmic method; Mitzenmacher, The Power of Two
Choices (2001).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol, TypeVar

from xxhash import xxh3_64_intdigest

from steering.snapshot import Box

FULL: Final = 0.95
"""Of its throughput: nothing new goes to an appliance above it. What is measured lags behind what flows."""
BOUND: Final = 1.1
SLACK: Final = 0.005
"""Of throughput, that an appliance may carry above the mean while the mean is small: no use in moving a title about
between appliances that have nothing to do."""
_WORTH_IT: Final = 0.01
"""Of throughput: two sites whose shares differ by less are equally loaded."""


class _Weighted(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def throughput_bps(self) -> int: ...


Item = TypeVar("Item", bound=_Weighted)


def distance(item: _Weighted, what: bytes) -> float:
    """Weighted rendezvous: the smallest wins, in proportion to throughput."""
    number = xxh3_64_intdigest(what, item.seed)
    return -math.log((number + 0.5) / 2**64) / item.throughput_bps


def seed_of(name: str) -> int:
    return xxh3_64_intdigest(name.encode())


def in_order(items: Sequence[Item], what: str) -> list[Item]:
    """By hash alone."""
    raw = what.encode()
    return [item for _, _, item in sorted([(distance(item, raw), item.id, item) for item in items])]


def bound_of(load_bps: float, throughput_bps: float) -> float:
    """The share that an appliance may carry where together they carry ``load_bps``.

    It closes in on the mean as they fill: an appliance that was left idle until all others are full would then
    get every start of a premiere at once.
    """
    mean = load_bps / throughput_bps
    return min(max(mean * BOUND, mean + SLACK), mean + (BOUND - 1) * max(0.0, 1 - mean))


def spread(title: str, bitrate_bps: float, boxes: Sequence[Box]) -> Iterator[Box]:
    """Those with room for ``bitrate_bps`` more, the first to be asked first; worked out as far as it is asked for."""
    if not boxes:
        return
    load = bitrate_bps + sum([box.load_bps for box in boxes])
    sizes = [box.throughput_bps for box in boxes]
    bound = bound_of(load, sum(sizes))
    over: list[tuple[float, str, Box]] = []
    for box in _by_title(title.encode(), boxes, alike=sizes.count(sizes[0]) == len(sizes)):
        share = (box.load_bps + bitrate_bps) / box.throughput_bps
        if share > FULL:
            continue
        if share > bound:
            over.append((share, box.id, box))
        else:
            yield box
    over.sort()
    for _, _, box in over:
        yield box


def _by_title(name: bytes, boxes: Sequence[Box], *, alike: bool) -> list[Box]:
    """In the order of their distances."""
    # Where all are of one size their hashes have that order, and cost a third.
    if alike:
        placed: list[tuple[float, str, Box]] = [
            (-xxh3_64_intdigest(name, box.seed), box.id, box) for box in boxes
        ]
    else:
        placed = [(distance(box, name), box.id, box) for box in boxes]
    placed.sort()
    return [item[2] for item in placed]


def two_choices(items: Sequence[Item], share: Callable[[Item], float], session: str) -> list[Item]:
    """Sites in the session's order, the less loaded of the first two in front; ``share`` is asked of those alone."""
    by_hash = in_order(items, session)
    if len(by_hash) > 1 and share(by_hash[1]) + _WORTH_IT < share(by_hash[0]):
        by_hash[0], by_hash[1] = by_hash[1], by_hash[0]
    return by_hash
