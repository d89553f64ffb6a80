"""The bytes of one client, in and out. Here over a plain TCP socket driven by hand.

`os.sendfile` from our own socket is what makes a worker level with nginx: an asyncio transport would
read each file into Python and write it out again.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import struct
from collections.abc import Callable
from typing import Final, Protocol

from oca.edge.poller import Poller

_RECEIVE_BYTES: Final = 16 << 10
"""A head of 40 KiB comes in three reads; a larger buffer is paid for by every small one."""


_MAX_PACING_RATE: Final = getattr(socket, "SO_MAX_PACING_RATE", 47)  # Linux; named from Python 3.13 on


def pace(sock: socket.socket, bytes_per_s: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, _MAX_PACING_RATE, bytes_per_s)


_BUSY: Final = struct.Struct("QQ")
_BUSY_AT: Final = 168
"""In struct tcp_info (linux/tcp.h, since 4.10): tcpi_busy_time, tcpi_rwnd_limited, in microseconds."""


def waits_for_client(sock: socket.socket) -> bool:
    """As `Wire.waits_for_client`; True where the kernel does not say: then it is nobody's fault."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    except OSError:
        return True
    if len(info) < _BUSY_AT + _BUSY.size:
        return True
    busy, no_room = _BUSY.unpack_from(info, _BUSY_AT)
    return bool(no_room * 2 >= busy)


class Receiver(Protocol):
    """What a wire tells its connection."""

    def received(self, data: bytes) -> None: ...
    def ended(self) -> None: ...
    def failed(self) -> None: ...
    def writable(self) -> None: ...


class Wire(Protocol):
    """What a connection asks of its wire."""

    @property
    def secure(self) -> bool:
        """Whether it is encrypted."""
        ...

    def open(self, receiver: Receiver) -> None:
        """Begins to read; what comes goes to ``receiver``."""
        ...

    @property
    def send(self) -> Callable[[bytes | memoryview, int], int]:
        """Sends what there is room for, as socket.send does; BlockingIOError when there is none."""
        ...

    @property
    def sendfile(self) -> Callable[[int, int, int], int]:
        """The same from a file, an offset, a count; 0 at its end.

        OSError of the file and of the client are told apart by errno.
        """
        ...

    def read(self) -> None: ...

    def pause(self) -> None:
        """Nothing is read until `read`; the client's own sending then comes to a halt."""
        ...

    def unread(self) -> bool:
        """Whether something has come that the connection does not know of yet."""
        ...

    def watch_room(self) -> None:
        """Has ``receiver.writable`` called once, when there is room."""
        ...

    def pace(self, bytes_per_s: int) -> None:
        """Sends no faster than this from now on (socket(7), SO_MAX_PACING_RATE)."""
        ...

    def waits_for_client(self) -> bool:
        """Whether most of the time it had something to send the client had no room for it: it pauses, or plays along."""
        ...

    def finish(self) -> None:
        """Says that nothing more comes; raises OSError when the client is gone already."""
        ...

    def reset(self) -> None:
        """Has `close` drop what waits in the kernel: megabytes of a client that does not take them.

        The client sees a reset, not an end, of an answer that was cut short.
        """
        ...

    def close(self) -> None: ...


def reset(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class PlainWire:
    secure: Final = False

    def __init__(self, poller: Poller, sock: socket.socket) -> None:
        self._poller = poller
        self._sock = sock
        self._fd = sock.fileno()
        self._recv = sock.recv
        self._reading = False
        # Bound once: a Python frame around each system call would cost as much as an answer's arithmetic.
        self.send = sock.send
        self.sendfile = functools.partial(os.sendfile, self._fd)

    def open(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self.read()

    def read(self) -> None:
        if not self._reading:
            self._reading = True
            self._poller.watch_reading(self._fd, self._readable)

    def pause(self) -> None:
        if self._reading:
            self._reading = False
            self._poller.ignore_reading(self._fd)

    def unread(self) -> bool:
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def watch_room(self) -> None:
        self._poller.watch_room(self._fd, self._receiver.writable)

    def pace(self, bytes_per_s: int) -> None:
        pace(self._sock, bytes_per_s)

    def waits_for_client(self) -> bool:
        return waits_for_client(self._sock)

    def finish(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        reset(self._sock)

    def close(self) -> None:
        self._reading = False
        self._poller.forget(self._fd)
        self._sock.close()

    def _readable(self) -> None:
        try:
            data = self._recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._receiver.failed()
            return
        if data:
            self._receiver.received(data)
        else:
            self.pause()
            self._receiver.ended()
