"""What heartbeats say is kept per appliance, replays change nothing, and a snapshot shows it."""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OKPKey

from contracts import heartbeat
from contracts.documents import encode
from contracts.fleet import Fleet
from contracts.heartbeat import DiskReport, Heartbeat, PlanProgress
from contracts.players import NetworkPlayers, Players
from contracts.route import Announcement, Attributes, RouteChanges
from steering.content import Content
from steering.fleet import FleetView, Heard, Replayed
from steering.health import State
from steering.holdings import Title, holdings_of
from steering.nearness import groups
from steering.roster import Roster

V1, V2 = "20261121T060000Z-0a1b2c", "20261122T060000Z-0a1b2c"
BOOT1, BOOT2 = "1" * 16, "2" * 16
KEY = OKPKey.generate_key("Ed25519").as_dict(private=False)
PUBLIC = {name: KEY[name] for name in ("kty", "crv", "x")}
CLIENT = ipaddress.ip_address("10.0.0.1")


def site(name: str, prefixes: list[str], *boxes: str) -> dict[str, Any]:
    appliances = [
        {
            "id": box,
            "url": f"http://{box}:80",
            "capacity_bytes": 1,
            "throughput_bps": 100,
            "public_key": PUBLIC,
        }
        for box in boxes
    ]
    return {"id": name, "tier": name[:3], "prefixes": prefixes, "appliances": appliances}


def roster(*sites: dict[str, Any]) -> Roster:
    return Roster.of(msgspec.convert({"sites": list(sites)}, Fleet))


ALL = roster(
    site("isp-a", ["10.0.0.0/8", "10.0.0.0/16"], "a1", "a2"),
    site("isp-b", ["192.168.0.0/16"], "b1"),
    site("ixp-c", ["0.0.0.0/0"], "c1"),
)


def beat(name: str = "a1", sequence: int = 1, boot: str = BOOT1, **changes: Any) -> Heartbeat:
    made = Heartbeat(name, boot, sequence, "0.1.0", False, 1, 50, 1, ())
    return msgspec.structs.replace(made, **changes)


def progress(version: str = V1, *missing: str) -> PlanProgress:
    return PlanProgress(version, 10, 5, missing)


def test_an_appliance_joins_serves_drains_and_goes_down() -> None:
    view = FleetView(ALL)
    assert view.state("a1", 0) is State.JOINING
    assert view.hear(beat(), 0, 0) is State.SERVING
    assert view.state("a1", 4) is State.SUSPECT
    assert view.hear(beat(sequence=2, draining=True), 5, 5) is State.DRAINING
    assert view.state("a1", 35) is State.DOWN
    assert view.state("a2", 35) is State.JOINING


@pytest.mark.parametrize(
    ("again", "issued_at"),
    [
        (beat(sequence=5), 100),
        (beat(sequence=4), 100),
        (beat(sequence=5, draining=True), 101),
        (beat(sequence=9, boot=BOOT2), 99),  # of an earlier boot, sent again
    ],
)
def test_a_replayed_heartbeat_is_refused_and_changes_nothing(again: Heartbeat, issued_at: float) -> None:
    view = FleetView(ALL)
    view.hear(beat(sequence=5), 100, 0)
    with pytest.raises(Replayed, match="was heard already"):
        view.hear(again, issued_at, 20)
    assert view.last("a1") == beat(sequence=5)
    assert view.age_s("a1", 20) == 20


def test_a_restarted_appliance_counts_anew() -> None:
    view = FleetView(ALL)
    view.hear(beat(sequence=500), 100, 0)
    assert view.hear(beat(sequence=1, boot=BOOT2), 100, 1) is State.SERVING


def test_a_clock_that_steps_back_does_not_silence_a_running_appliance() -> None:
    view = FleetView(ALL)
    view.hear(beat(sequence=1), 100, 0)
    assert view.hear(beat(sequence=2), 40, 2) is State.SERVING


def reached(view: FleetView, now: float = 0) -> dict[str, int]:
    return {at.site.id: at.length for at in view.snapshot(CLIENT, now).reaches}


def test_a_snapshot_has_the_clients_sites_and_the_longest_prefix_of_each() -> None:
    view = FleetView(ALL)
    shot = view.snapshot(CLIENT, 0)
    assert reached(view) == {"isp-a": 16, "ixp-c": 0}
    assert [box.id for at in shot.reaches for box in at.site.boxes] == ["a1", "a2", "c1"]
    assert [at.site.id for at in view.elsewhere(shot)] == ["isp-b"]


announced = st.lists(
    st.sampled_from(["10.0.0.0/8", "10.0.0.0/16", "0.0.0.0/0", "192.168.0.0/16"]), unique=True
)


@given(st.lists(st.tuples(st.sampled_from(["isp", "ixp"]), announced), min_size=1, max_size=6))
def test_what_each_prefix_has_in_order_is_the_order_of_all(drawn: list[tuple[str, list[str]]]) -> None:
    sites = [site(f"{tier}-{n}", prefixes, f"box{n}") for n, (tier, prefixes) in enumerate(drawn)]
    shot = FleetView(roster(*sites)).snapshot(CLIENT, 0)
    assert shot.groups == groups(shot.reaches)
    lengths = {
        f"{tier}-{n}": max(int(text.split("/")[1]) for text in prefixes if not text.startswith("192"))
        for n, (tier, prefixes) in enumerate(drawn)
        if set(prefixes) - {"192.168.0.0/16"}
    }
    assert {at.site.id: at.length for at in shot.reaches} == lengths
    assert len(shot.reaches) == len(lengths)


def test_what_was_given_is_on_the_load_until_heartbeats_show_it() -> None:
    view = FleetView(ALL)
    view.hear(beat(), 0, 0)
    view.give("a1", 20)
    assert view.site("isp-a").loads[0] == 80
    assert view.load("a1").fresh == 30
    view.hear(beat(sequence=2), 0, 2)
    assert view.site("isp-a").loads[0] == 80
    view.hear(beat(sequence=3), 0, 40)
    assert view.site("isp-a").loads[0] == 50


def test_routes_that_an_appliance_tells_are_those_of_its_site_until_it_leaves() -> None:
    view = FleetView(ALL)
    changes = RouteChanges(0, 1, (Announcement(Attributes(), ("10.0.0.0/24",)),))
    view.hear(beat("b1", routes=changes), 0, 0)
    assert reached(view) == {"isp-a": 16, "ixp-c": 0, "isp-b": 24}
    view.replace(roster(site("isp-b", ["10.0.0.0/30"], "b2"), site("ixp-c", ["0.0.0.0/0"], "c1")))
    assert reached(view) == {"isp-b": 30, "ixp-c": 0}


TT1, TT2 = (Title("h", "d", None, number, 1) for number in range(2))


@pytest.mark.parametrize(
    ("plan", "holds"),
    [
        (None, False),
        (progress(V1), True),
        (progress(V1, "tt1"), False),
        (progress(V1, "tt2"), True),
        (progress(V2), False),  # another plan, in which the title is not
        (progress("20261120T060000Z-0a1b2c"), False),  # a plan that steering does not know
    ],
)
def test_an_appliance_holds_what_its_plan_has_and_it_does_not_miss(
    plan: PlanProgress | None, holds: bool
) -> None:
    titles = {"tt1": TT1, "tt2": TT2}
    planned = {
        (V1, "a1"): holdings_of({"tt1": ["tt1/x"]}, titles),
        (V2, "a1"): holdings_of({"tt2": ["tt2/x"]}, titles),
    }
    view = FleetView(ALL, Content(titles=titles, planned=planned))
    view.hear(beat(plan=plan), 0, 0)
    sites = [at.site for at in view.snapshot(CLIENT, 0).reaches]
    found = [at.holdings.holds(it.place, TT1.bit(None)) for at in sites for it in at.boxes]
    assert found == [holds, False, False]


def test_another_fleet_file_keeps_what_was_heard_of_those_who_stay() -> None:
    view = FleetView(ALL)
    for name in ("a1", "b1"):
        view.hear(beat(name), 0, 0)
    view.replace(roster(site("isp-a", ["10.0.0.0/8"], "a1", "a9")))
    assert {name: view.state(name, 1) for name in view.roster.appliances} == {
        "a1": State.SERVING,
        "a9": State.JOINING,
    }
    assert view.last("b1") is None
    assert reached(view, 1) == {"isp-a": 8}
    assert view.site("isp-a").states == (State.SERVING, State.JOINING)


def test_an_appliance_that_comes_back_into_the_fleet_file_has_to_be_heard_again() -> None:
    view = FleetView(ALL)
    view.hear(beat(), 0, 0)
    view.replace(roster(site("isp-b", [], "b1")))
    view.replace(ALL)
    assert view.state("a1", 1) is State.JOINING


def test_the_largest_heartbeat_that_the_bounds_allow_is_read() -> None:
    """Else an appliance with much to fetch would be taken for dead."""
    disks = tuple(DiskReport("\N{SNOWMAN}" * 255, 1 << 62, 1 << 62, "s" * 32) for _ in range(128))
    missing = tuple(f"{number:064d}" for number in range(20_000))
    largest = beat(
        "a" * 63,
        1 << 62,
        software="s" * 64,
        connections=1 << 62,
        disks=disks,
        plan=PlanProgress(V1, 1 << 62, 1 << 62, missing),
    )
    raw = encode(largest)
    assert len(raw) <= heartbeat.MAX_HEARTBEAT_BYTES
    assert msgspec.json.decode(raw, type=Heartbeat) == largest


def test_what_players_went_through_is_in_the_snapshot_of_their_network_until_the_next_heartbeat() -> None:
    starving = beat(players=Players(50, 30, (NetworkPlayers("10.0.0.0/24", 40, 30),)))
    view = FleetView(ALL)
    view.hear(starving, 0, 0)
    assert view.snapshot(CLIENT, 0).told["a1"].starved == 30
    assert view.snapshot(ipaddress.ip_address("10.0.1.1"), 0).told == {}
    view.hear(beat(sequence=2), 2, 2)
    assert view.snapshot(CLIENT, 2).told == {}
    # A restart knows what was heard last, and who is no longer in the fleet is forgotten.
    restarted = FleetView(ALL)
    restarted.recall("a1", Heard(0, 0, starving))
    assert set(restarted.snapshot(CLIENT, 0).told) == {"a1"}
    restarted.hear(msgspec.structs.replace(starving, sequence=2), 1, 1)
    restarted.replace(roster(site("isp-a", ["10.0.0.0/8"], "a2")))
    assert restarted.snapshot(CLIENT, 1).told == {}
