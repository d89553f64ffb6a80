"""Whose request a proxy of ours passes on."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias

IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def asker(peer: str, forwarded: Sequence[str], proxies: Sequence[IPNetwork]) -> str:
    """The address that a request came from: the last one that no trusted proxy has.

    ``forwarded`` are the fields X-Forwarded-For. Each proxy adds at the end whom it heard, so what stands before the first
    address that is not a proxy's is anybody's word.
    """
    heard = [item.strip() for field in forwarded for item in field.split(",")]
    address = peer
    while _is_one(address, proxies) and heard:
        address = heard.pop()
    return address


def _is_one(address: str, proxies: Sequence[IPNetwork]) -> bool:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return any((mapped or parsed) in network for network in proxies)
