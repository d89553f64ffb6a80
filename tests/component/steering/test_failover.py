"""A dead appliance leaves the answers; a steering that restarts, or hears nobody, answers from what it knew."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import yaml

from contracts.documents import encode
from contracts.route import RouteChanges
from tests import appliance
from tests.component.steering.service import Service, fleet, wait_until
from tests.processes import below


def answered(service: Service) -> list[str]:
    answer = service.steer()
    return [item["appliance"] for item in answer.json["candidates"]] if answer.status == 200 else []


@contextmanager
def two_boxes(service: Service, root: Path) -> Iterator[dict[str, appliance.Appliance]]:
    """A steering and two real appliances of one ISP, which are answered."""
    document = fleet("ixp-b1")
    del document["sites"][1]
    with ExitStack() as stack:
        for box in document["sites"][0]["appliances"]:
            (folder := root / box["id"]).mkdir()
            made = stack.enter_context(
                appliance.running(folder, start=False, appliance=box["id"], steering={"urls": [service.url]})
            )
            identity = json.loads((folder / "state" / "identity.jwk").read_text())
            box |= {
                "url": f"http://127.0.0.1:{made.port}",
                "public_key": {name: identity[name] for name in ("kty", "crv", "x")},
            }
        service.fleet_file.write_text(yaml.safe_dump(document))
        stack.enter_context(service.running())
        service.wait_ready()
        boxes = {
            box["id"]: stack.enter_context(appliance.restarted(root / box["id"]))
            for box in document["sites"][0]["appliances"]
        }
        wait_until("both are answered", lambda: sorted(answered(service)) == sorted(boxes))
        yield boxes


def test_a_killed_appliance_leaves_the_answers(stopped: Service, tmp_path: Path) -> None:
    """Its port refuses, so it is out with the first heartbeat that is missed; the figure is printed (`-s`)."""
    with two_boxes(stopped, tmp_path) as boxes:
        victim = boxes["isp-a1"].process
        family = [psutil.Process(victim.pid), *below(victim.pid)]
        for process in family:
            process.kill()
        killed = time.monotonic()
        wait_until("it is out", lambda: answered(stopped) == ["isp-a2"])
        print(f"\nout of the answers {time.monotonic() - killed:.2f} s after kill -9")
        row = next(item for item in stopped.get("/v1/fleet").json["appliances"] if item["id"] == "isp-a1")
        assert row["state"] == "suspect"
        assert row["state_reason"] in {
            "a heartbeat was missed and its data port does not answer",
            "two heartbeats were missed",
        }
        wait_until(
            "it is in the log",
            lambda: [line for line in stopped.logged("appliance's state") if line["state"] == "suspect"],
        )


def test_after_a_restart_the_answers_are_right_at_once(service: Service) -> None:
    service.beat()
    before = service.steer().json
    assert len(before["candidates"]) == 3
    assert service.process is not None
    service.process.terminate()
    service.process.wait(20)
    with service.running():
        service.wait_ready()
        after = service.steer(session=before["session"]).json
        assert after["candidates"][0]["appliance"] == before["candidates"][0]["appliance"]
        assert len(after["candidates"]) == 3
        assert service.ask(f"/v1/steer/{before['session']}/hls").status == 200
        rows = service.get("/v1/fleet").json["appliances"]
        assert {row["state"] for row in rows} <= {"serving", "suspect"}
        recalled = service.logged("recalled")[-1]
        assert (recalled["appliances"], recalled["sessions"]) == (3, 1)
        service.beat()
        assert {row["state"] for row in service.get("/v1/fleet").json["appliances"]} == {"serving"}


def routes_message(service: Service, **routes: Any) -> dict[str, Any]:
    body = encode(service.message("isp-a1", routes=msgspec.convert(routes, RouteChanges)))
    answer = service.send(body)
    assert answer.status == 200, answer.body
    return dict(answer.json)


def test_routes_are_answered_by_and_survive_a_restart(service: Service) -> None:
    service.beat()
    prefix, viewer = "20.9.0.0/16", "20.9.1.1"
    announced = [[[100, [64501], "igp", 0, True, "embedded"], [prefix]]]
    assert routes_message(service, since=0, serial=7, announced=announced)["routes"] == 7
    assert routes_message(service, since=9, serial=10)["routes"] == 7
    first = service.steer(client_ip=viewer).json["candidates"][0]
    assert first["site"] == "isp-a"
    assert service.process is not None
    service.process.terminate()
    service.process.wait(20)
    with service.running():
        service.wait_ready()
        assert service.steer(client_ip=viewer).json["candidates"][0]["site"] == "isp-a"
        assert routes_message(service, since=7, serial=8, withdrawn=[prefix])["routes"] == 8
        assert service.steer(client_ip=viewer).json["candidates"][0]["site"] != "isp-a"
