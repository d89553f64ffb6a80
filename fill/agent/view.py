"""What a run looks like at one moment, for whoever shows it: a screen, a line of a log, `fill status`. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from contracts.ingest import Wanted

_OVER_S: Final = 10.0
_EVERY_S: Final = 0.2
"""A rate needs no more points than this."""


class Rate:
    """How fast bytes come, over the last ten seconds."""

    def __init__(self, now: float) -> None:
        self._points = deque([(now, 0)])

    def at(self, now: float, total_bytes: int) -> None:
        """So many bytes have come in all; ``now`` never falls."""
        if len(self._points) > 1 and now - self._points[-2][0] < _EVERY_S:
            self._points.pop()
        self._points.append((now, total_bytes))
        while len(self._points) > 2 and now - self._points[1][0] >= _OVER_S:
            self._points.popleft()

    def bps(self, now: float) -> float:
        """Bits per second up to ``now``: it falls while nothing comes."""
        began, before = self._points[0]
        took_s = now - began
        return (self._points[-1][1] - before) * 8 / took_s if took_s > 0 else 0.0


@dataclass(frozen=True, slots=True)
class UnderWay:
    """One object that is being fetched."""

    key: str
    there_bytes: int
    size: int
    rate_bps: float
    source: str
    """Who gave the last of it; empty before the first byte."""


@dataclass(frozen=True, slots=True)
class Late:
    """What the window leaves no time for, at the rate of now: it waits for the next one."""

    objects: int = 0
    size: int = 0
    first: str = ""
    """The most wanted of them."""


@dataclass(frozen=True, slots=True)
class View:
    """``at`` and ``until`` are seconds since 1970; ``until`` is the end of the window, None where there is none."""

    appliance: str
    plan: str
    at: float
    until: float | None
    done_bytes: int
    planned_bytes: int
    done_objects: int
    objects: int
    put_off: int
    """Objects that another appliance of the site is to fetch first."""
    rate_bps: float
    allowed_bps: int
    """What it may take now, the cap or less for players' sake; 0 is no cap."""
    cap_bps: int
    fetched_bytes: int = 0
    sources: Mapping[str, int] = field(default_factory=dict)
    """Bytes that came from each."""
    under_way: tuple[UnderWay, ...] = ()
    late: Late = Late()
    left_out: Mapping[str, str] = field(default_factory=dict)
    """The last few objects that failed, and why."""
    left_out_objects: int = 0

    @property
    def ends_at(self) -> float | None:
        """When all is done at the rate of now; None while nothing comes."""
        left = self.planned_bytes - self.done_bytes
        if left <= 0:
            return self.at
        return self.at + left * 8 / self.rate_bps if self.rate_bps else None


def duration(seconds: float) -> str:
    """Short, for a person: 2 h 13 min, 4 min 10 s, 12 s."""
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole} s"


class Ahead:
    """The objects of a round in the order in which they are fetched, so that one can say which of them are late."""

    def __init__(self, items: Sequence[Wanted], done_bytes: int) -> None:
        self._items = items
        self._up_to = array("Q")
        total = done_bytes
        for item in items:
            total += item.size
            self._up_to.append(total)

    def late(self, done_bytes: int, more_bytes: float) -> Late:
        """Those that are not done when ``more_bytes`` have come. The last few at once may overtake one another."""
        first = bisect_right(self._up_to, done_bytes + int(more_bytes))
        if first >= len(self._items):
            return Late()
        size = self._up_to[-1] - (self._up_to[first - 1] if first else self._up_to[0] - self._items[0].size)
        return Late(len(self._items) - first, size, self._items[first].key)
