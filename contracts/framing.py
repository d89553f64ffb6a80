"""Messages on a Unix stream socket: a four-byte big-endian length, then that many bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

MAX_FRAME_BYTES: Final = 256 << 20
"""An ingest message may hold the digests of one object of 1 TiB (16 MiB) or a plan of millions."""

_length = struct.Struct(">I")
HEADER_BYTES: Final = _length.size


class BadFrame(ValueError):
    """The peer speaks something else, or more than is read; the connection is of no further use."""


def pack(payload: bytes) -> bytes:
    if len(payload) > MAX_FRAME_BYTES:
        raise BadFrame(f"a message of {len(payload)} bytes, and at most {MAX_FRAME_BYTES} are sent")
    return _length.pack(len(payload)) + payload


def payload_length(header: bytes | bytearray) -> int:
    """How many bytes follow a header of `HEADER_BYTES`; raises `BadFrame` beyond the bound."""
    length: int = _length.unpack(header)[0]
    if length > MAX_FRAME_BYTES:
        raise BadFrame(f"a message of {length} bytes, and at most {MAX_FRAME_BYTES} are read")
    return length


class Unframer:
    """Takes bytes as they arrive and gives back whole payloads."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._buffer += data
        while len(self._buffer) >= HEADER_BYTES:
            end = HEADER_BYTES + payload_length(self._buffer[:HEADER_BYTES])
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[HEADER_BYTES:end])
            del self._buffer[:end]
            yield payload
