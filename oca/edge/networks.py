"""Who asks, by network: so that one of them cannot take what is meant for all.

A viewer's own address says little (a carrier's NAT, a phone that changes cells), and an attacker has
many. So the unit is the IPv4 /24 and the IPv6 /48, the smallest that networks announce to one another.
Each worker counts its own share: the kernel spreads a network's connections over the workers.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from oca.config import Limits

_MAPPED: Final = bytes(10) + b"\xff\xff"
_IPV4_BYTES: Final = 4


class Network:
    """What one network does now; the counts of requests begin anew each second."""

    __slots__ = ("_name", "connections", "refusals", "requests")

    def __init__(self, name: bytes) -> None:
        self._name = name
        self.connections = 0
        self.requests = 0
        self.refusals = 0


class Networks:
    """Of one worker out of ``workers``."""

    def __init__(self, limits: Limits, workers: int) -> None:
        self._connections = _share(limits.connections_per_network, workers)
        self.requests = _share(limits.requests_per_network, workers)
        """Answered in one second; beyond, 429."""
        self.refusals = _share(limits.refusals_per_network, workers)
        """Tokens refused in one second; beyond, a new token is not even looked at."""
        self._known: dict[bytes, Network] = {}

    def enter(self, address: str) -> Network | None:
        """The network of a new connection, which now has one more; None when it has its share."""
        name = network_of(address)
        network = self._known.get(name)
        if network is None:
            network = self._known[name] = Network(name)
        if network.connections >= self._connections:
            return None
        network.connections += 1
        return network

    def leave(self, network: Network) -> None:
        network.connections -= 1

    def second(self) -> None:
        """A second has passed."""
        for network in self._known.values():
            network.requests = network.refusals = 0
        # Not at once when the last connection goes: who comes back has not changed.
        for name in [name for name, network in self._known.items() if not network.connections]:
            del self._known[name]

    def __len__(self) -> int:
        return len(self._known)


def network_of(address: str) -> bytes:
    """The /24 or /48 of an address as the kernel writes it; IPv4 in IPv6 counts as IPv4."""
    packed = packed_address(address)
    return packed[: 3 if len(packed) == _IPV4_BYTES else 6]


def name_of(prefix: bytes) -> str:
    """A network as people write it, from the leading bytes of its addresses: 2 or 3 of IPv4, more of IPv6."""
    whole = _IPV4_BYTES if len(prefix) < _IPV4_BYTES else 16
    return str(ipaddress.ip_network((prefix.ljust(whole, b"\0"), len(prefix) * 8)))


def packed_address(address: str) -> bytes:
    """An address as the kernel writes it, in 4 bytes or 16; IPv4 in IPv6 counts as IPv4."""
    if ":" not in address:
        return socket.inet_pton(socket.AF_INET, address)
    packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    return packed[12:] if packed.startswith(_MAPPED) else packed


def _share(limit: int, workers: int) -> int:
    return max(1, -(-limit // workers))
