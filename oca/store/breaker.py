"""Whether an upstream is asked at all: one that keeps failing is left alone for a while. Pure; time is passed in.

    state      event                       becomes
    CLOSED     5 failures in a row         OPEN
    CLOSED     a success                   CLOSED, the failures are forgotten
    OPEN       30 s have passed            HALF_OPEN
    HALF_OPEN  3 successes                 CLOSED
    HALF_OPEN  a failure                   OPEN, for another 30 s

While OPEN nothing is admitted; while HALF_OPEN at most three attempts at a time. Who was admitted owes one
of `succeeded`, `failed` and `withdrew`. An honest "I do not have it" is a success: the upstream lives.
"""

from __future__ import annotations

import enum
from typing import Final

FAILURES: Final = 5
OPEN_S: Final = 30.0
PROBES: Final = 3
SUCCESSES: Final = 3


class State(enum.Enum):
    CLOSED = "closed"  # asked for everything
    OPEN = "open"  # not asked: the next upstream is
    HALF_OPEN = "half-open"  # asked for a little, to find out


class Breaker:
    def __init__(self) -> None:
        self.state = State.CLOSED
        self._failures = 0
        self._successes = 0
        self._probes = 0
        self._until = 0.0

    def admits(self, now: float) -> bool:
        """Whether an attempt may be made at ``now`` (monotonic seconds); if so it counts as begun."""
        if self.state is State.OPEN and now >= self._until:
            self.state, self._probes, self._successes = State.HALF_OPEN, 0, 0
        if self.state is State.CLOSED:
            return True
        if self.state is State.OPEN or self._probes >= PROBES:
            return False
        self._probes += 1
        return True

    def succeeded(self) -> None:
        self._failures = 0
        if self.state is State.HALF_OPEN:
            self.withdrew()
            self._successes += 1
            if self._successes >= SUCCESSES:
                self.state = State.CLOSED

    def failed(self, now: float) -> None:
        self._failures += 1
        # Attempts that began before it opened may still fail: they do not prolong it.
        if self.state is State.HALF_OPEN or (self.state is State.CLOSED and self._failures >= FAILURES):
            self.state, self._until, self._failures = State.OPEN, now + OPEN_S, 0

    def withdrew(self) -> None:
        """The attempt ended without telling anything, as when another was faster."""
        if self.state is State.HALF_OPEN:
            self._probes = max(0, self._probes - 1)
