"""What an appliance's `/metrics` says, read as Prometheus reads it."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.appliance import Appliance
from tests.waiting import PATIENCE_S

Samples = dict[tuple[str, str], float]


def _get(appliance: Appliance, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{appliance.admin}{path}", timeout=PATIENCE_S) as answer:
        body: bytes = answer.read()
        return body


def status(appliance: Appliance) -> Any:
    return json.loads(_get(appliance, "/v1/status"))


def samples(appliance: Appliance) -> Samples:
    """Every sample by its name and its label's value; "" where it has none."""
    return {
        (sample.name, "/".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(_get(appliance, "/metrics").decode())
        for sample in family.samples
    }


def wait_for(appliance: Appliance, done: Callable[[Samples], bool], within_s: float = PATIENCE_S) -> Samples:
    """The samples once ``done`` says so: workers report once a second."""
    until = time.monotonic() + within_s
    while True:
        found = samples(appliance)
        if done(found):
            return found
        assert time.monotonic() < until, {name: value for name, value in found.items() if value}
        time.sleep(0.02)
