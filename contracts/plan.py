"""The plan: what one appliance shall hold, in which order, from where, and why.

In S3: ``plans/latest`` names a version; ``plans/{version}/{appliance}.json`` is one appliance's.
"""

from __future__ import annotations

import enum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from contracts import VERSION
from contracts.catalog import Key, Version
from contracts.documents import BadDocument, decode
from contracts.objectkey import MAX_OBJECT_BYTES

LATEST_KEY: Final = "plans/latest"
MAX_PLAN_BYTES: Final = 256 << 20

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,62}\Z", description="of an appliance or a site")]


class Source(enum.Enum):
    """Where the agent may fetch from, in the plan's order of preference."""

    ORIGIN = "origin"  # the S3 bucket
    PARENT = "parent"  # an appliance of the parent tier, over its data port


class PlannedObject(msgspec.Struct, frozen=True):
    key: Key
    size: Annotated[int, Meta(ge=0, le=MAX_OBJECT_BYTES)]
    reason: Annotated[str, Meta(max_length=200, description="why this appliance, in words")]
    sources: Annotated[tuple[Source, ...], Meta(min_length=1, max_length=8)] = (Source.ORIGIN,)


class Plan(msgspec.Struct, frozen=True):
    version: Version
    appliance: Name
    site: Name
    catalog: Version
    objects: Annotated[tuple[PlannedObject, ...], Meta(max_length=2_000_000, description="most wanted first")]
    contract: int = VERSION

    def __post_init__(self) -> None:
        if len({item.key for item in self.objects}) != len(self.objects):
            raise ValueError("an object is planned twice")

    @property
    def size(self) -> int:
        """Bytes of everything planned."""
        return sum(item.size for item in self.objects)


def plan_key(version: str, appliance: str) -> str:
    return f"plans/{version}/{appliance}.json"


def decode_plan(raw: bytes, name: str, appliance: str) -> Plan:
    """The plan of ``appliance``; somebody else's under its name is a `BadDocument`."""
    plan = decode(raw, Plan, name=name, limit_bytes=MAX_PLAN_BYTES)
    if plan.appliance != appliance:
        raise BadDocument(name, f"is the plan of {plan.appliance!r}, not of {appliance!r}")
    return plan
