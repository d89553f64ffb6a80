"""What players went through at an appliance: what its heartbeats tell, and its own status."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

MAX_NETWORKS: Final = 128
"""Whose players starved, in one heartbeat: 5 KB."""

Mean = Annotated[float, Meta(ge=0, le=1e9)]


class NetworkPlayers(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Of one client network: an IPv4 /24 or an IPv6 /48."""

    network: Annotated[str, Meta(pattern=r"^([0-9.]{7,15}/24|[0-9a-f:]{2,39}/48)\Z")]
    sessions: Mean
    starved: Mean


class Players(msgspec.Struct, frozen=True, gc=False):
    """What players went through here: means over the last intervals, of distinct sessions that steering signed.

    A session counts once in an interval and in one network, whatever it sends. It starved when it said so (CMCD), or when
    what it was sent took longer than it plays.
    """

    sessions: Mean
    starved: Mean
    networks: Annotated[
        tuple[NetworkPlayers, ...],
        Meta(max_length=MAX_NETWORKS, description="where most starved; the others did not"),
    ] = ()
