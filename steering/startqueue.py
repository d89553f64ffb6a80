"""Starts that wait for their turn: heartbeats go first, and what waits for too long is told so at once.

A heartbeat is answered in the turn in which it is read (`steering.beatqueue`). A start is put here, and once in each turn
of the event loop, after all that was readable has been read, some are answered, for `TURN_S` or for a quarter of what
the turn took before, so that neither can starve the other. Then those that wait for too long get 503 with Retry-After, for at most as long again.
Turns are measured in time of the processor: a process that others keep from it must not refuse for that alone.

A queue that was empty a moment ago is a burst: the oldest is answered first, and may have waited. One that has not been
empty for long is overload: then the newest is answered first, for it alone is answered soon, and patience is short.

Source: Maurer, "Fail at Scale", ACM Queue 13(8), 2015: controlled delay and adaptive LIFO.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from steering.asker import Asker, answer_each
from steering.credentials import Credentials

TURN_S: Final = 0.002
TOGETHER: Final = 8
"""Starts that are answered step by step with one another: a millisecond's."""
SHARE: Final = 0.25
"""Of what the turn took before, that starts get at least: a fleet's heartbeats take less than half a core."""
MAX_TURN_S: Final = 0.025
PATIENT_S: Final = 0.100
IMPATIENT_S: Final = 0.020
"""How long a start may wait; the second when the queue has not been empty for `OVERLOAD_S`."""
OVERLOAD_S: Final = 0.100


class Starter(Asker, Protocol):
    """Who asks for a start."""

    def refuse(self) -> None:
        """Too much is waiting."""


class Start(NamedTuple):
    asker: Starter
    credentials: Credentials
    body: bytes
    arrived_at: float


class StartQueue:
    """``work`` answers some starts, in their order, and raises nothing. ``clock`` is monotonic, ``worked`` the processor's
    time that this thread had; ``soon`` calls a function in the event loop's next turn.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Start]], Sequence[bytes | Exception]],
        clock: Callable[[], float],
        worked: Callable[[], float],
        soon: Callable[[Callable[[], None]], object],
    ) -> None:
        self._work = work
        self._clock = clock
        self._worked = worked
        self._soon = soon
        self._waiting: deque[Start] = deque()
        self._empty_at = clock()
        """When nothing was waiting last."""
        self._turned_at = worked()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, asker: Starter, credentials: Credentials, body: bytes) -> None:
        """``asker`` hears soon. No more wait than there are connections: each waits for one."""
        now = self._clock()
        if not self._waiting:
            self._empty_at = now
            self._soon(self._turn)
        self._waiting.append(Start(asker, credentials, body, now))

    def finish(self) -> None:
        """Answers all, however long it takes: before the end."""
        while self._waiting:
            self._answer_some(self._waiting.popleft)

    def _turn(self) -> None:
        now, began = self._clock(), self._worked()
        overloaded = now - self._empty_at >= OVERLOAD_S
        length_s = min(max(TURN_S, SHARE * (began - self._turned_at)), MAX_TURN_S)
        self._turned_at = began
        try:
            self._answer(began + length_s, newest_first=overloaded)
            if self._waiting:
                patience_s = IMPATIENT_S if overloaded else PATIENT_S
                self._refuse(self._clock() - patience_s, self._turned_at + length_s)
        finally:
            if self._waiting:
                self._soon(self._turn)

    def _answer(self, until: float, *, newest_first: bool) -> None:
        """Answers until so much has been worked."""
        take = self._waiting.pop if newest_first else self._waiting.popleft
        while self._waiting and self._turned_at < until:
            self._answer_some(take)
            self._turned_at = self._worked()

    def _answer_some(self, take: Callable[[], Start]) -> None:
        some = [take() for _ in range(min(TOGETHER, len(self._waiting)))]
        answer_each(zip([start.asker for start in some], self._work(some), strict=True))

    def _refuse(self, stale: float, until: float) -> None:
        """Refuses those that came before ``stale``, until so much has been worked."""
        while self._waiting and self._waiting[0].arrived_at < stale and self._turned_at < until:
            self._waiting.popleft().asker.refuse()
            self._turned_at = self._worked()
