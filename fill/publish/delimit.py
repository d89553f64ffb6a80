"""Sets a styp box before every segment of an encode, so that no two HLS byte ranges touch.

HLS names each segment by its moof and mdat, the sidx names the styp before them as well: one file
serves both, and 24 bytes lie between two HLS ranges.

Why: ffmpeg 9 (seen with snapshot n9.0.2-17-g2a571b6068) asks for adjoining EXT-X-BYTERANGE ranges of one
file in a single request, then reads the length of the first from it and takes that for the end: 100
frames of 1500, exit code 0, with nginx too. Ranges that do not touch it asks for one by one, as ffmpeg
5.1, hls.js and AVPlayer always do. A player may ignore a styp that is not the first in a file.

Source: ISO/IEC 14496-12 section 8.16.2 (styp), 23009-1 (msdh), 23000-19 section 7.3 (cmfs).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, Final

from fill.publish.boxes import BadMp4, read_index, sidx_entries

STYP: Final = struct.pack(">I4s4sI4s4s", 24, b"styp", b"msdh", 0, b"msdh", b"cmfs")

_CHUNK_BYTES: Final = 1 << 20
_MAX_REFERENCE_BYTES: Final = (1 << 31) - 1
"""The size of a subsegment has 31 bits in a sidx."""


def delimit_segments(path: Path) -> None:
    """Rewrites ``path`` so that each of its segments begins with `STYP`; raises `BadMp4`, OSError.

    Offsets inside a fragment count from its own moof (default-base-is-moof), so they stay right. What
    follows the last segment is left out: an mfra, whose offsets count from the start of the file.
    """
    made = path.with_suffix(".delimited")
    with path.open("rb") as source, made.open("xb") as target:
        index, raw, segments = read_index(source, path.name)
        sidx = bytearray(raw)
        starts = {segment.start for segment in segments}
        entries = sidx_entries(raw, path.name)
        at = segments[-1].start + segments[-1].size - sum(size for _, size in entries)
        for offset, size in entries:
            if at in starts:
                if size + len(STYP) > _MAX_REFERENCE_BYTES:
                    raise BadMp4(
                        f"{path.name}: the segment at byte {at} has {size} bytes, too many for a sidx"
                    )
                struct.pack_into(">I", sidx, offset, size + len(STYP))
            at += size
        source.seek(0)
        _copy(source, target, index.start)
        target.write(sidx)
        source.seek(index.start + index.size)
        _copy(source, target, segments[0].start - index.start - index.size)
        for segment in segments:
            target.write(STYP)
            _copy(source, target, segment.size)
    made.replace(path)


def _copy(source: BinaryIO, target: BinaryIO, size_bytes: int) -> None:
    while size_bytes:
        data = source.read(min(size_bytes, _CHUNK_BYTES))
        if not data:
            raise BadMp4(f"{source.name}: ends {size_bytes} bytes early")
        target.write(data)
        size_bytes -= len(data)
