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
_IN: Final = int(select.EPOLLIN)
_ROOM: Final = int(select.EPOLLOUT)
_OTHER: Final = ~_ROOM
"""Something to read, an end, an error."""


class Poller:
    """Level-triggered for reading, once for room. What is called may forget and close any other descriptor."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._poll = self._epoll.poll
        self._readers: dict[int, Callable[[], None]] = {}
        self._writers: dict[int, Callable[[], None]] = {}
        self._later: deque[Callable[[], None]] = deque()
        self._woken = False
        loop.add_reader(self._epoll.fileno(), self._ready)

    def close(self) -> None:
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def watch_reading(self, fd: int, call: Callable[[], None]) -> None:
        """Has ``call`` called whenever there is something to read, an end or an error."""
        self._change(fd, self._readers, call)

    def ignore_reading(self, fd: int) -> None:
        self._change(fd, self._readers, None)

    def watch_room(self, fd: int, call: Callable[[], None]) -> None:
        """Has ``call`` called once, when there is room to write; after every request that has come."""
        self._change(fd, self._writers, call)

    def forget(self, fd: int) -> None:
        """Watches ``fd`` no more; before it is closed."""
        self._change(fd, self._readers, None)
        self._change(fd, self._writers, None)

    def defer(self, call: Callable[[], None]) -> None:
        """Has ``call`` called soon, after every request that has come."""
        self._later.append(call)
        self._wake()

    def _change(self, fd: int, table: dict[int, Callable[[], None]], call: Callable[[], None] | None) -> None:
        before = self._mask(fd)
        if call is None:
            table.pop(fd, None)
        else:
            table[fd] = call
        after = self._mask(fd)
        if before == after:
            return
        if not before:
            self._epoll.register(fd, after)
        elif after:
            self._epoll.modify(fd, after)
        else:
            # With nothing asked for, epoll would still tell of a hang-up, again and again.
            self._epoll.unregister(fd)

    def _mask(self, fd: int) -> int:
        return (_IN if fd in self._readers else 0) | (_ROOM if fd in self._writers else 0)

    def _ready(self) -> None:
        readers, writers, later = self._readers, self._writers, self._later
        for _ in range(_BATCHES):
            events = self._poll(0, _EVENTS)
            for fd, event in events:
                # Whoever is no longer watched was closed by one before it.
                if event & _OTHER:
                    call = readers.get(fd)
                    if call is not None:
                        call()
                if event != _IN and fd in writers:
                    later.append(writers[fd])
                    self._change(fd, writers, None)
            if later:
                later.popleft()()
            elif not events:
                return
        if later:
            self._wake()

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._awake)

    def _awake(self) -> None:
        self._woken = False
        self._ready()
