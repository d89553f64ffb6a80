"""The cap holds for all who fetch together, over any ten seconds."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill.agent.budget import Bucket, SharedBudget, piece_bytes, receive_bytes
from fill.agent.transfer import Stopped


def _within(spent: list[tuple[float, int]], rate_bps: int, over_s: float = 10.0) -> float:
    """The most that came within ``over_s``, in parts of what the rate allows."""
    most = 0
    for at, _ in spent:
        most = max(most, sum(count for moment, count in spent if at <= moment < at + over_s))
    return most * 8 / (rate_bps * over_s)


@given(
    st.sampled_from([1_000_000, 50_000_000, 1_200_000_000]),
    st.lists(st.floats(0, 3), max_size=5),
    st.integers(1, 8),
)
def test_over_any_ten_seconds_it_is_within_three_per_cent(
    rate_bps: int, pauses: list[float], fetchers: int
) -> None:
    """Each fetcher asks again as soon as it may; now and then all of them pause."""
    bucket, now, spent = Bucket(rate_bps), 0.0, list[tuple[float, int]]()
    piece = max(piece_bytes(rate_bps), rate_bps // 8 // 20)
    due = [0.0] * fetchers
    breaks = list(pauses)
    while now < 14:
        number = min(range(fetchers), key=lambda one: due[one])
        now = max(now, due[number])
        if breaks and now > 2 * (len(pauses) - len(breaks) + 1):
            pause = breaks.pop()
            due = [max(one, now + pause) for one in due]
            continue
        wait_s = bucket.wait_s(piece, now)
        due[number] = now + wait_s
        spent.append((now + wait_s, piece))
    assert _within(spent, rate_bps) <= 1.03
    if not pauses:
        assert sum(count for at, count in spent if 2 <= at < 12) * 8 / (rate_bps * 10) >= 0.97


def test_a_pause_saves_no_more_than_a_moment() -> None:
    bucket = Bucket(8_000_000)
    assert bucket.wait_s(1_000_000, 0.0) == pytest.approx(0.85)
    assert bucket.wait_s(1_000_000, 1000.0) == pytest.approx(0.85)


def test_without_a_cap_nobody_waits() -> None:
    assert Bucket(0).wait_s(1 << 40, 0.0) == 0.0


def test_a_lower_limit_holds_at_once_and_the_cap_always() -> None:
    budget = SharedBudget(8_000_000, lambda: 0.0, lambda _: False)
    budget.limit(1_000_000)
    assert budget.rate_bps == 1_000_000
    budget.limit(10**12)
    assert budget.rate_bps == 8_000_000


def test_who_waits_is_told_when_all_is_to_end() -> None:
    ended = threading.Event()
    budget = SharedBudget(8_000, lambda: 0.0, lambda _: ended.is_set())
    budget.spend(10_000)
    ended.set()
    with pytest.raises(Stopped):
        budget.spend(10_000)


MOST = 212_992
"""What Linux gives who asks, unless it is configured otherwise."""


@pytest.mark.parametrize("rate_bps", [100_000, 10_000_000, 200_000_000, 10**9, 10**11])
@pytest.mark.parametrize("round_trip_s", [0.0001, 0.03, 0.2])
def test_what_the_kernel_holds_is_little_beside_ten_seconds_and_enough_for_the_rate(
    rate_bps: int, round_trip_s: float
) -> None:
    told = receive_bytes(rate_bps, 4, round_trip_s, MOST)
    if told:
        assert 2 * told * 4 <= max(4 * (64 << 10), 0.02 * 10 * rate_bps / 8)
        assert 2 * told >= rate_bps / 8 / 4 * round_trip_s, "a connection carries its part of the cap"
    else:
        assert round_trip_s > 0.02 or rate_bps > 10**9
    assert (16 << 10) <= piece_bytes(rate_bps) <= (256 << 10)


def test_without_a_cap_the_kernel_holds_what_it_likes() -> None:
    assert receive_bytes(0, 4, 0.1, MOST) == 0
