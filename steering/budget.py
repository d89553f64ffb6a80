"""How many questions a caller may ask: a token bucket. Pure; time is passed in."""

from __future__ import annotations

from typing import Final

_WHOLE: Final = 1 - 1e-6
"""A question, less what rounding takes: who waits for as long as it was told is let in."""


class Budget:
    """``rate`` questions a second on average, ``burst`` at once, which is never less than one."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = max(1.0, burst)
        self._level = self._burst
        self._at = 0.0

    def take(self, now: float) -> float:
        """0 when the question may be asked now, otherwise the seconds after which it may."""
        self._level = min(self._burst, self._level + max(0.0, now - self._at) * self._rate)
        self._at = max(now, self._at)
        if self._level >= _WHOLE:
            self._level -= 1
            return 0.0
        return (1 - self._level) / self._rate
