"""The playlists and the MPD of a title. Every URL in them is relative, so a signed prefix carries over.

Source: RFC 8216 (HLS), ISO/IEC 23009-1 with its on-demand profile (DASH).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from fill.publish.boxes import Layout

_GROUP = "audio"


@dataclass(frozen=True, slots=True)
class Track:
    """One encode as players see it; ``folder`` is its path below the title. Sound has no size."""

    folder: str
    file: str
    layout: Layout
    width: int = 0
    height: int = 0


def media_playlist(track: Track) -> str:
    """The HLS playlist of one track: byte ranges of one file."""
    layout = track.layout
    longest_s = max(segment.duration_s for segment in layout.segments)
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        # Rounded to the nearest, no segment may be longer: RFC 8216 section 4.3.3.1.
        f"#EXT-X-TARGETDURATION:{max(1, math.floor(longest_s + 0.5))}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f'#EXT-X-MAP:URI="{track.file}",BYTERANGE="{layout.init_bytes}@0"',
    ]
    for segment in layout.segments:
        lines += [
            f"#EXTINF:{segment.duration_s:.6f},",
            f"#EXT-X-BYTERANGE:{segment.size}@{segment.start}",
            track.file,
        ]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def multivariant_playlist(videos: Sequence[Track], audio: Track | None) -> str:
    """The HLS playlist a player starts with: every video encode, with the one sound."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    if audio is not None:
        lines.append(
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{_GROUP}",NAME="Main",DEFAULT=YES,AUTOSELECT=YES,'
            f'CHANNELS="2",URI="{_playlist_path(audio)}"'
        )
    sound = audio.layout if audio is not None else None
    for video in videos:
        codecs = video.layout.codec + (f",{sound.codec}" if sound else "")
        peak = video.layout.peak_bps + (sound.peak_bps if sound else 0)
        average = video.layout.average_bps + (sound.average_bps if sound else 0)
        group = f',AUDIO="{_GROUP}"' if sound else ""
        lines += [
            (
                f"#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},"
                f'CODECS="{codecs}",RESOLUTION={video.width}x{video.height}{group}'
            ),
            _playlist_path(video),
        ]
    return "\n".join([*lines, ""])


def presentation_description(videos: Sequence[Track], audio: Track | None) -> str:
    """The MPD, on-demand profile: one file per representation, its own sidx for an index."""
    tracks = [*videos, *([audio] if audio is not None else [])]
    duration_s = max(track.layout.duration_s for track in tracks)
    buffer_s = max(segment.duration_s for track in tracks for segment in track.layout.segments)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        (
            '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"'
            f' type="static" mediaPresentationDuration="PT{duration_s:.3f}S" minBufferTime="PT{buffer_s:.3f}S">'
        ),
        "  <Period>",
        *_adaptation_set("video", videos),
        *(_adaptation_set("audio", [audio]) if audio is not None else []),
        "  </Period>",
        "</MPD>",
        "",
    ]
    return "\n".join(lines)


def _adaptation_set(kind: str, tracks: Sequence[Track]) -> list[str]:
    lines = [
        (
            f'    <AdaptationSet contentType="{kind}" mimeType="{kind}/mp4" segmentAlignment="true"'
            ' subsegmentAlignment="true" subsegmentStartsWithSAP="1">'
        )
    ]
    for track in tracks:
        layout = track.layout
        size = f' width="{track.width}" height="{track.height}"' if kind == "video" else ""
        rate = ' audioSamplingRate="48000"' if kind == "audio" else ""
        index_end = layout.index_start + layout.index_bytes - 1
        lines += [
            (
                f'      <Representation id={quoteattr(track.folder)} bandwidth="{layout.peak_bps}"'
                f' codecs="{layout.codec}"{size}{rate}>'
            ),
            f"        <BaseURL>{track.folder}/{track.file}</BaseURL>",
            f'        <SegmentBase indexRange="{layout.index_start}-{index_end}">',
            f'          <Initialization range="0-{layout.init_bytes - 1}"/>',
            "        </SegmentBase>",
            "      </Representation>",
        ]
    return [*lines, "    </AdaptationSet>"]


def _playlist_path(track: Track) -> str:
    return f"{track.folder}/{playlist_name(track)}"


def playlist_name(track: Track) -> str:
    """Of the media playlist, beside its file: video.mp4 has video.m3u8."""
    return track.file.rpartition(".")[0] + ".m3u8"
