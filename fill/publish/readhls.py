"""Reads a playlist of somebody else's, as far as it names files. Source: RFC 8216 section 4."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from fill.publish.named import MAX_SEGMENTS, BadPackage, Manifest, Named, Track, resolved

_ATTRIBUTE: Final = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^",]*)')
_RANGE: Final = re.compile(r"(\d{1,15})(?:@(\d{1,15}))?\Z").match
_WITH_PLAYLIST: Final = ("#EXT-X-MEDIA:", "#EXT-X-I-FRAME-STREAM-INF:", "#EXT-X-IMAGE-STREAM-INF:")


def read_playlist(text: str, name: str) -> Manifest:
    """What the playlist ``name`` (its path below the title) names; raises `BadPackage`."""
    lines = [line.strip() for line in text.lstrip("\ufeff").splitlines()]
    if not lines or lines[0] != "#EXTM3U":
        raise BadPackage(f"{name}: does not begin with #EXTM3U")
    if any(line.startswith("#EXT-X-STREAM-INF") for line in lines):
        return _multivariant(lines, name)
    return _media(lines, name)


def _multivariant(lines: list[str], name: str) -> Manifest:
    others: list[tuple[Named, int, int]] = []
    said: dict[str, str] = {}
    for line in lines:
        if line.startswith("#EXT-X-STREAM-INF:"):
            said = _attributes(line)
        elif line.startswith(_WITH_PLAYLIST):
            found = _attributes(line)
            if "URI" in found:
                others.append((Named(resolved(name, found["URI"])), 0, 0))
        elif line and not line.startswith("#"):
            height = said.get("RESOLUTION", "").partition("x")[2]
            rate = said.get("AVERAGE-BANDWIDTH") or said.get("BANDWIDTH", "")
            others.append((Named(resolved(name, line)), _number(rate), _number(height)))
    return Manifest(name, 0.0, others=tuple(others))


@dataclass(slots=True)
class _Reading:
    name: str
    segments: list[Named] = field(default_factory=list)
    duration_s: float = 0.0
    initialisation: Named | None = None
    encrypted: bool = False
    span: tuple[int, int] | None = None
    ends: dict[str, int] = field(default_factory=dict)
    """Where the last range of each file ended: one without an offset begins there."""


def _media(lines: list[str], name: str) -> Manifest:
    reading = _Reading(name)
    for line in lines:
        _line(reading, line)
    if "#EXT-X-ENDLIST" not in lines:
        raise BadPackage(f"{name}: has no #EXT-X-ENDLIST, so it is live")
    if not reading.segments:
        raise BadPackage(f"{name}: names no segment")
    track = Track(name, reading.initialisation, tuple(reading.segments), encrypted=reading.encrypted)
    return Manifest(name, reading.duration_s, (track,))


def _line(reading: _Reading, line: str) -> None:
    tag, _, value = line.partition(":")
    if tag == "#EXTINF":
        try:
            reading.duration_s += float(value.partition(",")[0])
        except ValueError:
            raise BadPackage(f"{reading.name}: {line[:60]!r} is no duration") from None
    elif tag == "#EXT-X-BYTERANGE":
        reading.span = _span(reading.name, value)
    elif tag == "#EXT-X-MAP":
        _map(reading, line)
    elif tag == "#EXT-X-KEY":
        reading.encrypted |= _attributes(line).get("METHOD") != "NONE"
    elif line and not line.startswith("#"):
        _segment(reading, line)


def _map(reading: _Reading, line: str) -> None:
    found = _attributes(line)
    path = resolved(reading.name, found.get("URI", ""))
    made = Named(path)
    if "BYTERANGE" in found:
        size, start = _span(reading.name, found["BYTERANGE"])
        made = Named(path, max(start, 0), max(start, 0) + size)
    if reading.initialisation not in (None, made):
        raise BadPackage(f"{reading.name}: changes its #EXT-X-MAP in the middle, which is not taken")
    reading.initialisation = made


def _segment(reading: _Reading, line: str) -> None:
    if len(reading.segments) >= MAX_SEGMENTS:
        raise BadPackage(f"{reading.name}: names more than {MAX_SEGMENTS} segments")
    path = resolved(reading.name, line)
    if reading.span is None:
        reading.segments.append(Named(path))
        return
    size, start = reading.span
    if start < 0 and path not in reading.ends:
        raise BadPackage(f"{reading.name}: a byte range without an offset follows no other of {path}")
    start = start if start >= 0 else reading.ends[path]
    reading.ends[path] = start + size
    reading.segments.append(Named(path, start, start + size))
    reading.span = None


def _span(name: str, text: str) -> tuple[int, int]:
    """Size and start; the start is -1 where it is not said."""
    found = _RANGE(text.strip())
    if found is None or int(found[1]) == 0:
        raise BadPackage(f"{name}: {text[:40]!r} is no byte range")
    return int(found[1]), int(found[2]) if found[2] is not None else -1


def _attributes(line: str) -> dict[str, str]:
    return {key: value.strip('"') for key, value in _ATTRIBUTE.findall(line.partition(":")[2])}


def _number(text: str) -> int:
    return int(text) if text.isdigit() and len(text) < 10 else 0
