"""What a request leaves in `/metrics` and `/v1/status`, and that no death of a process lies about it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest

from contracts.framing import pack
from oca import ipc
from oca.counters import Counters, Histograms
from oca.store.edgelink import EdgeLinks
from tests.appliance import Appliance, running
from tests.component.oca.metrics import Samples, samples, status, wait_for
from tests.component.oca.test_serving import Answer, ask
from tests.processes import below, gone, with_role
from tests.waiting import PATIENCE_S, until

KEY = "tt0021/720p/video.mp4"
SIZE = 2 << 20


@pytest.fixture
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    with running(tmp_path_factory.mktemp("metrics"), workers=2) as made:
        made.put(KEY, random.Random(21).randbytes(SIZE))
        yield made


@pytest.fixture
def log_on(tmp_path: Path) -> Iterator[Appliance]:
    with running(tmp_path, delivery={}) as made:
        yield made


def requests(found: Samples) -> float:
    return found["oca_edge_requests_total", ""]


def lags(found: Samples) -> set[str]:
    """The workers that have reported how late their loop is."""
    return {label for name, label in found if name == "oca_edge_loop_lag_seconds_count"}


def test_every_answer_is_in_the_metrics(appliance: Appliance) -> None:
    for _ in range(3):
        assert ask(appliance, f"Range: bytes={SIZE}-\r\n", target=f"/{KEY}").status == 416
        assert ask(appliance, "Range: bytes=0-65535\r\n", target=f"/{KEY}").status == 206
    assert ask(appliance, target=f"/{KEY}").status == 200
    assert ask(appliance, 'If-None-Match: "published-1"\r\n', target=f"/{KEY}").status == 304
    found = wait_for(appliance, lambda found: requests(found) == 8 and lags(found) == {"0", "1"})
    assert found["oca_edge_responses_total", "2xx"] == 4
    assert found["oca_edge_responses_total", "3xx"] == 1
    assert found["oca_edge_responses_total", "4xx"] == 3
    assert found["oca_edge_responses_total", "5xx"] == 0
    assert found["oca_edge_hits_total", ""] == 4
    assert found["oca_edge_hit_bytes_total", ""] == 3 * 65536 + SIZE
    assert found["oca_edge_accepted_total", ""] == 8
    for name in ("first_byte", "send"):
        assert found[f"oca_edge_{name}_seconds_count", ""] == 8
        assert found[f"oca_edge_{name}_seconds_bucket", "+Inf"] == 8
        assert 0 < found[f"oca_edge_{name}_seconds_sum", ""] < 60
    told = status(appliance)
    assert (told["requests"], told["hit_ratio"]) == (8, {"requests": 1.0, "bytes": 1.0})


def test_cmcd_is_in_the_metrics_in_both_its_forms(appliance: Appliance) -> None:
    """Also of requests known by heart: each is made three times on one connection, and tells something new."""
    query = b"GET /%b?CMCD=bl%%3D%d%%2Cbr%%3D3000%%2Cbs HTTP/1.1\r\nHost: a\r\nRange: bytes=0-%d\r\n\r\n"
    fields = (
        b"GET /%b HTTP/1.1\r\nHost: a\r\nCMCD-Object: br=3000\r\nCMCD-Request: bl=%d,mtp=20000\r\n"
        b"Range: bytes=0-%d\r\n\r\n"
    )
    for head in (query, fields):
        with appliance.connect() as sock, sock.makefile("rb") as file:
            for number in range(3):
                sock.sendall(head % (KEY.encode(), 1000 * (number + 1), number))
                answer = Answer(file)
                assert (answer.status, len(answer.body)) == (206, number + 1)
            sock.sendall(b"GET /%b HTTP/1.1\r\nHost: a\r\nRange: bytes=0-0\r\n\r\n" % KEY.encode())
            assert Answer(file).status == 206
    assert ask(appliance, target=f"/{KEY}?CMCD={'x' * 7000}").status == 200
    found = wait_for(appliance, lambda found: requests(found) == 9)
    assert found["oca_edge_cmcd_requests_total", ""] == 6
    assert found["oca_edge_cmcd_starvations_total", ""] == 3
    assert found["oca_edge_cmcd_unread_total", ""] == 1
    assert found["oca_player_buffer_seconds_sum", ""] == 12.0
    assert found["oca_player_bitrate_bits_per_second_count", ""] == 6
    assert found["oca_player_throughput_bits_per_second_sum", ""] == 60e6


def test_what_follows_a_head_is_not_taken_for_its_cmcd(appliance: Appliance) -> None:
    """A request known by heart, and behind its empty line what looks like a field: two requests, the second bad."""
    head = b"GET /%b HTTP/1.1\r\nHost: a\r\n%bRange: bytes=0-9\r\n"
    with appliance.connect() as sock, sock.makefile("rb") as file:
        for number in range(3):
            sock.sendall(head % (KEY.encode(), b"CMCD-Object: br=%d\r\n" % number) + b"\r\n")
            assert Answer(file).status == 206
        sock.sendall(head % (KEY.encode(), b"") + b"\r\nCMCD-Object: br=1\r\n")
        assert b"HTTP/1.1 400 Bad Request\r\n" in file.read()


def test_a_token_refused_is_counted_by_its_reason(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("refusals")
    (root / "keys.jwks").write_text('{"keys": []}')
    auth = {"required": True, "keys_file": str(root / "keys.jwks")}
    with running(root, auth=auth) as appliance:
        assert ask(appliance, target=f"/{KEY}").status == 403
        assert ask(appliance, target=f"/URISigningPackage=nonsense/{KEY}").status == 403
        found = wait_for(appliance, lambda found: requests(found) == 2)
        assert found["oca_edge_tokens_refused_total", "missing"] == 1
        assert found["oca_edge_tokens_refused_total", "malformed"] == 1


def test_bytes_of_an_answer_under_way_are_in_the_rate(appliance: Appliance) -> None:
    """A client that takes a little: what it took is counted long before the answer is out."""
    with appliance.connect() as sock:
        sock.sendall(f"GET /{KEY} HTTP/1.1\r\nHost: a\r\n\r\n".encode() * 12)
        taken = 0
        while taken < SIZE + SIZE // 4:
            taken += len(sock.recv(1 << 16))
        found = wait_for(
            appliance, lambda found: found["oca_edge_hit_bytes_total", ""] >= SIZE + SIZE // 4 - 65536
        )
        sent, answers = found["oca_edge_hit_bytes_total", ""], found["oca_edge_hits_total", ""]
        assert answers * SIZE < sent < (answers + 1) * SIZE
        # Over the last seconds, of which there may have been one so far.
        assert until(lambda: status(appliance)["tx_bps"]) <= sent * 8 * 1.1
    found = wait_for(appliance, lambda found: found["oca_edge_aborted_total", ""] == 1)
    assert found["oca_edge_hits_total", ""] == answers + 1


def children(appliance: Appliance, role: str) -> list[psutil.Process]:
    return below(appliance.process.pid, with_role(role))


def test_counters_do_not_go_down_with_a_worker(appliance: Appliance) -> None:
    asked = 0
    before = samples(appliance)
    for _ in range(4):
        for _ in range(10):
            asked += ask(appliance, target=f"/{KEY}").status == 200
        before = wait_for(appliance, lambda found, asked=asked: requests(found) == asked)  # type: ignore[misc]
        for child in children(appliance, "edge"):
            os.kill(child.pid, signal.SIGKILL)
            until(lambda child=child: gone([child]))  # type: ignore[misc]
        after = samples(appliance)
        lower = {
            name
            for name, value in before.items()
            if name[0].endswith(("_total", "_count", "_sum", "_bucket")) and after[name] < value
        }
        assert lower == set()
        wait_for(appliance, lambda found: found["oca_workers", ""] == 2)


def test_a_new_storekeeper_counts_from_nothing_and_nothing_twice(appliance: Appliance) -> None:
    """Prometheus takes what a restarted counter shows as new: it must not show what was counted before."""
    for _ in range(10):
        ask(appliance, target=f"/{KEY}")
    wait_for(appliance, lambda found: requests(found) == 10)
    (store,) = children(appliance, "store")
    appliance.process.send_signal(signal.SIGSTOP)  # else it would start the next one at once
    try:
        store.kill()
        until(lambda: gone([store]))
        assert [ask(appliance, target=f"/{KEY}").status for _ in range(7)] == [200] * 7
        told = time.monotonic() + 2  # longer than the second between two reports: nobody is there to be told
        until(lambda: time.monotonic() >= told)
    finally:
        appliance.process.send_signal(signal.SIGCONT)
    appliance.wait_ready()
    found = wait_for(appliance, lambda found: requests(found) >= 7 and found["oca_workers", ""] == 2)
    assert requests(found) == 7
    assert found["oca_edge_hit_bytes_total", ""] == 7 * SIZE


def test_every_metric_is_in_the_document_for_operators(log_on: Appliance) -> None:
    document = (Path(__file__).parents[3] / "docs/operations.md").read_text()
    told = {name for name, _ in samples(log_on)}
    for part in ("_bucket", "_count", "_sum", "_created"):
        told = {name.removesuffix(part) for name in told}
    assert {name for name in told if f"`{name}`" not in document} == set()


def test_the_last_report_of_a_worker_that_ends_is_heard(tmp_path: Path) -> None:
    async def scenario() -> int:
        links = EdgeLinks(cast("Any", SimpleNamespace(listeners=[])), cast("Any", None), 30.0)
        server = await links.listen(tmp_path / "edge.sock")
        _, worker = await asyncio.open_unix_connection(str(tmp_path / "edge.sock"))
        while not links.workers:
            await asyncio.sleep(0)
        report = ipc.Report(0, Counters(requests=5), Histograms(), {}, 0, ())
        worker.write(pack(ipc.encode(report)))
        worker.close()
        await links.last_reports(PATIENCE_S)
        server.close()
        return links.traffic.counters.requests

    assert asyncio.run(scenario()) == 5
