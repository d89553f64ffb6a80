"""Which clients a site serves, as its routers announce it over BGP, and how steering hears of changes.

The attributes are those of RFC 4271 section 5 that decide between two routes to one prefix (9.1.2).
"""

from __future__ import annotations

import enum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

MAX_CHANGES: Final = 10_000
"""Routes in one heartbeat; more take several."""

Prefix = Annotated[str, Meta(min_length=3, max_length=43, description="such as 198.51.100.0/24")]
Serial = Annotated[int, Meta(ge=0, le=1 << 62)]


class Peering(enum.Enum):
    """How the announcing network and the appliance's are joined; steering prefers the first."""

    EMBEDDED = "embedded"  # the appliance stands inside the network
    PRIVATE = "private"  # a link between the two alone
    PUBLIC = "public"  # across an exchange's shared fabric


class Origin(enum.Enum):
    """The ORIGIN attribute, RFC 4271 section 5.1.1; the first is preferred."""

    IGP = "igp"
    EGP = "egp"
    INCOMPLETE = "incomplete"


class Attributes(msgspec.Struct, frozen=True, array_like=True):
    """What the routes of one announcement share; thousands of prefixes often have one set."""

    local_preference: Annotated[int, Meta(ge=0, lt=1 << 32)] = 100
    as_path: Annotated[tuple[Annotated[int, Meta(ge=0, lt=1 << 32)], ...], Meta(max_length=128)] = ()
    """An AS_SET counts as one AS (RFC 4271 section 9.1.2.2) and stands here as one of its members."""
    origin: Origin = Origin.IGP
    med: Annotated[int, Meta(ge=0, lt=1 << 32)] = 0
    ebgp: bool = True
    peering: Peering = Peering.EMBEDDED


class Announcement(msgspec.Struct, frozen=True, array_like=True):
    attributes: Attributes
    prefixes: Annotated[tuple[Prefix, ...], Meta(min_length=1, max_length=MAX_CHANGES)]


class RouteChanges(msgspec.Struct, frozen=True):
    """What leads from one serial of an appliance's routes to a later one.

    ``since`` 0 means from nothing: whoever reads forgets what it had, once it has the last part. A reader
    that stands at another serial than ``since`` asks for everything by answering with its own.
    """

    since: Serial
    serial: Serial
    announced: Annotated[tuple[Announcement, ...], Meta(max_length=MAX_CHANGES)] = ()
    withdrawn: Annotated[tuple[Prefix, ...], Meta(max_length=MAX_CHANGES)] = ()
    more: bool = False
    """Whether parts follow. From nothing, what the reader had stays in force until the last one is there."""
