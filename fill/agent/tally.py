"""What a run has done and is doing: counted by many threads, shown by `fill.progress`, kept for `fill status`."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from contracts.catalog import CatalogObject
from fill.progress import SILENT, Meter


@dataclass(slots=True)
class Summary:
    """What a run did; ``left_out`` has the key of each object that failed, and why."""

    plan: str
    catalog: str = ""
    objects: int = 0
    planned_bytes: int = 0
    fetched_bytes: int = 0
    committed: int = 0
    held: int = 0
    waiting: int = 0
    """Objects that are missing and not urgent, outside the window."""
    published_again: list[str] = field(default_factory=list)
    """Titles that were taken as they are now, and not as they were planned."""
    left_out: dict[str, str] = field(default_factory=dict)


class Tally:
    """Safe in many threads. An object counts into what is done with each slice, and whole once it is settled."""

    def __init__(self, summary: Summary) -> None:
        self.summary = summary
        self.meter: Meter = SILENT
        self._lock = threading.Lock()
        self._settled_bytes = 0
        self._begun: dict[str, tuple[int, int]] = {}
        """Of objects under way: bytes that are there, and in all."""

    @property
    def done_bytes(self) -> int:
        return self._settled_bytes + sum(there for there, _ in self._begun.values())

    def expect(self, more_bytes: int) -> None:
        """So many bytes are to be done beside what is done."""
        with self._lock:
            self.meter.expect(self._settled_bytes + more_bytes)

    def begun(self, item: CatalogObject, missing_bytes: int) -> None:
        with self._lock:
            self._begun[item.key] = (item.size - missing_bytes, item.size)
            self.meter.about(item.key)
            self.meter.at(self.done_bytes)

    def came(self, key: str, count: int) -> None:
        with self._lock:
            there, size = self._begun[key]
            self._begun[key] = (there + count, size)
            self.summary.fetched_bytes += count
            self.meter.at(self.done_bytes)

    def settled(self, item: CatalogObject, *, held: bool | None) -> None:
        """It is there (``held``: it was before), or left out (None)."""
        with self._lock:
            self._begun.pop(item.key, None)
            self._settled_bytes += item.size
            if held is not None:
                self.summary.held += held
                self.summary.committed += not held
            # What was there already is only counted: that is nearly all of it on most nights.
            if held is False:
                self.meter.done("object done", key=item.key, size=item.size)
            self.meter.at(self.done_bytes)

    def put_off(self, key: str) -> None:
        """It is not being worked on for now; what is there of it stays."""
        with self._lock:
            self._begun.pop(key, None)

    def done(self, name: str, /, **fields: Any) -> None:
        with self._lock:
            self.meter.done(name, **fields)
