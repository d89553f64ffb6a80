"""The objects of a round, most wanted first, shared by those who work on them. What has to wait for another
appliance is put off and comes again; meanwhile the next ones are taken.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from contracts.catalog import CatalogObject

_MOST_PUT_OFF: Final = 64
"""Then the first of these is waited for: each costs a question to its holders now and then."""
_IDLE_S: Final = 0.5


@dataclass(slots=True, eq=False)
class Task:
    item: CatalogObject
    place: int
    """In the round: the lowest is the most wanted."""
    ready_at: float = 0.0


class Worklist:
    """Safe in many threads. ``items`` is asked for one object at a time; what it raises, `take` raises."""

    def __init__(self, items: Iterator[CatalogObject], now: Callable[[], float]) -> None:
        self._items: Iterator[CatalogObject] | None = items
        self._now = now
        self._changed = threading.Condition()
        self._put_off: list[Task] = []
        self._under_way = 0
        self._count = 0
        self._ended = False

    def take(self) -> Task | None:
        """The next object to work on, once there is one; None when nothing is left, or the round was ended."""
        with self._changed:
            while not self._ended:
                task = self._ready() or self._next()
                if task is not None:
                    self._under_way += 1
                    return task
                if self._items is None and not self._put_off and not self._under_way:
                    self._changed.notify_all()
                    return None
                due = min((one.ready_at for one in self._put_off), default=self._now() + _IDLE_S)
                self._changed.wait(min(_IDLE_S, max(0.0, due - self._now())))
            return None

    def _ready(self) -> Task | None:
        now = self._now()
        ready = [one for one in self._put_off if one.ready_at <= now]
        if not ready:
            return None
        task = min(ready, key=lambda one: one.place)
        self._put_off.remove(task)
        return task

    def _next(self) -> Task | None:
        if self._items is None or len(self._put_off) >= _MOST_PUT_OFF:
            return None
        item = next(self._items, None)
        if item is None:
            self._items = None
            return None
        self._count += 1
        return Task(item, self._count)

    def done(self) -> None:
        """A task that was taken needs nothing more."""
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    def later(self, task: Task, wait_s: float) -> None:
        """A task that was taken is to come again."""
        with self._changed:
            self._under_way -= 1
            task.ready_at = self._now() + wait_s
            self._put_off.append(task)
            self._changed.notify_all()

    def end(self) -> None:
        """Nothing more is taken, whoever has not said of a task that it is done."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
