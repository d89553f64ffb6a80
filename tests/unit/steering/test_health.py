"""An appliance's state follows its heartbeats, probes and silence, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steering.health import (
    DOWN_S,
    HALF_LIFE_S,
    LATE_S,
    SUSPECT_S,
    SWEEP_S,
    TRANSITIONS,
    Event,
    Health,
    Standing,
    State,
)

MANY = [f"a{number}" for number in range(100)]


class Clock:
    """Appliances that beat every 2 s, except those in `silent`."""

    def __init__(self, names: list[str], health: Health | None = None, now: float = 0.0) -> None:
        self.health, self.names, self.now = health or Health(), names, now
        self.silent: set[str] = set()
        self.draining: set[str] = set()

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            if self.now % 2 == 0:
                for name in self.names:
                    if name not in self.silent:
                        self.health.hear(name, draining=name in self.draining, now=self.now)
            self.health.sweep(self.now)
            self.now += 0.5

    def state(self, name: str = "a0") -> State:
        return self.health.of(name).state


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_an_event_leads_where_the_table_says_or_nowhere(state: State, event: Event) -> None:
    health = Health()
    health.standings["a"] = Standing(state, "before", since=1.0)
    health._happens("a", event, 5.0)
    after = health.of("a")
    assert after.state is TRANSITIONS.get((state, event), state)
    assert after.reason == (event.value if (state, event) in TRANSITIONS else "before")
    assert health.changed == (["a"] if after.state is not state else [])
    assert after.since == (5.0 if after.state is not state else 1.0)


def test_every_state_is_reached_and_left() -> None:
    assert {state for state, _ in TRANSITIONS} == set(State)
    assert set(TRANSITIONS.values()) == set(State)


def test_a_life_of_an_appliance() -> None:
    clock = Clock(["a0"])
    assert clock.state() is State.JOINING
    clock.run(10)
    assert clock.state() is State.SERVING
    clock.silent = {"a0"}
    clock.run(4)
    assert (clock.state(), clock.health.of("a0").reason) == (State.SUSPECT, Event.MISSED.value)
    clock.run(30)
    assert (clock.state(), clock.health.of("a0").reason) == (State.DOWN, Event.SILENT.value)
    clock.silent, clock.draining = set(), {"a0"}
    clock.run(4)
    assert clock.state() is State.DRAINING
    clock.silent = {"a0"}
    clock.run(20)
    assert clock.state() is State.DRAINING
    clock.run(20)
    assert clock.state() is State.DOWN


def test_one_missed_heartbeat_changes_nothing_while_the_port_answers() -> None:
    clock = Clock(["a0", "a1"])
    clock.run(4.5)
    clock.silent = {"a0"}
    clock.run(2.5)
    assert clock.health.due(clock.now, 10) == ["a0"]
    clock.health.probed("a0", answered=True, asked_at=clock.now, now=clock.now)
    assert clock.state() is State.SERVING
    clock.silent = set()
    clock.run(2)
    assert clock.state() is State.SERVING


def test_a_missed_heartbeat_and_a_port_that_refuses_take_it_out() -> None:
    clock = Clock(["a0", "a1"])
    clock.run(4.5)
    clock.silent = {"a0"}
    clock.run(2.5)
    clock.health.probed("a0", answered=False, asked_at=clock.now, now=clock.now)
    assert (clock.state(), clock.health.of("a0").reason) == (State.SUSPECT, Event.DEAF.value)
    assert clock.now - (clock.health.of("a0").heard_at or 0) <= 5


def test_a_heartbeat_is_worth_more_than_an_older_probe() -> None:
    health = Health()
    health.hear("a0", draining=False, now=10)
    health.probed("a0", answered=False, asked_at=9, now=11)
    assert health.of("a0").state is State.SERVING


def test_a_port_is_probed_only_when_a_heartbeat_is_late_and_not_too_often() -> None:
    health = Health()
    for name in ("a0", "a1", "a2"):
        health.hear(name, draining=name == "a2", now=0)
    assert health.due(LATE_S - 0.1, 10) == []
    assert health.due(LATE_S, 1) == ["a0"]
    assert health.due(LATE_S, 10) == ["a1"]
    assert health.due(LATE_S + 0.5, 10) == []
    assert health.due(LATE_S + 1, 10) == ["a0", "a1"]


def test_who_was_never_heard_may_be_answered_last_when_its_port_answers() -> None:
    health = Health()
    health.probed("a0", answered=True, asked_at=0, now=0)
    assert health.standings == {}
    health.of("a0")
    health.probed("a0", answered=True, asked_at=0, now=1)
    assert (health.of("a0").state, health.of("a0").reason) == (State.SUSPECT, Event.ANSWERS.value)
    health.sweep(2)
    assert health.of("a0").state is State.SUSPECT
    health.sweep(1 + DOWN_S)
    assert health.of("a0").state is State.DOWN


def lose(clock: Clock, times: int) -> None:
    for _ in range(times):
        clock.silent = {"a0"}
        clock.run(6)
        clock.silent = set()
        clock.run(4)


def test_who_comes_and_goes_is_held_back_until_it_was_stable() -> None:
    clock = Clock(["a0", "a1"])
    clock.run(4)
    lose(clock, 3)
    assert clock.state() is State.SERVING
    lose(clock, 1)
    assert (clock.state(), clock.health.of("a0").reason) == (State.SUSPECT, Event.FLAPS.value)
    clock.run(30)
    assert clock.state() is State.SUSPECT
    clock.run(HALF_LIFE_S)
    assert (clock.state(), clock.health.of("a0").reason) == (State.SERVING, Event.BEAT.value)
    assert clock.state("a1") is State.SERVING


def test_however_often_it_failed_it_is_back_within_three_minutes_of_stability() -> None:
    clock = Clock(["a0", "a1"])
    clock.run(4)
    lose(clock, 40)
    clock.run(180)
    assert clock.state() is State.SERVING


def test_one_who_drains_is_not_punished_for_it() -> None:
    clock = Clock(["a0"])
    for _ in range(10):
        clock.draining = {"a0"}
        clock.run(4)
        clock.draining = set()
        clock.run(4)
    assert clock.state() is State.SERVING


def test_when_all_fall_silent_at_once_nobody_is_lost_and_it_is_said() -> None:
    clock = Clock(MANY)
    clock.run(9)
    clock.silent = set(MANY)
    clock.run(3)
    assert clock.health.isolated_since is None
    clock.run(300)
    assert clock.health.isolated_since is not None
    assert {clock.state(name) for name in MANY} == {State.SERVING}
    clock.health.probed("a0", answered=False, asked_at=clock.now, now=clock.now)
    assert clock.state() is State.SERVING
    clock.silent = set(MANY[:30])
    clock.run(3)
    assert clock.health.isolated_since is None
    assert {clock.state(name) for name in MANY} == {State.SERVING}
    clock.run(6)
    assert {clock.state(name) for name in MANY[:30]} == {State.SUSPECT}
    assert {clock.state(name) for name in MANY[30:]} == {State.SERVING}


def test_a_region_that_dies_is_no_isolation() -> None:
    clock = Clock(MANY)
    clock.run(10)
    clock.silent = set(MANY[:80])
    clock.run(6)
    assert clock.health.isolated_since is None
    assert {clock.state(name) for name in MANY[:80]} == {State.SUSPECT}


def test_a_small_fleet_may_well_fail_at_once() -> None:
    clock = Clock(MANY[:3])
    clock.run(10)
    clock.silent = set(MANY[:3])
    clock.run(6)
    assert {clock.state(name) for name in MANY[:3]} == {State.SUSPECT}


def test_after_a_restart_silence_counts_from_there() -> None:
    health = Health()
    health.restore({name: Standing(State.SERVING, "", 0, heard_at=-500) for name in MANY[:3]}, 0)
    health.sweep(SUSPECT_S - 0.5)
    assert health.of("a0").state is State.SERVING
    health.hear("a0", draining=False, now=SUSPECT_S - 0.5)
    health.sweep(SUSPECT_S)
    assert [health.of(name).state for name in MANY[:2]] == [State.SERVING, State.SUSPECT]


def test_a_revoked_one_is_down_at_once_and_joins_again_with_a_new_key() -> None:
    clock = Clock(["a0"])
    clock.run(4)
    clock.health.revoked("a0", clock.now)
    assert (clock.state(), clock.health.of("a0").reason) == (State.DOWN, Event.REVOKED.value)
    clock.health.enrolled("a0", clock.now)
    assert clock.state() is State.JOINING
    clock.run(4)
    assert clock.state() is State.SERVING


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["hear", "drain", "sweep", "deaf", "alive", "revoke"]),
            st.sampled_from(MANY[:7]),
            st.floats(0, 40),
        ),
        max_size=60,
    )
)
def test_no_life_leads_to_a_serving_appliance_that_is_silent(steps: list[tuple[str, str, float]]) -> None:
    health, now = Health(), 0.0
    for what, name, wait_s in steps:
        now += wait_s
        match what:
            case "hear" | "drain":
                health.hear(name, draining=what == "drain", now=now)
            case "deaf" | "alive":
                health.probed(name, answered=what == "alive", asked_at=now, now=now)
            case "revoke":
                health.revoked(name, now)
        now += SWEEP_S
        health.sweep(now)
        if health.isolated_since is None:
            for standing in health.standings.values():
                heard_at = standing.heard_at
                if standing.state is State.SERVING:
                    assert heard_at is not None
                    # A sweep may have come just before it was due.
                    assert now - max(heard_at, health._heard_from) < SUSPECT_S + SWEEP_S
                assert standing.penalty_now(now) <= 8000


def listen(health: Health, since: float, until: float) -> None:
    for tenths in range(round(since * 10), round(until * 10) + 1):
        health.tick(tenths / 10)
        health.sweep(tenths / 10)


def test_what_was_said_while_we_did_not_listen_is_nobodys_silence() -> None:
    """Too much to do, or a machine that stood still: afterwards everybody has as long as before."""
    clock = Clock(MANY)
    health = clock.health
    clock.run(4)
    health.tick(4.0)
    health.sweep(14.0)  # a question that was read first, before ten seconds of heartbeats
    listen(health, 14.0, 14.4)
    assert {health.of(name).state for name in MANY} == {State.SERVING}
    assert (health.isolated_since, health.due(14.4, 1), health.held_up_s) == (None, [], 10.0)
    for name in MANY[1:]:
        health.hear(name, draining=False, now=14.4)
    listen(health, 14.5, 15.9)
    assert health.of("a0").state is State.SERVING
    listen(health, 16.0, 16.1)  # heard at 2 s, and what was from 4 s to 14 s does not count
    assert health.of("a0").state is State.SUSPECT
    assert {health.of(name).state for name in MANY[1:]} == {State.SERVING}


def test_who_is_heard_after_a_standstill_is_as_old_as_anybody() -> None:
    clock = Clock(MANY)
    health = clock.health
    clock.run(4)
    health.tick(4.0)
    listen(health, 14.0, 14.4)
    for name in MANY:
        health.hear(name, draining=False, now=14.5)
    listen(health, 14.5, 18.4)
    assert {health.of(name).state for name in MANY} == {State.SERVING}
    assert health.isolated_since is None
    listen(health, 18.5, 18.6)
    assert health.isolated_since is not None  # all at once, and we did listen


def test_a_fleet_that_speaks_less_often_is_late_later() -> None:
    health = Health(beat_s=5.0)
    health.hear("a0", draining=False, now=0)
    health.hear("a1", draining=False, now=0)
    health.sweep(9.5)
    assert health.due(6.0, 10) == []
    assert health.due(6.5, 1) == ["a0"]
    assert health.of("a0").state is State.SERVING
    health.sweep(10)
    assert health.of("a0").state is State.SUSPECT
