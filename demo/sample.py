"""A video to publish when the user names none: moving picture, time code and tone, made by ffmpeg."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from daemon.cli import CommandError
from demo.layout import CHECKOUT
from demo.processes import Processes
from fill.publish.ffmpeg import EncodeFailed, ffmpeg_program

# testsrc2 draws its time code itself: no font is needed, and the sample is the same everywhere.
# Drawn at half the size and doubled: at full size the time code is too small to be read in a page.
_PICTURE: Final = "testsrc2=size=640x360:rate=25,scale=1280:720:flags=neighbor"
_TONE: Final = "sine=frequency=440:beep_factor=4:sample_rate=48000"


def sample_video(processes: Processes, duration_s: int) -> Path:
    """The path of the sample; made once, and kept between runs in ``var/sample``. Raises `CommandError`."""
    path = CHECKOUT / "var" / "sample" / f"testsrc2-doubled-720p25-{duration_s}s.mp4"
    if path.exists():
        return path
    try:
        ffmpeg = ffmpeg_program()
    except EncodeFailed as error:
        raise CommandError(str(error)) from None
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.{os.getpid()}.mp4")
    try:
        processes.capture(
            "sample",
            [
                *(ffmpeg, "-v", "error", "-nostdin", "-y"),
                *("-f", "lavfi", "-i", _PICTURE, "-f", "lavfi", "-i", _TONE, "-t", str(duration_s)),
                # Quick to make, and good enough to be encoded once more.
                *("-c:v", "libx264", "-preset", "ultrafast", "-crf", "16", "-pix_fmt", "yuv420p"),
                *("-c:a", "aac", "-b:a", "128k", "-ac", "2", unfinished),
            ],
        )
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path
