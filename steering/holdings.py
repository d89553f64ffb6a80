"""What an appliance holds, as bits: 18,000 titles of 17,000 appliances are 80 MB so, and 40 GB as sets. Pure.

Two bits for each title, at twice its number: whether all of it is there, and whether all is there that a device plays
whose screen has no more than `HD_LINES`. An appliance that has no room for the largest encodes still serves phones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

HD_LINES: Final = 1080


class Title(msgspec.Struct, frozen=True, gc=False):
    """What an answer needs to know of a title."""

    hls: str
    dash: str
    countries: tuple[str, ...] | None
    number: int
    objects: int
    """How many it has; of them, ``larger`` are of more than `HD_LINES`."""
    larger: frozenset[str] = frozenset()
    rungs: tuple[tuple[int, int], ...] = ()
    """(height, bitrate) of its encodes, as far as the catalog says, the smallest bitrate first."""
    released_at: int | None = None

    def bit(self, max_height: int | None) -> int:
        """Of the holdings that a device needs that shows ``max_height`` lines."""
        return 2 * self.number + (max_height is not None and max_height <= HD_LINES)

    def bitrate_bps(self, max_height: int | None, max_bitrate_bps: int | None, default_bps: int) -> int:
        """What a start of it is counted as: the best encode that the device plays.

        A device that does not say how large it is counts as one of `HD_LINES`: as a television each, a film's
        premiere would be refused at a third of what it takes.
        """
        lines = HD_LINES if max_height is None else max_height
        fits = [rate for height, rate in self.rungs if height <= lines]
        found = max(fits) if fits else (self.rungs[0][1] if self.rungs else default_bps)
        return found if max_bitrate_bps is None else min(found, max_bitrate_bps)


def holdings_of(keys: Mapping[str, Iterable[str]], titles: Mapping[str, Title]) -> bytes:
    """Who holds these keys, by title, holds these bits."""
    size = max((title.number for title in titles.values()), default=-1) + 1
    bits = bytearray((2 * size + 7) // 8)
    for name, found in keys.items():
        title = titles.get(name)
        if title is None:
            continue
        mine = frozenset(found)
        more = len(mine & title.larger)
        for bit, whole in (
            (title.bit(None), len(mine) >= title.objects),
            (title.bit(HD_LINES), len(mine) - more >= title.objects - len(title.larger)),
        ):
            if whole:
                bits[bit >> 3] |= 1 << (bit & 7)
    return bytes(bits)


def holdings_of_titles(held: Iterable[str], titles: Mapping[str, Title]) -> bytes:
    """Who holds these titles, as far as anybody is expected to ask for them, holds these bits."""
    size = max((title.number for title in titles.values()), default=-1) + 1
    bits = bytearray((2 * size + 7) // 8)
    for name in held:
        title = titles.get(name)
        if title is not None:
            bit = title.bit(None)
            bits[bit >> 3] |= 3 << (bit & 7)
    return bytes(bits)


def without(holdings: bytes, missing: Iterable[str], titles: Mapping[str, Title]) -> bytes:
    """``holdings`` less the titles of which something is missing."""
    bits: bytearray | None = None
    for name in missing:
        title = titles.get(name)
        if title is None:
            continue
        bits = bytearray(holdings) if bits is None else bits
        at = 2 * title.number
        if at >> 3 < len(bits):
            bits[at >> 3] &= ~(3 << (at & 7)) & 0xFF
    return holdings if bits is None else bytes(bits)
