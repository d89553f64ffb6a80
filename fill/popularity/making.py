"""Makes the demand table: the forecast of each place, and room for what comes out soon. Pure but for its histories."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.catalog import Country, is_licensed
from contracts.fleet import Fleet, Site
from fill.popularity.demand import Forecast, Place, PlaceKind, overlaid, region_of
from fill.popularity.forecast import (
    History,
    Vector,
    age_factors,
    credible,
    forecast,
    recent_hours,
    weekday_factors,
)
from fill.popularity.histories import FLEET, Unit, units_of
from fill.popularity.releases import (
    Known,
    Prior,
    Scheduled,
    by_path,
    comparable_titles,
    first_days_of,
    prior,
)

_WORTH_A_FIGURE: Final = 0.1
"""Of the hours at which a site's own figure counts for half: below, its share of its region's says as much."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How the forecast is made: see the planner's configuration."""

    half_life_days: float
    horizon_days: int
    large_site_bytes_per_day: float
    prior_hours: float
    first_days: int


@dataclass(frozen=True, slots=True)
class Upcoming:
    """A title that comes out ``ahead`` days after the first day that is forecast."""

    scheduled: Scheduled
    ahead: int
    countries: tuple[Country, ...] | None = None


@dataclass(frozen=True, slots=True)
class Outlook:
    """The forecast of a unit that others are measured by: its figures, and how much is known of each object."""

    forecast: Forecast
    hours: Vector
    bytes_per_day: float
    """Of what is out on the first day."""
    priors: Mapping[str, Prior]
    """{title: what is expected of it}, of those that are still to come."""


def shares(
    totals: Mapping[str, Vector], fleet: Fleet, half_life_days: float
) -> tuple[dict[str, float], dict[str, float]]:
    """({site: its part of its region's bytes}, {site: bytes of a recent mean day}).

    A site that nobody has watched from yet is as large as the mean one of its region.
    """
    level = {}
    for site in fleet.sites:
        daily = totals.get(site.id)
        if daily is None or not len(daily):
            level[site.id] = 0.0
            continue
        weights = np.exp2(-np.arange(len(daily) - 1, -1, -1) / half_life_days)
        level[site.id] = float(daily @ weights / weights.sum())
    sites: dict[str, list[Site]] = {}
    for site in fleet.sites:
        sites.setdefault(region_of(site), []).append(site)
    whole = {region: sum(level[site.id] for site in of) for region, of in sites.items()}
    # Sites without a region share the taste of the whole fleet, and are a part of that.
    whole[""] = sum(level.values())
    share = {}
    for region, of in sites.items():
        for site in of:
            mean = 1 / len(fleet.sites if not region else of)
            share[site.id] = level[site.id] / whole[region] if level[site.id] else mean
    return share, level


class Table:
    """The places of a demand table, one after the other, in the order of `units_of`; then every other site.

    ``history`` gives that of a unit, with objects numbered as ``keys`` are.
    """

    def __init__(
        self,
        rules: Rules,
        fleet: Fleet,
        keys: Sequence[str],
        history: Callable[[Unit], History],
        known: Sequence[Known],
        upcoming: Sequence[Upcoming],
    ) -> None:
        self._rules = rules
        self._fleet = fleet
        self._keys = keys
        self._number = {key: number for number, key in enumerate(keys)}
        self._history = history
        self._known = known
        self._released = {title.title: title.released for title in known}
        self._upcoming = upcoming
        whole = history(FLEET)
        factors = weekday_factors(whole.bytes.sum(axis=0), whole.first_weekday)
        self._by_age = age_factors(whole, factors, rules.half_life_days)
        self._alike = {
            item.scheduled.title: comparable_titles(item.scheduled, known, rules.first_days, whole.days)
            for item in upcoming
        }
        self.fleet_outlook = self.outlook(FLEET, fleet.sites)

    def outlook(self, unit: Unit, sites: Sequence[Site]) -> Outlook:
        """Of the fleet or a region."""
        history = self._history(unit)
        figures = forecast(history, self._rules.half_life_days, self._rules.horizon_days, self._by_age)
        of_known = Forecast(history.objects, figures)
        priors = self._priors(history, of_known, sites)
        objects = np.array(
            sorted(self._number[key] for found in priors.values() for key in found.bytes_per_day), np.int32
        )
        by_number = {
            self._number[key]: figure
            for found in priors.values()
            for key, figure in found.bytes_per_day.items()
        }
        expected = np.array([by_number[number] for number in objects.tolist()], np.float64)
        both = overlaid(of_known, Forecast(objects, expected))
        hours = np.zeros(len(both.objects))
        hours[np.searchsorted(both.objects, history.objects)] = recent_hours(
            history, self._rules.half_life_days
        )
        out = float(figures.sum()) + sum(
            sum(priors[item.scheduled.title].bytes_per_day.values())
            for item in self._upcoming
            if item.ahead <= 0 and item.scheduled.title in priors
        )
        return Outlook(both, hours, out, priors)

    def places(
        self, share: Mapping[str, float], level: Mapping[str, float]
    ) -> Iterator[tuple[Place, Forecast | None]]:
        """Each with its figures; None for a site that watches its share of what its region does."""
        large = self.large_sites(level)
        regions = [unit for unit in units_of(self._fleet, ()) if unit != FLEET]
        yield Place(PlaceKind.FLEET, "", self.fleet_outlook.bytes_per_day), self.fleet_outlook.forecast
        yield from self._sites("", self.fleet_outlook, share, large)
        for unit in regions:
            outlook = self.outlook(unit, [site for site in self._fleet.sites if region_of(site) == unit[1]])
            yield Place(*unit, outlook.bytes_per_day), outlook.forecast
            yield from self._sites(unit[1], outlook, share, large)

    def large_sites(self, level: Mapping[str, float]) -> set[str]:
        """Those with a forecast of their own."""
        return {site for site, of in level.items() if of >= self._rules.large_site_bytes_per_day}

    def _sites(
        self, region: str, outlook: Outlook, share: Mapping[str, float], large: set[str]
    ) -> Iterator[tuple[Place, Forecast | None]]:
        for site in self._fleet.sites:
            if region_of(site) != region:
                continue
            part = min(share[site.id], 1.0)
            place = Place(PlaceKind.SITE, site.id, outlook.bytes_per_day * part, region, part)
            own = self.site_forecast(site.id, part, outlook) if site.id in large else None
            yield place, own

    def site_forecast(self, site: str, share: float, region: Outlook) -> Forecast:
        """Of a large site: its own figures, as far as its viewers have told, and else its region's."""
        history = self._history((PlaceKind.SITE, site))
        own = np.zeros(len(region.hours))
        own[np.searchsorted(region.forecast.objects, history.objects)] = forecast(
            history, self._rules.half_life_days, self._rules.horizon_days, self._by_age
        )
        hours = region.hours * share
        figures = credible(own, region.forecast.bytes_per_day * share, hours, self._rules.prior_hours)
        told = (own > 0) | (hours >= self._rules.prior_hours * _WORTH_A_FIGURE)
        return Forecast(region.forecast.objects[told], figures[told])

    def _priors(self, history: History, figures: Forecast, sites: Sequence[Site]) -> dict[str, Prior]:
        wanted = [
            item
            for item in self._upcoming
            if any(is_licensed(item.countries, site.country) for site in sites)
        ]
        if not wanted:
            return {}
        starts = first_days_of(history, self._keys, self._released, self._rules.first_days)
        now = by_path(
            {
                self._keys[number]: figure
                for number, figure in zip(
                    figures.objects.tolist(), figures.bytes_per_day.tolist(), strict=True
                )
            }
        )
        return {
            item.scheduled.title: prior(item.scheduled, *self._alike[item.scheduled.title], starts, now)
            for item in wanted
        }


def renumbered(history: History, number: NDArray[np.int64]) -> History:
    """With objects by ``number``; those of which it is negative are left out. Order must be kept by it."""
    to = number[history.objects]
    kept = to >= 0
    return replace(
        history,
        objects=to[kept].astype(np.int32),
        bytes=history.bytes[kept],
        session_minutes=history.session_minutes[kept],
        released=history.released[kept],
    )
