"""The question of a playback service, and steering's answer."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from contracts.catalog import Country, Title
from contracts.plan import Name

MAX_REQUEST_BYTES: Final = 4 << 10

_LATELY: Final = 4096
"""Addresses whose form is remembered: a start needs the same one twice, and viewers ask again."""


@lru_cache(_LATELY)
def address_of(client_ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Raises ValueError on what is no address, and on one with a zone (fe80::1%eth0).

    A zone is a word of the viewer's own machine, and free text.
    """
    if "%" in client_ip:
        raise ValueError(f"{client_ip!r} has a zone")
    return ipaddress.ip_address(client_ip)


Session = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{8,64}\Z")]


class SteerRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    client_ip: Annotated[
        str,
        Meta(
            max_length=45,
            description="the viewer's address, IPv4 or IPv6",
            extra_json_schema={"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
        ),
    ]
    title: Title
    session: Session | None = None
    country: Country | None = None
    count: Annotated[int, Meta(ge=1, le=10)] = 3
    exclude: Annotated[
        tuple[Name, ...], Meta(max_length=16, description="appliances that just failed this player")
    ] = ()
    max_height: (
        Annotated[int, Meta(ge=1, le=16384, description="of the device's screen, in lines")] | None
    ) = None
    max_bitrate_bps: (
        Annotated[int, Meta(ge=1, le=10**9, description="the most that the device will play")] | None
    ) = None

    def __post_init__(self) -> None:
        try:
            address_of(self.client_ip)
        except ValueError:
            raise ValueError(f"client_ip: {self.client_ip!r} is not an IPv4 or IPv6 address") from None


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """One appliance that can serve the playback; the first of the list is the best."""

    appliance: str
    site: str
    tier: str
    base_url: Annotated[str, Meta(description="ends in '/', holds the token; append TITLE/PATH")]
    hls: str
    dash: str
    reason: str


class SteerResponse(msgspec.Struct, frozen=True, gc=False):
    session: Session
    ttl_s: int
    candidates: tuple[Candidate, ...]
    token: str
    expires_at: Annotated[int, Meta(description="seconds since 1970")]
    hls: Annotated[
        str, Meta(description="one URL for a player that steers by itself: all candidates, in order")
    ] = ""
    """Empty from a steering that does not know it yet."""
    dash: str = ""


class RevokeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Takes back every token of one session; appliances hear it with their next heartbeat."""

    session: Session


class Revoked(msgspec.Struct, frozen=True):
    session: Session
    until: Annotated[int, Meta(description="seconds since 1970; by then its tokens have expired")]
