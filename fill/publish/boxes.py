"""What the manifests need of an MP4: where its index is, its segments, and its codec.

Source: ISO/IEC 14496-12 (boxes, 8.16.3 sidx), 14496-15 (avcC, hvcC), RFC 6381 (codec strings).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

MAX_BOXES: Final = 1_000_000
MAX_HEADER_BOX_BYTES: Final = 4 << 20
"""Of the moov and sidx that are read whole; a sidx of 65,535 segments is 786 kB."""

# The way from moov to the first sample entry, and how many bytes of fields stand before its children.
_WAY_TO_STSD: Final = ((b"trak", 0), (b"mdia", 0), (b"minf", 0), (b"stbl", 0), (b"stsd", 8))
_VISUAL_FIELDS_BYTES: Final = 78
_AUDIO: Final = "mp4a.40.2"


class BadMp4(ValueError):
    """Not the MP4 that the encoder is asked for; the message names the file."""


@dataclass(frozen=True, slots=True)
class Box:
    kind: bytes
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Segment:
    """``start`` is its first byte in the file: of its moof in a `Layout`, of its styp in the sidx."""

    start: int
    size: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class Layout:
    """Initialisation is the file's first ``init_bytes``; the index starts right after or later."""

    init_bytes: int
    index_start: int
    index_bytes: int
    segments: tuple[Segment, ...]
    codec: str

    @property
    def duration_s(self) -> float:
        return sum(segment.duration_s for segment in self.segments)

    @property
    def average_bps(self) -> int:
        return _rate(sum(segment.size for segment in self.segments), self.duration_s)

    @property
    def peak_bps(self) -> int:
        """Of the segment with the highest rate. Those below half the longest are no measure of a link."""
        half_s = max(segment.duration_s for segment in self.segments) / 2
        return max(_rate(item.size, item.duration_s) for item in self.segments if item.duration_s >= half_s)


def read_layout(path: Path, *, video: bool) -> Layout:
    """The layout of one track's file, whose segments are delimited; raises `BadMp4`, OSError."""
    with path.open("rb") as file:
        index, _, subsegments = read_index(file, path.name)
        found = {box.start: box for box in top_level(file, file.seek(0, 2), path.name)}
        moov = next((box for box in found.values() if box.kind == b"moov"), None)
        if moov is None:
            raise BadMp4(f"{path.name}: has no moov")
        segments = tuple(_after_styp(item, found, path.name) for item in subsegments)
        codec = video_codec(_read(file, moov, path.name), path.name) if video else _AUDIO
    return Layout(moov.start + moov.size, index.start, index.size, segments, codec)


def read_index(file: BinaryIO, name: str) -> tuple[Box, bytes, tuple[Segment, ...]]:
    """The file's sidx, its bytes, and the segments that it lists; raises `BadMp4`."""
    file_bytes = file.seek(0, 2)
    box = next((item for item in top_level(file, file_bytes, name) if item.kind == b"sidx"), None)
    if box is None:
        raise BadMp4(f"{name}: has no sidx")
    raw = _read(file, box, name)
    segments = read_sidx(raw, box, name)
    if segments[-1].start + segments[-1].size > file_bytes:
        raise BadMp4(f"{name}: its sidx names bytes beyond its end")
    return box, raw, segments


def _after_styp(segment: Segment, boxes: dict[int, Box], name: str) -> Segment:
    styp = boxes.get(segment.start)
    if styp is None or styp.kind != b"styp":
        raise BadMp4(f"{name}: the segment at byte {segment.start} does not begin with a styp")
    start = styp.start + styp.size
    moof = boxes.get(start)
    if moof is None or moof.kind != b"moof":
        raise BadMp4(f"{name}: the segment at byte {segment.start} has no moof after its styp")
    return Segment(start, segment.size - styp.size, segment.duration_s)


def top_level(file: BinaryIO, file_bytes: int, name: str) -> list[Box]:
    """The boxes of the file, in order; raises `BadMp4` when they do not tile it."""
    boxes: list[Box] = []
    at = 0
    while at < file_bytes:
        file.seek(at)
        head = file.read(16)
        if len(head) < 8 or len(boxes) >= MAX_BOXES:
            raise BadMp4(f"{name}: a box is cut off at byte {at}, or there are too many")
        size, kind = struct.unpack(">I4s", head[:8])
        if size == 1 and len(head) == 16:
            size = struct.unpack(">Q", head[8:])[0]
        elif size == 0:
            size = file_bytes - at
        if size < 8 or at + size > file_bytes:
            raise BadMp4(f"{name}: the box at byte {at} says that it has {size} bytes")
        boxes.append(Box(kind, at, size))
        at += size
    return boxes


def read_sidx(raw: bytes, box: Box, name: str) -> tuple[Segment, ...]:
    """The segments that the index ``raw`` (a whole sidx box, at ``box``) lists; raises `BadMp4`."""
    entries = sidx_entries(raw, name)
    timescale = struct.unpack_from(">I", raw, 16)[0]
    first_offset = struct.unpack_from(">Q" if raw[8] else ">I", raw, 28 if raw[8] else 24)[0]
    if timescale == 0:
        raise BadMp4(f"{name}: its sidx has no time scale")
    start = box.start + box.size + first_offset
    segments: list[Segment] = []
    for offset, reference in entries:
        duration = struct.unpack_from(">I", raw, offset + 4)[0]
        if reference >> 31:
            raise BadMp4(f"{name}: its sidx points to another sidx")
        if duration:
            segments.append(Segment(start, reference, duration / timescale))
        elif segments:
            # Bytes without time of their own: players could not ask for them.
            last = segments.pop()
            segments.append(Segment(last.start, last.size + reference, last.duration_s))
        start += reference
    if not segments:
        raise BadMp4(f"{name}: its sidx lists no time")
    return tuple(segments)


def sidx_entries(raw: bytes, name: str) -> list[tuple[int, int]]:
    """Where each reference of a sidx box stands in ``raw``, and its first word; raises `BadMp4`.

    The word is the size in bytes; its top bit says that it refers to another sidx.
    """
    try:
        at = 36 if raw[8] else 28
        count = struct.unpack_from(">HH", raw, at)[1]
    except (struct.error, IndexError):
        raise BadMp4(f"{name}: its sidx is cut off") from None
    offsets = range(at + 4, at + 4 + 12 * count, 12)
    if count == 0 or offsets[-1] + 12 > len(raw):
        raise BadMp4(f"{name}: its sidx is cut off or empty")
    return [(offset, struct.unpack_from(">I", raw, offset)[0]) for offset in offsets]


def video_codec(moov: bytes, name: str) -> str:
    """The codec string of the first track of a moov box, such as avc1.64001f; raises `BadMp4`."""
    body = memoryview(moov)[8:]
    for kind, fields_bytes in _WAY_TO_STSD:
        found = _child(body, kind)
        if found is None:
            raise BadMp4(f"{name}: has no {kind.decode()} box")
        body = found[fields_bytes:]
    for entry, configuration, read in ((b"avc1", b"avcC", _avc), (b"hvc1", b"hvcC", _hevc)):
        found = _child(body, entry)
        if found is not None:
            record = _child(found[_VISUAL_FIELDS_BYTES:], configuration)
            if record is None or len(record) < 13 - 9 * (read is _avc):
                raise BadMp4(f"{name}: its {configuration.decode()} box is missing or cut off")
            return read(bytes(record))
    raise BadMp4(f"{name}: has no avc1 and no hvc1 box, so it is neither H.264 nor HEVC")


def _avc(record: bytes) -> str:
    return f"avc1.{record[1:4].hex()}"


def _hevc(record: bytes) -> str:
    """As ISO/IEC 14496-15 annex E.3 says: compatibility flags from the last bit to the first, no zeros behind."""
    space = ("", "A", "B", "C")[record[1] >> 6]
    tier = "H" if record[1] & 0x20 else "L"
    flags = int(f"{int.from_bytes(record[2:6], 'big'):032b}"[::-1], 2)
    constraints = "".join(f".{byte:X}" for byte in record[6:12].rstrip(b"\0"))
    return f"hvc1.{space}{record[1] & 0x1F}.{flags:X}.{tier}{record[12]}{constraints}"


def _child(body: memoryview, wanted: bytes) -> memoryview | None:
    at = 0
    while at + 8 <= len(body):
        size, kind = struct.unpack_from(">I4s", body, at)
        if size < 8 or at + size > len(body):
            return None
        if kind == wanted:
            return body[at + 8 : at + size]
        at += size
    return None


def _read(file: BinaryIO, box: Box, name: str) -> bytes:
    if box.size > MAX_HEADER_BOX_BYTES:
        raise BadMp4(f"{name}: its {box.kind!r} box has {box.size} bytes")
    file.seek(box.start)
    return file.read(box.size)


def _rate(size_bytes: int, duration_s: float) -> int:
    return round(size_bytes * 8 / duration_s) if duration_s > 0 else 0
