"""Rounds of `kill -9` under load and fill: what is on the disks afterwards is right, and all of it is counted.

In each round players ask for random ranges, a fill agent carries out its plan, and titles are purged, so
that at any moment something is being written, renamed or removed. Then the storekeeper, a worker, the agent
and the supervisor are killed, each at a moment of its own.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psutil
import pytest

from contracts.objectkey import object_hash
from demo.origin import OriginServer
from tests.appliance import Appliance, restarted, running
from tests.component.fill.conftest import APPLIANCE, Setup, command
from tests.component.oca.metrics import status
from tests.component.oca.ondisk import held
from tests.component.oca.test_serving import Answer, ask
from tests.processes import below
from tests.waiting import PATIENCE_S, settled, until

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MIB = 1 << 20
TITLES = 16
DISKS = ("disk1", "disk2")
CAPACITY_BYTES = 40 * MIB
"""Less than all titles take, on both disks together: the demand cache evicts."""


@dataclass
class World:
    root: Path
    fill: Path
    objects: dict[str, bytes]


@contextmanager
def world(tmp_path: Path, origin: OriginServer, s3: S3Client, seed: int) -> Iterator[World]:
    """An appliance that was never started, whose plan pins some of what is published, and never all."""
    chance = random.Random(seed)
    bucket = f"crash-{seed}-{os.getpid()}"
    s3.create_bucket(Bucket=bucket)
    setup = Setup(tmp_path, msgspec.structs.replace(origin.config, bucket=bucket), s3, origin)
    objects = {
        f"tt{number}/video.mp4": setup.publish_bytes(f"tt{number}", chance.randrange(1, 9 * MIB))
        for number in range(TITLES)
    }
    setup.plan(capacity_bytes=CAPACITY_BYTES)
    root = tmp_path / "appliance"
    root.mkdir()
    disks = [{"path": str(root / name), "capacity_bytes": CAPACITY_BYTES} for name in DISKS]
    fill = setup.write_config(ingest_socket=str(root / "run" / "ingest.sock"))
    with running(
        root,
        start=False,
        appliance=APPLIANCE,
        origin=msgspec.to_builtins(setup.config),
        disks=disks,
        workers=2,
    ):
        yield World(root, fill, objects)


class Player(threading.Thread):
    """Asks for random ranges until told to stop. An answer may fail or end early, never be wrong."""

    def __init__(self, appliance: Appliance, objects: dict[str, bytes], seed: int) -> None:
        super().__init__()
        self._appliance = appliance
        self._objects = objects
        self._chance = random.Random(seed)
        self.done = threading.Event()
        self.right = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        while not self.done.is_set():
            key = self._chance.choice(list(self._objects))
            data = self._objects[key]
            start = self._chance.randrange(len(data))
            end = min(len(data), start + self._chance.randrange(1, 3 * MIB))
            try:
                answer = ask(self._appliance, f"Range: bytes={start}-{end - 1}\r\n", target=f"/{key}")
            except OSError:
                # Killed in the middle of a head, or before it. The next attempt is a moment away.
                self.done.wait(0.02)
                continue
            if answer.status != 206:
                self.done.wait(0.02)
            elif data[start:end].startswith(answer.body):
                self.right += len(answer.body) == end - start
            else:
                self.wrong.append(f"{key} {start}-{end}")


@contextmanager
def players(appliance: Appliance, objects: dict[str, bytes], seed: int) -> Iterator[list[Player]]:
    made = [Player(appliance, objects, seed * 10 + number) for number in range(3)]
    for player in made:
        player.start()
    try:
        yield made
    finally:
        for player in made:
            player.done.set()
        for player in made:
            player.join(2 * PATIENCE_S)
            assert not player.is_alive()


def purge(appliance: Appliance, title: str) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{appliance.admin}/v1/purge",
        data=json.dumps({"title": title}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with suppress(OSError), urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        answer.read()


def kill_all(appliance: Appliance, agent: subprocess.Popen[bytes], chance: random.Random) -> None:
    """Kills a child, the agent and the supervisor, in an order and at moments that chance decides."""
    supervisor = psutil.Process(appliance.process.pid)
    children = below(supervisor.pid)
    victims = [chance.choice(children).pid, agent.pid, supervisor.pid]
    chance.shuffle(victims)
    for pid in victims:
        time.sleep(chance.uniform(0.0, 0.6))  # the moment is what is random
        if pid == supervisor.pid:
            appliance.kill()  # and whatever was started in the place of a child that was killed
            continue
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    agent.wait(PATIENCE_S)


def one_round(appliance: Appliance, made: World, chance: random.Random) -> int:
    """Load, fill and purges until all is killed; how many answers were whole."""
    titles = [key.partition("/")[0] for key in made.objects]
    with (made.root / "fill.log").open("ab") as log:
        agent = subprocess.Popen(command("run", "--config", made.fill), stdout=log, stderr=log)
    with players(appliance, made.objects, chance.randrange(1 << 30)) as asking:
        for title in chance.sample(titles, 4):
            time.sleep(chance.uniform(0.0, 0.2))
            purge(appliance, title)
        kill_all(appliance, agent, chance)
    assert [wrong for player in asking for wrong in player.wrong] == []
    return sum(player.right for player in asking)


def check_disks(appliance: Appliance, made: World) -> None:
    """Complete objects are right, byte for byte, and each disk counts exactly the files that it holds.

    Returns once that is so: a watermark or a newer catalog may be at work since the start.
    """
    settled(lambda: _check_disks(appliance, made))


def _check_disks(appliance: Appliance, made: World) -> None:
    by_hash = {object_hash(key): (key, data) for key, data in made.objects.items()}
    said = {Path(disk["path"]).name: disk for disk in status(appliance)["disks"]}
    seen: list[str] = []
    for name in DISKS:
        used, complete, incomplete = held(made.root / name)
        for file in complete:
            if file.name in by_hash:  # the others are manifests
                key, data = by_hash[file.name]
                if file.read_bytes()[: len(data)] != data:
                    pytest.fail(f"{key} is complete and wrong")
        seen += [file.name for file in complete + incomplete]
        counted = said[name]["state"], said[name]["used_bytes"], said[name]["objects"]
        assert counted == ("serving", used, len(complete)), name
        assert used <= CAPACITY_BYTES
    assert len(seen) == len(set(seen)), "one object is there twice"


def check_answers(appliance: Appliance, made: World, chance: random.Random) -> None:
    """What is asked for is answered: 503 at most until the catalog was read, which takes a moment."""
    for key in chance.sample(list(made.objects), 3):

        def answered(key: str = key) -> Answer | None:
            got = ask(appliance, target=f"/{key}")
            return None if got.status == 503 else got

        answer = until(answered, lambda: (appliance.root / "log").read_text()[-2000:])
        assert (answer.status, answer.body == made.objects[key]) == (200, True), (key, answer.status)


def crash(made: World, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    whole = 0
    for _ in range(rounds):
        with restarted(made.root) as appliance:
            check_disks(appliance, made)
            check_answers(appliance, made, chance)
            whole += one_round(appliance, made, chance)
    with restarted(made.root) as appliance:
        check_disks(appliance, made)
        check_answers(appliance, made, chance)
        # And not only as it is counted at a start: after a whole fill, with what it evicts.
        subprocess.run(command("run", "--config", made.fill), check=True, capture_output=True, timeout=120)
        check_disks(appliance, made)
    assert whole > rounds, "the load asked for nothing"


@pytest.mark.timeout(180)
def test_whatever_is_killed_nothing_wrong_is_served_and_all_is_counted(
    tmp_path: Path, origin: OriginServer, s3: S3Client
) -> None:
    with world(tmp_path, origin, s3, seed=5) as made:
        crash(made, rounds=5, seed=5)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_hundred_rounds(tmp_path: Path, origin: OriginServer, s3: S3Client) -> None:
    with world(tmp_path, origin, s3, seed=200) as made:
        crash(made, rounds=200, seed=200)
