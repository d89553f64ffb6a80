"""The files that are served, and the workloads: which requests are made for them."""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

TITLE: Final = "tt0001"
FILES: Final = 64
FILE_BYTES: Final = 2 << 20
"""A title's worth of hot segments: 128 MiB, which stays in the page cache."""

_KIB: Final = 1 << 10


class Wire(enum.Enum):
    PLAIN = "plain"
    TLS = "tls"  # TLS 1.3, connections stay open
    TLS_FULL = "tls_full"  # a full handshake for each request
    TLS_RESUMED = "tls_resumed"  # a resumed session for each request


@dataclass(frozen=True, slots=True)
class Workload:
    """``range_bytes`` of 0 asks for the whole file."""

    name: str
    range_bytes: int
    connections: int
    wire: Wire = Wire.PLAIN


WORKLOADS: Final = (
    Workload("64 KiB ranges", 64 * _KIB, 16),
    Workload("256 KiB ranges", 256 * _KIB, 16),
    Workload("1 MiB ranges", 1024 * _KIB, 16),
    Workload("1 MiB ranges", 1024 * _KIB, 256),
    Workload("2 MiB ranges", 2048 * _KIB, 16),
    Workload("2 MiB files", 0, 16),
    Workload("2 MiB files", 0, 256),
    Workload("TLS, 2 MiB files", 0, 16, Wire.TLS),
    Workload("TLS, 64 KiB ranges", 64 * _KIB, 16, Wire.TLS),
    Workload("new TLS connections, full", 64 * _KIB, 1, Wire.TLS_FULL),
    Workload("new TLS connections, resumed", 64 * _KIB, 1, Wire.TLS_RESUMED),
)


def keys() -> list[str]:
    return [f"{TITLE}/720p/segment{number:03}.m4s" for number in range(FILES)]


def body(key: str) -> bytes:
    return random.Random(key).randbytes(FILE_BYTES)


def spans(workload: Workload) -> Iterator[tuple[str, int, int]]:
    """Key, first byte and end of every request of the workload, in an order that no read-ahead guesses."""
    size = workload.range_bytes or FILE_BYTES
    every = [(key, start, start + size) for key in keys() for start in range(0, FILE_BYTES - size + 1, size)]
    random.Random(workload.name).shuffle(every)
    yield from every
