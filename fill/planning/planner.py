"""`fill plan`: reads the newest catalog and the fleet, and writes one plan per appliance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts import plan as plans
from contracts.catalog import LATEST_KEY, Kind, Latest, TitleEntry
from contracts.documents import encode
from contracts.fleet import Fleet
from contracts.plan import Plan, PlannedObject
from fill.planning.placement import Item, Placement, TitleItems, plan_site
from fill.s3documents import put_document, read_entry, read_index, read_latest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class NothingPublished(Exception):
    """There is no catalog to plan from."""


@dataclass(frozen=True, slots=True)
class Planned:
    version: str
    catalog: str
    placements: list[Placement]


def plan_fleet(client: S3Client, bucket: str, fleet: Fleet, top_share: float, version: str) -> Planned:
    """Writes the plans of ``version`` and makes it the newest.

    Raises `NothingPublished`, `S3Error`, `BadDocument`.
    """
    latest = read_latest(client, bucket, LATEST_KEY)
    if latest is None:
        raise NothingPublished(f"s3://{bucket}/{LATEST_KEY}: nothing is published yet; run `fill publish`")
    index = read_index(client, bucket, latest.version)
    titles = [_items(read_entry(client, bucket, ref)) for ref in index.titles]
    placements = [found for site in fleet.sites for found in plan_site(site, titles, top_share)]
    for placement in placements:
        body = encode(_plan(placement, version, latest.version))
        put_document(client, bucket, plans.plan_key(version, placement.appliance), body)
    put_document(client, bucket, plans.LATEST_KEY, encode(Latest(version)))
    return Planned(version, latest.version, placements)


def _items(entry: TitleEntry) -> TitleItems:
    items = [Item(item.key, item.size, item.kind is Kind.MANIFEST) for item in entry.objects]
    return TitleItems(entry.title, entry.published_at, tuple(items), entry.countries)


def _plan(placement: Placement, version: str, catalog: str) -> Plan:
    objects = tuple(
        PlannedObject(item.key, item.size, reason)
        for title, reason in placement.chosen
        # Manifests first: they are small, and nothing of a title plays without them.
        for item in sorted(title.items, key=lambda item: not item.manifest)
    )
    return Plan(version, placement.appliance, placement.site, catalog, objects)
