"""The encodes of one source: its rungs, each with the size that keeps the picture's shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fill.publish.ladder import Rung, scaled_size, select_rungs
from fill.publish.source import DynamicRange, Source


@dataclass(frozen=True, slots=True)
class Encode:
    """One video track to make; ``name`` is its folder, such as 360p."""

    name: str
    width: int
    height: int
    bitrate_bps: int
    hdr: bool = False

    @property
    def effort(self) -> int:
        """How long it takes beside others: the pixels, four times as much for HEVC (x265 beside x264)."""
        return self.width * self.height * (4 if self.hdr else 1)


def choose_encodes(source: Source, ladder: Sequence[Rung]) -> tuple[Encode, ...]:
    """What ``source`` is encoded to. It is never enlarged, and gets no range that it has not."""
    hdr = source.dynamic_range is not DynamicRange.SDR
    made: list[Encode] = []
    for rung in select_rungs(ladder, source.width, source.height, hdr=hdr):
        width, height = scaled_size(rung, source.width, source.height)
        made.append(Encode(rung.name, width, height, rung.bitrate_bps, rung.hdr))
    return tuple(made)


def in_groups(encodes: Sequence[Encode], most: int) -> list[list[Encode]]:
    """``encodes`` in at most ``most`` groups of about the same effort; a group shares one decoding."""
    groups: list[list[Encode]] = [[] for _ in range(max(1, min(most, len(encodes))))]
    for item in sorted(encodes, key=lambda one: one.effort, reverse=True):
        min(groups, key=lambda group: sum(one.effort for one in group)).append(item)
    return groups
