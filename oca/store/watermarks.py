"""Room made ahead, in the background, so that a new object does not wait for others to be removed.

A disk that is fuller than the high watermark has the least of its demand cache removed, a few objects at a time,
until it is no fuller than the low one. The next object of the plan that is not here counts as there already, and no
more of the plan: what comes later goes on serving players until it is needed. Nothing is removed that is being
played, nor anything below the demand cache's floor.
"""

from __future__ import annotations

import asyncio
from typing import Final

from oca.config import Demand
from oca.store.diskstate import State
from oca.store.place import next_room
from oca.store.store import Store

_AT_A_TIME: Final = 64
"""Objects of one disk in one step: their unlinking is no more than a moment of its thread."""
_STEP_S: Final = 1.0
_STEPS_A_MINUTE: Final = 60


class Watermarks:
    def __init__(self, store: Store, marks: Demand) -> None:
        self._store = store
        self._marks = marks
        self._lowering: set[str] = set()

    async def run(self) -> None:
        """Looks at every disk once a second, and tells the index of every minute."""
        while True:
            for _ in range(_STEPS_A_MINUTE):
                self.step()
                await asyncio.sleep(_STEP_S)
            self._store.index.minute()

    def step(self) -> int:
        """Removes what is to be removed now; how many objects that were."""
        store, removed = self._store, 0
        ahead = next_room(store.disks, store.index, store.incomplete, store.choice)
        for disk in store.disks:
            demand = store.index.demand(disk)
            free_bytes = disk.free_bytes - ahead.get(disk, 0)
            name = str(disk.path)
            if disk.state is not State.SERVING or not len(demand):
                self._lowering.discard(name)
                continue
            if free_bytes < (1 - self._marks.high_watermark) * disk.capacity_bytes:
                self._lowering.add(name)
            lacking = int((1 - self._marks.low_watermark) * disk.capacity_bytes) - free_bytes
            if lacking <= 0:
                self._lowering.discard(name)
            elif name in self._lowering:
                lacking = min(lacking, demand.bytes - store.index.floor_bytes(disk))
                victims = demand.least(lacking, _AT_A_TIME, store.index.is_played)
                store.evict(victims)
                removed += len(victims)
        return removed
