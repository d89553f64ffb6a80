"""A snapshot of the index: used once, refused for any doubt, and never believed over the disk."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from contracts.objectkey import object_hash
from oca.objectfile import complete_path, disk_bytes
from oca.store import snapshot
from oca.store.disks import Disk
from oca.store.joining import Joining
from oca.store.leaving import leave
from oca.store.settle import settle
from oca.store.store import Store
from tests.appliance import published
from tests.unit.oca.test_store import folders, in_a_loop, lay

DATA = b"twelve bytes"
KEYS = [f"tt{number}/video.mp4" for number in range(40)]


class Started:
    """A store as it is after a start, before anything was compared with the disks."""

    def __init__(self, disks: list[Path]) -> None:
        self.store = Store("isp-a1", [Disk(path, 1 << 30) for path in disks])
        self.joining = Joining(self.store, time.monotonic, 3600)

    @property
    def keys(self) -> list[str]:
        return [entry.key for entry in self.store.index]

    @property
    def used(self) -> list[int]:
        return [disk.used_bytes for disk in self.store.disks]

    async def settled(self) -> Started:
        await settle(self.store, self.joining)
        await self.store.settled()
        return self

    async def end(self) -> None:
        await leave(self.store, self.joining.unsettled)


async def start(disks: list[Path]) -> Started:
    made = Started(disks)
    await made.joining.open()
    return made


async def scanned(disks: list[Path]) -> Started:
    for disk in disks:
        (disk / snapshot.NAME).unlink(missing_ok=True)
    return await start(disks)


@pytest.fixture
def disks(tmp_path: Path) -> list[Path]:
    """Two disks that an appliance with `KEYS` on the first was stopped on."""
    made = folders(tmp_path)

    async def lay_all() -> None:
        await (await start(made)).end()
        for key in KEYS:
            lay(complete_path(made[0], key), published(key, DATA), DATA)
        started = await scanned(made)
        # Another order than that of the files.
        for key in reversed(KEYS):
            started.store.index.touch([(key, 1)])
        await started.end()

    asyncio.run(lay_all())
    return made


@in_a_loop
async def test_a_start_from_a_snapshot_has_the_index_and_the_order_of_last_use(disks: list[Path]) -> None:
    shutil.rmtree(disks[0] / "objects")  # so it was not read
    (disks[0] / "objects").mkdir()
    started = await start(disks)
    assert started.keys == KEYS[::-1]
    assert started.used == [len(KEYS) * disk_bytes(published(KEYS[-1], DATA)) - 10, 0]


@in_a_loop
async def test_a_snapshot_is_gone_before_anything_happens(disks: list[Path]) -> None:
    assert all((disk / snapshot.NAME).exists() for disk in disks)
    await start(disks)
    assert not any((disk / snapshot.NAME).exists() for disk in disks)


@in_a_loop
async def test_nothing_differs_on_a_disk_that_was_left_alone(disks: list[Path]) -> None:
    started = await start(disks)
    before = started.used
    taken = started.joining.unsettled[started.store.disks[0]]
    assert [found for batch in taken.differences(disks[0]) for found in batch] == []
    await started.settled()
    assert (started.keys, started.used, started.joining.unsettled) == (KEYS[::-1], before, {})


def removed(disk: Path) -> None:
    complete_path(disk, KEYS[0]).unlink()


def torn(disk: Path) -> None:
    os.truncate(complete_path(disk, KEYS[0]), 100)


def overwritten(disk: Path) -> None:
    """Its length, its inode and its mtime are what they were."""
    path = complete_path(disk, KEYS[0])
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def another(disk: Path) -> None:
    path = complete_path(disk, KEYS[0])
    shutil.copyfile(complete_path(disk, KEYS[1]), path)


@pytest.mark.parametrize("change", [removed, torn, overwritten, another])
@in_a_loop
async def test_what_was_spoilt_while_nobody_looked_is_found(
    disks: list[Path], change: Callable[[Path], None]
) -> None:
    change(disks[0])
    started = await start(disks)
    assert started.keys == KEYS[::-1], "the snapshot gave the index at once"
    await started.settled()
    assert started.keys == KEYS[:0:-1]
    put_away = list((disks[0] / "quarantine").iterdir())
    assert [file.name for file in put_away] == ([] if change is removed else [object_hash(KEYS[0])])
    assert started.used == [counted(disks[0]), 0]
    assert (await (await scanned(disks)).settled()).used == [counted(disks[0]), 0]


def counted(disk: Path) -> int:
    files = [
        file for folder in ("objects", "quarantine") for file in (disk / folder).rglob("*") if file.is_file()
    ]
    return sum(file.stat().st_size for file in files)


@in_a_loop
async def test_what_was_replaced_by_a_right_one_is_counted_as_it_is_now(disks: list[Path]) -> None:
    item = msgspec.structs.replace(published(KEYS[0], DATA * 2), etag='"later"')
    lay(complete_path(disks[0], KEYS[0]), item, DATA * 2)
    started = await (await start(disks)).settled()
    entry = started.store.index.get(KEYS[0])
    assert entry is not None
    assert (entry.etag, entry.size, len(started.store.index)) == ('"later"', len(DATA) * 2, len(KEYS))
    assert started.used == [counted(disks[0]), 0]


@in_a_loop
async def test_what_was_added_is_counted(disks: list[Path]) -> None:
    lay(complete_path(disks[0], "tt99/video.mp4"), published("tt99/video.mp4", DATA), DATA)
    started = await (await start(disks)).settled()
    assert started.store.index.get("tt99/video.mp4") is not None
    assert started.used == [counted(disks[0]), 0]


@in_a_loop
async def test_what_comes_and_goes_while_the_disk_is_compared_is_let_be(disks: list[Path]) -> None:
    started = await start(disks)
    gone = started.store.index.get(KEYS[3])
    assert gone is not None
    started.store.evict([gone])
    lay(complete_path(disks[0], "tt99/video.mp4"), published("tt99/video.mp4", DATA), DATA)
    await started.settled()
    assert started.store.index.get(KEYS[3]) is None
    assert len(started.store.index) == len(KEYS)
    assert started.used == [counted(disks[0]), 0]


@in_a_loop
async def test_a_disk_that_was_not_compared_to_the_end_is_compared_from_where_it_was(
    disks: list[Path],
) -> None:
    """Stopped at once again: what was changed before the first snapshot's successor must still be found."""
    overwritten(disks[0])
    await (await start(disks)).end()
    started = await (await start(disks)).settled()
    assert started.store.index.get(KEYS[0]) is None


def flipped(disks: list[Path]) -> None:
    path = disks[0] / snapshot.NAME
    raw = bytearray(path.read_bytes())
    raw[100] ^= 1
    path.write_bytes(raw)


def truncated(disks: list[Path]) -> None:
    os.truncate(disks[0] / snapshot.NAME, 500)


def empty(disks: list[Path]) -> None:
    (disks[0] / snapshot.NAME).write_bytes(b"")


def of_another_disk(disks: list[Path]) -> None:
    shutil.copyfile(disks[1] / snapshot.NAME, disks[0] / snapshot.NAME)


def a_folder(disks: list[Path]) -> None:
    (disks[0] / snapshot.NAME).unlink()
    (disks[0] / snapshot.NAME).mkdir()


def too_large(disks: list[Path]) -> None:
    os.truncate(disks[0] / snapshot.NAME, snapshot.MAX_BYTES + 1)


@pytest.mark.parametrize("spoil", [flipped, truncated, empty, of_another_disk, a_folder, too_large])
@in_a_loop
async def test_a_snapshot_in_doubt_is_refused_and_the_disk_is_scanned(
    disks: list[Path], spoil: Callable[[list[Path]], None], caplog: pytest.LogCaptureFixture
) -> None:
    spoil(disks)
    complete_path(disks[0], KEYS[7]).unlink()  # the snapshot has it, the disk has not
    started = await start(disks)
    assert "snapshot refused" in caplog.text
    assert sorted(started.keys) == sorted(set(KEYS) - {KEYS[7]})
    assert started.used == [counted(disks[0]), 0]
    assert not (disks[0] / snapshot.NAME).is_file()


@in_a_loop
async def test_a_snapshot_of_the_future_is_refused(disks: list[Path]) -> None:
    """The clock was set back, so that what was changed since cannot be told by its time."""
    identity = (await start(disks)).store.disks[0].id
    await (await start(disks)).end()
    with pytest.raises(snapshot.BadSnapshot, match="future"):
        snapshot.take(disks[0], identity, time.time_ns() - 3600 * 10**9)


@in_a_loop
async def test_a_snapshot_that_cannot_be_written_leaves_none(
    disks: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    started = await start(disks)
    (disks[0] / (snapshot.NAME + ".new")).mkdir()
    await started.end()
    assert "no snapshot" in caplog.text
    assert not (disks[0] / snapshot.NAME).exists()
    assert (disks[1] / snapshot.NAME).exists()
