"""A network of viewers may start what its viewers want; a walk through the catalog from it is slow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from steering.clientbudgets import ClientBudgets

TITLES_PER_S, STARTS_PER_S, BURST_S = 10.0, 200.0, 30.0
VIEWER = "198.51.100.7"


def budgets(networks: int = 1000) -> ClientBudgets:
    return ClientBudgets(TITLES_PER_S, STARTS_PER_S, BURST_S, networks)


def passed(made: ClientBudgets, count: int, now: float, client_ip: str = VIEWER, first: int = 0) -> int:
    """How many of so many different titles are answered at once."""
    return sum(not made.take(client_ip, f"tt{number:05d}", now) for number in range(first, first + count))


def test_a_walk_through_the_catalog_is_slowed_down_to_the_rate() -> None:
    made = budgets()
    at_once = passed(made, 18_000, 100.0)
    assert at_once == BURST_S * TITLES_PER_S
    later = sum(passed(made, 100, 100.0 + second, first=20_000 + 100 * second) for second in range(1, 61))
    assert abs(later - 60 * TITLES_PER_S) <= 1


def test_all_behind_one_nat_start_the_same_title_at_midnight() -> None:
    made = budgets()
    assert not any(made.take(VIEWER, "tt00001", 100.0 + number / 200) for number in range(20_000))


def test_other_viewers_titles_do_not_make_a_release_dear() -> None:
    """One in twenty starts is of another title: the one that all want stays known, or becomes so again at once."""
    made = budgets()
    refused = 0
    for number in range(10_000):
        title = f"tt{number:05d}" if number % 20 == 0 else "tt-new"
        refused += bool(made.take(VIEWER, title, 100.0 + number / 100))
    assert refused == 0


def test_who_waits_as_long_as_he_was_told_is_let_in() -> None:
    made, now = budgets(), 100.0
    passed(made, 18_000, now)
    for number in range(100):
        wait_s = made.take(VIEWER, f"other-{number}", now)
        if wait_s:
            now += wait_s + 1e-6
            assert made.take(VIEWER, f"other-{number}", now) == 0


def test_one_network_is_no_other_s_affair() -> None:
    made = budgets()
    passed(made, 18_000, 100.0)
    assert made.take("198.51.100.200", "tt-else", 100.0) > 0  # the same /24
    assert made.take("::ffff:198.51.100.9", "tt-else", 100.0) > 0  # and as IPv6 says it
    assert made.take("198.51.101.7", "tt-else", 100.0) == 0
    passed(made, 18_000, 100.0, "2001:db8:a::1")
    assert made.take("2001:db8:a:ffff::1", "tt-else", 100.0) > 0  # the same /48
    assert made.take("2001:db8:b::1", "tt-else", 100.0) == 0


def test_no_more_networks_are_remembered_than_there_is_room_for() -> None:
    made = budgets(networks=3)
    passed(made, 18_000, 100.0)
    for number in range(4):
        assert made.take(f"203.0.{number}.1", "tt1", 100.0) == 0
        assert len(made) <= 3
    assert made.take(VIEWER, "tt-else", 100.0) == 0  # forgotten: it begins anew


@given(
    st.lists(
        st.tuples(
            st.sampled_from([VIEWER, "198.51.101.1", "2001:db8::1"]),
            st.integers(0, 50),
            st.floats(0, 10, allow_nan=False),
        ),
        max_size=200,
    )
)
def test_never_more_than_rate_and_burst_allow(asked: list[tuple[str, int, float]]) -> None:
    made, now, spent_s, began = budgets(), 1000.0, 0.0, 1000.0
    for client_ip, title, pause_s in asked:
        now += pause_s
        if made.take(client_ip, f"tt{title}", now) == 0 and client_ip == VIEWER:
            spent_s += 1 / STARTS_PER_S  # at least
    assert spent_s <= BURST_S + (now - began) + 1e-6
