"""Preconditions: RFC 9110 section 13, as a table."""

from __future__ import annotations

import pytest

from oca.edge.conditional import Verdict, evaluate, parse_date, range_applies

ETAG = '"v1"'
MODIFIED = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT
SAME = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"

GO, UNCHANGED, FAILED = Verdict.PROCEED, Verdict.NOT_MODIFIED, Verdict.FAILED


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ({}, GO),
        # If-Match: strong comparison (13.1.1).
        ({b"if-match": ETAG}, GO),
        ({b"if-match": "*"}, GO),
        ({b"if-match": '"x", "v1"'}, GO),
        ({b"if-match": 'W/"v1"'}, FAILED),
        ({b"if-match": '"x"'}, FAILED),
        ({b"if-match": ""}, FAILED),
        # If-None-Match: weak comparison (13.1.2).
        ({b"if-none-match": ETAG}, UNCHANGED),
        ({b"if-none-match": 'W/"v1"'}, UNCHANGED),
        ({b"if-none-match": '"x" , "v1"'}, UNCHANGED),
        ({b"if-none-match": "*"}, UNCHANGED),
        ({b"if-none-match": '"V1"'}, GO),
        ({b"if-none-match": "v1"}, GO),
        ({b"if-none-match": '"a,"v1"'}, GO),
        # Dates (13.1.3, 13.1.4).
        ({b"if-modified-since": SAME}, UNCHANGED),
        ({b"if-modified-since": AFTER}, UNCHANGED),
        ({b"if-modified-since": BEFORE}, GO),
        ({b"if-modified-since": "yesterday"}, GO),
        ({b"if-unmodified-since": SAME}, GO),
        ({b"if-unmodified-since": BEFORE}, FAILED),
        ({b"if-unmodified-since": "yesterday"}, GO),
        # Precedence (13.2.2).
        ({b"if-match": ETAG, b"if-unmodified-since": BEFORE}, GO),
        ({b"if-match": '"x"', b"if-none-match": ETAG}, FAILED),
        ({b"if-match": ETAG, b"if-none-match": ETAG}, UNCHANGED),
        ({b"if-none-match": '"x"', b"if-modified-since": SAME}, GO),
        ({b"if-unmodified-since": SAME, b"if-modified-since": SAME}, UNCHANGED),
    ],
)
def test_the_verdict(headers: dict[bytes, str], verdict: Verdict) -> None:
    assert evaluate(headers, ETAG, MODIFIED) is verdict


@pytest.mark.parametrize(
    ("if_range", "applies"),
    [(None, True), (ETAG, True), (f" {ETAG} ", True), ('W/"v1"', False), ('"x"', False), (SAME, False), ("*", False)],
)  # fmt: skip
def test_a_range_counts_only_when_the_tag_proves_sameness(if_range: str | None, applies: bool) -> None:
    assert range_applies(if_range, ETAG) is applies


@pytest.mark.parametrize(
    "text",
    ["", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Foo 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
     "Sun, 06 Nov 1994 25:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 06 Nov 0000 08:49:37 GMT"],
)  # fmt: skip
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_date(text) is None


def test_a_leap_second_is_a_date() -> None:
    assert parse_date("Sat, 31 Dec 2016 23:59:60 GMT") == parse_date("Sat, 31 Dec 2016 23:59:59 GMT")
