"""Threads of a disk: who waits for one that hangs is told so, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path

import pytest

from oca.diskthreads import DiskThreads


def test_calls_of_one_thread_happen_in_order_and_say_what_they_raised() -> None:
    async def conversation() -> None:
        disk, done = DiskThreads("/d", 1, 60), list[int]()
        calls = [disk.run(lambda n=n: done.append(n)) for n in range(100)]  # type: ignore[misc]
        await asyncio.gather(*calls)
        assert done == list(range(100))
        with pytest.raises(ZeroDivisionError):
            await disk.run(lambda: 1 / 0)
        assert disk.idle

    asyncio.run(conversation())


def test_a_call_that_does_not_return_fails_all_who_wait_and_refuses_until_it_has_returned() -> None:
    async def conversation() -> None:
        why: list[str] = []
        disk, go, never = DiskThreads("/d", 1, 0.05, why.append), threading.Event(), list[int]()
        stuck = disk.run(lambda: go.wait(30))
        queued = disk.run(lambda: never.append(1))
        for call in (stuck, queued, disk.run(lambda: None)):
            with pytest.raises(OSError) as error:
                await call
            assert error.value.errno == errno.ETIMEDOUT
        assert len(why) == 1
        assert "the disk hangs" in why[0]
        assert disk.hangs
        go.set()
        for _ in range(20_000):
            if disk.hangs:
                await asyncio.sleep(0.001)
        assert await _answered(disk) == 7
        assert never == []

    asyncio.run(conversation())


async def _answered(disk: DiskThreads) -> int:
    """What a call gives, once a thread comes to it in time: on a busy machine 0.05 s are little."""
    for _ in range(1000):
        try:
            return await disk.run(lambda: 7)
        except TimeoutError:
            await asyncio.sleep(0.01)
    raise AssertionError("never in time")


def test_large_work_is_given_more_time() -> None:
    async def conversation() -> None:
        why: list[str] = []
        disk, go = DiskThreads("/d", 2, 0.05, why.append), threading.Event()
        large = disk.run(lambda: go.wait(30), extra_s=60)
        small = disk.run(lambda: go.wait(30))
        with pytest.raises(OSError):
            await small
        with pytest.raises(OSError):
            await large  # the disk hangs: nobody waits for it any more
        assert len(why) == 1
        go.set()

    asyncio.run(conversation())


def test_descriptors_are_closed(tmp_path: Path) -> None:
    async def conversation() -> None:
        disk = DiskThreads(str(tmp_path), 1, 60)
        fd = await disk.run(lambda: os.open(tmp_path, os.O_RDONLY))
        disk.close(fd)
        for _ in range(20_000):
            if os.path.exists(f"/proc/self/fd/{fd}"):
                await asyncio.sleep(0.001)
        assert not os.path.exists(f"/proc/self/fd/{fd}")

    asyncio.run(conversation())
