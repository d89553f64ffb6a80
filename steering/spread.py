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
from typing import Final

from xxhash import xxh3_64_intdigest

from steering.snapshot import SiteView

FULL: Final = 0.95
"""Of its throughput: nothing new goes to an appliance above it. What is measured lags behind what flows."""
BOUND: Final = 1.1
SLACK: Final = 0.005
"""Of throughput, that an appliance may carry above the mean while the mean is small: no use in moving a title about
between appliances that have nothing to do."""
_WORTH_IT: Final = 0.01
"""Of throughput: two sites whose shares differ by less are equally loaded."""


def distance(throughput_bps: float, seed: int, what: bytes) -> float:
    """Weighted rendezvous: the smallest wins, in proportion to throughput."""
    number = xxh3_64_intdigest(what, seed)
    return -math.log((number + 0.5) / 2**64) / throughput_bps


def seed_of(name: str) -> int:
    return xxh3_64_intdigest(name.encode())


def in_order(what: str, sizes: Sequence[int], seeds: Sequence[int]) -> list[int]:
    """Places of what is of these sizes and seeds, by distance."""
    raw = what.encode()
    # Where all are of one size their hashes have that order, and cost a third.
    if sizes.count(sizes[0]) == len(sizes):
        near: list[float] = [xxh3_64_intdigest(raw, seed) for seed in seeds]
    else:
        near = [-distance(size, seed, raw) for size, seed in zip(sizes, seeds, strict=True)]
    return sorted(range(len(near)), key=near.__getitem__, reverse=True)


def bound_of(load_bps: float, throughput_bps: float) -> float:
    """The share that an appliance may carry where together they carry ``load_bps``.

    It closes in on the mean as they fill: an appliance that was left idle until all others are full would then
    get every start of a premiere at once.
    """
    mean = load_bps / throughput_bps
    return min(max(mean * BOUND, mean + SLACK), mean + (BOUND - 1) * max(0.0, 1 - mean))


def spread(title: str, bitrate_bps: float, site: SiteView, places: Sequence[int]) -> Iterator[int]:
    """Those of ``places`` with room for ``bitrate_bps`` more, the first to be asked first; worked out as far as it is
    asked for.
    """
    if not places:
        return
    loads = [site.loads[place] for place in places]
    sizes = [site.sizes[place] for place in places]
    bound = bound_of(bitrate_bps + sum(loads), sum(sizes))
    over: list[tuple[float, int]] = []
    for at in in_order(title, sizes, [site.seeds[place] for place in places]):
        share = (loads[at] + bitrate_bps) / sizes[at]
        if share > FULL:
            continue
        if share > bound:
            over.append((share, places[at]))
        else:
            yield places[at]
    over.sort()
    for _, place in over:
        yield place


def two_choices(
    sites: Sequence[SiteView], share: Callable[[SiteView], float], session: str
) -> list[SiteView]:
    """Sites in the session's order, the less loaded of the first two in front; ``share`` is asked of those alone."""
    places = in_order(session, [site.throughput_bps for site in sites], [site.seed for site in sites])
    by_hash = [sites[place] for place in places]
    if len(by_hash) > 1 and share(by_hash[1]) + _WORTH_IT < share(by_hash[0]):
        by_hash[0], by_hash[1] = by_hash[1], by_hash[0]
    return by_hash
