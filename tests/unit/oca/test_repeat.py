"""A request known by heart means what the request meant that was remembered, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.clientnetwork import network_of
from oca.config import Limits
from oca.edge.authorise import Route
from oca.edge.repeat import Repeat, Repeats, cut
from oca.edge.request import BadRequest, RequestReader

HEAD = b"GET /URISigningPackage=t/tt1/a.mp4 HTTP/1.1\r\nHost: a\r\n%bAccept: */*\r\n\r\n"


def head(extra: bytes = b"", span: bytes = b"0-99") -> bytes:
    return HEAD % (extra + b"Range: bytes=%b\r\n" % span)


def remembered(data: bytes) -> Repeats:
    repeats = Repeats()
    (request,) = RequestReader(Limits()).feed(data)
    request.raw = data
    repeats.remember(request, Route("tt1/a.mp4", 100.0), b"")
    return repeats


def recalled(repeats: Repeats, data: bytes) -> Repeat | None:
    shape, _, end, _ = cut(data, 0)
    return repeats.get(shape, end)


def test_only_the_numbers_of_the_range_may_differ() -> None:
    repeats = remembered(head())
    found = recalled(repeats, head(span=b"1048576-2097151"))
    assert found is not None
    assert (found.key, found.expires_at) == ("tt1/a.mp4", 100.0)
    assert cut(head(span=b"1048576-2097151"), 0)[1:3] == (1048576, 2097152)


def test_where_the_range_stood_the_last_time_is_a_hint_and_no_more() -> None:
    data = head(span=b"5-9")
    shape, start, end, at = cut(data, 0)
    for hint in (at, at - 1, at + 1, 0, 10**6):
        assert cut(data, hint) == (shape, start, end, at)


@pytest.mark.parametrize(
    "span",
    [b"0-", b"-5", b"0-9,20-29", b"a-b", b"", b"+0-9", b"0 -9", b"0-9 ", b"1_0-20", b"0-9\x00", b"9" * 16 + b"-9"],
)  # fmt: skip
def test_a_range_of_another_form_takes_the_long_way(span: bytes) -> None:
    assert recalled(remembered(head()), head(span=span)) is None


@pytest.mark.parametrize(
    "data",
    [
        head()[:-2],
        head() + b"GET / HTTP/1.1\r\n\r\n",
        b"\r\n" + head(),
        head().replace(b"tt1", b"tt2"),
        head().replace(b"=t/", b"=u/"),
        head().replace(b"Host: a", b"Host: b"),
        head().replace(b"GET", b"PUT"),
        head().replace(b"1.1", b"1.0"),
        head(b"Range: bytes=0-9\r\n"),
        head(b"If-Range: x\r\n"),
        head(b"X: y\r\n"),
        HEAD % b"",
        HEAD % b"range: bytes=0-99\r\n",
        head().replace(b"\r\nAccept", b"\nAccept"),
    ],
)
def test_anything_else_that_differs_is_another_request(data: bytes) -> None:
    assert recalled(remembered(head()), data) is None


@pytest.mark.parametrize(
    "data",
    [
        head(b'If-Range: "x"\r\n'),
        head(b'If-None-Match: "x"\r\n'),
        head(b'If-Match: "x"\r\n'),
        head(b"If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
        head(b"Connection: close\r\n"),
        head().replace(b"GET", b"HEAD"),
        head(span=b"0-"),
        HEAD % b"range: bytes=0-99\r\n",
        HEAD % b"RANGE: bytes=0-99\r\n",
        head(b"X: " + b"x" * 5000 + b"\r\n"),
    ],
)
def test_what_needs_more_than_a_range_is_not_remembered(data: bytes) -> None:
    repeats = remembered(data)
    assert recalled(repeats, data) is None


def test_a_request_whose_answer_depends_on_the_client_s_network_is_not_remembered() -> None:
    (request,) = RequestReader(Limits()).feed(head())
    request.raw = head()
    repeats = Repeats()
    repeats.remember(request, Route("tt1/a.mp4", 100.0, network=network_of("198.51.100.7")), b"")
    assert recalled(repeats, head()) is None


def test_a_request_without_range_is_remembered_too() -> None:
    data = HEAD % b""
    assert cut(data, 0)[2] == -1
    assert recalled(remembered(data), data) is not None


fields = st.lists(
    st.sampled_from([
        b"Host: a\r\n", b"Range: bytes=0-99\r\n", b"range: bytes=0-99\r\n", b"Range: bytes=7-\r\n", b"X: Range: bytes=0-9\r\n",
        b"If-Range: \"x\"\r\n", b"Connection: close\r\n", b"Accept: */*\r\n", b" folded\r\n", b"Range: bytes=\r\n", b"\r\n",
    ]),
    max_size=6,
).map(b"".join)  # fmt: skip


@given(fields, fields)
def test_whatever_is_recalled_reads_the_same_the_long_way(first: bytes, second: bytes) -> None:
    """For any two heads: if remembering the first makes the second known, parsing the second agrees."""
    start = b"GET /tt1/a.mp4 HTTP/1.1\r\n"
    data, later = start + first + b"\r\n", start + second + b"\r\n"
    try:
        repeats = remembered(data)
    except (BadRequest, ValueError):
        return  # refused, or not exactly one request
    found = recalled(repeats, later)
    if found is None:
        return
    (request,) = RequestReader(Limits()).feed(later)
    assert request.keep_alive
    _, begin, end, _ = cut(later, 0)
    wanted = f"bytes={begin}-{end - 1}" if end >= 0 else None
    assert request.headers.get(b"range") == wanted
    same = {name: value for name, value in request.headers.items() if name != b"range"}
    assert same == {name: value for name, value in found.request.headers.items() if name != b"range"}
