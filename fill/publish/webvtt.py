"""Subtitles: whether a text is WebVTT that players show, and SubRip made into it.

Source: W3C WebVTT section 4.1 (syntax), RFC 8216 section 3.5 (as an HLS segment). SubRip has no
specification: numbers, a time line with commas, text, an empty line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 16 << 20
"""Of one file: a long film has 200 kB."""
_MAX_CUES: Final = 100_000

_TIME: Final = r"(?:(\d{2,4}):)?([0-5]\d):([0-5]\d)\.(\d{3})"
_TIMING: Final = re.compile(rf"{_TIME}[ \t]+-->[ \t]+{_TIME}(.*)\Z").match
_LOOSE: Final = re.compile(
    r"\s*(\d{1,2}):(\d{1,2}):(\d{1,2})[.,](\d{1,3})\s*-->\s*(\d{1,2}):(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
).match
_UNKNOWN_TAG: Final = re.compile(r"<(?!/?[biu]>)[^>]*>|\{\\[^}]*\}")


class BadSubtitles(ValueError):
    """Not subtitles that a player could show. The message names the file, and the line where there is one."""


@dataclass(frozen=True, slots=True)
class Cues:
    count: int
    last_s: float
    """When the last of them ends."""


def read_subtitles(path: Path) -> str:
    """The text of a .vtt or .srt file as WebVTT; raises `BadSubtitles`, OSError."""
    if path.stat().st_size > MAX_BYTES:
        raise BadSubtitles(f"{path}: has more than {MAX_BYTES >> 20} MiB")
    return as_webvtt(path.read_bytes(), str(path))


def as_webvtt(raw: bytes, name: str) -> str:
    """The text of WebVTT or SubRip as WebVTT; raises `BadSubtitles`."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadSubtitles(f"{name}: is not UTF-8 (byte {error.start})") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    text = text if text.startswith("WEBVTT") else _from_subrip(name, text)
    check_webvtt(text, name)
    return text


def check_webvtt(text: str, name: str) -> Cues:
    """How many cues ``text`` holds; raises `BadSubtitles` where a player would show none, or stop at one."""
    lines = text.split("\n")
    if re.match(r"WEBVTT([ \t].*)?\Z", lines[0]) is None:
        raise BadSubtitles(f"{name}: does not begin with WEBVTT, nor with the first cue of a SubRip file")
    count, began_s, last_s = 0, 0.0, 0.0
    for number, line in enumerate(lines, 1):
        if "-->" not in line:
            continue
        found = _TIMING(line.strip())
        if found is None:
            raise BadSubtitles(f"{name}: line {number}: {line.strip()[:60]!r} is no time of WebVTT")
        start_s, end_s = _seconds(found.groups()[:4]), _seconds(found.groups()[4:8])
        if start_s < began_s or end_s <= start_s:
            raise BadSubtitles(
                f"{name}: line {number}: a cue ends before it begins, or begins before another"
            )
        count, began_s, last_s = count + 1, start_s, max(last_s, end_s)
    if count > _MAX_CUES:
        raise BadSubtitles(f"{name}: has {count} cues; at most {_MAX_CUES} are taken")
    return Cues(count, last_s)


def _from_subrip(name: str, text: str) -> str:
    cues: list[tuple[float, float, str]] = []
    for block in re.split(r"\n[ \t]*\n", text.strip()):
        lines = block.split("\n")
        at = next((index for index, line in enumerate(lines[:2]) if "-->" in line), None)
        found = _LOOSE(lines[at]) if at is not None else None
        if at is None or found is None:
            raise BadSubtitles(f"{name}: {lines[0].strip()[:60]!r} begins no cue of SubRip, nor of WebVTT")
        said = [_UNKNOWN_TAG.sub("", line).replace("-->", "->") for line in lines[at + 1 :]]
        said = [line.replace("&", "&amp;") for line in said if line.strip()]
        start_s, end_s = _seconds(found.groups()[:4]), _seconds(found.groups()[4:8])
        # Files in the wild have cues out of order, and cues of no length: those show nothing.
        if said and end_s > start_s:
            cues.append((start_s, end_s, "\n".join(said)))
    blocks = [f"{stamp(start)} --> {stamp(end)}\n{said}\n" for start, end, said in sorted(cues)]
    return "\n".join(["WEBVTT\n", *blocks])


def _seconds(found: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = found
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return whole + int((fraction or "0").ljust(3, "0")) / 1000


def stamp(at_s: float) -> str:
    """A time as WebVTT writes it."""
    whole, thousandths = divmod(round(at_s * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}.{thousandths:03}"
