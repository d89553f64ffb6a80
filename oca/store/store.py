"""The store: disks, index and incomplete objects, and the operations that keep the three true.

Runs in the storekeeper's event loop; only reading and writing of file contents goes to threads.
Tells its listeners what edge workers must know, in the order in which it becomes true.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from contracts.catalog import CatalogObject
from daemon.log import event
from oca import ipc
from oca.objectfile import disk_bytes, disk_rank
from oca.store.disks import Disk, DiskError, State, is_disk_fault, is_full
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
        self._most_begun = max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        """Each incomplete object in use has a file open, and the rest of the process needs some too."""

    def open(self) -> None:
        """Takes every usable disk into service and rebuilds the index from it."""
        for disk in self.disks:
            try:
                disk.open(self.appliance)
                self._load(disk)
            except DiskError as error:
                event(log, "disk left out", logging.ERROR, disk=str(disk.path), why=str(error))
            except OSError as error:
                disk.fail(f"scan: {error.strerror} ({error.filename or 'while reading'})")
                self._lose(disk)
                event(log, "disk left out", logging.ERROR, disk=str(disk.path), why=str(error))

    def _load(self, disk: Disk) -> None:
        for item, complete in disk.scan():
            known, begun = self.index.get(item.key), self.incomplete.get(item.key)
            if complete:
                # Two are there when one was replaced on another disk just before a crash, or when a disk
                # comes back that was away: one copy is counted, one goes.
                if known is not None and not self._supersedes(item, known):
                    disk.remove(item.key)
                    continue
                if known is not None:
                    self.evict([known])
                if begun is not None:
                    self.abandon(begun)
                self._add(item, disk)
            elif known is None and begun is None:
                self.incomplete[item.key] = Incomplete.reopen(item, disk)
                disk.used_bytes += disk_bytes(item)
            elif begun is None or begun.disk is not disk:
                disk.remove_incomplete(item.key)
        event(log, "disk in service", disk=str(disk.path), used=disk.used_bytes, capacity=disk.capacity_bytes)

    def _supersedes(self, item: CatalogObject, known: Entry) -> bool:
        """Whether an object found on a disk was published after the complete one that we know already."""
        other = known.disk.describe(known.key)
        return other is None or (item.etag != other.etag and item.modified_at > other.modified_at)

    def _add(self, item: CatalogObject, disk: Disk) -> None:
        cost = disk_bytes(item)
        self.index.add(Entry(item.key, item.size, cost, item.etag, disk))
        disk.used_bytes += cost

    def adopt(self, version: str, planned: Mapping[str, int]) -> None:
        """From now on this is the plan: its keys are pinned."""
        self.plan = version
        self.index.pin(planned)

    def held(self, key: str) -> Entry | None:
        """The complete object, after a look whether it is still on its disk: somebody may have removed it."""
        entry = self.index.get(key)
        if entry is None or entry.disk.holds(key):
            return entry
        event(log, "object vanished", logging.ERROR, key=key, disk=str(entry.disk.path))
        self.evict([entry])
        return None

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
            # Twice: a disk that was fuller than we thought has more evicted from it.
            made = self._make(item, disk, cost, allocate) or self._make(item, disk, cost, allocate)
            if made is not None:
                return made
        for disk in self._by_preference(item.key):
            if self._give_up_begun(disk, cost):
                made = self._make(item, disk, cost, allocate)
                if made is not None:
                    return made
        free = ", ".join(f"{disk.path}: {disk.free_bytes} free" for disk in self.disks)
        raise NoRoom(
            f"{item.key} needs {cost} bytes on one disk and nothing unplanned is left to evict ({free})"
        )

    def _make(self, item: CatalogObject, disk: Disk, cost: int, allocate: bool) -> Incomplete | None:
        """An incomplete file of ``item`` on this disk; None when it has no room, or fails. Raises OSError."""
        if disk.overfull:
            self._measure(disk)
        victims = self.index.victims(disk, cost) if disk.state is State.SERVING else None
        if victims is None:
            return None
        self.evict(victims)
        try:
            fd = disk.create(item, allocate=allocate)
        except OSError as error:
            if not self.blame(disk, error):
                raise
            return None
        disk.used_bytes += cost
        while len(self.incomplete) >= self._most_begun:
            oldest = next(iter(self.incomplete.values()))
            event(
                log, "begun object given up", logging.WARNING, key=oldest.item.key, begun=len(self.incomplete)
            )
            self.abandon(oldest)
        made = self.incomplete[item.key] = Incomplete(item, disk, fd)
        return made

    def _give_up_begun(self, disk: Disk, cost: int) -> bool:
        """Makes room of unplanned objects that were begun, the oldest first; False when all are not enough.

        A player may be waiting for one, and comes again. But what nobody ever asks the rest of would
        otherwise keep its room for ever.
        """
        planned = self.index.pinned
        lacking = cost - disk.free_bytes
        lacking -= sum(e.disk_bytes for e in self.index if e.disk is disk and e.key not in planned)
        chosen: list[Incomplete] = []
        for item in self.incomplete.values():
            if lacking > 0 and item.disk is disk and item.item.key not in planned:
                chosen.append(item)
                lacking -= item.disk_bytes
        if lacking > 0:
            return False
        for item in chosen:
            self.abandon(item)
        return True

    def _by_preference(self, key: str) -> list[Disk]:
        """Serving disks, the one that rendezvous hashing picks for ``key`` first.

        Hashing spreads load and lets a worker guess right; a disk without room is passed over.
        """
        serving = [disk for disk in self.disks if disk.state is State.SERVING]
        return sorted(serving, key=lambda disk: disk_rank(str(disk.path), key))

    def slice_ready(self, item: Incomplete, index: int) -> None:
        """Notes a verified slice and tells the workers."""
        item.mark(index)
        # Dropped meanwhile, and perhaps begun again: of the file that workers now have, this is not true.
        if self.incomplete.get(item.item.key) is item:
            self.tell(ipc.Ready(item.item.key, index))

    async def verify(self, item: Incomplete, indices: Sequence[int]) -> None:
        """Reads slices back and notes those that are right; blames the disk for what it cannot read."""
        for index in await asyncio.to_thread(item.check, indices):
            self.slice_ready(item, index)
        if item.unreadable is not None:
            self.blame(item.disk, item.unreadable)

    async def finish(self, item: Incomplete, *, recheck: bool) -> None:
        """Makes a whole object out of an incomplete one.

        With ``recheck`` every slice that was not verified here is read back and hashed first (the
        fill agent wrote it). Raises `Corrupt`, OSError.
        """
        key = item.item.key
        if recheck and not item.done:
            await self.verify(item, item.missing())
        if not item.done:
            raise Corrupt(key, item.missing())
        if item.promotion is None:
            item.promotion = asyncio.ensure_future(self._promote(item))
        # Shielded: one caller that goes away must not stop it for the others.
        await asyncio.shield(item.promotion)

    async def _promote(self, item: Incomplete) -> None:
        """The one promotion of an incomplete object; fill and pull-through may both wait for it.

        The rename happens here and not in a thread: an object that is purged and begun again has a new
        file of the same name, with nothing in it yet, and that one must never be the one that is renamed.
        """
        key, disk = item.item.key, item.disk
        try:
            await asyncio.to_thread(disk.prepare, key, item.fd)
            if self.incomplete.get(key) is not item:
                return  # purged, or its disk was taken out, while the thread was at it
            disk.promote(key)
            self._completed(item)
            await asyncio.to_thread(disk.settle, key)
        except OSError as error:
            item.promotion = None
            item.failed = is_full(error)
            self.blame(disk, error)
            raise
        self.tell(ipc.Complete(key))
        event(log, "object complete", key=key, size=item.item.size, disk=str(disk.path))

    def _completed(self, item: Incomplete) -> None:
        key = item.item.key
        del self.incomplete[key]
        replaced = self.index.remove(key)
        if replaced is not None:
            if replaced.disk.state is State.SERVING:
                replaced.disk.used_bytes -= replaced.disk_bytes
            if replaced.disk is not item.disk:
                self._unlink(replaced.disk, replaced.disk.remove, key)
            self.tell(ipc.Forget((key,)))
        self.index.add(Entry(key, item.item.size, item.disk_bytes, item.item.etag, item.disk))

    def abandon(self, item: Incomplete) -> None:
        """Drops an incomplete object and its file."""
        key = item.item.key
        if self.incomplete.pop(key, None) is not None:
            if item.disk.state is State.SERVING:
                item.disk.used_bytes -= item.disk_bytes
                self._unlink(item.disk, item.disk.remove_incomplete, key)
            self.tell(ipc.Forget((key,)))

    def evict(self, entries: Iterable[Entry]) -> None:
        """Removes complete objects. Responses in flight keep their open file."""
        gone: list[str] = []
        for entry in entries:
            if self.index.remove(entry.key) is not None and entry.disk.state is State.SERVING:
                entry.disk.used_bytes -= entry.disk_bytes
                self._unlink(entry.disk, entry.disk.remove, entry.key)
            gone.append(entry.key)
        if gone:
            self.tell(ipc.Forget(tuple(gone)))
            event(log, "objects removed", count=len(gone), first=gone[0])

    def _unlink(self, disk: Disk, remove: Callable[[str], None], key: str) -> None:
        """A file that cannot be removed is the disk's fault, and never its caller's."""
        try:
            remove(key)
        except OSError as error:
            if not self.blame(disk, error):
                event(log, "cannot remove", logging.ERROR, key=key, disk=str(disk.path), why=error.strerror)

    def purge(self, matches: Callable[[str], bool]) -> int:
        """Removes every object whose key matches; the number of them."""
        complete = [entry for entry in self.index if matches(entry.key)]
        begun = [item for key, item in self.incomplete.items() if matches(key)]
        self.evict(complete)
        for item in begun:
            self.abandon(item)
        return len(complete) + len(begun)

    def blame(self, disk: Disk, error: OSError) -> bool:
        """Draws the conclusions from an error for ``disk`` as a whole; whether there were any.

        A full one counts less room from now on, and what it could not take is begun again; one that fails is
        taken out of service.
        """
        if is_full(error):
            event(log, "disk is full", logging.WARNING, disk=str(disk.path), used=disk.used_bytes)
            self._measure(disk)
            for item in [item for item in self.incomplete.values() if item.disk is disk and item.failed]:
                self.abandon(item)
            return True
        if not is_disk_fault(error):
            return False
        if disk.state is State.SERVING:
            disk.fail(f"{error.strerror} ({errno.errorcode.get(error.errno or 0, error.errno)})")
            lost = self._lose(disk)
            event(log, "disk failed", logging.ERROR, disk=str(disk.path), why=disk.why, objects=lost)
        return True

    def unreadable(self, key: str, disk: Disk, error: OSError) -> None:
        """A worker failed to read the object from ``disk``: blames it, and nobody finds the file again.

        Workers look on the disks themselves, so that a file which opens and breaks off in the middle would
        cut short every answer of the object, even after its disk was taken out of service.
        """
        if is_disk_fault(error):
            entry = self.index.get(key)
            if entry is not None and entry.disk is disk:
                self.index.remove(key)
                disk.used_bytes -= entry.disk_bytes
                self.tell(ipc.Forget((key,)))
            # Where not even this works, the file system takes no write: whoever can be read is read on.
            with contextlib.suppress(OSError):
                disk.quarantine(key)
        self.blame(disk, error)

    def _lose(self, disk: Disk) -> int:
        """Forgets what is on a disk that is out of service; how many objects that were."""
        lost = [entry.key for entry in self.index if entry.disk is disk]
        lost += [key for key, item in self.incomplete.items() if item.disk is disk]
        for key in lost:
            self.index.remove(key)
            self.incomplete.pop(key, None)
        self.tell(ipc.Forget(tuple(lost)))
        return len(lost)

    def _measure(self, disk: Disk) -> None:
        here = [item for item in self.incomplete.values() if item.disk is disk]
        try:
            disk.measure(sum(item.unwritten_bytes() for item in here))
        except OSError as error:
            self.blame(disk, error)

    def tell(self, message: ipc.ToEdge) -> None:
        for listener in self.listeners:
            listener(message)
