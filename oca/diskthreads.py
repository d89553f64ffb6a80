"""The threads that touch one disk, so that a disk that hangs holds up only those who wait for that disk.

A call to a dying disk returns after a minute, or never, and nothing calls a thread back from it. So no event
loop makes one: it hands the call to a thread of that disk and waits for the answer, with a bound.

    run(work)       in order if there is one thread; its result, or what it raised
    a call that lasts longer than ``patience_s``
                    the disk hangs: whoever waits gets ETIMEDOUT at once, what was queued is never done,
                    and new calls are refused until the last of the stuck threads has come back
    close(fd)       in a thread of its own: closing may wait for the disk too, and nobody waits for closing

Used by the storekeeper and by edge workers. Threads are daemons: a process may end though one is stuck.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

MOST_WAITING: Final = 10_000
"""Calls of one disk; more than that, and it does not keep up."""


class _Call(Generic[T]):
    __slots__ = ("began", "future", "loop", "patience_s", "work")

    def __init__(self, work: Callable[[], T], patience_s: float) -> None:
        self.work = work
        self.patience_s = patience_s
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self.loop.create_future()
        self.began: float | None = None


class DiskThreads:
    """``on_hang(why)`` is called in the event loop, once each time the disk begins to hang."""

    def __init__(
        self, disk: str, threads: int, patience_s: float, on_hang: Callable[[str], None] | None = None
    ) -> None:
        self.disk = disk
        self.patience_s = patience_s
        self.on_hang = on_hang
        self._threads = threads
        self._started = 0
        self._queue: queue.SimpleQueue[_Call[Any]] = queue.SimpleQueue()
        self._closing: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._waiting: set[_Call[Any]] = set()
        self._running: dict[int, _Call[Any]] = {}
        self._stuck: set[_Call[Any]] = set()
        self._watch: asyncio.TimerHandle | None = None

    @property
    def hangs(self) -> bool:
        """Whether a thread is still stuck in a call that was given up."""
        return bool(self._stuck)

    @property
    def idle(self) -> bool:
        return not self._stuck and not self._waiting

    def run(self, work: Callable[[], T], *, extra_s: float = 0, always: bool = False) -> asyncio.Future[T]:
        """What ``work`` returns, or raises; OSError with ETIMEDOUT while the disk hangs.

        ``extra_s`` is added to the patience, for work that is large. With ``always`` it is taken however many
        wait already: what is counted as removed must be removed.
        """
        call = _Call(work, self.patience_s + extra_s)
        if self._stuck:
            call.future.set_exception(self._hung())
            return call.future
        if len(self._waiting) >= MOST_WAITING and not always:
            call.future.set_exception(OSError(errno.EBUSY, f"{MOST_WAITING} operations wait for {self.disk}"))
            return call.future
        self._waiting.add(call)
        self._queue.put(call)
        if not self._started:
            # Not when the first descriptor is closed: that may be at the end, when no thread starts any more.
            threading.Thread(target=_close_all, args=(self._closing,), daemon=True).start()
        if self._started < min(self._threads, len(self._waiting)):
            self._started += 1
            threading.Thread(
                target=self._work, args=(self._started,), name=f"disk {self.disk}", daemon=True
            ).start()
        if self._watch is None:
            self._watch = call.loop.call_later(self.patience_s / 4, self._look, call.loop)
        return call.future

    def close(self, fd: int) -> None:
        """Closes the descriptor soon; it was opened by `run`. Safe in any thread, and in ``__del__``."""
        self._closing.put(fd)

    def give_up(self) -> None:
        """Whoever waits gets ETIMEDOUT now; what is queued is not done any more."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._waiting.discard(call := self._queue.get_nowait())
                _settle(call, None, self._hung())
        # What is left is being done by a thread: it counts as stuck until the thread says otherwise.
        waiting, self._waiting = self._waiting, set()
        self._stuck |= waiting
        for call in waiting:
            _settle(call, None, self._hung())

    def _hung(self) -> OSError:
        return OSError(errno.ETIMEDOUT, f"the disk hangs: an operation takes more than {self.patience_s:g} s")

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Whether a call takes too long; looks again later while there are any."""
        self._watch = None
        now = time.monotonic()
        for call in list(self._running.values()):
            if call in self._waiting and call.began is not None and now > call.began + call.patience_s:
                self.give_up()
                if self.on_hang is not None:
                    self.on_hang(str(self._hung().strerror))
                break
        if self._waiting:
            self._watch = loop.call_later(self.patience_s / 4, self._look, loop)

    def _done(self, call: _Call[T], result: T | None, error: BaseException | None) -> None:
        self._stuck.discard(call)
        self._waiting.discard(call)
        _settle(call, result, error)

    def _work(self, number: int) -> None:
        while True:
            call = self._queue.get()
            call.began = time.monotonic()
            self._running[number] = call
            result, error = None, None
            try:
                result = call.work()
            except BaseException as raised:  # noqa: BLE001 - whatever it is, it is raised where it is waited for
                error = raised
            del self._running[number]
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                call.loop.call_soon_threadsafe(self._done, call, result, error)
            # Not kept until the next call comes: what was given up may hold a file open.
            del call, result, error


def _settle(call: _Call[T], result: T | None, error: BaseException | None) -> None:
    if call.future.done():
        return
    if error is not None:
        call.future.set_exception(error)
    else:
        call.future.set_result(result)  # type: ignore[arg-type]


def _close_all(closing: queue.SimpleQueue[int]) -> None:
    while True:
        with contextlib.suppress(OSError):
            os.close(closing.get())
