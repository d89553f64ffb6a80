"""The store: disks, index and incomplete objects, and the operations that keep the three true.

Decides in the storekeeper's event loop, and keeps the books there; what is done to a disk is done by the
disk's own threads. Each has one for all that makes, renames and removes files, so these happen in the order
in which they were decided. What a thread is about to do may have been overtaken by a purge: it works on its
own `Incomplete`, which says so, and remembers how far it came (docs/on-disk-format.md).

Tells its listeners what edge workers must know, in the order in which it becomes true.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from contracts.catalog import CatalogObject
from contracts.objectkey import SLICE_BYTES
from daemon.log import event
from oca import ipc
from oca.objectfile import disk_bytes
from oca.store.disks import Disk, flushing_s, is_disk_fault, is_full
from oca.store.diskstate import Event, State, after
from oca.store.incomplete import Corrupt, Incomplete
from oca.store.index import Entry, Index
from oca.store.meanwhile import Meanwhile
from oca.store.place import TierChoice, choose_place
from oca.store.scan import Found
from oca.store.served import Cause, Served

log = logging.getLogger("oca.store")

Listener: TypeAlias = Callable[[ipc.ToEdge], None]

_TRIES: Final = 2
"""On one disk: where it is fuller than we thought, more is evicted from it for the second."""
_REMOVAL_S: Final = 0.01
"""Of patience, for each file that is removed in one go."""


class Store:
    def __init__(self, appliance: str, disks: Sequence[Disk], floor_share: float = 0.0) -> None:
        self.appliance, self.disks = appliance, tuple(disks)
        self.index = Index(floor_share)
        self.incomplete: dict[str, Incomplete] = {}
        self.plan: str | None = None
        self.plan_issued_at = 0  # by the signed word that put it in force; 0: nobody signed it
        self.choice = TierChoice()
        self.served = Served()
        self.listeners: list[Listener] = []
        self._most_begun = max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        """Each incomplete object in use has a file open, and the rest of the process needs some too."""
        self.on_failed: list[Callable[[Disk], None]] = []
        """Called with a disk that is out of service from now on."""
        self._chores: set[asyncio.Task[None]] = set()
        self.moving: dict[str, Incomplete] = {}
        """Copies of complete objects, on their way to another disk (`oca.store.mover`)."""
        self.meanwhile = Meanwhile()
        for disk in self.disks:
            self.watch(disk)

    def watch(self, disk: Disk) -> None:
        """Has ``disk`` taken out of service when it hangs."""
        disk.files.on_hang = disk.contents.on_hang = partial(self.fail, disk)

    def knows_nothing(self, key: str) -> bool:
        """Whether there is neither a complete object nor one on its way in."""
        return key not in self.incomplete and self.index.get(key) is None

    def add(self, found: Found, disk: Disk) -> None:
        """Counts a complete object that was found on ``disk``."""
        self.index.add(Entry(found.key, found.size, found.disk_bytes, found.etag, disk))
        disk.used_bytes += found.disk_bytes

    def reopen(self, item: CatalogObject, disk: Disk) -> None:
        """Counts an incomplete object that was found on ``disk``; what it holds is looked at when it is used."""
        self.incomplete[item.key] = Incomplete.reopen(item, disk)
        disk.used_bytes += disk_bytes(item)

    def adopt(self, version: str, planned: Mapping[str, int], issued_at: int = 0) -> None:
        """From now on this is the plan, most wanted first: its keys are pinned."""
        self.plan, self.plan_issued_at = version, issued_at
        self.index.pin(planned)
        self.choice.adopt(planned, self.disks)

    def touched(self, touches: Sequence[tuple[str, int]]) -> None:
        """Players have asked for these keys, so many times each, since the last time this was called."""
        self.index.touch(touches)
        for key in self.incomplete.keys() & {key for key, _ in touches}:
            self.incomplete[key].played = self.index.now_minute

    async def held(self, key: str) -> Entry | None:
        """The complete object, after a look whether it is still on its disk: somebody may have removed it."""
        entry = self.index.get(key)
        if entry is None:
            return None
        try:
            there = await entry.disk.files.run(partial(entry.disk.holds, key))
        except OSError as error:
            self.blame(entry.disk, error)
            return self.index.get(key)
        if not there and self.index.get(key) is entry:
            event(log, "object vanished", logging.ERROR, key=key, disk=str(entry.disk.path))
            self.evict([entry], Cause.DISK_FAULT)
        return self.index.get(key)

    async def begin(self, item: CatalogObject, *, allocate: bool = False) -> Incomplete:
        """The incomplete file of ``item``: the one that is there, or a new one on the best disk.

        Evicts what is least used and not planned where room is lacking. Raises `NoRoom`, OSError.
        """
        tries: Counter[Disk] = Counter()
        while True:
            for disk in self.disks:
                if disk.overfull and disk.state is State.SERVING:
                    await self.measure(disk)
            begun = self._known(item) or self._begin(item, allocate, tries)
            if begun.made is None:
                return begun
            error = await asyncio.shield(begun.made)
            if error is None:
                return begun
            if not is_full(error) and not is_disk_fault(error):
                raise error
            tries[begun.disk] += 1

    def _known(self, item: CatalogObject) -> Incomplete | None:
        """The incomplete object, if it is of these very bytes; drops what has its name otherwise."""
        known = self.incomplete.get(item.key)
        if known is not None and not (known.item == item and known.disk.counted):
            self.abandon(known)
            return None
        return known

    def _begin(self, item: CatalogObject, allocate: bool, tries: Counter[Disk]) -> Incomplete:
        """Makes room and takes it. The file is there once `Incomplete.made` is done. Raises `NoRoom`."""
        disks = [disk for disk in self.disks if tries[disk] < _TRIES]
        tier = self.choice.tier_for(item.key)
        place = choose_place(item.key, disk_bytes(item), tier, disks, self.index, self.incomplete)
        self.drop_copy(item.key)
        self.evict(place.evict)
        for lesser in place.give_up:
            self.abandon(lesser)
        while len(self.incomplete) >= self._most_begun:
            unplanned = (one for key, one in self.incomplete.items() if key not in self.index.pinned)
            oldest = next(unplanned, None) or next(iter(self.incomplete.values()))
            event(log, "begun object given up", logging.WARNING, key=oldest.item.key)
            self.abandon(oldest)
        begun = self.incomplete[item.key] = Incomplete(item, place.disk, None)
        place.disk.used_bytes += begun.disk_bytes
        begun.made = asyncio.ensure_future(self._create(begun, allocate))
        return begun

    async def _create(self, begun: Incomplete, allocate: bool) -> OSError | None:
        """Has the file made; why it could not be, after what follows from that."""
        try:
            size = begun.item.size if allocate else 0
            await begun.disk.files.run(partial(begun.make, allocate=allocate), extra_s=flushing_s(size))
            return None
        except OSError as error:
            self.abandon(begun)
            if is_full(error):
                await self.measure(begun.disk)
            else:
                self.blame(begun.disk, error)
            return error

    def slices_ready(self, item: Incomplete, indices: Sequence[int]) -> None:
        """Notes verified slices (rising) and tells the workers, who are woken for each message."""
        item.mark(indices)
        # Dropped meanwhile, and perhaps begun again: of the file that workers now have, this is not true.
        if self.incomplete.get(item.item.key) is item:
            for message in ipc.ready(item.item.key, indices):
                self.tell(message)

    async def verify(self, item: Incomplete, indices: Sequence[int], inode: int = 0) -> None:
        """Reads slices back and notes those that are right; blames the disk for what it cannot read.

        With ``inode``, that of the file into which somebody has written them verified, as `Incomplete.check`.
        """
        try:
            extra_s = flushing_s(len(indices) * SLICE_BYTES)
            right = item.disk.contents.run(partial(item.check, indices, inode), extra_s=extra_s)
            self.slices_ready(item, await right)
        except OSError as error:
            self.blame(item.disk, error)
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
        """The one promotion of an incomplete object; fill and pull-through may both wait for it."""
        key, disk = item.item.key, item.disk
        try:
            await disk.contents.run(item.prepare, extra_s=flushing_s(item.item.size))
            if item.dropped:
                return  # purged, or its disk was taken out, while the thread was at it
            # What it replaces goes first: nothing that has the name may be removed behind the rename.
            replaced = self.index.get(key)
            if replaced is not None:
                self.evict([replaced], Cause.EXPIRED)
            await disk.files.run(item.promote)
            if self.incomplete.get(key) is not item:
                return  # `abandon` has its file removed, whatever its name is by now
            del self.incomplete[key]
            etag = item.item.etag
            self.index.add(Entry(key, item.item.size, item.disk_bytes, etag, disk, played=item.played))
            await disk.contents.run(partial(disk.settle, key))
        except OSError as error:
            item.promotion = None
            item.failed = is_full(error)
            self.blame(disk, error)
            raise
        self.tell(ipc.Complete(key))
        event(log, "object complete", key=key, size=item.item.size, disk=str(disk.path))

    def abandon(self, item: Incomplete) -> None:
        """Drops an incomplete object and its file."""
        key = item.item.key
        item.dropped = True
        if self.incomplete.get(key) is item:
            del self.incomplete[key]
            self.tell(ipc.Forget((key,)))
            if item.disk.counted:
                item.disk.used_bytes -= item.disk_bytes
                self._remove(item.disk, (key,), item.discard)

    def drop_copy(self, key: str) -> None:
        """Ends the move of a complete object, if one is under way: what is on the target goes."""
        copy = self.moving.pop(key, None)
        if copy is not None:
            copy.dropped = True
            if copy.disk.counted:
                copy.disk.used_bytes -= copy.disk_bytes
                self._remove(copy.disk, (key,), copy.discard)

    def moved(self, entry: Entry) -> None:
        """The copy of ``entry`` counts from now on, and not the file that it was made of."""
        copy = self.moving.pop(entry.key)
        source = entry.disk
        self.index.relocate(entry, copy.disk)
        if source.counted:
            source.used_bytes -= entry.disk_bytes
            self._remove(source, (entry.key,), partial(source.remove, entry.key))

    def evict(self, entries: Iterable[Entry], cause: Cause = Cause.EVICTED) -> None:
        """Removes complete objects; no worker finds them any more once that has `settled`."""
        gone: defaultdict[Disk, list[str]] = defaultdict(list)
        for entry in entries:
            if self.index.get(entry.key) is entry and entry.disk.counted:
                self.index.remove(entry.key)
                self.drop_copy(entry.key)
                entry.disk.used_bytes -= entry.disk_bytes
                gone[entry.disk].append(entry.key)
        for disk, keys in gone.items():
            self.served.gone(keys, cause)
            self.tell(ipc.Forget(tuple(keys)))
            event(log, "objects removed", count=len(keys), first=keys[0], disk=str(disk.path))
            self._remove(disk, tuple(keys), partial(disk.remove_all, keys))

    def _remove(self, disk: Disk, keys: tuple[str, ...], remove: Callable[[], None]) -> asyncio.Task[None]:
        """Has files removed. One that cannot be is the disk's fault, and never its caller's."""
        # In the queue before this returns: a file that is given the name afterwards must stay.
        removing = disk.files.run(remove, extra_s=len(keys) * _REMOVAL_S, always=True)
        return self.chore(self._removed(disk, keys, removing))

    async def _removed(self, disk: Disk, keys: tuple[str, ...], removing: asyncio.Future[None]) -> None:
        try:
            await removing
        except OSError as error:
            if not self.blame(disk, error):
                event(log, "cannot remove", logging.ERROR, key=keys[0], why=str(error))
        # Again: until now a worker that looked found the file, and has it open.
        self.tell(ipc.Forget(keys, str(disk.path)))

    def chore(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Has something done that `settled` waits for."""
        task = asyncio.ensure_future(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
        return task

    async def purge(self, matches: Callable[[str], bool]) -> int:
        """Removes every object whose key matches; the number of them, once their files are gone."""
        complete = [entry for entry in self.index if matches(entry.key)]
        begun = [item for key, item in self.incomplete.items() if matches(key)]
        self.evict(complete, Cause.EXPIRED)
        for item in begun:
            self.abandon(item)
        if any(not disk.in_service for disk in self.disks):
            self.meanwhile.purged(matches)
        await self.settled()
        return len(complete) + len(begun)

    async def settled(self) -> None:
        """Returns once the files are gone of all that was removed until now."""
        if self._chores:
            await asyncio.wait(tuple(self._chores))

    def blame(self, disk: Disk, error: OSError) -> bool:
        """Draws the conclusions from an error for ``disk`` as a whole; whether there were any.

        A full one counts less room from now on, and what it could not take is begun again; one that fails is
        taken out of service.
        """
        if is_full(error):
            event(log, "disk is full", logging.WARNING, disk=str(disk.path), used=disk.used_bytes)
            for item in [item for item in self.incomplete.values() if item.disk is disk and item.failed]:
                self.abandon(item)
            disk.overfull = True  # so it is measured before anything else is begun on it
            self.chore(self.measure(disk))
            return True
        if not is_disk_fault(error):
            return False
        self.fail(disk, f"{error.strerror} ({errno.errorcode.get(error.errno or 0, error.errno)})")
        return True

    def fail(self, disk: Disk, why: str) -> None:
        """Takes the disk out of service, if it is not already."""
        if not disk.counted:
            return
        disk.fail(why)
        lost = self._lose(disk)
        event(log, "disk failed", logging.ERROR, disk=str(disk.path), why=why, objects=lost)
        for listener in self.on_failed:
            listener(disk)

    def take_out(self, disk: Disk) -> None:
        """The disk is none of ours from now on."""
        disk.state = after(disk.state, Event.REMOVE)
        self.disks = tuple(other for other in self.disks if other is not disk)
        self._lose(disk)

    def drop(self, entry: Entry) -> None:
        """Forgets a complete object whose file is no longer what the books say; the file stays."""
        if self.index.get(entry.key) is entry:
            self.index.remove(entry.key)
            self.served.gone((entry.key,), Cause.DISK_FAULT)
            self.drop_copy(entry.key)
            entry.disk.used_bytes -= entry.disk_bytes
            self.tell(ipc.Forget((entry.key,)))

    def _lose(self, disk: Disk) -> int:
        """Forgets what is on a disk that is out of service; how many objects that were."""
        lost = [entry.key for entry in self.index if entry.disk is disk]
        begun = [item for item in self.incomplete.values() if item.disk is disk]
        self.served.gone(lost, Cause.DISK_FAULT)
        for key in lost:
            self.index.remove(key)
            self.drop_copy(key)
        for key, copy in list(self.moving.items()):
            if copy.disk is disk:
                self.drop_copy(key)
        for item in begun:
            item.dropped = True
            del self.incomplete[item.item.key]
        self.tell(self.in_service())
        self.tell(ipc.Forget(tuple(item.item.key for item in begun)))
        return len(lost) + len(begun)

    def in_service(self) -> ipc.Disks:
        """Where workers may look."""
        return ipc.Disks(tuple(str(disk.path) for disk in self.disks if disk.in_service))

    async def measure(self, disk: Disk) -> None:
        """Finds out how much room the disk really has."""
        here = [item for item in self.incomplete.values() if item.disk is disk]
        used_bytes = disk.used_bytes  # as it is when all is done that was decided until now

        def look() -> None:
            disk.measure(used_bytes, sum(item.unwritten_bytes() for item in here))

        try:
            await disk.files.run(look)
        except OSError as error:
            self.blame(disk, error)

    def tell(self, message: ipc.ToEdge) -> None:
        for listener in self.listeners:
            listener(message)
