"""The index of one disk, left on it by a clean shutdown, so that the next start need not read every file.

    | 256 blocks, one for each first folder below objects/ | header | footer |

    block    msgpack: for each object of the folder [place in the order of last use, key, size, disk_bytes, etag]
    header   msgpack: format, disk, written_ns, objects, and the length of each block
    footer   32 bytes, big-endian: magic 8 | length of the header 4 | zero 4 | xxh3-128 of all before the footer

It is used once. `take` removes it from the disk, and has that made durable, before it is read: whatever
ends the process then, no snapshot of an earlier day is left that looks right. Any doubt (its checksum, its
format, another disk's) is a `BadSnapshot`, and the disk is scanned.

And it is not trusted over the disk: `differences` compares it with what the folders list, after the start. A
file that was not changed since the snapshot was written (ctime, which nobody can set) and has the length that
it had is what it was; any other is read. Those who serve an object read its description in any case.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Final, Protocol

import msgspec
import xxhash
from msgspec import Meta

from contracts.objectkey import object_hash
from daemon.durable import sync_folder
from oca.store import scan
from oca.store.scan import Found

NAME: Final = "index.snapshot"
FORMAT: Final = 1
MAX_BYTES: Final = 1 << 30
"""Of the whole file: 8 M objects. An appliance that holds more scans its disks."""
_DRAFT: Final = NAME + ".new"
_MAGIC: Final = b"NEARSNAP"
_footer = struct.Struct(">8sII16s")
_BLOCKS: Final = 256
_READ_BYTES: Final = 1 << 20

_Count = Annotated[int, Meta(ge=0, le=1 << 48)]


class BadSnapshot(Exception):
    """It cannot be believed; the message says why. Scan the disk."""


class _Header(msgspec.Struct, frozen=True):
    format: int
    disk: str
    written_ns: Annotated[int, Meta(ge=0, le=1 << 62)]
    objects: Annotated[int, Meta(ge=0, le=1 << 32)]
    blocks: Annotated[tuple[_Count, ...], Meta(min_length=_BLOCKS, max_length=_BLOCKS)]


class _Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    place: _Count
    key: str
    size: _Count
    disk_bytes: _Count
    etag: str


class Kept(Protocol):
    """What is written of an object."""

    key: str
    size: int
    disk_bytes: int
    etag: str


class Difference(msgspec.Struct, frozen=True):
    """A file that is not what the snapshot says, or that one of the two does not know."""

    name: str
    key: str | None
    """As the snapshot has it; None when it has none of this name."""


_encode = msgspec.msgpack.Encoder().encode
_rows = msgspec.msgpack.Decoder(list[_Row]).decode
_header = msgspec.msgpack.Decoder(_Header).decode


def write(disk: Path, disk_id: str, objects: Iterable[Kept], unsettled_since_ns: int | None) -> None:
    """Leaves a snapshot of ``objects``, the least recently used first. Raises OSError; none is left then.

    ``unsettled_since_ns`` is the `written_ns` of the snapshot before, when not all of its differences were
    settled: what was changed since then has to be read again next time.
    """
    keys: list[list[Kept]] = [[] for _ in range(_BLOCKS)]
    places = [array("L") for _ in range(_BLOCKS)]
    count = 0
    for item in objects:
        block = int(object_hash(item.key)[:2], 16)
        keys[block].append(item)
        places[block].append(count)
        count += 1
    draft = disk / _DRAFT
    draft.unlink(missing_ok=True)
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        with open(fd, "wb") as file:
            # By the file system's own clock, as the ctime that it is compared with.
            now_ns = os.fstat(fd).st_ctime_ns
            hashed = xxhash.xxh3_128()
            lengths = []
            for block in range(_BLOCKS):
                raw = _encode(
                    [
                        _Row(place, item.key, item.size, item.disk_bytes, item.etag)
                        for place, item in zip(places[block], keys[block], strict=True)
                    ]
                )
                lengths.append(len(raw))
                hashed.update(raw)
                file.write(raw)
            header = _encode(_Header(FORMAT, disk_id, unsettled_since_ns or now_ns, count, tuple(lengths)))
            hashed.update(header)
            file.write(header + _footer.pack(_MAGIC, len(header), 0, hashed.digest()))
            file.flush()
            os.fsync(fd)
        os.replace(draft, disk / NAME)
        sync_folder(disk)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


class Snapshot:
    """One that was checked, open, and gone from the disk already."""

    def __init__(self, fd: int, header: _Header) -> None:
        self._fd = fd
        self._header = header
        self._starts = [sum(header.blocks[:block]) for block in range(_BLOCKS)]

    def __del__(self) -> None:
        os.close(self._fd)

    @property
    def written_ns(self) -> int:
        return self._header.written_ns

    def objects(self) -> list[Found]:
        """The least recently used first. Raises `BadSnapshot`, OSError."""
        placed: list[Found | None] = [None] * self._header.objects
        for block in range(_BLOCKS):
            for row in self._block(block):
                if row.place >= len(placed) or placed[row.place] is not None:
                    raise BadSnapshot("two objects in one place of the order")
                placed[row.place] = Found(row.key, row.size, row.disk_bytes, row.etag, None)
        objects = [item for item in placed if item is not None]
        if len(objects) != len(placed):
            raise BadSnapshot(f"names {len(objects)} objects and promises {len(placed)}")
        return objects

    def _block(self, block: int) -> list[_Row]:
        length = self._header.blocks[block]
        raw = os.pread(self._fd, length, self._starts[block])
        try:
            return _rows(raw)
        except msgspec.MsgspecError as error:
            raise BadSnapshot(f"block {block}: {error}") from None

    def differences(self, disk: Path) -> Iterator[list[Difference]]:
        """What is not on the disk as the snapshot says, a list for each first folder. Raises as `objects`, OSError.

        What was put there or removed since the start differs as well: look again before anything is done.
        """
        for block in range(_BLOCKS):
            rows = {object_hash(row.key): row for row in self._block(block)}
            found: list[Difference] = []
            first = disk / "objects" / f"{block:02x}"
            for second in sorted(os.listdir(first)) if first.exists() else ():
                with os.scandir(first / second) as entries:
                    for entry in entries:
                        row = rows.pop(entry.name, None)
                        if row is None or not self._is_unchanged(entry, row):
                            found.append(Difference(entry.name, row.key if row is not None else None))
            found += [Difference(name, row.key) for name, row in rows.items()]
            yield found

    def _is_unchanged(self, entry: os.DirEntry[str], row: _Row) -> bool:
        try:
            there = entry.stat(follow_symlinks=False)
            if there.st_ctime_ns < self.written_ns and there.st_size == row.disk_bytes:
                return stat.S_ISREG(there.st_mode)
            said = scan.described(entry.path)
        except FileNotFoundError:
            return False
        if said is None:
            return False
        item, length = said
        return (item.key, item.etag, length) == (row.key, row.etag, row.disk_bytes)


def take(disk: Path, disk_id: str, now_ns: int) -> Snapshot | None:
    """The snapshot of the disk, which is not there any more afterwards; None when there is none.

    ``now_ns`` is the time since 1970. Raises `BadSnapshot` when it cannot be believed, OSError when the disk
    cannot be changed: then nothing of it may be used.
    """
    (disk / _DRAFT).unlink(missing_ok=True)
    try:
        there = os.lstat(disk / NAME)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(there.st_mode):
        raise BadSnapshot("it is no file")
    fd = os.open(disk / NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.unlink(disk / NAME)
        sync_folder(disk)
        snapshot = Snapshot(os.dup(fd), _check(fd, disk_id, now_ns))
    finally:
        os.close(fd)
    return snapshot


def _check(fd: int, disk_id: str, now_ns: int) -> _Header:
    there = os.fstat(fd)
    if there.st_size < _footer.size:
        raise BadSnapshot("too short")
    if there.st_size > MAX_BYTES:
        raise BadSnapshot(f"{there.st_size} bytes are more than {MAX_BYTES}")
    body = there.st_size - _footer.size
    magic, length, _, checksum = _footer.unpack(os.pread(fd, _footer.size, body))
    if magic != _MAGIC or length > body:
        raise BadSnapshot("no footer")
    hashed, at = xxhash.xxh3_128(), 0
    while at < body:
        piece = os.pread(fd, min(_READ_BYTES, body - at), at)
        if not piece:
            raise BadSnapshot("it shrank while it was read")
        hashed.update(piece)
        at += len(piece)
    if hashed.digest() != checksum:
        raise BadSnapshot("it does not match its checksum")
    try:
        header = _header(os.pread(fd, length, body - length))
    except msgspec.MsgspecError as error:
        raise BadSnapshot(f"the header is not one of ours: {error}") from None
    if header.format != FORMAT:
        raise BadSnapshot(f"format {header.format}, and this program knows {FORMAT}")
    if header.disk != disk_id:
        raise BadSnapshot(f"it is of disk {header.disk}, and this is {disk_id}")
    if header.written_ns > now_ns:
        raise BadSnapshot("it was written in the future: the clock was set back")
    if sum(header.blocks) + length != body:
        raise BadSnapshot("its blocks are not where its header says")
    return header
