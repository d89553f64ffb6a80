"""Keys to open files: what this worker has open, and where on the disks it looks for the rest.

A worker needs no storekeeper for what is complete: the path of an object follows from its key, and
the file describes itself. What is open already is answered at once; looking on a disk is done by
the threads of that disk, since it may wait for the disk, or for ever.
"""

from __future__ import annotations

import email.utils
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from contracts.catalog import CatalogObject
from contracts.objectkey import SLICE_BYTES
from oca.diskthreads import DiskThreads
from oca.edge.answer import Heads, Representation
from oca.edge.cold import is_warm
from oca.edge.ranges import Span
from oca.objectfile import BadObjectFile, complete_path, disk_rank, incomplete_path, read_description

_OPEN_FILES: Final = 4096
_WARM_S: Final = 1.0
"""A span that is asked for again and again is probed once in this time: the kernel evicts what is idle."""
_WARM_SPANS: Final = 1024
_THREADS: Final = 16
"""Of one disk: opening and reading what is not in memory."""
_GUESSES: Final = 2
"""Disks on which a worker looks before it asks the storekeeper, which knows."""


class OpenFile:
    """One object, open for reading. Closed with its last reference: a response in flight keeps it."""

    __slots__ = ("_close", "_warm", "bitmap", "disk", "fd", "heads", "item", "representation")

    def __init__(
        self,
        fd: int,
        item: CatalogObject,
        disk: str,
        bitmap: bytearray | None,
        close: Callable[[int], None] = os.close,
    ) -> None:
        self._close = close
        self.fd = fd
        self.item = item
        self.disk = disk
        self.bitmap = bitmap
        """Verified slices while the object is incomplete; None when all of it is there."""
        modified = email.utils.formatdate(item.modified_at, usegmt=True)
        self.representation = Representation.of(item, modified)
        self.heads = Heads(self.representation, b"", b"", b"")
        """As they were last sent."""
        self._warm: dict[Span, float] = {}

    def __del__(self) -> None:
        self._close(self.fd)

    def has(self, index: int) -> bool:
        return self.bitmap is None or bool(self.bitmap[index >> 3] & (1 << (index & 7)))

    def ready_until(self, start: int, end: int) -> int:
        """The end of what can be sent from ``start`` on, at most ``end``; ``start`` when nothing can."""
        if self.bitmap is None:
            return end
        index = start // SLICE_BYTES
        at = start
        while at < end and self.has(index):
            index += 1
            at = index * SLICE_BYTES
        return min(at, end) if at > start else start

    def is_warm(self, start: int, end: int, now: float) -> bool:
        """Whether the span is in memory, as far as one could tell within the last second."""
        seen = self._warm.get((start, end))
        if seen is not None and now < seen + _WARM_S:
            return True
        if not is_warm(self.fd, start, end):
            return False
        if len(self._warm) >= _WARM_SPANS:
            self._warm.clear()
        self._warm[(start, end)] = now
        return True


class Files:
    """``on_fault(key, disk, errno)`` hears of disks that fail to read; ETIMEDOUT is one that hangs."""

    def __init__(
        self, disks: Sequence[str], on_fault: Callable[[str, str, int], None], patience_s: float
    ) -> None:
        self._disks = tuple(disks)
        self._on_fault = on_fault
        self._patience_s = patience_s
        self._threads: dict[str, DiskThreads] = {}
        self._open: OrderedDict[str, OpenFile] = OrderedDict()

    def threads(self, disk: str) -> DiskThreads:
        """The threads that may wait for ``disk``."""
        threads = self._threads.get(disk)
        if threads is None:
            threads = self._threads[disk] = DiskThreads(disk, _THREADS, self._patience_s)
        return threads

    def get(self, key: str) -> OpenFile | None:
        """The object, when it is open already."""
        found = self._open.get(key)
        if found is not None:
            self._open.move_to_end(key)
        return found

    def open_complete(self, key: str) -> OpenFile | None:
        """The object, when it is open and all of it is there."""
        found = self._open.get(key)
        if found is None or found.bitmap is not None:
            return None
        self._open.move_to_end(key)
        return found

    async def look(self, key: str, *, everywhere: bool) -> OpenFile | None:
        """The object, when it is complete on one of the disks where it most likely is, or on any."""
        ranked = sorted(self._disks, key=lambda disk: disk_rank(disk, key))
        for disk in ranked if everywhere else ranked[:_GUESSES]:
            found = await self._fetch(key, disk, complete_path(Path(disk), key), None)
            if found is not None and disk in self._disks:
                return found
        return None

    async def open_found(self, key: str, disk: str, verified: bytes | None) -> OpenFile | None:
        """The object where the storekeeper says it is; None when it has moved on since."""
        if verified is None:
            return await self._fetch(key, disk, complete_path(Path(disk), key), None)
        return await self._fetch(key, disk, incomplete_path(Path(disk), key), bytearray(verified))

    async def _fetch(self, key: str, disk: str, path: Path, bitmap: bytearray | None) -> OpenFile | None:
        try:
            return await self.threads(disk).run(partial(self._read, key, disk, path, bitmap))
        except OSError as error:
            self._on_fault(key, disk, error.errno or 0)
            return None

    def _read(self, key: str, disk: str, path: Path, bitmap: bytearray | None) -> OpenFile | None:
        """In a thread of the disk. Raises OSError."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            item = read_description(fd)
        except (BadObjectFile, OSError) as error:
            os.close(fd)
            if isinstance(error, OSError):
                raise
            return None
        found = OpenFile(fd, item, disk, bitmap, self.threads(disk).close)
        return found if item.key == key else None

    def keep(self, key: str, found: OpenFile) -> None:
        """From now on `get` gives ``found``."""
        self._open[key] = found
        self._open.move_to_end(key)
        if len(self._open) > _OPEN_FILES:
            self._open.popitem(last=False)

    def look_only_on(self, disks: Sequence[str]) -> None:
        """The other disks are out of service: nothing of them stays open, but for responses in flight."""
        self._disks = tuple(disks)
        for key in [key for key, found in self._open.items() if found.disk not in self._disks]:
            del self._open[key]

    def mark(self, key: str, first: int, last: int) -> None:
        """Slices ``first`` to ``last`` (inclusive) are there."""
        found = self._open.get(key)
        if found is not None and found.bitmap is not None:
            for index in range(first, last + 1):
                found.bitmap[index >> 3] |= 1 << (index & 7)

    def complete(self, key: str) -> None:
        """All slices are there; the open file is the same one, whatever folder it now stands in."""
        found = self._open.get(key)
        if found is not None:
            found.bitmap = None

    def forget(self, key: str, disk: str = "") -> bool:
        """Closes the object, if it is open from ``disk``, or from any; whether it was not open from another."""
        found = self._open.get(key)
        if found is not None and disk and found.disk != disk:
            return False
        self._open.pop(key, None)
        return True

    def forget_incomplete(self) -> None:
        """What was said of incomplete objects no longer holds: the storekeeper went away."""
        for key in [key for key, found in self._open.items() if found.bitmap is not None]:
            del self._open[key]
