"""The delivery log of a real appliance, in a real S3: what was asked is what is in it, once."""

from __future__ import annotations

import gzip
import os
import random
import signal
import socket
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml

from contracts.delivery import DeliveryRow
from demo.origin import OriginServer
from tests.appliance import Appliance, restarted, running
from tests.component.oca.metrics import status, wait_for
from tests.component.oca.test_metrics import children, requests
from tests.component.oca.test_serving import ask
from tests.processes import gone
from tests.waiting import until

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEY = "tt0031/720p/video.mp4"
SIZE = 300_000


@dataclass
class Log:
    """Where one test's appliance writes; ``prefix`` is of this test alone."""

    s3: S3Client
    bucket: str
    prefix: str
    root: Path
    origin: OriginServer

    def config(self, **changes: object) -> dict[str, Any]:
        return {
            "origin": {
                "bucket": self.bucket,
                "endpoint_url": self.origin.endpoint_url,
                "credentials_file": str(self.origin.credentials_file),
            },
            "delivery": {"prefix": self.prefix, **changes},
        }

    def objects(self) -> dict[str, bytes]:
        listed = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix + "/")
        return {
            item["Key"]: self.s3.get_object(Bucket=self.bucket, Key=item["Key"])["Body"].read()
            for item in listed.get("Contents", [])
        }

    def rows(self) -> list[DeliveryRow]:
        return [
            msgspec.json.decode(line, type=DeliveryRow)
            for body in self.objects().values()
            for line in gzip.decompress(body).splitlines()
        ]

    def spooled(self) -> list[str]:
        return sorted(path.name for path in (self.root / "state/delivery").glob("*/*"))

    def change(self, **delivery: object) -> None:
        """Writes the configuration anew, for the next start."""
        file = self.root / "oca.yaml"
        config = yaml.safe_load(file.read_text())
        config["delivery"] |= delivery
        file.write_text(yaml.safe_dump(config))


@pytest.fixture
def log(tmp_path: Path, origin: OriginServer, s3: S3Client) -> Log:
    return Log(s3, origin.config.bucket, f"delivery-{tmp_path.name}", tmp_path, origin)


def play(appliance: Appliance, sessions: int, buffer_ms: int = 2000) -> None:
    for number in range(sessions):
        cmcd = f"CMCD=bl%3D{buffer_ms}%2Cbr%3D3000%2Csid%3D%22s{number}%22"
        assert ask(appliance, "Range: bytes=0-999\r\n", target=f"/{KEY}?{cmcd}").status == 206


def test_all_that_was_delivered_is_in_s3_after_a_clean_end(log: Log) -> None:
    """Each request of the last moment too: workers report as they end, and the storekeeper waits for it."""
    with running(log.root, workers=2, **log.config()) as appliance:
        appliance.put(KEY, random.Random(31).randbytes(SIZE))
        play(appliance, 3)
        play(appliance, 3, buffer_ms=4000)
        assert ask(appliance, target=f"/{KEY}").status == 200
    for name in log.objects():  # one, unless an hour ended in between
        assert name.startswith(f"{log.prefix}/date=")
        assert "/hour=" in name
        assert "/test-1-" in name
    rows = log.rows()
    assert {(row.key, row.network, row.appliance) for row in rows} == {(KEY, "127.0.0.0/16", "test-1")}
    assert sum(row.requests for row in rows) == sum(row.hits for row in rows) == 7
    assert sum(row.bytes for row in rows) == 6000 + SIZE
    assert sum(row.cmcd_requests for row in rows) == 6
    assert sum((row.cmcd_mean_buffer_s or 0) * row.cmcd_buffers for row in rows) == pytest.approx(18)
    assert {row.cmcd_mean_bitrate_bps for row in rows} <= {3e6, None}
    if len(rows) == 1:  # else a minute ended in between
        assert rows[0].sessions == 4
    assert log.spooled() == []


def test_while_s3_is_away_parts_wait_and_nothing_else_does(log: Log) -> None:
    with closing(socket.socket()) as nobody:  # bound, and never listening
        nobody.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with running(log.root, **log.config(endpoint_url=away)) as appliance:
            appliance.put(KEY, random.Random(31).randbytes(SIZE))
            play(appliance, 3)
        kept = log.spooled()
        assert kept
        with restarted(log.root) as appliance:
            until(lambda: bool(status(appliance)["delivery"]["error"]))
            found = status(appliance)["delivery"]
            assert "is it up, and delivery.endpoint_url right?" in found["error"]
            assert (found["waiting_parts"], found["uploaded_parts"]) == (len(kept), 0)
            assert wait_for(appliance, lambda found: found["oca_delivery_failing", ""] == 1)
            play(appliance, 2)
        both = log.spooled()
        assert set(kept) < set(both)
    log.change(endpoint_url=log.origin.endpoint_url)
    with restarted(log.root) as appliance:
        until(lambda: status(appliance)["delivery"]["uploaded_parts"] == len(both))
        assert status(appliance)["delivery"]["error"] == ""
    assert sum(row.requests for row in log.rows()) == 5
    assert any(name.endswith(f"-{kept[0].split('.')[1]}.ndjson.gz") for name in log.objects())
    assert log.spooled() == []


def test_credentials_that_may_not_write_are_named_and_read_again(log: Log) -> None:
    right = log.origin.credentials_file.read_text()
    own = log.root / "delivery-credentials"
    own.write_text(right.replace("aws_secret_access_key = ", "aws_secret_access_key = not-"))
    assert own.read_text() != right
    with running(log.root, **log.config(credentials_file=str(own))) as appliance:
        appliance.put(KEY, random.Random(31).randbytes(SIZE))
        play(appliance, 3)
    with restarted(log.root) as appliance:
        until(lambda: "delivery.credentials_file" in status(appliance)["delivery"]["error"])
        assert log.objects() == {}
        own.write_text(right)
        until(lambda: not log.spooled())
    assert sum(row.requests for row in log.rows()) == 3


def test_a_worker_that_is_killed_takes_nothing_back_that_it_reported(log: Log) -> None:
    with running(log.root, **log.config()) as appliance:
        appliance.put(KEY, random.Random(31).randbytes(SIZE))
        play(appliance, 5)
        wait_for(appliance, lambda found: requests(found) == 5)
        (worker,) = children(appliance, "edge")
        os.kill(worker.pid, signal.SIGKILL)
        until(lambda: gone([worker]))
        wait_for(appliance, lambda found: found["oca_workers", ""] == 1)
        play(appliance, 4)
    assert sum(row.requests for row in log.rows()) == 9


def test_a_storekeeper_that_is_killed_costs_at_most_the_open_minute(log: Log) -> None:
    """And nothing is in the log twice, nor lost that was asked while it was away."""
    with running(log.root, **log.config()) as appliance:
        appliance.put(KEY, random.Random(31).randbytes(SIZE))
        play(appliance, 5)
        wait_for(appliance, lambda found: requests(found) == 5)
        (store,) = children(appliance, "store")
        os.kill(store.pid, signal.SIGKILL)
        until(lambda: gone([store]))
        play(appliance, 7)
        appliance.wait_ready()
    # 12 when a minute had ended between the report and the kill.
    assert sum(row.requests for row in log.rows()) in {7, 12}


def test_a_part_that_was_left_open_is_uploaded_at_the_next_start(log: Log) -> None:
    with running(log.root, **log.config()) as appliance:
        appliance.put(KEY, random.Random(31).randbytes(SIZE))
        play(appliance, 3)
    lines = gzip.decompress(next(iter(log.objects().values())))
    left = log.root / "state/delivery/open/2026-06-21T09.00c0ffee.ndjson"
    left.write_bytes(lines + b'{"minute":"2026-')
    with restarted(log.root) as appliance:
        until(lambda: status(appliance)["delivery"]["uploaded_parts"] == 1)
    found = log.objects()[f"{log.prefix}/date=2026-06-21/hour=09/test-1-00c0ffee.ndjson.gz"]
    assert gzip.decompress(found) == lines


def test_killed_between_the_upload_and_its_note_it_is_the_same_object_again(log: Log) -> None:
    with running(log.root, **log.config()) as appliance:
        appliance.put(KEY, random.Random(31).randbytes(SIZE))
        play(appliance, 3)
    before = log.objects()
    name = next(iter(before))
    day, hour, file = name.removeprefix(log.prefix + "/").split("/")
    spooled = f"{day.removeprefix('date=')}T{hour.removeprefix('hour=')}.{file.removeprefix('test-1-')}"
    (log.root / "state/delivery/ready" / spooled).write_bytes(before[name])
    with restarted(log.root) as appliance:
        until(lambda: status(appliance)["delivery"]["uploaded_parts"] == 1)
    assert log.objects() == before


def test_no_section_is_no_log(log: Log) -> None:
    with running(log.root) as appliance:
        appliance.put(KEY, random.Random(31).randbytes(SIZE))
        assert ask(appliance, target=f"/{KEY}").status == 200
        assert status(appliance)["delivery"] is None
    assert not (log.root / "state/delivery").exists()
