"""`fill plan`: reads catalog, fleet, expected demand and the plan in force, and publishes the next plan.

Every site's plan is checked before it is written, every document is written before the index, and `plans/latest`
last: a plan is in force whole or not at all.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from contracts import placement
from contracts import plan as plans
from contracts.catalog import LATEST_KEY, MEDIA_PREFIX, CatalogIndex, TitleRef
from contracts.documents import encode, sha256, signature_key
from contracts.fleet import Fleet, Site, Tier
from contracts.placement import PlanIndex
from contracts.plan import Peer, PlacementRef, Plan
from daemon.s3 import S3Config, explained, open_client
from fill.catalog import CatalogReader, Trust
from fill.planning.diff import SiteChange, differences
from fill.planning.documents import SiteDocuments, objects_of
from fill.planning.explain import Explanation, explain
from fill.planning.fleetplan import Task, plan_sites
from fill.planning.latest import plan_believed, plan_named, put_in_force
from fill.planning.previous import PublishedPlan, read_published
from fill.planning.report import SiteReport
from fill.planning.rules import Rules
from fill.planning.table import ObjectTable
from fill.planning.validate import check_sources
from fill.planning.wanted import newest_first
from fill.popularity import demand as demands
from fill.popularity.documents import read_demand_version
from fill.s3documents import put_document, read_entry, read_latest
from fill.signing import Signer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

_MOST_PARENTS: Final = 8
_THREADS: Final = 16
"""Requests to S3 at a time: its answers are waited for, not computed."""


class NothingPublished(Exception):
    """There is no catalog to plan from."""


class NoSuchThing(Exception):
    """A title, site or plan that is asked about, and does not exist."""


@dataclass(frozen=True, slots=True)
class Planned:
    version: str
    catalog: str
    demand: str | None
    before: str | None
    """The plan that was in force."""
    sites: list[SiteReport] = field(default_factory=list)


class PerProcess:
    """A client of S3 for each process: one that is forked must not read from its parent's connections."""

    def __init__(self, config: S3Config) -> None:
        self._config = config
        self._clients: dict[int, S3Client] = {}

    def __call__(self) -> S3Client:
        pid = os.getpid()
        if pid not in self._clients:
            self._clients[pid] = open_client(self._config)
        return self._clients[pid]


def plan_fleet(
    config: S3Config,
    fleet: Fleet,
    rules: Rules,
    signer: Signer | None,
    trust: Trust,
    version: str,
    now: float,
) -> Planned:
    """Publishes the plans of ``version`` and makes it the newest; of a catalog by ``trust``.

    Raises `NothingPublished`, `BadPlan`, `S3Error`, `BadDocument`, OSError; then the plan in force stays.
    """
    clients = PerProcess(config)
    client, bucket = clients(), config.bucket
    catalog, table = read_table(client, bucket, trust)
    check_sources(table, list_media(client, bucket))
    demand = DemandSource.newest(clients, bucket, table)
    before = plan_in_force(clients, bucket, signer)
    task = Task(
        table,
        rules,
        now,
        version,
        demand.of_site,
        before.before(table) if before is not None else lambda site: None,
    )
    planned = Planned(version, catalog, demand.version, before.version if before is not None else None)
    with ThreadPoolExecutor(_THREADS) as pool:
        publication = _Publication(client, bucket, signer, pool, fleet)
        objects = placement.encode_objects(objects_of(table, version, catalog))
        digest = sha256(objects)
        publication.put(placement.objects_key(version), objects, "application/gzip")
        indexed = []
        for documents, report in plan_sites(task, fleet.sites, os.cpu_count() or 1):
            publication.put_site(documents, version, catalog, digest)
            indexed.append(documents.index)
            planned.sites.append(report)
        index = PlanIndex(version, catalog, table.titles, digest, tuple(indexed), demand.version)
        publication.put_signed(placement.index_key(version), encode(index))
        publication.finish()
    put_in_force(client, bucket, version, signer, now)
    return planned


def read_table(client: S3Client, bucket: str, trust: Trust) -> tuple[str, ObjectTable]:
    """The newest catalog's version, and what is in it. Raises `NothingPublished`, `S3Error`, `BadDocument`, OSError."""
    index = CatalogReader(client, bucket, trust).newest()
    if index is None:
        raise NothingPublished(f"s3://{bucket}/{LATEST_KEY}: nothing is published yet; run `fill publish`")
    return index.version, _table_of(client, bucket, index)


def _few_at_a_time(
    pool: ThreadPoolExecutor, refs: Sequence[TitleRef], read: Callable[[TitleRef], T]
) -> Iterator[T]:
    """What ``read`` makes of each, in order, with few of them in memory."""
    waiting: deque[Future[T]] = deque()
    for ref in refs:
        waiting.append(pool.submit(read, ref))
        if len(waiting) >= 2 * _THREADS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def list_media(client: S3Client, bucket: str) -> dict[str, int]:
    """The size of everything below ``media/``, by object key. Raises `S3Error`."""
    found: dict[str, int] = {}
    try:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=MEDIA_PREFIX):
            for item in page.get("Contents", ()):
                found[item["Key"].removeprefix(MEDIA_PREFIX)] = item["Size"]
    except Exception as error:
        raise explained(error, bucket, MEDIA_PREFIX) from error
    return found


def plan_in_force(clients: PerProcess, bucket: str, signer: Signer | None) -> PublishedPlan | None:
    """None when there is none that this planner would believe. Raises `S3Error`, `BadDocument`."""
    latest = plan_believed(clients(), bucket, signer)
    if latest is None:
        return None
    return read_published(clients, bucket, latest.version, signer.public() if signer is not None else None)


class DemandSource:
    """The expected demand of each site, in rows of the table; without a forecast the newest is wanted most."""

    def __init__(self, clients: PerProcess, bucket: str, table: ObjectTable, version: str | None) -> None:
        self.version = version
        self._clients = clients
        self._bucket = bucket
        self._table = table
        self._opened: dict[int, tuple[demands.Demand, NDArray[np.int32]]] = {}
        self._newest_first = newest_first(table) if version is None else None

    @classmethod
    def newest(cls, clients: PerProcess, bucket: str, table: ObjectTable) -> DemandSource:
        """Raises `S3Error`, `BadDocument`."""
        latest = read_latest(clients(), bucket, demands.LATEST_KEY)
        return cls(clients, bucket, table, latest.version if latest is not None else None)

    def of_site(self, site: Site) -> NDArray[np.float64]:
        """Bytes a day of each object. Raises `S3Error`, `BadDocument`."""
        if self._newest_first is not None:
            return self._newest_first
        pid = os.getpid()
        if pid not in self._opened:
            assert self.version is not None
            table = read_demand_version(self._clients(), self._bucket, self.version)
            self._opened[pid] = table, self._table.rows_of(table.keys)
        table, rows = self._opened[pid]
        forecast = table.site(site)
        found = np.zeros(len(self._table))
        at = rows[forecast.objects]
        found[at[at >= 0]] = forecast.bytes_per_day[at >= 0]
        return found


class _Publication:
    """Writes the documents of one version, several at a time."""

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        signer: Signer | None,
        pool: ThreadPoolExecutor,
        fleet: Fleet,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._signer = signer
        self._pool = pool
        self._sites = {site.id: site for site in fleet.sites}
        self._parents = _parents(fleet)
        self._under_way: deque[Future[None]] = deque()

    def put(self, key: str, body: bytes, media_type: str = "application/json") -> None:
        self._under_way.append(
            self._pool.submit(put_document, self._client, self._bucket, key, body, media_type)
        )
        while len(self._under_way) > 8 * _THREADS:
            self._under_way.popleft().result()

    def put_signed(self, key: str, body: bytes) -> None:
        """``body``, and beside it its signature, if plans are signed."""
        self.put(key, body)
        if self._signer is not None:
            self.put(signature_key(key), self._signer.sign(body), "application/jose")

    def put_site(self, documents: SiteDocuments, version: str, catalog: str, objects: str) -> None:
        site = self._sites[documents.index.site]
        self.put(placement.site_key(version, site.id), documents.placement)
        self.put(placement.titles_key(version, site.id), documents.titles, "application/octet-stream")
        ref = PlacementRef(objects, documents.index.placement)
        for body in appliance_plans(site, version, catalog, ref, self._parents):
            self.put_signed(plans.plan_key(version, body.appliance), encode(body))

    def finish(self) -> None:
        """Returns once everything is written; raises the first `S3Error`."""
        while self._under_way:
            self._under_way.popleft().result()


def appliance_plans(
    site: Site, version: str, catalog: str, ref: PlacementRef, parents: tuple[Peer, ...]
) -> Iterator[Plan]:
    """The plan of each of a site's appliances, without the objects."""
    peers = tuple(Peer(box.id, box.url) for box in site.appliances)
    for box in site.appliances:
        yield Plan(
            version,
            box.id,
            site.id,
            catalog,
            (),
            peers=peers,
            parents=parents if site.tier is Tier.ISP else (),
            timezone=site.timezone,
            placement=ref,
        )


def _parents(fleet: Fleet) -> tuple[Peer, ...]:
    """What an ISP's appliances fall back to: the exchanges', as far as a plan can name them."""
    found = [box for site in fleet.sites if site.tier is Tier.IXP for box in site.appliances]
    return tuple(Peer(box.id, box.url) for box in found[:_MOST_PARENTS])


def explain_title(
    config: S3Config, fleet: Fleet, signer: Signer | None, trust: Trust, title: str, site: str
) -> Explanation:
    """Why ``title`` is where it is at ``site``, by the plan in force and the demand it was made from.

    Raises `NoSuchThing`, `NothingPublished`, `S3Error`, `BadDocument`.
    """
    clients = PerProcess(config)
    where = next((known for known in fleet.sites if known.id == site), None)
    if where is None:
        raise NoSuchThing(f"site {site!r} is not in the fleet file")
    plan = plan_in_force(clients, config.bucket, signer)
    if plan is None:
        raise NothingPublished(
            f"s3://{config.bucket}/{plans.LATEST_KEY}: no plan of this planner is in force"
        )
    client = clients()
    index = CatalogReader(client, config.bucket, trust).version(plan.index.catalog)
    held_of = _table_of(client, config.bucket, index)
    held = plan.held_at(where, held_of)
    if held is None:
        raise NoSuchThing(f"site {site!r} is not in plan {plan.version}: run `fill plan`")
    demand = DemandSource(clients, config.bucket, held_of, plan.index.demand).of_site(where)
    try:
        return explain(held_of, where, title, held, demand, plan.version, plan.index.demand)
    except KeyError:
        raise NoSuchThing(f"title {title!r} is not in catalog {plan.index.catalog}") from None


def _table_of(client: S3Client, bucket: str, index: CatalogIndex) -> ObjectTable:
    with ThreadPoolExecutor(_THREADS) as pool:
        # An entry holds a digest per slice, of which nothing is kept here: a few at a time.
        return ObjectTable.of(_few_at_a_time(pool, index.titles, lambda ref: read_entry(client, bucket, ref)))


def diff_plans(config: S3Config, rules: Rules, signer: Signer | None, old: str, new: str) -> list[SiteChange]:
    """What ``new`` changes of ``old``, by site. Raises `NoSuchThing`, `S3Error`, `BadDocument`."""
    clients = PerProcess(config)
    keys = signer.public() if signer is not None else None
    found = []
    for version in (old, new):
        plan = read_published(clients, config.bucket, version, keys)
        if plan is None:
            raise NoSuchThing(f"s3://{config.bucket}/{placement.index_key(version)}: there is no such plan")
        found.append(plan)
    return list(differences(found[0], found[1], rules))


def roll_back(
    config: S3Config, signer: Signer | None, version: str | None, now: float
) -> tuple[str | None, str]:
    """Puts an earlier plan in force again, the one before when none is named; from which (None: what is in force
    is not believed) and to which.

    Raises `NothingPublished` when there is none, `S3Error`, `BadDocument` when it is not whole or not ours.
    """
    clients = PerProcess(config)
    bucket = config.bucket
    if version is None:
        latest = plan_named(clients(), bucket, signer)
        if latest is None:
            raise NothingPublished(f"s3://{bucket}/{plans.LATEST_KEY}: nothing is planned yet")
        earlier = [known for known in list_versions(clients(), bucket) if known < latest.version]
        if not earlier:
            raise NothingPublished(f"s3://{bucket}/plans/: no plan is older than {latest.version}")
        version = earlier[-1]
    else:
        latest = plan_believed(clients(), bucket, signer)
    keys = signer.public() if signer is not None else None
    if read_published(clients, bucket, version, keys) is None:
        raise NothingPublished(f"s3://{bucket}/{placement.index_key(version)}: there is no such plan")
    put_in_force(clients(), bucket, version, signer, now)
    return latest.version if latest is not None else None, version


def list_versions(client: S3Client, bucket: str) -> list[str]:
    """Every plan in the bucket, oldest first. Raises `S3Error`."""
    found: list[str] = []
    try:
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix="plans/", Delimiter="/"
        )
        for page in pages:
            found += [item["Prefix"].split("/")[1] for item in page.get("CommonPrefixes", ())]
    except Exception as error:
        raise explained(error, bucket, "plans/") from error
    return sorted(found)
