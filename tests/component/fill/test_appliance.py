"""A fill onto a whole appliance: supervisor, edge worker and storekeeper as they run in a rack."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from pathlib import Path

import msgspec
import psutil

from tests.appliance import Appliance, running
from tests.component.fill.conftest import APPLIANCE, Setup, command, fill
from tests.component.fill.proxy import Proxy
from tests.processes import below

MIB = 1 << 20
KEY = "tt1/video.mp4"


def _storekeeper(appliance: Appliance) -> psutil.Process:
    """The child that listens on the ingest socket."""
    (found,) = below(
        appliance.process.pid,
        lambda child: any(str(one.laddr).endswith("/ingest.sock") for one in child.net_connections("unix")),
    )
    return found


def _served(appliance: Appliance) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", appliance.port, timeout=30)
    connection.request("GET", f"/{KEY}")
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 200, body[:300]
    return body


def _until_verified(config: Path, count: int) -> None:
    """Returns once `fill status` says that so many slices of the video are there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        holdings = json.loads(fill("status", "--json", "--config", config).stdout)["holdings"]
        if [item["verified_slices"] for item in holdings["incomplete"]] == [count]:
            return
    raise AssertionError(f"never had {count} verified slices")


def test_the_storekeeper_is_killed_in_the_middle_and_the_fill_goes_on(setup: Setup, tmp_path: Path) -> None:
    data = setup.publish_bytes("tt1", 14 * MIB + 3)
    setup.plan()
    root = tmp_path / "appliance"
    root.mkdir()
    socket = str(root / "run" / "ingest.sock")
    with (
        running(root, appliance=APPLIANCE, origin=msgspec.to_builtins(setup.config)) as appliance,
        Proxy(setup.origin.port, hold_key=KEY, hold_after=3 * MIB + 1) as proxy,
    ):
        config = setup.write_config(endpoint_url=proxy.url, ingest_socket=socket)
        run = subprocess.Popen(
            command("run", "--json", "--config", config),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert proxy.holding.wait(60)
        _until_verified(setup.write_config("status", ingest_socket=socket), 3)
        killed = _storekeeper(appliance)
        killed.kill()
        killed.wait(20)
        proxy.release.set()
        out, err = run.communicate(timeout=120)
        assert run.returncode == 0, err
        assert "storekeeper gone" in err
        assert json.loads(out)["left_out"] == {}
        assert [proxy.slices[KEY, index] for index in range(3)] == [1, 1, 1]
        assert _storekeeper(appliance).pid != killed.pid
        assert _served(appliance) == data
