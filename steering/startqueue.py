"""Starts that wait for their turn: heartbeats go first, and what waits for too long is told so at once.

A heartbeat is answered where it is read. A start is put here, and once in each turn of the event loop, after all that
was readable has been read, the oldest are answered for `TURN_S`, or for a quarter of what the turn took before, so
that neither can starve the other. When more come than can be answered, those that waited too long get 503 with
Retry-After, which costs a twentieth of an answer: what is answered is answered soon.

Source: Maurer, "Fail at Scale", ACM Queue 13(8), 2015 (controlled delay): a queue that was empty a moment ago is a
burst, and may wait; one that has not been empty for long is overload, and patience is short.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

TURN_S: Final = 0.002
SHARE: Final = 0.25
"""Of the time, that starts get at least, whatever heartbeats come: a fleet's takes less than half a core."""
PATIENT_S: Final = 0.050
IMPATIENT_S: Final = 0.010
"""How long a start may wait; the second when the queue has not been empty for `OVERLOAD_S`."""
OVERLOAD_S: Final = 0.100


class Asker(Protocol):
    """Who is answered, and waits for nothing else meanwhile."""

    def answer(self, credentials: str | None, body: bytes, arrived_at: float) -> None: ...

    def refuse(self) -> None:
        """Too much is waiting."""


class _Start(NamedTuple):
    asker: Asker
    credentials: str | None
    body: bytes
    arrived_at: float


class StartQueue:
    """``clock`` is monotonic; ``soon`` calls a function in the event loop's next turn."""

    def __init__(self, clock: Callable[[], float], soon: Callable[[Callable[[], None]], object]) -> None:
        self._clock = clock
        self._soon = soon
        self._waiting: deque[_Start] = deque()
        self._empty_at = clock()
        """When nothing was waiting last."""
        self._turned_at = self._empty_at

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, asker: Asker, credentials: str | None, body: bytes) -> None:
        """``asker`` hears soon. No more wait than there are connections: each waits for one."""
        now = self._clock()
        if not self._waiting:
            self._empty_at = self._turned_at = now
            self._soon(self._turn)
        self._waiting.append(_Start(asker, credentials, body, now))

    def finish(self) -> None:
        """Answers all, however long it takes: before the end."""
        while self._waiting:
            start = self._waiting.popleft()
            start.asker.answer(start.credentials, start.body, start.arrived_at)

    def _turn(self) -> None:
        now = began = self._clock()
        patience_s = PATIENT_S if began - self._empty_at < OVERLOAD_S else IMPATIENT_S
        until = began + max(TURN_S, SHARE * (began - self._turned_at))
        try:
            while self._waiting and now < until:
                start = self._waiting.popleft()
                if now - start.arrived_at > patience_s:
                    start.asker.refuse()
                else:
                    start.asker.answer(start.credentials, start.body, start.arrived_at)
                now = self._clock()
        finally:
            self._turned_at = now
            if self._waiting:
                self._soon(self._turn)
