"""An object on disk: one file that carries its own description, so the two cannot part.

    0                     size                                          file size
    | the object's bytes  | msgpack of its CatalogObject, with digests  | footer |

    footer (32 bytes): magic 8 | length of the description 4 | zero 4 | xxh3-128 of the description 16

The description is written when the file is made, before the first byte of the object: an incomplete
file knows what it is going to be, and after a crash each of its slices can be checked against its
own digest. Being complete is a matter of the folder the file stands in (a rename moves it), not of
its content. Written by the storekeeper only; read by edge workers too.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final

import msgspec
import xxhash

from contracts.catalog import CatalogObject
from contracts.objectkey import MAX_OBJECT_BYTES, digest, object_hash, object_path

MAGIC: Final = b"NEARCAS1"
_footer = struct.Struct(">8sII16s")
FOOTER_BYTES: Final = _footer.size
MAX_DESCRIPTION_BYTES: Final = 32 << 20  # 1 TiB has 16 MiB of digests
_TAIL_BYTES: Final = 4096  # one read finds the whole description of an object up to 200 MB

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(CatalogObject).decode


class BadObjectFile(Exception):
    """The file does not carry a description that can be believed: quarantine it, fetch it again."""


def complete_path(disk: Path, key: str) -> Path:
    return disk / "objects" / object_path(key)


def incomplete_path(disk: Path, key: str) -> Path:
    return disk / "incomplete" / object_hash(key)


def disk_rank(disk: str, key: str) -> int:
    """Rendezvous weight of a disk for a key: the smallest is the disk to write to, and to look at first."""
    return xxhash.xxh3_64_intdigest(f"{disk}\0{key}".encode())


def description(item: CatalogObject) -> bytes:
    """What stands behind the object's bytes: description and footer."""
    body = _encode(item)
    return body + _footer.pack(MAGIC, len(body), 0, digest(body))


def disk_bytes(item: CatalogObject) -> int:
    """Size of the whole file of an object: what it costs on the disk."""
    return item.size + len(description(item))


def read_description(fd: int) -> CatalogObject:
    """What the open file says it is; raises `BadObjectFile`, and OSError as it comes."""
    return read_with_length(fd)[0]


def read_with_length(fd: int) -> tuple[CatalogObject, int]:
    """What the open file says it is, and the bytes it has; raises `BadObjectFile`, and OSError as it comes."""
    end = os.fstat(fd).st_size
    if not FOOTER_BYTES <= end <= MAX_OBJECT_BYTES + MAX_DESCRIPTION_BYTES + FOOTER_BYTES:
        raise BadObjectFile(f"{end} bytes cannot be an object file")
    tail = os.pread(fd, _TAIL_BYTES, max(0, end - _TAIL_BYTES))
    if len(tail) < FOOTER_BYTES:
        raise BadObjectFile("the file shrank while it was read")
    magic, length, _, checksum = _footer.unpack(tail[-FOOTER_BYTES:])
    start = end - FOOTER_BYTES - length
    if magic != MAGIC or length > MAX_DESCRIPTION_BYTES or start < 0:
        raise BadObjectFile("no footer")
    if length + FOOTER_BYTES <= len(tail):
        body = tail[-FOOTER_BYTES - length : -FOOTER_BYTES]
    else:
        body = os.pread(fd, length, start)
    if digest(body) != checksum:
        raise BadObjectFile("the description does not match its checksum")
    try:
        item = _decode(body)
    except msgspec.MsgspecError as error:
        raise BadObjectFile(f"the description is not one of ours: {error}") from None
    if item.size != start:
        raise BadObjectFile(f"describes {item.size} bytes, and {start} are there")
    return item, end
