"""Candidates obey the laws of the order for every fleet, and each reason is true."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.catalog import is_licensed
from contracts.route import Attributes, Peering
from steering.health import State
from steering.nearness import groups
from steering.rank import Placed, Question, decide, explain, rank, reason
from steering.snapshot import NOBODY_HOLDS, Reach, SiteView, Snapshot
from steering.spread import FULL
from tests.unit.steering.fleets import HELD, box, cases, lost, question, reach, site, snapshot_of


def order(shot: Snapshot, asked: Question | None = None) -> list[str]:
    return [item.box.id for item in rank(asked or question(), shot)]


def snapshot(*reaches: Reach) -> Snapshot:
    return snapshot_of(reaches)


def domain(placed: Placed) -> tuple[str, str]:
    return placed.box.site, placed.box.failure_domain


# Each row: the better one, and the worse one that is better in everything that counts for less.
FAR = Attributes(50, (1, 2, 3), med=9, ebgp=False, peering=Peering.PUBLIC)
LAWS = {
    "holds before would pull": (
        reach(site("regional-a", box("1")), 0, FAR, 9000.0),
        reach(site("isp-b", box("2", holds=False)), 24, None, 1.0),
    ),
    "longer prefix first": (
        reach(site("regional-a", box("1", load_bps=900)), 24, FAR, 9000.0),
        reach(site("isp-b", box("2")), 23, None, 1.0),
    ),
    "embedded before an exchange, far as it is": (
        reach(site("isp-a", box("1", load_bps=900)), 24, None, 9000.0),
        reach(site("ixp-b", box("2")), 24, None, 1.0),
    ),
    "shorter AS path, far as it is": (
        reach(site("isp-a", box("1", load_bps=900)), 24, Attributes(as_path=(1,)), 9000.0),
        reach(site("isp-b", box("2")), 24, Attributes(as_path=(1, 2)), 1.0),
    ),
    "nearer": (
        reach(site("isp-a", box("1", load_bps=900)), 24, None, 100.0),
        reach(site("isp-b", box("2")), 24, None, 200.0),
    ),
    "less loaded": (
        reach(site("isp-a", box("1", load_bps=100)), 24, None, 100.0),
        reach(site("isp-b", box("2", load_bps=200)), 24, None, 110.0),
    ),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("session", ["session-1", "session-2", "session-3", "session-4"])
def test_what_counts_for_more_decides_alone(law: str, session: str) -> None:
    better, worse = LAWS[law]
    assert order(snapshot(better, worse), question(session)) == ["1", "2"]
    assert order(snapshot(worse, better), question(session)) == ["1", "2"]


@given(cases)
def test_nobody_is_answered_who_may_not_be(case: tuple[Snapshot, Question]) -> None:
    shot, asked = case
    placed = list(rank(asked, shot))
    assert len({item.box.id for item in placed}) == len(placed)
    for item in placed:
        at, one = item.reach, item.box
        assert is_licensed(asked.countries, at.site.country)
        assert one.id not in asked.excluded
        assert at.site.boxes[one.place] is one
        if item.suspect:
            assert at.site.states[one.place] is State.SUSPECT
            assert all(other.suspect for other in placed)
        else:
            assert at.site.states[one.place] is State.SERVING
            load_bps = at.site.loads[one.place] + asked.bitrate_bps
            assert load_bps <= FULL * one.throughput_bps or one.id == asked.incumbent
        assert item.holds == at.site.holdings.holds(one.place, HELD)


@given(cases)
def test_everybody_who_may_be_answered_is_ranked_and_everybody_is_explained_once(
    case: tuple[Snapshot, Question],
) -> None:
    shot, asked = case
    placed = list(rank(asked, shot))
    told = explain(asked, shot, [])
    everybody = [item for at in shot.reaches for item in at.site.boxes]
    assert Counter(item.box.id for item in told) == Counter(item.id for item in everybody)
    assert [item.box.id for item in told if item.place is not None] == [item.box.id for item in placed]
    assert [item.place for item in told[: len(placed)]] == list(range(1, len(placed) + 1))
    able = {
        item.id
        for at in shot.reaches
        for item in at.site.boxes
        if at.site.states[item.place] is State.SERVING
        and item.id not in asked.excluded
        and is_licensed(asked.countries, at.site.country)
        and at.site.loads[item.place] + asked.bitrate_bps <= FULL * item.throughput_bps
    }
    assert able <= {item.box.id for item in placed}


@given(cases)
def test_holders_come_first_and_then_the_route_decides(case: tuple[Snapshot, Question]) -> None:
    shot, asked = case
    placed = [item for item in rank(asked, shot) if item.box.id != asked.incumbent and not item.suspect]
    assert all(one.holds >= other.holds for one, other in pairwise(placed))
    for one, other in pairwise(placed):
        if one.holds == other.holds and one.reach.route is not None and other.reach.route is not None:
            a, b = one.reach, other.reach
            assert a.route is not None
            assert b.route is not None
            assert (-a.length, a.route.order) <= (-b.length, b.route.order)
        if one.holds == other.holds:
            assert one.reach.length >= other.reach.length  # who announces, before who is only near


@given(cases, st.randoms(use_true_random=False))
def test_the_order_is_the_same_however_the_fleet_is_listed(
    case: tuple[Snapshot, Question], chance: object
) -> None:
    shot, asked = case
    reaches = list(shot.reaches)
    chance.shuffle(reaches)  # type: ignore[attr-defined]
    other = msgspec.structs.replace(shot, groups=groups(reaches))
    assert order(other, asked) == order(shot, asked)


@given(cases, st.integers(1, 10))
def test_candidates_are_the_first_in_order_but_for_failure_domains(
    case: tuple[Snapshot, Question], count: int
) -> None:
    shot, asked = case
    ranked = list(rank(asked, shot))
    chosen = decide(asked, shot, count)
    assert len(chosen) == min(count, len(ranked))
    assert len({item.box.id for item in chosen}) == len(chosen)
    ids = [item.box.id for item in ranked]
    assert all(item.box.id in ids for item in chosen)
    if chosen:
        assert chosen[0] == ranked[0]
    if len(chosen) > 1 and len({domain(item) for item in ranked}) > 1:
        assert domain(chosen[1]) != domain(chosen[0])
    if len(chosen) > 2 and len({item.box.site for item in ranked}) > 1:
        assert len({item.box.site for item in chosen}) > 1


@given(cases)
def test_a_session_stays_where_it_is_while_that_may_be_answered(case: tuple[Snapshot, Question]) -> None:
    shot, asked = case
    first = next(iter(rank(msgspec.structs.replace(asked, incumbent=None), shot)), None)
    if first is None or first.suspect:
        return

    def filled(at: SiteView) -> SiteView:
        if first.box not in at.boxes:
            return at
        return at.with_load(first.box.place, first.box.throughput_bps * 2.0)

    full = snapshot_of(msgspec.structs.replace(at, site=filled(at.site)) for at in shot.reaches)
    again = decide(msgspec.structs.replace(asked, incumbent=first.box.id), full, 3)
    assert again[0].box.id == first.box.id


@given(cases)
def test_losing_one_appliance_moves_only_its_own_sessions(case: tuple[Snapshot, Question]) -> None:
    """Of sessions that were answered before; where there is no load to bound, of new ones too."""
    shot, asked = case
    asked = msgspec.structs.replace(asked, incumbent=None)
    everybody = order(shot, asked)
    for gone in everybody:
        rest = snapshot_of(
            tuple(msgspec.structs.replace(at, site=lost(at.site, gone)) for at in shot.reaches),
            shot.told,
        )
        for stays in everybody:
            if stays != gone and not any(item.suspect for item in rank(asked, shot)):
                again = msgspec.structs.replace(asked, incumbent=stays)
                before, after = decide(again, shot, 1), decide(again, rest, 1)
                assert (before[0].box.id == stays) <= (after[0].box.id == stays)


RACKS = snapshot(
    reach(
        site(
            "isp-a",
            box("a1", rack="r1"),
            box("a2", rack="r1"),
            box("a3", rack="r1"),
            box("a4", rack="r2"),
        )
    ),
    reach(site("ixp-c", box("c1")), 0),
)


def test_the_second_stands_in_another_rack_and_the_last_in_another_site() -> None:
    for number in range(20):
        asked = question(title=f"tt{number}")
        first, second, third = decide(asked, RACKS, 3)
        assert first.box.site == second.box.site == "isp-a"
        assert first.box.failure_domain != second.box.failure_domain
        assert third.box.id == "c1"
        assert [item.box.site for item in decide(asked, RACKS, 2)] == ["isp-a", "isp-a"]
        assert len(decide(asked, RACKS, 10)) == 5


def test_without_racks_the_second_stands_in_another_site() -> None:
    shot = snapshot(
        reach(site("isp-a", *(box(f"a{number}") for number in range(4)))),
        reach(site("ixp-c", box("c1")), 8),
        reach(site("ixp-d", box("d1")), 0),
    )
    assert [item.box.site for item in decide(question(), shot, 3)] == ["isp-a", "ixp-c", "isp-a"]
    assert [item.box.site for item in decide(question(), shot, 1)] == ["isp-a"]


def test_a_full_appliance_gives_way_to_its_site_the_site_to_the_exchange_and_that_to_nobody() -> None:
    def shot(*loads: float) -> Snapshot:
        one, two, three = loads
        return snapshot(
            reach(site("isp-a", box("a1", load_bps=one), box("a2", load_bps=two))),
            reach(site("ixp-c", box("c1", load_bps=three)), 0),
        )

    assert set(order(shot(0, 0, 0))[:2]) == {"a1", "a2"}
    assert order(shot(950, 0, 0)) == ["a2", "c1"]
    assert order(shot(950, 949.5, 0)) == ["c1"]
    assert order(shot(950, 950, 950)) == []


def test_suspects_are_answered_only_when_nobody_serves() -> None:
    silent = box("1", state=State.SUSPECT)
    assert order(snapshot(reach(site("isp-a", silent, box("2"))))) == ["2"]
    assert order(snapshot(reach(site("isp-a", silent)))) == ["1"]
    # Who serves and is full is not dead: its viewers would meet the load that it fled from at the suspect.
    assert order(snapshot(reach(site("isp-a", silent, box("2", load_bps=1000))))) == []
    assert order(snapshot(reach(site("isp-a", box("1", state=State.DOWN))))) == []


def test_who_just_failed_the_asker_is_left_out() -> None:
    asked = question(excluded=frozenset({"a1", "c1"}))
    assert "a1" not in order(RACKS, asked)
    assert {item.box.id for item in decide(asked, RACKS, 10)} == {"a2", "a3", "a4"}


def test_of_a_title_that_is_not_in_the_catalog_everybody_would_pull() -> None:
    asked = msgspec.structs.replace(question(), bit=NOBODY_HOLDS)
    assert not any(item.holds for item in rank(asked, RACKS))


def test_sites_are_equally_near_within_a_quarter_and_fifty_kilometres() -> None:
    def near(*distances_km: float | None) -> list[list[float | None]]:
        made = [
            reach(site(f"isp-{number}", box(f"b{number}")), distance_km=distance_km)
            for number, distance_km in enumerate(distances_km)
        ]
        return [[item.distance_km for item in group] for group in groups(made)]

    assert near(0.0, 50.0, 51.0) == [[0.0, 50.0], [51.0]]
    assert near(1000.0, 1250.0, 1251.0) == [[1000.0, 1250.0], [1251.0]]
    assert near(None, 10.0, None) == [[10.0], [None, None]]


def test_sites_that_announce_nothing_come_after_those_that_do_exchanges_first() -> None:
    shot = snapshot(
        Reach(site("regional-e", box("e")), -1, None, 1.0),
        Reach(site("ixp-d", box("d")), -1, None, 2000.0),
        Reach(site("ixp-c", box("c")), -1, None, 100.0),
        reach(site("regional-a", box("a")), 0, None, 5000.0),
    )
    assert order(shot) == ["a", "c", "d", "e"]


@given(cases)
def test_reasons_are_true(case: tuple[Snapshot, Question]) -> None:
    shot, asked = case
    for item in rank(asked, shot):
        words, it = reason(item), item.box
        found = re.match(r"(isp|ixp|regional) site (\S+), (.*)\Z", words)
        assert found is not None
        assert found.groups()[:2] == (it.tier.value, it.site)
        assert (f"announces the client's /{item.reach.length}" in words) == (item.reach.route is not None)
        assert ("holds the title" in words) == item.holds
        assert ("would pull" in words) == (not item.holds)
        assert ("suspect" in words) == item.suspect
    for told in explain(asked, shot, []):
        if told.place is None and told.state is not State.SERVING:
            state = told.state.value
            assert told.reason.startswith((state, "the title is not licensed", "the asker says"))
