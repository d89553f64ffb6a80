"""A fill that is cut short: by a kill, by the end of its window, by the storekeeper's own end."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from contracts.objectkey import SLICE_BYTES
from daemon.cli import Exit
from fill.agent.report import STATE_NAME, read_kept
from oca.objectfile import complete_path
from tests.component.fill.conftest import Setup, StorekeeperThread, command, fill, last_line
from tests.component.fill.proxy import Proxy
from tests.waiting import until

MIB = 1 << 20
KEY = "tt1/video.mp4"


def _until_verified(storekeeper: StorekeeperThread, count: int) -> None:
    """Returns once the storekeeper has counted so many slices of the video."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        begun = storekeeper.store.incomplete.get(KEY)
        if begun is not None and begun.verified == count:
            return
        time.sleep(0.01)
    raise AssertionError(f"the storekeeper never had {count} verified slices")


def _start(config: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("run", "--config", config), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("whole", [0, 3, 7, 12])
def test_after_a_kill_only_the_slice_that_was_under_way_is_sent_twice(
    setup: Setup, storekeeper: StorekeeperThread, whole: int
) -> None:
    """The origin sends ``whole`` slices and a half, and stops; requests are of eight slices."""
    data = setup.publish_bytes("tt1", 14 * MIB + 100)
    setup.plan()
    with Proxy(setup.origin.port, hold_key=KEY, hold_after=whole * MIB + MIB // 2) as proxy:
        config = setup.write_config(endpoint_url=proxy.url)
        running = _start(config)
        assert proxy.holding.wait(60)
        _until_verified(storekeeper, whole)
        running.kill()
        running.communicate()
        before = dict(proxy.sent)
        assert before[KEY, whole] == MIB // 2
        # From here on into the void: the answer that is under way goes to nobody.
        proxy.sent.clear()
        done = fill("run", "--json", "--config", setup.write_config())
        assert done.returncode == 0, done.stderr
    fetched = json.loads(done.stdout)["fetched_bytes"]
    # The manifests too, where the plan has them behind the film.
    assert 0 <= fetched - (len(data) - whole * MIB) < 64, (
        "every verified slice was kept, and nothing else was"
    )
    assert complete_path(storekeeper.disk, KEY).read_bytes()[: len(data)] == data


def test_over_a_kill_the_origin_sends_each_slice_once_but_the_one_under_way(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    data = setup.publish_bytes("tt1", 14 * MIB)
    setup.plan()
    config = setup.write_config()
    with Proxy(setup.origin.port, hold_key=KEY, hold_after=5 * MIB + MIB // 2) as first:
        running = _start(setup.write_config("first", endpoint_url=first.url))
        assert first.holding.wait(60)
        _until_verified(storekeeper, 5)
        running.kill()
        running.communicate()
        sent = first.sent.copy()
    with Proxy(setup.origin.port) as second:
        done = fill("run", "--config", setup.write_config("second", endpoint_url=second.url))
        assert done.returncode == 0, done.stderr
        sent += second.sent
    twice = {index: count for (key, index), count in sent.items() if key == KEY and count != SLICE_BYTES}
    assert twice == {5: MIB + MIB // 2}
    assert fill("status", "--config", config).returncode == 0
    assert complete_path(storekeeper.disk, KEY).read_bytes()[: len(data)] == data


def test_status_tells_of_verified_slices_while_the_fill_is_under_way(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    setup.publish_bytes("tt1", 6 * MIB)
    setup.plan()
    with Proxy(setup.origin.port, hold_key=KEY, hold_after=2 * MIB) as proxy:
        running = _start(setup.write_config(endpoint_url=proxy.url))
        assert proxy.holding.wait(60)
        _until_verified(storekeeper, 2)
        # What a run says of itself is a second old at most.
        until(
            lambda: (
                (view := read_kept(storekeeper.socket.with_name(STATE_NAME), time.time())) and view.sources
            )
        )
        status = fill("status", "--config", setup.write_config("status"))
        running.kill()
        running.communicate()
    assert status.returncode == 0, status.stderr
    row = next(line for line in status.stdout.splitlines() if line.startswith(KEY))
    assert row.split()[:5] == [KEY, "2", "6", "6.3", "MB"]
    assert row.split()[-1] == "origin"
    assert "fill under way: " in status.stdout
    assert max(map(len, status.stdout.splitlines())) <= 100


def test_the_end_of_the_window_is_partly_done_and_the_next_goes_on(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    data = setup.publish_bytes("tt1", 6 * MIB)
    setup.plan()
    with Proxy(setup.origin.port, hold_key=KEY, hold_after=2 * MIB) as proxy:
        running = _start(setup.write_config(endpoint_url=proxy.url))
        assert proxy.holding.wait(60)
        _until_verified(storekeeper, 2)
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=60)
    assert running.returncode == Exit.PARTLY, err
    assert "objects filled, 0 were there" in out
    assert err.splitlines()[-1] == "fill: stopped before the end; `fill run` goes on from here"
    again = json.loads(fill("run", "--json", "--config", setup.write_config()).stdout)
    assert 0 <= again["fetched_bytes"] - 4 * MIB < 64
    assert complete_path(storekeeper.disk, KEY).read_bytes()[: len(data)] == data


def test_a_storekeeper_that_ends_in_the_middle_is_waited_for(setup: Setup, tmp_path: Path) -> None:
    data = setup.publish_bytes("tt1", 14 * MIB)
    setup.plan()
    first = StorekeeperThread(tmp_path, 200 << 20)
    with Proxy(setup.origin.port, hold_key=KEY, hold_after=3 * MIB + 1) as proxy:
        running = _start(setup.write_config(endpoint_url=proxy.url))
        assert proxy.holding.wait(60)
        _until_verified(first, 3)
        first.close()
        proxy.release.set()
        # A new one over the same disk, as the supervisor starts it: it knows nothing but its files.
        second = StorekeeperThread(tmp_path, 200 << 20)
        try:
            out, err = running.communicate(timeout=120)
            assert running.returncode == 0, err
            assert "storekeeper gone" in err
            assert second.store.plan is not None, "it was told the plan again"
            assert "3 objects filled" in out
            assert complete_path(second.disk, KEY).read_bytes()[: len(data)] == data
            once = [proxy.slices[KEY, index] for index in range(3)]
            assert once == [1, 1, 1], "what was verified before is not asked for again"
        finally:
            second.close()


def test_a_storekeeper_that_does_not_come_back_is_said_in_the_last_line(setup: Setup) -> None:
    done = fill("status", "--config", setup.write_config())
    assert done.returncode == 1
    assert "ingest.sock: no such socket" in last_line(done)
