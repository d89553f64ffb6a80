"""The files of stored HTTP responses: a folder of their own on every disk, with a bounded share of it.

    0          size                                        file size
    | the body | msgpack of its `Record`, with its digest  | footer |

    footer (32 bytes): magic 8 | length of the record 4 | zero 4 | xxh3-128 of the record 16

A file without a footer was being written when we ended, and is removed at start. Nothing is synced: what a
power cut tore is found out by the digest of the body, which is checked before a file of an earlier run is
used for the first time.
"""

from __future__ import annotations

import logging
import os
import secrets
import struct
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import xxhash

from contracts.objectkey import digest
from daemon.log import event
from oca.httpcache.fields import Fields
from oca.httpcache.policy import Freshness
from oca.httpcache.vary import Selecting
from oca.store.disks import Disk
from oca.store.diskstate import State

log = logging.getLogger("oca.store")

FOLDER: Final = "http"
_MAGIC: Final = b"NEARHTC1"
_footer = struct.Struct(">8sII16s")
_MAX_RECORD_BYTES: Final = 256 << 10
_READ_BYTES: Final = 1 << 20
_SCAN_S: Final = 3600.0
"""Two hundred thousand files of a disk that is busy."""


class Record(msgspec.Struct, frozen=True):
    """What a file says of itself."""

    origin: str
    """The prefix it belongs to, and the URL behind it: when either is configured anew, it is not used."""
    key: str
    status: int
    fields: Fields
    selecting: Selecting
    fresh: Freshness
    start: int
    total: int | None
    size: int
    digest: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


class Draft:
    """A file that is being written."""

    def __init__(self, disk: Disk, path: Path, reserved_bytes: int) -> None:
        self.disk = disk
        self.path = path
        self.reserved_bytes = reserved_bytes
        self.size = 0
        self._digest = xxhash.xxh3_128()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)

    def write(self, data: bytes) -> None:
        """Blocks; raises OSError."""
        self._digest.update(data)
        view, at = memoryview(data), self.size
        while view:
            written = os.pwrite(self._fd, view, at)
            view, at = view[written:], at + written
        self.size += len(data)

    def finish(self, record: Record) -> None:
        """Writes what the file says of itself; blocks; raises OSError."""
        body = _encode(msgspec.structs.replace(record, size=self.size, digest=self._digest.digest()))
        tail = body + _footer.pack(_MAGIC, len(body), 0, digest(body))
        os.pwrite(self._fd, tail, self.size)
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            self.disk.contents.close(self._fd)
            self._fd = -1


class SharedFiles:
    """What is set aside of each disk is ours; `used_bytes` is what is promised of it, by disk."""

    def __init__(self, disks: Callable[[], Sequence[Disk]]) -> None:
        self._disks = disks
        self._run = secrets.token_hex(4)
        self._count = 0
        self.used_bytes: dict[Disk, int] = defaultdict(int)

    def capacity_bytes(self, disk: Disk) -> int:
        # The disk speaks of its share for the catalog's objects.
        if disk.state is not State.SERVING:
            return 0
        return int(disk.capacity_bytes * disk.set_aside / (1 - disk.set_aside))

    @property
    def total_bytes(self) -> int:
        return sum(self.capacity_bytes(disk) for disk in self._disks())

    async def scan(self) -> list[tuple[Disk, Path, Record]]:
        """What earlier runs left; files that do not describe themselves are removed."""
        found: list[tuple[Disk, Path, Record]] = []
        for disk in self._disks():
            if disk.state is not State.SERVING:
                continue
            try:
                kept = await disk.contents.run(partial(_scan, disk.path / FOLDER), extra_s=_SCAN_S)
            except OSError as error:
                event(log, "http cache left out", logging.ERROR, disk=str(disk.path), why=str(error))
                continue
            self.used_bytes[disk] += sum(record.size for _, record in kept)
            found += [(disk, path, record) for path, record in kept]
        return found

    def room(self, size: int) -> Disk | None:
        """The disk with the most room, when ``size`` bytes fit; None when something must go first."""
        best = max(self._disks(), key=self._free_bytes, default=None)
        return best if best is not None and self._free_bytes(best) >= size else None

    def create(self, disk: Disk, size: int) -> Draft:
        """A new file on ``disk``, with ``size`` bytes of our share set aside for it; raises OSError."""
        self._count += 1
        path = disk.path / FOLDER / f"{self._count & 255:02x}" / f"{self._run}-{self._count:x}"
        draft = Draft(disk, path, size)
        self.used_bytes[disk] += size
        return draft

    def remove(self, disk: Disk, path: Path, size: int) -> None:
        """The file goes soon, and its bytes are free at once."""
        self.used_bytes[disk] -= size
        going = disk.files.run(lambda: path.unlink(missing_ok=True), always=True)
        # A disk that fails keeps its file; at the next start it is found again.
        going.add_done_callback(lambda done: done.exception())

    def _free_bytes(self, disk: Disk) -> int:
        return self.capacity_bytes(disk) - self.used_bytes[disk]


def _scan(root: Path) -> list[tuple[Path, Record]]:
    root.mkdir(exist_ok=True)
    for number in range(256):
        (root / f"{number:02x}").mkdir(exist_ok=True)
    found: list[tuple[Path, Record]] = []
    for file in sorted(root.glob("??/*")):
        record = _described(file)
        if record is None:
            file.unlink(missing_ok=True)
        else:
            found.append((file, record))
    return found


def intact(path: Path, record: Record) -> bool:
    """Whether the body is the one that was written; reads all of it."""
    sum_ = xxhash.xxh3_128()
    try:
        with path.open("rb", buffering=0) as file:
            left = record.size
            while left and (data := file.read(min(left, _READ_BYTES))):
                sum_.update(data)
                left -= len(data)
    except OSError:
        return False
    return sum_.digest() == record.digest


def _described(file: Path) -> Record | None:
    try:
        with file.open("rb", buffering=0) as opened:
            end = os.fstat(opened.fileno()).st_size
            foot = os.pread(opened.fileno(), _footer.size, max(0, end - _footer.size))
            if len(foot) < _footer.size:
                return None
            magic, length, _, checksum = _footer.unpack(foot)
            if magic != _MAGIC or length > _MAX_RECORD_BYTES or length + _footer.size > end:
                return None
            body = os.pread(opened.fileno(), length, end - _footer.size - length)
        if digest(body) != checksum:
            return None
        record = _decode(body)
    except (OSError, msgspec.MsgspecError):
        return None
    return record if record.size == end - _footer.size - length else None
