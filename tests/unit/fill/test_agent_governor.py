"""A fill gives way to players, and takes the rate back when they need it no more."""

from __future__ import annotations

import pytest

from fill.agent.governor import Governor, Rules, Seen, limit_bps, parse

INF = float("inf")


def _seen(p99_s: float, answers: int = 1000) -> Seen:
    """All answers take up to ``p99_s``."""
    return Seen({p99_s: answers, INF: answers})


def _governor(calm_s: float = 0.01) -> Governor:
    made = Governor(Rules(least_share=0.05))
    made.learn(_seen(calm_s))
    return made


def test_as_long_as_players_wait_no_longer_it_has_all_of_its_cap() -> None:
    governor = _governor()
    assert [governor.look(_seen(0.0119)) for _ in range(5)] == [1.0] * 5


def test_it_halves_while_they_wait_longer_down_to_its_least_share_and_comes_back() -> None:
    governor = _governor()
    assert [governor.look(_seen(0.05)) for _ in range(3)] == [0.5, 0.25, 0.125]
    assert governor.look(_seen(0.05)) == 0.0625
    assert governor.look(_seen(0.05)) == 0.05
    looks = 0
    while governor.look(_seen(0.01)) < 1:
        looks += 1
    assert 20 < looks < 40


def test_what_is_slow_without_us_is_learnt_while_we_hardly_weigh() -> None:
    governor = _governor(0.01)
    for _ in range(60):
        governor.look(_seen(0.05))
    assert governor.share > 0.05, "players wait as long without a fill: nothing is gained by waiting"


def test_few_answers_and_very_quick_ones_slow_nothing() -> None:
    governor = _governor(0.0001)
    assert governor.look(_seen(10.0, answers=5)) == 1.0
    assert governor.look(_seen(0.0019)) == 1.0


def test_the_histogram_is_read_and_its_workers_are_added_up() -> None:
    text = """# HELP oca_edge_first_byte_seconds x
oca_edge_first_byte_seconds_bucket{le="0.01",worker="0"} 90.0
oca_edge_first_byte_seconds_bucket{le="0.1",worker="0"} 100.0
oca_edge_first_byte_seconds_bucket{le="+Inf",worker="0"} 100.0
oca_edge_first_byte_seconds_bucket{le="+Inf",worker="1"} 0.0
oca_edge_send_seconds_bucket{le="0.01"} 7.0
"""
    seen = parse(text)
    assert seen.buckets == {0.01: 90.0, 0.1: 100.0, INF: 100.0}
    assert seen.p99_s() == pytest.approx(0.091)
    assert seen.since(seen).answers == 0
    assert parse("nothing of it").answers == 0


@pytest.mark.parametrize(
    ("share", "cap_bps", "fastest_bps", "limit"),
    [
        (1.0, 1000, 5e6, 0),
        (0.5, 1000, 5e6, 500),
        (0.5, 0, 5e6, 2_500_000),
        (0.5, 0, 0.0, 0),
        (0.05, 10, 0.0, 1),
    ],
)
def test_without_a_cap_a_share_is_of_the_fastest_so_far(
    share: float, cap_bps: int, fastest_bps: float, limit: int
) -> None:
    assert limit_bps(share, cap_bps, fastest_bps) == limit
