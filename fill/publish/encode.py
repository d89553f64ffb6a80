"""Runs the encoder: one ffmpeg process decodes once and writes every track.

Each track is a fragmented MP4 (CMAF) of its own: ftyp, moov, one sidx over all, then a moof and mdat
per segment. All video tracks have key frames at the same instants, so players switch at each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import imageio_ffmpeg

from fill.config import Publish
from fill.publish.choose import Encode
from fill.publish.probe import INPUT_OPTIONS, Source

# The moov waits for the first frames, because only then are the edit lists known that skip the encoder
# delay (of B-frames, 80 ms at 25 Hz; of AAC, 21 ms). Without them picture and sound start apart.
_MP4: Final = "+delay_moov+default_base_moof+cmaf+global_sidx"


class EncodeFailed(Exception):
    """ffmpeg gave up; the message is the last it said."""


def encode(
    source: Source,
    encodes: Sequence[Encode],
    outputs: Sequence[Path],
    audio: Path | None,
    settings: Publish,
    on_progress: Callable[[float], None],
) -> None:
    """Writes ``outputs`` (one per encode) and ``audio``; ``on_progress`` hears the seconds done.

    Raises `EncodeFailed`. The encoder ends with this process, however it ends.
    """
    command = ffmpeg_arguments(source, encodes, outputs, audio, settings)
    child = [sys.executable, "-m", "fill.publish.child", str(os.getpid())]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [*child, imageio_ffmpeg.get_ffmpeg_exe(), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None  # PIPE was asked for
            for line in process.stdout:
                name, _, value = line.strip().partition("=")
                if name == "out_time_us" and value.isdigit():
                    on_progress(int(value) / 1_000_000)
            code = process.wait()
        except BaseException:
            process.kill()
            raise
        if code != 0:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            raise EncodeFailed(f"{source.path}: ffmpeg: {said[-1] if said else f'exit code {code}'}")


def ffmpeg_arguments(
    source: Source, encodes: Sequence[Encode], outputs: Sequence[Path], audio: Path | None, settings: Publish
) -> list[str]:
    """The command line after the program's name."""
    arguments = ["-v", "error", "-nostdin", "-y", "-progress", "pipe:1"]
    for name, value in INPUT_OPTIONS.items():
        arguments += [f"-{name}", value]
    # file: so that a name such as concat:x or -y is a name and not an instruction.
    arguments += ["-i", f"file:{source.path.absolute()}"]
    branches = "".join(f"[in{index}]" for index in range(len(encodes)))
    # V: the first video that is not cover art. From time 0: a picture that comes later than the sound is
    # preceded by its first frame, for an MSE player waits where it finds nothing.
    graph = [f"[0:V:0]fps=fps={source.frame_rate}:start_time=0,split={len(encodes)}{branches}"]
    graph += [
        f"[in{index}]scale={item.width}:{item.height},setsar=1,format=yuv420p[out{index}]"
        for index, item in enumerate(encodes)
    ]
    arguments += ["-filter_complex", ";".join(graph)]
    for index, (item, path) in enumerate(zip(encodes, outputs, strict=True)):
        arguments += [
            *("-map", f"[out{index}]", "-c:v", "libx264", "-preset", settings.preset),
            *("-threads", str(settings.encoder_threads)),
            *("-b:v", str(item.bitrate_bps), "-maxrate", str(item.bitrate_bps * 5 // 4)),
            *("-bufsize", str(item.bitrate_bps * 2)),
            # By time and not by count: 4 s are no whole number of frames at 29.97. -g keeps others away.
            *("-force_key_frames", f"expr:gte(t,n_forced*{settings.segment_s})"),
            *("-g", "100000", "-sc_threshold", "0"),
            *("-map_metadata", "-1", "-movflags", f"+frag_keyframe{_MP4}", "-f", "mp4", f"file:{path}"),
        ]
    if audio is not None:
        arguments += [
            *("-map", "0:a:0", "-c:a", "aac", "-b:a", str(settings.audio_bitrate_bps), "-ac", "2"),
            # Silence where the source has gaps, so that sound never drifts from the picture.
            *("-ar", "48000", "-af", "aresample=async=1:first_pts=0"),
            *("-frag_duration", str(settings.segment_s * 1_000_000)),
            *("-map_metadata", "-1", "-movflags", _MP4, "-f", "mp4", f"file:{audio}"),
        ]
    return arguments
