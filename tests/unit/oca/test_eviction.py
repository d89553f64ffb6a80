"""What goes for a planned object: a real store on a real folder, in the order in which a fill would ask for room."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from contracts.catalog import CatalogObject
from oca.config import Demand
from oca.objectfile import disk_bytes
from oca.store.disks import Disk, mark
from oca.store.joining import Joining
from oca.store.place import NoRoom
from oca.store.store import Store
from oca.store.watermarks import Watermarks
from tests.appliance import published
from tests.unit.oca.test_store import MIB, in_a_loop, put

DATA = random.Random(3).randbytes(4 * MIB)


def item(number: int, mib: int = 1) -> CatalogObject:
    return published(f"tt{number:02}/video.mp4", DATA[: mib * MIB])


COST = disk_bytes(item(0))


async def disk_of(tmp_path: Path, objects: float, floor_share: float = 0.0) -> Store:
    """One disk that has room for so many objects of one MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mark(folder, "isp-a1")
    store = Store("isp-a1", [Disk(folder, int(objects * COST))], floor_share)
    await Joining(store, lambda: 0.0, 3600).open()
    return store


async def filled(store: Store, *items: CatalogObject) -> None:
    for one in items:
        await put(store, one, DATA[: one.size])


def planned(*items: CatalogObject) -> dict[str, int]:
    return {one.key: one.size for one in items}


def asked(store: Store, *numbers: int) -> None:
    store.touched([(item(number).key, 1) for number in numbers])


def minutes(store: Store, count: int) -> None:
    for _ in range(count):
        store.index.minute()


def held(store: Store) -> list[int]:
    return sorted(int(entry.key[2:4]) for entry in store.index)


@in_a_loop
async def test_of_what_the_plan_lets_go_the_least_played_goes_first_and_one_for_each_that_comes(
    tmp_path: Path,
) -> None:
    store = await disk_of(tmp_path, objects=6)
    old = [item(number) for number in range(6)]
    store.adopt("v1", planned(*old))
    await filled(store, *old)
    for _ in range(5):
        asked(store, 0, 3, 5)
        minutes(store, 5)
    asked(store, 0, 4)
    minutes(store, 5)
    new = [item(number) for number in range(50, 53)]
    store.adopt("v2", planned(*new))
    for count, one in enumerate(new, 1):
        await filled(store, one)
        assert len(held(store)) == 6, "no more goes than the next file needs"
        assert held(store)[-count:] == [50 + number for number in range(count)]
        if count == 2:
            assert held(store)[:4] == [0, 3, 4, 5], "1 and 2 were never played"
    assert held(store)[:3] == [0, 3, 5], "4 was played once, the others often"


@in_a_loop
async def test_what_a_player_asked_for_stays_before_what_was_only_planned(tmp_path: Path) -> None:
    store = await disk_of(tmp_path, objects=4)
    store.adopt("v1", planned(item(0), item(1)))
    await filled(store, item(2), item(3), item(0), item(1))
    minutes(store, 5)
    store.adopt("v2", planned(item(50), item(51)))
    await filled(store, item(50), item(51))
    assert held(store) == [2, 3, 50, 51]


@in_a_loop
async def test_no_more_goes_than_is_needed_where_one_large_object_is_enough(tmp_path: Path) -> None:
    store = await disk_of(tmp_path, objects=6.5)
    small, large = [item(0), item(1)], item(2, mib=4)
    await filled(store, *small, large)
    minutes(store, 5)
    store.adopt("v1", planned(item(50, mib=3)))
    await filled(store, item(50, mib=3))
    assert held(store) == [0, 1, 50], "the small ones, which stood before it, would not have been enough"


@in_a_loop
async def test_what_is_being_played_is_kept_and_the_refusal_says_so(tmp_path: Path) -> None:
    store = await disk_of(tmp_path, objects=3)
    await filled(store, item(0), item(1), item(2))
    minutes(store, 5)
    asked(store, 0, 2)
    minutes(store, 1)
    asked(store, 2)
    store.adopt("v1", planned(item(50), item(51)))
    await filled(store, item(50))
    assert held(store) == [0, 2, 50], "0 was asked for a minute ago"
    with pytest.raises(NoRoom, match=r"tt51/video.mp4 needs .* what else could go is being played"):
        await store.begin(item(51), allocate=True)
    minutes(store, 1)
    await filled(store, item(51))
    assert held(store) == [2, 50, 51]


@in_a_loop
async def test_what_was_played_until_the_plan_let_it_go_is_kept_too(tmp_path: Path) -> None:
    store = await disk_of(tmp_path, objects=2)
    store.adopt("v1", planned(item(0), item(1)))
    await filled(store, item(0), item(1))
    minutes(store, 5)
    asked(store, 0)
    store.adopt("v2", planned(item(50)))
    await filled(store, item(50))
    assert held(store) == [0, 50]


@in_a_loop
async def test_an_object_that_a_player_waits_for_is_not_given_up_for_the_plan(tmp_path: Path) -> None:
    store = await disk_of(tmp_path, objects=2)
    for number in (0, 1):
        begun = await store.begin(item(number))
        begun.write(0, DATA[:MIB])
    minutes(store, 5)
    asked(store, 0)
    store.adopt("v1", planned(item(50), item(51)))
    await store.begin(item(50), allocate=True)
    assert sorted(store.incomplete) == [item(0).key, item(50).key], "1 is older than a minute"
    with pytest.raises(NoRoom):
        await store.begin(item(51), allocate=True)


@in_a_loop
async def test_the_plan_never_takes_the_floor_of_the_demand_cache(tmp_path: Path) -> None:
    store = await disk_of(tmp_path, objects=10, floor_share=0.25)
    new = [item(number) for number in range(50, 60)]
    store.adopt("v1", planned(*new))
    await filled(store, *(item(number) for number in range(10)))
    minutes(store, 5)
    with pytest.raises(NoRoom, match="the demand cache's floor"):
        await filled(store, *new)
    assert [number for number in held(store) if number >= 50] == list(range(50, 57))
    marks = Watermarks(store, Demand(high_watermark=0.5, low_watermark=0.5))
    assert marks.step() <= 1
    assert sum(entry.disk_bytes for entry in store.index.demand(store.disks[0])) >= 2 * COST
    await filled(store, item(20))
    assert 20 in held(store), "and a player is served in it"


@in_a_loop
async def test_an_empty_disk_keeps_the_floor_free_as_well(tmp_path: Path) -> None:
    store = await disk_of(tmp_path, objects=4, floor_share=0.25)
    store.adopt("v1", planned(*(item(number) for number in range(50, 54))))
    with pytest.raises(NoRoom):
        await filled(store, *(item(number) for number in range(50, 54)))
    assert held(store) == [50, 51, 52]


@in_a_loop
async def test_what_is_missing_of_the_plan_is_told_in_its_order(tmp_path: Path) -> None:
    store = await disk_of(tmp_path, objects=4)
    await filled(store, item(51))
    store.adopt("v1", planned(item(52), item(51), item(50)))
    assert list(store.index.missing()) == [item(52).key, item(50).key]
    await filled(store, item(52))
    assert list(store.index.missing()) == [item(50).key]
    await store.purge(lambda key: key == item(51).key)
    assert set(store.index.missing()) == {item(50).key, item(51).key}
