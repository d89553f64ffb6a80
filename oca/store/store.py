"""The store: disks, index and incomplete objects, and the operations that keep the three true.

Runs in the storekeeper's event loop; only reading and writing of file contents goes to threads.
Tells its listeners what edge workers must know, in the order in which it becomes true.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from contracts.catalog import CatalogObject
from daemon.log import event
from oca import ipc
from oca.objectfile import disk_bytes, disk_rank
from oca.store.disks import Disk, DiskError, State, is_disk_fault
from oca.store.incomplete import Incomplete
from oca.store.index import Entry, Index

log = logging.getLogger("oca.store")

Listener: TypeAlias = Callable[[ipc.ToEdge], None]


class NoRoom(Exception):
    """No disk has or can make the room. The message says how much is needed and what there is."""


class Corrupt(Exception):
    """Slices of the file are not the published bytes; they must be fetched again."""

    def __init__(self, key: str, slices: list[int]) -> None:
        super().__init__(f"{key}: {len(slices)} slices are missing or wrong, the first is {slices[0]}")
        self.slices = slices


class Store:
    def __init__(self, appliance: str, disks: Sequence[Disk]) -> None:
        self.appliance = appliance
        self.disks = tuple(disks)
        self.index = Index()
        self.incomplete: dict[str, Incomplete] = {}
        self.plan: str | None = None
        self.listeners: list[Listener] = []

    def open(self) -> None:
        """Takes every usable disk into service and rebuilds the index from it."""
        for disk in self.disks:
            try:
                disk.open(self.appliance)
                self._load(disk)
            except DiskError as error:
                event(log, "disk left out", logging.ERROR, disk=str(disk.path), why=str(error))
            except OSError as error:
                disk.fail(f"scan: {error.strerror}")
                event(log, "disk left out", logging.ERROR, disk=str(disk.path), why=str(error))

    def _load(self, disk: Disk) -> None:
        for item, complete in disk.scan():
            known = self.index.get(item.key)
            if complete and known is None:
                self._add(item, disk)
            elif complete:
                # Replaced on another disk just before a crash: one copy is counted, one goes.
                disk.remove(item.key)
            elif known is None and item.key not in self.incomplete:
                self.incomplete[item.key] = Incomplete.reopen(item, disk)
                disk.used_bytes += disk_bytes(item)
            else:
                disk.remove_incomplete(item.key)
        event(log, "disk in service", disk=str(disk.path), used=disk.used_bytes, capacity=disk.capacity_bytes)

    def _add(self, item: CatalogObject, disk: Disk) -> None:
        cost = disk_bytes(item)
        self.index.add(Entry(item.key, item.size, cost, item.etag, disk))
        disk.used_bytes += cost

    def adopt(self, version: str, planned: Mapping[str, int]) -> None:
        """From now on this is the plan: its keys are pinned."""
        self.plan = version
        self.index.pin(planned)

    def begin(self, item: CatalogObject, *, allocate: bool = False) -> Incomplete:
        """The incomplete file of ``item``: the one that is there, or a new one on the best disk.

        Evicts what is least used and not planned where room is lacking. Raises `NoRoom`, OSError.
        """
        known = self.incomplete.get(item.key)
        if known is not None:
            if known.item == item and known.disk.state is State.SERVING:
                return known
            self.abandon(known)
        cost = disk_bytes(item)
        for disk in self._by_preference(item.key):
            victims = self.index.victims(disk, cost)
            if victims is None:
                continue
            self.evict(victims)
            try:
                fd = disk.create(item, allocate=allocate)
            except OSError as error:
                if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                    event(log, "disk is full", logging.WARNING, disk=str(disk.path), need=cost)
                    continue
                if not self.blame(disk, error):
                    raise
                continue
            disk.used_bytes += cost
            made = Incomplete(item, disk, fd)
            self.incomplete[item.key] = made
            return made
        free = ", ".join(f"{disk.path}: {disk.free_bytes} free" for disk in self.disks)
        raise NoRoom(
            f"{item.key} needs {cost} bytes on one disk and nothing unplanned is left to evict ({free})"
        )

    def _by_preference(self, key: str) -> list[Disk]:
        """Serving disks, the one that rendezvous hashing picks for ``key`` first.

        Hashing spreads load and lets a worker guess right; a disk without room is passed over.
        """
        serving = [disk for disk in self.disks if disk.state is State.SERVING]
        return sorted(serving, key=lambda disk: disk_rank(str(disk.path), key))

    def slice_ready(self, item: Incomplete, index: int) -> None:
        """Notes a verified slice and tells the workers."""
        item.mark(index)
        self.tell(ipc.Ready(item.item.key, index))

    async def finish(self, item: Incomplete, *, recheck: bool) -> None:
        """Makes a whole object out of an incomplete one.

        With ``recheck`` every slice that was not verified here is read back and hashed first (the
        fill agent wrote it). Raises `Corrupt`, OSError.
        """
        key = item.item.key
        if recheck and not item.done:
            for index in await asyncio.to_thread(item.check, item.missing()):
                self.slice_ready(item, index)
        if not item.done:
            raise Corrupt(key, item.missing())
        if item.promotion is None:
            item.promotion = asyncio.ensure_future(self._promote(item))
        # Shielded: one caller that goes away must not stop it for the others.
        await asyncio.shield(item.promotion)

    async def _promote(self, item: Incomplete) -> None:
        """The one promotion of an incomplete object; fill and pull-through may both wait for it."""
        key = item.item.key
        try:
            await asyncio.to_thread(item.disk.promote, key, item.fd)
        except OSError as error:
            item.promotion = None
            self.blame(item.disk, error)
            raise
        if self.incomplete.get(key) is not item:
            # Purged, or its disk was taken out, while the thread was at it.
            if item.disk.state is State.SERVING:
                item.disk.remove(key)
            return
        del self.incomplete[key]
        replaced = self.index.remove(key)
        if replaced is not None:
            replaced.disk.used_bytes -= replaced.disk_bytes
            if replaced.disk is not item.disk:
                replaced.disk.remove(key)
            self.tell(ipc.Forget((key,)))
        self.index.add(Entry(key, item.item.size, item.disk_bytes, item.item.etag, item.disk))
        self.tell(ipc.Complete(key))
        event(log, "object complete", key=key, size=item.item.size, disk=str(item.disk.path))

    def abandon(self, item: Incomplete) -> None:
        """Drops an incomplete object and its file."""
        key = item.item.key
        if self.incomplete.pop(key, None) is not None:
            item.disk.used_bytes -= item.disk_bytes
            if item.disk.state is State.SERVING:
                item.disk.remove_incomplete(key)
            self.tell(ipc.Forget((key,)))

    def evict(self, entries: Iterable[Entry]) -> None:
        """Removes complete objects. Responses in flight keep their open file."""
        gone: list[str] = []
        for entry in entries:
            self.index.remove(entry.key)
            entry.disk.used_bytes -= entry.disk_bytes
            try:
                entry.disk.remove(entry.key)
            except OSError as error:
                self.blame(entry.disk, error)
            gone.append(entry.key)
        if gone:
            self.tell(ipc.Forget(tuple(gone)))
            event(log, "objects removed", count=len(gone), first=gone[0])

    def purge(self, matches: Callable[[str], bool]) -> int:
        """Removes every object whose key matches; the number of them."""
        complete = [entry for entry in self.index if matches(entry.key)]
        begun = [item for key, item in self.incomplete.items() if matches(key)]
        self.evict(complete)
        for item in begun:
            self.abandon(item)
        return len(complete) + len(begun)

    def blame(self, disk: Disk, error: OSError) -> bool:
        """Takes ``disk`` out of service when the error speaks against all of it; whether it did."""
        if not is_disk_fault(error):
            return False
        if disk.state is State.SERVING:
            disk.fail(f"{error.strerror} ({errno.errorcode.get(error.errno or 0, error.errno)})")
            lost = [entry.key for entry in self.index if entry.disk is disk]
            lost += [key for key, item in self.incomplete.items() if item.disk is disk]
            for key in lost:
                self.index.remove(key)
                self.incomplete.pop(key, None)
            self.tell(ipc.Forget(tuple(lost)))
            event(log, "disk failed", logging.ERROR, disk=str(disk.path), why=disk.why, objects=len(lost))
        return True

    def tell(self, message: ipc.ToEdge) -> None:
        for listener in self.listeners:
            listener(message)
