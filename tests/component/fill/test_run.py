"""`fill run` against a real S3 and a real storekeeper: what it fetches, and what it says when it cannot."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from oca.objectfile import complete_path
from tests.component.fill.conftest import APPLIANCE, Setup, StorekeeperThread, fill, last_line
from tests.component.fill.proxy import Answer, Proxy

MIB = 1 << 20


def _held(storekeeper: StorekeeperThread, key: str, size: int) -> bytes:
    return complete_path(storekeeper.disk, key).read_bytes()[:size]


def _events(log: str) -> list[str]:
    return [json.loads(line)["event"] for line in log.splitlines()]


def test_a_run_puts_on_the_disk_what_was_published_and_the_next_fetches_nothing(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    data = setup.publish_bytes("tt1", 9 * MIB + 5)
    setup.plan()
    config = setup.write_config()
    first = fill("run", "--json", "--config", config)
    assert first.returncode == 0, first.stderr
    assert _held(storekeeper, "tt1/video.mp4", len(data)) == data
    assert _events(first.stderr) == ["fill started", *["object done"] * 3, "fill ended"]
    second = fill("run", "--json", "--config", config)
    assert _events(second.stderr) == ["fill started", "fill ended"]
    again = json.loads(second.stdout)
    assert (again["fetched_bytes"], again["held"], again["committed"]) == (0, 3, 0)
    status = json.loads(fill("status", "--json", "--config", config).stdout)
    assert status["holdings"]["held_objects"] == status["holdings"]["planned_objects"] == 3
    assert status["newest_plan"] == status["holdings"]["plan"]


def _whole(path: str, answer: Answer) -> None:
    answer.status = 200
    answer.headers.pop("Content-Range", None)


def _elsewhere(path: str, answer: Answer) -> None:
    answer.headers["Content-Range"] = "bytes 1-2/3145728"


def _of_another_size(path: str, answer: Answer) -> None:
    answer.headers["Content-Range"] = "bytes 0-3145727/3145729"


def _short(path: str, answer: Answer) -> None:
    answer.body = answer.body[:-3]


def _short_and_says_so(path: str, answer: Answer) -> None:
    answer.body = answer.body[:-3]
    answer.announced = len(answer.body)


def _wrong(path: str, answer: Answer) -> None:
    answer.body = answer.body[:-1] + bytes([answer.body[-1] ^ 1])


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (_whole, "status 200"),
        (_elsewhere, "bytes 1-2/3145728"),
        (_of_another_size, "has 3145729 bytes at the origin, and 3145728 were published"),
        (_short, "slice 2"),
        (_short_and_says_so, "3 bytes early"),
        (_wrong, "not the bytes that were published"),
    ],
)
def test_an_origin_that_lies_is_found_out_and_the_rest_is_filled(
    setup: Setup, storekeeper: StorekeeperThread, lie: Callable[[str, Answer], None], said: str
) -> None:
    setup.publish_bytes("tt1", 3 * MIB, now=2000)
    data = setup.publish_bytes("tt2", 2 * MIB, now=1000)
    setup.plan()

    def lie_about_one(path: str, answer: Answer) -> None:
        if path.endswith("tt1/video.mp4"):
            lie(path, answer)

    with Proxy(setup.origin.port, lie_about_one) as proxy:
        done = fill("run", "--config", setup.write_config(endpoint_url=proxy.url))
        tries = max(count for (key, _), count in proxy.slices.items() if key == "tt1/video.mp4")
    assert done.returncode == 1
    line = last_line(done)
    assert "1 of 6 objects left out" in line
    assert "tt1/video.mp4: " in line
    assert said in line
    # What is whole and wrong is asked for once more, what breaks off as often as the configuration says.
    assert tries == (3 if lie in {_short, _short_and_says_so} else 2)
    assert not complete_path(storekeeper.disk, "tt1/video.mp4").exists()
    assert _held(storekeeper, "tt2/video.mp4", len(data)) == data


def test_one_bad_answer_is_asked_for_again(setup: Setup, storekeeper: StorekeeperThread) -> None:
    data = setup.publish_bytes("tt1", 3 * MIB)
    setup.plan()
    lied: list[str] = []

    def lie_once(path: str, answer: Answer) -> None:
        if path.endswith("video.mp4") and not lied:
            lied.append(path)
            _wrong(path, answer)

    with Proxy(setup.origin.port, lie_once) as proxy:
        done = fill("run", "--config", setup.write_config(endpoint_url=proxy.url))
        assert done.returncode == 0, done.stderr
        # Only the slice that was wrong, and none of the good ones before it.
        assert [index for (_, index), count in proxy.slices.items() if count > 1] == [2]
    assert lied
    assert _held(storekeeper, "tt1/video.mp4", len(data)) == data


def test_what_has_no_room_is_left_out_by_name(setup: Setup, storekeeper: StorekeeperThread) -> None:
    setup.publish_bytes("tt1", MIB)
    setup.plan()
    storekeeper.store.disks[0].capacity_bytes = MIB // 2
    done = fill("run", "--config", setup.write_config())
    assert done.returncode == 1
    assert "tt1/video.mp4 needs" in last_line(done)


def test_a_wrong_secret_is_said_in_one_line(setup: Setup, storekeeper: StorekeeperThread) -> None:
    wrong = setup.folder / "wrong"
    wrong.write_text("[default]\naws_access_key_id = nearcast\naws_secret_access_key = wrong\n")
    done = fill("run", "--config", setup.write_config(credentials_file=str(wrong)))
    assert done.returncode == 1
    assert "the access key or its secret was refused" in last_line(done)
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_unreachable_s3_is_said_in_one_line(setup: Setup, storekeeper: StorekeeperThread) -> None:
    done = fill("run", "--config", setup.write_config(endpoint_url="http://127.0.0.1:1"))
    assert done.returncode == 1
    assert "127.0.0.1:1" in last_line(done)
    assert len(done.stderr.strip().splitlines()) == 1


def test_without_a_storekeeper_the_socket_is_named(setup: Setup) -> None:
    done = fill("run", "--config", setup.write_config())
    assert done.returncode == 1
    socket = f"{setup.folder}/ingest.sock"
    advice = "no such socket: is `oca serve` running, and agent.ingest_socket right?"
    assert done.stderr == f"fill: {socket}: {advice}\n"


def test_two_runs_at_once_are_refused(setup: Setup, storekeeper: StorekeeperThread) -> None:
    with Path(setup.folder / "fill.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = fill("run", "--config", setup.write_config())
    assert done.returncode == 1
    assert "another `fill run`" in last_line(done)


def test_an_appliance_without_a_plan_is_told_where_to_look(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    config = setup.write_config()
    assert "nothing is planned yet" in last_line(fill("run", "--config", config))
    setup.publish_bytes("tt1", 10)
    planned = setup.plan()
    setup.client.delete_object(Bucket=setup.config.bucket, Key=f"plans/{planned['plan']}/{APPLIANCE}.json")
    for command_name in ("run", "status"):
        done = fill(command_name, "--config", config)
        assert done.returncode == 1
        assert f"has nothing for appliance '{APPLIANCE}'" in last_line(done)


def test_the_name_of_another_appliance_is_a_wrong_configuration(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    config = setup.write_config()
    config.write_text(config.read_text().replace(APPLIANCE, "isp-z9"))
    for command_name in ("run", "status"):
        done = fill(command_name, "--config", config)
        assert done.returncode == 2
        answers = f"'{APPLIANCE}' answers at {setup.folder}/ingest.sock"
        assert done.stderr == f"fill: {config}: agent.appliance: 'isp-z9', but {answers}\n"


def test_a_hostile_plan_is_refused_before_anything_is_adopted(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    setup.publish_bytes("tt1", 10)
    planned = setup.plan()
    key = f"plans/{planned['plan']}/{APPLIANCE}.json"
    setup.client.put_object(Bucket=setup.config.bucket, Key=key, Body=b'{"version": "../../etc"}')
    done = fill("run", "--config", setup.write_config())
    assert done.returncode == 1
    assert key in last_line(done)
    assert storekeeper.store.plan is None
