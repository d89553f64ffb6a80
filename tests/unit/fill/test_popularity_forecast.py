"""The forecast: what it makes of series whose future is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill.popularity.forecast import (
    ALWAYS,
    History,
    Matrix,
    age_factors,
    credible,
    forecast,
    levels,
    weekday_factors,
)

NO_AGE = np.ones(10)
WEEK = np.array([0.8, 0.8, 0.9, 0.9, 1.1, 1.4, 1.1])


def history(series: Matrix, released: list[int] | None = None, first_weekday: int = 0) -> History:
    out = np.array(released if released is not None else [ALWAYS] * len(series), np.int64)
    return History(np.arange(len(series), dtype=np.int32), series, np.zeros_like(series), out, first_weekday)


def test_what_never_changes_is_forecast_as_it_is() -> None:
    assert forecast(history(np.full((3, 20), 7.0)), 4.0, 1, NO_AGE) == pytest.approx([7.0] * 3)


def test_a_day_counts_half_as_much_a_half_life_later() -> None:
    series = np.array([[8.0, 0.0, 0.0, 2.0]])
    weights = np.exp2(-np.array([3, 2, 1, 0]) / 3)
    assert levels(history(series), np.ones(7), 3.0) == pytest.approx(series @ weights / weights.sum())


@pytest.mark.parametrize("first_weekday", range(7))
def test_a_week_is_found_and_carried_on(first_weekday: int) -> None:
    days = np.arange(42)
    factors = WEEK / WEEK.mean()
    whole = 100 * factors[(first_weekday + days) % 7]
    series = np.array([whole * 0.7, whole * 0.3])
    found = weekday_factors(series.sum(axis=0), first_weekday)
    # Drawn towards 1 as by one more day among six.
    assert found == pytest.approx(factors, abs=0.07)
    tomorrow = 100 * factors[(first_weekday + 42) % 7]
    ahead = forecast(history(series, first_weekday=first_weekday), 4.0, 1, NO_AGE)
    assert ahead == pytest.approx([tomorrow * 0.7, tomorrow * 0.3], rel=0.1)
    assert forecast(history(series, first_weekday=first_weekday), 4.0, 7, NO_AGE).sum() == pytest.approx(
        100, rel=0.06
    )


def test_two_days_tell_nothing_of_weeks() -> None:
    assert weekday_factors(np.array([1.0, 900.0]), 3).tolist() == [1.0] * 7


def test_days_before_a_title_came_out_are_not_days_on_which_nobody_watched_it() -> None:
    series = np.array([[0.0] * 8 + [10.0, 10.0], [0.0] * 8 + [10.0, 10.0]])
    new, old = levels(history(series, [8, ALWAYS]), np.ones(7), 4.0)
    assert new == pytest.approx(10.0)
    assert old < 4.0


def test_titles_that_halve_each_week_are_forecast_to_go_on_halving() -> None:
    """A level is behind what goes down; what others of that age did next makes up for it."""
    days, titles = 40, 60
    released = np.arange(titles) % 35
    age = np.arange(days) - released[:, None]
    series = np.where(age >= 0, 1000 * np.exp2(-age / 7), 0.0)
    known = history(series[:, :-1], released.tolist())
    by_age = age_factors(known, np.ones(7), 4.0)
    actual = series[:, -1]
    young = (age[:, -1] > 2) & (age[:, -1] < 22)
    told = np.abs(forecast(known, 4.0, 1, by_age) - actual)[young].sum() / actual[young].sum()
    plain = np.abs(forecast(known, 4.0, 1, NO_AGE) - actual)[young].sum() / actual[young].sum()
    assert told < 0.1 < plain


def test_without_enough_titles_of_an_age_nothing_is_learned_of_it() -> None:
    series = np.array([[0.0, 100.0, 1.0]])
    assert age_factors(history(series, [1]), np.ones(7), 4.0).tolist() == [1.0] * 10


def test_a_level_of_next_to_nothing_teaches_no_course() -> None:
    series = np.zeros((30, 3))
    series[:, 1], series[:, 2] = 1e-300, 1e15
    assert age_factors(history(series, [1] * 30), np.ones(7), 4.0).tolist() == [1.0] * 10


@given(
    st.lists(st.lists(st.floats(0, 1e15), min_size=20, max_size=20), min_size=1, max_size=5),
    st.floats(0.25, 90),
    st.integers(1, 28),
    st.integers(-30, 25),
)
def test_a_forecast_is_a_number_from_0_on_and_never_far_above_what_there_was(
    series: list[list[float]], half_life_days: float, days: int, released: int
) -> None:
    known = history(np.array(series), [released] * len(series))
    by_age = age_factors(known, np.ones(7), half_life_days)
    found = forecast(known, half_life_days, days, by_age)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (found <= known.bytes.max() * 100 + 1).all()


def test_a_history_until_a_day_knows_nothing_of_it() -> None:
    series = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 5.0]])
    before = history(series).until(2)
    assert before.bytes.tolist() == [[1.0, 2.0]]
    assert before.objects.tolist() == [0]


def test_a_sites_own_figure_counts_as_much_as_its_viewers_have_told() -> None:
    hours = np.array([0.0, 20.0, 1e9])
    assert credible(np.full(3, 10.0), np.full(3, 2.0), hours, 20.0) == pytest.approx(
        [2.0, 6.0, 10.0], rel=1e-3
    )
