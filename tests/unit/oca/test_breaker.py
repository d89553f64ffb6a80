"""The circuit breaker, as a conversation with a clock, and its laws for any conversation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oca.store.breaker import FAILURES, OPEN_S, PROBES, SUCCESSES, Breaker, State


def opened(now: float = 100.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES):
        assert breaker.admits(now)
        breaker.failed(now)
    return breaker


def test_it_opens_at_the_fifth_failure_in_a_row_and_not_before() -> None:
    breaker = Breaker()
    for _ in range(FAILURES - 1):
        breaker.failed(0.0)
    breaker.succeeded()
    for _ in range(FAILURES - 1):
        breaker.failed(0.0)
        assert breaker.admits(0.0)
    breaker.failed(0.0)
    assert breaker.state is State.OPEN
    assert not breaker.admits(0.0)


def test_it_is_left_alone_for_half_a_minute_and_then_probed_by_three_at_a_time() -> None:
    breaker = opened(100.0)
    assert not breaker.admits(100.0 + OPEN_S - 0.001)
    assert [breaker.admits(100.0 + OPEN_S) for _ in range(PROBES + 2)] == [True] * PROBES + [False] * 2
    breaker.succeeded()
    assert breaker.admits(100.0 + OPEN_S)


def test_three_successes_close_it() -> None:
    breaker = opened()
    for number in range(SUCCESSES):
        assert breaker.state is (State.OPEN if number == 0 else State.HALF_OPEN)
        assert breaker.admits(200.0)
        breaker.succeeded()
    assert breaker.state is State.CLOSED


def test_one_failure_of_a_probe_opens_it_for_as_long_again() -> None:
    breaker = opened(100.0)
    assert breaker.admits(130.0)
    breaker.failed(131.0)
    assert not breaker.admits(131.0 + OPEN_S - 0.001)
    assert breaker.admits(131.0 + OPEN_S)


def test_failures_of_attempts_that_began_before_it_opened_do_not_prolong_it() -> None:
    breaker = opened(100.0)
    breaker.failed(125.0)
    assert breaker.admits(100.0 + OPEN_S)


def test_a_probe_that_tells_nothing_gives_its_place_back() -> None:
    breaker = opened()
    for _ in range(PROBES):
        assert breaker.admits(200.0)
    assert not breaker.admits(200.0)
    breaker.withdrew()
    assert breaker.admits(200.0)


events = st.lists(
    st.tuples(st.sampled_from(["ask", "ok", "bad", "none"]), st.floats(0, 40, allow_nan=False)), max_size=80
)


@given(events)
def test_whatever_happens_it_admits_again_within_half_a_minute_of_silence(
    happened: list[tuple[str, float]],
) -> None:
    breaker, now, begun = Breaker(), 0.0, 0
    for what, later in happened:
        now += later
        if what == "ask":
            begun += breaker.admits(now)
        elif begun:
            begun -= 1
            {"ok": breaker.succeeded, "bad": lambda now=now: breaker.failed(now), "none": breaker.withdrew}[
                what
            ]()
        if breaker.state is State.OPEN:
            assert not breaker.admits(now) or breaker.state is State.HALF_OPEN
    for _ in range(begun):
        breaker.withdrew()
    assert breaker.admits(now + OPEN_S)


@pytest.mark.parametrize("state", State)
def test_each_state_has_a_name_for_the_metrics(state: State) -> None:
    assert state.value == state.name.lower().replace("_", "-")
