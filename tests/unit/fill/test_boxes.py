"""The reader of MP4 boxes believes no size it has not checked, and finds what the manifests need."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill.publish.boxes import BadMp4, Box, Layout, Segment, avc_codec, read_sidx, top_level
from fill.publish.manifests import Track, media_playlist, multivariant_playlist, presentation_description


def box(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def sidx(entries: list[tuple[int, int]], *, timescale: int = 1000, first_offset: int = 0) -> bytes:
    body = struct.pack(">IIIQQHH", 1 << 24, 1, timescale, 0, first_offset, 0, len(entries))
    return box(b"sidx", body + b"".join(struct.pack(">III", size, time, 0) for size, time in entries))


def test_segments_follow_the_index_one_after_the_other() -> None:
    raw = sidx([(100, 4000), (50, 2000)], first_offset=7)
    found = read_sidx(raw, Box(b"sidx", 1000, len(raw)), "x")
    start = 1000 + len(raw) + 7
    assert found == (Segment(start, 100, 4.0), Segment(start + 100, 50, 2.0))


@pytest.mark.parametrize(
    "raw",
    [
        sidx([(100, 4000)])[:-4],
        sidx([]),
        sidx([(1 << 31 | 5, 1)]),
        sidx([(5, 1)], timescale=0),
        sidx([(5, 0)]),
        b"",
        box(b"sidx"),
    ],
)
def test_a_broken_index_is_refused(raw: bytes) -> None:
    with pytest.raises(BadMp4, match="sidx"):
        read_sidx(raw, Box(b"sidx", 0, len(raw)), "x")


@given(st.binary(max_size=300))
def test_any_bytes_tile_the_file_or_are_refused(raw: bytes) -> None:
    try:
        boxes = top_level(io.BytesIO(raw), len(raw), "x")
    except BadMp4:
        return
    assert sum(item.size for item in boxes) == len(raw)


@pytest.mark.parametrize("size", [0, 1, 7, 9, 1 << 31])
def test_a_box_larger_than_the_file_is_refused(size: int) -> None:
    raw = box(b"ftyp") + struct.pack(">I4s", size, b"mdat")
    if size == 0:  # up to the end of the file
        assert top_level(io.BytesIO(raw), len(raw), "x")[-1] == Box(b"mdat", 8, 8)
    else:
        with pytest.raises(BadMp4, match="x"):
            top_level(io.BytesIO(raw), len(raw), "x")


def test_the_codec_string_is_read_from_the_sample_entry() -> None:
    entry = box(b"avc1", b"\0" * 78 + box(b"avcC", b"\x01\x64\x00\x1f\xff"))
    moov = box(
        b"moov",
        box(b"mvhd")
        + box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", box(b"stsd", b"\0" * 8 + entry))))),
    )
    assert avc_codec(moov, "x") == "avc1.64001f"
    with pytest.raises(BadMp4, match="avc"):
        avc_codec(moov.replace(b"avcC", b"hvcC"), "x")


@given(st.binary(max_size=200))
def test_any_moov_has_a_codec_or_is_refused(raw: bytes) -> None:
    with pytest.raises(BadMp4):
        avc_codec(box(b"moov", raw), "x")


_LAYOUT = Layout(800, 800, 68, (Segment(868, 1000, 4.0), Segment(1868, 900, 0.1)), "avc1.64001f")
_SOUND = Layout(700, 700, 68, (Segment(768, 500, 4.0),), "mp4a.40.2")
_VIDEO = Track("360p", "video.mp4", _LAYOUT, 640, 360)
_AUDIO = Track("audio", "audio.mp4", _SOUND)


def test_a_media_playlist_names_every_byte_range() -> None:
    text = media_playlist(_VIDEO)
    assert '#EXT-X-MAP:URI="video.mp4",BYTERANGE="800@0"' in text
    assert "#EXTINF:4.000000,\n#EXT-X-BYTERANGE:1000@868\nvideo.mp4\n" in text
    assert "#EXT-X-TARGETDURATION:4\n" in text
    assert text.endswith("#EXT-X-ENDLIST\n")


def test_the_multivariant_playlist_adds_the_sound_to_every_rate() -> None:
    text = multivariant_playlist([_VIDEO], _AUDIO)
    # The short last segment has 72 kb/s, and is too short to say what a link must carry.
    assert "BANDWIDTH=3000," in text
    assert 'CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=640x360,AUDIO="audio"\n360p/video.m3u8\n' in text


def test_without_sound_no_manifest_mentions_it() -> None:
    for text in (multivariant_playlist([_VIDEO], None), presentation_description([_VIDEO], None)):
        assert "audio" not in text.lower()


def test_no_url_in_a_manifest_is_absolute() -> None:
    """A signed prefix carries over only to relative URLs."""
    mpd = presentation_description([_VIDEO], _AUDIO)
    assert "<BaseURL>360p/video.mp4</BaseURL>" in mpd
    assert 'indexRange="800-867"' in mpd
    for text in (mpd, media_playlist(_VIDEO), multivariant_playlist([_VIDEO], _AUDIO)):
        assert "://" not in text
        assert 'URI="/' not in text
