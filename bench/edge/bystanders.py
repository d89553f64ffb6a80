"""How much of the machine's CPU time went to others while something ran: how far its figures can be trusted."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


class Bystanders:
    """Starts to look when it is made. Children count as ours once they have ended and were waited for."""

    def __init__(self) -> None:
        self._began, self._busy_s, self._ours_s = time.monotonic(), _busy_s(), _ours_s()

    def share(self) -> float:
        """Their part of all cores' time so far, 0 to 1."""
        elapsed = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        others = (_busy_s() - self._busy_s) - (_ours_s() - self._ours_s)
        return max(0.0, others / elapsed)


def _busy_s() -> float:
    """What all cores did since boot but wait, proc(5). Interrupts too: a process's own time has them in it."""
    fields = Path("/proc/stat").read_text().split(maxsplit=10)
    return sum(int(fields[at]) for at in (1, 2, 3, 6, 7, 8)) / _TICKS


def _ours_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)
