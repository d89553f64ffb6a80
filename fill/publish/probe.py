"""What a source file holds: picture size as displayed, frame rate, duration, sound.

PyAV reads it in this process. Nothing but the file itself is opened, whatever it names.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import av.error

LOCAL_ONLY: Final = "file"
"""Protocols ffmpeg may use for a source: it must not reach into the network, nor read our input."""

FORMATS: Final = "mov,matroska,mpegts,mpeg,mxf,avi,flv,asf,ogg,gxf,nut,yuv4mpegpipe"
"""Containers a source may be in. A playlist (HLS, DASH, concat) is none: it names other files of this
machine, and `LOCAL_ONLY` would let ffmpeg put those into the film."""

INPUT_OPTIONS: Final = {"protocol_whitelist": LOCAL_ONLY, "format_whitelist": FORMATS}
"""Of every ffmpeg, in this process or another, that opens a source."""

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
    """What the encodes have: constant, at most 60, and else enough for every frame of the source."""
    duration_s: float | None
    """None when the container does not say."""
    has_audio: bool


def probe(path: Path) -> Source:
    """What ``path`` holds; raises `NotVideo`."""
    if not path.is_file():
        raise NotVideo(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    try:
        with av.open(f"file:{path.absolute()}", options=INPUT_OPTIONS) as container:
            return _describe(path, container)
    except (av.error.InvalidDataError, av.error.ArgumentError):
        raise NotVideo(
            f"{path}: not a video; a file is wanted, such as MP4, MOV, Matroska or MPEG-TS"
        ) from None
    except (av.error.FFmpegError, OSError) as error:
        raise NotVideo(f"{path}: cannot be read as a video ({error.strerror})") from None


def _describe(path: Path, container: av.container.InputContainer) -> Source:
    name = container.format.name
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
        frame_rate=constant_rate(stream.average_rate or stream.guessed_rate, stream.base_rate),
        duration_s=container.duration / av.time_base if container.duration else None,
        has_audio=any(item.codec_context is not None for item in container.streams.audio),
    )


def _displayed(width: int, height: int, pixel: Fraction | None, rotation: int) -> tuple[int, int]:
    if pixel:
        width = max(1, round(width * pixel))
    return (height, width) if rotation % 180 else (width, height)


def constant_rate(average: Fraction | None, base: Fraction | None = None) -> Fraction:
    """The constant frame rate for a source with this average: a standard one where it is near one.

    Any other average is most often that of a variable rate. Its frames are rather shown twice than lost:
    ``base`` (the rate on whose grid all its time stamps lie) where that is at most 60, else the standard
    rate above the average. One above 60 is halved until it is not.
    """
    if not average or average <= 0:
        return Fraction(25)
    rate = _at_most(average)
    if (nearest := _standard(rate)) is not None:
        return nearest
    if rate != average:
        return rate.limit_denominator(1001)
    if base and average <= base <= _MAX_RATE * (1 + _SNAP):
        return _standard(base) or max(Fraction(_MIN_RATE), base.limit_denominator(1001))
    return min(standard for standard in _STANDARD_RATES if standard >= rate)


def _at_most(rate: Fraction) -> Fraction:
    while rate > _MAX_RATE * (1 + _SNAP):
        rate /= 2
    return rate


def _standard(rate: Fraction) -> Fraction | None:
    nearest = min(_STANDARD_RATES, key=lambda standard: abs(standard - rate))
    return nearest if abs(nearest - rate) <= nearest * _SNAP else None
