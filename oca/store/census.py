"""What lies on which disk: counted when it is asked for, but never so often that counting costs much."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from oca.status import DiskStatus, ScrubStatus
from oca.store.disks import Disk
from oca.store.operations import Operations
from oca.store.store import Store

_SHARE: Final = 50
"""A census is good for so many times as long as it took: a million objects take half a second."""


class _Count:
    __slots__ = ("demand_bytes", "hot_bytes", "objects", "pinned_bytes")

    def __init__(self) -> None:
        self.objects = self.pinned_bytes = self.demand_bytes = self.hot_bytes = 0


class Census:
    def __init__(
        self, store: Store, operations: Operations, scrubbing: Callable[[Disk], ScrubStatus | None]
    ) -> None:
        self._store = store
        self._scrubbing = scrubbing
        self._operations = operations
        self._counts: dict[Disk, _Count] = {}
        self._good_until = 0.0

    def disks(self) -> tuple[DiskStatus, ...]:
        """Each disk as `oca disks` shows it."""
        began = time.monotonic()
        if began >= self._good_until:
            self._count()
            now = time.monotonic()
            self._good_until = now + (now - began) * _SHARE if now - began > 0.01 else 0.0
        return tuple(self._status(disk, self._counts.get(disk) or _Count()) for disk in self._store.disks)

    def _count(self) -> None:
        self._counts = {disk: _Count() for disk in self._store.disks}
        pinned, is_hot = self._store.index.pinned, self._store.choice.is_hot
        for entry in self._store.index:
            count = self._counts.get(entry.disk)
            if count is None:
                continue
            count.objects += 1
            if entry.key in pinned:
                count.pinned_bytes += entry.disk_bytes
                continue
            count.demand_bytes += entry.disk_bytes
            if is_hot(entry.key):
                count.hot_bytes += entry.disk_bytes

    def _status(self, disk: Disk, count: _Count) -> DiskStatus:
        return DiskStatus(
            path=str(disk.path),
            state=disk.state.value,
            capacity_bytes=disk.capacity_bytes,
            used_bytes=disk.used_bytes,
            objects=count.objects,
            why=disk.why,
            tier=disk.tier.value,
            pinned_bytes=count.pinned_bytes,
            demand_bytes=count.demand_bytes,
            hot_bytes=count.hot_bytes,
            faults=disk.faults,
            heat=round(disk.heat, 1),
            quarantined_files=disk.quarantined_files,
            quarantined_bytes=disk.quarantined_bytes,
            scrub=self._scrubbing(disk),
            stays=self._operations.stays.get(disk, 0),
        )
