"""A session with a real router over loopback: what it announces is there, what it withdraws is not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.framing import Unframer
from contracts.route import Attributes, Origin
from oca.bgp.feed import SOCKET_NAME, WANT_TABLE, Begin, Changes, Whole, decode
from tests.component.oca.bgp.peers import (
    OUR_AS,
    ROUTER_AS,
    Bird,
    bird_or_skip,
    exabgp_router,
    speaking,
    wait_until,
)


def table(root: Path) -> dict[str, Attributes]:
    """The whole table, as a storekeeper would be told it."""
    routes: dict[str, Attributes] = {}
    unframer = Unframer()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(str(root / "run" / SOCKET_NAME))
        sock.sendall(WANT_TABLE)
        while data := sock.recv(1 << 16):
            for payload in unframer.feed(data):
                match decode(payload):
                    case Begin():
                        routes = {}
                    case Changes() as changes:
                        for item in changes.announced:
                            routes.update(dict.fromkeys(item.prefixes, item.attributes))
                        for prefix in changes.withdrawn:
                            routes.pop(prefix, None)
                    case Whole():
                        return routes
    raise AssertionError("oca bgp hung up")


@pytest.fixture
def bird(tmp_path: Path) -> Iterator[Bird]:
    bird_or_skip()
    with Bird(tmp_path).running() as running:
        yield running


def test_a_second_exabgp_announces_and_its_attributes_arrive(tmp_path: Path) -> None:
    announced = [
        "20.1.0.0/16 next-hop 127.0.0.1 med 50 as-path [ 64501 64999 64998 ] origin egp",
        "20.2.0.0/16 next-hop 127.0.0.1",
        "2a00:1::/32 next-hop 2001:db8::1",
        "10.0.0.0/8 next-hop 127.0.0.1",
        "100.64.1.0/24 next-hop 127.0.0.1",
        "20.3.0.0/25 next-hop 127.0.0.1",
        "0.0.0.0/0 next-hop 127.0.0.1",
    ]
    with exabgp_router(tmp_path, announced) as port, speaking(tmp_path, port) as ours:
        ours.wait(lambda item: item.whole)
        found = table(tmp_path)
        status = ours.neighbour()
    assert found == {
        "20.1.0.0/16": Attributes(as_path=(64501, 64999, 64998), origin=Origin.EGP, med=50),
        "20.2.0.0/16": Attributes(as_path=(ROUTER_AS,)),
        "2a00:1::/32": Attributes(as_path=(ROUTER_AS,)),
    }
    assert status is not None
    assert status.refused == {"private": 1, "shared": 1, "too_long": 1, "default": 1}


def test_inside_one_as_local_preference_decides_and_a_session_says_so(tmp_path: Path) -> None:
    announced = [
        "20.1.0.0/16 next-hop 127.0.0.1 local-preference 300 as-path [ 64999 64998 ] med 7",
        "20.2.0.0/16 next-hop 127.0.0.1 local-preference 50",
    ]
    with (
        exabgp_router(tmp_path, announced, OUR_AS) as port,
        speaking(tmp_path, port, remote_as=OUR_AS) as ours,
    ):
        ours.wait(lambda item: item.whole)
        assert table(tmp_path) == {
            "20.1.0.0/16": Attributes(local_preference=300, as_path=(64999, 64998), med=7, ebgp=False),
            "20.2.0.0/16": Attributes(local_preference=50, ebgp=False),
        }


def test_a_router_announces_changes_and_withdraws(tmp_path: Path, bird: Bird) -> None:
    bird.routes[4] = [
        "20.1.0.0/16 blackhole { bgp_path.prepend(64999); }",
        "20.2.0.0/16 blackhole",
    ]
    bird.routes[6] = ["2a00:1::/32 blackhole"]
    bird.filter = "if net = 20.1.0.0/16 then bgp_med = 50;"
    bird.reconfigure()
    with speaking(tmp_path, bird.port) as ours:
        ours.wait(lambda item: item.whole and item.accepted == 3)
        assert table(tmp_path)["20.1.0.0/16"] == Attributes(as_path=(ROUTER_AS, 64999), med=50)
        bird.routes[4] = ["20.1.0.0/16 blackhole { bgp_origin = ORIGIN_INCOMPLETE; }"]
        bird.filter = "if net = 20.1.0.0/16 then bgp_med = 70;"
        bird.reconfigure()
        ours.wait(lambda item: item.accepted == 2)
        expected = Attributes(as_path=(ROUTER_AS,), origin=Origin.INCOMPLETE, med=70)
        wait_until(lambda: table(tmp_path), lambda: table(tmp_path)["20.1.0.0/16"] == expected)
        assert table(tmp_path) == {"20.1.0.0/16": expected, "2a00:1::/32": Attributes(as_path=(ROUTER_AS,))}


def test_a_flap_keeps_the_routes_and_sweeps_what_is_not_announced_again(tmp_path: Path, bird: Bird) -> None:
    bird.routes[4] = ["20.1.0.0/16 blackhole", "20.2.0.0/16 blackhole"]
    bird.reconfigure()
    with speaking(tmp_path, bird.port, grace_s=600) as ours:
        ours.wait(lambda item: item.whole and item.accepted == 2)
        bird.kill()
        lost = ours.wait(lambda item: item.state == "down")
        assert lost.accepted == 2
        bird.routes[4] = ["20.1.0.0/16 blackhole"]
        bird.start()
        back = ours.wait(lambda item: item.whole and item.state == "up")
        assert (back.accepted, back.stale, back.flaps) == (1, 0, 1)
        assert set(table(tmp_path)) == {"20.1.0.0/16"}


def test_routes_are_withdrawn_when_the_session_does_not_come_back(tmp_path: Path, bird: Bird) -> None:
    bird.routes[4] = ["20.1.0.0/16 blackhole"]
    bird.reconfigure()
    with speaking(tmp_path, bird.port, grace_s=0.5) as ours:
        ours.wait(lambda item: item.whole and item.accepted == 1)
        bird.kill()
        ours.wait(lambda item: item.state == "down" and item.accepted == 0)
        assert table(tmp_path) == {}
        assert ours.log.count("BGP session down") == 1


def test_too_many_prefixes_stop_the_session_until_later(tmp_path: Path, bird: Bird) -> None:
    bird.routes[4] = [f"20.{number}.0.0/16 blackhole" for number in range(12)]
    bird.reconfigure()
    with speaking(tmp_path, bird.port, max_prefixes=10, max_prefix_pause_s=2) as ours:
        stopped = ours.wait(lambda item: item.state == "stopped")
        assert stopped.accepted == 0
        assert "more than 10 prefixes" in stopped.why
        bird.routes[4] = bird.routes[4][:9]
        bird.reconfigure()
        assert ours.wait(lambda item: item.state == "up" and item.whole).accepted == 9
        assert "near the limit" in ours.log


def test_a_password_is_needed_on_both_sides(tmp_path: Path, bird: Bird) -> None:
    bird.password = "s3cret-of-two"
    bird.routes[4] = ["20.1.0.0/16 blackhole"]
    bird.reconfigure()
    (tmp_path / "password").write_text("s3cret-of-two\n")
    with speaking(tmp_path, bird.port, password_file=str(tmp_path / "password")) as ours:
        ours.wait(lambda item: item.whole and item.accepted == 1)
        assert (tmp_path / "run" / "exabgp.conf").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "run" / "exabgp.conf").exists()


def test_nothing_is_announced(tmp_path: Path, bird: Bird) -> None:
    bird.routes[4] = ["20.1.0.0/16 blackhole"]
    bird.reconfigure()
    with speaking(tmp_path, bird.port) as ours:
        ours.wait(lambda item: item.whole)
        shown = bird.tell("show", "protocols", "all", "oca")
    imports = [line.split() for line in shown.splitlines() if "Import updates:" in line]
    assert imports
    assert all(line[2] == "0" for line in imports), shown
