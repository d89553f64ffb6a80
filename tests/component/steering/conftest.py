"""A bucket with two titles and a plan, and a service that has read them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from demo.origin import OriginServer
from tests.component.steering.replicas import Replicas
from tests.component.steering.service import BOXES, Bucket, Service
from tests.natsserver import NatsServer, nats_server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

TITLES = {"tt1": None, "tt-de": ("DE", "AT"), "tt-at": ("AT",), "tt-soon": None, "tt-out": None}
RELEASED = {"tt-soon": 1 << 39, "tt-out": 1}


def make_bucket(origin: OriginServer, s3: S3Client) -> Bucket:
    name = f"test-{secrets.token_hex(6)}"
    s3.create_bucket(Bucket=name)
    return Bucket(s3, msgspec.structs.replace(origin.config, bucket=name))


@pytest.fixture
def bucket(origin: OriginServer, s3: S3Client) -> Bucket:
    made = make_bucket(origin, s3)
    version = made.publish(TITLES, released=RELEASED)
    made.plan(dict.fromkeys(BOXES, ("tt1", "tt-de")), version)
    return made


@pytest.fixture
def stopped(tmp_path: Path, bucket: Bucket) -> Service:
    """A service that was initialised and is not started yet."""
    made = Service(tmp_path, bucket)
    made.write()
    made.init()
    return made


@pytest.fixture
def service(stopped: Service) -> Iterator[Service]:
    """A service of its own, for a test that changes it."""
    with stopped.running():
        stopped.wait_ready()
        yield stopped


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, origin: OriginServer, s3: S3Client) -> Iterator[Service]:
    """One service for all tests of a module that only ask it."""
    made = make_bucket(origin, s3)
    version = made.publish(TITLES, released=RELEASED)
    made.plan(dict.fromkeys(BOXES, ("tt1", "tt-de")), version)
    one = Service(tmp_path_factory.mktemp("steering"), made)
    one.write()
    one.init()
    with one.running():
        one.wait_ready()
        yield one
    assert "Traceback" not in one.log, one.log


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "jetstream") as running:
        yield running


@pytest.fixture
def replicas(tmp_path: Path, origin: OriginServer, s3: S3Client, nats: NatsServer) -> Iterator[Replicas]:
    bucket = make_bucket(origin, s3)
    bucket.plan(dict.fromkeys(BOXES, ("tt1", "tt-de")), bucket.publish(TITLES))
    made = Replicas(tmp_path, bucket, nats)
    with made.running:
        yield made
