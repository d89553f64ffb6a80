"""A fill reads the appliance's own metrics, and slows down while players wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fill.agent.budget import SharedBudget
from fill.agent.governor import Rules
from fill.agent.watch import Watch
from tests.waiting import until

_LOOK_S = 0.05


class Metrics:
    """Each look at it finds a hundred more answers, which took ``took_s``."""

    def __init__(self) -> None:
        self.took_s = 0.001
        self._counts = {0.001: 0, 0.1: 0}
        self._lock = threading.Lock()
        metrics = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = metrics.text().encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/metrics"

    def text(self) -> str:
        with self._lock:
            for bound in self._counts:
                self._counts[bound] += 100 * (bound >= self.took_s)
            rows = {"0.001": self._counts[0.001], "0.1": self._counts[0.1], "+Inf": self._counts[0.1]}
        return "".join(f'oca_edge_first_byte_seconds_bucket{{le="{le}"}} {n}\n' for le, n in rows.items())

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    made = Metrics()
    yield made
    made.close()


@pytest.mark.parametrize("cap_bps", [80_000_000, 0])
def test_it_slows_down_while_they_wait_and_takes_the_rate_back(metrics: Metrics, cap_bps: int) -> None:
    stopped = threading.Event()
    budget = SharedBudget(cap_bps, time.monotonic, stopped.wait)
    watch = Watch(Rules(metrics_url=metrics.url, look_s=_LOOK_S), budget, stopped)
    watch.learn()

    def fetches() -> bool:
        budget.spend(1000)
        return True

    runs = threading.Thread(target=watch.run)
    runs.start()
    try:
        metrics.took_s = 0.05
        # Without a cap it is a share of what was spent in a look; with one, of the cap.
        until(lambda: fetches() and 0 < budget.rate_bps <= (0.06 * cap_bps or 10**9), lambda: budget.rate_bps)
        metrics.took_s = 0.001
        until(lambda: budget.rate_bps == cap_bps, lambda: budget.rate_bps)
    finally:
        stopped.set()
        runs.join()


def test_an_appliance_without_metrics_is_said_once_and_nothing_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stopped = threading.Event()
    budget = SharedBudget(0, time.monotonic, stopped.wait)
    watch = Watch(Rules(metrics_url="http://127.0.0.1:9/metrics", look_s=3600), budget, stopped)
    watch.learn()
    watch.learn()
    assert [record.getMessage() for record in caplog.records] == ["appliance's metrics not read"]
