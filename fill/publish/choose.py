"""The encodes of one source: its rungs, each with the size that keeps the picture's shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fill.publish.ladder import Rung, scaled_width, select_rungs


@dataclass(frozen=True, slots=True)
class Encode:
    """One video track to make; ``name`` is its folder, such as 360p."""

    name: str
    width: int
    height: int
    bitrate_bps: int


def choose_encodes(width: int, height: int, ladder: Sequence[Rung]) -> tuple[Encode, ...]:
    """What a picture of ``width`` x ``height`` (square pixels) is encoded to, never enlarged."""
    return tuple(
        Encode(rung.name, scaled_width(width, height, rung.height), rung.height, rung.bitrate_bps)
        for rung in select_rungs(ladder, height)
    )
