"""What `fill popularity` prints, and how it ends."""

from __future__ import annotations

import datetime
import secrets
import time
from collections.abc import Sequence
from typing import Any

from contracts.fleet import Fleet
from daemon.cli import CommandError, Exit, human_bytes, print_json, print_table
from daemon.s3 import open_client
from fill.catalog import Trust
from fill.config import Config
from fill.popularity.backtest import ERRORS, HITS, Score
from fill.popularity.command import AlreadyCounting, Made, NothingToCount, Work, make_table
from fill.popularity.days import Increment
from fill.popularity.demand import PlaceKind
from fill.popularity.engine import EngineFailed
from fill.popularity.queries import Outcome
from fill.version import version_name


def forecast(config: Config, trust: Trust, fleet: Fleet, now: float, *, as_json: bool) -> int:
    today = _day_of(now)
    try:
        with _work(config, trust) as work:
            made = make_table(work, fleet, today)
    except (NothingToCount, EngineFailed) as error:
        raise CommandError(str(error)) from error
    if as_json:
        print_json(_plain(made))
        return Exit.DONE
    _tell_days(made.added)
    _tell_places(made)
    return Exit.DONE


def _work(config: Config, trust: Trust) -> Work:
    try:
        return Work(open_client(config.origin), config.origin.bucket, config.popularity, _new_version, trust)
    except ModuleNotFoundError as error:
        raise CommandError(f"{error.name} is missing: install nearcast[spark]", Exit.USAGE) from error
    except (AlreadyCounting, EngineFailed) as error:
        raise CommandError(str(error)) from error


def _new_version() -> str:
    return version_name(time.time(), secrets.token_bytes(3))


def _day_of(now: float) -> datetime.date:
    return datetime.datetime.fromtimestamp(now, datetime.UTC).date()


def _plain(made: Made) -> dict[str, Any]:
    index = made.index
    return {
        "popularity": index.version,
        "catalog": index.catalog,
        "day": index.day,
        "history_days": len(made.days),
        "objects": index.objects,
        "places": [
            {
                "kind": place.kind.value,
                "name": place.name,
                "bytes_per_day": place.bytes_per_day,
                "share": place.share,
                "objects": place.objects,
            }
            for place in index.places
        ],
        "releases": index.releases,
        "counted": [
            {
                "day": added.day,
                "parts": added.parts,
                "rows": added.rows,
                "stored_bytes": added.stored_bytes,
                "unpacked_bytes": added.unpacked_bytes,
                "left_out_parts": added.bad_parts,
                "left_out": added.left_out,
            }
            for added in made.added
        ],
    }


def _tell_days(added: tuple[Increment, ...]) -> None:
    if not added:
        print("nothing new in the delivery log")
        return
    print_table(
        ("day", "parts", "left out", "unpacked", "rows counted", *(outcome.value for outcome in _refused())),
        [
            (
                *(one.day, one.parts - one.bad_parts, one.bad_parts, human_bytes(one.unpacked_bytes)),
                one.rows.get(Outcome.COUNTED.value, 0),
                *(one.rows.get(outcome.value, 0) for outcome in _refused()),
            )
            for one in added
        ],
        title="delivery log, counted now",
    )
    for one in added:
        for left in one.left_out[:3]:
            print(f"{one.day}: part {left.part} is left out: {left.reason}")
        if one.bad_parts > 3:
            print(f"{one.day}: and {one.bad_parts - 3} more parts")


def _refused() -> list[Outcome]:
    return [outcome for outcome in Outcome if outcome is not Outcome.COUNTED]


def _tell_places(made: Made) -> None:
    index = made.index
    regions = [place for place in index.places if place.kind is not PlaceKind.SITE]
    sites = [place for place in index.places if place.kind is PlaceKind.SITE]
    print_table(
        ("region", "bytes a day", "objects", "sites", "of them with a forecast of their own"),
        [
            (
                place.name or "(the fleet)",
                human_bytes(place.bytes_per_day),
                place.objects,
                sum(site.region == place.name or not place.name for site in sites),
                sum((site.region == place.name or not place.name) and site.objects > 0 for site in sites),
            )
            for place in regions
        ],
        title=f"popularity {index.version} for {index.day}, from {len(made.days)} days",
    )
    for release in index.releases:
        print(
            f"{release.title} comes out on {release.day}: {human_bytes(release.bytes_per_day)} a day "
            f"expected, {release.reason}"
        )


def backtest(config: Config, trust: Trust, fleet: Fleet, now: float, days: int, *, as_json: bool) -> int:
    from fill.popularity.backtesting import run

    try:
        with _work(config, trust) as work:
            found = list(run(work, fleet, _day_of(now), days))
    except (NothingToCount, EngineFailed) as error:
        raise CommandError(str(error)) from error
    total = Score()
    for _, score in found:
        total.add(score)
    if as_json:
        print_json({"days": [{"day": day} | plain(score) for day, score in found], "all": plain(total)})
        return Exit.DONE
    tell_scores([*found, ("all", total)])
    return Exit.DONE


def plain(score: Score) -> dict[str, Any]:
    """For JSON."""
    return {
        "watched_bytes": score.watched_bytes,
        "site_bytes": score.site_bytes,
        "wmape": {name: score.wmape(name) for name in ERRORS},
        "byte_hit_ratio": {name: score.hit_ratio(name) for name in HITS},
        "release_bytes": score.release_bytes,
        "release_error_bytes": score.release_error_bytes,
    }


def tell_scores(found: Sequence[tuple[str, Score]]) -> None:
    print_table(
        ("day", "watched", *(f"wMAPE: {name}" for name in ERRORS), "of releases"),
        [
            (
                *(day, human_bytes(score.watched_bytes)),
                *(f"{score.wmape(name):.1%}" for name in ERRORS),
                f"{score.release_error_bytes / score.release_bytes:.0%}" if score.release_bytes else "-",
            )
            for day, score in found
        ],
        title="error of the forecast: of each object in each region, to all bytes watched",
    )
    print_table(
        ("day", *HITS),
        [(day, *(f"{score.hit_ratio(name):.1%}" for name in HITS)) for day, score in found],
        title="byte hit ratio of ISP sites that hold what was forecast, as much as fits",
    )
