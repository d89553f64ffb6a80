"""Room on real folders: what is kept for the plan, what is made ahead, and what survives an eviction."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from contracts.catalog import CatalogObject
from oca.config import Demand
from oca.objectfile import complete_path, disk_bytes
from oca.store.disks import mark
from oca.store.place import NoRoom, kept_ahead
from oca.store.store import Store
from oca.store.watermarks import Watermarks
from tests.appliance import published
from tests.unit.oca.test_store import MIB, folders, in_a_loop, opened, put

DATA = random.Random(2).randbytes(MIB)
COST = disk_bytes(published("tt00/video.mp4", DATA))


def item(number: int) -> CatalogObject:
    return published(f"tt{number:02}/video.mp4", DATA)


async def one_disk(tmp_path: Path, objects: int) -> Store:
    (tmp_path / "disk").mkdir()
    mark(tmp_path / "disk", "isp-a1")
    return await opened([tmp_path / "disk"], capacity_bytes=objects * COST)


async def filled(store: Store, numbers: range) -> None:
    for number in numbers:
        await put(store, item(number), DATA)


def held(store: Store) -> set[int]:
    return {int(entry.key[2:4]) for entry in store.index}


def planned(numbers: range) -> dict[str, int]:
    return {item(number).key: item(number).size for number in numbers}


@in_a_loop
async def test_above_the_high_watermark_room_is_made_down_to_the_low_one(tmp_path: Path) -> None:
    store = await one_disk(tmp_path, objects=20)
    marks = Watermarks(store, Demand(high_watermark=0.9, low_watermark=0.75))
    await filled(store, range(18))
    assert marks.step() == 0
    await filled(store, range(18, 19))
    assert marks.step() == 4
    await store.settled()
    assert len(held(store)) == 15
    assert marks.step() == 0
    assert sum(complete_path(store.disks[0].path, item(n).key).exists() for n in range(19)) == 15


@in_a_loop
async def test_pinned_objects_are_never_removed_for_a_watermark(tmp_path: Path) -> None:
    store = await one_disk(tmp_path, objects=20)
    await filled(store, range(20))
    store.adopt("v1", planned(range(18)))
    marks = Watermarks(store, Demand(high_watermark=0.5, low_watermark=0.5))
    assert marks.step() == 2
    assert held(store) == set(range(18))
    assert marks.step() == 0


@in_a_loop
async def test_what_the_plan_lets_go_of_is_evicted_and_what_it_takes_up_is_not(tmp_path: Path) -> None:
    store = await one_disk(tmp_path, objects=4)
    store.adopt("v1", planned(range(2)))
    await filled(store, range(4))
    store.adopt("v2", planned(range(2, 4)))
    await filled(store, range(4, 6))
    assert held(store) == {2, 3, 4, 5}


@in_a_loop
async def test_demand_content_leaves_the_room_of_what_is_planned_and_not_here(tmp_path: Path) -> None:
    store = await one_disk(tmp_path, objects=10)
    store.adopt("v1", planned(range(50, 56)))
    await filled(store, range(9))
    assert len(held(store)) == 4
    ahead = kept_ahead(store.disks, store.index, store.incomplete)[store.disks[0]]
    assert ahead >= sum(planned(range(50, 56)).values())
    await filled(store, range(50, 56))
    assert held(store) >= set(range(50, 56))
    assert kept_ahead(store.disks, store.index, store.incomplete) == {}


@in_a_loop
async def test_the_room_of_the_plans_next_object_is_made_before_it_comes_and_no_more(tmp_path: Path) -> None:
    store = await one_disk(tmp_path, objects=10)
    await filled(store, range(10))
    store.adopt("v1", planned(range(50, 53)))
    marks = Watermarks(store, Demand(high_watermark=1.0, low_watermark=1.0))
    for number in (50, 51, 52):
        assert marks.step() == 1
        assert store.disks[0].free_bytes >= MIB
        assert marks.step() == 0
        await filled(store, range(number, number + 1))
    assert marks.step() == 0
    assert len(held(store)) == 10


@in_a_loop
async def test_what_was_begun_of_the_plan_is_not_kept_room_for_twice(tmp_path: Path) -> None:
    store = await one_disk(tmp_path, objects=10)
    store.adopt("v1", planned(range(50, 54)))
    before = kept_ahead(store.disks, store.index, store.incomplete)[store.disks[0]]
    await store.begin(item(50), allocate=True)
    after = kept_ahead(store.disks, store.index, store.incomplete)[store.disks[0]]
    assert 0.9 * MIB < before - after < 1.1 * MIB


@in_a_loop
async def test_every_disk_keeps_its_share_of_what_is_missing(tmp_path: Path) -> None:
    store = await opened(folders(tmp_path), capacity_bytes=10 * COST)
    store.adopt("v1", planned(range(50, 60)))
    ahead = kept_ahead(store.disks, store.index, store.incomplete)
    assert {round(kept / COST) for kept in ahead.values()} == {5}
    assert all(kept < store.index.obtainable_bytes(disk) for disk, kept in ahead.items())


@in_a_loop
async def test_a_player_is_served_in_the_plans_room_and_the_plan_takes_it_back(tmp_path: Path) -> None:
    store = await one_disk(tmp_path, objects=3)
    store.adopt("v1", planned(range(50, 53)))
    await filled(store, range(2))
    assert held(store) == {0, 1}
    await filled(store, range(50, 53))
    assert held(store) == {50, 51, 52}
    with pytest.raises(NoRoom):
        await store.begin(item(7))


@in_a_loop
async def test_a_download_survives_the_eviction_of_its_object(tmp_path: Path) -> None:
    """A worker has the file open; it reads the same bytes to the end, and the books say that it is gone."""
    store = await one_disk(tmp_path, objects=2)
    await filled(store, range(2))
    path = complete_path(store.disks[0].path, item(0).key)
    fd = os.open(path, os.O_RDONLY)
    try:
        assert os.pread(fd, 1000, 0) == DATA[:1000]
        await filled(store, range(2, 4))
        await store.settled()
        assert not path.exists()
        assert store.index.get(item(0).key) is None
        assert os.pread(fd, MIB, 0) == DATA
    finally:
        os.close(fd)
