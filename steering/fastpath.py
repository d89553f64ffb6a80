"""Starts and heartbeats, read and answered without a framework: thousands of each come every second.

A connection begins here. A heartbeat that is whole and plain is answered with all that were read with it
(`steering.beatqueue`), a start waits for its turn (`steering.startqueue`), and what follows on the connection waits too;
anything else, be it another route, a body in chunks or a line that looks odd, gives the connection with all that was read to
the framework's handler, which knows every case and speaks to that client from then on. So nothing is refused here for
its form, and what is refused for its content is rendered by the same function as everywhere.

Measured: bench/steering/README.md.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from typing import Final, NamedTuple, cast

from aiohttp import web

from contracts.steer import MAX_REQUEST_BYTES
from steering.beatqueue import BeatQueue
from steering.certified import certified
from steering.credentials import Certified
from steering.request import BODY_S, Refused
from steering.startqueue import StartQueue


@dataclass(frozen=True, slots=True)
class Handlers:
    busy: Callable[[], Refused]
    """What a start is refused with that cannot have its turn."""
    failed: Callable[[Exception], web.Response]
    refusals: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    """Of the busy, rendered once for each number of seconds: it must cost next to nothing."""


_START: Final = b"/v1/steer"
_MAX_BODY_BYTES: Final = {_START: MAX_REQUEST_BYTES, b"/v1/heartbeat": 64 << 10}
"""Longer ones are for the framework's handler to refuse, or to read: a heartbeat with a table of routes."""
_MAX_HELD_BYTES: Final = 256 << 10
"""Who sends more than this ahead of our answers is read no further meanwhile."""
_STARTS: Final = (b"POST /v1/steer HTTP/1.1\r\n", b"POST /v1/heartbeat HTTP/1.1\r\n")
_head = re.compile(
    rb"POST (/v1/steer|/v1/heartbeat) HTTP/1\.1((?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e]*)+)\Z"
).match
_field = re.compile(rb"\r\n([^:]+):[\t ]*([^\r]*?)[\t ]*(?=\r\n|\Z)").findall
# What changes how a request is read; and whose doubles would.
_ODD: Final = {b"transfer-encoding", b"expect", b"upgrade", b"connection", b"content-encoding", b"te"}
_ONCE: Final = {b"content-length", b"authorization", b"host"}
_BEARER: Final = b"\r\nAuthorization: Bearer "
_HAND_OVER: Final = -1


class FastPath(asyncio.Protocol):
    """One connection. ``slow`` makes the framework's protocol for it."""

    def __init__(
        self,
        handlers: Handlers,
        starts: StartQueue,
        beats: BeatQueue,
        slow: Callable[[], asyncio.Protocol] | None,
        open_: set[FastPath],
    ) -> None:
        self._handlers = handlers
        self._starts = starts
        self._beats = beats
        assert slow is not None
        self._slow = slow
        self._open = open_
        self._held = b""
        self._waits = False
        """What we asked is in a queue."""
        self._ended = False
        """The other side says nothing more."""
        self._unread = False
        """It does not read its answers: what it asks is not read either."""
        self._paused = False
        self._certified: Certified | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.quiet_since = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own kind, which has no such base
        self._certified = certified(transport)
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._open.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def eof_received(self) -> bool:
        """False closes: who says nothing more has had all its answers. TLS cannot be open on one side alone."""
        self._ended = True
        return self._waits and self._transport is not None and self._transport.can_write_eof()

    def pause_writing(self) -> None:
        self._unread = True
        self._read_or_not()

    def resume_writing(self) -> None:
        self._unread = False
        self._read_or_not()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._held = self._held + data if self._held else data
        self._advance()
        if len(self._held) > _MAX_HELD_BYTES:
            self._read_or_not()

    def answer(self, result: bytes | Exception) -> None:
        """It had its turn."""
        if self._transport is not None:
            if isinstance(result, Exception):
                self._write_failure(result)
            else:
                self._write(result)
        self._go_on()

    def refuse(self) -> None:
        """It waited for too long."""
        if self._transport is not None:
            refused = self._handlers.busy()
            known, seconds = self._handlers.refusals, round(refused.retry_s)
            if seconds not in known:
                known[seconds] = _rendered(self._handlers.failed(refused))
            self._transport.write(_date().join(known[seconds]))
        self._go_on()

    def _go_on(self) -> None:
        """After an answer, with what came meanwhile."""
        self._waits = False
        if self._held:
            self._advance()
        if self._ended and not self._waits:
            self.close()

    def _read_or_not(self) -> None:
        paused = self._unread or len(self._held) > _MAX_HELD_BYTES
        if paused is self._paused or self._transport is None:
            return
        self._paused = paused
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _advance(self) -> None:
        """Answers one request, if it is whole."""
        if self._transport is None or self._waits:
            return
        taken = self._take()
        if taken == _HAND_OVER:
            self._hand_over()
        elif taken:
            self._held = self._held[taken:]
            self.quiet_since = time.monotonic()
            if self._paused:
                self._read_or_not()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._held and not self._waits:
                self._loop.call_soon(self._advance)  # others have their turn before a pipeline's next
        elif self._timer is None:
            self._timer = self._loop.call_later(BODY_S, self._hand_over)

    def _take(self) -> int:
        """How many bytes were answered or wait: 0 when more have to come, `_HAND_OVER` when they are not for us."""
        data = self._held
        end = data.find(b"\r\n\r\n")
        if end < 0:
            known = any(data.startswith(start[: len(data)]) for start in _STARTS)
            return 0 if known and len(data) < 8192 else _HAND_OVER
        if end >= 8192:
            return _HAND_OVER
        start = data.startswith(_STARTS[0])
        head = _read(data[:end])
        if head is None:
            return _HAND_OVER
        whole = end + 4 + head.length
        if len(data) < whole:
            return 0
        body = data[end + 4 : whole]
        credentials = head.bearer if head.authorised else self._certified
        self._waits = True
        (self._starts if start else self._beats).put(self, credentials, body)
        return whole

    def _write(self, answer: bytes) -> None:
        assert self._transport is not None
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nDate: %s\r\n\r\n%s"
            % (len(answer), _date(), answer)
        )

    def _write_failure(self, error: Exception) -> None:
        assert self._transport is not None
        self._transport.write(_date().join(_rendered(self._handlers.failed(error))))

    def _hand_over(self) -> None:
        """The framework takes the connection, as if it had been there from the beginning."""
        transport, held = self._transport, self._held
        if transport is None:
            return
        self.connection_lost(None)
        self._held = b""
        slow = self._slow()
        transport.set_protocol(slow)
        slow.connection_made(transport)
        if held:
            slow.data_received(held)


class _Head(NamedTuple):
    length: int
    """Of the body."""
    authorised: bool
    """It has an Authorization; ``bearer`` None is of another scheme."""
    bearer: str | None


def _read(raw: bytes) -> _Head | None:
    """What a head says, the empty line after it left off; None when it is not for us.

    Those of one sender differ in their credentials alone: the rest was read before.
    """
    before, bearer, more = raw.partition(_BEARER)
    if not bearer:
        return _read_again(raw)
    value, line, rest = more.partition(b"\r\n")
    known, text = _read_again(before + bearer + line + rest), value.decode("latin-1")
    if known is None or not (text.isascii() and text.isprintable()):
        return None
    return known._replace(bearer=text.strip(" "))


@lru_cache(1024)
def _read_again(raw: bytes) -> _Head | None:
    found = _head(raw)
    if found is None:
        return None
    authorised, bearer, length = False, None, -1
    seen = set()
    for raw_name, value in _field(found[2]):
        name = raw_name.lower()
        if name in _ODD or (name in _ONCE and name in seen):
            return None
        seen.add(name)
        if name == b"content-length":
            length = int(value) if value.isdigit() and len(value) < 8 else -1
        elif name == b"authorization":
            scheme, _, rest = value.decode("ascii").partition(" ")
            authorised, bearer = True, rest.strip() if scheme.lower() == "bearer" else None
    if b"host" not in seen or not 0 <= length <= _MAX_BODY_BYTES[found[1]]:
        return None
    return _Head(length, authorised, bearer)


def close_quiet(connections: set[FastPath], since: float) -> None:
    """Closes those that have had no request since then (monotonic seconds)."""
    for connection in [item for item in connections if item.quiet_since < since]:
        connection.close()


def _rendered(failed: web.Response) -> tuple[bytes, bytes]:
    """What goes before the date, and what goes after it."""
    assert isinstance(failed.body, bytes)
    names = failed.headers.keys() - {"Content-Type", "Content-Length"}
    more = b"".join(b"%s: %s\r\n" % (n.encode(), failed.headers[n].encode()) for n in names)
    head = b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%sDate: "
    return (
        head % (failed.status, failed.reason.encode(), failed.content_type.encode(), len(failed.body), more),
        b"\r\n\r\n" + failed.body,
    )


_dated = (0, b"")


def _date() -> bytes:
    """Of now, as in RFC 9110 section 5.6.7; made once a second."""
    global _dated
    now = int(time.time())
    if _dated[0] != now:
        _dated = now, formatdate(now, usegmt=True).encode()
    return _dated[1]
