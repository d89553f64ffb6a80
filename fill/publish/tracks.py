"""A packaged title: its tracks as players see them. Every path is below the title."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from fill.publish.boxes import Layout
from fill.publish.language import UNDETERMINED, language_name
from fill.publish.source import DynamicRange, Purpose, Sound, Text


@dataclass(frozen=True, slots=True)
class VideoTrack:
    folder: str
    layout: Layout
    width: int
    height: int
    frame_rate: Fraction
    dynamic_range: DynamicRange = DynamicRange.SDR

    file = "video.mp4"
    playlist = "video.m3u8"


@dataclass(frozen=True, slots=True)
class AudioTrack:
    folder: str
    layout: Layout
    sound: Sound
    name: str
    default: bool

    file = "audio.mp4"
    playlist = "audio.m3u8"


@dataclass(frozen=True, slots=True)
class TextTrack:
    folder: str
    text: Text
    name: str

    file = "text.vtt"
    playlist = "text.m3u8"


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """``sheets`` pictures 1.jpg, 2.jpg, ..., each of ``columns`` x ``rows`` tiles, row by row."""

    every_s: float
    count: int
    columns: int
    rows: int
    width: int
    height: int
    """Of one tile."""
    bytes_most: int
    """Of the largest sheet."""

    folder = "thumbnails"
    playlist = "thumbnails.m3u8"
    index = "thumbnails.vtt"

    @property
    def sheets(self) -> int:
        return -(-self.count // (self.columns * self.rows))

    @property
    def sheet_s(self) -> float:
        return self.every_s * self.columns * self.rows

    @property
    def bandwidth_bps(self) -> int:
        return max(1, round(self.bytes_most * 8 / self.sheet_s))


@dataclass(frozen=True, slots=True)
class Package:
    videos: tuple[VideoTrack, ...]
    sounds: tuple[AudioTrack, ...] = ()
    texts: tuple[TextTrack, ...] = ()
    thumbnails: Thumbnails | None = None

    @property
    def media(self) -> list[VideoTrack | AudioTrack]:
        return [*self.videos, *self.sounds]

    @property
    def duration_s(self) -> float:
        return max(track.layout.duration_s for track in self.media)


def track_folders(prefix: str, languages: Sequence[str]) -> list[str]:
    """A folder for each track: the prefix, its language, and a number from the second of a language on."""
    seen: dict[str, int] = {}
    folders: list[str] = []
    for language in languages:
        base = prefix if language == UNDETERMINED else f"{prefix}-{language}"
        seen[base] = seen.get(base, 0) + 1
        folders.append(base if seen[base] == 1 else f"{base}-{seen[base]}")
    return folders


_SAID: dict[Purpose, str] = {
    Purpose.MAIN: "",
    Purpose.DESCRIPTION: "audio description",
    Purpose.CAPTION: "captions",
    Purpose.COMMENTARY: "commentary",
    Purpose.FORCED: "forced",
}


def track_names(tracks: Sequence[Sound | Text]) -> list[str]:
    """What a viewer chooses by: no two are the same, as HLS demands of a group."""
    names: list[str] = []
    for track in tracks:
        name = track.title or _name(track)
        number = 2
        while name in names:
            name = f"{track.title or _name(track)} {number}"
            number += 1
        names.append(name)
    return names


def _name(track: Sound | Text) -> str:
    name = "Main" if track.language == UNDETERMINED else language_name(track.language)
    said = _SAID[track.purpose]
    return f"{name} ({said})" if said else name
