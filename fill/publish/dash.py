"""The MPD of a title, on-demand profile. Every URL in it is relative, so a signed prefix carries over.

Source: ISO/IEC 23009-1 (on-demand profile; 5.8.5 roles); DASH-IF IOP 4.3 section 6.2.6 (tiled
thumbnails); ISO/IEC 23091-2 (transfer characteristics).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from fill.publish.source import DynamicRange, Purpose
from fill.publish.tracks import AudioTrack, Package, TextTrack, Thumbnails, VideoTrack

_ROLE: Final = "urn:mpeg:dash:role:2011"
_CHANNELS: Final = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"
_ROLES: Final = {
    Purpose.DESCRIPTION: "description",
    Purpose.CAPTION: "caption",
    Purpose.COMMENTARY: "commentary",
    Purpose.FORCED: "forced-subtitle",
}
_TRANSFER: Final = {DynamicRange.PQ: 16, DynamicRange.HLG: 18}
_TEXT_BPS: Final = 256
"""Said of every text: nobody chooses by it."""


def presentation_description(package: Package) -> str:
    """One file per representation, its own sidx for an index; the texts and thumbnails beside them."""
    buffer_s = max(segment.duration_s for track in package.media for segment in track.layout.segments)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        (
            '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"'
            f' type="static" mediaPresentationDuration="PT{package.duration_s:.3f}S"'
            f' minBufferTime="PT{buffer_s:.3f}S">'
        ),
        "  <Period>",
    ]
    ranges = dict.fromkeys(video.dynamic_range for video in package.videos)
    for dynamic_range in ranges:
        lines += _videos([video for video in package.videos if video.dynamic_range is dynamic_range])
    for sound in package.sounds:
        lines += _sound(sound)
    for text in package.texts:
        lines += _text(text)
    if package.thumbnails is not None:
        lines += _thumbnails(package.thumbnails)
    return "\n".join([*lines, "  </Period>", "</MPD>", ""])


def _videos(videos: Sequence[VideoTrack]) -> list[str]:
    lines = [_aligned("video", "")]
    transfer = _TRANSFER.get(videos[0].dynamic_range)
    if transfer is not None:
        # Essential: who does not know it leaves these to others, and shows the ones below.
        scheme = "urn:mpeg:mpegB:cicp:TransferCharacteristics"
        lines.append(f'      <EssentialProperty schemeIdUri="{scheme}" value="{transfer}"/>')
    for video in videos:
        rate = video.frame_rate
        shown = str(rate.numerator) if rate.denominator == 1 else f"{rate.numerator}/{rate.denominator}"
        lines += _representation(video, f' width="{video.width}" height="{video.height}" frameRate="{shown}"')
    return [*lines, "    </AdaptationSet>"]


def _sound(track: AudioTrack) -> list[str]:
    role = _ROLES.get(track.sound.purpose, "main" if track.default else "alternate")
    return [
        _aligned("audio", f" lang={quoteattr(track.sound.language)}"),
        f'      <AudioChannelConfiguration schemeIdUri="{_CHANNELS}" value="2"/>',
        *_labelled(track.name, role),
        *_representation(track, ' audioSamplingRate="48000"'),
        "    </AdaptationSet>",
    ]


def _text(track: TextTrack) -> list[str]:
    return [
        (f'    <AdaptationSet contentType="text" mimeType="text/vtt" lang={quoteattr(track.text.language)}>'),
        *_labelled(track.name, _ROLES.get(track.text.purpose, "subtitle")),
        f'      <Representation id={quoteattr(track.folder)} bandwidth="{_TEXT_BPS}">',
        f"        <BaseURL>{track.folder}/{track.file}</BaseURL>",
        "      </Representation>",
        "    </AdaptationSet>",
    ]


def _thumbnails(found: Thumbnails) -> list[str]:
    tiles = f"{found.columns}x{found.rows}"
    return [
        '    <AdaptationSet contentType="image" mimeType="image/jpeg">',
        (
            f'      <SegmentTemplate media="{found.folder}/$Number$.jpg" startNumber="1"'
            f' timescale="1000" duration="{round(found.sheet_s * 1000)}"/>'
        ),
        (
            f'      <Representation id="{found.folder}" bandwidth="{found.bandwidth_bps}"'
            f' width="{found.width * found.columns}" height="{found.height * found.rows}">'
        ),
        (
            '        <EssentialProperty schemeIdUri="http://dashif.org/guidelines/thumbnail_tile"'
            f' value="{tiles}"/>'
        ),
        "      </Representation>",
        "    </AdaptationSet>",
    ]


def _labelled(name: str, role: str) -> list[str]:
    return [
        f"      <Label>{escape(name)}</Label>",
        f'      <Role schemeIdUri="{_ROLE}" value="{role}"/>',
    ]


def _aligned(kind: str, more: str) -> str:
    return (
        f'    <AdaptationSet contentType="{kind}" mimeType="{kind}/mp4"{more} segmentAlignment="true"'
        ' subsegmentAlignment="true" subsegmentStartsWithSAP="1">'
    )


def _representation(track: VideoTrack | AudioTrack, more: str) -> list[str]:
    layout = track.layout
    index_end = layout.index_start + layout.index_bytes - 1
    return [
        (
            f'      <Representation id={quoteattr(track.folder)} bandwidth="{layout.peak_bps}"'
            f' codecs="{layout.codec}"{more}>'
        ),
        f"        <BaseURL>{track.folder}/{track.file}</BaseURL>",
        f'        <SegmentBase indexRange="{layout.index_start}-{index_end}">',
        f'          <Initialization range="0-{layout.init_bytes - 1}"/>',
        "        </SegmentBase>",
        "      </Representation>",
    ]
