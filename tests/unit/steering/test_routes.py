"""Received routes: deltas lead from serial to serial, and whoever listens hears of differences alone."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.route import Announcement, Attributes, RouteChanges
from steering import routes as module
from steering.routes import Change, Prefix, Routes, parse_prefix

NEAR, FAR = Attributes(local_preference=200), Attributes(as_path=(64500, 64501))
ONE, TWO, SIX = "198.51.100.0/24", "203.0.113.0/24", "2001:db8:a::/48"


def changes(
    since: int, serial: int, *announced: str, gone: tuple[str, ...] = (), **more: bool
) -> RouteChanges:
    made = (Announcement(NEAR, announced),) if announced else ()
    return RouteChanges(since, serial, made, gone, **more)


def texts(routes: Routes, appliance: str = "a1") -> set[str]:
    return {str(prefix) for prefix in routes.table(appliance)}


@given(st.ip_addresses(), st.integers(0, 128))
def test_a_prefix_is_read_as_the_standard_library_reads_it(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, length: int
) -> None:
    network = ipaddress.ip_network((address, min(length, address.max_prefixlen)), strict=False)
    read = parse_prefix(str(network))
    assert read == Prefix(network.version, int(network.network_address), network.prefixlen)
    assert ipaddress.ip_network(str(read)) == network


@pytest.mark.parametrize(
    "text",
    ["", "10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1", "/8"],
)
def test_what_is_no_prefix_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_prefix(text)


def test_deltas_lead_from_serial_to_serial() -> None:
    routes = Routes()
    assert routes.serial("a1") == 0
    assert routes.hear("a1", changes(0, 7, ONE, TWO)) == 7
    assert routes.hear("a1", changes(7, 9, SIX, gone=(TWO,))) == 9
    assert texts(routes) == {ONE, SIX}


def test_who_stands_elsewhere_changes_nothing_and_says_where() -> None:
    routes = Routes()
    routes.hear("a1", changes(0, 7, ONE))
    assert routes.hear("a1", changes(8, 9, TWO)) == 7
    assert routes.hear("a2", changes(8, 9, TWO)) == 0
    assert texts(routes) == {ONE}
    assert texts(routes, "a2") == set()


def test_a_table_that_comes_whole_replaces_the_old_one_with_its_last_part() -> None:
    heard: list[Change] = []
    routes = Routes([heard.append])
    routes.hear("a1", changes(0, 7, ONE, TWO))
    assert routes.hear("a1", changes(0, 100, SIX, more=True)) == 100
    assert texts(routes) == {ONE, TWO}
    assert routes.hear("a1", changes(100, 101, TWO)) == 101
    assert texts(routes) == {TWO, SIX}
    assert {str(prefix) for prefix in heard[-1].announced} == {SIX}
    assert {str(prefix) for prefix in heard[-1].withdrawn} == {ONE}
    assert len(heard) == 2


def test_a_bad_route_is_left_out_and_counted() -> None:
    routes = Routes()
    assert routes.hear("a1", changes(0, 1, ONE, "10.0.0.1/8", gone=("nonsense/9",))) == 1
    assert texts(routes) == {ONE}
    assert routes.refused("a1") == 2


def test_routes_beyond_the_bound_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROUTES", 2)
    routes = Routes()
    routes.hear("a1", changes(0, 1, ONE, TWO, SIX))
    routes.hear("a1", changes(1, 2, "192.0.2.0/24"))
    assert texts(routes) == {ONE, TWO}
    assert routes.refused("a1") == 2
    routes.hear("a1", changes(2, 3, SIX, gone=(ONE,)))
    assert texts(routes) == {TWO, SIX}


def test_appliances_that_announce_the_same_share_one_table() -> None:
    routes = Routes()
    routes.hear("a1", changes(0, 1, ONE, TWO))
    routes.hear("a2", changes(0, 1, TWO))
    assert routes.table("a1") is not routes.table("a2")
    routes.hear("a2", changes(1, 2, ONE))
    assert routes.table("a1") is routes.table("a2")
    routes.hear("a2", RouteChanges(2, 3, (Announcement(FAR, (ONE,)),)))
    assert routes.table("a1")[parse_prefix(ONE)] == NEAR
    assert routes.table("a2")[parse_prefix(ONE)] == FAR


def test_other_attributes_of_the_same_prefix_are_told_and_the_same_ones_are_not() -> None:
    heard: list[Change] = []
    routes = Routes([heard.append])
    routes.hear("a1", changes(0, 1, ONE))
    routes.hear("a1", changes(1, 2, ONE))
    routes.hear("a1", RouteChanges(2, 3, (Announcement(FAR, (ONE,)),)))
    assert [list(change.announced.values()) for change in heard] == [[NEAR], [FAR]]


def test_who_left_the_fleet_announces_nothing() -> None:
    heard: list[Change] = []
    routes = Routes([heard.append])
    routes.hear("a1", changes(0, 1, ONE))
    routes.forget("a1")
    assert heard[-1].withdrawn == {parse_prefix(ONE)}
    assert (routes.serial("a1"), texts(routes)) == (0, set())


def test_what_was_known_before_a_restart_is_known_after_it() -> None:
    routes = Routes()
    routes.restore("a1", 7, {parse_prefix(ONE): NEAR})
    assert routes.hear("a1", changes(7, 8, TWO)) == 8
    assert texts(routes) == {ONE, TWO}


def test_many_routes_are_taken_at_once_and_put_in_force_in_steps() -> None:
    heard: list[Change] = []
    routes = Routes([heard.append])
    many = tuple(f"10.{number >> 8}.{number & 255}.0/24" for number in range(2 * module.STEP))
    assert routes.hear("a1", changes(0, 7, *many)) == 7
    assert routes.hear("a1", changes(7, 8, gone=many[1:])) == 8
    assert routes.hear("a1", changes(7, 9, TWO)) == 8
    assert (texts(routes), routes.settled("a1"), heard) == (set(), 0, [])
    seen = set()
    while routes.step():
        seen.add((len(texts(routes)), routes.settled("a1")))
    assert seen == {(0, 0), (len(many), 7)}
    assert (texts(routes), routes.settled("a1")) == ({many[0]}, 8)
    assert not routes.behind


def test_what_is_under_way_of_one_that_leaves_is_dropped() -> None:
    heard: list[Change] = []
    routes = Routes([heard.append])
    many = tuple(f"10.{number >> 8}.{number & 255}.0/24" for number in range(2 * module.STEP))
    routes.hear("a1", changes(0, 7, *many))
    routes.hear("a2", changes(0, 3, ONE))
    routes.forget("a1")
    while routes.step():
        pass
    assert (texts(routes, "a1"), texts(routes, "a2")) == (set(), {ONE})
    assert [change.appliance for change in heard] == ["a2"]


def test_what_cannot_be_taken_now_is_not_answered_as_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BEHIND", 1)
    routes = Routes()
    many = tuple(f"10.{number >> 8}.{number & 255}.0/24" for number in range(2 * module.STEP))
    assert routes.hear("a1", changes(0, 7, *many)) == 7
    assert routes.hear("a1", changes(7, 8, TWO)) == 7
    while routes.step():
        pass
    assert routes.hear("a1", changes(7, 8, TWO)) == 8


def test_a_table_that_was_known_before_a_restart_is_restored_once() -> None:
    heard: list[Change] = []
    routes = Routes([heard.append])
    table = routes.restore("a1", 7, {parse_prefix(ONE): NEAR})
    assert routes.restore("a2", 3, table) is table
    assert [routes.settled(name) for name in ("a1", "a2")] == [7, 3]
    assert [change.after for change in heard] == [table, table]


PREFIXES = [f"10.{number}.0.0/16" for number in range(6)]


@given(
    st.lists(
        st.tuples(
            st.sets(st.sampled_from(PREFIXES)),
            st.sets(st.sampled_from(PREFIXES)),
            st.sampled_from([NEAR, FAR]),
        ),
        max_size=12,
    )
)
def test_whoever_follows_the_changes_has_the_table(
    steps: list[tuple[set[str], set[str], Attributes]],
) -> None:
    followed: dict[Prefix, Attributes] = {}

    def follow(change: Change) -> None:
        for prefix in change.withdrawn:
            del followed[prefix]
        followed.update(change.announced)

    routes = Routes([follow])
    for number, (up, down, attributes) in enumerate(steps):
        announced = (Announcement(attributes, tuple(sorted(up))),) if up else ()
        routes.hear("a1", RouteChanges(number, number + 1, announced, tuple(sorted(down - up))))
        assert followed == dict(routes.table("a1"))
        fresh = Routes(_seed=routes._seed)
        fresh.restore("a2", 1, followed)
        assert fresh.table("a2").digest == routes.table("a1").digest
