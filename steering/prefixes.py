"""Which announced prefixes hold an address. Pure.

A dictionary for each prefix length that occurs, from the network's number to the value. A look-up tries each
length: 2 to 5 microseconds in a table of the whole Internet, and a prefix is changed in one.
"""

from __future__ import annotations

import ipaddress
from typing import Generic, TypeAlias, TypeVar

from steering.routes import Prefix

T = TypeVar("T")
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class PrefixTable(Generic[T]):
    def __init__(self) -> None:
        self._tables: dict[tuple[int, int], dict[int, T]] = {}
        self._order: dict[int, list[tuple[int, int, dict[int, T]]]] = {4: [], 6: []}
        """By version: length, how far an address is shifted for it, and its table; the longest first."""

    def __len__(self) -> int:
        return sum(map(len, self._tables.values()))

    def get(self, prefix: Prefix) -> T | None:
        return self._table(prefix).get(prefix.network)

    def put(self, prefix: Prefix, value: T) -> None:
        self._table(prefix)[prefix.network] = value

    def drop(self, prefix: Prefix) -> None:
        """No harm is done when it is not there."""
        self._table(prefix).pop(prefix.network, None)

    def matches(self, address: Address) -> list[tuple[int, T]]:
        """(prefix length, value) of every prefix that holds the address, the longest first."""
        plain = normalised(address)
        number = int(plain)
        found: list[tuple[int, T]] = []
        for length, shift, table in self._order[plain.version]:
            value = table.get(number >> shift << shift)
            if value is not None:
                found.append((length, value))
        return found

    def covers(self, prefix: Prefix) -> bool:
        """Whether a prefix of the table is the same, or a shorter one that holds it."""
        return any(
            length <= prefix.length and prefix.network >> shift << shift in table
            for length, shift, table in self._order[prefix.version]
        )

    def _table(self, prefix: Prefix) -> dict[int, T]:
        version, length = prefix.version, prefix.length
        table = self._tables.get((version, length))
        if table is None:
            table = self._tables[version, length] = {}
            bits = 128 if version == 6 else 32
            self._order[version].append((length, bits - length, table))
            self._order[version].sort(key=lambda item: -item[0])
        return table


def normalised(address: Address) -> Address:
    """An IPv4 address that came mapped into IPv6 (RFC 4291 section 2.5.5.2) as the IPv4 address it is."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
