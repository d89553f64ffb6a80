"""The counted days as histories of units: what the forecast is made from."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.fleet import Fleet, Site
from contracts.objectkey import title_of
from fill.popularity.demand import PlaceKind, region_of
from fill.popularity.duckdbengine import DuckDB
from fill.popularity.engine import Engine, Parquet, Relation, small_table
from fill.popularity.forecast import ALWAYS, History
from fill.popularity.queries import CALENDAR_COLUMNS, OBJECTS, SERIES, SITES, UNIT_COLUMNS

Unit = tuple[PlaceKind, str]
FLEET: Unit = (PlaceKind.FLEET, "")


class Histories:
    """Histories over ``days`` (whole ones, without gaps), from Parquet files of counted days.

    ``engine`` does what goes over all of them, ``local`` reads what that leaves. Raises `EngineFailed`.
    """

    def __init__(
        self, engine: Engine, local: DuckDB, daily: Sequence[Path], days: Sequence[str], folder: Path
    ) -> None:
        self.days = tuple(days)
        self.keys: list[str] = []
        """Of everything that was watched, ascending; an object is its place in it."""
        self._engine = engine
        self._local = local
        self._daily: Relation = Parquet(daily)
        self._folder = folder
        self._units: dict[Unit, int] = {}
        self._objects = folder / "objects.parquet"
        self._series = folder / "series.parquet"
        self._released: NDArray[np.int64] = np.zeros(0, np.int64)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        # Files of a schema, but without rows, would do; no file at all does not.
        if daily:
            engine.write(OBJECTS, {"daily": self._daily}, self._objects)
            found = local.columns(
                "SELECT key FROM objects ORDER BY object", {"objects": Parquet([self._objects])}
            )
            self.keys = [str(key) for key in found["key"]]

    def site_totals(self) -> dict[str, NDArray[np.float64]]:
        """{site: bytes watched by its viewers, by day}."""
        if not self.keys:
            return {}
        path = self._folder / "sites.parquet"
        self._engine.write(SITES, {"daily": self._daily}, path)
        found = self._local.columns("SELECT day, site, bytes FROM sites", {"sites": Parquet([path])})
        column = {day: number for number, day in enumerate(self.days)}
        totals: dict[str, NDArray[np.float64]] = {}
        for day, site, count in zip(found["day"], found["site"], found["bytes"], strict=True):
            totals.setdefault(str(site), np.zeros(len(self.days)))[column[str(day)]] = float(count)
        return totals

    def prepare(self, units: Mapping[Unit, Sequence[Site]], released: Mapping[str, int]) -> None:
        """Sums the series of these units, for `of`. ``released`` {title: column of its release}."""
        self._units = {unit: number for number, unit in enumerate(units)}
        self._released = np.array([released.get(title_of(key), ALWAYS) for key in self.keys], np.int64)
        if not self.keys:
            return
        rows = [(site.id, self._units[unit]) for unit, sites in units.items() for site in sites]
        calendar = [(day, number) for number, day in enumerate(self.days)]
        relations = {
            "daily": self._daily,
            "object": Parquet([self._objects]),
            "unit": small_table(self._folder / "units.ndjson", UNIT_COLUMNS, rows),
            "calendar": small_table(self._folder / "calendar.ndjson", CALENDAR_COLUMNS, calendar),
        }
        self._engine.write(SERIES, relations, self._series)

    def of(self, unit: Unit) -> History:
        """The history of a unit that was prepared."""
        found: dict[str, NDArray[Any]] = {}
        if self.keys:
            sql = "SELECT object, day, bytes, session_minutes FROM series WHERE unit = ?"
            found = self._local.columns(sql, {"series": Parquet([self._series])}, [self._units[unit]])
        return _history(found, self._released, self.days)

    def close(self) -> None:
        """Removes what it wrote."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _history(found: Mapping[str, NDArray[Any]], released: NDArray[np.int64], days: Sequence[str]) -> History:
    rows = np.asarray(found.get("object", ()), np.int64)
    objects, at = np.unique(rows, return_inverse=True)
    column = np.asarray(found.get("day", ()), np.int64)
    matrices = []
    for name in ("bytes", "session_minutes"):
        matrix = np.zeros((len(objects), len(days)))
        matrix[at, column] = np.asarray(found.get(name, ()), np.float64)
        matrices.append(matrix)
    first = datetime.date.fromisoformat(days[0])
    return History(objects.astype(np.int32), matrices[0], matrices[1], released[objects], first.weekday())


def units_of(fleet: Fleet, own: Sequence[str]) -> dict[Unit, tuple[Site, ...]]:
    """The fleet, its regions, and the sites named in ``own``: which sites make up each."""
    found: dict[Unit, tuple[Site, ...]] = {FLEET: fleet.sites}
    by_region: dict[str, list[Site]] = {}
    for site in fleet.sites:
        if region := region_of(site):
            by_region.setdefault(region, []).append(site)
    found |= {(PlaceKind.REGION, name): tuple(by_region[name]) for name in sorted(by_region)}
    by_id = {site.id: site for site in fleet.sites}
    return found | {(PlaceKind.SITE, name): (by_id[name],) for name in own}
