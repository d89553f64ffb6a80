"""One answer on its way out: head, bytes and spans of a file, as far as the wire takes them."""

from __future__ import annotations

import enum
import errno
import socket
from collections import deque
from collections.abc import Iterable
from typing import Final

from contracts.objectkey import slices_covering
from oca.edge.answer import Part
from oca.edge.cold import WINDOW_BYTES
from oca.edge.files import OpenFile
from oca.edge.ranges import Span
from oca.edge.wire import Wire

_TURN_BYTES: Final = 256 << 10
"""Of one answer, before every request that has come meanwhile is looked at: a megabyte, which sockets take in one
piece, would hold up all of them for a third of a millisecond."""
_FIRST_BYTES: Final = 16 << 10
"""Of an answer that begins before its object is whole: thousands may have waited, and each is to see it begin."""
_RUN_SLICES: Final = 8
"""What is wanted of upstream ends at a multiple of this, whoever wants it: each run is one request there."""
_DISK_FAULTS: Final = frozenset(
    {errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.EUCLEAN, errno.EBADMSG, errno.EREMOTEIO}
)
"""Of sendfile's errors, those of the file. Any other is the client's connection, broken in some way."""


class DiskFault(Exception):
    """The file cannot be read; ``errno`` says why."""

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode.get(number, str(number)))
        self.errno = number


class Progress(enum.Enum):
    """How far the answer is."""

    DONE = enum.auto()  # all of it is out: the next request may be answered
    FULL = enum.auto()  # the wire has no room: go on when it has
    YIELDED = enum.auto()  # others come first: go on after them
    COLD = enum.auto()  # the next window is on the disk only: `window` says which; go on after `warmed`
    ABSENT = enum.auto()  # the next slices are upstream: `wanted` says which; go on when they are there


_DONE: Final = Progress.DONE
_MORE: Final = int(socket.MSG_MORE)
"""An enum's arithmetic costs a microsecond."""


class Delivery:
    """A connection has one, and uses it again for each answer."""

    __slots__ = (
        "_parts", "_pending", "_warm_until", "_wire", "body_bytes", "file", "moved", "started", "status",
    )  # fmt: skip

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._pending: bytes | memoryview = b""
        self._parts: deque[Part] = deque()
        self._warm_until = 0
        self.file: OpenFile | None = None
        self.status = 0
        self.body_bytes = 0
        self.started = False
        """Whether something went out already, so that the answer can no longer become another."""
        self.moved = False
        """Whether the last `pump` sent anything."""

    def begin(
        self, status: int, head: bytes, parts: Iterable[Part], body_bytes: int, file: OpenFile | None
    ) -> None:
        self._pending = head
        self._parts.clear()
        self._parts.extend(parts)
        self._warm_until = 0
        self.file = file
        self.status = status
        self.body_bytes = body_bytes
        self.started = False

    def at_once(self, status: int, head: bytes, span: Span, file: OpenFile, now: float) -> bool:
        """Begins an answer of one span; whether all of it went out. Otherwise `pump` goes on, or says why not.

        This is what nearly every answer is, and `pump` with all that may happen in it costs four times as much.
        """
        start, end = span
        sent_head, count = 0, end - start
        try:
            if count <= _TURN_BYTES and file.is_warm(start, end, now):
                sent_head = self._wire.send(head, _MORE)
                if sent_head == len(head):
                    start += self._wire.sendfile(file.fd, start, count)
                    if start == end:
                        self.status, self.body_bytes, self.file = status, count, file
                        return True
        except OSError:
            pass  # no room, or an error that `pump` meets again
        self.begin(status, head[sent_head:], ((start, end),), count, file)
        self.started = sent_head > 0
        return False

    def clear(self) -> None:
        self.file = None
        self._parts.clear()
        self._pending = b""

    def unsent_bytes(self) -> int:
        """Of the body, what is still to go out."""
        left = len(self._pending)
        for part in self._parts:
            left += part[1] - part[0] if isinstance(part, tuple) else len(part)
        # The head, as long as it is pending, is not of the body.
        return min(left, self.body_bytes)

    def lags(self, count: int, took_s: float) -> bool:
        """Whether ``count`` bytes of the body took longer than they play, and the client took them as they came."""
        file = self.file
        return (
            file is not None
            and count * 8 < took_s * file.item.bitrate_bps
            and not self._wire.waits_for_client()
        )

    def pump(self, now: float) -> Progress:
        """Sends what it can; raises `DiskFault`, and OSError when the client is gone."""
        self.moved = False
        file = self.file
        incomplete = file is not None and file.bitmap is not None
        budget = _TURN_BYTES if self.started or not self._comes() else _FIRST_BYTES
        try:
            while budget > 0:
                if incomplete and self.wanted():
                    return Progress.ABSENT
                if self._pending:
                    sent = self._wire.send(self._pending, _MORE if self._parts else 0)
                    self.started = self.moved = True
                    whole = sent == len(self._pending)
                    self._pending = b"" if whole else memoryview(self._pending)[sent:]
                    budget -= sent
                elif not self._parts:
                    return _DONE
                else:
                    part = self._parts[0]
                    if isinstance(part, bytes):
                        self._pending = part
                        self._parts.popleft()
                    elif sent := self._send_span(part, budget, now):
                        budget -= sent
                    else:
                        return Progress.COLD
        except BlockingIOError:
            return Progress.FULL
        if not self._parts and not self._pending:
            return _DONE
        return Progress.YIELDED

    def _comes(self) -> bool:
        """Whether the body is still on its way here, so that others may wait for the same."""
        return self.file is not None and self.file.bitmap is not None

    def _send_span(self, span: Span, most: int, now: float) -> int:
        """Sends from a span; how many bytes. 0 when its beginning has to be read from the disk first."""
        start, end = span
        file = self.file
        assert file is not None
        if start >= self._warm_until:
            window = self._window_end(span)
            try:
                warm = file.is_warm(start, window, now)
            except OSError as error:
                raise DiskFault(error.errno or 0) from None
            if not warm:
                return 0
            self._warm_until = window
        until = min(self._warm_until, end, start + most)
        try:
            sent = self._wire.sendfile(file.fd, start, until - start)
        except OSError as error:
            if error.errno in _DISK_FAULTS:
                raise DiskFault(error.errno or 0) from None
            raise
        if not sent:
            raise DiskFault(errno.EIO)  # the file is shorter than it says
        self.moved = True
        if start + sent == end:
            self._parts.popleft()
        else:
            self._parts[0] = (start + sent, end)
        return sent

    def window(self) -> Span:
        """What has to be read from the disk next."""
        span = self._next_span()
        assert span is not None
        return span[0], self._window_end(span)

    def warmed(self, end: int) -> None:
        """The window up to ``end`` has been read."""
        self._warm_until = end

    def wanted(self) -> range:
        """The slices that have to come from upstream before anything more can be sent; none if empty."""
        span = self._next_span()
        if span is None or self.file is None or self.file.ready_until(*span) > span[0]:
            return range(0)
        slices = slices_covering(*span)
        run, into = divmod(slices[0], _RUN_SLICES)
        # From the middle of a run on the next one is fetched as well, so that it is there when it is needed.
        runs = run + (2 if into >= _RUN_SLICES // 2 else 1)
        return slices[: runs * _RUN_SLICES - slices[0]]

    def _window_end(self, span: Span) -> int:
        start, end = span
        assert self.file is not None
        return min(self.file.ready_until(start, end), start + WINDOW_BYTES)

    def _next_span(self) -> Span | None:
        return next((part for part in self._parts if isinstance(part, tuple)), None)
