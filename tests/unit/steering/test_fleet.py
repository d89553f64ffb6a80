"""What heartbeats say is kept per appliance, replays change nothing, and a snapshot shows it."""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec
import pytest
from joserfc.jwk import OKPKey

from contracts import heartbeat
from contracts.documents import encode
from contracts.fleet import Fleet
from contracts.heartbeat import DiskReport, Heartbeat, PlanProgress
from steering.content import Content
from steering.fleet import FleetView, Replayed, Roster
from steering.health import State

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


def test_a_snapshot_has_the_clients_sites_and_the_longest_prefix_of_each() -> None:
    view = FleetView(ALL)
    shot = view.snapshot(CLIENT, "tt1", Content(), 0)
    assert shot.lengths == {"isp-a": 16, "ixp-c": 0}
    assert [box.id for box in shot.boxes] == ["a1", "a2", "c1"]
    whole = view.snapshot(CLIENT, "tt1", Content(), 0, whole=True)
    assert [box.id for box in whole.boxes] == ["a1", "a2", "b1", "c1"]
    assert whole.lengths == shot.lengths


def test_the_load_is_left_out_when_asked() -> None:
    view = FleetView(ALL)
    view.hear(beat(), 0, 0)
    assert view.snapshot(CLIENT, "tt1", Content(), 0).boxes[0].tx_bps == 50
    assert view.snapshot(CLIENT, "tt1", Content(), 0, loaded=False).boxes[0].tx_bps == 0


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
    content = Content(planned={(V1, "a1"): frozenset({"tt1"}), (V2, "a1"): frozenset({"tt2"})})
    view = FleetView(ALL)
    view.hear(beat(plan=plan), 0, 0)
    assert [box.holds for box in view.snapshot(CLIENT, "tt1", content, 0).boxes] == [holds, False, False]


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
    assert view.snapshot(CLIENT, "tt1", Content(), 1).lengths == {"isp-a": 8}


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
