"""Heartbeats that were read in one turn of the event loop are taken one after the other, and then all answered.

One by one, each between the system calls that read and answer it, they take twice as long: by then the processor has
forgotten what it knew of our code.

After `TURN_S` others have their turn. It is more than all heartbeats of a large fleet need, which come evenly; after a
restart each appliance says a signed hello, ten times the work, and starts go in between.

Measured: bench/steering/README.md.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from steering.asker import Asker, answer_each
from steering.credentials import Credentials

TURN_S: Final = 0.008
TOGETHER: Final = 8
"""Of which the time is looked at."""


class _Beat(NamedTuple):
    asker: Asker
    credentials: Credentials
    body: bytes


class BeatQueue:
    """``take`` gives an answer's body or raises; ``worked`` is the processor's time that this thread had; ``soon`` calls a
    function in the event loop's next turn.
    """

    def __init__(
        self,
        take: Callable[[Credentials, bytes], bytes],
        worked: Callable[[], float],
        soon: Callable[[Callable[[], None]], object],
    ) -> None:
        self._take = take
        self._worked = worked
        self._soon = soon
        self._waiting: deque[_Beat] = deque()
        self._due = False
        """A turn is to come."""

    def put(self, asker: Asker, credentials: Credentials, body: bytes) -> None:
        self._waiting.append(_Beat(asker, credentials, body))
        self._wait()

    def finish(self) -> None:
        """Answers all that wait: before the end."""
        self._answer(len(self._waiting), math.inf)

    def _turn(self) -> None:
        self._due = False
        try:
            # What follows an answer on its connection is put here too, for the next turn.
            self._answer(len(self._waiting), self._worked() + TURN_S)
        finally:
            self._wait()

    def _wait(self) -> None:
        if self._waiting and not self._due:
            self._due = True
            self._soon(self._turn)

    def _answer(self, count: int, until: float) -> None:
        done: list[tuple[Asker, bytes | Exception]] = []
        while len(done) < count and self._worked() < until:
            for _ in range(min(TOGETHER, count - len(done))):
                beat = self._waiting.popleft()
                done.append((beat.asker, self._taken(beat)))
        answer_each(done)

    def _taken(self, beat: _Beat) -> bytes | Exception:
        try:
            return self._take(beat.credentials, beat.body)
        except Exception as error:  # noqa: BLE001 - it is the answer, and rendered as everywhere
            return error
