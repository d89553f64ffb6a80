"""`fill publish`: probe, encode, check, describe, upload; in this order and nothing out of it."""

from __future__ import annotations

import enum
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.catalog import CatalogObject, Country, TitleEntry
from daemon.cli import CommandError
from daemon.s3 import open_client
from fill.config import Config, Publish
from fill.progress import Meter, meter
from fill.publish.boxes import read_layout
from fill.publish.check import check_encode
from fill.publish.choose import Encode, choose_encodes
from fill.publish.delimit import delimit_segments
from fill.publish.encode import encode
from fill.publish.manifests import (
    Track,
    media_playlist,
    multivariant_playlist,
    playlist_name,
    presentation_description,
)
from fill.publish.probe import Source, probe
from fill.publish.turn import only_publisher
from fill.publish.upload import (
    EntryLost,
    Finished,
    describe,
    keep_times,
    read_previous,
    upload_media,
    write_catalog,
)


@dataclass(frozen=True, slots=True)
class Published:
    version: str
    entry: TitleEntry
    titles: int


if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Licence(enum.Enum):
    """In which countries, when that is no list of them."""

    AS_BEFORE = "as before"  # of a title that is published again; a new one is licensed everywhere
    EVERYWHERE = "everywhere"


def publish(
    config: Config,
    path: Path,
    title: str,
    licence: tuple[Country, ...] | Licence = Licence.AS_BEFORE,
    *,
    version: str,
    now: float,
) -> Published:
    """Publishes ``path`` as ``title`` in catalog ``version``, in place of what the title was before.

    Raises `NotVideo`, `EncodeFailed`, `BadEncode`, `BadMp4`, `S3Error`, `BadDocument`, OSError,
    and `CommandError` where the same title is being published by another, or it is not known any more
    where it is licensed.
    """
    source = probe(path)
    encodes = choose_encodes(source.width, source.height, config.publish.ladder)
    bucket = config.origin.bucket
    with closing(open_client(config.origin)) as client, only_publisher(_where(config), title):
        # Before the hours of encoding: S3 that does not answer, or refuses the secret, is found out here.
        previous = _previous(client, bucket, title, licence)
        with tempfile.TemporaryDirectory(prefix="fill-publish-") as folder:
            root = Path(folder)
            tracks = make_tracks(source, encodes, config.publish, root)
            finished = finish(tracks, encodes, config.publish, root)
            described = keep_times([describe(title, item, int(now)) for item in finished], previous)
            with meter("uploading", sum(entry.size for entry in described)) as bar:
                upload_media(client, bucket, list(zip(finished, described, strict=True)), _added_up(bar))
        published_at = previous.published_at if previous else int(now)
        entry = title_entry(title, described, tracks, published_at, _countries(licence, previous))
        index = write_catalog(client, bucket, version, entry)
    return Published(version, entry, len(index.titles))


def _previous(
    client: S3Client, bucket: str, title: str, licence: tuple[Country, ...] | Licence
) -> TitleEntry | None:
    """The entry that this one replaces, which mends it where it is lost; raises `CommandError`."""
    try:
        return read_previous(client, bucket, title)
    except EntryLost as error:
        if licence is Licence.AS_BEFORE:
            raise CommandError(
                f"{title}: {error}: where it was licensed is lost with that; say it with --countries"
            ) from error
        return None


def _countries(
    licence: tuple[Country, ...] | Licence, previous: TitleEntry | None
) -> tuple[Country, ...] | None:
    """Who forgets the countries when publishing again must not thereby publish to the world."""
    if isinstance(licence, tuple):
        return licence
    return previous.countries if previous and licence is Licence.AS_BEFORE else None


def _where(config: Config) -> str:
    return f"{config.origin.endpoint_url}/{config.origin.bucket}"


def _added_up(bar: Meter) -> Callable[[int], None]:
    sent = 0

    def on_bytes(count: int) -> None:
        nonlocal sent
        sent += count
        bar.at(sent)

    return on_bytes


def make_tracks(source: Source, encodes: tuple[Encode, ...], settings: Publish, root: Path) -> list[Track]:
    """Encodes and checks every track below ``root``: the videos, then the sound where there is any."""
    outputs = [root / item.name / "video.mp4" for item in encodes]
    audio = root / "audio" / "audio.mp4" if source.has_audio else None
    for output in [*outputs, *([audio] if audio else [])]:
        output.parent.mkdir()
    length_s = source.duration_s or 0.0
    with meter("encoding", length_s) as bar:
        encode(source, encodes, outputs, audio, settings, bar.at)
    for output in [*outputs, *([audio] if audio else [])]:
        delimit_segments(output)
    for output in outputs:
        check_encode(output, source.path, length_s)
    tracks = [
        Track(item.name, "video.mp4", read_layout(output, video=True), item.width, item.height)
        for item, output in zip(encodes, outputs, strict=True)
    ]
    if audio:
        # Sound may rightly be shorter than the picture.
        check_encode(audio, source.path, 0)
        tracks.append(Track("audio", "audio.mp4", read_layout(audio, video=False)))
    return tracks


def finish(tracks: list[Track], encodes: tuple[Encode, ...], settings: Publish, root: Path) -> list[Finished]:
    """Writes the manifests; every file of the title, with what the catalog says of it."""
    videos = [track for track in tracks if track.height]
    audio = next((track for track in tracks if not track.height), None)
    rates = {item.name: (item.bitrate_bps, item.height) for item in encodes}
    finished: list[Finished] = []
    for track in tracks:
        rate, height = rates.get(track.folder, (settings.audio_bitrate_bps, 0))
        path = f"{track.folder}/{track.file}"
        finished.append(Finished(root / path, path, rate, height))
        path = f"{track.folder}/{playlist_name(track)}"
        (root / path).write_text(media_playlist(track))
        finished.append(Finished(root / path, path))
    for name, text in (
        ("master.m3u8", multivariant_playlist(videos, audio)),
        ("manifest.mpd", presentation_description(videos, audio)),
    ):
        (root / name).write_text(text)
        finished.append(Finished(root / name, name))
    return finished


def title_entry(
    title: str,
    objects: list[CatalogObject],
    tracks: list[Track],
    published_at: int,
    countries: tuple[Country, ...] | None,
) -> TitleEntry:
    """``published_at`` is when it first came out: an old film that is encoded anew is no new release."""
    return TitleEntry(
        title=title,
        published_at=published_at,
        duration_s=max(track.layout.duration_s for track in tracks),
        objects=tuple(objects),
        hls=f"{title}/master.m3u8",
        dash=f"{title}/manifest.mpd",
        countries=countries,
    )
