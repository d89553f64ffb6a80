"""What an operator does to the disks of a running appliance: add, drain, undrain, remove, replace, retry.

Each returns once the appliance has taken it up, and what takes long goes on by itself: `oca disks` shows how far
it is. All of it survives a restart (`oca.store.disklist`).
"""

from __future__ import annotations

import asyncio
import logging
import os
from functools import partial
from pathlib import Path

from daemon.log import event
from oca import config
from oca.diskrequest import DiskRequest, Operation, Refused
from oca.store.disklist import DiskList, disk_of
from oca.store.disks import Disk, DiskError, mark
from oca.store.diskstate import Event, NotNow, State, after
from oca.store.index import Entry
from oca.store.joining import Joining
from oca.store.mover import Moved, Mover
from oca.store.place import ranked_disks
from oca.store.store import Store

log = logging.getLogger("oca.store")

_PAUSE_S = 1.0
"""Until a drain looks again whether something is left to move."""


class Operations:
    def __init__(
        self, store: Store, joining: Joining, mover: Mover, disks: DiskList, patience_s: float
    ) -> None:
        self._store = store
        self._joining = joining
        self._mover = mover
        self._list = disks
        self._patience_s = patience_s
        self._drains: dict[Disk, asyncio.Task[None]] = {}
        self._replacing: dict[Disk, Disk] = {}
        self.stays: dict[Disk, int] = {}
        """Of a disk that drained: planned and hot objects that found no room elsewhere."""
        joining.on_joined.append(self._joined)

    def resume(self) -> None:
        """At the start, once the plan is known: those that were draining when we ended drain on."""
        for disk in self._store.disks:
            disk.drains = str(disk.path) in self._list.changes.draining
            self._joined(disk)

    async def carry_out(self, asked: DiskRequest) -> None:
        """Begins what is asked; raises `Refused`."""
        new = config.Disk(os.path.normpath(asked.by or asked.path), asked.capacity_bytes, tier=asked.tier)
        if asked.operation is Operation.ADD:
            await self.add(new)
        elif asked.operation is Operation.DRAIN:
            self.drain(asked.path)
        elif asked.operation is Operation.UNDRAIN:
            self.undrain(asked.path)
        elif asked.operation is Operation.REMOVE:
            self.remove(asked.path, now=asked.now)
        elif asked.operation is Operation.RETRY:
            await self.retry(asked.path)
        elif asked.by is None:
            raise Refused('replace: "by" is missing: the folder of the new disk')
        else:
            await self.replace(asked.path, new)

    async def add(self, said: config.Disk) -> None:
        """Takes a new folder, or one that is marked as ours already, into service. Raises `Refused`."""
        path = os.path.normpath(said.path)
        for disk in self._store.disks:
            if str(disk.path) == path:
                raise Refused(f"{path} is a disk of this appliance already: it is {disk.state.value}")
            if path.startswith(f"{disk.path}/") or f"{disk.path}".startswith(f"{path}/"):
                raise Refused(
                    f"{path} and {disk.path} lie within one another: each is a file system of its own"
                )
        disk = disk_of(said, self._patience_s)
        try:
            await disk.files.run(partial(_mark, disk.path, self._store.appliance))
        except DiskError as error:
            raise Refused(str(error)) from None
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}") from None
        try:
            self._list.add(said)
        except OSError as error:
            raise Refused(f"it would be forgotten at a restart: {error.filename}: {error.strerror}") from None
        self._store.disks = (*self._store.disks, disk)
        self._store.watch(disk)
        event(log, "disk added", disk=path)
        await self._joining.join(disk, make_folders=True)

    async def retry(self, path: str) -> None:
        """Looks at a failed disk now. Raises `Refused`."""
        disk = self._disk(path)
        if disk.state is not State.FAILED:
            raise Refused(f"{path} is {disk.state.value}: only a failed disk is tried again")
        await self._joining.retry(disk)

    def drain(self, path: str) -> None:
        """Takes nothing new onto the disk, and moves what is planned or hot to others. Raises `Refused`."""
        disk = self._disk(path)
        others = [other for other in self._store.disks if other.state is State.SERVING and other is not disk]
        if not others:
            raise Refused(f"{path} is the only disk that takes objects: add another first")
        if disk.state is State.DRAINED:
            disk.state = after(disk.state, Event.UNDRAIN)
        self._change(disk, Event.DRAIN)
        self._keep(path, drains=True)
        self._drain(disk)

    def undrain(self, path: str) -> None:
        """Takes objects again. Raises `Refused`."""
        disk = self._disk(path)
        self._change(disk, Event.UNDRAIN)
        self._keep(path, drains=False)
        task = self._drains.pop(disk, None)
        if task is not None:
            task.cancel()
        self._replacing.pop(disk, None)

    def remove(self, path: str, *, now: bool) -> None:
        """Ends the use of the disk for good; what is on it stays there. Raises `Refused`."""
        disk = self._disk(path)
        if disk.in_service and disk.state is not State.DRAINED and not now:
            raise Refused(
                f"{path} is {disk.state.value}: drain it first (`oca disks drain {path}`), "
                "or say --now: what it holds is fetched again"
            )
        if all(other is disk or not other.in_service for other in self._store.disks):
            raise Refused(f"{path} is the last disk in service")
        try:
            self._list.remove(path)
        except OSError as error:
            raise Refused(f"{error.filename}: {error.strerror}: nothing was changed") from None
        task = self._drains.pop(disk, None)
        if task is not None:
            task.cancel()
        self._replacing.pop(disk, None)
        self._joining.forget(disk)
        self._store.take_out(disk)
        event(log, "disk removed", disk=path)

    async def replace(self, path: str, said: config.Disk) -> None:
        """Adds the one, and removes the other when what it held has moved. Raises `Refused`."""
        old = self._disk(path)
        await self.add(said)
        new = self._store.disks[-1]
        if new.state is not State.SERVING:
            raise Refused(f"{said.path} was added but is {new.state.value}: {new.why}; {path} stays as it is")
        if not old.in_service:
            self.remove(path, now=True)
            return
        self._replacing[old] = new
        if old.state is not State.DRAINING:
            self.drain(path)

    def _disk(self, path: str) -> Disk:
        for disk in self._store.disks:
            if str(disk.path) == os.path.normpath(path):
                return disk
        names = ", ".join(str(disk.path) for disk in self._store.disks)
        raise Refused(f"{path} is no disk of this appliance; there are {names}")

    def _change(self, disk: Disk, change: Event) -> None:
        try:
            disk.state = after(disk.state, change)
        except NotNow as error:
            raise Refused(f"{disk.path}: {error}") from None

    def _keep(self, path: str, *, drains: bool) -> None:
        self._disk(path).drains = drains
        try:
            self._list.drain(path, drains)
        except OSError as error:
            event(log, "a restart forgets this", logging.ERROR, disk=path, why=str(error))

    def _joined(self, disk: Disk) -> None:
        if disk.drains and disk.state is State.SERVING:
            disk.state = after(disk.state, Event.DRAIN)
            self._drain(disk)

    def _drain(self, disk: Disk) -> None:
        task = self._drains[disk] = asyncio.ensure_future(self._empty(disk))
        task.add_done_callback(lambda _: self._drains.pop(disk, None))

    async def _empty(self, disk: Disk) -> None:
        """Moves what is to be moved, until nothing more can be."""
        event(log, "disk drains", disk=str(disk.path))
        stuck: dict[str, Moved] = {}
        while _is_draining(disk):
            left = [entry for entry in self._to_move(disk) if entry.key not in stuck]
            for entry in left:
                if not _is_draining(disk):
                    return
                moved = await self._move_off(entry, disk)
                if moved in {Moved.NO_ROOM, Moved.FAILED}:
                    stuck[entry.key] = moved
            begun = [item for item in self._store.incomplete.values() if item.disk is disk]
            if not left and not begun:
                break
            if not left:
                # Nobody may ever ask the rest of what was begun here. Who waits for it asks again.
                await asyncio.sleep(_PAUSE_S)
                for item in begun:
                    if item.promotion is None and self._store.incomplete.get(item.item.key) is item:
                        self._store.abandon(item)
        if not _is_draining(disk):
            return
        disk.state = after(disk.state, Event.EMPTIED)
        self.stays[disk] = sum(key in stuck for key in (entry.key for entry in self._to_move(disk)))
        event(log, "disk drained", disk=str(disk.path), stays=self.stays[disk])
        if disk in self._replacing and not self.stays[disk]:
            self.remove(str(disk.path), now=False)

    def _to_move(self, disk: Disk) -> list[Entry]:
        """What must not be lost with the disk: first the plan, then what is hot."""
        planned = self._store.index.pinned
        here = [entry for entry in self._store.index if entry.disk is disk]
        hot = [e for e in here if e.key not in planned and self._store.choice.is_hot(e.key)]
        return [entry for entry in here if entry.key in planned] + hot

    async def _move_off(self, entry: Entry, disk: Disk) -> Moved:
        """To the disk that replaces this one, or the best of its class, or any."""
        targets = ranked_disks(entry.key, disk.tier, self._store.disks)
        new = self._replacing.get(disk)
        if new in targets:
            targets.remove(new)
            targets.insert(0, new)
        moved = Moved.NO_ROOM
        for target in targets:
            if entry.disk is not disk:
                return Moved.OVERTAKEN
            moved = await self._mover.move(entry, target, evict=entry.key in self._store.index.pinned)
            if moved is not Moved.NO_ROOM:
                break
        return moved


def _is_draining(disk: Disk) -> bool:
    return disk.state is State.DRAINING


def _mark(path: Path, appliance: str) -> None:
    if not path.is_dir():
        raise DiskError(f"{path}: no such folder: make it, or mount the disk there")
    mark(path, appliance)
