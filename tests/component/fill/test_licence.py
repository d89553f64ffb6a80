"""Where a title is licensed: said when it is published, kept when it is published again, obeyed by the plan."""

from __future__ import annotations

import json
from typing import Any

from contracts.catalog import CatalogIndex, TitleEntry
from daemon.cli import Exit
from fill.s3documents import read_entry, read_latest
from tests.component.fill.conftest import Setup, fill, last_line, read_index
from tests.component.fill.test_publish_upload import _picture, clip


def index(setup: Setup) -> CatalogIndex:
    latest = read_latest(setup.client, setup.config.bucket, "catalog/latest")
    assert latest is not None
    return read_index(setup.client, setup.config.bucket, latest.version)


def entry(setup: Setup) -> TitleEntry:
    return read_entry(setup.client, setup.config.bucket, index(setup).titles[0])


def test_countries_stay_until_other_ones_are_said(setup: Setup) -> None:
    source = clip(setup.folder / "a.mp4", *_picture("64x36", length_s="1"))
    config = setup.write_config()

    def publish(*more: str) -> str:
        done = fill("publish", source, "--title", "tt1", "--config", config, *more)
        return done.stdout if done.returncode == Exit.DONE else f"{done.returncode} {last_line(done)}"

    assert "licensed in AT, DE;" in publish("--countries", "DE,AT,DE")
    assert entry(setup).countries == ("AT", "DE")
    assert json.loads(publish("--json"))["countries"] == ["AT", "DE"]
    assert entry(setup).countries == ("AT", "DE")

    key = index(setup).titles[0].entry
    setup.client.put_object(Bucket=setup.config.bucket, Key=key, Body=b"{")
    assert publish().startswith(f"1 fill: tt1: {key}: ")
    assert publish().endswith("where it was licensed is lost with that; say it with --countries")
    assert "licensed" not in publish("--countries", "any")
    assert entry(setup).countries is None


def test_countries_that_are_none_are_wrong_usage(setup: Setup) -> None:
    for text in ("", "Germany", "de", "DE, AT", "DE,", "D", "ANY", "DE\n"):
        done = fill(
            "publish", "a.mp4", "--title", "tt1", "--countries", text, "--config", setup.write_config()
        )
        assert done.returncode == Exit.USAGE
        assert last_line(done) == (
            f"fill: --countries {text!r}: codes of ISO 3166-1 with commas between, such as DE,AT, or `any`"
        )


def test_a_plan_holds_no_title_where_it_is_not_licensed(setup: Setup) -> None:
    setup.publish_bytes("everywhere", 10)
    setup.publish_bytes("german", 10, countries=("DE",))

    def plan(country: str | None) -> dict[str, Any]:
        setup.write_fleet(country=country)
        done = fill("plan", "--json", "--config", setup.write_config())
        assert done.returncode == Exit.DONE, done.stderr
        row: dict[str, Any]
        (row,) = json.loads(done.stdout)["appliances"]
        return row

    assert (plan("DE")["titles"], plan("DE")["not_licensed"]) == (2, [])
    assert (plan("FR")["titles"], plan("FR")["not_licensed"]) == (1, ["german"])
    assert (plan(None)["titles"], plan(None)["not_licensed"]) == (1, ["german"])
    done = fill("plan", "--config", setup.write_config())
    assert "not licensed" in done.stdout
    assert "german" in done.stdout


def test_norway_is_a_country(setup: Setup) -> None:
    """NO is false in YAML, and DE is not."""
    setup.write_fleet(country="NO")
    path = setup.folder / "fleet.yaml"
    assert "country: 'NO'" in path.read_text()
    path.write_text(path.read_text().replace("'NO'", "NO"))
    done = fill("plan", "--config", setup.write_config())
    assert done.returncode == Exit.USAGE
    assert last_line(done).endswith(
        "sites[0].country: expected `str | null`, got `bool`; in quotes it would be text"
    )
