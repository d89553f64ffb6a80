"""Routes outlive a lost session for a while, and are swept only when the new table is whole."""

from __future__ import annotations

import itertools
from typing import Any

from contracts.route import Attributes, Origin
from oca.bgp.config import Bgp, Neighbour
from oca.bgp.events import Down, EndOfRib, Up, Update
from oca.bgp.rib import Rib

A, B = "192.0.2.1", "192.0.2.3"
ONE, TWO, SIX = "20.1.0.0/16", "20.2.0.0/16", "2a00:1::/32"
PLAIN = Attributes(as_path=(64501,))


def rib(*, neighbours: tuple[str, ...] = (A,), max_prefixes: int = 10, **changes: Any) -> Rib:
    made = tuple(Neighbour(name, 64501, "192.0.2.2", max_prefixes=max_prefixes) for name in neighbours)
    return Rib(Bgp(64500, made, **({"grace_s": 100, "settle_s": 30} | changes)), 0)


def up(rib: Rib, *prefixes: str, by: str = A, now: float = 0, attributes: Attributes = PLAIN) -> None:
    rib.take(Up(by), now)
    rib.take(Update(by, attributes, prefixes, ()), now)
    for family in (4, 6):
        rib.take(EndOfRib(by, family), now)


def said(rib: Rib) -> list[str]:
    return [what for what, _ in rib.notices]


def test_what_is_announced_and_withdrawn() -> None:
    table = rib()
    up(table, ONE, TWO, SIX)
    assert table.whole
    assert table.routes == {ONE: PLAIN, TWO: PLAIN, SIX: PLAIN}
    table.changed.clear()
    table.take(Update(A, PLAIN, (), (TWO, "20.9.0.0/16")), 1)
    table.take(Update(A, PLAIN, (ONE,), ()), 1)
    assert table.routes == {ONE: PLAIN, SIX: PLAIN}
    assert table.changed == {TWO}


def test_a_lost_session_keeps_its_routes_for_the_grace_time() -> None:
    table = rib()
    up(table, ONE)
    table.take(Down(A, "lost"), 10)
    table.tick(109)
    assert set(table.routes) == {ONE}
    table.tick(110)
    assert table.routes == {}
    assert said(table).count("BGP session down") == 1


def test_calls_that_fail_do_not_prolong_the_grace() -> None:
    table = rib()
    up(table, ONE)
    for now in range(10, 110, 10):
        table.take(Down(A, "closing connection"), now)
    table.tick(110)
    assert table.routes == {}
    assert len([what for what in said(table) if "session" in what]) <= 4


def test_what_is_not_announced_again_is_swept_at_the_end_of_its_table_and_not_before() -> None:
    table = rib()
    up(table, ONE, TWO, SIX)
    table.take(Down(A, ""), 10)
    table.take(Up(A), 20)
    table.take(Update(A, PLAIN, (ONE,), ()), 21)
    table.tick(1)
    assert set(table.routes) == {ONE, TWO, SIX}
    table.take(EndOfRib(A, 4), 22)
    assert set(table.routes) == {ONE, SIX}
    table.take(EndOfRib(A, 6), 22)
    assert set(table.routes) == {ONE}


def test_a_router_that_marks_no_end_has_its_table_whole_when_it_was_quiet() -> None:
    table = rib()
    up(table, ONE, TWO)
    table.take(Down(A, ""), 10)
    table.take(Up(A), 20)
    table.take(Update(A, PLAIN, (ONE,), ()), 45)
    table.tick(74)
    assert set(table.routes) == {ONE, TWO}
    table.tick(75)
    assert set(table.routes) == {ONE}


def test_the_table_is_whole_when_every_neighbour_told_its_own_or_had_its_time() -> None:
    table = rib(neighbours=(A, B))
    up(table, ONE)
    assert not table.whole
    table.tick(29)
    assert not table.whole
    table.tick(30)
    assert table.whole


def test_the_best_of_two_neighbours_and_the_other_when_it_is_gone() -> None:
    table = rib(neighbours=(A, B))
    far = Attributes(as_path=(64501, 64502), local_preference=100)
    up(table, ONE, attributes=PLAIN)
    up(table, ONE, by=B, attributes=far)
    assert table.routes[ONE] == PLAIN
    loud = Attributes(as_path=(64501, 64502), local_preference=200)
    table.take(Update(B, loud, (ONE,), ()), 1)
    assert table.routes[ONE] == loud
    table.take(Update(B, loud, (), (ONE,)), 2)
    assert table.routes[ONE] == PLAIN


def test_the_order_of_preference_is_that_of_bgp() -> None:
    ordered = [
        Attributes(local_preference=200, as_path=(1, 2, 3), origin=Origin.INCOMPLETE, med=9, ebgp=False),
        Attributes(as_path=(1,), origin=Origin.INCOMPLETE, med=9, ebgp=False),
        Attributes(as_path=(1, 2), med=9, ebgp=False),
        Attributes(as_path=(1, 2), origin=Origin.EGP),
        Attributes(as_path=(1, 2), origin=Origin.INCOMPLETE, med=1, ebgp=False),
        Attributes(as_path=(1, 2), origin=Origin.INCOMPLETE, med=2),
        Attributes(as_path=(1, 2), origin=Origin.INCOMPLETE, med=2, ebgp=False),
    ]
    for better, worse in itertools.pairwise(ordered):
        for first, second in ((better, worse), (worse, better)):
            table = rib(neighbours=(A, B))
            up(table, ONE, attributes=first)
            up(table, ONE, by=B, attributes=second)
            assert table.routes[ONE] == better


def test_too_many_prefixes_stop_the_session_and_nothing_of_it_stays() -> None:
    table = rib(max_prefixes=3)
    up(table, ONE, TWO, "10.0.0.0/8")
    assert "BGP prefixes near the limit" in said(table)
    table.take(Update(A, PLAIN, (SIX,), ()), 5)
    assert table.routes == {}
    assert table.paused == {A}
    table.take(Update(A, PLAIN, (ONE,), ()), 6)
    table.take(EndOfRib(A, 4), 6)
    table.take(Down(A, "configuration"), 6)
    table.take(Up(A), 7)
    assert table.routes == {}
    assert not table.sessions[A].up
    assert "more than 3" in table.sessions[A].why
    table.tick(5 + 1799)
    assert table.paused == {A}
    table.tick(5 + 1800)
    assert table.paused == frozenset()
    up(table, ONE, now=2000)
    assert set(table.routes) == {ONE}


def test_refused_prefixes_are_counted_as_long_as_they_are_announced() -> None:
    table = rib()
    up(table, "10.0.0.0/8", "20.0.0.0/28")
    session = table.sessions[A]
    assert {verdict.name for verdict in session.refusals()} == {"PRIVATE", "TOO_LONG"}
    assert "BGP refused all prefixes" in said(table)
    table.take(Update(A, PLAIN, (), ("10.0.0.0/8",)), 1)
    assert [verdict.name for verdict in session.refusals()] == ["TOO_LONG"]
    table.take(Down(A, ""), 2)
    up(table, ONE, now=3)
    assert not session.refused


def test_a_prefix_whose_attributes_become_refused_is_withdrawn() -> None:
    table = rib()
    up(table, ONE)
    table.take(Update(A, Attributes(as_path=(64501, 64500)), (ONE,), ()), 1)
    assert table.routes == {}


def test_when_exabgp_ends_the_routes_stay_for_the_grace_time() -> None:
    table = rib()
    up(table, ONE)
    table.lost("exabgp ended", 5)
    assert not table.sessions[A].up
    table.tick(104)
    assert set(table.routes) == {ONE}
    table.tick(105)
    assert table.routes == {}


def test_why_no_session_comes_up_is_said_once_for_each_reason() -> None:
    table = rib()
    for now in range(20):
        table.take(Down(A, "notification sent (2,2)"), now)
        table.take(Down(A, "closing connection"), now)
    assert said(table) == ["BGP session not up"]
    assert table.sessions[A].why == "notification sent (2,2)"
    up(table, ONE, now=30)
    table.take(Down(A, "closing connection"), 31)
    table.take(Down(A, "notification sent (2,2)"), 32)
    assert said(table).count("BGP session not up") == 2
