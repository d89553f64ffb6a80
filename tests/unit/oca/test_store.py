"""The store on real folders: what it believes at a start, and what it does when something goes wrong."""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import random
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.catalog import CatalogObject
from contracts.objectkey import object_hash, slice_span
from oca import ipc
from oca.objectfile import complete_path, description, disk_bytes, disk_rank, incomplete_path
from oca.store.disks import Disk, mark
from oca.store.diskstate import State
from oca.store.doubt import unreadable
from oca.store.joining import Joining
from oca.store.place import NoRoom
from oca.store.store import Store
from tests.appliance import published

MIB = 1 << 20
KEY = "tt1/video.mp4"
DATA = random.Random(1).randbytes(2 * MIB + 7)
ITEM = published(KEY, DATA)


def folders(tmp_path: Path) -> list[Path]:
    """Two marked disks, the one that `KEY` belongs on first."""
    made = [tmp_path / "disk1", tmp_path / "disk2"]
    for folder in made:
        folder.mkdir(exist_ok=True)
        mark(folder, "isp-a1")
    return sorted(made, key=lambda folder: disk_rank(str(folder), KEY))


async def opened(paths: list[Path], kind: type[Disk] = Disk, capacity_bytes: int = 100 * MIB) -> Store:
    store = Store("isp-a1", [kind(path, capacity_bytes) for path in paths])
    await Joining(store, time.monotonic, 3600).open()
    await store.settled()
    return store


def lay(path: Path, item: CatalogObject, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data + description(item))


async def put(store: Store, item: CatalogObject = ITEM, data: bytes = DATA) -> None:
    begun = await store.begin(item)
    for index in range(begun.slices):
        begun.write(index, data[slice(*slice_span(index, item.size))])
        store.slices_ready(begun, (index,))
    await store.finish(begun, recheck=False)


def used(store: Store) -> list[int]:
    return [disk.used_bytes for disk in store.disks]


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """As the storekeeper runs it: the test is one coroutine in a loop of its own."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


@in_a_loop
async def test_an_incomplete_file_without_a_description_is_removed_and_not_counted(tmp_path: Path) -> None:
    """It was being made when we were killed: its room may be taken already, all of it."""
    first, second = folders(tmp_path)
    await opened([first, second])
    torn = incomplete_path(first, KEY)
    with torn.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 4 * MIB)
    store = await opened([first, second])
    assert used(store) == [0, 0]
    assert not torn.exists()
    assert list((first / "quarantine").iterdir()) == []


@in_a_loop
async def test_a_complete_file_without_a_description_is_quarantined(tmp_path: Path) -> None:
    first, second = folders(tmp_path)
    lay(complete_path(first, KEY), ITEM, DATA[:-1])
    store = await opened([first, second])
    assert [file.name for file in (first / "quarantine").iterdir()] == [object_hash(KEY)]
    assert (len(store.index), used(store)) == (0, [disk_bytes(ITEM) - 1, 0])
    assert (store.disks[0].quarantined_files, store.disks[0].quarantined_bytes) == (1, used(store)[0])


@pytest.mark.parametrize("newer_first", [True, False])
@in_a_loop
async def test_of_two_copies_the_one_published_later_stays(tmp_path: Path, newer_first: bool) -> None:
    first, second = folders(tmp_path)
    newer = msgspec.structs.replace(ITEM, etag='"later"', modified_at=ITEM.modified_at + 1)
    lay(complete_path(first, KEY), newer if newer_first else ITEM, DATA)
    lay(complete_path(second, KEY), ITEM if newer_first else newer, DATA)
    store = await opened([first, second])
    await store.settled()
    entry = store.index.get(KEY)
    assert entry is not None
    assert entry.etag == '"later"'
    assert sorted(used(store)) == [0, disk_bytes(newer)]
    assert [complete_path(path, KEY).exists() for path in (first, second)] == [newer_first, not newer_first]


@in_a_loop
async def test_complete_on_one_disk_and_incomplete_on_another_is_counted_once(tmp_path: Path) -> None:
    first, second = folders(tmp_path)
    await opened([first, second])
    lay(incomplete_path(first, KEY), ITEM, DATA)
    lay(complete_path(second, KEY), ITEM, DATA)
    store = await opened([first, second])
    assert used(store) == [0, disk_bytes(ITEM)]
    assert (len(store.index), store.incomplete) == (1, {})
    assert not incomplete_path(first, KEY).exists()


@in_a_loop
async def test_a_disk_that_fails_while_it_is_scanned_leaves_nothing_in_the_index(tmp_path: Path) -> None:
    first, second = folders(tmp_path)
    lay(complete_path(first, KEY), ITEM, DATA)
    (first / "objects" / "zz").write_text("where a folder should be")
    store = await opened([first, second])
    assert [disk.state for disk in store.disks] == [State.FAILED, State.SERVING]
    assert "zz" in store.disks[0].why
    assert (len(store.index), used(store)) == (0, [0, 0])


@in_a_loop
async def test_a_start_keeps_no_incomplete_file_open(tmp_path: Path) -> None:
    first, second = folders(tmp_path)
    await opened([first, second])
    for number in range(20):
        item = msgspec.structs.replace(ITEM, key=f"tt{number}/video.mp4")
        lay(incomplete_path(first, item.key), item, DATA)
    before = len(os.listdir("/proc/self/fd"))
    store = await opened([first, second])
    assert len(store.incomplete) == 20
    assert len(os.listdir("/proc/self/fd")) == before
    begun = store.incomplete["tt3/video.mp4"]
    assert begun.check(begun.missing()) == [0, 1, 2]


class SlowDisk(Disk):
    """Its flush lasts until the test lets it end."""

    def __init__(self, path: Path, capacity_bytes: int | None) -> None:
        super().__init__(path, capacity_bytes)
        self.flushing, self.go = threading.Event(), threading.Event()

    def prepare(self, key: str, fd: int) -> None:
        self.flushing.set()
        assert self.go.wait(10)
        super().prepare(key, fd)


@in_a_loop
async def test_what_is_purged_while_it_is_flushed_and_begun_again_never_becomes_complete(
    tmp_path: Path,
) -> None:
    """The file that now has the name holds nothing yet: renamed, it would be served as zeros."""
    first, second = folders(tmp_path)
    store = await opened([first, second], SlowDisk)
    disk = store.disks[0]
    assert isinstance(disk, SlowDisk)
    putting = asyncio.ensure_future(put(store))
    await asyncio.to_thread(disk.flushing.wait, 10)
    await store.purge(lambda key: key == KEY)
    again = await store.begin(ITEM)
    disk.go.set()
    await putting
    assert store.incomplete == {KEY: again}
    assert again.verified == 0
    assert not complete_path(first, KEY).exists()
    assert used(store) == [disk_bytes(ITEM), 0]


class RenamingDisk(Disk):
    """Its renames are done, and not known to be, until the test lets them return."""

    def __init__(self, path: Path, capacity_bytes: int | None) -> None:
        super().__init__(path, capacity_bytes)
        self.renamed, self.go = threading.Event(), threading.Event()

    def promote(self, key: str) -> None:
        super().promote(key)
        self.renamed.set()
        assert self.go.wait(10)


@pytest.mark.parametrize("when", ["before its rename", "behind its rename"])
@in_a_loop
async def test_what_is_purged_about_its_rename_and_begun_again_has_a_new_file_and_no_other(
    tmp_path: Path, when: str
) -> None:
    first, second = folders(tmp_path)
    store = await opened([first, second], RenamingDisk)
    disk, before = store.disks[0], threading.Event()
    assert isinstance(disk, RenamingDisk)
    if when == "before its rename":
        # The thread has something else to do first: the rename is decided, and waits.
        await store.begin(ITEM)
        busy = disk.files.run(lambda: before.wait(10))
    putting = asyncio.ensure_future(put(store))
    if when == "behind its rename":
        await asyncio.to_thread(disk.renamed.wait, 10)
    else:
        for _ in range(20_000):
            if len(disk.files._waiting) < 2:
                await asyncio.sleep(0.001)
    purging = asyncio.ensure_future(store.purge(lambda key: key == KEY))
    await asyncio.sleep(0)
    beginning = asyncio.ensure_future(store.begin(ITEM))
    await asyncio.sleep(0)
    before.set()
    disk.go.set()
    await asyncio.gather(putting, purging)
    again = await beginning
    assert disk.renamed.is_set() is (when == "behind its rename")
    assert store.incomplete == {KEY: again}
    assert (again.verified, again.path.exists()) == (0, True)
    assert not complete_path(first, KEY).exists()
    assert used(store) == [disk_bytes(ITEM), 0]
    if when == "before its rename":
        await busy


@in_a_loop
async def test_a_slice_of_a_file_that_was_dropped_is_not_announced_for_the_next(tmp_path: Path) -> None:
    store = await opened(folders(tmp_path))
    dropped = await store.begin(ITEM)
    dropped.write(0, DATA[:MIB])
    await store.purge(lambda key: key == KEY)
    await store.begin(ITEM)
    told: list[ipc.ToEdge] = []
    store.listeners.append(told.append)
    store.slices_ready(dropped, (0,))
    assert told == []


@in_a_loop
async def test_purging_from_a_disk_that_fails_meanwhile_counts_nothing_twice(tmp_path: Path) -> None:
    store = await opened(folders(tmp_path))
    await put(store)
    (entry,) = store.index
    assert store.blame(entry.disk, OSError(errno.EIO, "Input/output error"))
    store.evict([entry])
    assert used(store) == [0, 0]


@in_a_loop
async def test_an_object_whose_file_is_gone_is_not_held(tmp_path: Path) -> None:
    first, second = folders(tmp_path)
    store = await opened([first, second])
    await put(store)
    assert await store.held(KEY) is not None
    complete_path(first, KEY).unlink()
    assert await store.held(KEY) is None
    assert used(store) == [0, 0]


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
@in_a_loop
async def test_a_file_that_a_worker_cannot_read_is_found_by_nobody(tmp_path: Path, number: int) -> None:
    first, second = folders(tmp_path)
    store = await opened([first, second])
    await put(store)
    unreadable(store, KEY, store.disks[0], OSError(number, os.strerror(number)))
    await store.settled()
    assert not complete_path(first, KEY).exists()
    assert [disk.state for disk in store.disks] == [State.FAILED, State.SERVING]
    assert (await store.begin(ITEM)).disk is store.disks[1]


@in_a_loop
async def test_a_read_that_failed_for_want_of_descriptors_is_not_held_against_the_disk(
    tmp_path: Path,
) -> None:
    first, second = folders(tmp_path)
    store = await opened([first, second])
    await put(store)
    unreadable(store, KEY, store.disks[0], OSError(errno.EMFILE, "Too many open files"))
    assert complete_path(first, KEY).exists()
    assert [disk.state for disk in store.disks] == [State.SERVING] * 2
    assert await store.held(KEY) is not None


@in_a_loop
async def test_what_a_full_disk_could_not_take_is_begun_on_the_other(tmp_path: Path) -> None:
    """The file system has as much as before: it is the capacity that was wrong, as when others write there."""
    store = await opened(folders(tmp_path), capacity_bytes=1 << 60)
    begun = await store.begin(ITEM)
    other = await store.begin(msgspec.structs.replace(ITEM, key="tt2/video.mp4"))
    begun.failed = True
    assert store.blame(begun.disk, OSError(errno.ENOSPC, "No space left on device"))
    await store.settled()
    assert KEY not in store.incomplete
    assert other.item.key in store.incomplete
    room = os.statvfs(begun.disk.path)
    assert begun.disk.capacity_bytes <= room.f_blocks * room.f_frsize + sum(used(store))
    assert begun.disk.state is State.SERVING


@in_a_loop
async def test_more_begun_than_may_be_open_gives_up_the_oldest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (40, 40))
    store = await opened(folders(tmp_path))
    items = [published(f"tt{number}/video.mp4", b"x") for number in range(25)]
    for item in items:
        await store.begin(item)
    assert list(store.incomplete) == [item.key for item in items[5:]]
    assert sum(used(store)) == sum(map(disk_bytes, items[5:]))


@in_a_loop
async def test_unplanned_objects_that_were_only_begun_make_room_the_oldest_first(tmp_path: Path) -> None:
    store = await opened(folders(tmp_path), capacity_bytes=5 * MIB)
    items = [msgspec.structs.replace(ITEM, key=f"tt{number}/video.mp4") for number in range(4)]
    for item in items:
        await store.begin(item)
    assert len(store.incomplete) == 4
    store.adopt("p1", {items[0].key: ITEM.size})
    last = await store.begin(msgspec.structs.replace(ITEM, key="tt9/video.mp4"))
    gone = [item.key for item in items if item.key not in store.incomplete]
    assert len(gone) == 1
    assert gone != [items[0].key]
    assert used(store) == [2 * disk_bytes(ITEM)] * 2
    assert last.disk.free_bytes >= 0


@in_a_loop
async def test_where_nothing_can_go_the_refusal_names_the_disks(tmp_path: Path) -> None:
    store = await opened(folders(tmp_path), capacity_bytes=MIB)
    with pytest.raises(NoRoom, match=r"tt1/video.mp4 needs 2097\d+ bytes on one disk.*disk1: 1048576 free"):
        await store.begin(ITEM)
