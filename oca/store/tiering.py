"""What moves between flash and bulk by itself: what has become hot goes up, and the coldest goes down for it.

Only where there are disks of both classes. What the plan wants on flash stays there; anything else earns its place
by requests of late (`oca.store.heat`). An object goes up for one that is asked for half as often at most: two
that are equally warm do not push one another to and fro.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from oca import ipc
from oca.store.disks import Disk
from oca.store.heat import Heat
from oca.store.index import Entry
from oca.store.mover import Moved, Mover
from oca.store.place import ranked_disks
from oca.store.store import Store
from oca.tier import Tier

_MOST_CANDIDATES: Final = 10_000
_LOOK_S: Final = 5.0
_DISK_HALF_LIFE_S: Final = 600.0
_LOOKED_AT: Final = 64
"""Of the objects on a flash disk, those used longest ago among which the coldest is looked for."""


class Tiering:
    """``hot_requests`` of late, each counting half after ``half_life_s``, make an object hot."""

    def __init__(
        self,
        store: Store,
        mover: Mover,
        heat: Heat,
        now: Callable[[], float],
        *,
        hot_requests: int,
        half_life_s: float,
    ) -> None:
        self._store = store
        self._mover = mover
        self._heat = heat
        self._now = now
        self._hot_requests = hot_requests
        self._half_life_s = half_life_s
        self._warming: dict[str, None] = {}
        self._aged_at = self._looked_at = now()
        self.promoted = 0
        self.demoted = 0
        store.choice.is_hot = self.is_hot

    def is_hot(self, key: str) -> bool:
        return self._heat.estimate(key) >= self._hot_requests

    def touched(self, touches: Iterable[ipc.Touch]) -> None:
        """Counts what workers answered; notes what has become hot on a bulk disk."""
        for touch in touches:
            requests = touch.hits + touch.misses
            if touch.misses:
                self._store.served.missed(touch, planned=touch.key in self._store.index.pinned)
            self._heat.touch(touch.key, requests)
            entry = self._store.index.get(touch.key)
            if entry is None:
                continue
            entry.disk.heat += requests
            self._store.served.hits[entry.disk.tier].add(touch.hits, touch.hit_bytes)
            if (
                entry.disk.tier is Tier.BULK
                and len(self._warming) < _MOST_CANDIDATES
                and self.is_hot(touch.key)
            ):
                self._warming[touch.key] = None

    async def run(self) -> None:
        """Moves, and ages, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self.age()
            await self.once()

    def age(self) -> None:
        now = self._now()
        for disk in self._store.disks:
            disk.heat *= 0.5 ** ((now - self._looked_at) / _DISK_HALF_LIFE_S)
        self._looked_at = now
        if now - self._aged_at >= self._half_life_s:
            self._heat.age()
            self._aged_at = now

    async def once(self) -> None:
        """Moves up what has become hot since the last time, the hottest first."""
        warming, self._warming = self._warming, {}
        if any(disk.tier is Tier.FLASH for disk in self._store.disks):
            for key in sorted(warming, key=self._heat.estimate, reverse=True):
                entry = self._store.index.get(key)
                if entry is not None and entry.disk.tier is Tier.BULK and self.is_hot(key):
                    await self._promote(entry)

    async def _promote(self, entry: Entry) -> None:
        for target in ranked_disks(entry.key, Tier.FLASH, self._store.disks):
            if target.tier is not Tier.FLASH:
                return
            await self._make_room(target, entry)
            if await self._mover.move(entry, target, evict=False) is not Moved.NO_ROOM:
                self.promoted += entry.disk is target
                return

    async def _make_room(self, target: Disk, hotter: Entry) -> None:
        """Moves down what is half as warm at most; less where not enough of that is on ``target``."""
        bound = self._heat.estimate(hotter.key) // 2
        for entry in self._coldest(target, bound):
            if target.free_bytes >= hotter.disk_bytes:
                return
            await self._demote(entry)

    def _coldest(self, disk: Disk, bound: int) -> list[Entry]:
        """Of what was used longest ago, what has at most ``bound`` requests of late, the coldest first."""
        found = []
        for entry in self._store.index:
            if entry.disk is disk and not self._store.choice.is_planned_there(entry.key):
                found.append(entry)
                if len(found) == _LOOKED_AT:
                    break
        warmth = {entry.key: self._heat.estimate(entry.key) for entry in found}
        return sorted((e for e in found if warmth[e.key] <= bound), key=lambda e: warmth[e.key])

    async def _demote(self, entry: Entry) -> None:
        planned = entry.key in self._store.index.pinned
        for target in ranked_disks(entry.key, Tier.BULK, self._store.disks):
            if target.tier is not Tier.BULK:
                return
            if await self._mover.move(entry, target, evict=planned) is not Moved.NO_ROOM:
                self.demoted += entry.disk is target
                return
        # Cold, not planned, and no room below: it is what eviction is for.
        if not planned:
            self._store.evict([entry])
