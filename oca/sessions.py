"""How many different viewers there were, from a bounded number of their hashes.

A set of hashes spread evenly over 64 bits tells its own size: where the k smallest of them end. Up to
`KEPT` the count is exact; beyond, it is off by 13 % (one standard deviation, 1/sqrt(k-2)). Two sets
are joined without loss, which is what workers and storekeeper do each second.

Source: Bar-Yossef et al., Counting Distinct Elements in a Data Stream, 2002 (bottom-k sketch).
"""

from __future__ import annotations

from collections.abc import Collection
from heapq import nsmallest
from typing import Final

import xxhash

KEPT: Final = 64
_SPACE: Final = 1 << 63
"""Hashes of 63 bits: msgpack's and everybody's integers hold them."""


def session_id(name: str) -> int:
    """The hash that stands for a session's name. Not a secret: it hides a name, it does not protect it."""
    return xxhash.xxh3_64_intdigest(name.encode()) >> 1


def keep_smallest(sessions: set[int]) -> None:
    """Forgets all but the `KEPT` smallest."""
    if len(sessions) > KEPT:
        kept = nsmallest(KEPT, sessions)
        sessions.clear()
        sessions.update(kept)


def estimate(sessions: Collection[int]) -> int:
    """How many there were, from what `keep_smallest` left."""
    if len(sessions) < KEPT:
        return len(sessions)
    largest = max(nsmallest(KEPT, sessions))
    return round((KEPT - 1) * _SPACE / (largest + 1))
