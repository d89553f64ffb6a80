"""The rate cap of an appliance: one bucket for every byte that is fetched, whoever fetches it. The arithmetic
is pure (`Bucket`); `SharedBudget` is the bucket with a clock and a lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from contracts.objectkey import SLICE_BYTES
from fill.agent.transfer import Stopped

_BURST_S: Final = 0.15
"""What may come at once after a pause, in seconds of the rate: a fill runs when nobody else does, and makes up for short
waits. Over any 10 s that is one and a half per cent."""
_PIECE_S: Final = 0.01
_LEAST_PIECE_BYTES: Final = 16 << 10
_MOST_PIECE_BYTES: Final = 256 << 10
"""Under a cap: a kernel that is not preempted copies a whole MiB before a player's answer gets the core, 0.15 ms later."""
_RECEIVE_S: Final = 0.1
_LEAST_RECEIVE_BYTES: Final = 64 << 10
_ROUND_TRIPS: Final = 2
"""That fit into a connection's share: with less it waits for its own acknowledgements."""


class Bucket:
    """When each byte is due at ``rate_bps`` (bits per second; 0 is no cap)."""

    def __init__(self, rate_bps: int) -> None:
        self.rate_bps = rate_bps
        self._due_at = float("-inf")

    def wait_s(self, count: int, now: float) -> float:
        """Seconds until ``count`` more bytes may come, which are spent from now on."""
        if not self.rate_bps:
            return 0.0
        self._due_at = max(self._due_at, now - _BURST_S) + count * 8 / self.rate_bps
        return max(0.0, self._due_at - now)


def piece_bytes(rate_bps: int) -> int:
    """How much is spent at once: little at a low rate, so that it flows evenly."""
    if not rate_bps:
        return SLICE_BYTES
    return min(_MOST_PIECE_BYTES, max(_LEAST_PIECE_BYTES, int(rate_bps / 8 * _PIECE_S) & -4096))


def receive_bytes(rate_bps: int, connections: int, round_trip_s: float, most_bytes: int) -> int:
    """The kernel's share of one connection: what lies there has passed the link and not yet the bucket.

    ``most_bytes`` is what the kernel gives who asks. 0 leaves it to the kernel: where there is no cap, and where a
    connection so far away would be slower than its part of the cap.
    """
    if not rate_bps:
        return 0
    each = rate_bps / 8 / connections
    told = min(most_bytes, max(_LEAST_RECEIVE_BYTES, int(each * _RECEIVE_S)))
    # The kernel takes twice what it is told, for its own books.
    return 0 if told < _ROUND_TRIPS * each * round_trip_s else told // 2


def most_receive_bytes() -> int:
    """What the kernel gives who asks."""
    try:
        return int(Path("/proc/sys/net/core/rmem_max").read_text())
    except (OSError, ValueError):
        return _LEAST_RECEIVE_BYTES


class SharedBudget:
    """``sleep`` returns early, and says so by True, when everything is to end."""

    def __init__(self, cap_bps: int, now: Callable[[], float], sleep: Callable[[float], bool]) -> None:
        self.cap_bps = cap_bps
        self.piece_bytes = piece_bytes(cap_bps)
        self._bucket = Bucket(cap_bps)
        self._now = now
        self._sleep = sleep
        self._lock = threading.Lock()
        self.spent_bytes = 0

    @property
    def rate_bps(self) -> int:
        """What holds now; 0 is no cap."""
        return self._bucket.rate_bps

    def limit(self, rate_bps: int) -> None:
        """From now on at most ``rate_bps``, and never more than the cap."""
        with self._lock:
            allowed = min(rate_bps, self.cap_bps) if self.cap_bps and rate_bps else rate_bps or self.cap_bps
            self._bucket.rate_bps = allowed
            self.piece_bytes = piece_bytes(allowed)

    def spend(self, count: int) -> None:
        """Returns once ``count`` more bytes may be fetched; raises `Stopped`."""
        with self._lock:
            self.spent_bytes += count
            wait_s = self._bucket.wait_s(count, self._now())
        if wait_s > 0 and self._sleep(wait_s):
            raise Stopped
