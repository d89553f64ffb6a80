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
_FRAMES_PER_S: Final = 25


@dataclass(frozen=True)
class Stream:
    """What the packager writes."""

    segment_s: int
    duration_s: int
    window: int
    """Segments that a playlist names."""
    kept: int
    """Segments whose files stay after the playlist has stopped naming them."""
    bitrate_bps: int = 1_000_000


@contextmanager
def packaging(folder: Path, stream: Stream) -> Iterator[subprocess.Popen[bytes]]:
    """Writes into ``folder`` from now on; the playlists say so when the stream is over."""
    frames = str(_FRAMES_PER_S * stream.segment_s)
    command: list[str | Path] = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-re"),
        *("-f", "lavfi", "-i", f"testsrc2=size=320x180:rate={_FRAMES_PER_S}", "-t", str(stream.duration_s)),
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


async def begun(packager: subprocess.Popen[bytes], folder: Path) -> None:
    """Returns once both playlists are there; raises RuntimeError when they do not come."""
    until = time.monotonic() + 60
    while not ((folder / HLS).exists() and (folder / DASH).exists()):
        if packager.poll() is not None or time.monotonic() > until:
            raise RuntimeError("the packager writes no playlists")
        await asyncio.sleep(0.05)
