"""The commands `fill publish`, `unpublish` and `sweep`: what an operator says of a title, and is told of it."""

from __future__ import annotations

import argparse
import datetime
import secrets
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from contracts.catalog import Country, Tags, Title
from contracts.objectkey import BadKey, parse_title
from daemon import log as daemon_log
from daemon.cli import CommandError, Exit, human_bytes, print_json, print_table
from daemon.config import ConfigError
from daemon.s3 import open_client
from fill.config import load_config
from fill.stopping import WindowClosed, closed_by_sigterm
from fill.trust import catalog_signing, publishers_trust
from fill.version import version_name

if TYPE_CHECKING:
    from fill.publish.publish import Content, Published, Terms
    from fill.publish.source import Text

PUBLISH = "Encode a video and put it into the catalog; published again, it replaces the title."
PUBLISH_EXAMPLE = "fill publish film.mp4 --title tt0001 --config configs/fill.yaml"


UNPUBLISH = (
    "Take a title out of the catalog: steering offers it no more, and every appliance drops it "
    "when it next reads the catalog. Its media stay in S3 until `fill sweep`."
)
UNPUBLISH_EXAMPLE = "fill unpublish tt0001 --config configs/fill.yaml"
SIGN = (
    "Sign the catalog that is in force anew: after the publisher's key was replaced, or when somebody else wrote "
    "to catalog/latest; with --as-it-is one that nobody has signed."
)
SIGN_EXAMPLE = "fill sign-catalog --as-it-is --config configs/fill.yaml"
SWEEP = "Remove media from S3 that have been in no catalog for publish.kept_days."
SWEEP_EXAMPLE = "fill sweep --dry-run --config configs/fill.yaml"


def add_publish_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="SOURCE")
    parser.add_argument(
        "--packaged",
        action="store_true",
        help="SOURCE is a folder of CMAF, HLS or DASH that is published as it is, once it was checked",
    )
    parser.add_argument("--title", required=True, metavar="ID")
    parser.add_argument(
        "--countries",
        metavar="DE,AT",
        help="where it is licensed, in ISO 3166-1 codes, or `any`; left out, as it was published before",
    )
    parser.add_argument(
        "--release",
        metavar="DATE",
        help="when it may first be watched, such as 2027-01-31 or 2027-01-31T18:00+01:00 (UTC where nothing "
        "else is said), or `now`; it is planned and filled before. Left out, as it was published before",
    )
    parser.add_argument(
        "--comparable",
        metavar="ID,ID",
        help="titles whose audience it is expected to have, or `none`; left out, as it was published before",
    )
    parser.add_argument(
        "--tags",
        metavar="drama,de",
        help="what the forecast knows it by, or `none`; left out, as it was published before",
    )
    parser.add_argument(
        "--subtitles",
        action="append",
        default=[],
        metavar="de=FILE",
        help="a WebVTT or SubRip file in a language, beside what the source holds; may be said several times",
    )


def add_sign_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--version",
        metavar="VERSION",
        help="go back to this catalog, whose index is signed: with its titles, and no others",
    )
    which.add_argument(
        "--as-it-is",
        action="store_true",
        help="take the catalog without a signature: look first whether it is yours. Reads the entry of every title",
    )


def publish_command(arguments: argparse.Namespace) -> int:
    # Imported here: the agent runs on appliances, which have no encoder.
    try:
        from fill.publish.boxes import BadMp4
        from fill.publish.check import BadEncode
        from fill.publish.ffmpeg import EncodeFailed
        from fill.publish.named import BadPackage
        from fill.publish.probe import NotVideo
        from fill.publish.publish import publish
        from fill.publish.webvtt import BadSubtitles
    except ModuleNotFoundError as error:
        raise CommandError(f"{error.name} is missing: install nearcast[publish]", Exit.USAGE) from error
    title = _title(arguments.title)
    terms = _terms(arguments, title)
    config = load_config(arguments.config)
    daemon_log.setup("fill", config.log_level)
    now = time.time()
    signing = catalog_signing(config, arguments.config, now)
    try:
        with closed_by_sigterm():
            make = _maker(arguments, title, config.publish)
            version = version_name(now, secrets.token_bytes(3))
            done = publish(config, make, title, terms, signing=signing, version=version, now=now)
    except WindowClosed:
        raise CommandError(f"{title}: stopped before the end; publish it again") from None
    except (NotVideo, BadSubtitles, BadPackage) as error:
        raise CommandError(str(error), Exit.USAGE) from error
    except (EncodeFailed, BadEncode, BadMp4) as error:
        raise CommandError(str(error)) from error
    _say(title, done, as_json=arguments.json)
    return Exit.DONE


def unpublish_command(arguments: argparse.Namespace) -> int:
    from fill.publish.index import NotListed, remove_title
    from fill.publish.turn import only_publisher

    title = _title(arguments.title)
    config = load_config(arguments.config)
    daemon_log.setup("fill", config.log_level)
    now = time.time()
    bucket = config.origin.bucket
    version = version_name(now, secrets.token_bytes(3))
    signing = catalog_signing(config, arguments.config, now)
    with closing(open_client(config.origin)) as client:
        try:
            with only_publisher(f"{config.origin.endpoint_url}/{bucket}", title):
                index = remove_title(client, bucket, version, title, int(now), signing)
        except NotListed as error:
            raise CommandError(str(error)) from None
    removed = index is not None
    if arguments.json:
        print_json({"title": title, "removed": removed, "catalog": version if removed else None})
    elif index is not None:
        print(
            f"{title}: is out of catalog {version}, which has {len(index.titles)} titles; appliances drop it as "
            f"they read that; `fill sweep` removes its media after {config.publish.kept_days} days"
        )
    else:
        print(f"{title}: was removed before")
    return Exit.DONE


def sign_command(arguments: argparse.Namespace) -> int:
    from fill.publish.sign import NothingToSign, sign_catalog

    config = load_config(arguments.config)
    daemon_log.setup("fill", config.log_level)
    now = time.time()
    signing = catalog_signing(config, arguments.config, now)
    if signing is None:
        raise ConfigError(f"{arguments.config}: publish.signing_key: missing: there is no key to sign with")
    version = version_name(now, secrets.token_bytes(3))
    with closing(open_client(config.origin)) as client:
        try:
            bucket, base = config.origin.bucket, arguments.version
            done = sign_catalog(client, bucket, version, signing, base, as_it_is=arguments.as_it_is)
        except NothingToSign as error:
            raise CommandError(str(error)) from None
    titles, removed = len(done.index.titles), len(done.index.removed)
    if arguments.json:
        told = {"catalog": version, "before": done.before, "titles": titles, "removed": removed}
        print_json(told | {"refused": done.refused or None})
        return Exit.DONE
    if done.refused:
        print(f"{done.refused}; it is replaced")
    print(
        f"catalog {version} is signed and in force: the {titles} titles of {done.before}, {removed} removed"
    )
    return Exit.DONE


def sweep_command(arguments: argparse.Namespace) -> int:
    from fill.publish.sweep import sweep

    config = load_config(arguments.config)
    daemon_log.setup("fill", config.log_level)
    kept_days = config.publish.kept_days
    with closing(open_client(config.origin)) as client:
        trust = publishers_trust(config, arguments.config)
        kept_s, remove = kept_days * 86_400, not arguments.dry_run
        swept = sweep(client, config.origin.bucket, kept_s, time.time(), trust, remove=remove)
    if arguments.json:
        print_json({"removed": not arguments.dry_run} | asdict(swept))
        return Exit.DONE
    done = "would go" if arguments.dry_run else "are gone"
    print(
        f"{swept.objects} objects, {human_bytes(swept.size)}, {done}; {swept.waiting} more are in no catalog, "
        f"since less than {kept_days} days"
    )
    return Exit.DONE


def _maker(arguments: argparse.Namespace, title: str, settings: Any) -> Callable[[Path], Content]:
    from fill.publish.packaged import from_folder
    from fill.publish.publish import from_source

    if arguments.packaged:
        if arguments.subtitles:
            raise CommandError("--subtitles: what is packaged already has its own", Exit.USAGE)
        return from_folder(arguments.source, title)
    texts = tuple(_subtitles(said) for said in arguments.subtitles)
    return from_source(arguments.source, texts, settings)


def _subtitles(said: str) -> Text:
    """Of ``de=FILE``, whose content is looked at before anything is encoded; raises `CommandError`."""
    from fill.publish.language import UNDETERMINED, language_tag
    from fill.publish.source import Text
    from fill.publish.webvtt import read_subtitles

    language, equals, name = said.partition("=")
    tag = language_tag(language)
    if not equals or not name or tag == UNDETERMINED:
        raise CommandError(
            f"--subtitles {said!r}: a language and a file with = between, such as de=film.vtt", Exit.USAGE
        )
    read_subtitles(Path(name))
    return Text(0, tag, file=Path(name))


def _terms(arguments: argparse.Namespace, title: str) -> Terms:
    from fill.publish.publish import AS_BEFORE, Terms

    said = arguments.countries
    countries = AS_BEFORE if said is None else None if said == "any" else _countries(said)
    said = arguments.release
    released_at = AS_BEFORE if said is None else None if said == "now" else _date(said)
    said = arguments.comparable
    comparable = AS_BEFORE if said is None else () if said == "none" else _comparable(said, title)
    said = arguments.tags
    tags = AS_BEFORE if said is None else () if said == "none" else _tags(said)
    return Terms(countries, released_at, comparable, tags)


def _title(text: str) -> str:
    try:
        return parse_title(text)
    except BadKey as error:
        raise CommandError(f"--title: {error}", Exit.USAGE) from None


def _countries(text: str) -> tuple[str, ...]:
    """The country codes of ``--countries``, in the order of the alphabet."""
    try:
        return msgspec.convert(sorted(set(text.split(","))), tuple[Country, ...])
    except msgspec.ValidationError:
        raise CommandError(
            f"--countries {text!r}: codes of ISO 3166-1 with commas between, such as DE,AT, or `any`",
            Exit.USAGE,
        ) from None


def _date(text: str) -> int:
    """Seconds since 1970."""
    try:
        found = datetime.datetime.fromisoformat(text)
        seconds = int((found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp())
    except (ValueError, OverflowError):
        seconds = -1
    if not 0 <= seconds <= 1 << 40:
        raise CommandError(
            f"--release {text!r}: a date of ISO 8601, such as 2027-01-31 or 2027-01-31T18:00+01:00, or `now`",
            Exit.USAGE,
        )
    return seconds


def _comparable(text: str, title: str) -> tuple[str, ...]:
    try:
        found = msgspec.convert(tuple(dict.fromkeys(text.split(","))), tuple[Title, ...])
    except msgspec.ValidationError:
        found = ()
    if not 1 <= len(found) <= 16 or title in found:
        raise CommandError(
            f"--comparable {text!r}: 1 to 16 other titles with commas between, or `none`", Exit.USAGE
        )
    return found


def _tags(text: str) -> tuple[str, ...]:
    try:
        return msgspec.convert(tuple(dict.fromkeys(text.split(","))), Tags)
    except msgspec.ValidationError:
        raise CommandError(
            f"--tags {text!r}: words of small letters, digits and ._- with commas between, or `none`",
            Exit.USAGE,
        ) from None


def _say(title: str, done: Published, *, as_json: bool) -> None:
    objects = done.entry.objects
    size = sum(item.size for item in objects)
    spent = done.content.spent
    if as_json:
        print_json(
            {
                "title": title,
                "catalog": done.version,
                "titles": done.titles,
                "duration_s": done.entry.duration_s,
                "bytes": size,
                "objects": [item.key for item in objects],
                "hls": done.entry.hls,
                "dash": done.entry.dash,
                "countries": done.entry.countries,
                "released_at": done.entry.released_at,
                "comparable": done.entry.comparable,
                "tags": done.entry.tags,
                "rungs": [
                    msgspec.to_builtins(item) | {"saved_share": round(item.saved_share, 4)} for item in spent
                ],
            }
        )
        return
    if spent:
        print_table(
            ("rung", "picture", "ladder", "samples need", "encoded", "saved"),
            [
                (
                    *(item.name, f"{item.width}x{item.height}", _rate(item.ladder_bps)),
                    _rate(item.needed_bps) if item.needed_bps else "-",
                    *(_rate(item.average_bps), f"{item.saved_share:.0%}"),
                )
                for item in spent
            ],
            title=f"{title}: bits per second of each encode",
        )
    listed = done.entry.countries
    where = "" if listed is None else f"licensed in {', '.join(listed)}; "
    when = _shown(done.entry.released_at)
    print(
        f"{title}: {len(objects)} objects, {human_bytes(size)}, {done.entry.duration_s:.1f} s; {where}{when}"
        f"catalog {done.version} has {done.titles} title{'s' if done.titles != 1 else ''}"
    )


def _rate(bps: int) -> str:
    return f"{bps / 1_000_000:.2f} M" if bps >= 1_000_000 else f"{bps / 1000:.0f} k"


def _shown(released_at: int | None) -> str:
    if released_at is None:
        return ""
    return f"out {datetime.datetime.fromtimestamp(released_at, datetime.UTC):%Y-%m-%d %H:%M} UTC; "
