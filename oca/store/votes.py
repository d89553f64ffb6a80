"""Where players starve: a vote for each session, interval and network, as means that heartbeats tell steering.

One session, one vote: a session that asks of every worker, or says a hundred times that it starves, counts once in an
interval; seen from two networks it counts in the first. What it says of its buffer counts when it was here before: the
first time it speaks of whom it came from.

What is told is a state: exponentially weighted means over intervals, half of which is older than three of them. Who
hears it late, or twice, knows the same as who heard it each time; an interval without a network makes what is known
of it less by a fifth, until it is forgotten. A mean of n sessions has never fewer than n behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from contracts.players import MAX_NETWORKS, NetworkPlayers, Players
from oca.ipc import Votes

MAX_SESSIONS: Final = 65_536
"""In one interval; three times what an appliance is made for. Those beyond have no vote in it."""
MAX_KEPT: Final = 16_384
"""Networks, those with the most players first."""
_HALF_LIFE: Final = 3
"""In intervals."""
_ALPHA: Final = 1 - 0.5 ** (1 / _HALF_LIFE)
_GONE: Final = 0.05
_WORTH_TELLING: Final = 0.5
"""Sessions that starve, in a mean. One that did once is less."""
_NEW_S: Final = 3.0
"""A player's first requests come at once, over several connections; what it says with each is of before."""


class _Seat(msgspec.Struct, gc=False):
    network: str
    since: float


class _Mean(msgspec.Struct, gc=False):
    sessions: float = 0.0
    starved: float = 0.0

    def follow(self, sessions: int, starved: int) -> None:
        self.sessions += _ALPHA * (sessions - self.sessions)
        self.starved += _ALPHA * (starved - self.starved)


class PlayerVotes:
    """``clock`` is monotonic."""

    def __init__(self, interval_s: float, clock: Callable[[], float]) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._ends = clock() + interval_s
        self._before: dict[int, _Seat] = {}
        self._seats: dict[int, _Seat] = {}
        self._starved: set[int] = set()
        self._all = _Mean()
        self._means: dict[str, _Mean] = {}

    def add(self, votes: Iterable[Votes]) -> None:
        """What a worker saw since its last report."""
        self._tick()
        now = self._clock()
        for vote in votes:
            for session in vote.seen:
                self._seat(session, vote.network, now)
            for session in vote.starved:
                seat = self._seats.get(session)
                if seat is not None and seat.network == vote.network and now - seat.since >= _NEW_S:
                    self._starved.add(session)
            for session in vote.slowed:
                seat = self._seats.get(session)
                if seat is not None and seat.network == vote.network:
                    self._starved.add(session)

    def players(self) -> Players | None:
        """What heartbeats tell; None when nobody plays whose session is known."""
        self._tick()
        if self._all.sessions < _GONE:
            return None
        told = [(name, mean) for name, mean in self._means.items() if mean.starved >= _WORTH_TELLING]
        told.sort(key=lambda item: (-item[1].starved, item[0]))
        return Players(
            round(self._all.sessions, 1),
            round(self._all.starved, 1),
            tuple(
                NetworkPlayers(name, round(mean.sessions, 1), round(mean.starved, 1))
                for name, mean in told[:MAX_NETWORKS]
            ),
        )

    def _seat(self, session: int, network: str, now: float) -> None:
        if session not in self._seats and len(self._seats) < MAX_SESSIONS:
            before = self._before.get(session)
            self._seats[session] = _Seat(network, now if before is None else before.since)

    def _tick(self) -> None:
        """Closes the interval if it is over, and those without a vote that have passed since."""
        while self._clock() >= self._ends:
            self._close()
            self._ends += self._interval_s
            if not self._means and not self._seats and self._all.sessions < _GONE:
                self._ends = max(self._ends, self._clock() + self._interval_s)

    def _close(self) -> None:
        seats, starved = self._seats, self._starved
        sessions = Counter(seat.network for seat in seats.values())
        sufferers = Counter(seats[session].network for session in starved)
        self._all.follow(len(seats), len(starved))
        for name in self._means.keys() | sessions.keys():
            mean = self._means.setdefault(name, _Mean())
            mean.follow(sessions[name], sufferers[name])
            if mean.sessions < _GONE:
                del self._means[name]
        if len(self._means) > MAX_KEPT:
            most = sorted(self._means.items(), key=lambda item: -item[1].sessions)
            self._means = dict(most[:MAX_KEPT])
        self._before, self._seats, self._starved = seats, {}, set()
