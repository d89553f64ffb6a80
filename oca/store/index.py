"""What is complete, what of it the plan pins, and what of the rest goes first. Pure bookkeeping.

The disks are the truth; this is rebuilt from them at every start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from oca.store.demand import Demand
from oca.store.disks import Disk

_FIRST_MINUTE: Final = 2
"""So that what was never asked for, in minute 0, was asked for neither in this minute nor in the last."""


class Playable(Protocol):
    @property
    def played(self) -> int:
        """The minute (`Index.minute`) in which it was last asked for; 0 is never."""
        ...


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
    played: int = 0
    """As `Playable`."""


class Index:
    """Of each disk ``floor_share`` is the demand cache's, whatever is planned."""

    def __init__(self, floor_share: float = 0.0) -> None:
        self.floor_share = floor_share
        self.now_minute = _FIRST_MINUTE
        self._missing: dict[str, None] = {}
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
        self._missing.pop(entry.key, None)
        self._count(entry, 1)
        self._settle(entry)

    def remove(self, key: str) -> Entry | None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._count(entry, -1)
            if key in self._pinned:
                self._missing[key] = None
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
        minute = self.now_minute
        for key, requests in touches:
            entry = self._entries.get(key)
            if entry is not None:
                entry.requests += requests
                if entry.after is None:
                    if entry.played != minute:
                        self.demand(entry.disk).note(entry, gap=entry.played not in {0, minute - 1})
                else:
                    here = touched.get(entry.disk)
                    if here is None:
                        here = touched[entry.disk] = {}
                    here[key] = entry  # once, from however many networks it was asked for
                entry.played = minute
        for disk, entries in touched.items():
            self.demand(disk).touch(entries.values())

    def minute(self) -> None:
        """A minute has passed (`Demand.minute`)."""
        self.now_minute += 1
        for demand in self._demand.values():
            demand.minute()

    def is_played(self, item: Playable) -> bool:
        """Whether somebody is playing it: it was asked for in this minute or the last."""
        return item.played >= self.now_minute - 1

    def pin(self, planned: Mapping[str, int]) -> None:
        """Pins exactly these keys (with their sizes in bytes), whether they are here yet or not.

        What is not pinned any more is worth in the demand cache what players have made of it meanwhile.
        """
        self._pinned = dict(planned)
        self._missing = {key: None for key in planned if key not in self._entries}
        freed: dict[Disk, list[Entry]] = {}
        self._planned_bytes = sum(planned.values())
        self._held_objects = self._held_bytes = 0
        for entry in self._entries.values():
            self._count(entry, 1)
            if entry.after is not None:
                if entry.key in planned:
                    self.demand(entry.disk).remove(entry)
            elif entry.key not in planned:
                freed.setdefault(entry.disk, []).append(entry)
        for disk, entries in freed.items():
            self.demand(disk).restore(entries)

    @property
    def pinned(self) -> Mapping[str, int]:
        return self._pinned

    @property
    def missing_bytes(self) -> int:
        """Of the plan, what is not complete."""
        return self._planned_bytes - self._held_bytes

    def floor_bytes(self, disk: Disk) -> int:
        """Of ``disk``, what nothing planned may take."""
        return int(disk.capacity_bytes * self.floor_share)

    def obtainable_bytes(self, disk: Disk) -> int:
        """What a planned object may take on ``disk``: what is free and what the demand cache has, but its floor."""
        return disk.free_bytes + self.demand(disk).bytes - self.floor_bytes(disk)

    def evictable_bytes(self, disk: Disk, *, planned: bool) -> int:
        """Of the demand cache, what may go for an object. Looks at all of it for a ``planned`` one."""
        demand = self.demand(disk)
        if not planned:
            return demand.bytes
        played_bytes = sum(entry.disk_bytes for entry in demand if self.is_played(entry))
        return demand.bytes - max(played_bytes, self.floor_bytes(disk))

    def victims(self, disk: Disk, need_bytes: int, *, planned: bool = False) -> list[Entry] | None:
        """Entries to remove so that ``disk`` has ``need_bytes`` free: least worth keeping first, none in vain.

        Never a pinned one. For a ``planned`` object neither what is being played, nor the demand cache's floor.
        None when even all of them are not enough: then nothing should go.
        """
        if planned and need_bytes > self.obtainable_bytes(disk):
            return None
        lacking = need_bytes - disk.free_bytes
        found = self.demand(disk).victims(lacking, self.is_played if planned else None)
        return None if found is None else _needed(found, lacking)

    def in_plan(self) -> tuple[int, int]:
        """Objects and bytes of the plan that are complete."""
        return self._held_objects, self._held_bytes

    def missing(self) -> Iterable[str]:
        """Keys of the plan that are not complete, most wanted first; last those that were here and went."""
        return iter(self._missing)


def _needed(victims: Sequence[Entry], lacking: int) -> list[Entry]:
    """``victims`` without those that the others make up for: of what need not go the most worth stays."""
    surplus = sum(entry.disk_bytes for entry in victims) - lacking
    go: list[Entry] = []
    for entry in reversed(victims):
        if entry.disk_bytes <= surplus:
            surplus -= entry.disk_bytes
        else:
            go.append(entry)
    return go[::-1]
