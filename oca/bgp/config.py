"""The section ``bgp`` of the appliance's configuration."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import msgspec
from msgspec import Meta

from contracts.route import Peering

AsNumber = Annotated[int, Meta(ge=1, lt=1 << 32)]


class Neighbour(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A router that tells us its customers' prefixes."""

    address: Annotated[str, Meta(max_length=45)]
    remote_as: AsNumber
    local_address: Annotated[str, Meta(max_length=45)]
    """Ours, as the router knows it."""
    port: Annotated[int, Meta(ge=1, le=65535)] = 179
    password_file: Annotated[str, Meta(pattern="^/")] | None = None
    """Of TCP MD5 (RFC 2385); its first line."""
    max_prefixes: Annotated[int, Meta(ge=1, le=2_000_000)] = 100_000
    """Of both families, refused ones too. Beyond, the session is stopped for max_prefix_pause_s."""
    peering: Peering = Peering.EMBEDDED
    """How its network and ours are joined."""

    def __post_init__(self) -> None:
        versions = set()
        for name in ("address", "local_address"):
            try:
                versions.add(ipaddress.ip_address(getattr(self, name)).version)
            except ValueError:
                raise ValueError(f"{name}: {getattr(self, name)!r} is not an IP address") from None
        if len(versions) > 1:
            raise ValueError("address and local_address: one is IPv4 and the other IPv6")


class Bgp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    local_as: AsNumber
    neighbours: Annotated[tuple[Neighbour, ...], Meta(min_length=1, max_length=16)]
    router_id: Annotated[str, Meta(max_length=15)] | None = None
    """An IPv4 address of ours; that of the first IPv4 session when left out."""
    hold_time_s: Annotated[int, Meta(ge=3, le=3600)] = 90
    grace_s: Annotated[float, Meta(ge=0, le=86400)] = 120
    """How long routes stay when the session, or `oca bgp`, is lost."""
    settle_s: Annotated[float, Meta(ge=0.1, le=3600)] = 30
    """Without a change for so long, a table whose end the router does not mark (End-of-RIB) counts as whole."""
    max_prefix_pause_s: Annotated[float, Meta(ge=1, le=86400)] = 1800
    max_length_v4: Annotated[int, Meta(ge=8, le=32)] = 24
    max_length_v6: Annotated[int, Meta(ge=16, le=128)] = 48
    """Longer prefixes are refused: they are somebody's inner routing."""
    accept_default: bool = False
    """Whether a default route is taken: then this site serves everybody whom no other site announces."""
    accept: Annotated[tuple[str, ...], Meta(max_length=1000)] = ()
    """Prefixes within these are accepted though they are bogons, such as the CGNAT range of your own customers."""

    def __post_init__(self) -> None:
        addresses = [neighbour.address for neighbour in self.neighbours]
        if len(set(map(ipaddress.ip_address, addresses))) < len(addresses):
            raise ValueError("neighbours: two of them have the same address")
        for text in self.accept:
            try:
                ipaddress.ip_network(text)
            except ValueError as error:
                raise ValueError(f"accept: {error}") from None
        try:
            ipaddress.IPv4Address(self.identifier)
        except ValueError:
            raise ValueError("router_id is missing, or not an IPv4 address such as 192.0.2.10") from None

    @property
    def identifier(self) -> str:
        """The BGP identifier, RFC 6286; empty when none can be told."""
        if self.router_id is not None:
            return self.router_id
        ours = [item.local_address for item in self.neighbours if ":" not in item.local_address]
        return ours[0] if ours else ""
