"""How soon an object is asked for again, as learned from a sample of those that were. Pure.

Objects are told apart by a class (`oca.store.demand` makes it of how often and how regularly they were asked for)
and by age: touches of other objects since their last. For each class and span of ages two sums are kept: touches
that came at that age, and time that objects spent at it. Their quotient is the hazard, the chance of a touch per
unit of time. Objects that are not here count as much as those that are, so that nothing is learned from our
own evictions; an object that was not asked for again, yet, counts by the time it has been waited for.

`worth` is the most touches per unit of time that keeping the object for some time from now on can bring (the
Gittins index): for what cools down it falls with age, and for what comes round in a loop it rises until the
object is due. Time and touches of old fade, so a change of habits is followed.

Sources: N. Beckmann, H. Chen, A. Cidon: LHD, improving cache hit rate by maximizing hit density, 2018 (ages, classes
and hit density); J. C. Gittins: Bandit processes and dynamic allocation indices, 1979; C. Waldspurger and others:
Efficient MRC construction with SHARDS, 2015 (sampling by hash).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from xxhash import xxh3_64_intdigest

AGES: Final = 44
"""Spans of ages, two to each doubling: up to four million touches, and the last for all beyond."""
TRACKED: Final = 8192
"""Objects of the sample: about 1.5 MB where it is full."""
_LEAST_TRACKED: Final = 1024
_TRACKED_TIMES: Final = 16
COVERED: Final = 128
"""The sample reaches back so many times as many objects as are here: what is beyond could not be kept anyway."""
_KEPT: Final = 0.75
"""Of each sum, from one learning to the next."""
_LEAST_PERIOD: Final = 1024
_PERIOD: Final = 2
_FINEST: Final = 4
"""Ages below a fourth of the objects that are here are one: nothing so young is evicted for its age."""
_SMALL: Final = 4096

_from = [0.0, *(2 ** (span / 2) for span in range(1, AGES + 1))]
_widths = [_from[span + 1] - _from[span] for span in range(AGES)]
_spans = [0, *(int(2 * math.log2(age) + 1e-9) for age in range(1, _SMALL))]


def span_of(age: int) -> int:
    """The span of ages that ``age`` lies in: an index of `Reuse.worth`."""
    if age < _SMALL:
        return _spans[age]
    shift = age.bit_length() - 12
    return min(_spans[age >> shift] + 2 * shift, AGES - 1)


def hash_of(key: str) -> int:
    return xxh3_64_intdigest(key.encode())


class Reuse:
    """For classes 0 (asked for once) to the last; ``gaps`` says of each at which age it is expected to come.

    Time is counted in touches and given by the caller; it never falls.
    """

    def __init__(self, gaps: Sequence[float]) -> None:
        self._gaps = gaps
        self._hits = [[0.0] * AGES for _ in gaps]
        self._time = [[0.0] * AGES for _ in gaps]
        self._entered = [[0] * AGES for _ in gaps]
        self._left = [[0] * AGES for _ in gaps]
        self._sample: dict[str, tuple[int, int]] = {}
        """Key to its last touch and class, the longest ago first."""
        self._thinned = 0
        """One object in 2 to the power of this is in the sample."""
        self._learned_at = 0
        self._most = TRACKED
        self.worth = [[1 / max(gap, age) for age in _from[1:]] for gap in gaps]
        # Nothing is expected of what was asked for once: less than of all others, and less with age.
        self.worth[0] = [1 / (_from[-1] + age) for age in _from[1:]]
        """By class and span of ages. Until something is learned, what is expected and not yet due stays."""

    def samples(self, hashed: int) -> bool:
        """Whether an object whose hash ends in these bits (16 of them count) belongs to the sample."""
        return not hashed & ((1 << self._thinned) - 1)

    def note(self, key: str, klass: int, now: int) -> None:
        """An object of the sample was asked for, and is of this class from now on."""
        sample = self._sample
        before = sample.pop(key, None)
        sample[key] = (now, klass)
        if before is not None:
            self._hits[before[1]][self._leave(*before, now)] += 1
        elif len(sample) > self._most:
            self._leave(*sample.pop(next(iter(sample))), now)

    def _leave(self, last: int, klass: int, now: int) -> int:
        """Counts the time since the last learning that an object was waited for; the span it ends in."""
        span = span_of(now - last)
        self._left[klass][span] += 1
        self._entered[klass][span_of(self._learned_at - last) if last < self._learned_at else 0] += 1
        return span

    def due(self, now: int) -> bool:
        """Whether it is time to learn: rarely enough that it costs little for each touch."""
        return now - self._learned_at >= max(_LEAST_PERIOD, _PERIOD * len(self._sample))

    def learn(self, now: int, here: int) -> None:
        """Draws the conclusions from what was noted; ``here`` is how many objects could be evicted now."""
        for last, klass in self._sample.values():
            self._leave(last, klass, now)
        self._learned_at = now
        finest = span_of(here // _FINEST)
        for klass, gap in enumerate(self._gaps):
            hits, time = self._hits[klass], self._time[klass]
            _spend(time, self._entered[klass], self._left[klass])
            if any(time):
                self.worth[klass] = _worth(_hazards(hits, time, gap, finest))
                self._hits[klass] = [count * _KEPT for count in hits]
                self._time[klass] = [count * _KEPT for count in time]
        self._thin(here)

    def _thin(self, here: int) -> None:
        """Makes the sample reach far enough back: half as many objects, for twice as long."""
        self._most = min(TRACKED, max(_LEAST_TRACKED, here * _TRACKED_TIMES))
        if (
            len(self._sample) >= self._most
            and self._most << self._thinned < here * COVERED
            and self._thinned < 16
        ):
            self._thinned += 1
            self._sample = {
                key: heard for key, heard in self._sample.items() if self.samples(hash_of(key) & 0xFFFF)
            }


def _spend(time: list[float], entered: list[int], left: list[int]) -> None:
    """Adds the time that objects spent at each age, who entered at some and left at some; empties both."""
    passing = 0
    for span in range(AGES):
        if entered[span] or left[span] or passing:
            # Half a span for who begins or ends in it.
            time[span] += (passing + (entered[span] - left[span]) / 2) * _widths[span]
            passing += entered[span] - left[span]
            entered[span] = left[span] = 0


def _hazards(hits: Sequence[float], time: Sequence[float], gap: float, finest: int) -> list[float]:
    """Touches per unit of time, at each age: what was seen, and as much as one touch of what is expected.

    Expected is: evenly until ``gap`` has passed, then less and less, in proportion to age.
    """
    expected = [1 / max(gap, age) for age in _from[1:]]
    foreseen = sum(spent * rate for spent, rate in zip(time, expected, strict=True))
    level = (sum(hits) + 1) / (foreseen + 1)
    young = (sum(hits[: finest + 1]) + 1) / (sum(time[: finest + 1]) + 1 / (level * expected[finest]))
    hazards = [young] * (finest + 1)
    for span in range(finest + 1, AGES):
        hazards.append((hits[span] + 1) / (time[span] + 1 / (level * expected[span])))
    return hazards


def _worth(hazards: Sequence[float]) -> list[float]:
    """The highest quotient of touches by time over all times to keep an object of each age.

    From the oldest span to the youngest: a span is kept together with those after it as long as these
    are worth more than what it has so far. Every span is joined once, so this takes time in proportion to AGES.
    """
    worth = [0.0] * AGES
    joined: list[
        tuple[float, float, float]
    ] = []  # touches, time, share that is not touched; best quotient last
    for span in range(AGES - 1, -1, -1):
        width = _widths[span]
        stays = math.exp(-hazards[span] * width)
        touches, time = 1 - stays, width * (1 + stays) / 2
        while joined and joined[-1][0] * time > touches * joined[-1][1]:
            more, longer, stay = joined.pop()
            touches += stays * more
            time += stays * longer
            stays *= stay
        joined.append((touches, time, stays))
        worth[span] = touches / time
    return worth
