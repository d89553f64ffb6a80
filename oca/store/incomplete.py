"""One object on its way in: its file, and which of its slices are there and verified."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable

from contracts.catalog import CatalogObject
from contracts.objectkey import digest, slice_count, slice_span
from oca.objectfile import disk_bytes, incomplete_path
from oca.store.disks import Disk


class WrongSlice(Exception):
    """These bytes are not the slice that was published."""


class Incomplete:
    """Holds the file open. A slice counts as verified only after its bytes are in the file."""

    def __init__(self, item: CatalogObject, disk: Disk, fd: int) -> None:
        self.item = item
        self.disk = disk
        self.path = incomplete_path(disk.path, item.key)
        self.slices = slice_count(item.size)
        self.bitmap = bytearray(-(-self.slices // 8))
        self.verified = 0
        self.disk_bytes = disk_bytes(item)
        self.promotion: asyncio.Future[None] | None = None
        """Set by the store once all slices are there: the move under objects/."""
        self._fd = fd

    @classmethod
    def reopen(cls, item: CatalogObject, disk: Disk) -> Incomplete:
        """After a restart: the file is there, and none of its slices is believed yet. Raises OSError."""
        fd = os.open(incomplete_path(disk.path, item.key), os.O_RDWR | os.O_CLOEXEC)
        return cls(item, disk, fd)

    def __del__(self) -> None:
        # Threads may still be writing when the object is dropped: the last reference closes the file.
        os.close(self._fd)

    @property
    def fd(self) -> int:
        return self._fd

    def has(self, index: int) -> bool:
        return bool(self.bitmap[index >> 3] & (1 << (index & 7)))

    def missing(self) -> list[int]:
        return [index for index in range(self.slices) if not self.has(index)]

    @property
    def done(self) -> bool:
        return self.verified == self.slices

    def mark(self, index: int) -> None:
        """Notes that the slice is in the file and verified."""
        if not self.has(index):
            self.bitmap[index >> 3] |= 1 << (index & 7)
            self.verified += 1

    def write(self, index: int, data: bytes | bytearray) -> None:
        """Puts a slice into the file after checking it; raises `WrongSlice`, OSError.

        Safe in a thread. Whoever calls it then says `mark` in the storekeeper's own thread.
        """
        if digest(data) != self.item.slice_digest(index):
            raise WrongSlice(f"slice {index} of {self.item.key}: its bytes are not the published ones")
        view = memoryview(data)
        at = slice_span(index, self.item.size)[0]
        while view:
            written = os.pwrite(self._fd, view, at)
            view, at = view[written:], at + written

    def check(self, indices: Iterable[int]) -> list[int]:
        """Those of ``indices`` whose bytes in the file are right. Reads them; safe in a thread.

        A hole is skipped without reading: SEEK_DATA tells where there is none.
        """
        good: list[int] = []
        for index in indices:
            start, end = slice_span(index, self.item.size)
            if not self._holds_data(start, end):
                continue
            if digest(os.pread(self._fd, end - start, start)) == self.item.slice_digest(index):
                good.append(index)
        return good

    def _holds_data(self, start: int, end: int) -> bool:
        try:
            return os.lseek(self._fd, start, os.SEEK_DATA) < end
        except OSError:
            # ENXIO: nothing but a hole up to the end of the file. The description stands there, so
            # in practice another errno: a file system without SEEK_DATA, where reading decides.
            return True
