"""Objects that must not be served any more, though their files are there: unreadable, rotten, torn."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from functools import partial

from contracts.objectkey import object_hash
from daemon.log import event
from oca.store.disks import Disk, is_disk_fault
from oca.store.store import Store

log = logging.getLogger("oca.store")


def unreadable(store: Store, key: str, disk: Disk, error: OSError) -> None:
    """The object could not be read from ``disk``: blames it, and nobody finds the file again.

    Workers look on the disks themselves, so that a file which opens and breaks off in the middle would
    cut short every answer of the object, even after its disk was taken out of service.
    """
    if is_disk_fault(error) and error.errno != errno.ETIMEDOUT:
        distrust(store, key, disk)
    store.blame(disk, error)


def distrust(store: Store, key: str, disk: Disk) -> None:
    """Puts the complete object that is on ``disk`` where nobody serves it."""
    entry = store.index.get(key)
    if entry is not None and entry.disk is disk:
        store.drop(entry)
    put_away(store, disk, object_hash(key))


def put_away(store: Store, disk: Disk, name: str) -> None:
    """Puts the file of a complete object, of which nothing is counted, into quarantine."""
    event(log, "file quarantined", logging.ERROR, file=name, disk=str(disk.path))
    # In the queue before this returns: a file that is given the name afterwards is another.
    store.chore(_counted(disk, disk.files.run(partial(disk.quarantine, name), always=True)))


async def _counted(disk: Disk, moving: asyncio.Future[tuple[int, int]]) -> None:
    # Where not even this works, the file system takes no write: whoever can be read is read on.
    with contextlib.suppress(OSError):
        left = await moving
        if disk.counted:
            disk.count_quarantine(*left)
