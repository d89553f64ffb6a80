"""What an appliance carries: what it said last, and what it was given since. Pure; time is passed in.

A heartbeat says what flowed before it. Starts that were answered since, and those whose players had not
yet begun when it was measured, are not in it: they are counted at `BURST` times the bitrate of their title, whole until the
second heartbeat after them, and then ever less, by half each `HALF_LIFE_S`, as what they are takes its place.
"""

from __future__ import annotations

from typing import Final

import msgspec

HALF_LIFE_S: Final = 4.0
"""A player has begun, and is in the mean that its appliance tells, within about this."""
BURST: Final = 1.5
"""Of its bitrate, that a player takes while it fills its buffer: about as long as it is counted here."""


class Load(msgspec.Struct, frozen=True, gc=False):
    """In bits per second."""

    told: float = 0.0
    fresh: float = 0.0
    """Given since the last heartbeat."""
    settling: float = 0.0
    """Given before it."""
    heard_at: float = 0.0

    @property
    def total(self) -> float:
        return self.told + self.fresh + self.settling

    def heard(self, tx_bps: float, now: float) -> Load:
        """After a heartbeat that tells ``tx_bps``."""
        share = 0.5 ** (max(0.0, now - self.heard_at) / HALF_LIFE_S)
        settling = self.settling * share + self.fresh
        return Load(float(tx_bps), 0.0, settling if settling >= 1.0 else 0.0, now)

    def given(self, bps: float) -> Load:
        """After a start of ``bps``."""
        return Load(self.told, self.fresh + bps * BURST, self.settling, self.heard_at)
