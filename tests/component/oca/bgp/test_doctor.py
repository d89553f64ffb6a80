"""The usual mistakes with a router are found, and each says how it is mended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from oca.bgp.config import Bgp
from oca.bgp.doctor import Wrong, checks
from oca.bgp.feed import NeighbourStatus
from tests.appliance import free_port
from tests.component.oca.bgp.peers import ROUTER_AS, Bird, Ours, bird_or_skip, section, speaking


def examined(root: Path, bgp: dict[str, Any]) -> str:
    """What the doctor says of the neighbour, which is nothing good."""
    check = dict(checks(msgspec.convert(bgp, Bgp), root / "run"))["bgp 127.0.0.1"]
    with pytest.raises(Wrong) as found:
        check()
    return str(found.value)


def whole(item: NeighbourStatus) -> bool:
    return item.whole


def test_nobody_there_or_not_from_here(tmp_path: Path) -> None:
    bgp = section(free_port())
    assert "refuses: BGP does not run there" in examined(tmp_path, bgp)
    bgp["neighbours"][0]["local_address"] = "192.0.2.77"
    assert "is not an address of this machine" in examined(tmp_path, bgp)
    with pytest.raises(Wrong, match="oca bgp is not running"):
        dict(checks(msgspec.convert(bgp, Bgp), tmp_path / "run"))["bgp"]()


def test_a_session_that_is_up_and_of_no_use(tmp_path: Path) -> None:
    bird_or_skip()
    router = Bird(tmp_path, routes={4: ["10.0.0.0/8 blackhole"], 6: []})
    with router.running(), speaking(tmp_path, router.port) as ours:
        ours.wait(whole)
        assert "every prefix is refused" in examined(tmp_path, section(router.port))
        router.routes[4] = []
        router.reconfigure()
        ours.wait(lambda item: not item.refused)
        assert "announces nothing" in examined(tmp_path, section(router.port))
        router.routes[4] = ["20.1.0.0/16 blackhole"]
        router.reconfigure()
        ours.wait(lambda item: item.accepted)
        good = checks(msgspec.convert(section(router.port), Bgp), tmp_path / "run")
        assert next(check() for _, check in good) == "running, 1 prefixes"


def test_another_as_and_a_password_that_nobody_wants(tmp_path: Path) -> None:
    bird_or_skip()
    router = Bird(tmp_path)
    wrong = section(router.port, remote_as=ROUTER_AS + 1)
    (tmp_path / "password").write_text("something\n")
    with router.running():
        ours: Ours
        with speaking(tmp_path, router.port, remote_as=ROUTER_AS + 1) as ours:
            ours.wait(lambda item: "(2,2)" in item.why)
            assert "bad peer AS" in examined(tmp_path, wrong)
        password = section(router.port, password_file=str(tmp_path / "password"))
        assert "answers without a password" in examined(tmp_path, password)
