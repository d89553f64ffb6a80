"""From the ISP's router to the answer: bird announces, `oca bgp` hears, the appliance tells, steering decides."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests import appliance
from tests.component.oca.bgp.peers import (
    Bird,
    bird_or_skip,
    oca_bgp,
    section,
    wait_until,
)
from tests.component.steering.service import Service, fleet
from tests.processes import below, with_role

ANNOUNCED, OTHER = "20.1.0.0/16", "20.2.0.0/16"


def oca(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-m", "oca", *command, "--config", str(root / "oca.yaml")]
    return subprocess.run(whole, capture_output=True, text=True, timeout=60, check=False)


def answered(service: Service, client: str) -> bool:
    return bool(service.steer(client_ip=client).status == 200)


def alone(service: Service, made: appliance.Appliance) -> None:
    """A fleet file of this appliance, at a site that announces nothing else."""
    document: dict[str, Any] = fleet("ixp-b1", "isp-a2")
    del document["sites"][1]
    site = document["sites"][0]
    identity = json.loads((made.root / "state" / "identity.jwk").read_text())
    site["prefixes"] = ["192.0.2.0/24"]
    site["appliances"][0] |= {
        "url": f"http://127.0.0.1:{made.port}",
        "public_key": {name: identity[name] for name in ("kty", "crv", "x")},
    }
    service.fleet_file.write_text(yaml.safe_dump(document))


def test_what_a_router_announces_is_answered_whoever_restarts(stopped: Service, tmp_path: Path) -> None:
    bird_or_skip()
    (root := tmp_path / "box").mkdir()
    router = Bird(tmp_path, routes={4: [f"{ANNOUNCED} blackhole", f"{OTHER} blackhole"], 6: []})
    box = {
        "appliance": "isp-a1",
        "steering": {"urls": [stopped.url], "heartbeat_interval_s": 0.5},
        "bgp": section(router.port, grace_s=600),
    }
    with router.running(), appliance.running(root, start=False, **box) as made:
        alone(stopped, made)
        with stopped.running(), appliance.restarted(root) as running:
            stopped.wait_ready()
            with oca_bgp(root, root / "oca.yaml") as ours:
                wait_until(lambda: ours.log, lambda: answered(stopped, "20.1.2.3"))
                assert answered(stopped, "20.2.2.3")
                assert not answered(stopped, "20.3.2.3")
                router.routes[4] = [f"{ANNOUNCED} blackhole"]
                router.reconfigure()
                wait_until(lambda: ours.log, lambda: not answered(stopped, "20.2.2.3"))

                assert "1 prefixes told to steering" in oca(root, "status").stdout

                (storekeeper,) = below(running.process.pid, with_role("store"))
                storekeeper.kill()
                storekeeper.wait(30)
                router.routes[4] = [f"{ANNOUNCED} blackhole", f"{OTHER} blackhole"]
                router.reconfigure()
                wait_until(lambda: ours.log, lambda: answered(stopped, "20.2.2.3"))
                assert answered(stopped, "20.1.2.3")
            assert answered(stopped, "20.1.2.3")
            with oca_bgp(root, root / "oca.yaml") as ours:
                ours.wait(lambda item: item.whole)
                router.routes[4] = [f"{OTHER} blackhole"]
                router.reconfigure()
                wait_until(lambda: ours.log, lambda: not answered(stopped, "20.1.2.3"))
                assert answered(stopped, "20.2.2.3")
