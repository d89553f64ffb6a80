"""HTTP/1.1 for ranges: a part of an object straight into a buffer that is there already.

One client for S3 (with URLs that boto3 signed) and for peers. No copy is made on the way, a connection is kept from
one request to the next, and the kernel is asked once for a whole slice, not each time that a packet has come
(docs/decisions/0005-fill-transfer.md has what that is worth).
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

_KEPT: Final = 8
"""Idle connections to one server."""


class NoAnswer(Exception):
    """Nobody answered, or the answer broke off; the message says how."""


class Answer:
    """Status and fields are there; the body is read with `into`. ``fields`` are named in small letters.

    ``plain`` is the socket under ``response``, where there is no TLS: then a body of known length is read past
    Python's buffers.
    """

    def __init__(self, response: http.client.HTTPResponse, plain: socket.socket | None = None) -> None:
        self._response = response
        self._plain = plain if response.length else None
        self._buffered = True
        self.status = response.status
        self.fields: Mapping[str, str] = {name.lower(): value for name, value in response.getheaders()}

    def into(self, view: memoryview) -> int:
        """Fills the whole of ``view``; fewer bytes only where the answer ended. Raises `NoAnswer`."""
        at = 0
        try:
            while at < len(view) and (got := self._some(view[at:])):
                at += got
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(f"the answer broke off: {_one_line(error)}") from None
        return at

    def _some(self, view: memoryview) -> int:
        response = self._response
        if self._plain is None or not response.length or response.fp is None:
            return response.readinto(view)
        view = view[: response.length]
        if self._buffered:
            # What came with the head, or the first of the body: once, and the buffer is never filled again.
            self._buffered = False
            ahead = len(response.fp.peek())
            got = response.fp.readinto(view[:ahead])
            self._buffered = ahead > got > 0
            if not self._buffered:
                # Waits in the kernel from here on, which has been told how long: `RangeClient._connected`.
                self._plain.settimeout(None)
        else:
            try:
                got = self._plain.recv_into(view, len(view), socket.MSG_WAITALL)
            except BlockingIOError:
                raise TimeoutError("timed out") from None
        response.length -= got
        if not response.length:
            response.close()
        return int(got)

    def text(self, limit_bytes: int) -> bytes:
        """The beginning of the body: what an error says of itself. Raises `NoAnswer`."""
        buffer = bytearray(limit_bytes)
        return bytes(buffer[: self.into(memoryview(buffer))])


class RangeClient:
    """Safe in many threads. ``receive_bytes`` says of a round trip in seconds what the kernel may hold for one
    connection; 0 is its choice.
    """

    def __init__(
        self,
        connect_timeout_s: float,
        read_timeout_s: float,
        receive_bytes: Callable[[float], int] = lambda _: 0,
    ) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._receive_bytes = receive_bytes
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str], list[http.client.HTTPConnection]] = {}
        self._busy: set[http.client.HTTPConnection] = set()
        self._ended = False
        self._tls: ssl.SSLContext | None = None

    @contextmanager
    def ask(self, method: str, url: str, fields: Mapping[str, str]) -> Iterator[Answer]:
        """The answer, until the block ends; raises `NoAnswer`. A body that is not read to its end costs the connection."""
        parts = urlsplit(url)
        where = (parts.scheme, parts.netloc)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection, response = self._sent(where, method, target, fields)
        plain = connection.sock
        if isinstance(plain, ssl.SSLSocket):
            plain = None
        try:
            yield Answer(response, plain)
            if plain is not None:
                plain.settimeout(self._read_timeout_s)
        except BaseException:
            self._drop(connection)
            raise
        if response.isclosed() and not response.will_close:
            self._keep(where, connection)
        else:
            self._drop(connection)

    def end(self) -> None:
        """Who waits for an answer hears at once that there is none; nothing is asked any more."""
        with self._lock:
            self._ended = True
            busy, idle, self._idle = list(self._busy), self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()
        for connection in busy:
            if connection.sock is not None:
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def _sent(
        self, where: tuple[str, str], method: str, target: str, fields: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """The request, on a kept connection or, where that has gone stale, on a new one."""
        while True:
            connection, fresh = self._connection(where)
            try:
                connection.request(method, target, headers=dict(fields))
                return connection, connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                self._drop(connection)
                if fresh:
                    raise NoAnswer(_one_line(error)) from None
            except BaseException:
                self._drop(connection)
                raise

    def _connection(self, where: tuple[str, str]) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if self._ended:
                raise NoAnswer("the fill is being ended")
            idle = self._idle.get(where)
            made = idle.pop() if idle else None
            if made is not None:
                self._busy.add(made)
                return made, False
        try:
            made = self._connected(where)
        except OSError as error:
            raise NoAnswer(_one_line(error)) from None
        with self._lock:
            self._busy.add(made)
        return made, True

    def _connected(self, where: tuple[str, str]) -> http.client.HTTPConnection:
        scheme, netloc = where
        if scheme == "https":
            made: http.client.HTTPConnection = http.client.HTTPSConnection(
                netloc, timeout=self._connect_timeout_s, context=self._context()
            )
        else:
            made = http.client.HTTPConnection(netloc, timeout=self._connect_timeout_s)
        began = time.monotonic()
        made.connect()
        receive_bytes = self._receive_bytes(time.monotonic() - began)
        if receive_bytes:
            made.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        seconds, rest = divmod(self._read_timeout_s, 1)
        limit = struct.pack("ll", int(seconds), int(rest * 1_000_000))
        made.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        made.sock.settimeout(self._read_timeout_s)
        return made

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                # As boto3 does: an operator's own authority is named once for both.
                self._tls = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE") or None)
            return self._tls

    def _keep(self, where: tuple[str, str], connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._busy.discard(connection)
            idle = self._idle.setdefault(where, [])
            if not self._ended and len(idle) < _KEPT:
                idle.append(connection)
                return
        connection.close()

    def _drop(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._busy.discard(connection)
        connection.close()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
