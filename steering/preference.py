"""Which of two routes to a client is preferred. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from contracts.fleet import Tier
from contracts.route import Attributes, Origin, Peering

Order: TypeAlias = tuple[int, int, int, int, int, bool]

_PEERINGS: Final = {kind: place for place, kind in enumerate(Peering)}
_ORIGINS: Final = {kind: place for place, kind in enumerate(Origin)}
_REGIONAL: Final = len(Peering)
_PEERING_OF: Final = {Tier.ISP: Peering.EMBEDDED, Tier.IXP: Peering.PUBLIC, Tier.REGIONAL: Peering.PUBLIC}


@dataclass(frozen=True, eq=False, slots=True)
class Route:
    """One object for all prefixes that a site announces alike. ``order``: the smaller is preferred."""

    site: str
    attributes: Attributes
    order: Order


def order_of(tier: Tier, attributes: Attributes) -> Order:
    """At equal prefix length: embedded, private, public, regional; then RFC 4271 section 9.1.2.2.

    MED is compared between neighbours too. What the RFC says (only within one) is no order: the best of three
    then depends on which two are compared first (RFC 3345).
    """
    return (
        _REGIONAL if tier is Tier.REGIONAL else _PEERINGS[attributes.peering],
        -attributes.local_preference,
        len(attributes.as_path),
        _ORIGINS[attributes.origin],
        attributes.med,
        not attributes.ebgp,
    )


def written_attributes(tier: Tier, peering: Peering | None) -> Attributes:
    """Of the prefixes in the fleet file, which names no more than how the site is joined to them."""
    return Attributes(peering=peering or _PEERING_OF[tier])
