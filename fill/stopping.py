"""What SIGTERM does to a command of `fill`: it ends through every `with`, so that nothing half done stays."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class WindowClosed(BaseException):
    """SIGTERM: the end of the fill's window, or an operator. Not an Exception: nothing on the way may eat it.

    It passes through every `with`: encodes of gigabytes are removed, and the terminal has its cursor again.
    """


@contextmanager
def closed_by_sigterm() -> Iterator[None]:
    """Makes SIGTERM a `WindowClosed` inside the block: what is verified by then is kept, as after a kill."""

    def close(number: int, frame: FrameType | None) -> None:
        # Once: a second one would hit the summary.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise WindowClosed

    before = signal.signal(signal.SIGTERM, close)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
