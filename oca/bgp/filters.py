"""Which announced prefixes are believed. Pure.

Source: RFC 6890 and its registries (special-purpose addresses), RFC 6598 (the carriers' shared space), RFC 7454
section 6 (what to refuse at a border). Open Connect refuses private and CGNAT prefixes in the same way: the
clients that reach an appliance from there are not told apart from those of another network.
"""

from __future__ import annotations

import enum
import socket
from typing import Final

from contracts.route import Attributes
from oca.bgp.config import Bgp

_MAX_PATH: Final = 128


class Verdict(enum.Enum):
    """What becomes of an announced prefix, in the words of `oca bgp --status`."""

    ACCEPTED = "accepted"
    MALFORMED = "not a prefix"
    BOGON = "reserved for special purposes (RFC 6890)"
    PRIVATE = "private (RFC 1918, RFC 4193)"
    SHARED = "carriers' shared space (RFC 6598)"
    DEFAULT = "a default route"
    TOO_LONG = "too long"
    LOOP = "its path holds our own AS"
    LONG_PATH = "its path is too long"


_SPECIAL: Final = {
    Verdict.PRIVATE: ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    Verdict.SHARED: ("100.64.0.0/10",),
    Verdict.BOGON: (
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "::/8",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    ),
}


class Filter:
    """Of one appliance. A prefix is judged by itself, then its path."""

    def __init__(self, config: Bgp) -> None:
        self._longest = {4: config.max_length_v4, 6: config.max_length_v6}
        self._accept_default = config.accept_default
        self._own_as = config.local_as
        self._accepted = [_read(text) for text in config.accept]
        self._special = [(_read(text), verdict) for verdict, texts in _SPECIAL.items() for text in texts]

    def judge(self, prefix: str, attributes: Attributes) -> Verdict:
        try:
            version, network, length = _read(prefix)
        except ValueError:
            return Verdict.MALFORMED
        if self._own_as in attributes.as_path:
            return Verdict.LOOP
        if len(attributes.as_path) > _MAX_PATH:
            return Verdict.LONG_PATH
        if length == 0:
            return Verdict.ACCEPTED if self._accept_default else Verdict.DEFAULT
        if length > self._longest[version]:
            return Verdict.TOO_LONG
        bits = 32 if version == 4 else 128
        for outer_version, outer, outer_length in self._accepted:
            if _within(version, network, length, outer_version, outer, outer_length, bits):
                return Verdict.ACCEPTED
        for (outer_version, outer, outer_length), verdict in self._special:
            if _within(version, network, length, outer_version, outer, outer_length, bits):
                return verdict
        return Verdict.ACCEPTED


def _within(
    version: int, network: int, length: int, outer_version: int, outer: int, outer_length: int, bits: int
) -> bool:
    return (
        version == outer_version
        and length >= outer_length
        and network >> (bits - outer_length) == outer >> (bits - outer_length)
    )


def _read(text: str) -> tuple[int, int, int]:
    """(version, network, length); raises ValueError."""
    address, _, digits = text.partition("/")
    version = 6 if ":" in address else 4
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(text)
    try:
        packed = socket.inet_pton(socket.AF_INET6 if version == 6 else socket.AF_INET, address)
    except OSError:
        raise ValueError(text) from None
    network, length = int.from_bytes(packed, "big"), int(digits)
    host_bits = 8 * len(packed) - length
    if host_bits < 0 or network & ((1 << host_bits) - 1):
        raise ValueError(text)
    return version, network, length
