"""What a manifest of somebody else's names: files of its own folder, and byte ranges of them."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import Final

MAX_MANIFEST_BYTES: Final = 32 << 20
MAX_SEGMENTS: Final = 200_000
"""Of one manifest: a day of segments of half a second."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._~+@,=/-]*\Z").match


class BadPackage(Exception):
    """The folder cannot be published as it is. The message names it, the file, and what is wrong."""


@dataclass(frozen=True, slots=True)
class Named:
    """Bytes of a file below the title; ``end`` is exclusive, and None the end of the file."""

    path: str
    start: int = 0
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """What plays one after the other, each behind ``initialisation`` where there is one."""

    name: str
    initialisation: Named | None
    segments: tuple[Named, ...]
    bitrate_bps: int = 0
    height: int = 0
    encrypted: bool = False
    indexed: Named | None = None
    """The file whose sidx lists the segments, where the manifest leaves that to it."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """``others`` are the manifests that it names, each with the bit rate and height of the track in it."""

    name: str
    duration_s: float
    tracks: tuple[Track, ...] = ()
    others: tuple[tuple[Named, int, int], ...] = ()

    @property
    def named(self) -> list[Named]:
        """Everything that must be there."""
        found = [other for other, _, _ in self.others]
        for track in self.tracks:
            found += [*track.segments, *filter(None, (track.initialisation, track.indexed))]
        return found


def resolved(manifest: str, reference: str) -> str:
    """The path below the title that ``reference`` leads to; raises `BadPackage`."""
    if _PLAIN(reference.removeprefix("./")) is None or ".." in reference.split("/"):
        raise BadPackage(
            f"{manifest} names {reference[:80]!r}: only relative names below its own folder carry a signed URL over"
        )
    return posixpath.normpath(posixpath.join(posixpath.dirname(manifest), reference))
