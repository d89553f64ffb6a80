"""Where a new object goes, and what has to go for it. Pure: the same books give the same place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from oca.objectfile import disk_rank
from oca.store.disks import Disk
from oca.store.diskstate import State
from oca.store.incomplete import Incomplete
from oca.store.index import Entry, Index
from oca.tier import Tier

_PLANNED_SHARE: Final = 0.8
"""Of the flash disks: the rest is for what turns out to be hot, and for descriptions."""


class NoRoom(Exception):
    """No disk has or can make the room. The message says how much is needed and what there is."""


class Place(NamedTuple):
    disk: Disk
    evict: list[Entry]
    give_up: list[Incomplete]


class TierChoice:
    """Which tier an object belongs on."""

    def __init__(self) -> None:
        self.is_hot: Callable[[str], bool] = lambda _: False
        """Whether an object is asked for so often that it belongs on flash."""
        self._on_flash: frozenset[str] = frozenset()

    def adopt(self, planned: Mapping[str, int], disks: Iterable[Disk]) -> None:
        """Of a plan, most wanted first: as much of it as surely fits goes onto flash."""
        left = _PLANNED_SHARE * sum(disk.capacity_bytes for disk in disks if disk.tier is Tier.FLASH)
        chosen = []
        for key, size in planned.items():
            left -= size
            if left < 0:
                break
            chosen.append(key)
        self._on_flash = frozenset(chosen)

    def tier_for(self, key: str) -> Tier:
        """By its place in the plan, or because it is hot; anything else goes onto bulk."""
        return Tier.FLASH if key in self._on_flash or self.is_hot(key) else Tier.BULK

    def is_planned_there(self, key: str) -> bool:
        return key in self._on_flash


def choose_place(
    key: str,
    cost_bytes: int,
    tier: Tier,
    disks: Sequence[Disk],
    index: Index,
    incomplete: Mapping[str, Incomplete],
) -> Place:
    """The best of ``disks`` for an object of ``cost_bytes``; raises `NoRoom`.

    Disks of ``tier`` come first. Within a tier hashing spreads load and lets a worker guess right; a disk
    without room is passed over. Complete objects that are not planned go first, those that were only begun
    where that is not enough.
    """
    ranked = ranked_disks(key, tier, disks)
    ahead = {} if key in index.pinned else kept_ahead(disks, index, incomplete)
    # What a player waits for is served whatever is planned: lent that room, it is the first to go.
    for kept in (ahead, {}) if ahead else ({},):
        for disk in ranked:
            kept_bytes = kept.get(disk, 0)
            if obtainable_bytes(disk, index) - kept_bytes >= cost_bytes:
                # In the plan's room as much goes as comes; the rest is removed in the background.
                victims = index.victims(disk, cost_bytes + min(kept_bytes, max(0, disk.free_bytes)))
                if victims is not None:
                    return Place(disk, victims, [])
    for disk in ranked:
        begun = _begun_to_give_up(disk, cost_bytes, index, incomplete)
        if begun:
            given_bytes = sum(item.disk_bytes for item in begun)
            return Place(disk, index.victims(disk, cost_bytes - given_bytes) or [], begun)
    free = ", ".join(f"{disk.path}: {disk.free_bytes} free" for disk in disks)
    raise NoRoom(
        f"{key} needs {cost_bytes} bytes on one disk and nothing unplanned is left to evict ({free})"
    )


def ranked_disks(key: str, tier: Tier, disks: Sequence[Disk]) -> list[Disk]:
    """Those that take new objects, the best for ``key`` first."""
    ranked = [disk for disk in disks if disk.state is State.SERVING]
    return sorted(ranked, key=lambda disk: (disk.tier is not tier, disk_rank(str(disk.path), key)))


def obtainable_bytes(disk: Disk, index: Index) -> int:
    """What a planned object may take on ``disk``: what is free, and what the demand cache has."""
    return disk.free_bytes + index.demand(disk).bytes


def kept_ahead(disks: Sequence[Disk], index: Index, incomplete: Mapping[str, Incomplete]) -> dict[Disk, int]:
    """Of what is obtainable on each disk, what the plan's objects need that are not here and not begun.

    Which disk each of them will be put on is not asked: every disk keeps the same share. Nothing is
    kept where nothing is missing.
    """
    planned = index.pinned
    missing = index.missing_bytes
    missing -= sum(planned.get(key, 0) for key in incomplete if index.get(key) is None)
    room = {disk: obtainable_bytes(disk, index) for disk in disks if disk.state is State.SERVING}
    total = sum(obtainable for obtainable in room.values() if obtainable > 0)
    if missing <= 0 or total <= 0:
        return {}
    share = min(1.0, missing / total)
    return {disk: math.ceil(obtainable * share) for disk, obtainable in room.items() if obtainable > 0}


def _begun_to_give_up(
    disk: Disk, cost_bytes: int, index: Index, incomplete: Mapping[str, Incomplete]
) -> list[Incomplete]:
    """Unplanned objects that were begun, the oldest first, as many as are needed; none when all are not enough.

    A player may be waiting for one, and comes again. But what nobody ever asks the rest of would
    otherwise keep its room for ever.
    """
    planned = index.pinned
    lacking = cost_bytes - disk.free_bytes
    lacking -= index.demand(disk).bytes
    chosen: list[Incomplete] = []
    for begun in incomplete.values():
        if lacking > 0 and begun.disk is disk and begun.item.key not in planned:
            chosen.append(begun)
            lacking -= begun.disk_bytes
    return chosen if lacking <= 0 else []
