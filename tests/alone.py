"""A test marked ``alone`` has the machine to itself: whatever runs beside it (`pytest -n 2`) waits meanwhile.

Two locks of the kernel's, which end with whoever holds them. The room is shared by tests and is one test's alone if it
is marked so; the door is held by whoever waits for the room, so that nobody who comes later goes before.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from pathlib import Path

import pytest


class Machine:
    """What one process knows of the two locks; ``enter`` and ``leave`` around each test."""

    def __init__(self, door: Path, room: Path) -> None:
        self._door, self._room = (os.open(path, os.O_RDONLY) for path in (door, room))
        self._inside = False

    def enter(self, *, alone: bool) -> None:
        if self._inside:
            return
        fcntl.flock(self._door, fcntl.LOCK_EX)
        fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(self._door, fcntl.LOCK_UN)
        self._inside = True

    def leave(self) -> None:
        # Said, and not only closed: a child that was forked meanwhile has the same lock.
        fcntl.flock(self._room, fcntl.LOCK_UN)
        self._inside = False


_machine = Machine(Path(__file__).parent, Path(__file__))


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before the clock of pytest-timeout runs
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    alone = _is_alone(item)
    _machine.enter(alone=alone)
    try:
        return (yield)
    finally:
        # From the first to the last of several: what their module has started runs on between them.
        if not (alone and _is_alone(nextitem)):
            _machine.leave()


def _is_alone(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("alone") is not None
