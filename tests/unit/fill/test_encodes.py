"""Which encodes a source gets, and how ffmpeg is told."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.catalog import Latest, decode_latest
from contracts.documents import encode as encode_document
from fill.config import Publish
from fill.publish.choose import choose_encodes
from fill.publish.encode import ffmpeg_arguments
from fill.publish.ladder import DEFAULT
from fill.publish.probe import Source, constant_rate
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


def _arguments(name: str) -> list[str]:
    source = Source(Path(name), 640, 360, Fraction(30000, 1001), 9.0, has_audio=False)
    return ffmpeg_arguments(source, choose_encodes(640, 360, DEFAULT), [Path("-y")], None, Publish())


def test_a_source_name_is_never_read_as_an_option_or_a_protocol() -> None:
    found = _arguments("concat:a|b")
    assert found[found.index("-i") + 1].startswith("file:/")
    assert found[-1] == "file:-y"


def test_what_a_source_may_open_is_said_before_it_is_opened() -> None:
    found = _arguments("x.mp4")
    for option in ("-protocol_whitelist", "-format_whitelist"):
        assert found.index(option) < found.index("-i")


@pytest.mark.parametrize(
    ("average", "base", "expected"),
    [
        (Fraction(25), Fraction(25), Fraction(25)),
        (Fraction(2997, 100), Fraction(30), Fraction(30000, 1001)),
        # Interlaced: the grid is that of the fields, and a frame is two of them.
        (Fraction(25), Fraction(50), Fraction(25)),
        (Fraction(12), Fraction(12), Fraction(12)),
        # Variable: a telephone's, a screen recording's, one with a third of its frames missing.
        (Fraction(297, 10), Fraction(30), Fraction(30)),
        (Fraction(1234, 100), Fraction(1000), Fraction(24000, 1001)),
        (Fraction(100, 3), Fraction(50), Fraction(50)),
        (Fraction(120), Fraction(120), Fraction(60)),
        (Fraction(240000, 1001), None, Fraction(60000, 1001)),
        (None, None, Fraction(25)),
    ],
)
def test_frames_are_rather_shown_twice_than_lost(
    average: Fraction | None, base: Fraction | None, expected: Fraction
) -> None:
    assert constant_rate(average, base) == expected


@given(st.fractions(min_value=Fraction(1, 1000), max_value=100_000), st.fractions(0, 100_000) | st.none())
def test_every_frame_rate_has_a_constant_one_up_to_60(average: Fraction, base: Fraction | None) -> None:
    assert 1 <= constant_rate(average, base) <= Fraction(6024, 100)


@given(st.integers(0, 4_000_000_000), st.binary(min_size=3, max_size=3))
def test_a_version_name_is_one_that_readers_accept(now: int, chance: bytes) -> None:
    raw = encode_document(Latest(version_name(now, chance)))
    assert decode_latest(raw, "latest").version == version_name(now, chance)
