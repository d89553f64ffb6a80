"""`kill -9` at random moments: nothing is fetched twice but what was under way, nothing held that is wrong."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time

import pytest
import yaml

from contracts.objectkey import SLICE_BYTES
from oca.objectfile import complete_path, incomplete_path
from tests.component.fill.conftest import Setup, StorekeeperThread, command
from tests.component.fill.proxy import Proxy

MIB = 1 << 20
KEY = "tt1/video.mp4"
REQUESTS = 4
SIZE = 48 * MIB + 77


@pytest.mark.parametrize("rounds", [5, pytest.param(50, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
def test_whenever_it_is_killed_only_what_was_under_way_comes_again(
    setup: Setup, storekeeper: StorekeeperThread, rounds: int
) -> None:
    """So slow that it would take two seconds for each round; killed as many times, and then left to end."""
    seed = int(os.environ.get("NEARCAST_SEED", "0")) or random.randrange(1, 1 << 31)
    chance = random.Random(seed)
    data = setup.publish_bytes("tt1", SIZE)
    setup.plan()
    kills = 0
    with Proxy(setup.origin.port) as proxy:
        path = setup.write_config(endpoint_url=proxy.url)
        document = yaml.safe_load(path.read_text())
        document["agent"] |= {"requests": REQUESTS, "rate_bps": SIZE * 8 // (2 * rounds)}
        path.write_text(yaml.safe_dump(document))
        for _ in range(rounds):
            before = proxy.of(KEY)
            run = subprocess.Popen(
                command("run", "--config", path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            _until_more(proxy, before, run)
            time.sleep(chance.uniform(0, 0.8))
            ended = run.poll() is not None
            run.kill()
            run.wait(20)
            kills += not ended
            _nothing_wrong(storekeeper, data, seed)
            if ended:
                break
        there = _right_bytes(storekeeper, data)
        document["agent"]["rate_bps"] = 0
        path.write_text(yaml.safe_dump(document))
        done = subprocess.run(
            command("run", "--json", "--config", path),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert kills >= rounds // 2, f"{kills} runs were killed, seed {seed}"
    assert complete_path(storekeeper.disk, KEY).read_bytes()[: len(data)] == data
    fetched = json.loads(done.stdout)["fetched_bytes"]
    assert fetched <= len(data) - there + 64, f"what is in the file is not fetched again, seed {seed}"


def _until_more(proxy: Proxy, before: int, run: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while proxy.of(KEY) == before and run.poll() is None:
        assert time.monotonic() < deadline, "nothing was ever asked for"
        time.sleep(0.01)


def _nothing_wrong(storekeeper: StorekeeperThread, data: bytes, seed: int) -> None:
    """What counts as verified is in the file, byte for byte."""
    begun = storekeeper.store.incomplete.get(KEY)
    if begun is None:
        return
    file = begun.path.read_bytes()
    for index in range(begun.slices):
        if begun.has(index):
            span = slice(index * SLICE_BYTES, min((index + 1) * SLICE_BYTES, len(data)))
            assert file[span] == data[span], f"slice {index}, seed {seed}"


def _right_bytes(storekeeper: StorekeeperThread, data: bytes) -> int:
    """How much of the film is in its file, in whole slices, whoever knows of them."""
    path = incomplete_path(storekeeper.disk, KEY)
    file = path.read_bytes() if path.exists() else data
    spans = [slice(at, min(at + SLICE_BYTES, len(data))) for at in range(0, len(data), SLICE_BYTES)]
    return sum(span.stop - span.start for span in spans if file[span] == data[span])
