"""`fill popularity`: counts what is new in the log, forecasts, and writes the demand table."""

from __future__ import annotations

import datetime
import fcntl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from contracts.catalog import LATEST_KEY, CatalogIndex, TitleRef, is_licensed
from contracts.fleet import Fleet
from contracts.objectkey import title_of
from fill.catalog import CatalogReader, Trust
from fill.config import Popularity
from fill.popularity.counting import Counting, Room, days_before
from fill.popularity.days import Days, Increment
from fill.popularity.delivered import DeliveryLog
from fill.popularity.demand import DemandIndex, Release, region_of
from fill.popularity.documents import write_demand
from fill.popularity.duckdbengine import DuckDB
from fill.popularity.engine import Engine
from fill.popularity.forecast import History
from fill.popularity.histories import Histories, Unit, units_of
from fill.popularity.making import Rules, Table, Upcoming, renumbered, shares
from fill.popularity.releases import Known, Scheduled
from fill.s3documents import read_entry

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_LOCAL_BYTES: Final = 512_000_000
"""For reading results beside Spark."""


class NothingToCount(Exception):
    """There is no catalog, or no log of any whole day."""


class AlreadyCounting(Exception):
    """Another `fill popularity` has the work folder."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a run did."""

    index: DemandIndex
    added: tuple[Increment, ...]
    days: tuple[str, ...]


class Work:
    """One run's tools: engines, folders, and the counted days in ``bucket``. A context manager.

    Raises `AlreadyCounting`, `EngineFailed`, OSError.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        config: Popularity,
        new_version: Callable[[], str],
        trust: Trust | None = None,
    ) -> None:
        self.client = client
        self.trust = trust or Trust()
        self.bucket = bucket
        self.config = config
        self.new_version = new_version
        self.folder = Path(config.work_dir)
        self.folder.mkdir(parents=True, exist_ok=True)
        # Two would remove each other's spool, and count a day twice. The kernel frees it.
        self._lock = (self.folder / "lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise AlreadyCounting(f"{self.folder}: another `fill popularity` works here") from None
        self.days = Days(client, bucket, self.folder / "days")
        alone = config.engine == "duckdb"
        self.local = DuckDB(
            config.memory_bytes if alone else _LOCAL_BYTES, config.threads, self.folder / "temporary"
        )
        self.engine: Engine = self.local
        if not alone:
            # Imported here: only who configures it has it installed.
            from fill.popularity.sparkengine import Spark

            self.engine = Spark(config.spark_master, config.spark_settings)

    def __enter__(self) -> Work:
        return self

    def __exit__(self, *_: object) -> None:
        if self.engine is not self.local:
            self.engine.close()
        self.local.close()
        self._lock.close()

    @property
    def rules(self) -> Rules:
        config = self.config
        return Rules(
            config.half_life_days,
            config.horizon_days,
            config.large_site_bytes_per_day,
            config.prior_hours,
            config.first_days,
        )

    def count(self, fleet: Fleet, catalog: CatalogIndex, today: datetime.date) -> list[Increment]:
        """Counts what is new. Raises `S3Error`, `EngineFailed`."""
        room = Room(self.folder / "spool", self.config.spool_bytes, self.config.downloads)
        log = DeliveryLog(self.client, self.bucket)
        counting = Counting(log, self.days, self.engine, self.local, room, self.new_version)
        days = days_before(today, self.config.history_days)
        return counting.catch_up(days, self.config.late_days, fleet, (ref.title for ref in catalog.titles))

    def histories(self, today: datetime.date) -> Histories:
        """Of the counted days before ``today``, from the first that there is. Raises `NothingToCount`."""
        days = days_before(today, self.config.history_days)
        increments = self.days.increments(days)
        if not increments:
            raise NothingToCount(
                f"no delivery log of the {len(days)} days from {days[0]} to {days[-1]}: "
                "do the appliances' configurations have `delivery`?"
            )
        self.days.forget(increments)
        first = min(increment.day for increment in increments)
        files = [self.days.file(increment) for increment in increments]
        return Histories(
            self.engine, self.local, files, [day for day in days if day >= first], self.folder / "series"
        )


def newest_catalog(work: Work) -> CatalogIndex:
    """Raises `NothingToCount`, `S3Error`, `BadDocument`, OSError."""
    found = CatalogReader(work.client, work.bucket, work.trust).newest()
    if found is None:
        raise NothingToCount(f"s3://{work.bucket}/{LATEST_KEY}: nothing is published yet; run `fill publish`")
    return found


def make_table(work: Work, fleet: Fleet, today: datetime.date) -> Made:
    """Counts, forecasts, and writes a demand table for ``today``, whose day has begun (UTC).

    Raises `NothingToCount`, `S3Error`, `BadDocument`, `EngineFailed`.
    """
    catalog = newest_catalog(work)
    added = work.count(fleet, catalog, today)
    histories = work.histories(today)
    upcoming = _upcoming(work, catalog.titles, histories.days)
    known = known_titles(catalog.titles, histories.days)
    keys, table, share, level = prepared(work.rules, fleet, histories, known, upcoming)
    index = DemandIndex(
        version=work.new_version(),
        catalog=catalog.version,
        day=today.isoformat(),
        days=work.config.horizon_days,
        objects=0,
        objects_digest="0" * 32,
        places=(),
        releases=tuple(_release(item, table, fleet, today) for item in upcoming),
    )
    written = write_demand(work.client, work.bucket, index, keys, table.places(share, level))
    histories.close()
    return Made(written, tuple(added), histories.days)


def known_titles(titles: Iterable[TitleRef], days: Sequence[str]) -> list[Known]:
    """When each came out, as a column of ``days``."""
    first = datetime.date.fromisoformat(days[0])
    return [Known(ref.title, (_release_day(ref) - first).days, frozenset(ref.tags)) for ref in titles]


def _release_day(ref: TitleRef) -> datetime.date:
    at = ref.published_at if ref.released_at is None else ref.released_at
    return datetime.datetime.fromtimestamp(at, datetime.UTC).date()


def _upcoming(work: Work, titles: Sequence[TitleRef], days: Sequence[str]) -> list[Upcoming]:
    """Titles that come out between the first day that is forecast and the end of `reserve_days`."""
    found = []
    for ref, title in zip(titles, known_titles(titles, days), strict=True):
        ahead = title.released - len(days)
        if 0 <= ahead < work.config.reserve_days:
            entry = read_entry(work.client, work.bucket, ref)
            scheduled = Scheduled(
                entry.title, tuple(item.key for item in entry.objects), entry.comparable, title.tags
            )
            found.append(Upcoming(scheduled, ahead, entry.countries))
    return found


def prepared(
    rules: Rules, fleet: Fleet, histories: Histories, known: Sequence[Known], upcoming: Sequence[Upcoming]
) -> tuple[list[str], Table, dict[str, float], dict[str, float]]:
    """(the table's keys, the table, and of each site its share and its bytes a day)."""
    share, level = shares(histories.site_totals(), fleet, rules.half_life_days)
    large = [site for site in level if level[site] >= rules.large_site_bytes_per_day]
    keys, history = by_key(histories, fleet, large, known, upcoming)
    return keys, Table(rules, fleet, keys, history, known, upcoming), share, level


def by_key(
    histories: Histories,
    fleet: Fleet,
    own: Sequence[str],
    known: Sequence[Known],
    upcoming: Sequence[Upcoming] = (),
) -> tuple[list[str], Callable[[Unit], History]]:
    """(keys of all that is in the catalog, histories of the fleet, its regions and the sites ``own`` by them)."""
    titles = {title.title for title in known}
    watched = {key for key in histories.keys if title_of(key) in titles}
    keys = sorted(watched.union(*(item.scheduled.keys for item in upcoming)))
    at = {key: number for number, key in enumerate(keys)}
    number = np.array([at.get(key, -1) for key in histories.keys], np.int64)
    histories.prepare(units_of(fleet, own), {title.title: title.released for title in known})

    def history(unit: Unit) -> History:
        return renumbered(histories.of(unit), number)

    return keys, history


def _release(item: Upcoming, table: Table, fleet: Fleet, today: datetime.date) -> Release:
    title = item.scheduled.title
    found = table.fleet_outlook.priors.get(title)
    regions = None
    if item.countries is not None:
        licensed = {region_of(site) for site in fleet.sites if is_licensed(item.countries, site.country)}
        regions = tuple(sorted(licensed - {""}))
    return Release(
        title,
        (today + datetime.timedelta(days=item.ahead)).isoformat(),
        regions,
        sum(found.bytes_per_day.values()) if found else 0.0,
        (found.reason if found else "licensed where no site stands")[:300],
    )
