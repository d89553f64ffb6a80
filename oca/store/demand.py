"""The demand cache of one disk: what the plan does not pin, and which of it goes first. Pure: no file, no clock.

Objects stand in queues: one for those asked for once, and one for each size of gap between touches (a factor of
two each), apart for those with few gaps seen and with several. A queue is in order of last touch. What goes is
the least worth (`oca.store.reuse`) of the two ends of every queue: the one waited for longest, or the last to
come where a queue comes round in a loop longer than the disk. So it takes the same time to find a victim among
ten objects and among a million, and a queue whose objects are never asked for again (a scan) is emptied first.

Everything is let in, for a miss is written to the disk as it is served; an object that is worth less than all
that is here is the next to go. What goes is remembered for a while, in ten bytes, so that it is known for what it
was when it comes back. Time is counted in touches.

Source of the queues: Y. Zhou, J. Philbin, K. Li: The multi-queue replacement algorithm, 2001. Measured beside
LRU, S3-FIFO, SIEVE and W-TinyLFU: bench/demand.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Final, Generic, Protocol, TypeVar

from oca.store.reuse import Reuse, hash_of, span_of

_DOUBLINGS: Final = 20
"""Sizes of gaps: the last is a million touches and more."""
_SETTLED: Final = 3
"""Gaps from which their mean is believed."""
_MOST_GAPS: Final = 8
"""Each further gap counts for an eighth of the mean."""
_MOST_GAP: Final = (1 << 24) - 1
REMEMBERED: Final = 1 << 17
"""Places for objects that went; one takes the place of another by chance."""
_QUEUES: Final = 1 + 2 * (_DOUBLINGS + 1)
_NEVER: Final = 1 << 62
_HASH: Final = 0xFFFF << 28
_ALL_BUT_WHEN: Final = (1 << 44) - 1


class Kept(Protocol):
    """What is asked of an object here. The last four are written by `Demand` alone: nothing and 0 at first."""

    key: str
    disk_bytes: int
    before: Any
    after: Any
    """Neighbours in its queue; None where it stands in none."""
    heard: int
    """When it was last touched << 44 | hash << 28 | mean gap << 4 | number of gaps."""
    queue: int


KeptT = TypeVar("KeptT", bound=Kept)


class _End:
    """Closes a queue to a ring: after it stands who was waited for longest, before it who came last."""

    __slots__ = ("after", "before")

    def __init__(self) -> None:
        self.before: Any = self
        self.after: Any = self


def _queue(gap: int, gaps: int) -> int:
    if not gaps:
        return 0
    size = min(gap.bit_length(), _DOUBLINGS)
    return 1 + size if gaps >= _SETTLED else 2 + _DOUBLINGS + size


def _expected_gaps() -> list[float]:
    sizes = [float(1 << size) for size in range(_DOUBLINGS + 1)]
    # Of what was asked for once nothing is expected: its worth falls from the beginning.
    return [1.0, *sizes, *sizes]


class Demand(Generic[KeptT]):
    """`touch`, `add` and `remove` take the same time whatever is here, and so does `victims` for each of them."""

    def __init__(self) -> None:
        self.bytes = 0
        """On the disk, of all that is here."""
        self._count = 0
        self._now = 0
        self._lately = _NEVER
        self._began = _NEVER
        """When this minute began; and before, the last."""
        self._ends = [_End() for _ in range(_QUEUES)]
        self._reuse = Reuse(_expected_gaps())
        self._gone = array("Q", bytes(8 * REMEMBERED))
        """When it was last touched << 28 | mean gap << 4 | number of gaps."""
        self._gone_tags = array("H", bytes(2 * REMEMBERED))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[KeptT]:
        for end in self._ends:
            item = end.after
            while item is not end:
                yield item
                item = item.after

    def __contains__(self, item: KeptT) -> bool:
        return item.after is not None

    def minute(self) -> None:
        """A minute has passed. Of an object's touches in a minute the first alone counts; and where there was
        one in the minute before, it is being watched still, by the same viewer as like as not, and that is no gap.
        Never called, every touch counts.
        """
        self._lately, self._began = 0 if self._began == _NEVER else self._began, self._now

    def touch(self, items: Iterable[KeptT]) -> None:
        """These, which are here, were asked for, each as often as you like."""
        # Inlined, all of it: this is called for everything that is served.
        ends, reuse, now, lately, began = self._ends, self._reuse, self._now, self._lately, self._began
        for item in items:
            heard = item.heard
            last = heard >> 44
            if last > began:
                continue
            now += 1
            if last > lately:
                item.heard = now << 44 | heard & _ALL_BUT_WHEN
            else:
                gap, gaps = heard >> 4 & _MOST_GAP, heard & 15
                if gaps < _MOST_GAPS:
                    gaps += 1
                gap += (now - last - gap) // gaps
                if gap > _MOST_GAP:
                    gap = _MOST_GAP
                item.heard = now << 44 | heard & _HASH | gap << 4 | gaps
                item.queue = _queue(gap, gaps)
            before, after = item.before, item.after
            before.after, after.before = after, before
            end = ends[item.queue]
            before = end.before
            item.before, item.after = before, end
            before.after = end.before = item
            if reuse.samples(heard >> 28):
                reuse.note(item.key, item.queue, now)
        self._passed(now)

    def add(self, item: KeptT) -> None:
        """The object is here from now on; it counts as touched."""
        now = self._now + 1
        hashed = hash_of(item.key)
        place = hashed >> 16 & REMEMBERED - 1
        gap = gaps = 0
        state = self._gone[place]
        if state and self._gone_tags[place] == hashed >> 48:
            gap, gaps = state >> 4 & _MOST_GAP, min((state & 15) + 1, _MOST_GAPS)
            gap = min(gap + (now - (state >> 28) - gap) // gaps, _MOST_GAP)
            self._gone[place] = 0
        item.heard = now << 44 | (hashed & 0xFFFF) << 28 | gap << 4 | gaps
        item.queue = _queue(gap, gaps)
        end = self._ends[item.queue]
        item.before, item.after = end.before, end
        end.before.after = end.before = item
        self._count += 1
        self.bytes += item.disk_bytes
        if self._reuse.samples(hashed & 0xFFFF):
            self._reuse.note(item.key, item.queue, now)
        self._passed(now)

    def note(self, item: KeptT, *, gap: bool) -> None:
        """``item``, which is pinned and not here, was asked for: remembered for `restore`. ``gap`` says whether it was
        before, and not in the minute before.

        Time passes by it only so far that an object that was noted later was: where nearly all is pinned, what is
        here would age by what it has nothing to do with.
        """
        heard = item.heard
        self._now += heard >> 44 == self._now
        mean, gaps = heard >> 4 & _MOST_GAP, heard & 15
        if gap:
            gaps = min(gaps + 1, _MOST_GAPS)
            mean = min(mean + (self._now - (heard >> 44) - mean) // gaps, _MOST_GAP)
        item.heard = self._now << 44 | heard & _HASH | mean << 4 | gaps

    def restore(self, items: Iterable[KeptT]) -> None:
        """These, which were pinned, are here from now on, each as it was last asked for: nobody asks for them now."""
        # A queue is in order of last touch: walked once from its front, however many come.
        walks: dict[int, Any] = {}
        for item in sorted(items, key=lambda one: one.heard >> 44):
            item.heard = item.heard & ~_HASH | (hash_of(item.key) & 0xFFFF) << 28
            item.queue = _queue(item.heard >> 4 & _MOST_GAP, item.heard & 15)
            end = self._ends[item.queue]
            after = walks.get(item.queue, end.after)
            while after is not end and after.heard >> 44 < item.heard >> 44:
                after = after.after
            walks[item.queue] = after
            item.before, item.after = after.before, after
            after.before.after = after.before = item
            self._count += 1
            self.bytes += item.disk_bytes

    def remove(self, item: KeptT) -> None:
        """The object is not here any more, or is pinned from now on."""
        item.before.after, item.after.before = item.after, item.before
        item.before = item.after = None
        self._count -= 1
        self.bytes -= item.disk_bytes
        hashed = hash_of(item.key)
        place = hashed >> 16 & REMEMBERED - 1
        self._gone[place] = (item.heard >> 44) << 28 | item.heard & (1 << 28) - 1
        self._gone_tags[place] = hashed >> 48

    def victims(self, need_bytes: int, spared: Callable[[KeptT], bool] | None = None) -> list[KeptT] | None:
        """Objects of at least ``need_bytes`` in all, least worth first; None when all that is here is not enough.

        None of those ``spared``. They stay here until they are removed.
        """
        if need_bytes > self.bytes:
            return None
        found = self.least(need_bytes, self._count, spared)
        return found if spared is None or sum(item.disk_bytes for item in found) >= need_bytes else None

    def least(self, need_bytes: int, most: int, spared: Callable[[KeptT], bool] | None = None) -> list[KeptT]:
        """Objects of ``need_bytes`` or more, least worth first; fewer bytes where ``most`` of them are not enough,
        or all that are not ``spared``.
        """
        chosen: list[KeptT] = []
        walks = [_Walk(end, self._reuse.worth[queue], self._now) for queue, end in enumerate(self._ends)]
        looked_at = 0
        while need_bytes > 0 and len(chosen) < most and looked_at < self._count:
            item = min(walks, key=_value).take()
            looked_at += 1
            if spared is None or not spared(item):
                chosen.append(item)
                need_bytes -= item.disk_bytes
        return chosen

    def _passed(self, now: int) -> None:
        self._now = now
        if self._reuse.due(now):
            self._reuse.learn(now, self._count)


class _Walk:
    """Takes from both ends of a queue what is least worth, and changes nothing in it."""

    __slots__ = ("_first", "_last", "_now", "_worth", "value")

    def __init__(self, end: _End, worth: Sequence[float], now: int) -> None:
        self._first, self._last = end.after, end.before
        self._worth, self._now = worth, now
        self.value = math.inf if self._first is end else self._least()

    def _least(self) -> float:
        return min(self._worth_of(self._first), self._worth_of(self._last))

    def _worth_of(self, item: Kept) -> float:
        return self._worth[span_of(self._now - (item.heard >> 44))]

    def take(self) -> Any:
        first, last = self._first, self._last
        # Of two that are worth the same the last to come goes: what is here longer stays, and is not fetched again.
        if self._worth_of(last) <= self._worth_of(first):
            item, self._last = last, last.before
        else:
            item, self._first = first, first.after
        self.value = math.inf if first is last else self._least()
        return item


_value = attrgetter("value")
