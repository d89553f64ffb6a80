"""What is complete, what of it the plan pins, and what of the rest goes first. Pure bookkeeping.

The disks are the truth; this is rebuilt from them at every start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from oca.store.demand import Demand
from oca.store.disks import Disk


class Entry(msgspec.Struct, gc=False):
    """One complete object. A million of these must fit: no digests, no media type."""

    key: str
    size: int
    disk_bytes: int
    etag: str
    disk: Disk
    requests: int = 0
    before: Any = None
    after: Any = None
    heard: int = 0
    queue: int = 0
    """These four are `Demand`'s."""


class Index:
    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._pinned: dict[str, int] = {}
        self._held_objects = self._held_bytes = self._planned_bytes = 0
        self._demand: dict[Disk, Demand[Entry]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def by_last_use(self) -> list[Entry]:
        """Of each disk, what was used longest ago first; what is pinned stands where it stood when it became so."""
        return sorted(self._entries.values(), key=lambda entry: entry.heard >> 44)

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def demand(self, disk: Disk) -> Demand[Entry]:
        """What on ``disk`` the plan does not pin."""
        found = self._demand.get(disk)
        if found is None:
            found = self._demand[disk] = Demand()
        return found

    def add(self, entry: Entry) -> None:
        self.remove(entry.key)
        self._entries[entry.key] = entry
        self._count(entry, 1)
        self._settle(entry)

    def remove(self, key: str) -> Entry | None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._count(entry, -1)
            if entry.after is not None:
                self.demand(entry.disk).remove(entry)
        return entry

    def relocate(self, entry: Entry, disk: Disk) -> None:
        """The object lies on ``disk`` from now on."""
        if entry.after is not None:
            self.demand(entry.disk).remove(entry)
        entry.disk = disk
        self._settle(entry)

    def _settle(self, entry: Entry) -> None:
        if entry.key not in self._pinned:
            self.demand(entry.disk).add(entry)

    def _count(self, entry: Entry, sign: int) -> None:
        planned = self._pinned.get(entry.key)
        if planned is not None:
            self._held_objects += sign
            self._held_bytes += sign * planned

    def touch(self, touches: Iterable[tuple[str, int]]) -> None:
        """These keys were asked for, so many times each, since the last time this was called."""
        touched: dict[Disk, dict[str, Entry]] = {}
        for key, requests in touches:
            entry = self._entries.get(key)
            if entry is not None:
                entry.requests += requests
                if entry.after is not None:
                    here = touched.get(entry.disk)
                    if here is None:
                        here = touched[entry.disk] = {}
                    here[key] = entry  # once, from however many networks it was asked for
        for disk, entries in touched.items():
            self.demand(disk).touch(entries.values())

    def minute(self) -> None:
        """A minute has passed (`Demand.minute`)."""
        for demand in self._demand.values():
            demand.minute()

    def pin(self, planned: Mapping[str, int]) -> None:
        """Pins exactly these keys (with their sizes in bytes), whether they are here yet or not."""
        self._pinned = dict(planned)
        self._planned_bytes = sum(planned.values())
        self._held_objects = self._held_bytes = 0
        for entry in self._entries.values():
            self._count(entry, 1)
            if entry.after is None:
                self._settle(entry)
            elif entry.key in planned:
                self.demand(entry.disk).remove(entry)

    @property
    def pinned(self) -> Mapping[str, int]:
        return self._pinned

    @property
    def missing_bytes(self) -> int:
        """Of the plan, what is not complete."""
        return self._planned_bytes - self._held_bytes

    def victims(self, disk: Disk, need_bytes: int) -> list[Entry] | None:
        """Entries to remove so that ``disk`` has ``need_bytes`` free: least worth keeping first.

        Never a pinned one. None when even all of them are not enough: then nothing should go.
        """
        return self.demand(disk).victims(need_bytes - disk.free_bytes)

    def in_plan(self) -> tuple[int, int]:
        """Objects and bytes of the plan that are complete."""
        return self._held_objects, self._held_bytes

    def missing(self) -> Iterable[str]:
        """Keys of the plan that are not complete."""
        return (key for key in self._pinned if key not in self._entries)
