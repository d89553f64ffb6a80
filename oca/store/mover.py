"""Moves complete objects from one disk to another, while they are served. Never are two copies counted as two.

    copy      into incomplete/ of the target, each slice verified as it passes, at a capped rate
    flush     fsync of the copy, then rename: from here on two files are there, and one is counted, the old one
    switch    the books name the target; its folders are synced
    remove    the old file; workers then hear that they must look again, and open the copy

A purge, an eviction or another publication meanwhile wins: it drops the copy (`Store.moving`). Killed at any
point, one of the two files counts at the next start: an incomplete one beside a complete one is removed, and of two
complete ones of the same bytes either.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import os
from functools import partial

from contracts.objectkey import slice_span
from daemon.log import event
from oca.objectfile import complete_path
from oca.store.disks import Disk, flushing_s, is_full
from oca.store.diskstate import State
from oca.store.doubt import distrust, unreadable
from oca.store.incomplete import Incomplete, WrongSlice
from oca.store.index import Entry
from oca.store.store import Store

log = logging.getLogger("oca.store.mover")


class Moved(enum.Enum):
    """How a move ended, and what follows."""

    DONE = "done"  # it lies on the target
    NO_ROOM = "no_room"  # the target cannot take it: it stays where it is
    OVERTAKEN = "overtaken"  # purged, evicted or published again meanwhile: nothing is left to move
    ROTTEN = "rotten"  # its bytes are not the published ones: in quarantine, and fetched again when asked for
    FAILED = "failed"  # a disk failed: it is served from where it is, if that still works


class Mover:
    """``rate_bps`` bounds what all moves together read, in bits per second."""

    def __init__(self, store: Store, rate_bps: int) -> None:
        self._store = store
        self._rate_bps = rate_bps
        self.moved_objects = 0
        self.moved_bytes = 0

    async def move(self, entry: Entry, target: Disk, *, evict: bool) -> Moved:
        """Moves one object; with ``evict``, unplanned objects on the target make room for it."""
        store, source = self._store, entry.disk
        if entry.key in store.incomplete or entry.key in store.moving:
            return Moved.OVERTAKEN
        try:
            item = await source.contents.run(partial(source.describe, entry.key))
        except OSError as error:
            store.blame(source, error)
            return Moved.FAILED
        if item is None or item.etag != entry.etag or store.index.get(entry.key) is not entry:
            return Moved.OVERTAKEN
        cost = entry.disk_bytes
        victims = store.index.victims(target, cost) if evict or target.free_bytes >= cost else None
        if target.state is not State.SERVING or victims is None:
            return Moved.NO_ROOM
        store.evict(victims)
        copy = store.moving[entry.key] = Incomplete(item, target, None)
        target.used_bytes += cost
        try:
            await target.files.run(partial(copy.make, allocate=True), extra_s=flushing_s(item.size))
            await self._copy(copy, source)
            await target.contents.run(copy.prepare, extra_s=flushing_s(item.size))
            if not copy.dropped:
                await target.files.run(copy.promote)
            if store.moving.get(entry.key) is not copy:
                return Moved.OVERTAKEN  # whoever dropped it has its file removed, whatever its name is by now
            await target.contents.run(partial(target.settle, entry.key))
        except WrongSlice as error:
            self._drop(copy)
            event(log, "rotten", logging.ERROR, disk=str(source.path), why=str(error))
            distrust(store, entry.key, source)
            return Moved.ROTTEN
        except _Unreadable as error:
            self._drop(copy)
            unreadable(store, entry.key, source, error.error)
            return Moved.FAILED
        except OSError as error:
            self._drop(copy)
            store.blame(target, error)
            return Moved.NO_ROOM if is_full(error) else Moved.FAILED
        except asyncio.CancelledError:
            self._drop(copy)
            raise
        if store.moving.get(entry.key) is not copy:
            return Moved.OVERTAKEN
        store.moved(entry)
        self.moved_objects += 1
        self.moved_bytes += item.size
        return Moved.DONE

    def _drop(self, copy: Incomplete) -> None:
        if self._store.moving.get(copy.item.key) is copy:
            self._store.drop_copy(copy.item.key)

    async def _copy(self, copy: Incomplete, source: Disk) -> None:
        """Every slice; raises `WrongSlice`, `_Unreadable` (the source), OSError (the target)."""
        size = copy.item.size
        try:
            fd = await source.contents.run(
                partial(os.open, complete_path(source.path, copy.item.key), os.O_RDONLY | os.O_CLOEXEC)
            )
        except OSError as error:
            raise _Unreadable(error) from None
        try:
            for index in range(copy.slices):
                if copy.dropped:
                    return
                start, end = slice_span(index, size)
                try:
                    data = await source.contents.run(partial(os.pread, fd, end - start, start))
                except OSError as error:
                    raise _Unreadable(error) from None
                await copy.disk.contents.run(partial(copy.write, index, data))
                await asyncio.sleep(len(data) * 8 / self._rate_bps)
        finally:
            source.files.close(fd)


class _Unreadable(Exception):
    """The source cannot be read."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error
