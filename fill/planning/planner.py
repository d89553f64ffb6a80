"""`fill plan`: reads the newest catalog and the fleet, and writes one plan per appliance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import xxhash

from contracts import plan as plans
from contracts.catalog import LATEST_KEY, Kind, Latest, TitleEntry
from contracts.documents import encode
from contracts.fleet import Fleet, Site, Tier
from contracts.plan import Peer, Plan, PlannedObject
from fill.planning.placement import Item, Placement, TitleItems, plan_site
from fill.planning.signing import PlanSigner
from fill.s3documents import put_document, read_entry, read_index, read_latest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


_MOST_PARENTS: Final = 8


class NothingPublished(Exception):
    """There is no catalog to plan from."""


@dataclass(frozen=True, slots=True)
class Planned:
    version: str
    catalog: str
    placements: list[Placement]


def plan_fleet(
    client: S3Client,
    bucket: str,
    fleet: Fleet,
    top_share: float,
    version: str,
    signer: PlanSigner | None,
) -> Planned:
    """Writes the plans of ``version``, signed, and makes it the newest.

    Raises `NothingPublished`, `S3Error`, `BadDocument`.
    """
    latest = read_latest(client, bucket, LATEST_KEY)
    if latest is None:
        raise NothingPublished(f"s3://{bucket}/{LATEST_KEY}: nothing is published yet; run `fill publish`")
    index = read_index(client, bucket, latest.version)
    titles = [_items(read_entry(client, bucket, ref)) for ref in index.titles]
    placements = [found for site in fleet.sites for found in plan_site(site, titles, top_share)]
    sites = {site.id: site for site in fleet.sites}
    parents = _parents(fleet)
    holders = _holders(placements)
    for placement in placements:
        site = sites[placement.site]
        body = encode(_plan(placement, version, latest.version, site, parents, holders[site.id]))
        key = plans.plan_key(version, placement.appliance)
        put_document(client, bucket, key, body)
        if signer is not None:
            put_document(client, bucket, plans.signature_key(key), signer.sign(body), "application/jose")
    put_document(client, bucket, plans.LATEST_KEY, encode(Latest(version)))
    return Planned(version, latest.version, placements)


def _items(entry: TitleEntry) -> TitleItems:
    items = [Item(item.key, item.size, item.kind is Kind.MANIFEST) for item in entry.objects]
    return TitleItems(entry.title, entry.published_at, tuple(items), entry.countries)


def _peers(site: Site) -> tuple[Peer, ...]:
    return tuple(Peer(box.id, box.url) for box in site.appliances)


def _parents(fleet: Fleet) -> tuple[Peer, ...]:
    """What an ISP's appliances fall back to: the exchanges', as far as a plan can name them."""
    found = [box for site in fleet.sites if site.tier is Tier.IXP for box in site.appliances]
    return tuple(Peer(box.id, box.url) for box in found[:_MOST_PARENTS])


def _holders(placements: Sequence[Placement]) -> dict[str, dict[str, tuple[int, ...]]]:
    """By site and title: positions of the appliances that shall hold it."""
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    count: dict[str, int] = {}
    for placement in placements:
        position = count.get(placement.site, 0)
        count[placement.site] = position + 1
        titles = found.setdefault(placement.site, {})
        for title, _ in placement.chosen:
            titles[title.title] = (*titles.get(title.title, ()), position)
    return found


def _master_first(key: str, site: Site, positions: tuple[int, ...]) -> tuple[int, ...]:
    """By rendezvous of the object: each appliance is master of its share, and losing one moves only that."""

    def score(position: int) -> tuple[int, int]:
        hashed = xxhash.xxh3_64_intdigest(f"{site.appliances[position].id}\n{key}".encode())
        return -hashed, position

    return tuple(sorted(positions, key=score))


def _plan(
    placement: Placement,
    version: str,
    catalog: str,
    site: Site,
    parents: tuple[Peer, ...],
    holders: Mapping[str, tuple[int, ...]],
) -> Plan:
    objects = tuple(
        PlannedObject(
            item.key, item.size, reason, holders=_master_first(item.key, site, holders[title.title])
        )
        for title, reason in placement.chosen
        # Manifests first: they are small, and nothing of a title plays without them.
        for item in sorted(title.items, key=lambda item: not item.manifest)
    )
    return Plan(
        version,
        placement.appliance,
        placement.site,
        catalog,
        objects,
        peers=_peers(site),
        parents=parents if site.tier is Tier.ISP else (),
        timezone=site.timezone,
    )
