"""Publishes generated films of different difficulty, with and without `publish.per_title`, and compares.

SSIM is of each rung against the source scaled to it: 1 is the same, and from 0.98 on few see a difference.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import imageio_ffmpeg

from daemon.cli import print_table
from fill.config import Publish
from fill.publish.package import Spent
from fill.publish.publish import from_source

FFMPEG: Final = imageio_ffmpeg.get_ffmpeg_exe()
FILMS: Final = {
    "slides (still)": "smptehdbars=size={size}:rate=25:duration={length}",
    "cartoon (flat, moving)": "testsrc2=size=320x180:rate=25:duration={length},scale={size}:flags=neighbor",
    "zoom (mandelbrot)": "mandelbrot=size={size}:rate=25:maxiter=300,trim=duration={length}",
    "cells (life)": "life=size={size}:rate=25:mold=10:life_color=white:random_seed=7,trim=duration={length}",
    "grain (noise)": "color=gray:size={size}:rate=25:duration={length},noise=alls=40:allf=t:all_seed=7",
}


@dataclass(frozen=True, slots=True)
class Made:
    spent: tuple[Spent, ...]
    ssim: dict[str, float]
    took_s: float


def made(source: Path, root: Path, settings: Publish) -> Made:
    began = time.monotonic()
    root.mkdir()
    content = from_source(source, (), settings)(root)
    took_s = time.monotonic() - began
    ssim = {item.name: _ssim(root / item.name / "video.mp4", source, item) for item in content.spent}
    return Made(content.spent, ssim, took_s)


def _ssim(encode: Path, source: Path, item: Spent) -> float:
    graph = f"[1:v]scale={item.width}:{item.height},format=yuv420p[a];[0:v][a]ssim"
    command = [FFMPEG, "-nostdin", "-i", encode, "-i", source, "-lavfi", graph, "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found = re.findall(r"All:([\d.]+)", said)
    return float(found[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=10, metavar="SECONDS")
    parser.add_argument("--size", default="854x480")
    parser.add_argument("--preset", default="veryfast")
    arguments = parser.parse_args()
    rows, totals = [], []
    with tempfile.TemporaryDirectory(prefix="bench-publish-") as name:
        for number, (film, graph) in enumerate(FILMS.items()):
            source = Path(name) / f"{number}.mkv"
            drawn = graph.format(size=arguments.size, length=arguments.length)
            command = [FFMPEG, "-v", "error", "-f", "lavfi", "-i", drawn, "-t", str(arguments.length)]
            quick = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "4", "-pix_fmt", "yuv420p"]
            subprocess.run([*command, *quick, source], check=True)
            plain = made(
                source, Path(name) / f"{number}-plain", Publish(preset=arguments.preset, per_title=False)
            )
            title = made(source, Path(name) / f"{number}-title", Publish(preset=arguments.preset))
            for before, after in zip(plain.spent, title.spent, strict=True):
                rows.append(
                    (
                        *(
                            film,
                            after.name,
                            f"{after.ladder_bps // 1000}",
                            f"{(after.needed_bps or 0) // 1000}",
                        ),
                        *(f"{before.average_bps // 1000}", f"{after.average_bps // 1000}"),
                        *(f"{plain.ssim[after.name]:.4f}", f"{title.ssim[after.name]:.4f}"),
                    )
                )
            ladder = sum(item.ladder_bps for item in title.spent)
            before_bps = sum(item.average_bps for item in plain.spent)
            after_bps = sum(item.average_bps for item in title.spent)
            totals.append(
                (
                    *(film, f"{1 - after_bps / ladder:.0%}", f"{1 - after_bps / before_bps:.0%}"),
                    *(f"{plain.took_s:.1f}", f"{title.took_s:.1f}"),
                )
            )
    print_table(
        (
            *("film", "rung", "ladder kb/s", "samples need", "without kb/s", "with kb/s"),
            *("SSIM without", "SSIM with"),
        ),
        rows,
        title="per title, rung by rung",
    )
    print_table(
        ("film", "saved of the ladder", "saved of what is made without", "without, s", "with, s"),
        totals,
        title="per title, whole ladders",
    )


if __name__ == "__main__":
    main()
