"""What a run has done and is doing: counted by many threads, shown by `fill.agent.report`, kept for `fill status`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from contracts.catalog import CatalogObject
from contracts.ingest import Wanted
from fill.agent.report import SILENT, Report
from fill.agent.view import Ahead, Late, Rate, UnderWay, View

_SHOWN_LEFT_OUT: Final = 3


@dataclass(slots=True)
class Summary:
    """What a run did; ``left_out`` has the key of each object that failed, and why."""

    plan: str
    catalog: str = ""
    objects: int = 0
    planned_bytes: int = 0
    fetched_bytes: int = 0
    sources: dict[str, int] = field(default_factory=dict)
    """Of these, what came from each appliance, and from the origin."""
    committed: int = 0
    held: int = 0
    waiting: int = 0
    """Objects that are missing and not urgent, outside the window."""
    published_again: list[str] = field(default_factory=list)
    """Titles that were taken as they are now, and not as they were planned."""
    left_out: dict[str, str] = field(default_factory=dict)
    issued_at: int = 0
    """When the planner put the plan in force, seconds since 1970; 0: nobody's signature says so."""
    latest_refused: str = ""
    """Why this is not the plan that `plans/latest` names; empty when it is."""
    catalog_refused: str = ""
    """Why ``catalog`` is not the one that `catalog/latest` names; empty when it is."""


@dataclass(slots=True)
class _Begun:
    there_bytes: int
    size: int
    rate: Rate
    came_bytes: int = 0
    source: str = ""


class Tally:
    """Safe in many threads. An object counts into what is done with each slice, and whole once it is settled.

    ``now`` is a monotonic clock.
    """

    def __init__(self, summary: Summary, now: Callable[[], float]) -> None:
        self.summary = summary
        self.report: Report = SILENT
        self._now = now
        self._lock = threading.Lock()
        self._settled_bytes = self._settled_objects = self._total_bytes = 0
        self._begun: dict[str, _Begun] = {}
        self._put_off: dict[str, int] = {}
        """Of objects that are not worked on for now, what is there."""
        self._ahead = Ahead((), 0)
        self._rate = Rate(now())

    @property
    def done_bytes(self) -> int:
        begun_bytes = sum(one.there_bytes for one in list(self._begun.values()))
        return self._settled_bytes + begun_bytes + sum(list(self._put_off.values()))

    def expect(self, items: Sequence[Wanted]) -> None:
        """These are to be done, in this order, beside what is done."""
        with self._lock:
            self._total_bytes = self._settled_bytes + sum(item.size for item in items)
            self._ahead = Ahead(items, self._settled_bytes)

    def begun(self, item: CatalogObject, missing_bytes: int) -> None:
        with self._lock:
            self._put_off.pop(item.key, None)
            self._begun[item.key] = _Begun(item.size - missing_bytes, item.size, Rate(self._now()))

    def source(self, key: str, name: str) -> None:
        """The next bytes of ``key`` that are counted came from ``name``."""
        begun = self._begun.get(key)
        if begun is not None:
            begun.source = name

    def came(self, key: str, count: int) -> None:
        with self._lock:
            begun, now, done = self._begun[key], self._now(), self.summary
            begun.there_bytes += count
            if not begun.came_bytes:
                begun.rate = Rate(now)  # until now it only waited for its turn
            begun.came_bytes += count
            begun.rate.at(now, begun.came_bytes)
            done.fetched_bytes += count
            done.sources[begun.source] = done.sources.get(begun.source, 0) + count
            self._rate.at(now, done.fetched_bytes)

    def settled(self, item: CatalogObject, *, held: bool | None) -> None:
        """It is there (``held``: it was before), or left out (None)."""
        with self._lock:
            begun = self._begun.pop(item.key, None)
            self._put_off.pop(item.key, None)
            self._settle(item.size)
            if held is not None:
                self.summary.held += held
                self.summary.committed += not held
            # What was there already is only counted: that is nearly all of it on most nights.
            if held is False:
                last = begun.source if begun is not None else ""
                self.report.done("object done", key=item.key, size=item.size, source=last)

    def passed_over(self, size: int) -> None:
        """An object of so many bytes is not even begun."""
        with self._lock:
            self._settle(size)

    def _settle(self, size: int) -> None:
        self._settled_bytes += size
        self._settled_objects += 1

    def put_off(self, key: str) -> None:
        """It is not being worked on for now; what is there of it stays."""
        with self._lock:
            begun = self._begun.pop(key, None)
            self._put_off[key] = begun.there_bytes if begun is not None else 0

    def done(self, name: str, /, **fields: Any) -> None:
        with self._lock:
            self.report.done(name, **fields)

    def view(self, appliance: str, at: float, until: float | None, cap_bps: int, allowed_bps: int) -> View:
        """All of it at the moment ``at`` (seconds since 1970)."""
        with self._lock:
            now, summary = self._now(), self.summary
            rate_bps, done_bytes = self._rate.bps(now), self.done_bytes
            late = Late()
            if until is not None:
                late = self._ahead.late(done_bytes, max(0.0, until - at) * rate_bps / 8)
            left_out = list(summary.left_out.items())
            return View(
                appliance=appliance,
                plan=summary.plan,
                at=at,
                until=until,
                done_bytes=done_bytes,
                planned_bytes=self._total_bytes,
                done_objects=self._settled_objects,
                objects=summary.objects,
                put_off=len(self._put_off),
                rate_bps=rate_bps,
                allowed_bps=allowed_bps,
                cap_bps=cap_bps,
                fetched_bytes=summary.fetched_bytes,
                sources=dict(summary.sources),
                under_way=tuple(
                    UnderWay(key, one.there_bytes, one.size, one.rate.bps(now), one.source)
                    for key, one in self._begun.items()
                ),
                late=late,
                left_out=dict(left_out[-_SHOWN_LEFT_OUT:]),
                left_out_objects=len(left_out),
            )
