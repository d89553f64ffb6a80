"""One appliance that is an HTTP cache and nothing else, and the origin behind it."""

from __future__ import annotations

import http.client
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.appliance import Appliance, running
from tests.httporigin import HttpOrigin, http_origin
from tests.waiting import PATIENCE_S

_numbers = itertools.count(1)


@dataclass
class Cache:
    appliance: Appliance
    origin: HttpOrigin
    path: str = field(default_factory=lambda: f"/object{next(_numbers)}")
    """No test meets another's."""

    def ask(
        self, method: str = "GET", path: str | None = None, body: bytes | None = None, **headers: str
    ) -> Got:
        """One request; header names with underscores for dashes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.appliance.port, timeout=PATIENCE_S)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path or self.path, body, sent)
            answer = connection.getresponse()
            data = answer.read()
            names = {name.lower() for name in answer.headers}
            joined = {name: ", ".join(answer.headers.get_all(name, [])) for name in names}
            return Got(answer.status, joined, data)
        finally:
            connection.close()


@dataclass
class Got:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def hit(self) -> bool:
        """From the cache that was asked, and no other upstream of it."""
        return "; hit" in self.headers.get("cache-status", "").rpartition(", ")[2]


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Appliance, HttpOrigin]]:
    with (
        http_origin() as origin,
        running(
            tmp_path_factory.mktemp("cache"),
            origin=None,
            http_origins=[{"url": origin.url}],
            http_cache={"body_bytes": 1 << 20, "object_bytes": 4 << 20, "whole_bytes": 1 << 20},
        ) as appliance,
    ):
        yield appliance, origin


@pytest.fixture
def cache(served: tuple[Appliance, HttpOrigin]) -> Cache:
    appliance, origin = served
    origin.asked.clear()
    return Cache(appliance, origin)
