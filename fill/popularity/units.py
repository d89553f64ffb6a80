"""Whose viewing a row of the delivery log is: the fleet as small tables. Pure.

A viewer whose own site lacks a title is served by an exchange, and is the site's viewer nonetheless: rows of
appliances above the ISPs' are counted for the site whose prefixes cover the client's network.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from contracts.fleet import Appliance, Fleet, Site, Tier

_ROW_BITS: Final = {4: 16, 6: 32}
"""The delivery log's networks: an IPv4 /16, an IPv6 /32."""
_MAX_BITS_APART: Final = 16
"""A prefix is written out as at most 65,536 networks of the log; a shorter one of IPv6 is nobody's alone."""
_TOLERANCE: Final = 4
_MAX_LIMIT_BYTES: Final = 4 * 10**12
"""A minute at 500 Gb/s. Sums of a million such rows still fit 64 bits."""


@dataclass(frozen=True, slots=True)
class Reporter:
    """An appliance as the counting of logs knows it."""

    id: str
    site: str
    upper: bool
    """Whether it stands above the ISPs' appliances, and so answers them too."""
    limit_bytes: int
    """More in one row is not believed: four times what it may serve in a minute."""


def reporters(fleet: Fleet) -> list[Reporter]:
    return [
        Reporter(box.id, site.id, site.tier is not Tier.ISP, _limit_bytes(box))
        for site in fleet.sites
        for box in site.appliances
    ]


def _limit_bytes(box: Appliance) -> int:
    return min(max(box.throughput_bps * 60 // 8, 1) * _TOLERANCE, _MAX_LIMIT_BYTES)


def client_networks(fleet: Fleet) -> dict[str, str]:
    """{network of a delivery row: site whose viewers they are}.

    The ISP's site whose prefixes cover most of the network; among equals the one with most throughput.
    Where no ISP's do, and an exchange's own appliance stands there, it is that exchange, pulling from above.
    """
    best: dict[tuple[int, int], tuple[int, int, str]] = {}
    for site in fleet.sites:
        if site.tier is Tier.ISP:
            throughput_bps = sum(box.throughput_bps for box in site.appliances)
            for network, covered in _covered(site).items():
                claim = (covered, throughput_bps, site.id)
                if claim > best.get(network, (0, 0, "")):
                    best[network] = claim
    found = {network: site for network, (_, _, site) in best.items()}
    for site in fleet.sites:
        if site.tier is not Tier.ISP:
            for box in site.appliances:
                stands = _stands_in(box)
                if stands is not None:
                    found.setdefault(stands, site.id)
    return {_name(*network): site for network, site in found.items()}


def _covered(site: Site) -> dict[tuple[int, int], int]:
    """{(version, number of a network of the log): addresses of it that the site's prefixes cover}."""
    covered: dict[tuple[int, int], int] = {}
    for text in site.prefixes:
        prefix = ipaddress.ip_network(text, strict=False)
        row_bits = _ROW_BITS[prefix.version]
        apart = row_bits - prefix.prefixlen
        if apart > _MAX_BITS_APART:
            continue
        first = int(prefix.network_address) >> (prefix.max_prefixlen - row_bits)
        addresses = 1 << (prefix.max_prefixlen - max(prefix.prefixlen, row_bits))
        for number in range(first, first + (1 << max(apart, 0))):
            at = (prefix.version, number)
            covered[at] = covered.get(at, 0) + addresses
    return covered


def _stands_in(box: Appliance) -> tuple[int, int] | None:
    """The network of the log in which its address lies; None where the fleet file has a name instead."""
    try:
        address = ipaddress.ip_address(urlsplit(box.url).hostname or "")
    except ValueError:
        return None
    return address.version, int(address) >> (address.max_prefixlen - _ROW_BITS[address.version])


def _name(version: int, number: int) -> str:
    row_bits = _ROW_BITS[version]
    if version == 4:
        return str(ipaddress.IPv4Network((number << (32 - row_bits), row_bits)))
    return str(ipaddress.IPv6Network((number << (128 - row_bits), row_bits)))
