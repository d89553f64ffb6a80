"""One object on its way in: its file, and which of its slices are there and verified."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import mmap
import os
import threading
from collections.abc import Iterable
from typing import Final

from contracts.catalog import CatalogObject
from contracts.objectkey import SLICE_BYTES, digest, slice_count, slice_span
from oca.objectfile import BadObjectFile, disk_bytes, incomplete_path, read_description
from oca.store.disks import Disk, is_full

_SAMPLED: Final = 16
"""Of so many slices that the fill agent verified one is read back: all of them would double what a disk does."""


class WrongSlice(Exception):
    """These bytes are not the slice that was published."""


class Corrupt(Exception):
    """Slices of the file are not the published bytes; they must be fetched again."""

    def __init__(self, key: str, slices: list[int]) -> None:
        super().__init__(f"{key}: {len(slices)} slices are missing or wrong, the first is {slices[0]}")
        self.slices = slices


class Incomplete:
    """Keeps the file open once it is used. A slice counts as verified only after its bytes are in the file."""

    def __init__(self, item: CatalogObject, disk: Disk, fd: int | None) -> None:
        self.item = item
        self.disk = disk
        self.path = incomplete_path(disk.path, item.key)
        self.slices = slice_count(item.size)
        self.bitmap = bytearray(-(-self.slices // 8))
        self.verified = 0
        self.disk_bytes = disk_bytes(item)
        self.promotion: asyncio.Future[None] | None = None
        """Set by the store once all slices are there: the move under objects/."""
        self.failed = False
        """Whether its disk had no room for a write: it has to begin again, elsewhere if need be."""
        self.unreadable: OSError | None = None
        """Why `check` could not read something."""
        self.made: asyncio.Future[OSError | None] | None = None
        """Set by the store while the file is being made: why it could not be."""
        self.dropped = False
        """The store has given it up: it must not become complete any more."""
        self.played = 0
        """As `oca.store.index.Playable`."""
        self.renamed = False
        """Whether the file stands under objects/. Written and read by the disk's own thread only."""
        self._fd = fd
        self._opening = threading.Lock()

    @classmethod
    def reopen(cls, item: CatalogObject, disk: Disk) -> Incomplete:
        """After a restart: the file is there, and none of its slices is believed yet.

        Opened when it is first used: there may be more of them than we may have files open.
        """
        return cls(item, disk, None)

    def __del__(self) -> None:
        # Threads may still be writing when the object is dropped: the last reference closes the file.
        if self._fd is not None:
            self.disk.files.close(self._fd)

    @property
    def fd(self) -> int:
        """The open file, for reading and writing. Raises OSError; ECANCELED when the name is another's now."""
        with self._opening:
            if self._fd is None:
                fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    if self.dropped or read_description(fd) != self.item:
                        raise OSError(errno.ECANCELED, "dropped, and begun again since")
                except BadObjectFile:
                    os.close(fd)
                    raise OSError(errno.ECANCELED, "dropped, and being made again") from None
                except OSError:
                    os.close(fd)
                    raise
                self._fd = fd
            return self._fd

    def make(self, *, allocate: bool) -> None:
        """Makes the file. For the disk's own thread. Raises OSError."""
        self._fd = self.disk.create(self.item, allocate=allocate)

    def discard(self) -> None:
        """Removes the file, wherever it stands by now. For the disk's own thread. Raises OSError."""
        if self.renamed:
            self.disk.remove(self.item.key)
        else:
            self.disk.remove_incomplete(self.item.key)

    def prepare(self) -> None:
        """Brings the bytes to the device. Raises OSError."""
        self.disk.prepare(self.item.key, self.fd)

    def promote(self) -> None:
        """Renames the file, unless it was dropped. For the disk's own thread. Raises OSError."""
        if not self.dropped:
            self.disk.promote(self.item.key)
            self.renamed = True

    def unwritten_bytes(self) -> int:
        """Of what the file is going to take, what it has not taken from the file system yet. Raises OSError."""
        try:
            return max(0, self.disk_bytes - os.stat(self.path).st_blocks * 512)
        except FileNotFoundError:
            return self.disk_bytes  # it is being made

    def has(self, index: int) -> bool:
        return bool(self.bitmap[index >> 3] & (1 << (index & 7)))

    def missing(self) -> list[int]:
        return [index for index in range(self.slices) if not self.has(index)]

    @property
    def done(self) -> bool:
        return self.verified == self.slices

    def mark(self, indices: Iterable[int]) -> None:
        """Notes that the slices are in the file and verified."""
        for index in indices:
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
        try:
            while view:
                written = os.pwrite(self.fd, view, at)
                view, at = view[written:], at + written
        except OSError as error:
            self.failed = is_full(error)
            raise

    def check(self, indices: Iterable[int], inode: int = 0) -> list[int]:
        """Those of ``indices`` whose bytes in the file are right. Reads them; safe in a thread.

        ``inode`` is of the file into which they were written by one who verified them: where it is ours, only a
        sample is read. The rest must be no hole; a write that did not reach the device fails the flush.

        What cannot be read is not right: it is fetched and written again, which moves a bad sector, and
        fails where the disk is dead. `unreadable` then says why. A hole is skipped without reading:
        SEEK_DATA tells where there is none.
        """
        good: list[int] = []
        with _Reader(self) as reader:
            ours = bool(inode) and os.fstat(self.fd).st_ino == inode
            data_from = 0
            for index in sorted(indices):
                start, end = slice_span(index, self.item.size)
                try:
                    # One look at a hole tells how far it goes: there are thousands of slices in a new file.
                    if data_from < end:
                        data_from = self._data_from(start)
                    if data_from >= end:
                        continue
                    taken = ours and index % _SAMPLED != 0
                    if taken or reader.digest(start, end) == self.item.slice_digest(index):
                        good.append(index)
                except OSError as error:
                    self.unreadable = error
        return good

    def _data_from(self, start: int) -> int:
        """Where there is data at ``start`` or behind it."""
        try:
            return os.lseek(self.fd, start, os.SEEK_DATA)
        except OSError:
            # ENXIO: nothing but a hole up to the end of the file. The description stands there, so
            # in practice another errno: a file system without SEEK_DATA, where reading decides.
            return start


_buffers = threading.local()
_NO_DIRECT: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP})


class _Reader:
    """Slices of an incomplete file, past the page cache: the fill agent wrote them past it too, and what it
    writes by night must push nothing out of memory. Where a file system has no O_DIRECT, as it is.
    """

    def __init__(self, begun: Incomplete) -> None:
        self._begun = begun
        self._direct = -1
        self._opened = False
        made: memoryview | None = getattr(_buffers, "slice", None)
        if made is None:
            made = _buffers.slice = memoryview(mmap.mmap(-1, SLICE_BYTES))
        self._buffer = made

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._direct >= 0:
            os.close(self._direct)

    def digest(self, start: int, end: int) -> bytes:
        """Of the bytes that are there, be they fewer. Raises OSError."""
        if not self._opened:
            self._opened = True
            # By descriptor: the path may be another file's by now. Where /proc is not there, as it is.
            with contextlib.suppress(OSError):
                self._direct = os.open(
                    f"/proc/self/fd/{self._begun.fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT
                )
        if self._direct >= 0:
            try:
                return self._digest(self._direct, start, end)
            except OSError as error:
                if error.errno not in _NO_DIRECT:
                    raise
        return self._digest(self._begun.fd, start, end)

    def _digest(self, fd: int, start: int, end: int) -> bytes:
        at = 0
        while start + at < end:
            # Up to the end of the buffer: whole blocks are read, and the description stands behind the last slice.
            got = os.preadv(fd, [self._buffer[at:]], start + at)
            if got == 0:
                break
            at += got
        return digest(self._buffer[: min(at, end - start)])
