"""Appliances of one site fill the same film: from one another, and once from outside."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
import yaml

from contracts import ingest
from contracts import plan as plans
from contracts.catalog import LATEST_KEY
from contracts.objectkey import SLICE_BYTES
from contracts.plan import Peer, Plan, PlannedObject
from fill.s3documents import put_document, read_entry, read_latest
from oca.identity import Identity
from oca.objectfile import complete_path
from tests.appliance import Appliance, running
from tests.component.fill.conftest import Setup, command, read_index
from tests.component.fill.proxy import Proxy

MIB = 1 << 20
KEY = "tt1/video.mp4"
NAMES = ("isp-a1", "isp-a2", "isp-a3", "isp-a4")
THREE = NAMES[:3]


class Site:
    """Appliances that know one another's keys; nobody else may read from them."""

    def __init__(self, setup: Setup, root: Path, names: tuple[str, ...], stack: ExitStack) -> None:
        self.setup = setup
        self.names = names
        self.boxes: dict[str, Appliance] = {}
        jwks = root / "peers.jwks"
        keys = []
        for name in names:
            (root / name / "state").mkdir(parents=True)
            identity, _ = Identity.load_or_make(name, root / name / "state" / "identity.jwk")
            keys.append(identity.public_key() | {"kid": name, "alg": "Ed25519"})
        jwks.write_text(json.dumps({"keys": keys}))
        steering = root / "steering.jwks"
        steering.write_text(json.dumps({"keys": []}))
        for name in self.names:
            self.boxes[name] = stack.enter_context(
                running(
                    root / name,
                    appliance=name,
                    origin=msgspec.to_builtins(setup.config),
                    auth={"keys_file": str(steering), "peers_file": str(jwks)},
                )
            )
        for box in self.boxes.values():
            box.wait_ready()

    def plan(self) -> None:
        """Everything on every appliance, the first of `NAMES` the master of all."""
        client, bucket = self.setup.client, self.setup.config.bucket
        latest = read_latest(client, bucket, LATEST_KEY)
        assert latest is not None
        index = read_index(client, bucket, latest.version)
        items = [item for ref in index.titles for item in read_entry(client, bucket, ref).objects]
        holders = tuple(range(len(self.names)))
        objects = tuple(PlannedObject(item.key, item.size, "a test", holders=holders) for item in items)
        peers = tuple(Peer(name, f"http://127.0.0.1:{box.port}") for name, box in self.boxes.items())
        version = "20260101T000000Z-000001"
        for name in self.names:
            plan = Plan(version, name, "isp-a", latest.version, objects, peers)
            put_document(client, bucket, plans.plan_key(version, name), msgspec.json.encode(plan))
        put_document(
            client, bucket, plans.LATEST_KEY, msgspec.json.encode({"version": version, "contract": 1})
        )

    def start(self, name: str, url: str, **agent: object) -> subprocess.Popen[str]:
        socket = str(self.boxes[name].root / "run" / "ingest.sock")
        path = self.setup.write_config(f"fill-{name}", endpoint_url=url, ingest_socket=socket)
        document = yaml.safe_load(path.read_text())
        document["agent"] |= {"appliance": name, "requests": 2, "objects": 2} | agent
        path.write_text(yaml.safe_dump(document))
        return subprocess.Popen(
            command("run", "--json", "--config", path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def held(self, name: str, size: int) -> bytes:
        for disk in ("disk1", "disk2"):
            path = complete_path(self.boxes[name].root / disk, KEY)
            if path.exists():
                return path.read_bytes()[:size]
        raise AssertionError(f"{name} does not have it")

    def verified(self, name: str) -> int:
        reply = self.boxes[name].ingest(ingest.Ask())
        assert isinstance(reply, ingest.Holdings)
        return next((one.verified_slices for one in reply.incomplete if one.key == KEY), 0)


@pytest.fixture
def site(setup: Setup, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(setup, tmp_path / "site", request.param, stack)


def _ended(run: subprocess.Popen[str]) -> None:
    _, err = run.communicate(timeout=120)
    assert run.returncode == 0, err


def _outside(proxy: Proxy) -> int:
    return proxy.of(KEY)


@pytest.mark.parametrize("site", [NAMES], indirect=True)
def test_four_appliances_take_one_copy_from_outside(setup: Setup, site: Site) -> None:
    data = setup.publish_bytes("tt1", 24 * MIB + 5)
    site.plan()
    with Proxy(setup.origin.port) as proxy:
        runs = [site.start(name, proxy.url) for name in NAMES]
        for run in runs:
            _ended(run)
        assert _outside(proxy) <= 1.05 * len(data)
    for name in NAMES:
        assert site.held(name, len(data)) == data


@pytest.mark.parametrize("site", [THREE], indirect=True)
def test_a_master_that_is_killed_half_way_costs_no_restart(setup: Setup, site: Site) -> None:
    data = setup.publish_bytes("tt1", 24 * MIB)
    site.plan()
    with Proxy(setup.origin.port, hold_key=KEY, hold_after=10 * MIB) as first:
        master = site.start(NAMES[0], first.url)
        assert first.holding.wait(60)
        with Proxy(setup.origin.port) as second:
            others = [
                site.start(name, second.url, escalation={"unreachable_s": 0.5, "stalled_s": 3600})
                for name in THREE[1:]
            ]
            _until(lambda: all(site.verified(name) >= 4 for name in THREE[1:]))
            assert _outside(second) == 0, "they copy what the master has, while it still fetches"
            master.kill()
            master.communicate()
            site.boxes[NAMES[0]].process.kill()
            site.boxes[NAMES[0]].process.wait(20)
            for run in others:
                _ended(run)
            outside = Counter(first.sent) + Counter(second.sent)
    video = {index: count for (key, index), count in outside.items() if key == KEY}
    assert sum(video.values()) <= 1.05 * len(data) + 8 * MIB, "what the master had under way comes again"
    again = [index for index, count in second.sent.items() if count >= SLICE_BYTES and index in first.sent]
    assert len(again) <= 8
    for name in THREE[1:]:
        assert site.held(name, len(data)) == data


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it never became true")
