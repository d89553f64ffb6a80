"""Writes a small GeoIP database, as MaxMind's format (version 2.0) describes it."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_RECORD_BITS = 32


def write(path: Path, networks: Mapping[str, Any]) -> Path:
    """IPv4 networks stand at ::/96. A network must not lie in another."""
    tree: list[list[Any]] = [[None, None]]
    for text, record in networks.items():
        network = ipaddress.ip_network(text)
        number, length = int(network.network_address), network.prefixlen
        length += 96 if network.version == 4 else 0
        at = 0
        for depth in range(length):
            bit = number >> (127 - depth) & 1
            if depth == length - 1:
                tree[at][bit] = ("data", record)
            else:
                if tree[at][bit] is None:
                    tree.append([None, None])
                    tree[at][bit] = len(tree) - 1
                at = tree[at][bit]
    data = b""
    nodes = b""
    for node in tree:
        for child in node:
            if isinstance(child, tuple):
                value = len(tree) + 16 + len(data)
                data += _encoded(child[1])
            else:
                value = len(tree) if child is None else child
            nodes += struct.pack(">I", value)
    metadata = {
        "node_count": len(tree),
        "record_size": _RECORD_BITS,
        "ip_version": 6,
        "database_type": "Test-City",
        "languages": [],
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1,
        "description": {},
    }
    path.write_bytes(nodes + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + _encoded(metadata))
    return path


def _encoded(value: Any) -> bytes:
    if isinstance(value, dict):
        return bytes([7 << 5 | len(value)]) + b"".join(
            _encoded(item) for pair in value.items() for item in pair
        )
    if isinstance(value, list):
        return bytes([len(value), 11 - 7])
    if isinstance(value, str):
        return bytes([2 << 5 | len(value)]) + value.encode()
    if isinstance(value, float):
        return bytes([3 << 5 | 8]) + struct.pack(">d", value)
    return bytes([6 << 5 | 4]) + struct.pack(">I", value)
