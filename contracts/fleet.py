"""The fleet file: which sites and appliances exist. Read by steering and by the planner.

Written by the operator (YAML, ``configs/fleet.yaml``); the appliance itself never reads it.
"""

from __future__ import annotations

import enum
import ipaddress
from typing import Annotated

import msgspec
from msgspec import Meta

from contracts.catalog import Country
from contracts.plan import HttpUrl as HttpUrl
from contracts.plan import Name, TimeZone
from contracts.route import Peering


class Tier(enum.Enum):
    """How near to the viewer an appliance stands; steering prefers the first."""

    ISP = "isp"  # in the ISP's own network
    IXP = "ixp"  # at an internet exchange; the parent of ISP appliances
    REGIONAL = "regional"  # in a data centre of the region; the parent of exchanges


class PublicKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An Ed25519 public key as a JWK (RFC 8037), as ``oca init`` prints it."""

    kty: Annotated[str, Meta(pattern=r"^OKP\Z")]
    crv: Annotated[str, Meta(pattern=r"^Ed25519\Z")]
    x: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]


class Appliance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Name
    url: HttpUrl
    capacity_bytes: Annotated[int, Meta(ge=1, description="what the planner may place on it, in bytes")]
    throughput_bps: Annotated[
        int, Meta(ge=1, description="what it may be asked to serve, in bits per second")
    ]
    public_key: PublicKey | None = None
    """None for an appliance that enrols (`steering enrol`); an enrolled key stands above this one."""
    failure_domain: Annotated[
        str, Meta(max_length=64, description="what it shares with those that fail with it")
    ] = ""
    """Such as a rack; empty: its site."""


class Location(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In degrees, WGS 84."""

    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]


class Site(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Name
    tier: Tier
    prefixes: Annotated[
        tuple[str, ...],
        Meta(max_length=1_000_000, description="client networks this site serves, such as 198.51.100.0/24"),
    ]
    appliances: Annotated[tuple[Appliance, ...], Meta(min_length=1, max_length=1000)]
    country: Country | None = None
    """Where its appliances stand: titles that are licensed by country are held only where this is listed."""
    region: Annotated[str, Meta(max_length=64, description="whose taste its viewers share")] = ""
    """Popularity is counted by region; empty: its country's, or else the whole fleet's."""
    timezone: TimeZone = "UTC"
    location: Location | None = None
    peering: Peering | None = None
    """How the networks of ``prefixes`` are joined to it; the default is by tier: embedded, else public."""
    may_announce: (
        Annotated[
            tuple[str, ...],
            Meta(
                max_length=100_000,
                description="networks whose routes, and longer ones, are believed over BGP",
            ),
        ]
        | None
    ) = None
    """None: any. An appliance stands in somebody else's building, and could claim anybody's viewers."""

    def __post_init__(self) -> None:
        for prefix in (*self.prefixes, *(self.may_announce or ())):
            try:
                ipaddress.ip_network(prefix)
            except ValueError as error:
                raise ValueError(f"site {self.id}: prefix {prefix!r}: {error}") from None


class Fleet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sites: Annotated[tuple[Site, ...], Meta(max_length=100_000)]

    def __post_init__(self) -> None:
        for what, names in (
            ("site", [site.id for site in self.sites]),
            ("appliance", [box.id for site in self.sites for box in site.appliances]),
        ):
            twice = {name for name in names if names.count(name) > 1} if len(names) < 2000 else set()
            if twice or len(set(names)) != len(names):
                raise ValueError(
                    f"two {what}s have the same id{': ' + ', '.join(sorted(twice)) if twice else ''}"
                )
