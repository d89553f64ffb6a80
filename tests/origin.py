"""The fixture ``origin``: a real S3 server with an empty bucket, one for the whole test session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from daemon.s3 import open_client
from demo.origin import OriginServer
from tests.ports import free_port

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OriginServer]:
    """A running S3; ``origin.config`` is the S3Config."""
    with OriginServer(tmp_path_factory.mktemp("origin"), free_port(), "shared") as server:
        yield server


@pytest.fixture(scope="session")
def s3(origin: OriginServer) -> Iterator[S3Client]:
    """A client with all rights."""
    client = open_client(origin.config)
    yield client
    client.close()
