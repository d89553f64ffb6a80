"""A key that parses cannot leave the key space; slices cover an object exactly once."""

from __future__ import annotations

import posixpath
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.objectkey import (
    DIGEST_BYTES,
    MAX_KEY_BYTES,
    MAX_OBJECT_BYTES,
    SLICE_BYTES,
    TITLE_PATTERN,
    BadKey,
    digest,
    object_hash,
    object_path,
    parse_key,
    parse_title,
    slice_count,
    slice_span,
    slices_covering,
    title_of,
)

GOOD = [
    "tt0001/master.m3u8",
    "tt0001/1080p/video.mp4",
    "0/0",
    "A.b_c-d/x~y+z@1,2=3-4.m4s",
    "t/_init.mp4",
    "t..u/a..b",
    "t" * 64 + "/a",
    "t/" + "a" * 128,
    "t" + "/a" * 16,
    "t/" + "/".join(["a" * 127] * 3) + "/" + "a" * (MAX_KEY_BYTES - 2 - 3 * 128),
]

BAD = {
    "empty": "",
    "a title alone": "tt1",
    "nothing behind the title": "tt1/",
    "leading slash": "/tt1/a",
    "double slash": "tt1//a",
    "trailing slash": "tt1/a/",
    "dot dot first": "../tt1/a",
    "dot dot within": "tt1/../tt2/a",
    "dot dot last": "tt1/..",
    "dot": "tt1/./a",
    "three dots": "tt1/.../a",
    "hidden title": ".tt1/a",
    "hidden file": "tt1/.a",
    "title that is an option": "-tt1/a",
    "segment that is an option": "tt1/-rf",
    "percent-encoded dot dot": "tt1/%2e%2e/a",
    "percent-encoded slash": "tt1%2fa",
    "doubly encoded": "tt1/%252e%252e/a",
    "malformed percent": "tt1/%zz",
    "plus is fine, space is not": "tt1/a b",
    "NUL": "tt1/a\0",
    "NUL within": "tt1/a\0.mp4",
    "newline at the end": "tt1/a\n",
    "carriage return": "tt1/a\r",
    "tab": "tt1/\ta",
    "backslash": "tt1\\a",
    "colon": "tt1/c:a",
    "question mark": "tt1/a?b",
    "fragment": "tt1/a#b",
    "semicolon": "tt1/a;b",
    "quote": 'tt1/a"b',
    "star": "tt1/*",
    "full-width dots": "tt1/\uff0e\uff0e/a",
    "full-width slash": "tt1\uff0fa",
    "division slash": "tt1\u2215a",
    "overlong UTF-8 slash, as latin-1": "tt1\xc0\xafa",
    "overlong UTF-8 slash, replaced": "tt1\ufffd\ufffda",
    "Kelvin sign": "tt1/\u212a",
    "Arabic digits": "tt1/\u0661",
    "accent": "tt1/\xe9",
    "right-to-left override": "tt1/\u202egpj.mp4",
    "lone surrogate": "tt1/\udc80",
    "byte order mark": "\ufefftt1/a",
    "title too long": "t" * 65 + "/a",
    "segment too long": "t/" + "a" * 129,
    "too many segments": "t" + "/a" * 17,
    "too long": "t/" + "/".join(["a" * 127] * 4),
    "very long": "t/" + "a" * 1_000_000,
}


@pytest.mark.parametrize("key", GOOD)
def test_a_key_is_itself(key: str) -> None:
    assert parse_key(key) == key
    assert parse_title(title_of(key)) == key.split("/")[0]


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_a_key_is_refused_with_what_a_key_looks_like(name: str) -> None:
    with pytest.raises(BadKey, match="TITLE/PATH") as caught:
        parse_key(BAD[name])
    assert len(str(caught.value)) < 800
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("title", ["", ".", "..", "-t", "_t", "a/b", "a b", "a\n", "t" * 65, "\xe9", "a%2e"])
def test_what_cannot_name_a_title_is_refused(title: str) -> None:
    with pytest.raises(BadKey, match="cannot name a title"):
        parse_title(title)


keys = st.from_regex(rf"{TITLE_PATTERN}(/[A-Za-z0-9_][A-Za-z0-9._~+@,=-]{{0,20}}){{1,5}}", fullmatch=True)


@given(st.text(max_size=60) | st.text(alphabet="t1/.%\\\0 a", max_size=20) | keys)
def test_a_text_either_is_refused_or_stays_below_its_title(text: str) -> None:
    try:
        key = parse_key(text)
    except BadKey:
        return
    assert posixpath.normpath("/root/" + key) == "/root/" + key
    assert key.isascii()
    assert key.isprintable()
    assert key.startswith(title_of(key) + "/")


@given(keys)
def test_a_path_on_disk_comes_from_the_hash_alone(key: str) -> None:
    name = object_hash(key)
    assert re.fullmatch("[0-9a-f]{32}", name)
    assert object_path(key) == f"{name[:2]}/{name[2:4]}/{name}"


def test_paths_on_disk_never_change() -> None:
    """Disks in the field are laid out so: another value here orphans every stored object."""
    assert object_path("tt0001/1080p/video.mp4") == "1e/10/1e10ddb87f1cd1e0f42eaa74553adf26"
    assert digest(b"").hex() == "99aa06d3014798d86001c324468d497f"
    assert SLICE_BYTES == 1 << 20


@given(keys, keys)
def test_two_keys_have_two_paths(one: str, other: str) -> None:
    assert (object_path(one) == object_path(other)) == (one == other)


@given(st.binary(max_size=2000))
def test_a_digest_is_the_same_for_any_kind_of_buffer(data: bytes) -> None:
    assert digest(data) == digest(bytearray(data)) == digest(memoryview(data))
    assert len(digest(data)) == DIGEST_BYTES


near_borders = st.builds(
    lambda slices, off: max(0, slices * SLICE_BYTES + off), st.integers(0, 40), st.integers(-3, 3)
)
sizes = near_borders | st.integers(0, MAX_OBJECT_BYTES)


@given(near_borders)
def test_slices_follow_one_another_and_cover_the_object_exactly(size: int) -> None:
    spans = [slice_span(index, size) for index in range(slice_count(size))]
    assert [start for start, _ in spans] == ([0] + [end for _, end in spans])[: len(spans)]
    assert (spans[-1][1] if spans else 0) == size
    assert all(0 < end - start <= SLICE_BYTES for start, end in spans)
    assert all(end - start == SLICE_BYTES for start, end in spans[:-1])


@given(sizes)
def test_one_slice_fewer_would_not_hold_the_object(size: int) -> None:
    count = slice_count(size)
    assert count * SLICE_BYTES >= size > (count - 1) * SLICE_BYTES or size == count == 0


@given(sizes, sizes)
def test_the_slices_that_cover_a_range_are_those_that_share_a_byte_with_it(start: int, end: int) -> None:
    covering = slices_covering(start, end)
    if end <= start:
        assert len(covering) == 0
        return
    assert covering[0] * SLICE_BYTES <= start < (covering[0] + 1) * SLICE_BYTES
    assert covering[-1] * SLICE_BYTES < end <= (covering[-1] + 1) * SLICE_BYTES
    assert covering.step == 1
