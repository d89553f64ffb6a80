"""One disk read again: what is rotten is found, what is right is not, and a pass goes on where it was."""

from __future__ import annotations

import asyncio
import ctypes
import mmap
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.objectkey import object_hash
from oca.objectfile import complete_path
from oca.store.scrub import SLOWEST_BYTES_PER_S, Pass, rate_bytes_per_s
from tests.appliance import published
from tests.unit.oca.test_store import folders, lay, opened

MIB = 1 << 20
DATA = random.Random(2).randbytes(2 * MIB + 7)
KEYS = [f"tt{number}/video.mp4" for number in range(4)]
DAY_S = 86_400.0


@pytest.mark.parametrize(
    ("left_bytes", "left_s", "wanted"),
    [
        pytest.param(
            8 * 10**12, 30 * DAY_S, 8 * 10**12 / (30 * DAY_S), id="what is left in the time that is left"
        ),
        pytest.param(10**6, 30 * DAY_S, SLOWEST_BYTES_PER_S, id="little is soon done"),
        pytest.param(10**15, DAY_S, 32 * MIB, id="never above the cap"),
        pytest.param(10**9, 0, 32 * MIB, id="a pass that is late"),
        pytest.param(0, -5, 32 * MIB, id="a pass that is over"),
    ],
)
def test_the_rate_follows_from_what_is_there(left_bytes: int, left_s: float, wanted: float) -> None:
    assert rate_bytes_per_s(left_bytes, left_s, 32 * MIB) == wanted


class World:
    """A disk with `KEYS`, and what the scrubbing of it says."""

    def __init__(self, tmp_path: Path) -> None:
        self.disk = folders(tmp_path)[0]
        asyncio.run(opened([self.disk]))
        for key in KEYS:
            lay(complete_path(self.disk, key), published(key, DATA), DATA)
        self.state = tmp_path / "state" / "scrub" / "one.json"
        self.bad: list[tuple[str, str | None]] = []
        self.errors: list[OSError] = []
        self.running: list[Pass] = []

    def scrub(self, *, rate: int = 1 << 34, stop_after: str | None = None) -> Pass:
        """Begins; ``stop_after`` is a name at which it is stopped."""
        made = Pass(
            self.disk,
            self.state,
            days=30,
            cap_bytes_per_s=rate,
            now=time.time,
            used_bytes=lambda: len(KEYS) * len(DATA),
            on_bad=lambda path, _, key, why: self.bad.append((path.name, why)),
            on_error=lambda path, key, error: self.errors.append(error),
        )
        self.running.append(made)
        return made

    def whole_pass(self) -> Pass:
        made = self.scrub()
        made.start()
        made.at_once()
        until = time.monotonic() + 30
        while made.progress.under_way:
            assert time.monotonic() < until
            time.sleep(0.01)
        return made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for running in made.running:
        running.stop()


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def test_a_disk_on_which_all_is_right(world: World) -> None:
    done = world.whole_pass()
    assert (world.bad, world.errors) == ([], [])
    assert done.checked_bytes == len(KEYS) * len(DATA)
    assert done.progress.ended_at >= done.progress.began_at > 0


@pytest.mark.parametrize("at", [0, MIB, 2 * MIB + 6])
def test_one_bit_is_found_in_whatever_slice(world: World, at: int) -> None:
    path = complete_path(world.disk, KEYS[2])
    flip(path, at)
    done = world.whole_pass()
    assert [name for name, _ in world.bad] == [path.name]
    assert f"slice {at // MIB} " in str(world.bad[0][1])
    assert done.progress.bad_objects == 1


def test_a_description_that_is_rotten_is_found(world: World) -> None:
    path = complete_path(world.disk, KEYS[2])
    flip(path, path.stat().st_size - 40)
    world.whole_pass()
    assert world.bad == [(path.name, "the description does not match its checksum")]


def test_a_file_system_without_direct_reads_is_read_through_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: object, flags: int, *more: object, **named: object) -> int:
        if flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return real(path, flags, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    flip(complete_path(world.disk, KEYS[1]), MIB + 5)
    done = world.whole_pass()
    assert [name for name, _ in world.bad] == [object_hash(KEYS[1])]
    assert done.checked_bytes == (len(KEYS) - 1) * len(DATA) + MIB


def test_a_pass_goes_on_where_it_was_after_a_restart(world: World) -> None:
    first = world.scrub(rate=MIB)
    first.start()
    until = time.monotonic() + 30
    while first.progress.checked_bytes < MIB:
        assert time.monotonic() < until
        time.sleep(0.01)
    first.stop()
    for thread in threading.enumerate():
        if thread.name.startswith("scrub "):
            thread.join(30)
    stood = first.progress
    again = world.scrub()
    assert (again.progress.at, again.progress.slice) == (stood.at, stood.slice)
    assert 0 < again.progress.checked_bytes < len(KEYS) * len(DATA)
    done = world.whole_pass()
    assert done.progress.checked_bytes == len(KEYS) * len(DATA)
    assert done.checked_bytes == len(KEYS) * len(DATA) - stood.checked_bytes


def test_after_a_pass_it_rests_until_the_next_is_due(world: World) -> None:
    ended = world.whole_pass().progress
    rests = world.scrub()
    rests.start()
    assert not rests.progress.under_way
    assert (rests.progress.began_at, rests.share_done, rests.rate) == (ended.began_at, 1.0, 0.0)


def test_a_state_file_that_is_no_such_thing_begins_anew(world: World) -> None:
    world.state.parent.mkdir(parents=True)
    world.state.write_text("{")
    assert world.whole_pass().checked_bytes == len(KEYS) * len(DATA)


def test_pages_that_were_not_in_memory_are_not_brought_there(world: World) -> None:
    paths = [complete_path(world.disk, key) for key in KEYS]
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    paths[1].read_bytes()
    if [in_memory(path) for path in paths] != [False, True, False, False]:
        pytest.skip("this file system keeps its pages in memory, whatever it is told")
    world.whole_pass()
    assert [in_memory(path) for path in paths] == [False, True, False, False]


def in_memory(path: Path) -> bool:
    """Whether the page in the middle of the file is: mincore(2), which brings nothing there, unlike a read."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 4, ctypes.c_long]
    with path.open("rb") as file:
        address = libc.mmap(None, 4096, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), MIB)
    found = ctypes.c_ubyte()
    assert libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(4096), ctypes.byref(found)) == 0
    libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(4096))
    return bool(found.value & 1)
