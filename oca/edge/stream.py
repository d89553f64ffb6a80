"""One answer whose body is not all there yet, on its way out as it comes: a growing file, or pieces from upstream."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from contracts.catalog import CatalogObject
from oca.edge.answer import Part
from oca.edge.delivery import Delivery, Progress
from oca.edge.files import OpenFile
from oca.edge.sharedfile import SharedFile
from oca.edge.wire import Wire

_ROUNDS: Final = 4
"""Loads in one turn, before other clients have theirs."""
_LOAD_BYTES: Final = 2 << 20


class Pieces(OpenFile):
    """What comes of a body that is stored nowhere: no file, but a place in the books."""

    __slots__ = ("cut", "ended", "queue", "took")

    def __init__(self, path: str, took: Callable[[int], None]) -> None:
        super().__init__(-1, CatalogObject(path, 0, "", "", 0, b""), "", None, lambda _: None)
        self.queue: deque[bytes] = deque()
        self.ended = False
        self.cut = False
        self.took = took
        """Called with what went to the client: more may come."""


class Stream(Delivery):
    """``end`` is where the body ends in its file; None for wherever it does. ``chunked``: so it is framed."""

    __slots__ = ("_at", "_chunked", "_end", "_ended", "_source")

    def __init__(
        self, wire: Wire, status: int, head: bytes, source: SharedFile | Pieces, start: int, end: int | None,
        *, chunked: bool,
    ) -> None:  # fmt: skip
        super().__init__(wire)
        self.begin(status, head, (), 0, source)
        self._source = source
        self._at = start
        self._end = end
        self._chunked = chunked
        self._ended = False

    def pump(self, now: float) -> Progress:
        moved = False
        progress = Progress.FULL
        for _ in range(_ROUNDS):
            if not self._pending and not self._parts and not self._load():
                progress = Progress.DONE if self._ended else Progress.ABSENT
                break
            progress = super().pump(now)
            moved = moved or self.moved
            if progress is not Progress.DONE:
                break
            progress = Progress.FULL
        self.moved = moved
        return progress

    def unsent_bytes(self) -> int:
        return min(super().unsent_bytes(), self.body_bytes)

    def wanted(self) -> range:
        """Not empty while nothing can be sent before more has come."""
        if self._pending or self._parts or self._ended or self._source.cut:
            return range(0)
        if isinstance(self._source, Pieces):
            return range(0) if self._source.queue or self._source.ended else range(1)
        return range(0) if self._source.done or self._until() > self._at else range(1)

    def _comes(self) -> bool:
        return True

    def _until(self) -> int:
        assert isinstance(self._source, SharedFile)
        ready = self._source.ready
        return ready if self._end is None else min(ready, self._end)

    def _load(self) -> bool:
        """Has the next of the body ready for `pump`; False when there is none. Raises ConnectionError when cut."""
        if self._ended:
            return False
        part: Part | None = None
        count = 0
        source = self._source
        if isinstance(source, Pieces):
            if source.queue:
                part = source.queue.popleft()
                count = len(part)
                source.took(count)
            self._ended = source.ended and not source.queue
        else:
            count = min(self._until() - self._at, _LOAD_BYTES)
            if count > 0:
                part = (self._at, self._at + count)
                self._at += count
            self._ended = self._at == self._end or (source.done and self._at >= source.ready)
        if part is None and not self._ended:
            if source.cut:
                raise ConnectionError("upstream broke off")
            return False
        if source.cut and self._ended and isinstance(source, Pieces):
            raise ConnectionError("upstream broke off")
        self._frame(part, count)
        return bool(self._parts)

    def _frame(self, part: Part | None, count: int) -> None:
        if part is not None and count:
            self.body_bytes += count
            if self._chunked:
                self._parts.append(b"%x\r\n" % count)
            self._parts.append(part)
            if self._chunked:
                self._parts.append(b"\r\n")
        if self._ended and self._chunked:
            self._parts.append(b"0\r\n\r\n")
