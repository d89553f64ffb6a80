"""The plan: what one appliance shall hold, in which order, from where, and why.

In S3: ``plans/latest`` names a version (`contracts.inforce`); ``plans/{version}/{appliance}.json`` is one
appliance's, and ``plans/{version}/{appliance}.json.sig`` the planner's signature of its bytes: `contracts.signature`.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from contracts import VERSION
from contracts.catalog import Key, Version
from contracts.documents import BadDocument, Sha256, decode
from contracts.objectkey import MAX_OBJECT_BYTES

if TYPE_CHECKING:
    # What only knows plans' names and bounds, such as every configuration, loads no cryptography.
    from contracts.signature import SignatureKeys

LATEST_KEY: Final = "plans/latest"
MAX_PLAN_BYTES: Final = 256 << 20

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,62}\Z", description="of an appliance or a site")]
HttpUrl = Annotated[
    str,
    Meta(
        pattern=r"^https?://[A-Za-z0-9.\[\]:-]{1,255}\Z",
        description="scheme, host and port, no path, such as http://192.0.2.10:8080",
    ),
]
TimeZone = Annotated[str, Meta(max_length=64, description="IANA name, such as Europe/Berlin")]


class Source(enum.Enum):
    """Where the agent may fetch from, in the plan's order of preference."""

    ORIGIN = "origin"  # the S3 bucket
    PARENT = "parent"  # an appliance of the parent tier, over its data port


class Peer(msgspec.Struct, frozen=True):
    """Another appliance to fetch from, over its data port."""

    id: Name
    url: HttpUrl


class PlannedObject(msgspec.Struct, frozen=True):
    key: Key
    size: Annotated[int, Meta(ge=0, le=MAX_OBJECT_BYTES)]
    reason: Annotated[str, Meta(max_length=200, description="why this appliance, in words")]
    sources: Annotated[tuple[Source, ...], Meta(min_length=1, max_length=8)] = (Source.ORIGIN,)
    holders: Annotated[
        tuple[Annotated[int, Meta(ge=0, lt=1000)], ...],
        Meta(max_length=1000, description="positions in `peers`: who of the site shall hold it"),
    ] = ()
    """The master first: the one that fetches it from outside the site, for the others to copy."""
    urgent: bool = False
    """To be fetched at once, also outside the window: such as a release of today."""


class PlacementRef(msgspec.Struct, frozen=True):
    """The two documents that a plan without objects is made whole from: see `contracts.placement`."""

    objects: Sha256
    site: Sha256


class Plan(msgspec.Struct, frozen=True):
    version: Version
    appliance: Name
    site: Name
    catalog: Version
    objects: Annotated[tuple[PlannedObject, ...], Meta(max_length=2_000_000, description="most wanted first")]
    peers: Annotated[
        tuple[Peer, ...], Meta(max_length=1000, description="appliances of the site, this one too")
    ] = ()
    parents: Annotated[
        tuple[Peer, ...], Meta(max_length=64, description="of the parent tier, in the order to ask them")
    ] = ()
    timezone: TimeZone = "UTC"
    """Of the site: in it the fill's windows are told."""
    placement: PlacementRef | None = None
    """Where ``objects`` are written, when they are not here."""
    contract: int = VERSION

    def __post_init__(self) -> None:
        for item in self.objects:
            if item.holders and max(item.holders) >= len(self.peers):
                raise ValueError(
                    f"{item.key}: a holder at place {max(item.holders)} of {len(self.peers)} peers"
                )
        if len({item.key for item in self.objects}) != len(self.objects):
            raise ValueError("an object is planned twice")

    @property
    def size(self) -> int:
        """Bytes of everything planned."""
        return sum(item.size for item in self.objects)


def plan_key(version: str, appliance: str) -> str:
    return f"plans/{version}/{appliance}.json"


def verified_plan(
    raw: bytes, signature: bytes, keys: SignatureKeys, name: str, version: str, appliance: str
) -> Plan:
    """`decode_plan`, once the signature is seen to be the planner's: not a byte is parsed before.

    Raises `BadDocument`; also for a plan of another version, which was signed once and lies in its place.
    """
    keys.verify(raw, signature, name)
    plan = decode_plan(raw, name, appliance)
    if plan.version != version:
        raise BadDocument(name, f"is the plan of version {plan.version}, not of {version}")
    return plan


def decode_plan(raw: bytes, name: str, appliance: str) -> Plan:
    """The plan of ``appliance``; somebody else's under its name is a `BadDocument`."""
    plan = decode(raw, Plan, name=name, limit_bytes=MAX_PLAN_BYTES)
    if plan.appliance != appliance:
        raise BadDocument(name, f"is the plan of {plan.appliance!r}, not of {appliance!r}")
    return plan
