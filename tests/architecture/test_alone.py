"""Who is alone on the machine is alone, and is let in though others come and go."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from pathlib import Path

import pytest

from tests.alone import Machine
from tests.waiting import PATIENCE_S, until


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("door", "room"):
        (tmp_path / name).touch()
    return tmp_path


class Worker:
    """One process of several, played by a thread: locks belong to open files."""

    def __init__(self, folder: Path) -> None:
        self._machine = Machine(folder / "door", folder / "room")
        self.inside = threading.Event()

    def enter(self, *, alone: bool) -> threading.Thread:
        def enters() -> None:
            self._machine.enter(alone=alone)
            self.inside.set()

        entering = threading.Thread(target=enters, daemon=True)
        entering.start()
        return entering

    def leave(self) -> None:
        self.inside.clear()
        self._machine.leave()


def free(lock: Path) -> bool:
    with lock.open() as file, contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def waiters(lock: Path) -> int:
    inode = f":{os.stat(lock).st_ino} "
    return sum("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def test_who_is_alone_waits_for_those_inside_and_goes_before_those_who_come_later(folder: Path) -> None:
    first, second, lone, late = (Worker(folder) for _ in range(4))
    for worker in (first, second):
        worker.enter(alone=False).join(PATIENCE_S)
    assert first.inside.is_set()
    assert second.inside.is_set()

    entering = [lone.enter(alone=True)]
    until(lambda: not free(folder / "door"))
    entering.append(late.enter(alone=False))
    until(lambda: waiters(folder / "door") == 1)
    first.leave()
    assert not lone.inside.is_set()
    second.leave()
    assert lone.inside.wait(PATIENCE_S)
    # Who came later has passed the door by now or soon, and waits for the room.
    until(lambda: waiters(folder / "room") == 1)
    assert not late.inside.is_set()
    lone.leave()
    assert late.inside.wait(PATIENCE_S)
    late.leave()
    for thread in entering:
        thread.join(PATIENCE_S)
