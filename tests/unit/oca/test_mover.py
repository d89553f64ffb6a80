"""Moves between real folders: what counts at each moment, and who wins against a move."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from contracts.catalog import CatalogObject
from contracts.objectkey import object_hash
from oca import ipc
from oca.objectfile import complete_path, disk_bytes, incomplete_path
from oca.store.disks import Disk, mark
from oca.store.heat import Heat
from oca.store.joining import Joining
from oca.store.mover import Moved, Mover
from oca.store.store import Store
from oca.store.tiering import Tiering
from oca.tier import Tier
from tests.appliance import published
from tests.unit.oca.test_store import DATA, ITEM, KEY, MIB, SlowDisk, in_a_loop, put, used

FAST_BPS = 10**12


async def two_tiers(tmp_path: Path, kind: type[Disk] = Disk, flash_bytes: int = 100 * MIB) -> Store:
    """A bulk disk, and a flash disk of ``kind``."""
    disks = []
    for tier, made, capacity in ((Tier.BULK, Disk, 100 * MIB), (Tier.FLASH, kind, flash_bytes)):
        folder = tmp_path / tier.value
        folder.mkdir()
        mark(folder, "isp-a1")
        disks.append(made(folder, capacity))
    store = Store("isp-a1", disks)
    await Joining(store, lambda: 0.0, 3600).open()
    for disk, tier in zip(disks, (Tier.BULK, Tier.FLASH), strict=True):
        disk.tier = tier
    return store


async def held(store: Store, item: CatalogObject = ITEM) -> None:
    """The object, complete on the bulk disk."""
    await put(store, item)
    entry = store.index.get(item.key)
    assert entry is not None
    assert entry.disk is store.disks[0]


async def move(store: Store, key: str = KEY) -> Moved:
    entry = store.index.get(key)
    assert entry is not None
    moved = await Mover(store, FAST_BPS).move(entry, store.disks[1], evict=False)
    await store.settled()
    return moved


@in_a_loop
async def test_what_moved_is_on_one_disk_and_counted_once_and_workers_look_again(tmp_path: Path) -> None:
    store, told = await two_tiers(tmp_path), list[ipc.ToEdge]()
    await held(store)
    bulk, flash = store.disks
    store.listeners.append(told.append)
    assert await move(store) is Moved.DONE
    assert used(store) == [0, disk_bytes(ITEM)]
    assert not complete_path(bulk.path, KEY).exists()
    assert complete_path(flash.path, KEY).read_bytes()[: len(DATA)] == DATA
    assert told == [ipc.Forget((KEY,), str(bulk.path))]


@pytest.mark.parametrize("how", ["purged", "published again"])
@in_a_loop
async def test_who_comes_while_it_moves_wins(tmp_path: Path, how: str) -> None:
    store = await two_tiers(tmp_path, SlowDisk)
    await held(store)
    flash = store.disks[1]
    assert isinstance(flash, SlowDisk)
    moving = asyncio.ensure_future(move(store))
    await asyncio.to_thread(flash.flushing.wait, 10)
    assert used(store) == [disk_bytes(ITEM)] * 2
    newer = msgspec.structs.replace(ITEM, etag='"later"')
    if how == "purged":
        purging = asyncio.ensure_future(store.purge(lambda key: key == KEY))
    else:
        entry = store.index.get(KEY)
        assert entry is not None
        store.evict([entry])
        store.choice.is_hot = lambda key: True  # so that it goes to where the move went
        begun = asyncio.ensure_future(store.begin(newer))
    await asyncio.sleep(0)
    flash.go.set()
    assert await moving is Moved.OVERTAKEN
    await store.settled()
    if how == "purged":
        await purging
        assert used(store) == [0, 0]
        assert not incomplete_path(flash.path, KEY).exists()
    else:
        assert (await begun).item == newer
        assert used(store) == [0, disk_bytes(newer)]
        assert store.index.get(KEY) is None
    assert not any(complete_path(disk.path, KEY).exists() for disk in store.disks)
    assert store.moving == {}


@in_a_loop
async def test_what_turns_out_rotten_is_not_moved_and_not_served(tmp_path: Path) -> None:
    store = await two_tiers(tmp_path)
    await held(store)
    bulk = store.disks[0]
    with complete_path(bulk.path, KEY).open("r+b") as file:
        file.seek(MIB + 5)
        file.write(b"rot!")
    assert await move(store) is Moved.ROTTEN
    assert (len(store.index), used(store)[1]) == (0, 0)
    assert (bulk.path / "quarantine" / object_hash(KEY)).exists()


@in_a_loop
async def test_where_there_is_no_room_it_stays(tmp_path: Path) -> None:
    store = await two_tiers(tmp_path, flash_bytes=MIB)
    await held(store)
    assert await move(store) is Moved.NO_ROOM
    assert used(store) == [disk_bytes(ITEM), 0]


def tiering(store: Store, hot_requests: int = 10) -> Tiering:
    return Tiering(
        store, Mover(store, FAST_BPS), Heat(1000), lambda: 0.0, hot_requests=hot_requests, half_life_s=60
    )


def asked(key: str, times: int) -> ipc.Touch:
    return ipc.Touch(key, "192.0.0.0/16", times, 0, 0, 0, ())


def where(store: Store) -> dict[str, Tier]:
    return {entry.key: entry.disk.tier for entry in store.index}


@in_a_loop
async def test_what_becomes_hot_goes_to_flash_and_what_is_colder_makes_room(tmp_path: Path) -> None:
    """Room for one of two: the hotter is up there at last, the other below, and neither is lost."""
    other = msgspec.structs.replace(ITEM, key="tt2/video.mp4")
    store = await two_tiers(tmp_path, flash_bytes=3 * MIB)
    await held(store)
    await held(store, other)
    tiers = tiering(store)
    tiers.touched([asked(KEY, 9)])
    await tiers.once()
    assert where(store) == {KEY: Tier.BULK, other.key: Tier.BULK}
    tiers.touched([asked(KEY, 3)])
    await tiers.once()
    assert where(store) == {KEY: Tier.FLASH, other.key: Tier.BULK}
    tiers.touched([asked(other.key, 15)])
    await tiers.once()
    assert where(store) == {KEY: Tier.FLASH, other.key: Tier.BULK}, "one that is no hotter pushed it out"
    tiers.touched([asked(other.key, 30)])
    await tiers.once()
    await store.settled()
    assert where(store) == {KEY: Tier.BULK, other.key: Tier.FLASH}
    assert used(store) == [disk_bytes(ITEM), disk_bytes(other)]


@in_a_loop
async def test_the_plan_fills_flash_from_its_top(tmp_path: Path) -> None:
    items = [published(f"tt{number}/video.mp4", bytes([number]) * MIB) for number in range(5)]
    store = await two_tiers(tmp_path, flash_bytes=4 * MIB)
    store.adopt("p1", {item.key: item.size for item in items})
    begun = [await store.begin(item) for item in items]
    assert [item.disk.tier for item in begun] == [Tier.FLASH] * 3 + [Tier.BULK] * 2
    assert (await store.begin(ITEM)).disk.tier is Tier.BULK
