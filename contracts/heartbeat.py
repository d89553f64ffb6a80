"""What an appliance tells steering every two seconds, and what it hears back."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from contracts import VERSION
from contracts.beatsession import BeatSession, Share
from contracts.catalog import Title, Version
from contracts.keyset import SetVersion, SignedKeySet
from contracts.plan import Name
from contracts.players import Players
from contracts.route import RouteChanges, Serial

MAX_HEARTBEAT_BYTES: Final = 2 << 20
"""The largest that the bounds below allow is 1.4 MB: 20,000 missing titles with names of 64 letters."""
MAX_REVOKED: Final = 10_000
"""Sessions at a time; each drops off the list when its token expires."""
MAX_REPLY_BYTES: Final = 1 << 20
PATH: Final = "/v1/heartbeat"
AUDIENCE: Final = "steering"
"""The ``aud`` of the identity token that a heartbeat carries (`contracts.token.verify_identity`), unless a session
vouches for it (`contracts.beatsession`)."""

Count = Annotated[int, Meta(ge=0, le=1 << 62)]


# gc=False: 17,000 appliances' last heartbeats are kept, each of dozens of these, and none is in a cycle.
class DiskReport(msgspec.Struct, frozen=True, gc=False):
    path: Annotated[str, Meta(max_length=255)]
    capacity_bytes: Count
    used_bytes: Count
    state: Annotated[str, Meta(max_length=32)]


class PlanProgress(msgspec.Struct, frozen=True, gc=False):
    """How far the plan has been carried out. With the plan itself this is what the appliance holds."""

    version: Version
    planned_bytes: Count
    held_bytes: Count
    missing_titles: Annotated[
        tuple[Title, ...],
        Meta(max_length=20_000, description="planned titles of which something is not yet on the disks"),
    ] = ()


class Heartbeat(msgspec.Struct, frozen=True, gc=False):
    appliance: Name
    boot: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z", description="drawn at each start")]
    sequence: Annotated[int, Meta(ge=1, le=1 << 62, description="rises with each heartbeat of one boot")]
    software: Annotated[str, Meta(max_length=64)]
    draining: bool
    connections: Count
    tx_bps: Count
    requests: Count
    disks: Annotated[tuple[DiskReport, ...], Meta(max_length=128)]
    plan: PlanProgress | None = None
    revocations: Annotated[str, Meta(max_length=64)] = ""
    """The version of this steering's list that the appliance has; empty for none."""
    routes: RouteChanges | None = None
    """Since the serial that this steering answered with; None where no BGP session is configured."""
    hello: Share | None = None
    """Asks for a session (`contracts.beatsession`); heeded in a signed heartbeat alone."""
    players: Players | None = None
    """None: nobody played of late, or tokens are not required."""
    keys: SetVersion | None = None
    """The version of the signed key set that it has, 0 for none yet; None: its keys are files."""
    contract: int = VERSION


class Revocations(msgspec.Struct, frozen=True):
    """Sessions whose tokens are worth nothing any more, though they have not expired."""

    version: Annotated[str, Meta(min_length=1, max_length=64)]
    sessions: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=MAX_REVOKED)]


class HeartbeatReply(msgspec.Struct, frozen=True):
    """``plan`` is the newest version, so that an agent need not ask S3 whether there is one."""

    state: Annotated[str, Meta(max_length=32, description="what steering takes this appliance for")]
    plan: Version | None = None
    revocations: Revocations | None = None
    """The whole list, when the appliance has another version of it."""
    routes: Serial = 0
    """Up to where it knows the appliance's routes; 0 for none."""
    session: BeatSession | None = None
    """The answer to a hello; None from a steering that knows no sessions: it wants every heartbeat signed."""
    keys: SignedKeySet | None = None
    """The key set, when the appliance has an older one."""
    contract: int = VERSION
