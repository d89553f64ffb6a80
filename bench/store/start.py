"""``python -m bench.store.start FOLDER [compare]``: a start of a store and its clean end, measured; a line of JSON.

In a process of its own, so that the memory is that of the index and the time that of a start.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from bench.store.disk import APPLIANCE
from oca.store.disks import Disk
from oca.store.joining import Joining
from oca.store.leaving import leave
from oca.store.settle import settle
from oca.store.store import Store

_LOOK_S: Final = 0.002


class Started(msgspec.Struct, frozen=True):
    objects: int
    open_s: float
    compare_s: float
    """With the disk, in the background, where it was started from a snapshot."""
    lag_s: float
    """The latest that the event loop was meanwhile."""
    end_s: float
    resident_bytes: int
    """Of the whole process, once it serves."""
    index_bytes: int
    """Of that, what the start added."""


def _resident_bytes() -> int:
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def measured(disk: Path, *, compare: bool) -> Started:
    before = _resident_bytes()
    store = Store(APPLIANCE, [Disk(disk, 1 << 50)])
    joining = Joining(store, time.monotonic, 3600)
    began = time.monotonic()
    await joining.open()
    opened = time.monotonic()
    resident = _resident_bytes()
    lags, done = [0.0], asyncio.Event()
    watching = asyncio.ensure_future(_watch(lags, done))
    comparing = time.monotonic()
    if compare:
        await settle(store, joining)
    compared = time.monotonic()
    done.set()
    await watching
    ending = time.monotonic()
    await leave(store, joining.unsettled)
    left = time.monotonic()
    return Started(
        objects=len(store.index),
        open_s=opened - began,
        compare_s=compared - comparing,
        lag_s=max(lags),
        end_s=left - ending,
        resident_bytes=resident,
        index_bytes=resident - before,
    )


async def _watch(lags: list[float], done: asyncio.Event) -> None:
    """Keeps how late the event loop was, while the disk is compared."""
    while not done.is_set():
        began = time.monotonic()
        await asyncio.sleep(_LOOK_S)
        lags.append(time.monotonic() - began - _LOOK_S)


if __name__ == "__main__":
    print(
        msgspec.json.encode(uvloop.run(measured(Path(sys.argv[1]), compare="compare" in sys.argv))).decode()
    )
