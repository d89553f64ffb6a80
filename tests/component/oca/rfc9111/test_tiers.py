"""ISP, IXP, origin: each response is asked for once per tier, ages add up, and a tier that is away is passed over."""

from __future__ import annotations

import http.client
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

from tests.appliance import Appliance, restarted, running
from tests.component.oca.rfc9111.conftest import Cache
from tests.httporigin import HttpOrigin, http_origin, response
from tests.processes import below, with_role
from tests.waiting import PATIENCE_S, settled, until

FRESH = "Cache-Control: max-age=600"


def _tier(
    root: Path, name: str, origin: HttpOrigin, parent: Appliance | None = None
) -> AbstractContextManager[Appliance]:
    (root / name).mkdir()
    parents = [{"id": "test-1", "url": f"http://127.0.0.1:{parent.port}"}] if parent is not None else []
    return running(
        root / name, appliance="isp-1" if parent is not None else "test-1", origin=None,
        http_origins=[{"url": origin.url, "prefix": "/live/"}], parents=parents,
    )  # fmt: skip


def test_every_tier_asks_the_next_once(tmp_path: Path) -> None:
    body = os.urandom(400_000)
    with http_origin() as origin:
        origin.answer = lambda asked, send: send(response(FRESH, "Age: 50", body=body))
        with (
            _tier(tmp_path, "ixp", origin) as ixp,
            _tier(tmp_path, "isp", origin, ixp) as isp,
        ):
            player, upper = Cache(isp, origin, "/live/a.m4s"), Cache(ixp, origin, "/live/a.m4s")
            with ThreadPoolExecutor(20) as pool:
                answers = [one.result() for one in [pool.submit(player.ask) for _ in range(20)]]
            assert {got.body for got in answers} == {body}
            assert origin.count("/live/a.m4s") == 1
            asked = origin.asked[0].headers
            assert (asked["via"], "authorization" in asked) == ("1.1 isp-1, 1.1 test-1", False)
            got = player.ask()
            assert got.hit
            assert int(got.headers["age"]) >= 50
            assert got.headers["cache-status"].startswith("test-1; fwd=uri-miss")
            assert "isp-1; hit" in got.headers["cache-status"]
            assert upper.ask().hit
            # What is uncertain goes the same way, and with its own authorisation to the origin itself.
            player.path = "/live/b.m4s"
            assert player.ask(Authorization="Basic x").body == body
            assert origin.asked[-1].headers["via"] == "1.1 isp-1"

            ixp.process.send_signal(signal.SIGTERM)
            ixp.process.wait(PATIENCE_S)
            player.path = "/live/c.m4s"
            assert player.ask().body == body
            assert origin.asked[-1].headers["via"] == "1.1 isp-1"


def test_what_is_stored_outlives_a_restart_and_what_is_torn_does_not(tmp_path: Path) -> None:
    with http_origin() as origin:
        origin.answer = lambda asked, send: send(response(FRESH, body=asked.target.encode() * 1000))
        with _tier(tmp_path, "ixp", origin) as appliance:
            for path in ("/live/a", "/live/b"):
                assert Cache(appliance, origin, path).ask().status == 200
        assert len(origin.asked) == 2
        torn = next(
            file for file in (tmp_path / "ixp").glob("disk*/http/??/*") if b"/live/a" in file.read_bytes()
        )
        with torn.open("r+b") as file:
            file.write(b"X")
        with restarted(tmp_path / "ixp") as appliance:
            assert Cache(appliance, origin, "/live/b").ask().hit
            assert len(origin.asked) == 2
            got = Cache(appliance, origin, "/live/a").ask()
            assert (got.body, got.hit, len(origin.asked)) == (b"/live/a" * 1000, False, 3)


def test_the_oldest_go_first_and_the_share_is_kept(tmp_path: Path) -> None:
    root = tmp_path / "ixp"
    root.mkdir()
    disk = {"path": str(root / "disk1"), "capacity_bytes": 40_000_000}
    with (
        http_origin() as origin,
        running(
            root,
            origin=None,
            disks=[disk],
            http_origins=[{"url": origin.url}],
            http_cache={"disk_share": 0.1},
        ) as appliance,
    ):
        origin.answer = lambda asked, send: send(
            response("Cache-Control: max-age=60", "Age: 100" if "old" in asked.target else "Age: 0", 'ETag: "a"',
                     body=os.urandom(400_000))
        )  # fmt: skip
        for name in ("new1", "old1", "new2", "old2", *(f"new{n}" for n in range(3, 12))):
            assert Cache(appliance, origin, f"/{name}").ask().status == 200

        def used() -> int:
            return sum(file.stat().st_size for file in root.glob("disk1/http/??/*"))

        until(lambda: settled(used) <= 4_000_000)
        assert Cache(appliance, origin, "/new11").ask().hit
        kept = settled(lambda: b"".join(file.read_bytes() for file in root.glob("disk1/http/??/*")))
        assert (b"/old1" in kept, b"/old2" in kept, b"/new3" in kept) == (False, False, True)


def test_what_is_fresh_is_served_while_the_storekeeper_is_away(tmp_path: Path) -> None:
    with http_origin() as origin:
        origin.answer = lambda asked, send: send(response(FRESH))
        with _tier(tmp_path, "ixp", origin) as appliance:
            player = Cache(appliance, origin, "/live/a")
            connection = http.client.HTTPConnection("127.0.0.1", appliance.port, timeout=PATIENCE_S)
            for _ in range(2):
                connection.request("GET", "/live/a")
                assert connection.getresponse().read() == b"hello"
            store = below(appliance.process.pid, with_role("store"))[0]
            store.suspend()
            try:
                connection.request("GET", "/live/a")
                got = connection.getresponse()
                assert (got.status, got.read()) == (200, b"hello")
            finally:
                store.kill()
            connection.close()
            until(lambda: player.ask(path="/live/new").status == 200)  # the next storekeeper
