"""`fill publish`: probe, package, describe, upload, and the catalog last; in this order and nothing out of it."""

from __future__ import annotations

import enum
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import structs

from contracts.catalog import CatalogObject, Country, TitleEntry
from daemon.cli import CommandError
from daemon.s3 import open_client
from fill.catalog import Trust
from fill.config import Config, Publish
from fill.progress import Meter, meter
from fill.publish.choose import choose_encodes
from fill.publish.index import Signing, write_catalog
from fill.publish.package import DASH, HLS, Spent, make_package
from fill.publish.probe import probe
from fill.publish.source import Text
from fill.publish.tracks import Package
from fill.publish.turn import only_publisher
from fill.publish.upload import (
    EntryLost,
    Finished,
    describe,
    keep_times,
    read_previous,
    upload_media,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class AsBefore(enum.Enum):
    """What is not said, of a title that is published again."""

    AS_BEFORE = "as before"  # a new one is licensed everywhere, out at once, and comparable to none


AS_BEFORE = AsBefore.AS_BEFORE


@dataclass(frozen=True, slots=True)
class Terms:
    """What the publisher says of a title beside its bytes; see `TitleEntry` for what each means."""

    countries: tuple[Country, ...] | AsBefore | None = AS_BEFORE
    released_at: int | AsBefore | None = AS_BEFORE
    comparable: tuple[str, ...] | AsBefore = AS_BEFORE
    tags: tuple[str, ...] | AsBefore = AS_BEFORE


@dataclass(frozen=True, slots=True)
class Content:
    """A title that lies in a folder, ready for the bucket."""

    files: tuple[Finished, ...]
    duration_s: float
    hls: str
    dash: str
    spent: tuple[Spent, ...] = ()


@dataclass(frozen=True, slots=True)
class Published:
    version: str
    entry: TitleEntry
    titles: int
    content: Content


def publish(
    config: Config,
    make: Callable[[Path], Content],
    title: str,
    terms: Terms,
    *,
    signing: Signing | None,
    version: str,
    now: float,
) -> Published:
    """Publishes what ``make`` makes in a folder as ``title``, in place of what the title was before.

    Raises what ``make`` raises, `S3Error`, `BadDocument`, OSError, and `CommandError` where the same title is
    being published by another, or it is not known any more where it is licensed.
    """
    bucket = config.origin.bucket
    with closing(open_client(config.origin)) as client, only_publisher(_where(config), title):
        # Before the hours of encoding: S3 that does not answer, or refuses the secret, is found out here.
        previous = _previous(client, bucket, title, terms, signing.trust if signing is not None else Trust())
        with tempfile.TemporaryDirectory(prefix="fill-publish-") as folder:
            content = make(Path(folder))
            described = [describe(title, item, int(now)) for item in content.files]
            described = keep_times(described, previous)
            with meter("uploading", sum(entry.size for entry in described)) as bar:
                files = list(zip(content.files, described, strict=True))
                upload_media(client, bucket, files, _added_up(bar))
        entry = title_entry(title, content, described, terms, previous, now)
        index = write_catalog(client, bucket, version, entry, signing)
    return Published(version, entry, len(index.titles), content)


def from_source(path: Path, texts: tuple[Text, ...], settings: Publish) -> Callable[[Path], Content]:
    """How ``path`` is encoded; its start is looked at now. Raises `NotVideo`."""
    source = probe(path)
    source = replace(source, texts=(*source.texts, *texts))
    encodes = choose_encodes(source, settings.ladder)

    def make(root: Path) -> Content:
        made = make_package(source, encodes, settings, root)
        return Content(
            tuple(finished(made.package, settings, root)), made.package.duration_s, HLS, DASH, made.spent
        )

    return make


def _previous(client: S3Client, bucket: str, title: str, terms: Terms, trust: Trust) -> TitleEntry | None:
    """The entry that this one replaces, which mends it where it is lost; raises `CommandError`."""
    try:
        return read_previous(client, bucket, title, trust)
    except EntryLost as error:
        if terms.countries is AS_BEFORE:
            raise CommandError(
                f"{title}: {error}: where it was licensed is lost with that; say it with --countries"
            ) from error
        return None


def _where(config: Config) -> str:
    return f"{config.origin.endpoint_url}/{config.origin.bucket}"


def _added_up(bar: Meter) -> Callable[[int], None]:
    sent = 0

    def on_bytes(count: int) -> None:
        nonlocal sent
        sent += count
        bar.at(sent)

    return on_bytes


def finished(package: Package, settings: Publish, root: Path) -> list[Finished]:
    """Every file of the title, with what the catalog says of it."""
    found: list[Finished] = []
    for track in package.videos:
        path = f"{track.folder}/{track.file}"
        found.append(Finished(root / path, path, track.layout.average_bps, track.height))
    for sound in package.sounds:
        path = f"{sound.folder}/{sound.file}"
        found.append(Finished(root / path, path, settings.audio_bitrate_bps))
    made = {item.path for item in found}
    others = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return found + [Finished(root / path, path) for path in others if path not in made]


def title_entry(
    title: str,
    content: Content,
    objects: list[CatalogObject],
    terms: Terms,
    previous: TitleEntry | None,
    now: float,
) -> TitleEntry:
    """What is not said of a title stays as it was: who forgets the countries must not publish to the world.

    ``published_at`` is when it was first published: an old film that is encoded anew is no new one.
    """
    entry = TitleEntry(
        title=title,
        published_at=previous.published_at if previous else int(now),
        duration_s=content.duration_s,
        objects=tuple(objects),
        hls=f"{title}/{content.hls}",
        dash=f"{title}/{content.dash}",
    )
    said = {field.name: getattr(terms, field.name) for field in fields(terms)}
    return structs.replace(
        entry,
        **{
            name: getattr(previous or entry, name) if isinstance(value, AsBefore) else value
            for name, value in said.items()
        },
    )
