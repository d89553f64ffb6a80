"""Where a new object goes, and what has to go for it. Pure: the same books give the same place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from oca.objectfile import disk_rank
from oca.store.disks import Disk
from oca.store.diskstate import State
from oca.store.incomplete import Incomplete
from oca.store.index import Entry, Index


class NoRoom(Exception):
    """No disk has or can make the room. The message says how much is needed and what there is."""


class Place(NamedTuple):
    disk: Disk
    evict: list[Entry]
    give_up: list[Incomplete]


def choose_place(
    key: str, cost_bytes: int, disks: Sequence[Disk], index: Index, incomplete: Mapping[str, Incomplete]
) -> Place:
    """The best of ``disks`` for an object of ``cost_bytes``; raises `NoRoom`.

    Hashing spreads load and lets a worker guess right; a disk without room is passed over. Complete objects
    that are not planned go first, those that were only begun where that is not enough.
    """
    ranked = [disk for disk in disks if disk.state is State.SERVING]
    ranked.sort(key=lambda disk: disk_rank(str(disk.path), key))
    for disk in ranked:
        victims = index.victims(disk, cost_bytes)
        if victims is not None:
            return Place(disk, victims, [])
    for disk in ranked:
        begun = _begun_to_give_up(disk, cost_bytes, index, incomplete)
        if begun:
            kept_bytes = sum(item.disk_bytes for item in begun)
            return Place(disk, index.victims(disk, cost_bytes - kept_bytes) or [], begun)
    free = ", ".join(f"{disk.path}: {disk.free_bytes} free" for disk in disks)
    raise NoRoom(
        f"{key} needs {cost_bytes} bytes on one disk and nothing unplanned is left to evict ({free})"
    )


def _begun_to_give_up(
    disk: Disk, cost_bytes: int, index: Index, incomplete: Mapping[str, Incomplete]
) -> list[Incomplete]:
    """Unplanned objects that were begun, the oldest first, as many as are needed; none when all are not enough.

    A player may be waiting for one, and comes again. But what nobody ever asks the rest of would
    otherwise keep its room for ever.
    """
    planned = index.pinned
    lacking = cost_bytes - disk.free_bytes
    lacking -= sum(entry.disk_bytes for entry in index if entry.disk is disk and entry.key not in planned)
    chosen: list[Incomplete] = []
    for begun in incomplete.values():
        if lacking > 0 and begun.disk is disk and begun.item.key not in planned:
            chosen.append(begun)
            lacking -= begun.disk_bytes
    return chosen if lacking <= 0 else []
