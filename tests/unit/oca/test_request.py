"""Bytes to requests: one table, each case fed whole, byte by byte, and cut in two at every place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.problem import Problem
from oca.config import Limits
from oca.edge.request import BadRequest, Request, RequestReader

BAD, LONG, LARGE = Problem.BAD_REQUEST, Problem.URI_TOO_LONG, Problem.HEADERS_TOO_LARGE

REFUSED = {
    "bare LF": (b"GET /t/a HTTP/1.1\nHost: a\n\n", BAD),
    "bare LF in the middle": (b"GET /t/a HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", BAD),
    "bare CR": (b"GET /t/a HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", BAD),
    "folded line": (b"GET /t/a HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", BAD),
    "folded line with a tab": (b"GET /t/a HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", BAD),
    "space before the colon": (b"GET /t/a HTTP/1.1\r\nHost : a\r\n\r\n", BAD),
    "space before a field": (b"GET /t/a HTTP/1.1\r\n Host: a\r\n\r\n", BAD),
    "no name": (b"GET /t/a HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", BAD),
    "NUL in a value": (b"GET /t/a HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", BAD),
    "DEL in a value": (b"GET /t/a HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", BAD),
    "NUL in the target": (b"GET /t/\x00 HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    "space in the target": (b"GET /t/a b HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    "no Host": (b"GET /t/a HTTP/1.1\r\n\r\n", BAD),
    "two Hosts": (b"GET /t/a HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", BAD),
    "a list of Hosts": (b"GET /t/a HTTP/1.1\r\nHost: a, b\r\n\r\n", BAD),
    "a Host with a path": (b"GET /t/a HTTP/1.1\r\nHost: a/b\r\n\r\n", BAD),
    "a Host with a user": (b"GET /t/a HTTP/1.1\r\nHost: u@a\r\n\r\n", BAD),
    "two Ranges": (b"GET /t/a HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\nRange: bytes=2-3\r\n\r\n", BAD),
    "two Authorizations": (b"GET /t/a HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n", BAD),
    "both framings": (
        b"GET /t/a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        BAD,
    ),
    "two lengths": (b"GET /t/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", BAD),
    "a list of lengths": (b"GET /t/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", BAD),
    "a length with a sign": (b"GET /t/a HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", BAD),
    "a length below zero": (b"GET /t/a HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", BAD),
    "a length that overflows": (b"GET /t/a HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n", BAD),
    "chunked not last": (
        b"GET /t/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", BAD,
    ),
    "chunked twice": (b"GET /t/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", BAD),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", BAD),
    "HTTP/2.0 in a request line": (b"GET /t/a HTTP/2.0\r\nHost: a\r\n\r\n", BAD),
    "HTTP/0.9": (b"GET /t/a\r\n\r\n", BAD),
    "another protocol": (b"GET /t/a ICAP/1.0\r\nHost: a\r\n\r\n", BAD),
    "HTTP/1.1 misspelt": (b"GET /t/a HTTP/1.1x\r\nHost: a\r\n\r\n", BAD),
    "lower-case method": (b"get /t/a HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
    "TLS to the plain port": (bytes.fromhex("16030100"), BAD),
    "a long target": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", LONG),
    "a long field": (b"GET /t/a HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 33000 + b"\r\n\r\n", LARGE),
    "many fields": (b"GET /t/a HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 5000 + b"\r\n", LARGE),
    "a head without end": (b"GET /t/a HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 60000, LARGE),
}  # fmt: skip


def fed(chunks: Iterable[bytes]) -> list[Request]:
    reader = RequestReader(Limits())
    return [request for chunk in chunks for request in reader.feed(chunk)]


def every_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("name", REFUSED)
def test_refused_however_it_arrives(name: str) -> None:
    data, problem = REFUSED[name]
    cuts = [1, len(data) // 2, len(data) - 1]
    for chunks in ([data], every_byte(data), *([data[:cut], data[cut:]] for cut in cuts), [data + b"GET /"]):
        with pytest.raises(BadRequest) as refused:
            fed(chunks)
        assert refused.value.problem is problem, (name, len(chunks), str(refused.value))


PLAIN = b"GET /t/a?x=1 HTTP/1.1\r\nHost: a:80\r\nX: 1\r\nx:2 \r\nRange: bytes=0-1\r\n\r\n"


def test_a_request_is_the_same_however_it_is_cut() -> None:
    for cut in range(1, len(PLAIN)):
        (request,) = fed([PLAIN[:cut], PLAIN[cut:]])
        assert request.target == b"/t/a?x=1", cut
        assert request.headers == {b"host": "a:80", b"x": "1, 2", b"range": "bytes=0-1"}, cut
        assert request.keep_alive


def test_pipelined_requests_come_in_order_however_they_are_cut() -> None:
    data = b"".join(b"GET /t/%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(5))
    for chunks in ([data], every_byte(data), [data[:50], data[50:]]):
        assert [request.target for request in fed(chunks)] == [b"/t/%d" % number for number in range(5)]


def test_a_whole_request_before_a_bad_one_is_not_lost() -> None:
    with pytest.raises(BadRequest) as bad:
        fed([PLAIN + b"nonsense\r\n\r\n"])
    assert [request.target for request in bad.value.whole] == [b"/t/a?x=1"]


@pytest.mark.parametrize(
    ("raw", "keeps"),
    [
        (b"GET /t/a HTTP/1.1\r\nHost: a\r\n\r\n", True),
        (b"GET /t/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", False),
        (b"GET /t/a HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n", False),
        (b"GET /t/a HTTP/1.0\r\n\r\n", False),
        (b"GET /t/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
        # No request here has a use for a body; what follows the head is not read as a request.
        (b"GET /t/a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /", False),
        (b"GET /t/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n", False),
        (b"GET /t/a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", False),
        (b"GET /t/a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", True),
        (b"GET /t/a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", True),
        (b"\r\nGET /t/a HTTP/1.1\r\nHost: a\r\n\r\n", True),
    ],
)
def test_whether_the_connection_goes_on(raw: bytes, keeps: bool) -> None:
    for chunks in ([raw], every_byte(raw)):
        (request,) = fed(chunks)
        assert request.keep_alive is keeps
        assert request.target == b"/t/a"


@given(st.lists(st.binary(max_size=40), max_size=30))
def test_no_bytes_do_more_than_be_refused(chunks: list[bytes]) -> None:
    with contextlib.suppress(BadRequest):
        for request in fed(chunks):
            assert request.method


words = st.sampled_from(
    [b"GET ", b"HEAD ", b"/t/a", b" HTTP/1.1", b"\r\n", b"\n", b"\r", b"Host: a", b":", b" ", b"Range: bytes=0-1",
     b"Content-Length: ", b"5", b"Transfer-Encoding: chunked", b"Connection: close", b"Upgrade: x", b"\x00", b"\r\n\r\n"]
)  # fmt: skip


@given(st.lists(words, max_size=30).map(b"".join), st.data())
def test_a_cut_never_changes_what_is_read(data: bytes, draw: st.DataObject) -> None:
    cut = draw.draw(st.integers(0, len(data)))

    def outcome(chunks: list[bytes]) -> tuple[list[tuple[bytes, bytes]], bool]:
        reader, got = RequestReader(Limits()), []
        try:
            for chunk in chunks:
                if chunk:
                    got += [(request.method, request.target) for request in reader.feed(chunk)]
        except BadRequest as bad:
            return got + [(request.method, request.target) for request in bad.whole], True
        return got, False

    whole, refused = outcome([data])
    parts, refused_too = outcome([data[:cut], data[cut:]])
    assert refused == refused_too
    # A bare LF spoils all of its read, what is wrong otherwise only what follows: never the other way.
    assert parts[: len(whole)] == whole
    if data.count(b"\n") == data.count(b"\r\n"):
        assert parts == whole
