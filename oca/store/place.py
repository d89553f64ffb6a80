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
    where that is not enough. For what is planned nothing goes that is being played.
    """
    ranked = ranked_disks(key, tier, disks)
    planned = key in index.pinned
    ahead = {} if planned else kept_ahead(disks, index, incomplete)
    # What a player waits for is served whatever is planned: lent that room, it is the first to go.
    for kept in (ahead, {}) if ahead else ({},):
        for disk in ranked:
            kept_bytes = kept.get(disk, 0)
            # In the plan's room as much goes as comes; the rest is removed as the plan needs it.
            need_bytes = cost_bytes + min(kept_bytes, max(0, disk.free_bytes))
            if disk.free_bytes + index.demand(disk).bytes - kept_bytes >= cost_bytes:
                victims = index.victims(disk, need_bytes, planned=planned)
                if victims is not None:
                    return Place(disk, victims, [])
    for disk in ranked:
        place = _where_begun_goes(disk, cost_bytes, index, incomplete, planned=planned)
        if place is not None:
            return place
    raise NoRoom(_why(key, cost_bytes, disks, index))


def _why(key: str, cost_bytes: int, disks: Sequence[Disk], index: Index) -> str:
    free = ", ".join(f"{disk.path}: {disk.free_bytes} free" for disk in disks)
    left = "nothing unplanned is left to evict"
    if key in index.pinned and any(
        disk.free_bytes + index.demand(disk).bytes >= cost_bytes for disk in disks
    ):
        left = "what else could go is being played, or is the demand cache's floor"
    return f"{key} needs {cost_bytes} bytes on one disk and {left} ({free})"


def ranked_disks(key: str, tier: Tier, disks: Sequence[Disk]) -> list[Disk]:
    """Those that take new objects, the best for ``key`` first."""
    ranked = [disk for disk in disks if disk.state is State.SERVING]
    return sorted(ranked, key=lambda disk: (disk.tier is not tier, disk_rank(str(disk.path), key)))


def kept_ahead(disks: Sequence[Disk], index: Index, incomplete: Mapping[str, Incomplete]) -> dict[Disk, int]:
    """Of what is obtainable on each disk, what the plan's objects need that are not here and not begun.

    Which disk each of them will be put on is not asked: every disk keeps the same share. Nothing is
    kept where nothing is missing.
    """
    planned = index.pinned
    missing = index.missing_bytes
    missing -= sum(planned.get(key, 0) for key in incomplete if index.get(key) is None)
    room = {disk: index.obtainable_bytes(disk) for disk in disks if disk.state is State.SERVING}
    total = sum(obtainable for obtainable in room.values() if obtainable > 0)
    if missing <= 0 or total <= 0:
        return {}
    share = min(1.0, missing / total)
    return {disk: math.ceil(obtainable * share) for disk, obtainable in room.items() if obtainable > 0}


def next_room(
    disks: Sequence[Disk], index: Index, incomplete: Mapping[str, Incomplete], choice: TierChoice
) -> dict[Disk, int]:
    """What the next object of the plan takes that is not here and not begun, on the disk where it is put."""
    key = next((key for key in index.missing() if key not in incomplete), None)
    if key is not None:
        size = index.pinned[key]
        for disk in ranked_disks(key, choice.tier_for(key), disks):
            if index.obtainable_bytes(disk) >= size:
                return {disk: size}
    return {}


def _where_begun_goes(
    disk: Disk, cost_bytes: int, index: Index, incomplete: Mapping[str, Incomplete], *, planned: bool
) -> Place | None:
    """The place on ``disk`` where unplanned objects that were begun go too, the oldest first, as many as are needed.

    A player may be waiting for one, and comes again. But what nobody ever asks the rest of would
    otherwise keep its room for ever. None when all of them are not enough.
    """
    lacking = cost_bytes - disk.free_bytes - index.evictable_bytes(disk, planned=planned)
    given: list[Incomplete] = []
    for begun in incomplete.values():
        spared = begun.item.key in index.pinned or (planned and index.is_played(begun))
        if lacking > 0 and begun.disk is disk and not spared:
            given.append(begun)
            lacking -= begun.disk_bytes
    if lacking > 0 or not given:
        return None
    given_bytes = sum(begun.disk_bytes for begun in given)
    return Place(disk, index.victims(disk, cost_bytes - given_bytes, planned=planned) or [], given)
