"""A session that plays where its network starves is moved once, and stays where it went when the path is mended."""

from __future__ import annotations

import ipaddress
from typing import Any, cast

from contracts.players import NetworkPlayers, Players
from contracts.steer import SteerRequest
from daemon.s3 import S3Config
from steering.answering import Answering
from steering.config import Config
from steering.content import Content
from steering.fleet import FleetView
from steering.holdings import Title
from tests.unit.steering.test_fleet import beat, roster, site

CLIENT = "10.0.0.1"
STARVING = Players(500, 500, (NetworkPlayers("10.0.0.0/24", 500, 500),))
"""Nobody else plays there."""


class Unsigned:
    def sign(
        self, title: str, session: str, now: float, ttl_s: int, client_ip: str | None
    ) -> tuple[str, int]:
        return "token", int(now) + ttl_s


def test_a_session_is_moved_once() -> None:
    large = site("isp-a", ["10.0.0.0/8"], "a1", "a2")
    for appliance in large["appliances"]:
        appliance["throughput_bps"] = 10**12
    view = FleetView(
        roster(large),
        Content("c", None, {"tt1": Title("tt1/m.m3u8", "tt1/m.mpd", None, 0, 1)}),
    )
    answering = Answering(
        Config("-", S3Config("none"), "http://s"), view, cast("Any", Unsigned()), lambda: 0.5
    )
    for name in ("a1", "a2"):
        view.hear(beat(name), 0, 0)
    names = [f"session-{number}" for number in range(40)]
    for name in names:
        answering.steer(SteerRequest(CLIENT, "tt1", name), 0, 0)

    def places(now: float) -> dict[str, str]:
        found = {}
        for name in names:
            session = answering.sessions.get(name, now)
            assert session is not None
            found[name] = answering.pathways(name, session, now)[0]
        return found

    began = places(0)
    view.hear(beat("a1", 2, players=STARVING), 1, 1)
    view.hear(beat("a2", 2), 1, 1)
    assert view.snapshot(ipaddress.ip_address(CLIENT), 1).told
    moved = places(1)
    at_a1 = [name for name in names if began[name] == "a1"]
    left = [name for name in at_a1 if moved[name] == "a2"]
    assert 0 < len(left) <= len(at_a1)
    assert all(moved[name] == "a2" for name in names if began[name] == "a2")
    view.hear(beat("a1", 3), 2, 2)
    assert view.snapshot(ipaddress.ip_address(CLIENT), 2).told == {}
    assert places(2) == moved
    assert sorted(answering.sessions.unsaved) == sorted(names)
