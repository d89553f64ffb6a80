"""HTTP/1.1 to an origin that we speak for as a proxy: fields as they came, 1xx passed on, nothing added.

aiohttp, which fetches slices, swallows 1xx, joins and recodes fields, and adds its own: right for a
client, wrong for a proxy. llhttp reads the answer here as it reads requests at the edge.
Connections are kept and used again; one that turns out dead before an answer's first byte is not held
against the upstream, and the request is sent once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, cast
from urllib.parse import urlsplit

import httptools

from oca.config import Pull
from oca.httpcache.fields import Fields, first
from oca.store.upstream import Fault, UpstreamError

_MAX_HEAD_BYTES: Final = 64 << 10
_BUFFER_BYTES: Final = 256 << 10
_IDLE_S: Final = 15.0
"""A kept connection; servers close theirs after 15 s (Apache 5, nginx 75)."""
_MOST_IDLE: Final = 64
_BODILESS: Final = frozenset({204, 304})
_SAFE_TO_REPEAT: Final = frozenset({"GET", "HEAD", "OPTIONS"})

Interim = Callable[[int, Fields], None]


class Server:
    """One upstream's address, from its URL."""

    def __init__(self, name: str, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.name = name
        self.secure = parts.scheme == "https"
        self.host = parts.hostname
        self.port = parts.port or (443 if self.secure else 80)
        self.authority = parts.netloc.rpartition("@")[2]
        self.path = parts.path.rstrip("/")
        """Before every key."""


class Response:
    """An answer whose head is there. Read `pieces` to the end, or `close` it."""

    def __init__(self, line: _Line, client: HttpClient, server: Server) -> None:
        assert line.head is not None
        self.status, self.fields, self.body_bytes = line.head
        self._line = line
        self._client = client
        self._server = server

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes; raises `UpstreamError`."""
        while (piece := await self._line.next_piece(self._client.stall_s, self._server.name)) is not None:
            yield piece
        self._client.keep(self._server, self._line)

    def close(self) -> None:
        self._line.abort()


class HttpClient:
    def __init__(self, pull: Pull) -> None:
        self.stall_s = pull.stall_timeout_s
        self._connect_s = pull.connect_timeout_s
        self._idle: dict[Server, deque[_Line]] = {}
        self._tls: ssl.SSLContext | None = None

    async def request(
        self,
        server: Server,
        method: str,
        target: str,
        fields: Fields,
        body: AsyncIterator[bytes] | None = None,
        body_bytes: int | None = 0,
        interim: Interim | None = None,
    ) -> Response:
        """The answer to one request, once its head is there; raises `UpstreamError`."""
        head = _head(method, server.path + target, fields, body_bytes if body is not None else 0)
        line = self._kept(server)
        if line is not None:
            again = method in _SAFE_TO_REPEAT and body is None
            try:
                return await self._exchange(line, server, method, head, body, body_bytes, interim)
            except UpstreamError as error:
                if not (again and error.fault is Fault.MUTE and line.untouched):
                    raise
        return await self._exchange(
            await self._connect(server), server, method, head, body, body_bytes, interim
        )

    async def _exchange(
        self,
        line: _Line,
        server: Server,
        method: str,
        head: bytes,
        body: AsyncIterator[bytes] | None,
        body_bytes: int | None,
        interim: Interim | None,
    ) -> Response:
        try:
            line.begin(method, interim)
            line.write(head)
            sending = asyncio.ensure_future(_send(line, body, body_bytes)) if body is not None else None
            try:
                await line.wait_head(self.stall_s, server.name, sending)
            finally:
                if sending is not None and not sending.done():
                    # It answered before it had all of the body: that is its right (RFC 9112 section 9.3).
                    sending.cancel()
                    line.reusable = False
            return Response(line, self, server)
        except BaseException:
            line.abort()
            raise

    def keep(self, server: Server, line: _Line) -> None:
        """The answer was read to its end: the connection may serve the next request."""
        if not line.reusable:
            line.abort()
            return
        idle = self._idle.setdefault(server, deque())
        line.kept_until = time.monotonic() + _IDLE_S
        idle.append(line)
        while idle and (len(idle) > _MOST_IDLE or idle[0].kept_until < time.monotonic()):
            idle.popleft().abort()

    def _kept(self, server: Server) -> _Line | None:
        idle = self._idle.get(server)
        while idle:
            line = idle.pop()
            if line.reusable and line.kept_until > time.monotonic():
                return line
            line.abort()
        return None

    async def _connect(self, server: Server) -> _Line:
        loop = asyncio.get_running_loop()
        if server.secure and self._tls is None:
            self._tls = ssl.create_default_context()
        try:
            connecting = loop.create_connection(
                _Line, server.host, server.port, ssl=self._tls if server.secure else None
            )
            _, line = await asyncio.wait_for(connecting, self._connect_s)
        except TimeoutError:
            raise UpstreamError(Fault.SLOW, f"{server.name} did not accept in time") from None
        except OSError as error:
            raise UpstreamError(Fault.UNREACHABLE, f"{server.name}: {error}") from None
        return line

    def close(self) -> None:
        for idle in self._idle.values():
            for line in idle:
                line.abort()
        self._idle.clear()


async def _send(line: _Line, body: AsyncIterator[bytes], body_bytes: int | None) -> None:
    async for piece in body:
        if piece:
            line.write(piece if body_bytes is not None else b"%x\r\n%b\r\n" % (len(piece), piece))
            await line.drained()
    if body_bytes is None:
        line.write(b"0\r\n\r\n")


def _head(method: str, target: str, fields: Fields, body_bytes: int | None) -> bytes:
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields]
    if body_bytes is None:
        lines.append("Transfer-Encoding: chunked")
    elif body_bytes or method in {"POST", "PUT", "PATCH"}:
        lines.append(f"Content-Length: {body_bytes}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class _Line(asyncio.Protocol):
    """One connection, one exchange at a time."""

    def __init__(self) -> None:
        self.reusable = True
        self.kept_until = 0.0
        self.head: tuple[int, Fields, int | None] | None = None
        self.untouched = True
        """Whether nothing of an answer has come."""
        self._transport: asyncio.Transport | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._lost = False
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._ended = True
        self._fault: UpstreamError | None = None
        self._until_close = False
        self._method = ""
        self._interim: Interim | None = None
        self._fields: list[tuple[str, str]] = []
        self._head_bytes = 0

    # The exchange

    def begin(self, method: str, interim: Interim | None) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._method, self._interim = method, interim
        self.head, self.untouched, self._ended, self._until_close = None, True, False, False
        self._fields, self._head_bytes, self._fault = [], 0, None

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._lost:
            self._transport.write(data)

    async def drained(self) -> None:
        await self._room.wait()

    async def wait_head(self, stall_s: float, name: str, sending: asyncio.Future[None] | None) -> None:
        """Returns when the head is there. While a body is being sent, that counts as life."""
        while self.head is None:
            self._check(name)
            self._news.clear()
            if sending is not None and not sending.done():
                waiting: asyncio.Future[Any] = asyncio.ensure_future(self._news.wait())
                await asyncio.wait([waiting, sending], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if sending.done():
                    sending.result()
            else:
                await self._wait(stall_s, name)

    async def next_piece(self, stall_s: float, name: str) -> bytes | None:
        while not self._pieces:
            if self._ended:
                return None
            self._check(name)
            self._news.clear()
            await self._wait(stall_s, name)
        piece = self._pieces.popleft()
        if self._buffered >= _BUFFER_BYTES > self._buffered - len(piece) and self._transport is not None:
            self._transport.resume_reading()
        self._buffered -= len(piece)
        return piece

    def abort(self) -> None:
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self, stall_s: float, name: str) -> None:
        try:
            await asyncio.wait_for(self._news.wait(), stall_s)
        except TimeoutError:
            raise UpstreamError(Fault.SLOW, f"{name} did not answer in time") from None

    def _check(self, name: str) -> None:
        if self._fault is not None:
            raise self._fault
        if self._lost:
            if self.head is None:
                raise UpstreamError(Fault.MUTE, f"{name} closed the connection without an answer")
            raise UpstreamError(Fault.CUT, f"{name} ended in the middle of an answer")

    # What asyncio says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's by class, only by what they do.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost, self.reusable = True, False
        if self._until_close and exc is None and self.head is not None:
            self._ended = True
        self._room.set()
        self._news.set()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def data_received(self, data: bytes) -> None:
        if self._ended:
            self.abort()  # it says more than was asked
            return
        self.untouched = False
        self._head_bytes += len(data) if self.head is None else 0
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.reusable = False
            if not self._ended:
                self._fault = UpstreamError(Fault.LIED, f"not HTTP: {error}")
        if self.head is None and self._head_bytes > _MAX_HEAD_BYTES:
            self._fault = UpstreamError(Fault.LIED, f"more than {_MAX_HEAD_BYTES} bytes of head")
        self._news.set()

    # What the parser says

    def on_message_begin(self) -> None:
        self._fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.decode("latin-1"), value.decode("latin-1").strip(" \t")))

    def on_headers_complete(self) -> None:
        if self._ended:
            self.reusable = False
            return
        status = self._parser.get_status_code()
        fields = tuple(self._fields)
        if status < 200:
            if self._interim is not None and status != 100:
                self._interim(status, fields)
            return
        length = first(fields, "content-length")
        coded = first(fields, "transfer-encoding")
        known = int(length) if length is not None and length.isdecimal() and coded is None else None
        if self._method == "HEAD" or status in _BODILESS:
            self.head, self._ended = (status, fields, 0), True
        else:
            self.head = (status, fields, known)
            self._until_close = known is None and (coded is None or not coded.lower().endswith("chunked"))
        self.reusable = self.reusable and self._parser.should_keep_alive() and not self._until_close

    def on_body(self, data: bytes) -> None:
        if self._ended:
            return
        self._pieces.append(data)
        before, self._buffered = self._buffered, self._buffered + len(data)
        if before < _BUFFER_BYTES <= self._buffered and self._transport is not None:
            with contextlib.suppress(RuntimeError):  # it is closing
                self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self.head is not None:
            self._ended = True
