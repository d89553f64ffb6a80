"""How fast one network of viewers may come upon new titles: against whoever walks through the catalog, or floods us with
sessions, behind a playback service that asks for everybody. Pure; time is passed in.

The unit is what tokens are bound to, the IPv4 /24 and the IPv6 /48 (`contracts.clientnetwork`): the least that an attacker has
of his own, and often a carrier's NAT with ten thousand viewers, so the bounds are wide. All of those may start one title
at midnight; what a single one does and they do not is to ask for very many different titles. So a title that the
network has not asked for of late costs many times what another start does. Questions that go on with a known session
cost nothing: a player that asks again shall never be refused.

Of a network is known when its budget will be full again (the generic cell rate algorithm, ITU-T I.371), and the hashes of
the last titles that it was let have. Beyond ``networks`` of them the longest silent is forgotten, and begins with a full budget.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from typing import Final

_TITLES: Final = 8
"""Remembered of a network. What all want is asked for again soon when others have driven it out."""
_MAPPED: Final = bytes(10) + b"\xff\xff"


class ClientBudgets:
    """``titles_per_s`` new titles, or ``starts_per_s`` others, on average; at once what ``burst_s`` seconds give."""

    def __init__(self, titles_per_s: float, starts_per_s: float, burst_s: float, networks: int) -> None:
        self._title_s = 1 / titles_per_s
        self._start_s = 1 / starts_per_s
        self._burst_s = burst_s
        self._limit = networks
        self._networks: OrderedDict[str | bytes, tuple[float, tuple[int, ...]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._networks)

    def take(self, client_ip: str, title: str, now: float) -> float:
        """0 when the start may be answered now, otherwise the seconds after which it may."""
        name = client_ip.rpartition(".")[0] if ":" not in client_ip else _network_of_ipv6(client_ip)
        full_at, titles = self._networks.get(name, (now, ()))
        digest = hash(title)
        known = digest in titles
        if full_at < now:
            full_at = now
        full_at += self._start_s if known else self._title_s
        wait_s = full_at - now - self._burst_s
        if wait_s > 0:
            return wait_s
        if not known:
            titles = (digest, *titles[: _TITLES - 1])
        self._networks[name] = full_at, titles
        self._networks.move_to_end(name)
        if len(self._networks) > self._limit:
            self._networks.popitem(last=False)
        return 0.0


def _network_of_ipv6(client_ip: str) -> str | bytes:
    packed = socket.inet_pton(socket.AF_INET6, client_ip)
    if packed[:12] == _MAPPED:
        return f"{packed[12]}.{packed[13]}.{packed[14]}"
    return packed[:6]
