"""The rules of placement: every number that an operator may set, with the reason of its default."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    top_share: Annotated[
        Share,
        Meta(description="of a site's demand, most wanted per byte first: on every appliance of an ISP site"),
    ] = 0.2
    release_share: Annotated[
        Share, Meta(description="of a region's appliances: hold what was released lately, or is about to be")
    ] = 1.0
    favourite_share: Annotated[
        Share, Meta(description="of a region's appliances: hold its favourites, as far as there is room")
    ] = 0.8
    tail_share: Annotated[
        Share, Meta(description="of a region's appliances: hold the rest, as far as there is room")
    ] = 0.2
    favourite_demand: Annotated[
        Share, Meta(description="of a site's demand, most wanted per byte first: these are the favourites")
    ] = 0.5
    release_days: Annotated[
        float,
        Meta(
            ge=0, le=365, description="how long before and after its date a title counts as released lately"
        ),
    ] = 3.0
    replica_space: Annotated[
        Share,
        Meta(
            description="of a site's storage: the most that further copies may take from what would be the only one"
        ),
    ] = 0.1
    server_share: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="of what one appliance may serve: an object that is asked for more has more copies",
        ),
    ] = 0.02
    exchange_share: Annotated[
        Share, Meta(description="of the demand that an exchange or a regional site shall hold")
    ] = 0.95
    headroom: Annotated[
        Share,
        Meta(description="of each appliance's capacity: left free, so that one night's change finds room"),
    ] = 0.02
    hysteresis: Annotated[
        float,
        Meta(ge=0, le=10, description="by how much more wanted something new must be than what it replaces"),
    ] = 0.15
    window_s: Annotated[float, Meta(gt=0, le=86400, description="how long appliances fill each night")] = (
        14_400.0
    )
    rate_bps: Annotated[
        float,
        Meta(gt=0, le=1e12, description="at which each fills; with window_s, the most that a night changes"),
    ] = 1_200_000_000.0

    @property
    def night_bytes(self) -> int:
        """What one appliance can fetch in one night."""
        return int(self.window_s * self.rate_bps / 8)
