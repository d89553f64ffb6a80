"""Another appliance fills from this one: it gets what is stored, and nothing is fetched for it."""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.request
from pathlib import Path

from contracts import ingest
from contracts.objectkey import SLICE_BYTES
from tests.appliance import Appliance, published, running

ONLY = {"Cache-Control": "only-if-cached"}
KEY = "tt1/video.mp4"


def _ask(box: Appliance, method: str, **fields: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", box.port, timeout=30)
    connection.request(method, f"/{KEY}", headers=ONLY | fields)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


def _metrics(box: Appliance) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{box.admin}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


def test_what_is_here_is_given_and_what_is_not_is_neither_fetched_nor_begun(tmp_path: Path) -> None:
    data = os.urandom(3 * SLICE_BYTES + 7)
    with running(tmp_path) as box:
        box.wait_ready()
        status, fields, body = _ask(box, "GET")
        assert status == 504
        assert json.loads(body)["type"].endswith("not-stored")
        assert "nearcast-slices" not in fields
        with urllib.request.urlopen(f"http://127.0.0.1:{box.admin}/v1/status", timeout=10) as answer:
            assert json.load(answer)["incomplete"] == 0

        item = published(KEY, data)
        reserved = box.ingest(ingest.Reserve(item))
        assert isinstance(reserved, ingest.Reserved)
        with open(reserved.path, "r+b") as file:
            for index in (0, 1, 3):
                file.seek(index * SLICE_BYTES)
                file.write(data[index * SLICE_BYTES : (index + 1) * SLICE_BYTES])
        for index in (0, 1, 3):
            assert isinstance(box.ingest(ingest.Wrote(KEY, item.etag, index)), ingest.Noted)
        status, fields, body = _ask(box, "HEAD")
        assert (status, fields["nearcast-slices"], body) == (504, "0-1, 3-3", b"")
        assert _ask(box, "GET", Range=f"bytes=0-{2 * SLICE_BYTES - 1}")[::2] == (206, data[: 2 * SLICE_BYTES])
        assert _ask(box, "GET", Range=f"bytes=0-{2 * SLICE_BYTES}")[0] == 504
        assert _ask(box, "HEAD", **{"If-Match": '"another"'})[0] == 412

        assert isinstance(box.ingest(ingest.Abort(KEY, item.etag, 0)), ingest.Noted)
        box.put(KEY, data)
        assert _ask(box, "HEAD")[0] == 200
        assert _ask(box, "GET")[::2] == (200, data)
        _until_counted(box, 2 * SLICE_BYTES + len(data))
        assert _metrics(box)["oca_edge_hit_bytes_total"] == 0, "that is nobody's demand"


def _until_counted(box: Appliance, count: int) -> None:
    """Workers report once a second."""
    deadline = time.monotonic() + 30
    while (seen := _metrics(box)["oca_edge_peer_bytes_total"]) < count:
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)


def test_a_token_is_made_out_to_any_appliance_and_not_to_steering(tmp_path: Path) -> None:
    with running(tmp_path) as box:
        box.wait_ready()
        assert isinstance(box.ingest(ingest.Token("isp-a2")), ingest.Issued)
        refused = box.ingest(ingest.Token("steering"))
        assert isinstance(refused, ingest.Refused)
        assert refused.why is ingest.Refusal.IDENTITY
