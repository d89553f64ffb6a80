"""Which announced prefix is the longest that holds an address. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class PrefixTable(Generic[T]):
    """Values by prefix. A look-up tries each prefix length that occurs, longest first."""

    def __init__(self, prefixes: Iterable[tuple[str, T]]) -> None:
        self._tables: dict[tuple[int, int], dict[int, list[T]]] = {}
        for text, value in prefixes:
            network = ipaddress.ip_network(text)
            table = self._tables.setdefault((network.version, network.prefixlen), {})
            table.setdefault(int(network.network_address), []).append(value)
        self._lengths = {
            version: sorted((length for v, length in self._tables if v == version), reverse=True)
            for version in (4, 6)
        }

    def matches(self, address: Address) -> list[tuple[int, T]]:
        """Every (prefix length, value) that covers the address, the longest first."""
        plain = normalised(address)
        bits = plain.max_prefixlen
        number = int(plain)
        found: list[tuple[int, T]] = []
        for length in self._lengths[plain.version]:
            network = number >> (bits - length) << (bits - length)
            found += [(length, value) for value in self._tables[plain.version, length].get(network, ())]
        return found


def normalised(address: Address) -> Address:
    """An IPv4 address that came mapped into IPv6 (RFC 4291 section 2.5.5.2) as the IPv4 address it is."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
