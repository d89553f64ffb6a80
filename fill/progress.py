"""How far a command is: a bar on a terminal; otherwise one event for each thing done, and one every ten
seconds in between.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol, TextIO

from daemon.log import event

log = logging.getLogger("fill")

EVERY_S: Final = 10.0


class Meter(Protocol):
    def at(self, done: float) -> None:
        """So much is done, in the unit of the total."""

    def expect(self, total: float) -> None:
        """The total has become known, or another one."""

    def about(self, what: str) -> None:
        """``what`` is being worked on now."""

    def done(self, name: str, /, **fields: Any) -> None:
        """Something worth a line where nobody watches a bar."""


class _Silent:
    def at(self, done: float) -> None:
        pass

    def expect(self, total: float) -> None:
        pass

    def about(self, what: str) -> None:
        pass

    def done(self, name: str, /, **fields: Any) -> None:
        pass


SILENT: Final[Meter] = _Silent()


class Events:
    """A line every `EVERY_S` at most: a log is read later, and by others. ``now`` is a monotonic clock."""

    def __init__(self, what: str, total: float, now: Callable[[], float]) -> None:
        self._what = what
        self._total = total
        self._now = now
        self._about = ""
        self._said_at = now()

    def at(self, done: float) -> None:
        now = self._now()
        if now - self._said_at < EVERY_S:
            return
        self._said_at = now
        fields: dict[str, Any] = {"key": self._about} if self._about else {}
        if self._total:
            fields["percent"] = int(min(done / self._total, 1.0) * 100)
        event(log, self._what, done=int(done), **fields)

    def expect(self, total: float) -> None:
        self._total = total

    def about(self, what: str) -> None:
        self._about = what

    def done(self, name: str, /, **fields: Any) -> None:
        event(log, name, **fields)


@contextmanager
def meter(what: str, total: float, now: Callable[[], float] = time.monotonic) -> Iterator[Meter]:
    """Shows ``what`` until the block ends; ``total`` 0 is not known."""
    if not sys.stderr.isatty():
        yield Events(what, total, now)
        return
    # A twelfth of what `fill run` has to load: not for a command that nobody watches.
    from fill.bar import bar

    with bar(what, total) as drawn, log_above():
        yield drawn


@contextmanager
def log_above() -> Iterator[None]:
    """Rich has put its own stream in the place of standard error; the log's handlers hold the old one."""
    moved: list[tuple[logging.StreamHandler[TextIO], TextIO]] = []
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            before = handler.setStream(sys.stderr)
            if before is not None:
                moved.append((handler, before))
    try:
        yield
    finally:
        for handler, before in moved:
            handler.setStream(before)


def shortened(text: str, width: int) -> str:
    """``text`` in at most ``width`` characters: its middle goes, as both ends of a key say more."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}\u2026{text[len(text) - (width - 1 - head) :]}"
