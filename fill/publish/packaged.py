"""A folder that holds a title ready to play, made by somebody else: taken as it is, once it is believed.

What is checked, in order: the names and sizes of all files; that the manifests parse, name only what lies
in the folder, and no byte beyond a file's end; that each track's first segments and last decode.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Final

import av
import av.error

from contracts.objectkey import BadKey, parse_key
from fill.progress import meter
from fill.publish.boxes import BadMp4, read_index
from fill.publish.named import MAX_MANIFEST_BYTES, BadPackage, Manifest, Named, Track
from fill.publish.probe import MAX_DURATION_S
from fill.publish.publish import Content
from fill.publish.readhls import read_playlist
from fill.publish.readmpd import read_description
from fill.publish.upload import Finished, media_type
from fill.publish.webvtt import BadSubtitles, as_webvtt

MAX_FILES: Final = 4096
"""Objects of one title in the catalog."""
_MAX_SEGMENT_BYTES: Final = 512 << 20
_IMAGES: Final = (".jpg", ".jpeg", ".png", ".webp")
_FORMATS: Final = "mov,mpegts,aac,mp3,ac3,eac3,jpeg_pipe,png_pipe,webp_pipe"
"""A playlist is none: it would be followed."""


def from_folder(folder: Path, title: str) -> Callable[[Path], Content]:
    """The title in ``folder``, whose files and manifests are looked at now; raises `BadPackage`, OSError."""
    files = _files(folder, title)
    hls, dash = _one(folder, files, ".m3u8"), _one(folder, files, ".mpd")
    if hls is None and dash is None:
        raise BadPackage(f"{folder}: holds no HLS multivariant playlist (.m3u8) and no MPD (.mpd)")
    manifests = [_read_manifest(folder, name) for name in files if name.endswith((".m3u8", ".mpd"))]
    for manifest in manifests:
        for named in manifest.named:
            _there(folder, files, manifest.name, named)
    duration_s = max(manifest.duration_s for manifest in manifests)
    if not 0 < duration_s <= MAX_DURATION_S:
        raise BadPackage(f"{folder}: by its manifests the title lasts {duration_s:.0f} s")

    def make(_: Path) -> Content:
        tracks = [track for manifest in manifests for track in manifest.tracks]
        with meter("checking", len(tracks)) as bar:
            for number, track in enumerate(tracks, 1):
                bar.about(track.name)
                _plays(folder, track)
                bar.at(number)
        rates = _rates(manifests)
        finished = tuple(Finished(folder / name, name, *rates.get(name, (0, 0))) for name in files)
        # A title has both in the catalog; where one kind is missing its name leads to the other.
        return Content(finished, duration_s, hls or dash or "", dash or hls or "")

    return make


def _read_manifest(folder: Path, name: str) -> Manifest:
    path = folder / name
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise BadPackage(f"{folder}: {name}: a manifest of more than {MAX_MANIFEST_BYTES >> 20} MiB")
    raw = path.read_bytes()
    try:
        return (
            read_description(raw, name) if name.endswith(".mpd") else read_playlist(raw.decode("utf-8"), name)
        )
    except UnicodeDecodeError:
        raise BadPackage(f"{folder}: {name}: is not UTF-8") from None
    except BadPackage as error:
        raise BadPackage(f"{folder}: {error}") from None


def _rates(manifests: list[Manifest]) -> dict[str, tuple[int, int]]:
    """Bit rate and height of each file of media, as the manifests say."""
    lists = {other.path: (rate, height) for item in manifests for other, rate, height in item.others}
    rates: dict[str, tuple[int, int]] = {}
    for manifest in manifests:
        for track in manifest.tracks:
            said = (
                (track.bitrate_bps, track.height) if track.bitrate_bps else lists.get(manifest.name, (0, 0))
            )
            for named in (*track.segments, *([track.indexed] if track.indexed else [])):
                if named.path.endswith(_IMAGES):
                    continue
                rates[named.path] = max(rates.get(named.path, (0, 0)), said)
    return rates


def _files(folder: Path, title: str) -> dict[str, int]:
    """The size of each file below ``folder``, by its path; raises `BadPackage`."""
    if not folder.is_dir():
        raise BadPackage(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}")
    files: dict[str, int] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BadPackage(f"{folder}: {name}: not a file of its own, and links are not followed")
        if path.is_dir():
            continue
        if len(files) >= MAX_FILES:
            raise BadPackage(f"{folder}: holds more than {MAX_FILES} files; one for each track is better")
        try:
            parse_key(f"{title}/{name}")
            media_type(name)
        except BadKey as error:
            raise BadPackage(f"{folder}: {error}") from None
        except KeyError:
            raise BadPackage(f"{folder}: {name}: a file of this kind is not served; take it out") from None
        files[name] = path.stat().st_size
    return files


def _one(folder: Path, files: dict[str, int], suffix: str) -> str | None:
    """The manifest that a player begins with: the only one of its kind at the top of the folder."""
    found = [name for name in files if name.endswith(suffix) and "/" not in name]
    if suffix == ".m3u8" and len(found) > 1:
        found = [name for name in found if b"#EXT-X-STREAM-INF" in (folder / name).read_bytes()]
    if len(found) > 1:
        raise BadPackage(f"{folder}: {' and '.join(found)}: which of them does a player begin with?")
    return found[0] if found else None


def _there(folder: Path, files: dict[str, int], manifest: str, named: Named) -> None:
    if named.path not in files:
        raise BadPackage(f"{folder}: {manifest} names {named.path!r}, which is not in the folder")
    if named.end is not None and named.end > files[named.path]:
        raise BadPackage(
            f"{folder}: {manifest} names {named.path} up to byte {named.end}, and it has {files[named.path]}"
        )


def _plays(folder: Path, track: Track) -> None:
    """Decodes the first and the last segment of a track, each behind its initialisation; raises `BadPackage`."""
    segments, initialisation = track.segments, track.initialisation
    if track.indexed is not None:
        segments, initialisation = _indexed(folder, track.indexed)
    for index in sorted({0, len(segments) - 1}):
        about = f"{folder}: {track.name}: segment {index + 1} of {len(segments)}"
        parts = [segments[index]] if initialisation is None else [initialisation, segments[index]]
        raw = b"".join(_read(folder, part, about) for part in parts)
        if segments[index].path.endswith((".vtt", ".ttml")):
            _is_text(segments[index].path, raw, about)
        else:
            _decodes(raw, about, encrypted=track.encrypted)


def _indexed(folder: Path, named: Named) -> tuple[tuple[Named, ...], Named]:
    try:
        with (folder / named.path).open("rb") as file:
            index, _, segments = read_index(file, named.path)
    except BadMp4 as error:
        raise BadPackage(f"{folder}: {error}") from None
    found = tuple(Named(named.path, item.start, item.start + item.size) for item in segments)
    return found, Named(named.path, 0, index.start)


def _read(folder: Path, part: Named, about: str) -> bytes:
    path = folder / part.path
    end = path.stat().st_size if part.end is None else part.end
    if end - part.start > _MAX_SEGMENT_BYTES:
        raise BadPackage(f"{about}: has more than {_MAX_SEGMENT_BYTES >> 20} MiB")
    with path.open("rb") as file:
        file.seek(part.start)
        return file.read(end - part.start)


def _is_text(path: str, raw: bytes, about: str) -> None:
    if path.endswith(".ttml"):
        return
    try:
        as_webvtt(raw, about)
    except BadSubtitles as error:
        raise BadPackage(str(error)) from None


def _decodes(raw: bytes, about: str, *, encrypted: bool) -> None:
    """What is encrypted is only taken apart: its key is none of our business."""
    found = 0
    try:
        with av.open(
            io.BytesIO(raw), "r", options={"format_whitelist": _FORMATS, "protocol_whitelist": ""}
        ) as container:
            for packet in container.demux(container.streams[0]):
                found += bool(packet.size) if encrypted else len(packet.decode())
    except (av.error.FFmpegError, OSError, ValueError, IndexError) as error:
        raise BadPackage(f"{about} does not decode: {error}") from None
    if not found:
        raise BadPackage(f"{about} does not decode: not a single frame")
