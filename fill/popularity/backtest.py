"""How good the forecasts of the last days would have been, beside naive ones and beside hindsight. Pure.

Each day is forecast from what was known before it: `wMAPE` is the sum of errors to the sum of what was watched,
over every object of every region. The byte hit ratio is of the sites' own viewers, where each site holds what is
forecast to be watched most by byte of its size, as much as it has room for; no replicas, no windows, no churn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from contracts.fleet import Fleet, Site, Tier
from fill.popularity.demand import Forecast, PlaceKind, overlaid, region_of
from fill.popularity.forecast import History, Vector
from fill.popularity.histories import FLEET, Unit
from fill.popularity.making import Outlook, Rules, Table, Upcoming, shares
from fill.popularity.releases import Known

OURS = "ours"
REGION_ALONE = "region's share alone"
LAST_WEEK = "same weekday last week"
YESTERDAY = "yesterday"
ORACLE = "oracle: the day itself"
ERRORS = (OURS, LAST_WEEK, YESTERDAY)
HITS = (OURS, REGION_ALONE, LAST_WEEK, YESTERDAY, ORACLE)
WEEK = 7


@dataclass(slots=True)
class Score:
    """Of one day, or of all."""

    watched_bytes: float = 0.0
    """In the regions."""
    site_bytes: float = 0.0
    """Of the sites for which hits are counted."""
    error_bytes: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ERRORS, 0.0))
    hit_bytes: dict[str, float] = field(default_factory=lambda: dict.fromkeys(HITS, 0.0))
    release_bytes: float = 0.0
    release_error_bytes: float = 0.0
    """Of titles on the day they come out, which no history tells."""

    def add(self, other: Score) -> None:
        self.watched_bytes += other.watched_bytes
        self.site_bytes += other.site_bytes
        self.release_bytes += other.release_bytes
        self.release_error_bytes += other.release_error_bytes
        for name in ERRORS:
            self.error_bytes[name] += other.error_bytes[name]
        for name in HITS:
            self.hit_bytes[name] += other.hit_bytes[name]

    def wmape(self, name: str) -> float:
        return self.error_bytes[name] / self.watched_bytes if self.watched_bytes else 0.0

    def hit_ratio(self, name: str) -> float:
        return self.hit_bytes[name] / self.site_bytes if self.site_bytes else 0.0


class Backtest:
    """``history`` gives that of a unit; ``sizes`` are the objects' bytes, ``upcoming`` who came out on a column."""

    def __init__(
        self,
        rules: Rules,
        fleet: Fleet,
        keys: Sequence[str],
        sizes: NDArray[np.int64],
        history: Callable[[Unit], History],
        totals: Mapping[str, Vector],
        known: Sequence[Known],
        upcoming: Callable[[int], Sequence[Upcoming]],
    ) -> None:
        self._rules = rules
        self._fleet = fleet
        self._keys = keys
        self._sizes = np.maximum(sizes, 1).astype(np.float64)
        self._history = history
        self._totals = totals
        self._known = known
        self._upcoming = upcoming
        self._sites: dict[str, list[Site]] = {}
        for site in fleet.sites:
            self._sites.setdefault(region_of(site), []).append(site)

    def day(self, column: int) -> Score:
        """Of the day in ``column`` of the history, of which at least one day lies before."""
        score = Score()
        before = {site: daily[:column] for site, daily in self._totals.items()}
        share, level = shares(before, self._fleet, self._rules.half_life_days)
        known = [title for title in self._known if title.released < column]
        upcoming = self._upcoming(column)
        table = Table(
            self._rules,
            self._fleet,
            self._keys,
            lambda unit: self._history(unit).until(column),
            known,
            upcoming,
        )
        large = table.large_sites(level)
        fresh = self._numbers(upcoming)
        for region, sites in self._sites.items():
            unit = (PlaceKind.REGION, region) if region else FLEET
            outlook = table.outlook(unit, sites)
            if region:
                self._judge_errors(score, self._history(unit), column, outlook, fresh)
            by_worth = self._order(outlook.forecast)
            for site in sites:
                if site.tier is Tier.ISP:
                    self._judge_site(
                        score, site, column, outlook, by_worth, share[site.id], table, site.id in large
                    )
        if list(self._sites) == [""]:
            self._judge_errors(score, self._history(FLEET), column, table.fleet_outlook, fresh)
        return score

    def _numbers(self, upcoming: Sequence[Upcoming]) -> NDArray[np.bool_]:
        fresh = np.zeros(len(self._keys), np.bool_)
        at = {key: number for number, key in enumerate(self._keys)} if upcoming else {}
        fresh[[at[key] for item in upcoming for key in item.scheduled.keys]] = True
        return fresh

    def _judge_errors(
        self, score: Score, history: History, column: int, outlook: Outlook, fresh: NDArray[np.bool_]
    ) -> None:
        actual = self._dense(history.objects, history.bytes[:, column])
        ours = self._dense(outlook.forecast.objects, outlook.forecast.bytes_per_day)
        errors = np.abs(ours - actual)
        score.watched_bytes += float(actual.sum())
        score.error_bytes[OURS] += float(errors.sum())
        score.release_bytes += float(actual[fresh].sum())
        score.release_error_bytes += float(errors[fresh].sum())
        for name, back in ((LAST_WEEK, WEEK), (YESTERDAY, 1)):
            naive = history.bytes[:, column - back] if column >= back else np.zeros(len(history.objects))
            score.error_bytes[name] += float(np.abs(naive - history.bytes[:, column]).sum())

    def _judge_site(
        self,
        score: Score,
        site: Site,
        column: int,
        outlook: Outlook,
        by_worth: NDArray[np.int64],
        share: float,
        table: Table,
        large: bool,
    ) -> None:
        capacity = float(sum(box.capacity_bytes for box in site.appliances))
        history = self._history((PlaceKind.SITE, site.id))
        actual = self._dense(history.objects, history.bytes[:, column])
        score.site_bytes += float(actual.sum())
        # The region's order is that of each of its sites, so it is made once.
        region_alone = self._hits(by_worth, actual, capacity)
        score.hit_bytes[REGION_ALONE] += region_alone
        if large:
            own = overlaid(outlook.forecast.scaled(share), table.site_forecast(site.id, share, outlook))
            score.hit_bytes[OURS] += self._hits(self._order(own), actual, capacity)
        else:
            score.hit_bytes[OURS] += region_alone
        for name, at in ((LAST_WEEK, column - WEEK), (YESTERDAY, column - 1), (ORACLE, column)):
            if at >= 0:
                figures = Forecast(history.objects, history.bytes[:, at])
                score.hit_bytes[name] += self._hits(self._order(figures), actual, capacity)

    def _order(self, figures: Forecast) -> NDArray[np.int64]:
        """Objects that are expected to be watched, most by byte of their size first."""
        wanted = figures.bytes_per_day > 0
        objects = figures.objects[wanted].astype(np.int64)
        return objects[np.argsort(-figures.bytes_per_day[wanted] / self._sizes[objects], kind="stable")]

    def _hits(self, order: NDArray[np.int64], actual: Vector, capacity_bytes: float) -> float:
        held = order[: int(np.searchsorted(self._sizes[order].cumsum(), capacity_bytes, side="right"))]
        return float(actual[held].sum())

    def _dense(self, objects: NDArray[np.int32], figures: Vector) -> Vector:
        whole = np.zeros(len(self._keys))
        whole[objects] = figures
        return whole
