"""Where answers came from, and why those that missed did: counted from what workers report. Pure.

A worker knows that it missed; why, only the storekeeper knows, and only when the object is begun: whether it is in
the plan, and what became of it if it was here before. So that is noted then, and every answer that missed counts
under it.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from xxhash import xxh3_64_intdigest

from oca import ipc
from oca.status import ServedCount
from oca.tier import Tier

_REMEMBERED: Final = 200_000
"""Objects that were here once, and objects that are on their way: about 20 MiB each at most."""


class Cause(enum.Enum):
    """Why an object was not here when it was asked for."""

    NOT_PLANNED = "not_planned"  # no plan wants it here, and nobody asked for it of late
    NOT_FILLED = "not_filled"  # the plan wants it, and the fill has not brought it yet
    EVICTED = "evicted"  # it was here, and made room for another
    DISK_FAULT = "disk_fault"  # it was here, on a disk that failed, or lost it, or gave back other bytes
    EXPIRED = "expired"  # it was here, and was purged, or published again


class Count(msgspec.Struct):
    requests: int = 0
    bytes: int = 0

    def add(self, requests: int, body_bytes: int) -> None:
        self.requests += requests
        self.bytes += body_bytes


class Served:
    def __init__(self) -> None:
        self.misses = {cause: Count() for cause in Cause}
        self.hits = {tier: Count() for tier in Tier}
        self._gone: OrderedDict[int, Cause] = OrderedDict()
        self._begun: OrderedDict[int, Cause] = OrderedDict()

    def gone(self, keys: Iterable[str], cause: Cause) -> None:
        """These were here, and are not any more."""
        for key in keys:
            _note(self._gone, key, cause)

    def begun(self, key: str, *, planned: bool) -> None:
        """Somebody asks for an object that is not here."""
        cause = self._gone.pop(xxh3_64_intdigest(key.encode()), None)
        if cause is None:
            cause = Cause.NOT_FILLED if planned else Cause.NOT_PLANNED
        _note(self._begun, key, cause)

    def missed(self, touch: ipc.Touch, *, planned: bool) -> None:
        """Counts what missed of an object."""
        cause = self._begun.get(xxh3_64_intdigest(touch.key.encode()))
        if cause is None:
            # Begun before a restart of ours, or by the fill agent.
            cause = Cause.NOT_FILLED if planned else Cause.NOT_PLANNED
        self.misses[cause].add(touch.misses, touch.miss_bytes)


def served(counts: Mapping[Cause, Count] | Mapping[Tier, Count]) -> dict[str, ServedCount]:
    """As `/v1/status` says it."""
    return {what.value: ServedCount(count.requests, count.bytes) for what, count in counts.items()}


def _note(notes: OrderedDict[int, Cause], key: str, cause: Cause) -> None:
    """As a hash: a wrong cause for one of 2^64 is no harm."""
    hashed = xxh3_64_intdigest(key.encode())
    notes[hashed] = cause
    notes.move_to_end(hashed)
    if len(notes) > _REMEMBERED:
        notes.popitem(last=False)
