"""A trace through a policy, with so many bytes to keep things in: what part of the requests and bytes hit.

The peers are libcachesim's, in C, with their default parameters; byte sizes count in all of them. Sizes are
given in units, because W-TinyLFU's filter there is as large as the cache in units: with bytes it would need
terabytes. All policies get the same units, ours as well, rounded up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import libcachesim
import numpy as np

from bench.demand.traces import Trace
from oca.store.demand import Demand

OURS: Final = "ours"
BASE: Final = ("LRU", "S3-FIFO", "SIEVE", "W-TinyLFU")
"""The best of these is what ours is measured by."""
_PEERS: Final[dict[str, Any]] = {
    "LRU": libcachesim.LRU,
    "S3-FIFO": libcachesim.S3FIFO,
    "SIEVE": libcachesim.Sieve,
    "W-TinyLFU": libcachesim.WTinyLFU,
    "ARC": libcachesim.ARC,
    "LHD": libcachesim.LHD,
    "GDSF": libcachesim.GDSF,
    "Cacheus": libcachesim.Cacheus,
}
FURTHER: Final = tuple(name for name in _PEERS if name not in BASE)
_UNITS_BITS: Final = 24
"""All objects of a trace together have at most so many units, in bits."""


@dataclass(frozen=True)
class Ratio:
    requests: float
    bytes: float


class Stream:
    """A trace as policies take it."""

    def __init__(self, trace: Trace) -> None:
        unit_bytes = max(1, trace.unique_bytes >> _UNITS_BITS)
        sizes = -(-trace.sizes // unit_bytes)
        self.name = trace.name
        self.keys: list[int] = trace.keys.tolist()
        self.sizes: list[int] = sizes.tolist()
        self.total = sum(self.sizes)
        self.unique = int(sizes[np.unique(trace.keys, return_index=True)[1]].sum())
        self._names = [f"tt{key:07d}/1080p/video.mp4" for key in range(max(self.keys) + 1)]

    def ours(self, capacity: int) -> Ratio:
        cache = Ours(capacity)
        names = self._names
        return self._ratio(
            cache.ask(names[key], size) for key, size in zip(self.keys, self.sizes, strict=True)
        )

    def peer(self, name: str, capacity: int) -> Ratio:
        cache = _PEERS[name](capacity)
        request = libcachesim.Request
        # Its object 0 is nobody.
        return self._ratio(
            cache.get(request(obj_id=key + 1, obj_size=size, clock_time=at))
            for at, (key, size) in enumerate(zip(self.keys, self.sizes, strict=True))
        )

    def _ratio(self, answers: Iterable[bool]) -> Ratio:
        hits = hit_bytes = 0
        for hit, size in zip(answers, self.sizes, strict=True):
            if hit:
                hits += 1
                hit_bytes += size
        return Ratio(hits / len(self.keys), hit_bytes / self.total)


class Object:
    __slots__ = ("after", "before", "disk_bytes", "heard", "key", "queue")

    def __init__(self, key: str, disk_bytes: int) -> None:
        self.key, self.disk_bytes = key, disk_bytes
        self.before: Any = None
        self.after: Any = None
        self.heard = self.queue = 0


class Ours:
    """As the store uses `Demand`: room is made before an object comes, and each touch is a batch of its own."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: dict[str, Object] = {}
        self.demand = Demand[Object]()

    def ask(self, key: str, size: int) -> bool:
        item = self._held.get(key)
        if item is not None:
            self.demand.touch((item,))
            return True
        if size <= self._capacity:
            victims = self.demand.victims(self.demand.bytes + size - self._capacity)
            assert victims is not None
            for victim in victims:
                self.demand.remove(victim)
                del self._held[victim.key]
            item = self._held[key] = Object(key, size)
            self.demand.add(item)
        return False


def runner(stream: Stream, policy: str) -> Callable[[int], Ratio]:
    if policy == OURS:
        return stream.ours
    return lambda capacity: stream.peer(policy, capacity)
