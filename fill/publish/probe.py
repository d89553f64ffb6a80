"""What a source file holds: picture size as displayed, frame rate, duration, sound.

PyAV reads it in this process. Only the file itself is opened: a playlist cannot make us fetch.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import av.error

LOCAL_ONLY: Final = "file,pipe"
"""Protocols ffmpeg may use: a source that is a playlist must not reach into the network."""

_STANDARD_RATES: Final = tuple(
    Fraction(*rate)
    for rate in ((24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1), (50, 1), (60000, 1001), (60, 1))
)
_MAX_RATE: Final = 60
_MIN_RATE: Final = 1
_SNAP: Final = 0.004
"""24 and 23.976 differ by 0.1 %; an average over a file misses by less than 0.4 % when frames are lost."""


class NotVideo(Exception):
    """The file cannot be published. The message names it and says what it is instead."""


@dataclass(frozen=True, slots=True)
class Source:
    path: Path
    width: int
    """As displayed: turned upright, pixels square."""
    height: int
    frame_rate: Fraction
    """What the encodes shall have: constant, and near what the source has on average."""
    duration_s: float | None
    """None when the container does not say."""
    has_audio: bool


def probe(path: Path) -> Source:
    """What ``path`` holds; raises `NotVideo`."""
    if not path.is_file():
        raise NotVideo(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    try:
        with av.open(f"file:{path.absolute()}", options={"protocol_whitelist": LOCAL_ONLY}) as container:
            return _describe(path, container)
    except (av.error.FFmpegError, OSError) as error:
        raise NotVideo(f"{path}: not a video that ffmpeg can read ({error.strerror})") from None


def _describe(path: Path, container: av.container.InputContainer) -> Source:
    # A text file is a picture to ffmpeg's terminal demuxer, and a photograph is a video of one frame.
    name = container.format.name
    if name == "tty" or name.startswith("image2") or name.endswith("_pipe"):
        raise NotVideo(f"{path}: not a video ({container.format.long_name or name})")
    videos = [
        stream
        for stream in container.streams.video
        if not stream.disposition & av.stream.Disposition.attached_pic
    ]
    if not videos:
        raise NotVideo(f"{path}: holds no video ({container.format.long_name or name})")
    stream = videos[0]
    frame = next(container.decode(stream), None)
    if frame is None:
        raise NotVideo(f"{path}: its video has not a single frame")
    width, height = _displayed(frame.width, frame.height, stream.sample_aspect_ratio, frame.rotation)
    return Source(
        path=path,
        width=width,
        height=height,
        frame_rate=constant_rate(stream.average_rate or stream.guessed_rate),
        duration_s=container.duration / av.time_base if container.duration else None,
        has_audio=any(item.codec_context is not None for item in container.streams.audio),
    )


def _displayed(width: int, height: int, pixel: Fraction | None, rotation: int) -> tuple[int, int]:
    if pixel:
        width = max(1, round(width * pixel))
    return (height, width) if rotation % 180 else (width, height)


def constant_rate(average: Fraction | None) -> Fraction:
    """The constant frame rate for a source with this average: a standard one where it is near one.

    A variable rate has any average; one above 60 is halved until it is not.
    """
    if not average or average <= 0:
        return Fraction(25)
    rate = average
    while rate > _MAX_RATE * (1 + _SNAP):
        rate /= 2
    nearest = min(_STANDARD_RATES, key=lambda standard: abs(standard - rate))
    if abs(nearest - rate) <= nearest * _SNAP:
        return nearest
    return max(Fraction(_MIN_RATE), rate.limit_denominator(1001))
