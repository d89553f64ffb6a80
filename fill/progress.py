"""How far a command is: a bar on a terminal, a JSON event now and then otherwise."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from daemon.log import event

log = logging.getLogger("fill")
_EVENTS = 10


class Meter(Protocol):
    def at(self, done: float) -> None: ...


class _Bar:
    def __init__(self, progress: Progress, what: str, total: float) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=total or None)

    def at(self, done: float) -> None:
        self._progress.update(self._task, completed=done)


class _Events:
    """One event for each tenth of the way: a log is read later, and by others."""

    def __init__(self, what: str, total: float) -> None:
        self._what = what
        self._total = total
        self._tenth = 0

    def at(self, done: float) -> None:
        tenth = int(min(done / self._total, 1.0) * _EVENTS) if self._total else 0
        if tenth > self._tenth:
            self._tenth = tenth
            event(log, self._what, percent=tenth * 100 // _EVENTS)


@contextmanager
def meter(what: str, total: float) -> Iterator[Meter]:
    """Shows ``what`` until the block ends; ``total`` 0 is not known."""
    if not sys.stderr.isatty():
        yield _Events(what, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Bar(progress, what, total)
