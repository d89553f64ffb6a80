"""Reads an MPD of somebody else's, as far as it names files.

Source: ISO/IEC 23009-1 sections 5.3.9 (segments), 5.6 (base URLs).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from fill.publish.named import MAX_SEGMENTS, BadPackage, Manifest, Named, Track, resolved

_DURATION: Final = re.compile(
    r"P(?:(\d{1,3})D)?(?:T(?:(\d{1,4})H)?(?:(\d{1,6})M)?(?:(\d{1,9}(?:\.\d{1,9})?)S)?)?\Z"
).match
_IDENTIFIER: Final = re.compile(r"\$(RepresentationID|Number|Time|Bandwidth)(%0(\d{1,2})d)?\$")
_SEGMENTS: Final = ("SegmentTemplate", "SegmentList", "SegmentBase")


@dataclass(frozen=True, slots=True)
class _Place:
    """Of a representation, with what its adaptation set and period say where it does not."""

    name: str
    base: str
    element: Element
    levels: tuple[Element, ...]
    duration_s: float

    def said(self, attribute: str) -> str:
        return next((found for level in self.levels if (found := level.get(attribute))), "")

    def segments(self) -> tuple[str, list[Element]]:
        """The kind of description that counts, and its elements, the innermost first."""
        for kind in _SEGMENTS:
            found = [item for level in self.levels for item in level if _tag(item) == kind]
            if found:
                return kind, found
        return "", []


def read_description(raw: bytes, name: str) -> Manifest:
    """What the MPD ``name`` (its path below the title) names; raises `BadPackage`."""
    # Entities could make a gigabyte of a kilobyte, and an MPD has none.
    if b"<!DOCTYPE" in raw or b"<!ENTITY" in raw:
        raise BadPackage(f"{name}: has a document type, which no MPD needs")
    try:
        root = ElementTree.fromstring(raw)  # noqa: S314 - see above
    except ElementTree.ParseError as error:
        raise BadPackage(f"{name}: is not XML ({error})") from None
    if _tag(root) != "MPD":
        raise BadPackage(f"{name}: is XML, and no MPD")
    if root.get("type", "static") != "static":
        raise BadPackage(f"{name}: is live (its type is {root.get('type')!r})")
    duration_s = _duration(root.get("mediaPresentationDuration", ""))
    tracks: list[Track] = []
    periods = [item for item in root if _tag(item) == "Period"]
    for period in periods:
        length_s = _duration(period.get("duration", "")) or duration_s / len(periods)
        for group in (item for item in period if _tag(item) == "AdaptationSet"):
            for element in (item for item in group if _tag(item) == "Representation"):
                base = _base(name, root, period, group, element)
                place = _Place(name, base, element, (element, group, period), length_s)
                tracks.append(_track(place))
    if not tracks:
        raise BadPackage(f"{name}: has no representation")
    return Manifest(name, duration_s, tuple(tracks))


def _track(place: _Place) -> Track:
    kind, found = place.segments()
    encrypted = any(_tag(item) == "ContentProtection" for level in place.levels for item in level)
    label = f"{place.name}: {place.element.get('id', '?')}"
    rate, height = _number(place.element.get("bandwidth", "")), _number(place.said("height"))
    if kind == "SegmentTemplate":
        initialisation, segments = _template(place, found)
        return Track(label, initialisation, segments, rate, height, encrypted)
    if kind == "SegmentList":
        initialisation, segments = _list(place, found)
        return Track(label, initialisation, segments, rate, height, encrypted)
    if not place.base:
        raise BadPackage(f"{label} names no file")
    whole = Named(resolved(place.name, place.base))
    if kind == "SegmentBase" and place.said("mimeType").endswith("/mp4"):
        return Track(label, None, (), rate, height, encrypted, indexed=whole)
    return Track(label, None, (whole,), rate, height, encrypted)


def _template(place: _Place, found: list[Element]) -> tuple[Named | None, tuple[Named, ...]]:
    def said(attribute: str, otherwise: str = "") -> str:
        return next((value for item in found if (value := item.get(attribute))), otherwise)

    media, scale = said("media"), max(1, _number(said("timescale", "1")))
    start = _number(said("startNumber", "1"))
    timeline = next((part for item in found for part in item if _tag(part) == "SegmentTimeline"), None)
    if timeline is not None:
        times = _timeline(place, timeline, scale)
    elif (duration := _number(said("duration"))) > 0:
        count = -(-int(place.duration_s * scale) // duration)
        times = [duration * index for index in range(min(count, MAX_SEGMENTS + 1))]
    else:
        times = [0]
    if len(times) > MAX_SEGMENTS or not media:
        raise BadPackage(f"{place.name}: a template without media, or of more than {MAX_SEGMENTS} segments")
    segments = tuple(Named(_filled(place, media, number, time)) for number, time in enumerate(times, start))
    first = said("initialization")
    return Named(_filled(place, first, start, 0)) if first else None, segments


def _timeline(place: _Place, timeline: Element, scale: int) -> list[int]:
    times: list[int] = []
    at = 0
    for item in timeline:
        at = _number(item.get("t", "")) if item.get("t") else at
        length, repeats = _number(item.get("d", "")), item.get("r", "0")
        if length <= 0:
            raise BadPackage(f"{place.name}: a segment of its timeline has no duration")
        # -1 is: up to the end of the period.
        more = (
            -(-int(place.duration_s * scale - at) // length) - 1
            if repeats.startswith("-")
            else _number(repeats)
        )
        for _ in range(min(max(0, more), MAX_SEGMENTS) + 1):
            times.append(at)
            at += length
        if len(times) > MAX_SEGMENTS:
            break
    return times


def _filled(place: _Place, template: str, number: int, time: int) -> str:
    values = {
        "RepresentationID": place.element.get("id", ""),
        "Number": number,
        "Time": time,
        "Bandwidth": _number(place.element.get("bandwidth", "")),
    }

    def fill(match: re.Match[str]) -> str:
        return str(values[match[1]]).zfill(int(match[3] or 1))

    reference = _IDENTIFIER.sub(fill, template).replace("$$", "$")
    return resolved(place.name, place.base + reference)


def _list(place: _Place, found: list[Element]) -> tuple[Named | None, tuple[Named, ...]]:
    def named(item: Element, source: str, span: str) -> Named:
        path = resolved(place.name, place.base + item.get(source, ""))
        start, dash, last = item.get(span, "").partition("-")
        return Named(path, _number(start), _number(last) + 1) if dash else Named(path)

    parts = [part for item in found for part in item]
    first = next((part for part in parts if _tag(part) == "Initialization"), None)
    urls = [part for part in parts if _tag(part) == "SegmentURL"]
    if not 0 < len(urls) <= MAX_SEGMENTS:
        raise BadPackage(f"{place.name}: a list of {len(urls)} segments")
    initialisation = named(first, "sourceURL", "range") if first is not None else None
    return initialisation, tuple(named(item, "media", "mediaRange") for item in urls)


def _base(name: str, *levels: Element) -> str:
    base = ""
    for level in levels:
        found = next(((item.text or "").strip() for item in level if _tag(item) == "BaseURL"), "")
        if found:
            resolved(name, found.rstrip("/") or "/")
            base = base.rpartition("/")[0] + "/" + found if "/" in base else found
    return base


def _duration(text: str) -> float:
    found = _DURATION(text)
    if found is None:
        return 0.0
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return days * 86_400 + hours * 3600 + minutes * 60 + seconds


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _number(text: str) -> int:
    return int(text) if text.isdigit() and len(text) <= 18 else 0
