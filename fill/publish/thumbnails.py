"""Small pictures for the bar that a viewer drags along: sheets of tiles, one tile for every few seconds.

Made of the key frames of the smallest encode, so that they cost nothing to decode and fit its segments.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Final

from fill.publish.ffmpeg import input_arguments
from fill.publish.tracks import Thumbnails, VideoTrack
from fill.publish.webvtt import stamp

TILE_WIDTH: Final = 160
_MOST_A_SIDE: Final = 10
"""Tiles of a sheet: 1600 pixels wide, which every decoder of JPEG in a television takes."""


def lay_out(track: VideoTrack, every_s: int, segment_s: int) -> Thumbnails:
    """How many tiles ``track`` has, one for each few of its segments, and how they are laid out in sheets."""
    segments = _segments_each(every_s, segment_s)
    count = -(-len(track.layout.segments) // segments)
    columns = min(_MOST_A_SIDE, count)
    rows = min(_MOST_A_SIDE, -(-count // columns))
    # By their real length: at 29.97 Hz a segment of 4 s has 4.004.
    longest_s = max(segment.duration_s for segment in track.layout.segments)
    exact_s = Fraction(longest_s).limit_denominator(100_000) * segments
    height = max(2, 2 * round(TILE_WIDTH * track.height / track.width / 2))
    return Thumbnails(float(exact_s), count, columns, rows, TILE_WIDTH, height, 0)


def thumbnail_arguments(
    track: Path, laid: Thumbnails, every_s: int, segment_s: int, folder: Path
) -> list[str]:
    """Every n-th key frame of ``track``, as sheets in ``folder``."""
    segments = _segments_each(every_s, segment_s)
    pictures = rf"select=not(mod(n\,{segments})),scale={laid.width}:{laid.height},setsar=1"
    return [
        *input_arguments(track, "-skip_frame", "nokey"),
        *("-map", "0:v:0", "-vf", f"{pictures},tile={laid.columns}x{laid.rows}"),
        *("-fps_mode", "passthrough", "-c:v", "mjpeg", "-q:v", "5", "-pix_fmt", "yuvj420p"),
        *("-threads", "1", "-map_metadata", "-1", "-f", "image2", f"file:{folder}/%d.jpg"),
    ]


def thumbnail_index(found: Thumbnails, duration_s: float) -> str:
    """The WebVTT that names the tile for each time, by its place in the sheet (Media Fragments URI, xywh)."""
    cues = ["WEBVTT\n"]
    for number in range(found.count):
        sheet, place = divmod(number, found.columns * found.rows)
        x, y = place % found.columns * found.width, place // found.columns * found.height
        start_s, end_s = number * found.every_s, min((number + 1) * found.every_s, duration_s)
        cues.append(
            f"{stamp(start_s)} --> {stamp(end_s)}\n"
            f"{sheet + 1}.jpg#xywh={x},{y},{found.width},{found.height}\n"
        )
    return "\n".join(cues)


def _segments_each(every_s: int, segment_s: int) -> int:
    return max(1, round(every_s / segment_s))
