"""The bar on a terminal of a command that has one thing to do: `fill.progress` draws it where somebody watches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from fill.progress import shortened

_ABOUT_WIDTH: Final = 40


class Bar:
    """A `fill.progress.Meter`."""

    def __init__(self, progress: Progress, what: str, total: float) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=total or None, about="")

    def at(self, done: float) -> None:
        self._progress.update(self._task, completed=done)

    def expect(self, total: float) -> None:
        self._progress.update(self._task, total=total or None)

    def about(self, what: str) -> None:
        self._progress.update(self._task, about=escape(shortened(what, _ABOUT_WIDTH)))

    def done(self, name: str, /, **fields: Any) -> None:
        pass


@contextmanager
def bar(what: str, total: float) -> Iterator[Bar]:
    """Shows ``what`` until the block ends; ``total`` 0 is not known."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[about]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Bar(progress, what, total)
