"""What is answered beside candidates: the fleet, an explanation, a player's steering manifest."""

from __future__ import annotations

from typing import Literal

import msgspec

from contracts.heartbeat import PlanProgress
from contracts.players import Players
from steering.pathways import Clone


class ApplianceReport(msgspec.Struct, frozen=True):
    id: str
    site: str
    tier: str
    url: str
    state: str
    heartbeat_age_s: float | None
    tx_bps: int
    throughput_bps: int
    connections: int
    plan: PlanProgress | None
    software: str | None
    routes: int = 0
    """How many prefixes it announces over BGP."""
    state_reason: str = ""
    """Why it is in this state, in words."""
    state_age_s: float | None = None
    """Of this state; None before the first heartbeat."""
    routes_worse: int = 0
    """Prefixes that another appliance of its site announces, and it does not, or with worse attributes."""
    routes_refused: int = 0
    """Prefixes that appliances of its site announce and may not (``may_announce`` of the fleet file)."""
    players: Players | None = None
    """How many sessions it had of late, how many of these starved, and of which networks; None: it did not say."""
    keys: int | None = None
    """The version of the signed key set that it has; None: its keys are files, or it is an older one."""


class FleetReport(msgspec.Struct, frozen=True):
    """``content_error``: why S3 could not be read at the last try; what was read before stays in force."""

    appliances: tuple[ApplianceReport, ...]
    catalog: str | None
    plan: str | None
    content_age_s: float | None
    content_error: str | None
    refused_documents: dict[str, str]
    isolated_s: float | None = None
    """For how long nobody was heard of a fleet that was: answers are given from what was known. None: not so."""
    keys: int | None = None
    """The version of the signed key set that appliances are given; None: there is no root key."""
    plan_age_s: int | None = None
    """Since the planner put the plan in force; None: there is none, or it did not sign that."""


class ConsideredReport(msgspec.Struct, frozen=True):
    appliance: str
    site: str
    tier: str
    state: str
    place: int | None
    answered: bool
    reason: str


class Explanation(msgspec.Struct, frozen=True):
    """``outcome``: ``answered``, or the name of the problem that /v1/steer would answer."""

    client_ip: str
    title: str
    known_title: bool
    outcome: str
    detail: str | None
    considered: tuple[ConsideredReport, ...]


class SteeringManifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of HLS and of DASH alike: draft-pantos-hls-rfc8216bis section 7.2, ETSI TS 103 998."""

    version: Literal[1] = msgspec.field(name="VERSION")
    ttl_s: int = msgspec.field(name="TTL")
    reload_uri: str = msgspec.field(name="RELOAD-URI")
    pathway_priority: tuple[str, ...] = msgspec.field(name="PATHWAY-PRIORITY")
    pathway_clones: tuple[Clone, ...] = msgspec.field(name="PATHWAY-CLONES", default=())
