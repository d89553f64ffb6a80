"""After a start from a snapshot: the disk is compared with it while the appliance serves, and the disk is right.

The comparison is made in a thread of the disk, beside everything else; what differs is looked at again in the
thread that changes files, and decided upon in the event loop, since objects come and go meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from functools import partial

from daemon.log import event
from oca.store import scan
from oca.store.disks import Disk
from oca.store.doubt import put_away
from oca.store.idle import giving_way
from oca.store.joining import Joining
from oca.store.scan import Found
from oca.store.snapshot import BadSnapshot, Difference, Snapshot
from oca.store.store import Store

log = logging.getLogger("oca.store")


async def settle(store: Store, joining: Joining) -> None:
    """Compares every disk that was counted from a snapshot."""
    pending = list(joining.unsettled.items())
    await asyncio.gather(*(_settle(store, joining, disk, snapshot) for disk, snapshot in pending))


async def _settle(store: Store, joining: Joining, disk: Disk, snapshot: Snapshot) -> None:
    corrected = 0
    differences = snapshot.differences(disk.path)
    try:
        while (batch := await disk.contents.run(partial(_next, differences))) is not None:
            for difference in batch:
                corrected += await _correct(store, joining, disk, difference)
            if not disk.in_service:
                break  # what is on it is counted again when it comes back
    except (BadSnapshot, OSError) as error:
        event(log, "snapshot not compared", logging.ERROR, disk=str(disk.path), why=str(error))
        if isinstance(error, OSError):
            store.blame(disk, error)
        return
    joining.unsettled.pop(disk, None)
    event(log, "snapshot compared with the disk", disk=str(disk.path), corrected=corrected)


def _next(differences: Iterator[list[Difference]]) -> list[Difference] | None:
    with giving_way():
        return next(differences, None)


async def _correct(store: Store, joining: Joining, disk: Disk, difference: Difference) -> bool:
    """Makes the books say what the disk does about one file; whether they did not. Raises OSError."""
    known = store.index.get(difference.key) if difference.key is not None else None
    try:
        said = await disk.files.run(partial(scan.described, str(disk.file(difference.name))))
    except FileNotFoundError:
        # Evicted since the start, or removed before it. `held` looks once more, and drops it then.
        return known is not None and known.disk is disk and await store.held(known.key) is None
    if not disk.in_service:
        return False
    if said is None:
        unchanged = known is None or (known.disk is disk and store.index.get(known.key) is known)
        if unchanged:
            if known is not None:
                store.drop(known)
            put_away(store, disk, difference.name)
        return unchanged
    item, length = said
    if not await disk.files.run(partial(disk.holds, item.key)):
        return False  # removed since
    entry = store.index.get(item.key)
    if item.key in store.incomplete or item.key in store.moving:
        return False  # becoming complete at the moment, or moving here from another disk
    if entry is not None and entry.disk is disk:
        if (entry.etag, entry.disk_bytes) == (item.etag, length):
            return False
        store.drop(entry)
    event(log, "object was not in the snapshot", key=item.key, disk=str(disk.path))
    await joining.count(Found(item.key, item.size, length, item.etag, item.modified_at), disk)
    return True
