"""How a test waits for another process: until what it waits for is so, and no test for less than a busy machine needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 60.0
"""Nobody waits so long for what comes; it bounds only how late a failure is told. Also of a test's own sockets."""
_LOOK_S = 0.02


def until(true: Callable[[], T], says: Callable[[], object] = lambda: "", within_s: float = PATIENCE_S) -> T:
    """What ``true`` gives once that is truthy; after ``within_s`` it fails with what ``says`` gives."""
    end = time.monotonic() + within_s
    while not (found := true()):
        assert time.monotonic() < end, f"not within {within_s} s: {says()}"
        time.sleep(_LOOK_S)
    return found


def settled(check: Callable[[], T], within_s: float = PATIENCE_S) -> T:
    """What ``check`` gives once it neither fails nor meets a file that has just gone; else how it failed last."""
    end = time.monotonic() + within_s
    while True:
        try:
            return check()
        except (AssertionError, FileNotFoundError):
            if time.monotonic() > end:
                raise
        time.sleep(_LOOK_S)
