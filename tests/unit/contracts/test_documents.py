"""Documents from S3 are bounded and checked before anything in them is believed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.catalog import MAX_LATEST_BYTES, decode_entry, decode_index, decode_latest
from contracts.documents import BadDocument
from contracts.plan import decode_plan

VERSION = "20261121T060000Z-0a1b2c"


def _object(**changes: Any) -> dict[str, Any]:
    return {
        "key": "tt1/master.m3u8",
        "size": 5,
        "media_type": "application/vnd.apple.mpegurl",
        "etag": '"abc"',
        "modified_at": 1,
        "digests": "AAAAAAAAAAAAAAAAAAAAAA==",
    } | changes


def _entry(**changes: Any) -> dict[str, Any]:
    return {
        "title": "tt1",
        "published_at": 1,
        "duration_s": 1.0,
        "objects": [_object()],
        "hls": "tt1/master.m3u8",
        "dash": "tt1/master.m3u8",
    } | changes


def _plan(**changes: Any) -> dict[str, Any]:
    item = {"key": "tt1/v.mp4", "size": 1, "reason": "r"}
    return {
        "version": VERSION,
        "appliance": "isp-a1",
        "site": "isp-a",
        "catalog": VERSION,
        "objects": [item],
    } | changes


def test_what_is_right_is_read() -> None:
    assert decode_entry(json.dumps(_entry()).encode(), "e", "tt1").objects[0].size == 5
    assert decode_plan(json.dumps(_plan()).encode(), "p", "isp-a1").size == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "../x"},
        {"title": "other"},
        {"objects": []},
        {"objects": [_object(), _object()]},
        {"objects": [_object(key="tt1/../../etc/passwd")]},
        {"objects": [_object(key="/tt1/x")]},
        {"objects": [_object(key="tt1/.hidden")]},
        {"objects": [_object(key="tt2/master.m3u8")]},
        {"objects": [_object(size=-1)]},
        {"objects": [_object(size=2**50)]},
        {"objects": [_object(size=2 << 20)]},
        {"objects": [_object(etag="abc")]},
        {"objects": [_object(etag='"a"\r\nX: y')]},
        {"objects": [_object(media_type="text/html\r\nX: y")]},
        {"objects": [_object(digests="!")]},
        {"hls": "tt1/other.m3u8"},
        {"duration_s": -1},
        {"duration_s": "long"},
        {"published_at": 2**60},
        {"contract": 999},
        {"contract": 0},
    ],
)
def test_a_hostile_entry_is_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(BadDocument, match=r"^entry\.json: "):
        decode_entry(json.dumps(_entry(**changes)).encode(), "entry.json", "tt1")


@pytest.mark.parametrize(
    "changes",
    [
        {"appliance": "isp-a2"},
        {"appliance": "../x"},
        {"version": "latest"},
        {"catalog": "../20261121T060000Z-0a1b2c"},
        {"objects": [{"key": "tt1/a", "size": 1, "reason": "r"}] * 2},
        {"objects": [{"key": "../../a", "size": 1, "reason": "r"}]},
        {"objects": [{"key": "tt1/a", "size": -1, "reason": "r"}]},
        {"objects": [{"key": "tt1/a", "size": 1, "reason": "r" * 201}]},
        {"objects": [{"key": "tt1/a", "size": 1, "reason": "r", "sources": ["elsewhere"]}]},
        {"contract": 2},
    ],
)
def test_a_hostile_plan_is_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(BadDocument, match=r"^plan\.json: "):
        decode_plan(json.dumps(_plan(**changes)).encode(), "plan.json", "isp-a1")


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_and_nothing_else_is_raised(raw: bytes) -> None:
    for decode in (decode_latest, decode_index):
        with pytest.raises(BadDocument):
            decode(raw, "x")


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(BadDocument):
        decode_index(b"[" * 100_000, "x")


def test_more_bytes_than_the_bound_are_not_decoded() -> None:
    raw = json.dumps({"version": VERSION}).encode()
    assert decode_latest(raw, "x").version == VERSION
    with pytest.raises(BadDocument, match="at most"):
        decode_latest(raw + b" " * MAX_LATEST_BYTES, "x")


def test_an_index_that_lists_a_title_twice_is_refused() -> None:
    ref = {"title": "a", "entry": f"catalog/{VERSION}/titles/a.json", "size": 1, "published_at": 1}
    with pytest.raises(BadDocument, match="twice"):
        decode_index(json.dumps({"version": VERSION, "titles": [ref, ref]}).encode(), "x")


_TOGETHER = """
import sys, threading
from typing import Annotated
import msgspec
from msgspec import Meta
from contracts.documents import decode

names = {"__module__": "__main__"}
sys.setswitchinterval(1e-6)
for _ in range(60):
    fields = [(f"f{n}", "Annotated[int, Meta(ge=0)] | None", None) for n in range(20)]
    Inner = msgspec.defstruct("Inner", fields, namespace=names)
    fields = [(f"g{n}", "Annotated[str, Meta(max_length=9)]", "") for n in range(20)]
    Outer = msgspec.defstruct("Outer", [("one", "tuple[Inner, ...]", ()), *fields], namespace=names)
    start = threading.Barrier(8)
    def read():
        start.wait()
        decode(b'{"one": [{"f1": 1}]}', Outer, name="x", limit_bytes=99)
    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""


def test_documents_of_a_new_kind_may_be_read_by_many_threads_at_once() -> None:
    """A planner and a steering that read a catalog do so: 0.22.0 of msgspec by itself ends with SIGSEGV."""
    ended = subprocess.run([sys.executable, "-c", _TOGETHER], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
