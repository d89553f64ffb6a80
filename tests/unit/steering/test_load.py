"""What was given counts until heartbeats show it, and never less than they do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from steering.load import BURST, HALF_LIFE_S, Load


def test_what_was_given_counts_whole_until_the_second_heartbeat_and_then_ever_less() -> None:
    load = Load().heard(0, 0.0).given(60).given(40)
    assert load.total == 150  # a player fills its buffer first
    load = load.heard(0, 2.0)
    assert load.total == 150
    load = load.heard(150, 2.0 + HALF_LIFE_S)
    assert load.total == 150 + 75
    load = load.heard(150, 2.0 + 2 * HALF_LIFE_S)
    assert load.total == 150 + 37.5


def test_after_a_while_without_starts_the_load_is_what_was_told() -> None:
    load = Load().given(10**9)
    for beat in range(1, 100):
        load = load.heard(7, 2.0 * beat)
    assert load.total == 7


events = st.lists(st.tuples(st.sampled_from(["heard", "given"]), st.integers(0, 10**12)), max_size=30)


@given(events)
def test_it_is_never_below_what_was_told_nor_above_all_that_was_given_beside(
    happened: list[tuple[str, int]],
) -> None:
    load, given_, now = Load(), 0.0, 0.0
    for what, bps in happened:
        now += 1
        load = load.heard(bps, now) if what == "heard" else load.given(bps)
        given_ += bps * BURST if what == "given" else 0
        assert load.told <= load.total <= (load.told + given_) * (1 + 1e-9)
