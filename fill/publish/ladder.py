"""Which encodes a source gets: the rungs of the ladder that it can fill without being enlarged."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Final

import msgspec
from msgspec import Meta


class Rung(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One video encode."""

    name: Annotated[
        str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}\Z", description="its folder below the title")
    ]
    height: Annotated[int, Meta(ge=16, le=8192, multiple_of=2, description="in lines; even, as 4:2:0 needs")]
    bitrate_bps: Annotated[int, Meta(ge=50_000, le=200_000_000, description="average of the video")]


DEFAULT: Final = (
    Rung("360p", 360, 560_000),
    Rung("480p", 480, 1_000_000),
    Rung("720p", 720, 3_000_000),
)


def check_ladder(rungs: Sequence[Rung]) -> None:
    """Raises ValueError when two rungs share a name, or one is not above the one before it."""
    names = [rung.name for rung in rungs]
    if len(set(names)) != len(names) or "audio" in names:
        raise ValueError("ladder: every rung needs a name of its own, and not 'audio'")
    for lower, upper in pairwise(rungs):
        if upper.bitrate_bps <= lower.bitrate_bps or upper.height < lower.height:
            raise ValueError(
                f"ladder: {upper.name} must have more bits than {lower.name}, and no fewer lines: "
                "list the rungs from the lowest up"
            )


def select_rungs(rungs: Sequence[Rung], source_height: int) -> tuple[Rung, ...]:
    """The rungs no higher than the source; the lowest one at the source's own height if none is."""
    fitting = tuple(rung for rung in rungs if rung.height <= source_height)
    if fitting:
        return fitting
    height = max(2, source_height - source_height % 2)
    return (Rung(f"{height}p", height, rungs[0].bitrate_bps),)


def scaled_width(width: int, height: int, target_height: int) -> int:
    """The even width that keeps the picture's shape at ``target_height``."""
    return max(2, 2 * round(width * target_height / height / 2))
