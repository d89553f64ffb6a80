"""How long a restart of steering takes that has a planet to remember: from the command to the first right answer."""

from __future__ import annotations

import asyncio
import dataclasses
import http.client
import ipaddress
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import psutil
from rich.console import Console

from bench.steering.decisions import KEY, beat
from bench.steering.load import DISKS, questions
from bench.steering.planet import Size, view_of
from contracts.fleet import Fleet
from steering import keptcontent
from steering.keys import Paths, make
from steering.memory import Memory
from steering.sessions import Session, Sessions
from steering.store.local import FILE_NAME, LocalStore

SESSIONS = 1_000_000
_BUCKET, _ENDPOINT = "planet", "http://127.0.0.1:9"


def run(size: Size, console: Console) -> None:
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        key = _remember(folder, size)
        sizes = ", ".join(
            f"{file.name} {file.stat().st_size >> 20} MiB"
            for file in sorted(folder.iterdir())
            if file.stat().st_size >> 20
        )
        console.print(f"to be read: {sizes}")
        with (folder / "log").open("ab") as log:
            began = time.monotonic()
            process = subprocess.Popen(
                [sys.executable, "-m", "steering", "serve", "--config", str(folder / "steering.yaml")],
                stdout=log,
                stderr=log,
                preexec_fn=lambda: os.sched_setaffinity(0, {0}),
            )
        try:
            port = int((folder / "port").read_text())
            while not _answers(port, questions(size, key, 1)[0]):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() - began < 600
                time.sleep(0.05)
            took = time.monotonic() - began
            known = psutil.Process(process.pid)
            cpu_s, resident = sum(known.cpu_times()[:2]), known.memory_info().rss >> 20
            console.print(
                f"from the command to the first answer: {took:.1f} s, of which {cpu_s:.1f} s CPU; {resident} MiB resident"
            )
            console.print((folder / "log").read_text().strip())
        finally:
            process.terminate()
            process.wait()


def _remember(folder: Path, size: Size) -> str:
    """Everything that a steering of the whole fleet keeps, in ``folder``; an API key."""
    from tests.ports import free_port

    view = view_of(size, [KEY])
    now = time.monotonic()
    for number, name in enumerate(view.roster.appliances):
        view.hear(msgspec.structs.replace(beat(name, 1 + number), disks=DISKS), time.time(), now)
    sessions, chance = Sessions(), random.Random(6)
    names = list(view.roster.appliances)
    ends_at = time.time() + 3600
    for number in range(SESSIONS * size.appliances // 17_000):
        address = str(ipaddress.ip_address(chance.getrandbits(32)))
        sessions.put(
            f"session-{number:09d}",
            Session(address, f"tt{number % size.titles}", ends_at, chance.choice(names)),
            0.0,
        )

    async def save() -> None:
        store = LocalStore(folder / FILE_NAME)
        await Memory(store, view, sessions).save(routes=True)
        await store.close()

    asyncio.run(save())
    titles = view.content.titles
    content = dataclasses.replace(view.content, entries={name: f"catalog/1/{name}.json" for name in titles})
    keptcontent.save(folder / keptcontent.FILE_NAME, content, keptcontent.source_of(_ENDPOINT, _BUCKET, None))
    _write_fleet(folder / "fleet.yaml", view.roster.fleet)
    key = make(Paths(folder), new_api_key=True)
    port = free_port()
    (folder / "port").write_text(str(port))
    (folder / "steering.yaml").write_text(
        f"fleet: {folder / 'fleet.yaml'}\nstate_dir: {folder}\npublic_url: http://127.0.0.1:{port}\n"
        f"listen: 127.0.0.1:{port}\norigin: {{bucket: {_BUCKET}, endpoint_url: '{_ENDPOINT}'}}\n"
    )
    assert key is not None
    return key


def _write_fleet(path: Path, fleet: Fleet) -> None:
    """As an operator writes it."""
    with path.open("w") as file:
        print("sites:", file=file)
        for site in fleet.sites:
            where = site.location
            assert where is not None
            print(f"- id: {site.id}\n  tier: {site.tier.value}", file=file)
            print(f"  location: {{latitude: {where.latitude}, longitude: {where.longitude}}}", file=file)
            print(f"  prefixes: {json.dumps(site.prefixes)}\n  appliances:", file=file)
            for box in site.appliances:
                assert box.public_key is not None
                print(f"  - id: {box.id}\n    url: {box.url}", file=file)
                print(f"    capacity_bytes: {box.capacity_bytes}", file=file)
                print(f"    throughput_bps: {box.throughput_bps}", file=file)
                print(f"    public_key: {{kty: OKP, crv: Ed25519, x: {box.public_key.x}}}", file=file)
                print(f"    failure_domain: {box.failure_domain}", file=file)


def _answers(port: int, question: bytes) -> bool:
    """Whether a viewer is answered with candidates."""
    head, _, body = question.partition(b"\r\n\r\n")
    authorization = next(line for line in head.decode().splitlines() if line.startswith("Authorization: "))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/v1/steer", body, {"Authorization": authorization.split(": ")[1]})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
