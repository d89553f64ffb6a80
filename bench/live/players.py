"""Players that follow a live playlist, HLS or DASH, and fetch what it names; what each has seen."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import aiohttp

from bench.live.origin import PREFIX
from bench.live.packager import DASH

_MPD: Final = "{urn:mpeg:dash:schema:mpd:2011}"
START_BEHIND: Final = 3
"""Segments from the live edge where a player begins: RFC 8216 section 6.3.3."""


@dataclass(frozen=True)
class Playlist:
    initialisation: str
    segments: tuple[str, ...]
    """Oldest first."""
    ended: bool


@dataclass
class Seen:
    """What one player has met."""

    arrived: dict[str, float] = field(default_factory=dict)
    """When the last byte of each segment came, by its name; ``time.time``."""
    digests: dict[str, str] = field(default_factory=dict)
    refused: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Answers that were not 200, by file name and status."""
    polls: int = 0
    ended: bool = False


@lru_cache(8)  # hundreds of players read the same playlist of thousands of segments
def read_hls(text: str) -> Playlist:
    found = re.search(r'#EXT-X-MAP:URI="([^"]+)"', text)
    lines = (line.strip() for line in text.splitlines())
    segments = tuple(line for line in lines if line and not line.startswith("#"))
    return Playlist(found[1] if found else "", segments, "#EXT-X-ENDLIST" in text)


@lru_cache(8)
def read_dash(text: str) -> Playlist:
    """Of the first representation; its segments are numbered, and named by a timeline."""
    mpd = ET.fromstring(text)
    representation = next(mpd.iter(f"{_MPD}Representation"))
    template = next(mpd.iter(f"{_MPD}SegmentTemplate"))
    count = sum(1 + int(item.get("r", "0")) for item in template.iter(f"{_MPD}S"))
    first = int(template.get("startNumber", "1"))

    def named(pattern: str, number: int) -> str:
        name = pattern.replace("$RepresentationID$", representation.get("id", ""))
        return re.sub(r"\$Number%0(\d+)d\$", lambda width: f"{number:0{width[1]}d}", name)

    return Playlist(
        named(template.get("initialization", ""), 0),
        tuple(named(template.get("media", ""), first + n) for n in range(count)),
        mpd.get("type") == "static",
    )


async def watch(
    session: aiohttp.ClientSession,
    base: str,
    playlist: str,
    poll_s: float,
    *,
    behind: int = START_BEHIND,
    segment_s: float = 0.0,
) -> Seen:
    """Follows ``playlist`` of the server at ``base`` to the stream's end; a refused request is noted, not repeated.

    Begins ``behind`` segments before the live edge. With ``segment_s`` it is never further ahead of its own
    playback than `START_BEHIND` segments, as one that goes back hours must not be.
    """
    seen = Seen()
    read = read_dash if playlist == DASH else read_hls
    asked: set[str] = set()
    began_at = asyncio.get_running_loop().time()
    last = ""
    while not seen.ended:
        polled_at = asyncio.get_running_loop().time()
        text = await _get(session, base, playlist, seen)
        seen.polls += 1
        if text is not None:
            named = read(text.decode())
            if named.segments:
                # Names are numbered, and all of one length.
                wanted = (
                    [name for name in named.segments if name > last] if last else named.segments[-behind:]
                )
                if segment_s:
                    played = int((polled_at - began_at) / segment_s)
                    wanted = wanted[: max(0, played + START_BEHIND + 1 - len(asked))]
                for name in (named.initialisation, *wanted):
                    if name not in asked:
                        asked.add(name)
                        await _segment(session, base, name, seen)
                last = max([last, *wanted])
            seen.ended = named.ended
        await asyncio.sleep(max(0.0, polled_at + poll_s - asyncio.get_running_loop().time()))
    return seen


async def _segment(session: aiohttp.ClientSession, base: str, name: str, seen: Seen) -> None:
    data = await _get(session, base, name, seen)
    if data is not None:
        seen.arrived[name] = time.time()
        seen.digests[name] = hashlib.sha256(data).hexdigest()


async def _get(session: aiohttp.ClientSession, base: str, name: str, seen: Seen) -> bytes | None:
    async with session.get(f"{base}{PREFIX}{name}") as answer:
        data = await answer.read()
        if answer.status != 200:
            seen.refused[name, answer.status] += 1
            return None
        return data
