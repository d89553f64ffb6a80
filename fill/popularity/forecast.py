"""How many bytes of each object will be watched: exponential smoothing, by weekday and by age. Pure.

A unit is a region, a site or the whole fleet. Its history is a matrix: a row for each object, a column for each day,
oldest first. The level of an object is the mean of its days, each weighing half as much as one half-life
later, after the weekday's part is taken out; the forecast is the level, times how titles of its age go on.

Source: exponential smoothing with multiplicative seasonality, Hyndman and Athanasopoulos, "Forecasting", chapter 8.
The weekday's factors and the course by age are pooled over objects, as most series are too thin for their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
Days = NDArray[np.int64]

ALWAYS: Final = -10_000
"""As the column of an object's release: long before the history began."""

_WEEK: Final = 7
_MIN_SEASON_DAYS: Final = 14
_MAX_SEASON_WEEKS: Final = 6

AGE_STEPS: Final = (1, 2, 3, 4, 6, 8, 11, 15, 22, 29)
"""Whole days since the release at which another course begins; from the last on, a title's level is what it keeps."""
_MIN_OF_AN_AGE: Final = 20
"""Object-days behind a factor; with fewer it is 1."""
_FACTOR_BOUNDS: Final = (0.1, 3.0)


@dataclass(frozen=True, slots=True)
class History:
    """What one unit watched."""

    objects: NDArray[np.int32]
    """Which object a row is of; ascending."""
    bytes: Matrix
    """By object and day."""
    session_minutes: Matrix
    released: Days
    """By object: the column of the day it came out, `ALWAYS` or any other before 0 when it was out already."""
    first_weekday: int
    """Of column 0; Monday is 0."""

    def until(self, column: int) -> History:
        """As it was known when ``column`` had not begun; without objects that nobody had watched by then."""
        known = (self.bytes[:, :column] > 0).any(axis=1)
        return History(
            self.objects[known],
            self.bytes[known, :column],
            self.session_minutes[known, :column],
            self.released[known],
            self.first_weekday,
        )

    @property
    def days(self) -> int:
        return int(self.bytes.shape[1])


def weekday_factors(totals: Vector, first_weekday: int) -> Vector:
    """Seven factors from Monday on, of mean 1: how much of a mean day's bytes that weekday has.

    Each is the mean ratio of its days to the seven days around them, drawn towards 1 as if by one more day
    that is like any other. Less than two weeks tell nothing: then all are 1.
    """
    days = len(totals)
    if days < _MIN_SEASON_DAYS:
        return np.ones(_WEEK)
    around = np.convolve(totals, np.ones(_WEEK) / _WEEK, mode="valid")
    middle = np.arange(days - _WEEK + 1) + _WEEK // 2
    recent = middle >= days - _MAX_SEASON_WEEKS * _WEEK
    known = (around > 0) & recent
    ratios = np.divide(totals[middle], around, out=np.ones_like(around), where=around > 0)
    weekday = (first_weekday + middle) % _WEEK
    summed = np.bincount(weekday[known], ratios[known], _WEEK) + 1.0
    counted = np.bincount(weekday[known], minlength=_WEEK) + 1.0
    factors = summed / counted
    return np.asarray(factors / factors.mean())


def levels(history: History, factors: Vector, half_life_days: float) -> Vector:
    """The level of each object at the end of its history, in bytes of a mean weekday.

    Days before an object came out do not count as days on which nobody watched it.
    """
    age = np.arange(history.days - 1, -1, -1)
    weights = np.exp2(-age / half_life_days)
    plain = history.bytes / _of_days(factors, history)
    return _weighted(plain, weights, history.released)


def _weighted(plain: Matrix, weights: Vector, released: Days) -> Vector:
    out = np.arange(plain.shape[1]) >= released[:, None]
    # Who was watched before the catalog says it was out, was out.
    out |= plain > 0
    total = out @ weights
    return np.divide((plain * out) @ weights, total, out=np.zeros(len(plain)), where=total > 0)


def age_factors(history: History, factors: Vector, half_life_days: float) -> Vector:
    """By step of `AGE_STEPS`: what titles of that age were watched the next day, to their level until then.

    A level is behind a title that is going down, and is what it is behind by. Learned from every day of the history.
    """
    steps = len(AGE_STEPS)
    next_bytes, level_bytes, counted = np.zeros(steps), np.zeros(steps), np.zeros(steps)
    young = history.released > ALWAYS // 2
    if not young.any():
        return np.ones(steps)
    plain = (history.bytes / _of_days(factors, history))[young]
    released = history.released[young]
    decay = np.exp2(-1 / half_life_days)
    for column in range(1, history.days):
        age = column - released
        taking_part = (age >= 1) & (age < AGE_STEPS[-1])
        if not taking_part.any():
            continue
        weights = decay ** np.arange(column - 1, -1, -1)
        known = _weighted(plain[taking_part, :column], weights, released[taking_part])
        at = np.searchsorted(AGE_STEPS, age[taking_part], side="right") - 1
        next_bytes += np.bincount(at, plain[taking_part, column], steps)[:steps]
        level_bytes += np.bincount(at, known, steps)[:steps]
        counted += np.bincount(at[known > 0], minlength=steps)[:steps]
    # Less than a byte is no level, and to divide by it no ratio.
    ratios = np.divide(next_bytes, level_bytes, out=np.ones(steps), where=level_bytes >= 1)
    return np.where(counted >= _MIN_OF_AN_AGE, np.clip(ratios, *_FACTOR_BOUNDS), 1.0)


def forecast(history: History, half_life_days: float, days: int, by_age: Vector) -> Vector:
    """Bytes a day of each object, mean of the ``days`` after the history; ``by_age`` is of `age_factors`."""
    factors = weekday_factors(history.bytes.sum(axis=0), history.first_weekday)
    level = levels(history, factors, half_life_days)
    ahead = np.zeros(len(level))
    for day in range(days):
        age = history.days + day - history.released
        at = np.clip(np.searchsorted(AGE_STEPS, age, side="right") - 1, 0, None)
        young = (age >= 1) & (age < AGE_STEPS[-1])
        weekday = (history.first_weekday + history.days + day) % _WEEK
        ahead += level * np.where(young, by_age[at], 1.0) * factors[weekday]
    return ahead / days


def recent_hours(history: History, half_life_days: float) -> Vector:
    """Hours of play of each object, weighed as its bytes are: how much is known of it."""
    weights = np.exp2(-np.arange(history.days - 1, -1, -1) / half_life_days)
    return np.asarray(history.session_minutes @ weights / 60)


def credible(own: Vector, expected: Vector, evidence_hours: Vector, prior_hours: float) -> Vector:
    """Between a site's own figure and its share of its region's, by how much its viewers would have told by now.

    ``evidence_hours``: of play that the region's taste would have given the site. At ``prior_hours`` of it
    both count for half. Source: Buehlmann's credibility.
    """
    weight = evidence_hours / (evidence_hours + prior_hours)
    return np.asarray(weight * own + (1 - weight) * expected)


def _of_days(factors: Vector, history: History) -> Vector:
    """The weekday's factor of each column, never so small that a day without service becomes a flood."""
    weekday = (history.first_weekday + np.arange(history.days)) % _WEEK
    return np.asarray(np.maximum(factors[weekday], 0.1))
