"""Which encodes a source gets, and how ffmpeg is told."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from contracts.catalog import Latest, decode_latest
from contracts.documents import encode as encode_document
from fill.config import Publish
from fill.publish.choose import choose_encodes
from fill.publish.encode import ffmpeg_arguments
from fill.publish.ladder import DEFAULT
from fill.version import version_name


@given(st.integers(2, 5000), st.integers(2, 5000))
def test_no_encode_is_larger_than_its_source_and_all_sides_are_even(width: int, height: int) -> None:
    encodes = choose_encodes(width, height, DEFAULT)
    assert encodes
    for item in encodes:
        assert item.height <= height
        assert item.width % 2 == 0
        assert item.height % 2 == 0
        assert item.width >= 2


def test_a_720p_source_gets_the_whole_ladder() -> None:
    found = [(item.name, item.width, item.height) for item in choose_encodes(1280, 720, DEFAULT)]
    assert found == [("360p", 640, 360), ("480p", 854, 480), ("720p", 1280, 720)]


def test_a_source_name_is_never_read_as_an_option_or_a_protocol() -> None:
    encodes = choose_encodes(640, 360, DEFAULT)
    found = ffmpeg_arguments(Path("concat:a|b"), encodes, [Path("-y")], None, Publish())
    assert "file:concat:a|b" in found
    assert found[-1] == "file:-y"


@given(st.integers(0, 4_000_000_000), st.binary(min_size=3, max_size=3))
def test_a_version_name_is_one_that_readers_accept(now: int, chance: bytes) -> None:
    raw = encode_document(Latest(version_name(now, chance)))
    assert decode_latest(raw, "latest").version == version_name(now, chance)
