"""ffmpeg as a live packager: HLS and DASH of the same segments, in real time, the oldest files removed."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import imageio_ffmpeg

HLS: Final = "media_0.m3u8"
DASH: Final = "manifest.mpd"
_BEGUN_S: Final = 60
_BEFORE_SPEED: Final = 20
"""How many times faster than it plays what lies in the past is encoded, at the least."""


@dataclass(frozen=True)
class Stream:
    """What the packager writes."""

    segment_s: int
    duration_s: int
    """From when anybody watches."""
    window: int
    """Segments that a playlist names."""
    kept: int
    """Segments whose files stay after the playlist has stopped naming them."""
    before_s: int = 0
    """Of the stream that has been on air already: encoded as fast as can be, before anybody watches."""
    bitrate_bps: int = 1_000_000
    frames_per_s: int = 25


@contextmanager
def packaging(folder: Path, stream: Stream) -> Iterator[subprocess.Popen[bytes]]:
    """Writes into ``folder`` from now on; the playlists say so when the stream is over."""
    frames = str(stream.frames_per_s * stream.segment_s)
    duration = str(stream.before_s + stream.duration_s)
    command: list[str | Path] = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin"),
        *("-readrate", "1", "-readrate_initial_burst", str(stream.before_s)),
        *("-f", "lavfi", "-i", f"testsrc2=size=320x180:rate={stream.frames_per_s}", "-t", duration),
        # Segments of one length: a key frame where each begins, and none between.
        *("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p"),
        *("-g", frames, "-keyint_min", frames, "-sc_threshold", "0", "-threads", "1"),
        *("-b:v", str(stream.bitrate_bps), "-minrate", str(stream.bitrate_bps)),
        *("-maxrate", str(stream.bitrate_bps), "-bufsize", str(stream.bitrate_bps)),
        *("-f", "dash", "-seg_duration", str(stream.segment_s), "-hls_playlist", "1"),
        *("-window_size", str(stream.window), "-extra_window_size", str(stream.kept)),
        *("-use_template", "1", "-use_timeline", "1", folder / DASH),
    ]
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def begun(packager: subprocess.Popen[bytes], folder: Path, stream: Stream) -> None:
    """Returns once both playlists name all that has been on air; raises RuntimeError when they do not come to."""
    until = time.monotonic() + _BEGUN_S + stream.before_s / _BEFORE_SPEED
    on_air = stream.before_s // stream.segment_s
    while not ((folder / DASH).exists() and (folder / HLS).exists() and _named(folder) >= on_air):
        if packager.poll() is not None or time.monotonic() > until:
            raise RuntimeError("the packager writes no playlists")
        await asyncio.sleep(0.05)


def _named(folder: Path) -> int:
    """Segments in the HLS playlist."""
    return (folder / HLS).read_text().count("#EXTINF")
