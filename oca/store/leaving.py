"""The clean end: every disk in service gets a snapshot of what is on it, so that the next start is quick."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from functools import partial
from typing import Final

from daemon.log import event
from oca.store import snapshot
from oca.store.disks import Disk
from oca.store.index import Entry
from oca.store.snapshot import Snapshot
from oca.store.store import Store

log = logging.getLogger("oca.store")

_REMOVALS_S: Final = 5.0
_OBJECTS_PER_S: Final = 20_000
"""That a disk writes down at least; a hundred times as many where nobody else is at work."""


async def leave(store: Store, unsettled: Mapping[Disk, Snapshot]) -> None:
    """Waits for removals that were begun, and writes the snapshots. The store must not be used afterwards.

    Whatever happens to an object while that is done: the next start compares the snapshot with the disk.
    """
    for begun in store.incomplete.values():
        begun.dropped = True  # none becomes complete any more
    with contextlib.suppress(TimeoutError):  # a disk hangs: what is not removed from it is found again
        await asyncio.wait_for(store.settled(), _REMOVALS_S)
    serving = [disk for disk in store.disks if disk.in_service]
    here: dict[Disk, list[Entry]] = {disk: [] for disk in serving}
    for entry in store.index.by_last_use():
        here[entry.disk].append(entry)
    await asyncio.gather(*(_leave(disk, here[disk], unsettled.get(disk)) for disk in serving))


async def _leave(disk: Disk, entries: list[Entry], unsettled: Snapshot | None) -> None:
    written_ns = unsettled.written_ns if unsettled is not None else None
    try:
        work = partial(snapshot.write, disk.path, disk.id, entries, written_ns)
        await disk.files.run(work, extra_s=len(entries) / _OBJECTS_PER_S)
    except OSError as error:
        event(log, "no snapshot", logging.ERROR, disk=str(disk.path), why=error.strerror)
