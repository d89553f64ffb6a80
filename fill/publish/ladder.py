"""Which encodes a source gets: the rungs of the ladder that it can fill without being enlarged."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from typing import Annotated, Final

import msgspec
from msgspec import Meta


class Rung(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One video encode: what fits into ``height`` lines of 16:9, upright pictures turned by 90 degrees."""

    name: Annotated[
        str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}\Z", description="its folder below the title")
    ]
    height: Annotated[int, Meta(ge=16, le=8192, multiple_of=2, description="in lines; even, as 4:2:0 needs")]
    bitrate_bps: Annotated[int, Meta(ge=50_000, le=200_000_000, description="at most, of the video")]
    hdr: Annotated[bool, Meta(description="HEVC with 10 bits, only for sources of a high dynamic range")] = (
        False
    )


DEFAULT: Final = (
    Rung("240p", 240, 235_000),
    Rung("360p", 360, 560_000),
    Rung("480p", 480, 1_000_000),
    Rung("720p", 720, 3_000_000),
    Rung("1080p", 1080, 5_000_000),
    Rung("1080p-hdr", 1080, 7_000_000, hdr=True),
    Rung("2160p", 2160, 15_000_000),
    Rung("2160p-hdr", 2160, 25_000_000, hdr=True),
)
RESERVED: Final = ("audio", "text", "thumbnails")
"""Folders of a title beside those of its rungs begin so."""

_TOLERANCE: Final = 1.02
"""A picture that misses a rung by two lines in a hundred is shown in it, at its own size."""


def check_ladder(rungs: Sequence[Rung]) -> None:
    """Raises ValueError when two rungs share a name, or one is not above the one before it."""
    names = [rung.name for rung in rungs]
    if len(set(names)) != len(names) or any(name.startswith(RESERVED) for name in names):
        raise ValueError(f"ladder: every rung needs a name of its own, and none of {', '.join(RESERVED)}")
    for lower, upper in pairwise(rungs):
        if upper.bitrate_bps <= lower.bitrate_bps or upper.height < lower.height:
            raise ValueError(
                f"ladder: {upper.name} must have more bits than {lower.name}, and no fewer lines: "
                "list the rungs from the lowest up"
            )
    if all(rung.hdr for rung in rungs):
        raise ValueError("ladder: a rung without hdr is needed, for sources and viewers that have none")


def select_rungs(rungs: Sequence[Rung], width: int, height: int, *, hdr: bool) -> tuple[Rung, ...]:
    """The rungs that a picture fills; where it fills none, the lowest at the picture's own size."""
    usable = [rung for rung in rungs if hdr or not rung.hdr]
    fitting = tuple(rung for rung in usable if _scale(rung, width, height) <= _TOLERANCE)
    if any(not rung.hdr for rung in fitting):
        return fitting
    lowest = next(rung for rung in usable if not rung.hdr)
    long, short = max(width, height), min(width, height)
    box = max(16, 2 * ceil(max(short, long * 9 / 16) / 2))
    return (Rung(f"{short - short % 2}p", box, lowest.bitrate_bps), *fitting)


def scaled_size(rung: Rung, width: int, height: int) -> tuple[int, int]:
    """Width and height, both even, of a picture in ``rung``: its shape is kept, and it is never enlarged."""
    scale = min(1.0, _scale(rung, width, height))
    return _even(width * scale, width), _even(height * scale, height)


def _scale(rung: Rung, width: int, height: int) -> float:
    long, short = max(width, height), min(width, height)
    return min(rung.height * 16 / 9 / long, rung.height / short)


def _even(wanted: float, most: int) -> int:
    return max(2, min(2 * round(wanted / 2), most - most % 2))
