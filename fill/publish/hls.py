"""The HLS playlists of a title. Every URL in them is relative, so a signed prefix carries over.

Source: RFC 8216; VIDEO-RANGE, EXT-X-VERSION 7 and CHARACTERISTICS from its second edition; the image
playlists (EXT-X-IMAGE-STREAM-INF, EXT-X-TILES) from the image media playlist extension that Roku and
DASH-IF members wrote, which players that do not know it skip.
"""

from __future__ import annotations

import math
from typing import Final

from fill.publish.language import UNDETERMINED
from fill.publish.source import Purpose
from fill.publish.tracks import AudioTrack, Package, TextTrack, Thumbnails, VideoTrack

_AUDIO: Final = "audio"
_TEXT: Final = "text"
_CHARACTERISTICS: Final = {
    Purpose.DESCRIPTION: "public.accessibility.describes-video",
    Purpose.CAPTION: "public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound",
}


def media_playlist(track: VideoTrack | AudioTrack) -> str:
    """The playlist of one track: byte ranges of one file."""
    layout = track.layout
    longest_s = max(segment.duration_s for segment in layout.segments)
    lines = [
        *_head(longest_s),
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f'#EXT-X-MAP:URI="{track.file}",BYTERANGE="{layout.init_bytes}@0"',
    ]
    for segment in layout.segments:
        lines += [
            f"#EXTINF:{segment.duration_s:.6f},",
            f"#EXT-X-BYTERANGE:{segment.size}@{segment.start}",
            track.file,
        ]
    return _ended(lines)


def text_playlist(track: TextTrack, duration_s: float) -> str:
    """One segment, the whole file: a WebVTT file cannot be cut into byte ranges, each needs its header."""
    return _ended([*_head(duration_s), f"#EXTINF:{duration_s:.6f},", track.file])


def thumbnail_playlist(thumbnails: Thumbnails, duration_s: float) -> str:
    """The sheets, and how each is divided."""
    tiles = (
        f"#EXT-X-TILES:RESOLUTION={thumbnails.width}x{thumbnails.height},"
        f"LAYOUT={thumbnails.columns}x{thumbnails.rows},DURATION={thumbnails.every_s:.6f}"
    )
    lines = [*_head(thumbnails.sheet_s), "#EXT-X-IMAGES-ONLY"]
    for number in range(thumbnails.sheets):
        length_s = min(thumbnails.sheet_s, duration_s - number * thumbnails.sheet_s)
        lines += [tiles, f"#EXTINF:{length_s:.6f},", f"{number + 1}.jpg"]
    return _ended(lines)


def _head(longest_s: float) -> list[str]:
    return [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        # Rounded to the nearest, no segment may be longer: RFC 8216 section 4.3.3.1.
        f"#EXT-X-TARGETDURATION:{max(1, math.floor(longest_s + 0.5))}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
    ]


def _ended(lines: list[str]) -> str:
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def multivariant_playlist(package: Package) -> str:
    """What a player starts with: every video encode, with the sounds and texts that go with it."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    lines += [_sound(track) for track in package.sounds]
    lines += [_text(track) for track in package.texts]
    peak_bps = max((track.layout.peak_bps for track in package.sounds), default=0)
    average_bps = max((track.layout.average_bps for track in package.sounds), default=0)
    groups = f',AUDIO="{_AUDIO}"' if package.sounds else ""
    groups += f',SUBTITLES="{_TEXT}"' if package.texts else ""
    for video in package.videos:
        codecs = [video.layout.codec, *{track.layout.codec for track in package.sounds}]
        lines += [
            (
                f"#EXT-X-STREAM-INF:BANDWIDTH={video.layout.peak_bps + peak_bps},"
                f'AVERAGE-BANDWIDTH={video.layout.average_bps + average_bps},CODECS="{",".join(codecs)}",'
                f"RESOLUTION={video.width}x{video.height},FRAME-RATE={float(video.frame_rate):.3f},"
                f"VIDEO-RANGE={video.dynamic_range.value},CLOSED-CAPTIONS=NONE{groups}"
            ),
            f"{video.folder}/{video.playlist}",
        ]
    if package.thumbnails is not None:
        found = package.thumbnails
        lines.append(
            f"#EXT-X-IMAGE-STREAM-INF:BANDWIDTH={found.bandwidth_bps},"
            # Of a tile, where DASH has the sheet's: Shaka multiplies it by the layout.
            f"RESOLUTION={found.width}x{found.height},"
            f'CODECS="jpeg",URI="{found.folder}/{found.playlist}"'
        )
    return "\n".join([*lines, ""])


def _sound(track: AudioTrack) -> str:
    return (
        f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{_AUDIO}",NAME="{track.name}"'
        f"{_language(track.sound.language)}{_yes('DEFAULT', when=track.default)},AUTOSELECT=YES"
        f'{_characteristics(track.sound.purpose)},CHANNELS="2",URI="{track.folder}/{track.playlist}"'
    )


def _text(track: TextTrack) -> str:
    forced = _yes("FORCED", when=track.text.purpose is Purpose.FORCED)
    return (
        f'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="{_TEXT}",NAME="{track.name}"'
        f"{_language(track.text.language)},DEFAULT=NO,AUTOSELECT=YES{forced}"
        f'{_characteristics(track.text.purpose)},URI="{track.folder}/{track.playlist}"'
    )


def _language(tag: str) -> str:
    return "" if tag == UNDETERMINED else f',LANGUAGE="{tag}"'


def _yes(name: str, *, when: bool) -> str:
    return f",{name}={'YES' if when else 'NO'}"


def _characteristics(purpose: Purpose) -> str:
    found = _CHARACTERISTICS.get(purpose)
    return f',CHARACTERISTICS="{found}"' if found else ""
