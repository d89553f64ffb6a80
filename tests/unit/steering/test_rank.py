"""The order of candidates obeys its laws for every fleet, and each reason is true."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.fleet import Tier
from steering.health import State
from steering.rank import Considered, nearly_full, rank, select_candidates
from steering.snapshot import Box, Snapshot

SITES = ["isp-a", "isp-b", "ixp-c", "ixp-d"]


def box(name: str, site: str = "isp-a", **changes: object) -> Box:
    tier = Tier.ISP if site.startswith("isp") else Tier.IXP
    made = Box(name, site, tier, f"http://{name}:8080", State.SERVING, 1000, 0, True)
    return replace(made, **changes)  # type: ignore[arg-type]


def snapshot(*boxes: Box, **lengths: int) -> Snapshot:
    return Snapshot(boxes, {name.replace("_", "-"): length for name, length in lengths.items()})


def order(shot: Snapshot, session: str = "session-1", title: str = "tt1") -> list[str]:
    return [item.box.id for item in rank(title, session, shot) if item.place is not None]


EVERYWHERE = {"isp_a": 24, "isp_b": 24, "ixp_c": 0, "ixp_d": 0}

# Each row: the better one, and the worse one that is better in everything that counts for less.
LAWS = {
    "serving before suspect": (
        box("1", "ixp-c", tx_bps=999, holds=False),
        box("2", "isp-a", state=State.SUSPECT),
    ),
    "below 95 % before above": (box("1", "ixp-c", holds=False), box("2", "isp-a", tx_bps=951)),
    "holds before would pull": (box("1", "ixp-c"), box("2", "isp-a", holds=False)),
    "ISP before IXP": (box("1", "isp-a"), box("2", "ixp-d")),
    "longer prefix first": (box("1", "isp-b"), box("2", "isp-a")),
}
LENGTHS = {"isp_a": 20, "isp_b": 24, "ixp_c": 0, "ixp_d": 32}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("session", ["session-1", "session-2", "session-3", "session-4"])
def test_what_counts_for_more_decides_alone(law: str, session: str) -> None:
    better, worse = LAWS[law]
    assert order(snapshot(better, worse, **LENGTHS), session) == ["1", "2"]
    assert order(snapshot(worse, better, **LENGTHS), session) == ["1", "2"]


boxes = st.builds(
    box,
    name=st.from_regex("[a-z][a-z0-9]{0,5}", fullmatch=True),
    site=st.sampled_from(SITES),
    state=st.sampled_from(State),
    throughput_bps=st.integers(1, 10**12),
    tx_bps=st.integers(0, 10**12),
    holds=st.booleans(),
    licensed=st.booleans(),
)
snapshots = st.builds(
    lambda found, lengths: Snapshot(tuple(found), lengths),
    st.lists(boxes, max_size=12, unique_by=lambda item: item.id),
    st.dictionaries(st.sampled_from(SITES), st.integers(0, 128)),
)
names = st.text("abc", max_size=3)


def key(shot: Snapshot, item: Considered) -> tuple[object, ...]:
    """The documented order, written down a second time."""
    return (
        item.box.state is State.SUSPECT,
        item.box.tx_bps > 0.95 * item.box.throughput_bps,
        not item.box.holds,
        item.box.tier is Tier.IXP,
        -shot.lengths[item.box.site],
    )


@given(snapshots, names, names)
def test_the_order_is_the_documented_one(shot: Snapshot, title: str, session: str) -> None:
    placed = [item for item in rank(title, session, shot) if item.place is not None]
    assert [item.place for item in placed] == list(range(1, len(placed) + 1))
    keys = [key(shot, item) for item in placed]
    assert keys == sorted(keys)


@given(snapshots, names, names)
def test_everybody_is_considered_once_and_the_eligible_are_exactly_those_who_may_serve(
    shot: Snapshot, title: str, session: str
) -> None:
    ranked = rank(title, session, shot)
    assert Counter(item.box.id for item in ranked) == Counter(item.id for item in shot.boxes)
    for item in ranked:
        announced = item.box.site in shot.lengths
        may = announced and item.box.licensed and item.box.state in {State.SERVING, State.SUSPECT}
        assert (item.place is not None) == may


@given(snapshots, names, names, st.randoms(use_true_random=False))
def test_the_order_is_the_same_however_the_fleet_is_listed(
    shot: Snapshot, title: str, session: str, chance: object
) -> None:
    shuffled = list(shot.boxes)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert order(Snapshot(tuple(shuffled), shot.lengths), session, title) == order(shot, session, title)


@given(snapshots, names, names)
def test_who_leaves_changes_nothing_among_those_who_stay(shot: Snapshot, title: str, session: str) -> None:
    """Rendezvous hashing: sessions of the others are not moved about."""
    everybody = order(shot, session, title)
    for gone in everybody:
        rest = Snapshot(tuple(item for item in shot.boxes if item.id != gone), shot.lengths)
        assert order(rest, session, title) == [name for name in everybody if name != gone]


@given(snapshots, names, names, st.integers(1, 10))
def test_candidates_are_eligible_distinct_and_as_many_as_there_are(
    shot: Snapshot, title: str, session: str, count: int
) -> None:
    ranked = rank(title, session, shot)
    chosen = select_candidates(ranked, count)
    eligible = [item for item in ranked if item.place is not None]
    healthy = [item for item in eligible if item.box.state is State.SERVING]
    assert len(chosen) == min(count, len(healthy or eligible))
    assert len({item.box.id for item in chosen}) == len(chosen)
    assert all(item in (healthy or eligible) for item in chosen)
    if chosen:
        assert chosen[0] is (healthy or eligible)[0]


@given(snapshots, names, names, st.integers(2, 10))
def test_candidates_stand_in_more_than_one_site_where_there_is_more_than_one(
    shot: Snapshot, title: str, session: str, count: int
) -> None:
    ranked = rank(title, session, shot)
    able = [item for item in ranked if item.place is not None]
    able = [item for item in able if item.box.state is State.SERVING] or able
    sites = {item.box.site for item in select_candidates(ranked, count)}
    assert len(sites) >= min(2, len({item.box.site for item in able}))


def test_the_last_of_one_site_gives_way_to_the_best_of_another() -> None:
    shot = snapshot(
        *(box(f"a{number}") for number in range(4)),
        box("c1", "ixp-c"),
        box("d1", "ixp-d"),
        isp_a=24,
        ixp_c=8,
        ixp_d=0,
    )
    ranked = rank("tt1", "session-1", shot)
    assert [item.box.site for item in select_candidates(ranked, 3)] == ["isp-a", "isp-a", "ixp-c"]
    assert [item.box.site for item in select_candidates(ranked, 2)] == ["isp-a", "ixp-c"]
    assert [item.box.site for item in select_candidates(ranked, 1)] == ["isp-a"]
    assert len(select_candidates(ranked, 10)) == 6


def test_suspects_are_answered_only_when_nobody_else_is_left() -> None:
    suspect, healthy = box("1", state=State.SUSPECT), box("2")
    assert [
        item.box.id for item in select_candidates(rank("t", "s", snapshot(suspect, healthy, isp_a=8)), 3)
    ] == ["2"]
    assert [item.box.id for item in select_candidates(rank("t", "s", snapshot(suspect, isp_a=8)), 3)] == ["1"]


def test_nobody_eligible_is_no_candidate() -> None:
    assert select_candidates(rank("t", "s", snapshot(box("1", state=State.DOWN), isp_a=8)), 3) == []
    assert select_candidates(rank("t", "s", snapshot(box("1"))), 3) == []
    assert select_candidates([], 3) == []


def test_sessions_spread_over_those_who_hold_the_title_in_proportion_to_their_throughput() -> None:
    shot = snapshot(box("big", throughput_bps=3000), box("small", throughput_bps=1000), isp_a=8)
    first = Counter(order(shot, f"session-{number}")[0] for number in range(4000))
    assert 0.72 < first["big"] / 4000 < 0.78


def test_a_title_that_nobody_holds_is_pulled_by_one_and_titles_spread() -> None:
    shot = snapshot(box("1", holds=False), box("2", holds=False), isp_a=8)
    assert len({order(shot, f"session-{number}")[0] for number in range(50)}) == 1
    assert {order(shot, "session-1", f"tt{number}")[0] for number in range(50)} == {"1", "2"}


def test_full_to_the_last_bit_below_the_limit_is_not_nearly_full() -> None:
    assert not nearly_full(box("1", tx_bps=950))
    assert nearly_full(box("1", tx_bps=951))


@given(snapshots, names, names)
def test_reasons_are_true(shot: Snapshot, title: str, session: str) -> None:
    for item in rank(title, session, shot):
        words, it = item.reason, item.box
        if item.place is None:
            if it.site not in shot.lengths:
                assert words == f"site {it.site} announces no prefix that holds the client"
            elif not it.licensed:
                assert words == f"the title is not licensed where site {it.site} stands"
            else:
                assert words.startswith(it.state.value)
            continue
        found = re.match(r"(isp|ixp) site (\S+), announces the client's /(\d+), ", words)
        assert found is not None
        assert found.groups() == (it.tier.value, it.site, str(shot.lengths[it.site]))
        assert ("holds the title" in words) == it.holds
        assert ("would pull" in words) == (not it.holds)
        assert ("suspect" in words) == (it.state is State.SUSPECT)
        assert ("nearly full" in words) == nearly_full(it)
