"""What a source holds, as far as publishing it needs to know."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path


class DynamicRange(enum.Enum):
    """The values are those of HLS VIDEO-RANGE."""

    SDR = "SDR"  # encoded as it is
    PQ = "PQ"  # high, SMPTE ST 2084: HDR rungs keep it, all others are tone-mapped
    HLG = "HLG"  # high, ARIB STD-B67: the same


class Purpose(enum.Enum):
    """What a track is there for, as far as its container says."""

    MAIN = "main"  # the sound, or a translation of what is said
    DESCRIPTION = "description"  # sound that says what is to be seen
    CAPTION = "caption"  # text that also says what is to be heard
    COMMENTARY = "commentary"  # about the film
    FORCED = "forced"  # text for what viewers of the language would not understand either; shown unasked


@dataclass(frozen=True, slots=True)
class Sound:
    """``index`` counts the sound tracks of the source from 0."""

    index: int
    language: str
    title: str = ""
    purpose: Purpose = Purpose.MAIN
    default: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """A track of text. ``index`` counts those of the source (pictures of text too) from 0.

    ``file`` is where it lies when it does not come with the source.
    """

    index: int
    language: str
    title: str = ""
    purpose: Purpose = Purpose.MAIN
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class Source:
    path: Path
    width: int
    """As displayed: turned upright, pixels square."""
    height: int
    frame_rate: Fraction
    """What the encodes have: constant, at most 60, and else enough for every frame of the source."""
    duration_s: float | None
    """None when the container does not say."""
    sounds: tuple[Sound, ...] = ()
    texts: tuple[Text, ...] = ()
    dynamic_range: DynamicRange = DynamicRange.SDR
