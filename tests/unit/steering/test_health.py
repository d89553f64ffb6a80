"""An appliance's state follows its heartbeats and its silence, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steering.health import DOWN_S, SUSPECT_S, State, state_of

EPSILON = 1e-6


@pytest.mark.parametrize(
    ("age_s", "draining", "state"),
    [
        (None, False, State.JOINING),
        (None, True, State.JOINING),
        (0.0, False, State.SERVING),
        (0.0, True, State.DRAINING),
        (SUSPECT_S - EPSILON, False, State.SERVING),
        (SUSPECT_S, False, State.SUSPECT),
        (SUSPECT_S, True, State.DRAINING),
        (DOWN_S - EPSILON, False, State.SUSPECT),
        (DOWN_S - EPSILON, True, State.DRAINING),
        (DOWN_S, False, State.DOWN),
        (DOWN_S, True, State.DOWN),
        (1e9, False, State.DOWN),
    ],
)
def test_the_state_is_that_of_the_table(age_s: float | None, draining: bool, state: State) -> None:
    assert state_of(age_s, draining=draining) is state


def walk(*steps: tuple[float, str]) -> list[State]:
    """The states of an appliance to which ``steps`` (seconds waited, what then happens) occur."""
    now, heard, draining, seen = 0.0, None, False, []
    for wait_s, what in steps:
        now += wait_s
        if what in {"beat", "drains"}:
            heard, draining = now, what == "drains"
        seen.append(state_of(None if heard is None else now - heard, draining=draining))
    return seen


def test_a_life_of_an_appliance() -> None:
    assert walk(
        (0, "look"),
        (1, "beat"),
        (2, "beat"),
        (4, "look"),
        (0, "beat"),
        (30, "look"),
        (0, "beat"),
        (2, "drains"),
        (2, "drains"),
        (20, "look"),
        (10, "look"),
        (0, "drains"),
        (2, "beat"),
    ) == [
        State.JOINING,
        State.SERVING,
        State.SERVING,
        State.SUSPECT,
        State.SERVING,
        State.DOWN,
        State.SERVING,
        State.DRAINING,
        State.DRAINING,
        State.DRAINING,
        State.DOWN,
        State.DRAINING,
        State.SERVING,
    ]


def test_one_lost_heartbeat_changes_nothing_and_a_killed_appliance_is_out_within_five_seconds() -> None:
    interval_s = 2
    assert state_of(2 * interval_s - EPSILON, draining=False) is State.SERVING
    assert state_of(5, draining=False) is not State.SERVING


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_silence_never_makes_an_appliance_better(one: float, other: float) -> None:
    order = [State.SERVING, State.SUSPECT, State.DOWN]
    younger, older = (order.index(state_of(age, draining=False)) for age in sorted((one, other)))
    assert younger <= older
