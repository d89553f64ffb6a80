"""How many bits a title needs: samples of it, encoded to a constant quality at every rung.

Where a rung's samples need fewer bits than the ladder gives, the rung is encoded to that quality, with the
ladder's rate as its ceiling; otherwise to the ladder's rate. So a title never costs more than the ladder,
and a scene that no sample has seen still gets its bits.

Source: the idea is that of per-title encodes (Aaron and others, Netflix, 2015); theirs also moves the
resolution of each rung.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from fill.config import Publish
from fill.publish.choose import Encode
from fill.publish.encode import video_arguments
from fill.publish.ffmpeg import Job, run_jobs
from fill.publish.source import Source

SAMPLE_S: Final = 2.0
_MOST_SAMPLES: Final = 8
_SHARE: Final = 0.1
"""Of a short title that is sampled; a film of two hours has 16 s of samples, 0.2 %."""
_MARGIN: Final = 0.95
"""Of the ladder's rate: what saves less than a twentieth is encoded to the rate, whose size is known before."""


def sample_starts(duration_s: float | None) -> tuple[float, ...]:
    """Where samples of `SAMPLE_S` begin: in the middle of equal parts. None where the length is unknown."""
    if not duration_s or duration_s < SAMPLE_S:
        return ()
    count = max(1, min(_MOST_SAMPLES, int(duration_s * _SHARE / SAMPLE_S)))
    part_s = duration_s / count
    return tuple(round(part_s * (index + 0.5) - SAMPLE_S / 2, 3) for index in range(count))


def needed_rates(
    source: Source,
    encodes: Sequence[Encode],
    settings: Publish,
    parallel: int,
    folder: Path,
    on_done: Callable[[int], None],
) -> dict[str, int]:
    """The bits per second that the samples needed, by the name of the encode; empty where there are none.

    ``on_done`` hears how many samples are done. Raises `EncodeFailed`.
    """
    jobs: list[Job] = []
    made: list[tuple[str, Path]] = []
    for number, start_s in enumerate(sample_starts(source.duration_s)):
        outputs = [(item, folder / f"sample-{number}-{item.name}.mp4") for item in encodes]
        made += [(item.name, path) for item, path in outputs]
        # Every rung to that quality and without its ceiling to speak of: the question is what it would need.
        free = [(_unbounded(item), path) for item, path in outputs]
        names = {item.name for item in encodes}
        arguments = video_arguments(source, free, settings, names, (start_s, SAMPLE_S))
        jobs.append(Job(f"sample {number}", source.path, arguments))
    done = 0

    def count(_: Job) -> None:
        nonlocal done
        done += 1
        on_done(done)

    run_jobs(jobs, parallel, lambda job, seconds: None, count)
    sizes: dict[str, int] = {}
    for name, path in made:
        sizes[name] = sizes.get(name, 0) + path.stat().st_size
        path.unlink()
    length_s = SAMPLE_S * len(jobs)
    return {name: round(size * 8 / length_s) for name, size in sizes.items()}


def _unbounded(item: Encode) -> Encode:
    return Encode(item.name, item.width, item.height, item.bitrate_bps * 4, item.hdr)


def with_constant_quality(encodes: Sequence[Encode], needed: Mapping[str, int]) -> frozenset[str]:
    """The names of the encodes that are made to a constant quality; the others to the ladder's rate."""
    return frozenset(
        item.name
        for item in encodes
        if item.name in needed and needed[item.name] < item.bitrate_bps * _MARGIN
    )
