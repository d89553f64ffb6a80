"""Which bytes a Range header asks for, against a reading of RFC 9110 section 14 byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oca.edge.ranges import MAX_RANGES, Unsatisfiable, resolve_ranges

SIZE = 1000


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-499", [(0, 500)]),
        ("bytes=500-999", [(500, 1000)]),
        ("bytes=-500", [(500, 1000)]),
        ("bytes=9500-", Unsatisfiable.RANGES),
        ("bytes=500-", [(500, 1000)]),
        ("bytes=0-0,-1", [(0, 1), (999, 1000)]),
        ("bytes=500-600,601-999", [(500, 1000)]),
        ("bytes=500-700,601-999", [(500, 1000)]),
        ("bytes=999-999", [(999, 1000)]),
        ("bytes=1000-1000", Unsatisfiable.RANGES),
        ("bytes=-0", Unsatisfiable.RANGES),
        ("bytes=-0,5-6", [(5, 7)]),
        ("bytes=0-99999999999999999", [(0, 1000)]),
        # Whitespace around list elements and empty elements: sections 5.6.1.2 and 14.1.1.
        ("bytes= 0-1 , 5-6", [(0, 2), (5, 7)]),
        ("bytes=,0-1,,", [(0, 2)]),
        # A unit is compared without case: section 14.1.
        ("Bytes=0-1", [(0, 2)]),
        # Kept in the order asked, joined where the first of them stood.
        ("bytes=900-909,0-9,905-920", [(900, 921), (0, 10)]),
        ("bytes=10-19,30-39,15-35", [(10, 40)]),
    ],
)
def test_a_range_gives_these_spans(header: str, expected: object) -> None:
    assert resolve_ranges(header, SIZE) == expected


@pytest.mark.parametrize(
    "header",
    [
        "", "bytes", "bytes=", "bytes=,", "bytes=-", "bytes=a-b", "bytes=1", "bytes=5-4", "bytes=0-1,5-4",
        "bytes=+1-2", "bytes=1_0-20", "bytes=0x1-2", "bytes=1-2-3", "bytes=--1", "bytes=1 -2", "bytes=١-٢",
        "lines=0-1", "bytes:0-1", "bytes=0-1;", "bytes=" + "9" * 19 + "-", "bytes=" + "0-0," * MAX_RANGES + "0-0",
    ],
)  # fmt: skip
def test_what_is_not_a_range_is_ignored(header: str) -> None:
    assert resolve_ranges(header, SIZE) is None


def test_nothing_of_an_empty_object_can_be_had() -> None:
    assert resolve_ranges("bytes=0-", 0) is Unsatisfiable.RANGES
    assert resolve_ranges("bytes=-1", 0) is Unsatisfiable.RANGES


number = st.integers(0, 1200)
spec = st.one_of(
    st.tuples(number, number)
    .filter(lambda pair: pair[0] <= pair[1])
    .map(lambda pair: f"{pair[0]}-{pair[1]}"),
    number.map(lambda first: f"{first}-"),
    number.map(lambda last: f"-{last}"),
)


def asked(spec: str, size: int) -> set[int]:
    first, _, last = spec.partition("-")
    if not first:
        return set(range(max(0, size - int(last)), size))
    return set(range(int(first), min(int(last or size - 1) + 1, size)))


@given(st.lists(spec, min_size=1, max_size=MAX_RANGES), st.integers(0, 1000))
def test_the_spans_are_the_bytes_asked_for_each_once(specs: list[str], size: int) -> None:
    wanted = set().union(*(asked(spec, size) for spec in specs))
    spans = resolve_ranges("bytes=" + ",".join(specs), size)
    if not wanted:
        assert spans is Unsatisfiable.RANGES
        return
    assert isinstance(spans, list)
    sent = [byte for start, end in spans for byte in range(start, end)]
    assert len(sent) == len(set(sent))
    assert set(sent) == wanted
    assert all(0 <= start < end <= size for start, end in spans)


@given(st.text(max_size=60), st.integers(0, 1 << 50))
def test_no_header_raises_or_leaves_the_object(text: str, size: int) -> None:
    for header in (text, "bytes=" + text):
        spans = resolve_ranges(header, size)
        if isinstance(spans, list):
            assert 0 < len(spans) <= MAX_RANGES
            assert all(0 <= start < end <= size for start, end in spans)
