"""Sites announce what their appliances and the fleet file say, in the order of BGP, and changes leave no trace."""

from __future__ import annotations

import ipaddress
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from contracts.fleet import Fleet, Tier
from contracts.route import Announcement, Attributes, Origin, Peering, RouteChanges
from steering import announced as module
from steering.announced import Announced
from steering.preference import order_of
from steering.routes import Routes
from tests.unit.steering.fleets import attributes

# From the best to the worst; each is better in what counts for more, and worse in all that counts for less.
WORST = Attributes(50, (1, 2, 3), Origin.INCOMPLETE, 99, False, Peering.PUBLIC)
LADDER = [
    Attributes(50, (1, 2, 3), Origin.INCOMPLETE, 99, False, Peering.EMBEDDED),
    Attributes(50, (1, 2, 3), Origin.INCOMPLETE, 99, False, Peering.PRIVATE),
    Attributes(200, (1, 2, 3), Origin.INCOMPLETE, 99, False, Peering.PUBLIC),
    Attributes(50, (1, 2), Origin.INCOMPLETE, 99, False, Peering.PUBLIC),
    Attributes(50, (1, 2, 3), Origin.IGP, 99, False, Peering.PUBLIC),
    Attributes(50, (1, 2, 3), Origin.EGP, 99, False, Peering.PUBLIC),
    Attributes(50, (1, 2, 3), Origin.INCOMPLETE, 98, False, Peering.PUBLIC),
    Attributes(50, (1, 2, 3), Origin.INCOMPLETE, 99, True, Peering.PUBLIC),
    WORST,
]


def test_what_counts_for_more_decides_alone() -> None:
    orders = [order_of(Tier.ISP, attributes) for attributes in LADDER]
    assert all(better < worse for better, worse in pairwise(orders))


def test_a_regional_site_comes_after_every_peering() -> None:
    assert order_of(Tier.IXP, WORST) < order_of(Tier.REGIONAL, Attributes())


KEY = {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}
NETWORKS = [f"10.{low}.0.0/16" for low in range(6)]


def fleet(**sites: dict[str, Any]) -> Fleet:
    """By site: its tier, prefixes and appliances."""
    made = [
        {
            "id": name,
            "tier": site.get("tier", "isp"),
            "prefixes": site.get("prefixes", []),
            "may_announce": site.get("may_announce"),
            "appliances": [
                {"id": box, "url": "http://x", "capacity_bytes": 1, "throughput_bps": 1, "public_key": KEY}
                for box in site["appliances"]
            ],
        }
        for name, site in sites.items()
    ]
    return msgspec.convert({"sites": made}, Fleet)


class Network:
    """Announced prefixes, driven as heartbeats drive them."""

    def __init__(self, first: Fleet) -> None:
        self.routes = Routes()
        self.announced = Announced(self.routes)
        self.announced.read(first)

    def say(self, appliance: str, what: Attributes | None, prefixes: list[str]) -> None:
        serial = self.routes.serial(appliance)
        come = (Announcement(what, tuple(prefixes)),) if what is not None and prefixes else ()
        gone = () if what is not None else tuple(prefixes)
        # The first time a whole table, though it says little.
        self.routes.hear(appliance, RouteChanges(serial, serial + 1, come, gone))
        self.follow()

    def follow(self) -> None:
        while self.routes.step() or self.announced.step():
            pass

    def reach(self, network: str) -> dict[str, tuple[Any, ...]]:
        address = ipaddress.ip_network(network)[1]
        found = self.announced.matches(address)
        return {route.site: route.order for _, ways in found for way in ways for route in way}


TWO = fleet(a={"appliances": ["a1", "a2"]}, b={"appliances": ["b1"]})
steps = st.lists(
    st.tuples(
        st.sampled_from(["a1", "a2", "b1"]),
        st.none() | attributes,
        st.lists(st.sampled_from(NETWORKS), max_size=4, unique=True),
    ),
    max_size=15,
)
files = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.fixed_dictionaries(
        {
            "tier": st.sampled_from(["isp", "ixp", "regional"]),
            "prefixes": st.lists(st.sampled_from(NETWORKS), unique=True),
            # 10.0.0.0/14 holds the first four, 10.4.0.0/17 none.
            "may_announce": st.none()
            | st.lists(st.sampled_from([*NETWORKS, "10.0.0.0/14", "10.4.0.0/17"]), unique=True),
            "appliances": st.just([]),
        }
    ),
    min_size=1,
)


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    sites = draw(files)
    for name in ("a1", "a2", "b1"):
        where = draw(st.none() | st.sampled_from(sorted(sites)))
        if where is not None:
            sites[where]["appliances"] = [*sites[where]["appliances"], name]
    return fleet(**{name: site for name, site in sites.items() if site["appliances"]})


@given(steps, fleets(), steps)
def test_after_any_changes_the_table_is_what_a_fresh_one_of_what_is_left_would_be(
    before: list[Any], other: Fleet, after: list[Any]
) -> None:
    net, said = Network(TWO), dict[tuple[str, str], Attributes]()
    for changes in (before, after):
        for appliance, what, networks in changes:
            net.say(appliance, what, networks)
            for network in networks:
                said.pop((appliance, network), None)
                if what is not None:
                    said[appliance, network] = what
        if changes is before:
            net.announced.read(other)
    for network in NETWORKS:
        expected: dict[str, list[Any]] = {}
        for site in other.sites:
            names = [box.id for box in site.appliances]
            if network in site.prefixes:
                written = Attributes(peering=Peering.EMBEDDED if site.tier is Tier.ISP else Peering.PUBLIC)
                expected.setdefault(site.id, []).append(order_of(site.tier, written))
            allowed = site.may_announce is None or any(
                ipaddress.IPv4Network(network).subnet_of(ipaddress.IPv4Network(cover))
                for cover in site.may_announce
            )
            for (who, where), what in said.items():
                if who in names and where == network and allowed:
                    expected.setdefault(site.id, []).append(order_of(site.tier, what))
        assert net.reach(network) == {site: min(orders) for site, orders in expected.items()}


def test_what_a_site_may_not_announce_is_refused_and_counted() -> None:
    allowed = fleet(a={"appliances": ["a1"], "may_announce": ["10.1.0.0/16"]})
    net = Network(allowed)
    net.say("a1", Attributes(), ["10.1.0.0/16", "10.1.7.0/24", "10.0.0.0/8", "10.2.0.0/16"])
    assert [set(net.reach(text)) for text in ("10.1.0.0/16", "10.1.7.0/24", "10.2.0.0/16")] == [
        {"a"},
        {"a"},
        set(),
    ]
    assert net.announced.refused("a") == 2
    net.say("a1", None, ["10.2.0.0/16"])
    assert net.announced.refused("a") == 1
    net.announced.read(fleet(a={"appliances": ["a1"]}))
    assert (set(net.reach("10.2.0.0/16")), net.announced.refused("a")) == ({"a"}, 0), (
        "the /8 holds it, and may"
    )
    net.announced.read(allowed)
    assert (net.reach("10.2.0.0/16"), net.announced.refused("a")) == ({}, 1)


def test_a_site_has_the_best_of_what_its_appliances_announce_and_tells_who_differs() -> None:
    near, far = Attributes(as_path=(1,)), Attributes(as_path=(1, 2))
    net = Network(fleet(a={"appliances": ["a1", "a2"], "prefixes": ["10.3.0.0/16"]}))
    net.say("a1", near, ["10.1.0.0/16", "10.2.0.0/16"])
    net.say("a2", far, ["10.1.0.0/16"])
    assert net.reach("10.1.0.0/16") == {"a": order_of(Tier.ISP, near)}
    assert net.announced.differences("a") == {"a2": 2}
    assert net.announced.count("a1") == 2
    net.say("a1", None, ["10.1.0.0/16"])
    assert net.reach("10.1.0.0/16") == {"a": order_of(Tier.ISP, far)}
    assert net.announced.differences("a") == {"a1": 1, "a2": 1}
    net.say("a1", near, ["10.1.0.0/16"])
    net.say("a2", near, ["10.1.0.0/16", "10.2.0.0/16"])
    assert net.announced.differences("a") == {}


def test_a_flap_of_many_prefixes_is_looked_at_in_steps() -> None:
    net = Network(TWO)
    many = tuple(f"10.{number >> 8}.{number & 255}.0/24" for number in range(2 * module.STEP + 1))
    net.routes.hear("a1", RouteChanges(0, 1, (Announcement(Attributes(), many),)))
    while net.routes.step():
        pass
    # The first step was taken with the change.
    assert [len(net.announced)] + [(net.announced.step(), len(net.announced))[1] for _ in range(3)] == [
        module.STEP,
        2 * module.STEP,
        2 * module.STEP + 1,
        2 * module.STEP + 1,
    ]
    assert not net.announced.behind


def test_who_announces_what_others_of_the_site_do_makes_no_work() -> None:
    net = Network(TWO)
    many = [f"10.{number >> 8}.{number & 255}.0/24" for number in range(2 * module.STEP)]
    net.say("a1", Attributes(), many)
    serial = net.routes.serial("a2")
    net.routes.hear("a2", RouteChanges(serial, serial + 1, (Announcement(Attributes(), tuple(many)),)))
    while net.routes.step():
        pass
    assert net.routes.table("a1") is net.routes.table("a2")
    assert not net.announced.behind
    net.say("a1", None, many)
    assert len(net.announced) == len(many)
    net.say("a2", None, many)
    assert len(net.announced) == 0


def test_a_prefix_of_the_fleet_file_may_be_an_address_or_have_a_mask() -> None:
    net = Network(
        fleet(a={"appliances": ["a1"], "prefixes": ["198.51.100.7", "10.0.0.0/255.0.0.0", "2001:db8::1"]})
    )
    for network in ("198.51.100.6/31", "10.1.0.0/16", "2001:db8::/127"):
        assert net.reach(network).keys() == {"a"}
