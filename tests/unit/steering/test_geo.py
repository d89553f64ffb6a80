"""A client's place is what the database says, and nothing when it says nothing that is a place."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from contracts.fleet import Location
from daemon.config import ConfigError
from steering.fleet import FleetView
from steering.geo import GeoIp, distance_km
from steering.rank import decide, reason
from tests.unit.steering import mmdb
from tests.unit.steering.fleets import question
from tests.unit.steering.test_fleet import ALL, beat, roster, site

BERLIN, SYDNEY = Location(52.5, 13.4), Location(-33.9, 151.2)


def place(latitude: object, longitude: object) -> dict[str, object]:
    return {"country": {"iso_code": "DE"}, "location": {"latitude": latitude, "longitude": longitude}}


@pytest.fixture
def geo(tmp_path: Path) -> GeoIp:
    networks = {
        "203.0.113.0/24": place(52.5, 13.4),
        "2001:db8::/32": place(-33.9, 151.2),
        "198.51.100.0/25": place(152.5, 13.4),
        "198.51.100.128/25": {"country": {"iso_code": "DE"}},
        "192.0.2.0/24": {"location": {"latitude": "north"}},
    }
    return GeoIp(mmdb.write(tmp_path / "city.mmdb", networks))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.9", BERLIN),
        ("::ffff:203.0.113.9", BERLIN),
        ("2001:db8::1", SYDNEY),
        ("203.0.114.1", None),
        ("198.51.100.1", None),
        ("198.51.100.200", None),
        ("192.0.2.1", None),
    ],
)
def test_a_place_is_found_or_unknown(geo: GeoIp, address: str, expected: Location | None) -> None:
    assert geo.locate(ipaddress.ip_address(address)) == expected


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.mmdb").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"geoip: .*x\.mmdb: not a MaxMind database"):
        GeoIp(tmp_path / "x.mmdb")
    with pytest.raises(ConfigError, match=r"geoip: .*none\.mmdb: No such file"):
        GeoIp(tmp_path / "none.mmdb")


def test_distances_are_those_of_the_globe() -> None:
    found = distance_km(BERLIN, SYDNEY)
    assert found is not None
    assert 16_000 < found < 16_200
    assert distance_km(BERLIN, BERLIN) == 0
    assert distance_km(None, BERLIN) is None
    across = distance_km(Location(0, 179.9), Location(0, -179.9))
    assert across is not None
    assert across < 23


def everywhere() -> FleetView:
    near = {"latitude": 52.0, "longitude": 13.0}
    far = {"latitude": -33.0, "longitude": 151.0}
    sites = [
        ("isp-a", ["10.0.0.0/8"], near),
        ("ixp-near", [], near),
        ("ixp-far", [], far),
        ("regional-near", [], near),
    ]
    made = [
        {**site(name, prefixes, f"{name}-1"), "tier": name.split("-")[0], "location": at}
        for name, prefixes, at in sites
    ]
    view = FleetView(roster(*made), locate=lambda address: BERLIN)
    for number, (name, _, _) in enumerate(sites):
        view.hear(beat(f"{name}-1", number + 1, tx_bps=0), 0, 0)
    return view


def test_who_is_announced_by_nobody_goes_to_the_nearest_exchange_with_room_and_then_to_a_region() -> None:
    view, stranger = everywhere(), ipaddress.ip_address("192.0.2.1")
    asked = question(bitrate_bps=1.0)
    assert decide(asked, view.snapshot(stranger, 0), 3) == []
    found = [item.box.site for item in decide(asked, view.beyond(view.snapshot(stranger, 0), stranger), 9)]
    assert found == ["ixp-near", "ixp-far", "regional-near"]
    view.give("ixp-near-1", 100)
    found = [item.box.site for item in decide(asked, view.beyond(view.snapshot(stranger, 0), stranger), 9)]
    assert found == ["ixp-far", "regional-near"]


def test_who_is_announced_goes_there_first_and_is_told_how_far_it_is() -> None:
    view, client = everywhere(), ipaddress.ip_address("10.0.0.1")
    placed = decide(question(bitrate_bps=1.0), view.beyond(view.snapshot(client, 0), client), 9)
    assert placed[0].box.site == "isp-a"
    assert "62 km away" in reason(placed[0])


def test_without_a_database_nobody_is_looked_for_elsewhere() -> None:
    view, stranger = FleetView(ALL), ipaddress.ip_address("2001:db8::1")
    shot = view.snapshot(stranger, 0)
    assert view.beyond(shot, stranger) is shot
