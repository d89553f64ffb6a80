"""A caller may ask so many questions a second, and is told when to come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steering.budget import Budget

rates = st.floats(0.001, 1e6)
clocks = st.floats(0, 1e7)


@given(rates, clocks)
def test_who_waits_for_as_long_as_it_was_told_is_let_in(rate: float, now: float) -> None:
    budget = Budget(rate, 1)
    assert budget.take(now) == 0
    wait_s = budget.take(now)
    assert 0 < wait_s <= 1 / rate
    # A clock of a double near 1e7 s has steps of 2 ns.
    assert budget.take(now + wait_s + 4e-9) == 0


@given(rates, st.lists(st.floats(0, 10), max_size=200))
def test_never_more_pass_than_the_burst_and_the_rate_allow(rate: float, waits: list[float]) -> None:
    budget, now, passed = Budget(rate, 5), 0.0, 0
    for wait_s in waits:
        now += wait_s
        passed += budget.take(now) == 0
    assert passed <= 5 + rate * now + 0.01


def test_a_burst_passes_at_once_and_then_the_rate_holds() -> None:
    budget = Budget(10, 3)
    assert [budget.take(100.0) for _ in range(3)] == [0, 0, 0]
    assert budget.take(100.0) == pytest.approx(0.1)
    assert budget.take(100.1) == 0
    assert budget.take(100.1) == pytest.approx(0.1)


def test_a_rate_below_one_still_lets_a_question_pass() -> None:
    budget = Budget(0.5, 0.5)
    assert budget.take(10.0) == 0
    assert budget.take(10.0) == pytest.approx(2)
    assert budget.take(12.0) == 0


def test_a_clock_that_steps_back_gives_nothing_away() -> None:
    budget = Budget(1, 1)
    assert budget.take(100.0) == 0
    assert budget.take(50.0) == pytest.approx(1)
    assert budget.take(100.5) == pytest.approx(0.5)


def test_idleness_is_not_saved_up_beyond_the_burst() -> None:
    budget = Budget(100, 2)
    budget.take(0.0)
    assert [budget.take(1e6) == 0 for _ in range(4)] == [True, True, False, False]
