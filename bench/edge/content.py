"""The files that are served, and the workloads: which requests are made for them."""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

TITLE: Final = "tt0001"
FILE_BYTES: Final = 2 << 20

_KIB: Final = 1 << 10


class Wire(enum.Enum):
    PLAIN = "plain"
    TLS = "tls"  # TLS 1.3, connections stay open
    TLS_FULL = "tls_full"  # a full handshake for each request
    TLS_RESUMED = "tls_resumed"  # a resumed session for each request
    PLAIN_NEW = "plain_new"  # a connection for each request


@dataclass(frozen=True, slots=True)
class File:
    """One object of `TITLE`; its bytes follow from its key."""

    key: str
    size: int
    bitrate_bps: int = 0

    def body(self) -> bytes:
        return random.Random(self.key).randbytes(self.size)


SEGMENTS: Final = tuple(File(f"{TITLE}/720p/segment{number:03}.m4s", FILE_BYTES) for number in range(64))
"""A title's worth of hot segments: 128 MiB, which stay in the page cache."""


class Links(enum.Enum):
    """Whether a server has seen a request's link before: what it may remember of it."""

    SAME = "same"  # one link for each file, as one viewer asks
    QUERY = "query"  # another query each time: no request is the same as one before
    SESSION = "session"  # signed anew for each request: every request is a viewer's first


@dataclass(frozen=True, slots=True)
class Workload:
    """``range_bytes`` of 0 asks for the whole file."""

    name: str
    range_bytes: int
    connections: int
    wire: Wire = Wire.PLAIN
    links: Links = Links.SAME


WORKLOADS: Final = (
    Workload("64 KiB ranges", 64 * _KIB, 16),
    Workload("64 KiB ranges, never the same URL", 64 * _KIB, 16, links=Links.QUERY),
    Workload("256 KiB ranges", 256 * _KIB, 16),
    Workload("1 MiB ranges", 1024 * _KIB, 16),
    Workload("1 MiB ranges", 1024 * _KIB, 256),
    Workload("2 MiB ranges", 2048 * _KIB, 16),
    Workload("2 MiB files", 0, 16),
    Workload("2 MiB files", 0, 256),
    Workload("new viewers: connection, link, 64 KiB", 64 * _KIB, 1, Wire.PLAIN_NEW, Links.SESSION),
    Workload("TLS, 2 MiB files", 0, 16, Wire.TLS),
    Workload("TLS, 64 KiB ranges", 64 * _KIB, 16, Wire.TLS),
    Workload("new TLS connections, full", 64 * _KIB, 1, Wire.TLS_FULL),
    Workload("new TLS connections, resumed", 64 * _KIB, 1, Wire.TLS_RESUMED),
)


def spans(workload: Workload) -> Iterator[tuple[File, int, int]]:
    """File, first byte and end of every request of the workload, in an order that no read-ahead guesses."""
    size = workload.range_bytes or FILE_BYTES
    every = [
        (file, start, start + size) for file in SEGMENTS for start in range(0, file.size - size + 1, size)
    ]
    random.Random(workload.name).shuffle(every)
    yield from every


def request(target: str, span: tuple[int, int] | None) -> bytes:
    """What a browser's player sends for first byte and end, or for the whole file."""
    field = f"Range: bytes={span[0]}-{span[1] - 1}\r\n" if span else ""
    return (
        f"GET {target} HTTP/1.1\r\nHost: edge.example.net:8080\r\nConnection: keep-alive\r\n"
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/141.0.0.0 Safari/537.36\r\n"
        f"Accept: */*\r\n{field}Origin: https://play.example.net\r\nReferer: https://play.example.net/\r\n"
        "Accept-Encoding: identity\r\nAccept-Language: en-GB\r\n\r\n"
    ).encode()
