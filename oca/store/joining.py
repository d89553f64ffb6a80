"""Taking a disk into service, at the start and whenever one comes back: probe it, count it, settle what is twice.

While it is counted the disk is JOINING and the appliance serves: purges reach what has been counted
already, and `Meanwhile` knows what the rest has missed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import islice
from typing import Final, TypeVar

from contracts.catalog import CatalogObject
from daemon.log import event
from oca.store import scan, snapshot
from oca.store.disks import Disk, DiskError
from oca.store.diskstate import Event, Patience, State, after
from oca.store.index import Entry
from oca.store.scan import Found
from oca.store.snapshot import BadSnapshot, Snapshot
from oca.store.store import Store

log = logging.getLogger("oca.store")

_F = TypeVar("_F", Found, CatalogObject)

_SNAPSHOT_S: Final = 60.0
"""Of patience, for reading a snapshot of millions of objects."""
_AT_A_TIME: Final = 256
"""Files, between two looks whether the disk hangs."""


class Joining:
    """``first_look_s`` after a disk failed it is looked at again, then after twice as long each time."""

    def __init__(self, store: Store, now: Callable[[], float], first_look_s: float) -> None:
        self._store = store
        self._now = now
        self._first_look_s = first_look_s
        self._patience: dict[Disk, Patience] = {}
        self._looks: dict[Disk, asyncio.Task[None]] = {}
        self.on_joined: list[Callable[[Disk], None]] = []
        """Called with a disk that is in service from now on."""
        self.unsettled: dict[Disk, Snapshot] = {}
        """Disks that were counted from a snapshot which was not compared with all of the disk yet."""
        store.on_failed.append(self._failed)

    async def open(self) -> None:
        """Takes every usable disk into service. Those that are not are looked at again, later."""
        await asyncio.gather(*(self.join(disk, make_folders=True) for disk in self._store.disks))
        self._forget_what_was_missed()

    async def retry(self, disk: Disk) -> None:
        """Looks at a failed disk now, because an operator says so: folders that are gone are made again."""
        look = self._looks.pop(disk, None)
        if look is not None:
            look.cancel()
        if disk.state is State.FAILED:
            await self.join(disk, make_folders=True)

    def forget(self, disk: Disk) -> None:
        """The disk is out for good."""
        look = self._looks.pop(disk, None)
        if look is not None:
            look.cancel()
        self._patience.pop(disk, None)

    async def join(self, disk: Disk, *, make_folders: bool) -> None:
        """Probes a disk and takes it into service; one that is not well is FAILED, and says why."""
        disk.state = after(disk.state, Event.LOOK)
        try:
            if not (disk.files.idle and disk.contents.idle):
                raise DiskError("the disk hangs: what was asked of it has not returned yet")
            open_it = partial(disk.open, self._store.appliance, make_folders=make_folders)
            await disk.files.run(open_it)
            await disk.files.run(disk.probe)
            await self._count(disk)
        except DiskError as error:
            self._store.fail(disk, str(error))
        except OSError as error:
            what = error.filename or "while it was probed and counted"
            self._store.fail(disk, f"{error.strerror} ({what})")
        if disk.state is not State.JOINING:
            return  # or its own threads said so
        disk.state = after(disk.state, Event.JOINED)
        self._patience.setdefault(disk, Patience(self._first_look_s)).joined(self._now())
        self._forget_what_was_missed()
        self._store.tell(self._store.in_service())
        event(log, "disk in service", disk=str(disk.path), used=disk.used_bytes, capacity=disk.capacity_bytes)
        for listener in self.on_joined:
            listener(disk)

    def _forget_what_was_missed(self) -> None:
        if all(disk.in_service for disk in self._store.disks):
            self._store.meanwhile.clear()

    def _failed(self, disk: Disk) -> None:
        wait_s = self._patience.setdefault(disk, Patience(self._first_look_s)).failed(self._now())
        self._looks[disk] = asyncio.ensure_future(self._look_later(disk, wait_s))

    async def _look_later(self, disk: Disk, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        if disk.state is State.FAILED:
            await self.join(disk, make_folders=False)

    async def _count(self, disk: Disk) -> None:
        """Enters what is on the disk into the books. Raises OSError."""
        taken = await disk.files.run(partial(_from_snapshot, disk), extra_s=_SNAPSHOT_S)
        if taken is not None:
            self.unsettled[disk], objects = taken
            complete = iter(objects)
        else:
            complete = scan.complete_objects(disk.path)
        await self._enter(disk, complete, self.count, disk.remove)
        if disk.state is State.JOINING:
            begun = scan.incomplete_objects(disk.path)
            await self._enter(disk, begun, self._incomplete, disk.remove_incomplete)
        if disk.state is State.JOINING:
            disk.count_quarantine(*await disk.files.run(disk.trim_quarantine))

    async def _enter(
        self,
        disk: Disk,
        found: Iterator[_F],
        enter: Callable[[_F, Disk], Awaitable[None]],
        remove: Callable[[str], object],
    ) -> None:
        """Each that was found is entered, or removed when it went out of date while the disk was away."""
        while batch := await disk.files.run(lambda: list(islice(found, _AT_A_TIME))):
            for item in batch:
                if disk.state is not State.JOINING:
                    return
                if self._store.meanwhile.outdated(item.key, item.etag):
                    await disk.files.run(partial(remove, item.key))
                elif isinstance(item, Found) and self._store.knows_nothing(item.key):
                    self._store.add(item, disk)  # nearly every one of a million: no coroutine for it
                else:
                    await enter(item, disk)

    async def count(self, item: Found, disk: Disk) -> None:
        """Enters a complete object that is on the disk into the books. Of two copies one is counted, and one goes.

        Two are there when one was replaced on another disk just before a crash, or when a disk comes back.
        """
        store = self._store
        known = store.index.get(item.key)
        if known is not None and not await self._supersedes(item, disk, known):
            await disk.files.run(partial(disk.remove, item.key))
            return
        known, begun = store.index.get(item.key), store.incomplete.get(item.key)
        if known is not None:
            store.evict([known])
        if begun is not None:
            store.abandon(begun)
        store.add(item, disk)

    async def _supersedes(self, item: Found, disk: Disk, known: Entry) -> bool:
        """Whether an object found on a disk was published after the complete one that we know already."""
        if item.etag == known.etag:
            return False
        modified_at = item.modified_at
        if modified_at is None:
            this = await disk.files.run(partial(disk.describe, item.key))
            if this is None:
                return False
            modified_at = this.modified_at
        try:
            other = await known.disk.files.run(partial(known.disk.describe, known.key))
        except OSError as error:
            self._store.blame(known.disk, error)
            return True
        return other is None or modified_at > other.modified_at

    async def _incomplete(self, item: CatalogObject, disk: Disk) -> None:
        store = self._store
        if store.index.get(item.key) is None and item.key not in store.incomplete:
            store.reopen(item, disk)
        else:
            await disk.files.run(partial(disk.remove_incomplete, item.key))


def _from_snapshot(disk: Disk) -> tuple[Snapshot, list[Found]] | None:
    """What the last clean end says is on the disk; None when nothing says it that can be believed. Raises OSError."""
    try:
        taken = snapshot.take(disk.path, disk.id, time.time_ns())
        return (taken, taken.objects()) if taken is not None else None
    except BadSnapshot as error:
        event(log, "snapshot refused", logging.WARNING, disk=str(disk.path), why=str(error))
        return None
