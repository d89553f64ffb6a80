"""Every plain client socket of a worker in one epoll set of our own, which the event loop sees as one descriptor.

The event loop's way from epoll to a callback costs a microsecond per event (libuv's handle, uvloop's, a
context), as much as recalling a request does. Here it is a look-up and a call, and after a batch the
next is asked for at once, so that the loop's own round is paid once for many. And it is we who decide who
is next: a request first, bytes that had to be read from the disk after it (`defer`).
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Callable
from typing import Final

_EVENTS: Final = 256
_BATCHES: Final = 8
"""Then the rest of the loop has its turn: new connections, the storekeeper, TLS, the clock."""
_ROOM: Final = select.EPOLLOUT
_OTHER: Final = ~select.EPOLLOUT
"""Something to read, an end, an error."""


class Poller:
    """Level-triggered. What is called for one descriptor may unwatch and close any other."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._poll = self._epoll.poll
        self._readers: dict[int, Callable[[], None]] = {}
        self._writers: dict[int, Callable[[], None]] = {}
        self._deferred: deque[Callable[[], None]] = deque()
        self._woken = False
        loop.add_reader(self._epoll.fileno(), self._ready)

    def close(self) -> None:
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def watch_reading(self, fd: int, call: Callable[[], None]) -> None:
        """Has ``call`` called whenever there is something to read; twice is once."""
        self._watch(fd, self._readers, self._writers, call, select.EPOLLIN)

    def watch_room(self, fd: int, call: Callable[[], None]) -> None:
        """Has ``call`` called whenever there is room to write."""
        self._watch(fd, self._writers, self._readers, call, select.EPOLLOUT)

    def ignore_reading(self, fd: int) -> None:
        self._ignore(fd, self._readers, self._writers, select.EPOLLOUT)

    def ignore_room(self, fd: int) -> None:
        self._ignore(fd, self._writers, self._readers, select.EPOLLIN)

    def defer(self, call: Callable[[], None]) -> None:
        """Has ``call`` called soon, after every request that has come: one such a batch."""
        self._deferred.append(call)
        self._wake()

    def _watch(
        self,
        fd: int,
        these: dict[int, Callable[[], None]],
        others: dict[int, Callable[[], None]],
        call: Callable[[], None],
        mask: int,
    ) -> None:
        if fd not in these:
            if fd in others:
                self._epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT)
            else:
                self._epoll.register(fd, mask)
        these[fd] = call

    def _ignore(
        self,
        fd: int,
        these: dict[int, Callable[[], None]],
        others: dict[int, Callable[[], None]],
        rest: int,
    ) -> None:
        if these.pop(fd, None) is not None:
            if fd in others:
                self._epoll.modify(fd, rest)
            else:
                # With nothing asked for, epoll would still tell of a hang-up, again and again.
                self._epoll.unregister(fd)

    def _ready(self) -> None:
        readers, writers, deferred = self._readers, self._writers, self._deferred
        for _ in range(_BATCHES):
            events = self._poll(0, _EVENTS)
            for fd, event in events:
                # Whoever is no longer watched was closed by one before it.
                if event & _OTHER:
                    call = readers.get(fd) or writers.get(fd)
                    if call is not None:
                        call()
                if event & _ROOM:
                    call = writers.get(fd)
                    if call is not None:
                        call()
            if deferred:
                deferred.popleft()()
            elif not events:
                return
        if deferred:
            self._wake()

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._awake)

    def _awake(self) -> None:
        self._woken = False
        self._ready()
