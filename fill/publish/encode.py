"""How ffmpeg is told to make the tracks of a title.

Each track is a fragmented MP4 (CMAF) of its own: ftyp, moov, one sidx over all, then a moof and mdat
per segment. All video tracks have key frames at the same instants, so players switch at each.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from fill.config import Publish
from fill.publish.choose import Encode
from fill.publish.ffmpeg import input_arguments
from fill.publish.probe import MAX_DURATION_S, MAX_SIDE
from fill.publish.source import DynamicRange, Sound, Source, Text

# The moov waits for the first frames, because only then are the edit lists known that skip the encoder
# delay (of B-frames, 80 ms at 25 Hz; of AAC, 21 ms). Without them picture and sound start apart.
_MP4: Final = "+delay_moov+default_base_moof+cmaf+global_sidx"
_SLACK_S: Final = 10.0
"""A source may last a little longer than it says. One whose time stamps jump by years must not fill the disk."""

_TONE_MAP: Final = (
    "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0,"
    "zscale=t=bt709:m=bt709:r=tv,"
)
_TRANSFER: Final = {DynamicRange.PQ: "smpte2084", DynamicRange.HLG: "arib-std-b67"}


def video_arguments(
    source: Source,
    outputs: Sequence[tuple[Encode, Path]],
    settings: Publish,
    constant_quality: Collection[str] = (),
    span: tuple[float, float] | None = None,
) -> list[str]:
    """Decodes once and writes each of ``outputs``, those named in ``constant_quality`` so; ``span`` (start,
    length, in seconds) is for a sample.
    """
    most_s = str(span[1] if span else longest_s(source))
    before = ["-ss", str(span[0])] if span else []
    arguments = input_arguments(source.path, "-max_pixels", str(MAX_SIDE * MAX_SIDE), *before)
    branches = "".join(f"[in{index}]" for index in range(len(outputs)))
    # V: the first video that is not cover art. From time 0: a picture that comes later than the sound is
    # preceded by its first frame, for an MSE player waits where it finds nothing.
    graph = [f"[0:V:0]fps=fps={source.frame_rate}:start_time=0,split={len(outputs)}{branches}"]
    for index, (item, _) in enumerate(outputs):
        mapped = _TONE_MAP if source.dynamic_range is not DynamicRange.SDR and not item.hdr else ""
        pixels = "yuv420p10le" if item.hdr else "yuv420p"
        graph.append(
            f"[in{index}]{mapped}scale={item.width}:{item.height},setsar=1,format={pixels}[out{index}]"
        )
    arguments += ["-filter_complex", ";".join(graph)]
    for index, (item, path) in enumerate(outputs):
        codec = _x265(source, settings) if item.hdr else _x264(settings)
        rate = _rate(item, settings, constant=item.name in constant_quality)
        arguments += [
            *("-map", f"[out{index}]", *codec, *rate, "-t", most_s),
            # By time and not by count: 4 s are no whole number of frames at 29.97. -g keeps others away.
            *("-force_key_frames", f"expr:gte(t,n_forced*{settings.segment_s})", "-g", "100000"),
            *("-map_metadata", "-1", "-movflags", f"+frag_keyframe{_MP4}", "-f", "mp4", f"file:{path}"),
        ]
    return arguments


def longest_s(source: Source) -> float:
    """What is encoded of it at most."""
    return source.duration_s * 1.01 + _SLACK_S if source.duration_s else MAX_DURATION_S


def _rate(item: Encode, settings: Publish, *, constant: bool) -> list[str]:
    buffer = ["-bufsize", str(item.bitrate_bps * 2)]
    if constant:
        return ["-crf", str(settings.quality), "-maxrate", str(item.bitrate_bps), *buffer]
    return ["-b:v", str(item.bitrate_bps), "-maxrate", str(item.bitrate_bps * 5 // 4), *buffer]


def _x264(settings: Publish) -> list[str]:
    return [
        *("-c:v", "libx264", "-preset", settings.preset, "-threads", str(settings.encoder_threads)),
        *("-sc_threshold", "0"),
    ]


def _x265(source: Source, settings: Publish) -> list[str]:
    threads = "pools=none:frame-threads=1:wpp=0" if settings.encoder_threads == 1 else "wpp=1"
    transfer = _TRANSFER.get(source.dynamic_range, "smpte2084")
    colour = f"colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc:range=limited"
    hdr10 = ":hdr10=1:hdr10-opt=1" if source.dynamic_range is DynamicRange.PQ else ""
    return [
        *("-c:v", "libx265", "-preset", settings.preset, "-tag:v", "hvc1", "-forced-idr", "1"),
        *("-color_primaries", "bt2020", "-color_trc", transfer, "-colorspace", "bt2020nc"),
        *("-x265-params", f"log-level=error:open-gop=0:scenecut=0:{threads}:{colour}{hdr10}"),
    ]


def sound_arguments(
    source: Source, sounds: Mapping[Sound, Path], texts: Mapping[Text, Path], settings: Publish
) -> list[str]:
    """Every sound as AAC in stereo, and every text that comes with the source as WebVTT."""
    arguments = input_arguments(source.path)
    most_s = str(longest_s(source))
    for sound, path in sounds.items():
        arguments += [
            *("-map", f"0:a:{sound.index}", "-c:a", "aac", "-b:a", str(settings.audio_bitrate_bps)),
            # Silence where the source has gaps, so that sound never drifts from the picture.
            *("-ac", "2", "-ar", "48000", "-af", "aresample=async=1:first_pts=0", "-t", most_s),
            *("-frag_duration", str(settings.segment_s * 1_000_000)),
            *("-map_metadata", "-1", "-movflags", _MP4, "-f", "mp4", f"file:{path}"),
        ]
    for text, path in texts.items():
        arguments += [
            *("-map", f"0:s:{text.index}", "-c:s", "webvtt", "-t", most_s),
            *("-map_metadata", "-1", "-f", "webvtt", f"file:{path}"),
        ]
    return arguments
