"""Delimited segments: the sidx covers the file without a gap, and no two HLS ranges touch."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from fill.publish.boxes import BadMp4, read_layout
from fill.publish.delimit import STYP, delimit_segments
from fill.publish.hls import media_playlist
from fill.publish.source import Sound
from fill.publish.tracks import AudioTrack
from tests.unit.fill.test_boxes import box, sidx

FRAGMENTS = [box(b"moof", b"a" * 10) + box(b"mdat", b"A" * 50), box(b"moof", b"b" * 12) + box(b"mdat", b"B")]
HEAD = box(b"ftyp", b"iso6") + box(b"moov")


def made(path: Path, fragments: list[bytes], between: bytes = b"", tail: bytes = b"") -> Path:
    """A file as the encoder writes it."""
    entries = [(len(item), 4000) for item in fragments]
    path.write_bytes(HEAD + sidx(entries, first_offset=len(between)) + between + b"".join(fragments) + tail)
    return path


@pytest.mark.parametrize("between", [b"", box(b"free", b"x")])
def test_hls_ranges_do_not_touch_and_hold_exactly_the_fragments(tmp_path: Path, between: bytes) -> None:
    path = made(tmp_path / "audio.mp4", FRAGMENTS, between)
    delimit_segments(path)
    layout = read_layout(path, video=False)
    data = path.read_bytes()
    text = media_playlist(AudioTrack("audio", layout, Sound(0, "und"), "Main", default=True))
    ranges = [(int(start), int(size)) for size, start in re.findall(r"BYTERANGE:(\d+)@(\d+)", text)]
    assert [data[start : start + size] for start, size in ranges] == FRAGMENTS
    for (start, size), (following, _) in pairwise(ranges):
        assert following == start + size + len(STYP)


def test_the_sidx_covers_all_that_follows_it_styp_by_styp(tmp_path: Path) -> None:
    path = made(tmp_path / "audio.mp4", FRAGMENTS)
    delimit_segments(path)
    expected = [STYP + item for item in FRAGMENTS]
    index = sidx([(len(item), 4000) for item in expected])
    assert path.read_bytes() == HEAD + index + b"".join(expected)


def test_what_follows_the_last_segment_is_left_out(tmp_path: Path) -> None:
    path = made(tmp_path / "audio.mp4", FRAGMENTS, tail=box(b"mfra", b"offsets that would be wrong"))
    delimit_segments(path)
    assert b"mfra" not in path.read_bytes()


def test_bytes_without_time_stay_with_the_segment_before_them(tmp_path: Path) -> None:
    entries = [(len(FRAGMENTS[0]), 4000), (len(FRAGMENTS[1]), 0)]
    path = tmp_path / "audio.mp4"
    path.write_bytes(HEAD + sidx(entries) + b"".join(FRAGMENTS))
    delimit_segments(path)
    (segment,) = read_layout(path, video=False).segments
    assert path.read_bytes()[segment.start : segment.start + segment.size] == b"".join(FRAGMENTS)


def test_a_file_whose_segments_are_not_delimited_has_no_layout(tmp_path: Path) -> None:
    path = made(tmp_path / "audio.mp4", FRAGMENTS)
    with pytest.raises(BadMp4, match=r"audio\.mp4: the segment at byte \d+ does not begin with a styp"):
        read_layout(path, video=False)


def test_a_file_that_ends_before_its_last_segment_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "audio.mp4"
    path.write_bytes(HEAD + sidx([(1000, 4000)]) + FRAGMENTS[0])
    with pytest.raises(BadMp4, match="beyond its end"):
        delimit_segments(path)
