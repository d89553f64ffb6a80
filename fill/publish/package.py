"""From a source to a folder that holds a title, and nothing else: tracks, texts, thumbnails, manifests.

In order: samples -> encodes, sound and text -> delimit -> decode all -> align -> thumbnails -> manifests.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from fill.config import Publish
from fill.progress import meter
from fill.publish.boxes import Layout, read_layout
from fill.publish.check import Decoded, check_alignment, check_encode
from fill.publish.choose import Encode, in_groups
from fill.publish.complexity import needed_rates, sample_starts, with_constant_quality
from fill.publish.dash import presentation_description
from fill.publish.delimit import delimit_segments
from fill.publish.encode import sound_arguments, video_arguments
from fill.publish.ffmpeg import Job, run_jobs
from fill.publish.hls import media_playlist, multivariant_playlist, text_playlist, thumbnail_playlist
from fill.publish.source import DynamicRange, Source, Text
from fill.publish.thumbnails import lay_out, thumbnail_arguments, thumbnail_index
from fill.publish.tracks import (
    AudioTrack,
    Package,
    TextTrack,
    Thumbnails,
    VideoTrack,
    track_folders,
    track_names,
)
from fill.publish.webvtt import MAX_BYTES, BadSubtitles, check_webvtt, read_subtitles

HLS = "master.m3u8"
DASH = "manifest.mpd"


@dataclass(frozen=True, slots=True)
class Spent:
    """What one rung took beside what the ladder gives it."""

    name: str
    width: int
    height: int
    ladder_bps: int
    needed_bps: int | None
    """Of the samples at constant quality; None where none were made."""
    average_bps: int
    constant_quality: bool

    @property
    def saved_share(self) -> float:
        return max(0.0, 1 - self.average_bps / self.ladder_bps)


@dataclass(frozen=True, slots=True)
class Packaged:
    package: Package
    spent: tuple[Spent, ...]

    @property
    def saved_share(self) -> float:
        """Of the bytes that the ladder's rates would have come to."""
        ladder = sum(item.ladder_bps for item in self.spent)
        return 1 - sum(min(item.average_bps, item.ladder_bps) for item in self.spent) / ladder


def cores(settings: Publish) -> int:
    """Encoders at once."""
    return settings.parallel or len(os.sched_getaffinity(0))


def make_package(source: Source, encodes: Sequence[Encode], settings: Publish, root: Path) -> Packaged:
    """Writes the whole title below ``root``, and has decoded every frame of it.

    Raises `EncodeFailed`, `BadEncode`, `BadMp4`, `BadSubtitles`, OSError.
    """
    needed = _needed(source, encodes, settings, root)
    constant = with_constant_quality(encodes, needed)
    videos = {item: root / item.name / VideoTrack.file for item in encodes}
    sounds = _sound_paths(source, root)
    texts = dict(zip(source.texts, _text_folders(source, root), strict=True))
    for path in (*videos.values(), *sounds, *texts.values()):
        path.parent.mkdir(exist_ok=True)
    _encode(source, videos, list(sounds), texts, settings, constant)
    made = _checked(source, videos, list(sounds), cores(settings))
    package = Package(
        tuple(_video_track(source, item, made[path]) for item, path in videos.items()),
        _audio_tracks(source, [made[path] for path in sounds], list(sounds)),
        _text_tracks(source, texts),
    )
    if settings.thumbnail_s:
        package = replace(package, thumbnails=_thumbnails(package, settings, root))
    write_manifests(package, root)
    spent = [
        Spent(
            *(item.name, item.width, item.height, item.bitrate_bps, needed.get(item.name)),
            *(track.layout.average_bps, item.name in constant),
        )
        for item, track in zip(encodes, package.videos, strict=True)
    ]
    return Packaged(package, tuple(spent))


def _needed(source: Source, encodes: Sequence[Encode], settings: Publish, root: Path) -> dict[str, int]:
    starts = sample_starts(source.duration_s)
    if not settings.per_title or not starts:
        return {}
    with meter("sampling", len(starts)) as bar:
        needed = needed_rates(source, encodes, settings, cores(settings), root, bar.at)
        bar.done("sampled", samples=len(starts), needed_bps=needed)
    return needed


def _sound_paths(source: Source, root: Path) -> list[Path]:
    folders = track_folders("audio", [sound.language for sound in source.sounds])
    return [root / folder / AudioTrack.file for folder in folders]


def _text_folders(source: Source, root: Path) -> list[Path]:
    folders = track_folders("text", [text.language for text in source.texts])
    return [root / folder / TextTrack.file for folder in folders]


def _encode(
    source: Source,
    videos: dict[Encode, Path],
    sounds: list[Path],
    texts: dict[Text, Path],
    settings: Publish,
    constant: frozenset[str],
) -> None:
    parallel = cores(settings)
    jobs: list[Job] = []
    for group in in_groups(list(videos), parallel):
        outputs = [(item, videos[item]) for item in group]
        name = " ".join(item.name for item in group)
        jobs.append(Job(name, source.path, video_arguments(source, outputs, settings, constant)))
    inside = {text: path for text, path in texts.items() if text.file is None}
    if sounds or inside:
        arguments = sound_arguments(source, dict(zip(source.sounds, sounds, strict=True)), inside, settings)
        jobs.append(Job("sound and text", source.path, arguments))
    for text, path in texts.items():
        if text.file is not None:
            path.write_text(read_subtitles(text.file))
    with meter("encoding", (source.duration_s or 0.0) * len(jobs)) as bar:
        done = dict.fromkeys([job.name for job in jobs], 0.0)
        left = dict.fromkeys(done)

        def on_progress(job: Job, seconds: float) -> None:
            done[job.name] = seconds
            bar.at(sum(done.values()))

        def on_done(job: Job) -> None:
            del left[job.name]
            bar.about(", ".join(left))
            bar.done("encoded", encodes=job.name, source_s=round(done[job.name], 1))

        bar.about(", ".join(left))
        run_jobs(jobs, parallel, on_progress, on_done)


def _checked(
    source: Source, videos: dict[Encode, Path], sounds: list[Path], parallel: int
) -> dict[Path, Layout]:
    """The layout of each track, all of which was decoded."""
    paths = [*videos.values(), *sounds]
    for path in paths:
        delimit_segments(path)
    layouts = {path: read_layout(path, video=path.name == VideoTrack.file) for path in paths}
    with meter("checking", len(paths)) as bar, ThreadPoolExecutor(parallel) as threads:

        def check(path: Path) -> Decoded:
            # Sound may rightly be shorter than the picture.
            expected_s = source.duration_s if path.name == VideoTrack.file else None
            return check_encode(path, source.path, expected_s or 0.0)

        decoded: dict[Path, Decoded] = {}
        for path, found in zip(paths, threads.map(check, paths), strict=True):
            decoded[path] = found
            bar.at(len(decoded))
    check_alignment(
        {item.name: (decoded[path], _starts(layouts[path])) for item, path in videos.items()}, source.path
    )
    return layouts


def _starts(layout: Layout) -> tuple[float, ...]:
    lengths = [segment.duration_s for segment in layout.segments]
    return tuple(accumulate(lengths[:-1], initial=0.0))


def _video_track(source: Source, item: Encode, layout: Layout) -> VideoTrack:
    dynamic_range = source.dynamic_range if item.hdr else DynamicRange.SDR
    return VideoTrack(item.name, layout, item.width, item.height, source.frame_rate, dynamic_range)


def _audio_tracks(source: Source, layouts: list[Layout], paths: list[Path]) -> tuple[AudioTrack, ...]:
    chosen = next((sound for sound in source.sounds if sound.default), None)
    default = chosen or next(iter(source.sounds), None)
    return tuple(
        AudioTrack(path.parent.name, layout, sound, name, sound is default)
        for sound, layout, path, name in zip(
            source.sounds, layouts, paths, track_names(source.sounds), strict=True
        )
    )


def _text_tracks(source: Source, texts: dict[Text, Path]) -> tuple[TextTrack, ...]:
    tracks: list[TextTrack] = []
    for (text, path), name in zip(texts.items(), track_names(source.texts), strict=True):
        if text.file is None:
            if path.stat().st_size > MAX_BYTES:
                raise BadSubtitles(f"{source.path}: subtitles {text.index}: more than {MAX_BYTES >> 20} MiB")
            # An empty track is common, and harmless; it is shown as one.
            check_webvtt(path.read_text() or "WEBVTT\n", f"{source.path}: subtitles {text.index}")
        tracks.append(TextTrack(path.parent.name, text, name))
    return tuple(tracks)


def _thumbnails(package: Package, settings: Publish, root: Path) -> Thumbnails:
    track = min(
        (video for video in package.videos if video.dynamic_range is DynamicRange.SDR),
        key=lambda video: video.height,
    )
    path = root / track.folder / track.file
    laid = lay_out(track, settings.thumbnail_s, settings.segment_s)
    folder = root / laid.folder
    folder.mkdir()
    arguments = thumbnail_arguments(path, laid, settings.thumbnail_s, settings.segment_s, folder)
    with meter("thumbnails", laid.count) as bar:
        run_jobs([Job("thumbnails", path, arguments)], 1, lambda job, seconds: None, lambda job: None)
        bar.at(laid.count)
    sheets = [(folder / f"{number + 1}.jpg").stat().st_size for number in range(laid.sheets)]
    return replace(laid, bytes_most=max(sheets))


def write_manifests(package: Package, root: Path) -> None:
    """Every playlist, and the MPD."""
    for track in package.media:
        (root / track.folder / track.playlist).write_text(media_playlist(track))
    for text in package.texts:
        (root / text.folder / text.playlist).write_text(text_playlist(text, package.duration_s))
    if (found := package.thumbnails) is not None:
        folder = root / found.folder
        (folder / found.playlist).write_text(thumbnail_playlist(found, package.duration_s))
        (folder / found.index).write_text(thumbnail_index(found, package.duration_s))
    (root / HLS).write_text(multivariant_playlist(package))
    (root / DASH).write_text(presentation_description(package))
