"""What is wrong around a fill, and the one line and the exit code that each of it ends with."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts import catalog
from contracts.documents import encode
from daemon.cli import Exit
from oca.objectfile import complete_path
from oca.store.incomplete import Incomplete
from tests.component.fill.conftest import APPLIANCE, Setup, StorekeeperThread, command, fill, last_line
from tests.component.fill.proxy import Answer, Proxy

MIB = 1 << 20
VIDEO = "tt1/video.mp4"


def _one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def _put(setup: Setup, key: str, body: bytes) -> None:
    setup.client.put_object(Bucket=setup.config.bucket, Key=key, Body=body)


def _cut(data: bytes) -> bytes:
    return data[: MIB + 5]


def _cut_to_nothing(data: bytes) -> bytes:
    return b""


def _altered(data: bytes) -> bytes:
    return data[: 2 * MIB] + bytes([data[2 * MIB] ^ 1]) + data[2 * MIB + 1 :]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_cut, f"{VIDEO}: has {MIB + 5} bytes at the origin, and {3 * MIB} were published"),
        (_cut_to_nothing, f"{VIDEO}: truncated at the origin: shorter than the {3 * MIB} bytes published"),
        (_altered, f"{VIDEO}: slice 2: its xxh3-128 is "),
        (None, f"media/{VIDEO}: does not exist (NoSuchKey)"),
    ],
)
def test_an_object_that_is_not_as_published_is_never_held_and_the_others_are(
    setup: Setup, storekeeper: StorekeeperThread, change: Callable[[bytes], bytes] | None, said: str
) -> None:
    data = setup.publish_bytes("tt1", 3 * MIB, now=2000)
    setup.publish_bytes("tt2", MIB, now=1000)
    setup.plan()
    key = catalog.media_key(VIDEO)
    if change is None:
        setup.client.delete_object(Bucket=setup.config.bucket, Key=key)
    else:
        _put(setup, key, change(data))
    done = fill("run", "--config", setup.write_config())
    assert done.returncode == Exit.FAILED
    assert last_line(done).startswith("fill: 1 of 6 objects left out; the first: ")
    assert said in last_line(done)
    assert storekeeper.store.index.get(VIDEO) is None
    assert not complete_path(storekeeper.disk, VIDEO).exists()
    assert storekeeper.store.index.get("tt2/video.mp4") is not None


@pytest.mark.parametrize("name", ["plan", "run", "status"])
def test_s3_that_is_down_is_one_line(setup: Setup, storekeeper: StorekeeperThread, name: str) -> None:
    setup.write_fleet()
    done = fill(name, "--config", setup.write_config(endpoint_url="http://127.0.0.1:1"))
    assert done.returncode == Exit.FAILED
    assert "S3 does not answer: is it up, and origin.endpoint_url right?" in _one_line(done)


@pytest.mark.parametrize("name", ["plan", "run", "status"])
def test_a_bucket_that_does_not_exist_is_named(
    setup: Setup, storekeeper: StorekeeperThread, name: str
) -> None:
    setup.write_fleet()
    done = fill(name, "--config", setup.write_config(bucket="no-such-bucket"))
    assert done.returncode == Exit.FAILED
    said = "s3://no-such-bucket: no such bucket: is origin.bucket right? (NoSuchBucket)"
    assert _one_line(done) == f"fill: {said}"


@pytest.mark.parametrize("name", ["plan", "run", "status"])
def test_a_secret_that_is_refused_names_the_key_of_the_configuration(
    setup: Setup, storekeeper: StorekeeperThread, name: str
) -> None:
    setup.write_fleet()
    wrong = setup.folder / "wrong"
    wrong.write_text("[default]\naws_access_key_id = nearcast\naws_secret_access_key = wrong\n")
    done = fill(name, "--config", setup.write_config(credentials_file=str(wrong)))
    assert done.returncode == Exit.FAILED
    assert "secret was refused: is origin.credentials_file right?" in _one_line(done)


def test_credentials_that_are_not_there_are_a_wrong_configuration(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    done = fill("run", "--config", setup.write_config(credentials_file="/nowhere/s3"))
    assert done.returncode == Exit.USAGE
    assert _one_line(done) == "fill: origin.credentials_file: /nowhere/s3: no such file"


def test_status_shows_what_is_held_though_s3_is_down(setup: Setup, storekeeper: StorekeeperThread) -> None:
    setup.publish_bytes("tt1", 10)
    setup.plan()
    assert fill("run", "--config", setup.write_config()).returncode == 0
    down = setup.write_config("down", endpoint_url="http://127.0.0.1:1")
    table, document = fill("status", "--config", down), fill("status", "--json", "--config", down)
    assert table.returncode == document.returncode == Exit.FAILED
    assert "3 of 3" in table.stdout
    answer = json.loads(document.stdout)
    assert answer["holdings"]["held_objects"] == 3
    assert answer["newest_plan"] is None
    assert "S3 does not answer" in answer["problem"]


def test_status_of_a_new_fleet_is_no_failure(setup: Setup, storekeeper: StorekeeperThread) -> None:
    done = fill("status", "--config", setup.write_config())
    assert (done.returncode, done.stderr) == (0, "")
    assert "none yet" in done.stdout


def test_the_plan_of_another_appliance_is_refused(setup: Setup, storekeeper: StorekeeperThread) -> None:
    setup.publish_bytes("tt1", 10)
    key = f"plans/{setup.plan()['plan']}/{APPLIANCE}.json"
    plan = json.loads(setup.client.get_object(Bucket=setup.config.bucket, Key=key)["Body"].read())
    _put(setup, key, encode(plan | {"appliance": "isp-z9"}))
    done = fill("run", "--config", setup.write_config())
    assert done.returncode == Exit.FAILED
    assert _one_line(done) == f"fill: {key}: is the plan of 'isp-z9', not of '{APPLIANCE}'"
    assert storekeeper.store.plan is None


def _too_long(path: str, answer: Answer) -> None:
    answer.announced = 1 << 40


def _not_json(path: str, answer: Answer) -> None:
    answer.body = b"<html>a captive portal</html>"
    answer.announced = len(answer.body)


def _of_a_newer_contract(path: str, answer: Answer) -> None:
    answer.body = encode(json.loads(answer.body) | {"contract": 99})
    answer.announced = len(answer.body)


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (_too_long, "1099511627776 bytes, and at most"),
        (_not_json, "JSON is malformed"),
        (_of_a_newer_contract, "written for contract version 99, and this program knows 1 to 1"),
    ],
)
@pytest.mark.parametrize("which", ["plans/latest", f"/{APPLIANCE}.json", "catalog/latest", "/index.json"])
def test_a_hostile_plan_or_catalog_ends_the_run_in_one_line_that_names_it(
    setup: Setup, storekeeper: StorekeeperThread, which: str, lie: Callable[[str, Answer], None], said: str
) -> None:
    setup.publish_bytes("tt1", 10)
    setup.plan()

    def lie_about_it(path: str, answer: Answer) -> None:
        if path.endswith(which):
            lie(path, answer)

    with Proxy(setup.origin.port, lie_about_it) as proxy:
        done = fill("run", "--config", setup.write_config(endpoint_url=proxy.url))
    assert done.returncode == Exit.FAILED
    line = last_line(done)
    assert which in line
    assert said in line
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(storekeeper.store.index)


def test_an_entry_that_is_altered_on_its_way_leaves_out_its_title_only(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    setup.publish_bytes("tt1", 3 * MIB, now=2000)
    setup.publish_bytes("tt2", 10, now=1000)
    setup.plan()

    def one_digest_less(path: str, answer: Answer) -> None:
        if path.endswith("/titles/tt1.json"):
            entry = json.loads(answer.body)
            entry["objects"][0]["digests"] = entry["objects"][1]["digests"]
            answer.body = encode(entry)
            answer.announced = len(answer.body)

    with Proxy(setup.origin.port, one_digest_less) as proxy:
        done = fill("run", "--config", setup.write_config(endpoint_url=proxy.url))
    assert done.returncode == Exit.FAILED
    assert "3 of 6 objects left out" in last_line(done)
    assert "is not the document that the catalog's index was made with" in last_line(done)
    assert storekeeper.store.index.get("tt2/video.mp4") is not None


def test_s3_that_is_busy_for_a_moment_is_waited_for(setup: Setup, storekeeper: StorekeeperThread) -> None:
    data = setup.publish_bytes("tt1", 3 * MIB)
    setup.plan()
    refused: dict[str, int] = {}

    def busy_twice(path: str, answer: Answer) -> None:
        refused[path] = refused.get(path, 0) + 1
        if refused[path] <= 2:
            answer.status, answer.body, answer.announced = 503, b"", 0
            answer.headers = {"Retry-After": "0"}

    with Proxy(setup.origin.port, busy_twice) as proxy:
        done = fill("run", "--config", setup.write_config(endpoint_url=proxy.url))
    assert done.returncode == 0, done.stderr
    assert complete_path(storekeeper.disk, VIDEO).read_bytes()[: len(data)] == data


def test_s3_that_goes_away_in_the_middle_ends_the_run_after_a_few_objects(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    for number in range(9):
        setup.publish_bytes(f"tt{number}", 10)
    setup.plan()
    asked: list[str] = []

    def busy(path: str, answer: Answer) -> None:
        if "/media/" in path:
            asked.append(path)
        if "/media/" in path and len(asked) > 3:
            answer.status, answer.body, answer.announced = 500, b"", 0

    with Proxy(setup.origin.port, busy) as proxy:
        done = fill("run", "--config", setup.write_config(endpoint_url=proxy.url))
    assert done.returncode == Exit.FAILED
    assert "S3 cannot answer now" in last_line(done)
    assert len(set(asked)) == 3 + 3
    assert len(storekeeper.store.index) == 3


def test_a_reserved_file_that_vanishes_is_reserved_again(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    data = setup.publish_bytes("tt1", 3 * MIB)
    setup.plan()
    begin, begun = storekeeper.store.begin, list[Incomplete]()

    async def begin_and_lose(item: catalog.CatalogObject, *, allocate: bool = False) -> Incomplete:
        made = await begin(item, allocate=allocate)
        if item.key == VIDEO and not begun:
            begun.append(made)
            made.path.unlink()
        return made

    storekeeper.store.begin = begin_and_lose  # type: ignore[method-assign]
    done = fill("run", "--config", setup.write_config())
    assert done.returncode == 0, done.stderr
    assert "cannot be written to its disk: No such file or directory" in done.stderr
    assert complete_path(storekeeper.disk, VIDEO).read_bytes()[: len(data)] == data


def test_an_object_that_is_purged_under_our_hands_is_fetched_anew(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    data = setup.publish_bytes("tt1", 6 * MIB)
    setup.plan()
    with Proxy(setup.origin.port, hold_key=VIDEO, hold_after=2 * MIB) as proxy:
        config = setup.write_config(endpoint_url=proxy.url)
        answers: list[subprocess.CompletedProcess[str]] = []
        run = threading.Thread(target=lambda: answers.append(fill("run", "--config", config)))
        run.start()
        assert proxy.holding.wait(60)
        storekeeper.call(lambda: storekeeper.store.purge(lambda key: key == VIDEO))
        proxy.release.set()
        run.join(120)
    assert answers[0].returncode == 0, answers[0].stderr
    assert complete_path(storekeeper.disk, VIDEO).read_bytes()[: len(data)] == data


def test_a_disk_that_takes_no_bytes_costs_three_tries_and_the_rest_is_filled(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    """A file size limit stands for the disk: the kernel answers the write with an error all the same."""
    setup.publish_bytes("tt1", 3 * MIB, now=2000)
    setup.publish_bytes("tt2", MIB, now=1000)
    setup.plan()
    done = subprocess.run(
        command("run", "--config", setup.write_config()),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB)),
    )
    assert done.returncode == Exit.FAILED
    assert f"{VIDEO}: cannot be written to its disk: {os.strerror(errno.EFBIG)}" in last_line(done)
    assert done.stderr.count('"event": "again"') == 2
    assert VIDEO not in storekeeper.store.incomplete
    assert storekeeper.store.index.get("tt2/video.mp4") is not None


def test_a_socket_that_nobody_listens_on_is_named(setup: Setup) -> None:
    socket = Path(setup.folder / "ingest.sock")
    socket.touch()
    done = fill("status", "--config", setup.write_config())
    assert done.returncode == Exit.FAILED
    assert _one_line(done) == f"fill: {socket}: nobody listens: is `oca serve` running?"
