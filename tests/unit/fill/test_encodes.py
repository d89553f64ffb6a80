"""Which encodes a source gets, and how ffmpeg is told."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.catalog import Latest, decode_latest
from contracts.documents import encode as encode_document
from fill.config import Publish
from fill.publish.choose import Encode, choose_encodes, in_groups
from fill.publish.complexity import SAMPLE_S, sample_starts, with_constant_quality
from fill.publish.encode import longest_s, sound_arguments, video_arguments
from fill.publish.ladder import DEFAULT, Rung, check_ladder
from fill.publish.probe import MAX_DURATION_S, constant_rate
from fill.publish.source import DynamicRange, Sound, Source
from fill.version import version_name


def _source(width: int, height: int, **fields: object) -> Source:
    return replace(Source(Path("x.mp4"), width, height, Fraction(25), 9.0), **fields)


@given(st.integers(2, 8192), st.integers(2, 8192), st.sampled_from(DynamicRange))
def test_no_encode_is_larger_than_its_source_and_all_sides_are_even(
    width: int, height: int, dynamic_range: DynamicRange
) -> None:
    encodes = choose_encodes(_source(width, height, dynamic_range=dynamic_range), DEFAULT)
    assert any(not item.hdr for item in encodes)
    assert len({item.name for item in encodes}) == len(encodes)
    for item in encodes:
        assert 2 <= item.width <= width
        assert 2 <= item.height <= height
        assert item.width % 2 == item.height % 2 == 0
        assert not item.hdr or dynamic_range is not DynamicRange.SDR


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1280, 720, "240p 426x240, 360p 640x360, 480p 854x480, 720p 1280x720"),
        # Wider than 16:9: the width decides, or a film in scope would never be had in 4K.
        (3840, 1608, "1080p 1920x804, 2160p 3840x1608"),
        # Upright, and narrow.
        (1080, 1920, "720p 720x1280, 1080p 1080x1920"),
        (640, 480, "360p 480x360, 480p 640x480"),
        # Two lines short of it.
        (1918, 1078, "720p 1280x720, 1080p 1918x1078"),
        (200, 100, "100p 200x100"),
    ],
)
def test_a_source_gets_the_rungs_that_it_fills(width: int, height: int, expected: str) -> None:
    found = [
        f"{item.name} {item.width}x{item.height}" for item in choose_encodes(_source(width, height), DEFAULT)
    ]
    assert ", ".join(found).endswith(expected)
    assert found[0] == "100p 200x100" or found[0].startswith("240p")


def test_a_high_range_is_kept_only_where_the_source_has_one() -> None:
    assert [item.name for item in choose_encodes(_source(3840, 2160), DEFAULT)][-2:] == ["1080p", "2160p"]
    high = choose_encodes(_source(3840, 2160, dynamic_range=DynamicRange.PQ), DEFAULT)
    assert [item.name for item in high if item.hdr] == ["1080p-hdr", "2160p-hdr"]
    assert len(high) == 8
    arguments = " ".join(
        video_arguments(
            _source(3840, 2160, dynamic_range=DynamicRange.PQ),
            [(item, Path(item.name)) for item in high],
            Publish(),
        )
    )
    assert arguments.count("tonemap=") == 6
    assert arguments.count("libx265") == arguments.count("yuv420p10le") == 2


def test_a_ladder_without_a_rung_that_everybody_plays_is_refused() -> None:
    with pytest.raises(ValueError, match="a rung without hdr"):
        check_ladder([Rung("a", 1080, 1_000_000, hdr=True)])
    for name in ("audio", "text-de", "thumbnails"):
        with pytest.raises(ValueError, match="name of its own"):
            check_ladder([Rung(name, 1080, 1_000_000)])


@given(st.lists(st.integers(16, 4000), min_size=1, max_size=16), st.integers(1, 20))
def test_encodes_are_shared_out_evenly(heights: list[int], most: int) -> None:
    encodes = [Encode(str(number), height, height, 1) for number, height in enumerate(heights)]
    groups = in_groups(encodes, most)
    assert len(groups) == min(most, len(encodes))
    assert sorted(item.name for group in groups for item in group) == sorted(item.name for item in encodes)
    assert all(groups)
    largest = max(item.effort for item in encodes)
    efforts = [sum(item.effort for item in group) for group in groups]
    assert max(efforts) - min(efforts) <= largest


@given(st.floats(0, MAX_DURATION_S))
def test_samples_lie_inside_the_film_and_are_few(duration_s: float) -> None:
    starts = sample_starts(duration_s)
    assert len(starts) <= 8
    assert bool(starts) is (duration_s >= SAMPLE_S)
    for before, after in pairwise([*starts, duration_s]):
        assert 0 <= before <= after - SAMPLE_S + 0.01
    assert sample_starts(None) == ()


def test_what_needs_less_than_the_ladder_gives_is_made_to_a_quality_and_bounded_by_the_ladder() -> None:
    encodes = choose_encodes(_source(640, 360), DEFAULT)
    constant = with_constant_quality(encodes, {"240p": 100_000, "360p": 700_000})
    assert constant == {"240p"}
    found = video_arguments(
        _source(640, 360), [(item, Path(item.name)) for item in encodes], Publish(quality=23), constant
    )
    at = found.index("-crf")
    assert found[at : at + 4] == ["-crf", "23", "-maxrate", "235000"]
    assert found[found.index("-b:v") + 1] == "560000"
    assert with_constant_quality(encodes, {}) == frozenset()


def test_a_source_whose_time_stamps_jump_does_not_fill_the_disk() -> None:
    assert longest_s(_source(640, 360)) == pytest.approx(9.0 * 1.01 + 10)
    assert longest_s(_source(640, 360, duration_s=None)) == MAX_DURATION_S
    encodes = choose_encodes(_source(640, 360), DEFAULT)
    outputs = [(item, Path(item.name)) for item in encodes]
    assert video_arguments(_source(640, 360), outputs, Publish()).count("-t") == len(encodes)
    sound = sound_arguments(_source(640, 360), {Sound(0, "de"): Path("a.mp4")}, {}, Publish())
    assert sound.count("-t") == 1


def _arguments(name: str) -> list[str]:
    source = Source(Path(name), 640, 360, Fraction(30000, 1001), 9.0)
    encodes = choose_encodes(source, DEFAULT)[:1]
    return video_arguments(source, [(encodes[0], Path("-y"))], Publish())


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
