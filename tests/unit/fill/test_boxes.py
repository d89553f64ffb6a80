"""The reader of MP4 boxes believes no size it has not checked, and finds what the manifests need."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fill.publish.boxes import BadMp4, Box, Segment, read_sidx, top_level, video_codec


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
    assert video_codec(moov, "x") == "avc1.64001f"
    with pytest.raises(BadMp4, match="avcC"):
        video_codec(moov.replace(b"avcC", b"hvcC"), "x")
    with pytest.raises(BadMp4, match="avc1 and no hvc1"):
        video_codec(moov.replace(b"avc1", b"vp09"), "x")


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        # Main 10, main tier, level 5.1 and progressive, as most 4K has it; and the example of the standard.
        ("0122 20000000 900000000000 99", "hvc1.2.4.H153.90"),
        ("0102 20000000 b00000000000 5d", "hvc1.2.4.L93.B0"),
        ("0141 80000000 000000000000 1e", "hvc1.A1.1.L30"),
    ],
)
def test_the_codec_string_of_hevc_has_its_flags_backwards_and_no_trailing_zeros(
    record: str, expected: str
) -> None:
    entry = box(b"hvc1", b"\0" * 78 + box(b"hvcC", bytes.fromhex(record)))
    stsd = box(b"stsd", b"\0" * 8 + entry)
    moov = box(b"moov", box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", stsd)))))
    assert video_codec(moov, "x") == expected


@given(st.binary(max_size=200))
def test_any_moov_has_a_codec_or_is_refused(raw: bytes) -> None:
    with pytest.raises(BadMp4):
        video_codec(box(b"moov", raw), "x")
