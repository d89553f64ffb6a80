"""What a source file holds: picture size as displayed, frame rate, range, duration, sound and text.

PyAV reads it in this process. Nothing but the file itself is opened, whatever it names, and no more of
it is read, decoded or believed than the bounds below say.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import av.error

from fill.publish.language import language_tag
from fill.publish.source import DynamicRange, Purpose, Sound, Source, Text

LOCAL_ONLY: Final = "file"
"""Protocols ffmpeg may use for a source: it must not reach into the network, nor read our input."""

FORMATS: Final = "mov,matroska,mpegts,mpeg,mxf,avi,flv,asf,ogg,gxf,nut,yuv4mpegpipe"
"""Containers a source may be in. A playlist (HLS, DASH, concat) is none: it names other files of this
machine, and `LOCAL_ONLY` would let ffmpeg put those into the film."""

INPUT_OPTIONS: Final = {"protocol_whitelist": LOCAL_ONLY, "format_whitelist": FORMATS}
"""Of every ffmpeg, in this process or another, that opens a source."""

MAX_SIDE: Final = 8192
"""Of a picture, in its pixels: 8K is 7680 wide. One frame of it takes 400 MB on its way to an encode."""
MAX_DURATION_S: Final = 24 * 3600.0
MAX_STREAMS: Final = 100
MAX_TRACKS: Final = 32
"""Of sound, and of text."""
_MAX_PACKETS: Final = 20_000
"""Read until the first picture: half a minute of an interleaved film with 32 sounds has this many."""
_MAX_PROBE_S: Final = 60.0

_HIGH_RANGES: Final = {16: DynamicRange.PQ, 18: DynamicRange.HLG}
"""Of transfer characteristics (ISO/IEC 23091-2 table 3)."""
_TEXT_CODECS: Final = frozenset({"subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text"})
"""Those of pictures (Blu-ray, DVD, DVB) are left out: they would need to be read by a machine."""

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


def probe(path: Path, now: Callable[[], float] = time.monotonic) -> Source:
    """What ``path`` holds; raises `NotVideo`."""
    if not path.is_file():
        raise NotVideo(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    try:
        with av.open(
            f"file:{path.absolute()}",
            options=INPUT_OPTIONS | {"max_streams": str(MAX_STREAMS)},
            timeout=(_MAX_PROBE_S, _MAX_PROBE_S),
            metadata_errors="replace",
        ) as container:
            return _describe(path, container, now)
    except (av.error.InvalidDataError, av.error.ArgumentError):
        raise NotVideo(
            f"{path}: not a video; a file is wanted, such as MP4, MOV, Matroska or MPEG-TS"
        ) from None
    except (av.error.FFmpegError, OSError) as error:
        raise NotVideo(f"{path}: cannot be read as a video ({error.strerror})") from None


def _describe(path: Path, container: av.container.InputContainer, now: Callable[[], float]) -> Source:
    name = container.format.name
    videos = [
        stream
        for stream in container.streams.video
        if not stream.disposition & av.stream.Disposition.attached_pic
    ]
    if not videos:
        raise NotVideo(f"{path}: holds no video ({container.format.long_name or name})")
    stream = videos[0]
    _refuse_size(path, stream.codec_context.width, stream.codec_context.height)
    frame = _first_frame(path, container, stream, now)
    _refuse_size(path, frame.width, frame.height)
    width, height = _displayed(frame.width, frame.height, stream.sample_aspect_ratio, frame.rotation)
    _refuse_size(path, width, height)
    duration_s = container.duration / av.time_base if container.duration else None
    if duration_s is not None and not 0 < duration_s <= MAX_DURATION_S:
        raise NotVideo(
            f"{path}: says that it lasts {duration_s:.0f} s; at most {MAX_DURATION_S:.0f} s are taken"
        )
    return Source(
        path=path,
        width=width,
        height=height,
        frame_rate=constant_rate(stream.average_rate or stream.guessed_rate, stream.base_rate),
        duration_s=duration_s,
        sounds=_sounds(path, container),
        texts=_texts(path, container),
        dynamic_range=_HIGH_RANGES.get(stream.codec_context.color_trc, DynamicRange.SDR),
    )


def _refuse_size(path: Path, width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE or (min(width, height) < 2 and max(width, height)):
        raise NotVideo(f"{path}: its picture has {width} x {height} pixels; 2 to {MAX_SIDE} a side are taken")


def _first_frame(
    path: Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    now: Callable[[], float],
) -> av.VideoFrame:
    until = now() + _MAX_PROBE_S
    for count, packet in enumerate(container.demux()):
        if count >= _MAX_PACKETS or now() > until:
            raise NotVideo(f"{path}: no picture was found in its first {count} packets")
        if packet.stream.index != stream.index:
            continue
        for frame in packet.decode():
            if isinstance(frame, av.VideoFrame):
                return frame
    raise NotVideo(f"{path}: its video has not a single frame")


def _sounds(path: Path, container: av.container.InputContainer) -> tuple[Sound, ...]:
    found = []
    for index, stream in enumerate(container.streams.audio):
        if stream.codec_context is None or not stream.codec_context.channels:
            continue  # nothing here can decode it
        flags = stream.disposition
        purpose = Purpose.MAIN
        if flags & av.stream.Disposition.visual_impaired or flags & av.stream.Disposition.descriptions:
            purpose = Purpose.DESCRIPTION
        elif flags & av.stream.Disposition.comment:
            purpose = Purpose.COMMENTARY
        default = bool(flags & av.stream.Disposition.default)
        found.append(Sound(index, *_said(stream.metadata), purpose, default))
    if len(found) > MAX_TRACKS:
        raise NotVideo(f"{path}: has {len(found)} sound tracks; at most {MAX_TRACKS} are taken")
    return tuple(found)


def _texts(path: Path, container: av.container.InputContainer) -> tuple[Text, ...]:
    found = []
    for index, stream in enumerate(container.streams.subtitles):
        if stream.codec_context is None or stream.codec_context.name not in _TEXT_CODECS:
            continue
        flags = stream.disposition
        purpose = Purpose.MAIN
        if flags & av.stream.Disposition.forced:
            purpose = Purpose.FORCED
        elif flags & av.stream.Disposition.hearing_impaired or flags & av.stream.Disposition.captions:
            purpose = Purpose.CAPTION
        elif flags & av.stream.Disposition.comment:
            purpose = Purpose.COMMENTARY
        found.append(Text(index, *_said(stream.metadata), purpose))
    if len(found) > MAX_TRACKS:
        raise NotVideo(f"{path}: has {len(found)} subtitle tracks; at most {MAX_TRACKS} are taken")
    return tuple(found)


def _said(metadata: dict[str, str]) -> tuple[str, str]:
    """Language and title, of which only what can stand in a manifest is taken over."""
    title = "".join(letter for letter in metadata.get("title", "") if letter.isprintable())
    return language_tag(metadata.get("language")), title.replace('"', "\u201d").strip()[:80]


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
