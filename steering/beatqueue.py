"""Heartbeats that were read in one turn of the event loop are taken one after the other, and then all answered.

One by one, each between the system calls that read and answer it, they take twice as long: by then the processor has
forgotten what it knew of our code. None waits for more than what was readable with it.

Measured: bench/steering/README.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from steering.credentials import Credentials


class Asker(Protocol):
    def answer(self, result: bytes | Exception) -> None:
        """With the body of an answer, or what its heartbeat is refused with."""


class _Beat(NamedTuple):
    asker: Asker
    credentials: Credentials
    body: bytes


class BeatQueue:
    """``take`` gives an answer's body or raises; ``soon`` calls a function in the event loop's next turn."""

    def __init__(
        self, take: Callable[[Credentials, bytes], bytes], soon: Callable[[Callable[[], None]], object]
    ) -> None:
        self._take = take
        self._soon = soon
        self._waiting: list[_Beat] = []

    def put(self, asker: Asker, credentials: Credentials, body: bytes) -> None:
        if not self._waiting:
            self._soon(self.finish)
        self._waiting.append(_Beat(asker, credentials, body))

    def finish(self) -> None:
        """Answers all that wait."""
        waiting, self._waiting = self._waiting, []
        results = [self._taken(beat) for beat in waiting]
        for beat, result in zip(waiting, results, strict=True):
            beat.asker.answer(result)

    def _taken(self, beat: _Beat) -> bytes | Exception:
        try:
            return self._take(beat.credentials, beat.body)
        except Exception as error:  # noqa: BLE001 - it is the answer, and rendered as everywhere
            return error
