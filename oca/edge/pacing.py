"""How fast one connection may be sent to: a multiple of the bitrate, after a burst.

A segment sent as fast as the link takes it fills queues on the way to the viewer and costs others
their latency; the player needs it only as fast as it plays, and some more. The kernel does the
pacing. Source: Sammy, SIGCOMM 2023.
"""

from __future__ import annotations

from oca.config import Pacing
from oca.edge.wire import Wire


class Pacer:
    def __init__(self, pacing: Pacing, wire: Wire) -> None:
        self._pacing = pacing
        self._wire = wire
        self._burst_bytes = -1
        """Still to be sent unpaced; below zero before the first answer, whose bitrate decides."""
        self._bitrate_bps = 0

    def answer(self, bitrate_bps: int, count: int) -> None:
        """An answer of ``count`` bytes is about to be sent from an encode of this bitrate; 0 is none."""
        if not bitrate_bps:
            return
        if self._burst_bytes < 0:
            self._burst_bytes = int(self._pacing.burst_s * bitrate_bps / 8)
        if self._burst_bytes > 0:
            self._burst_bytes = max(0, self._burst_bytes - count)
        elif self._bitrate_bps != bitrate_bps:
            self._bitrate_bps = bitrate_bps
            self._wire.pace(int(bitrate_bps * self._pacing.factor / 8))
