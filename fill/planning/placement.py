"""Which titles an appliance gets. Pure: the same catalog and fleet give the same plan.

An exchange (IXP) is what the ISPs' appliances fall back to: each of its appliances takes the whole
catalog, newest first, as far as it has room. At an ISP the newest share goes onto every appliance, as
most is watched of it, and any of them may fail; the rest is spread, so that the site together holds as
much as it can. A title goes whole or not at all, and never into a country in which it is not licensed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import xxhash

from contracts.catalog import is_licensed
from contracts.fleet import Appliance, Site, Tier
from contracts.objectkey import DIGEST_BYTES, slice_count

_FILE_OVERHEAD_BYTES = 8 << 10
"""A description stands behind each object on the disk, and file systems round up to 4 KiB."""


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a title."""

    key: str
    size: int
    manifest: bool = False

    @property
    def room_bytes(self) -> int:
        """What it takes on a disk, rounded up."""
        return self.size + slice_count(self.size) * DIGEST_BYTES * 2 + _FILE_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class TitleItems:
    title: str
    published_at: int
    items: tuple[Item, ...]
    countries: tuple[str, ...] | None = None

    @property
    def room_bytes(self) -> int:
        return sum(item.room_bytes for item in self.items)


@dataclass(slots=True)
class Placement:
    """What one appliance shall hold, most wanted first, and the reason of each."""

    appliance: str
    site: str
    tier: Tier
    capacity_bytes: int
    room_bytes: int = 0
    chosen: list[tuple[TitleItems, str]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """Titles meant for this appliance that found no room; at an ISP another may have taken them."""
    not_licensed: tuple[str, ...] = ()
    """Titles that may not lie where the appliance stands."""

    def take(self, title: TitleItems, reason: str) -> bool:
        """Puts ``title`` onto the appliance; False when it has no room for all of it."""
        if self.room_bytes + title.room_bytes > self.capacity_bytes:
            return False
        self.room_bytes += title.room_bytes
        self.chosen.append((title, reason))
        return True


def plan_site(site: Site, titles: Sequence[TitleItems], top_share: float) -> list[Placement]:
    """The placement of every appliance of ``site``, in the order of the fleet file."""
    newest_first = sorted(titles, key=lambda title: (-title.published_at, title.title))
    licensed = [title for title in newest_first if is_licensed(title.countries, site.country)]
    refused = tuple(title.title for title in newest_first if not is_licensed(title.countries, site.country))
    placements = [
        Placement(box.id, site.id, site.tier, box.capacity_bytes, not_licensed=refused)
        for box in site.appliances
    ]
    top = len(licensed)
    if site.tier is Tier.ISP:
        top = min(len(licensed), max(1, math.ceil(len(licensed) * top_share)))
    for rank, title in enumerate(licensed[:top], start=1):
        for placement in placements:
            reason = (
                f"among the newest (place {rank} of {len(licensed)}): on every appliance of {site.id}"
                if site.tier is Tier.ISP
                else f"an exchange holds the whole catalog (place {rank} of {len(licensed)} by age)"
            )
            if not placement.take(title, reason + _licence(title, site)):
                placement.left_out.append(title.title)
    by_id = {placement.appliance: placement for placement in placements}
    for title in licensed[top:]:
        _place_once(title, site, by_id)
    return placements


def _place_once(title: TitleItems, site: Site, placements: dict[str, Placement]) -> None:
    """Onto the first appliance with room, in this title's own order of them."""
    order = rendezvous(title.title, site.appliances)
    for rank, box in enumerate(order):
        reason = (
            f"one copy in {site.id}: its share by capacity"
            if rank == 0
            else f"one copy in {site.id}: {order[0].id}, which it would be on, has no room"
        )
        if placements[box.id].take(title, reason + _licence(title, site)):
            return
    placements[order[0].id].left_out.append(title.title)


def _licence(title: TitleItems, site: Site) -> str:
    return "" if title.countries is None else f"; licensed in {site.country}"


def rendezvous(title: str, appliances: Sequence[Appliance]) -> list[Appliance]:
    """The appliances in the order in which ``title`` prefers them, weighted by capacity.

    One that is added or removed moves no title between the others. Source: weighted rendezvous
    hashing, Schindler et al.; score = -capacity / ln(u), u uniform in (0, 1).
    """

    def score(box: Appliance) -> float:
        hashed = xxhash.xxh3_64_intdigest(f"{box.id}\n{title}".encode())
        return -box.capacity_bytes / math.log((hashed + 1) / (2**64 + 2))

    return sorted(appliances, key=lambda box: (-score(box), box.id))
