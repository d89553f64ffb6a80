"""`fill plan` with its options, against a real S3: explained, compared, rolled back, and never half published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from contracts.catalog import decode_latest
from contracts.placement import index_key, objects_key, site_key, titles_key
from contracts.plan import LATEST_KEY
from daemon.cli import Exit
from fill.s3documents import read_plan
from tests.component.fill.conftest import APPLIANCE, Setup, StorekeeperThread, fill, last_line

MIB = 1 << 20


def _fleet(setup: Setup, *names: str, capacity_bytes: int = 10**9) -> None:
    """A site of these appliances."""
    setup.write_fleet(capacity_bytes)
    path = setup.folder / "fleet.yaml"
    document = yaml.safe_load(path.read_text())
    (site,) = document["sites"]
    (box,) = site["appliances"]
    site["appliances"] = [box | {"id": name} for name in names]
    site["timezone"] = "Europe/Berlin"
    path.write_text(yaml.safe_dump(document))


def _plan(config: Path, *options: str) -> dict[str, Any]:
    done = fill("plan", "--json", *options, "--config", config)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _latest(setup: Setup) -> str:
    raw = setup.client.get_object(Bucket=setup.config.bucket, Key=LATEST_KEY)["Body"].read()
    return decode_latest(raw, LATEST_KEY).version


def test_an_appliances_plan_names_its_peers_and_the_holders_of_each_object(setup: Setup) -> None:
    setup.publish_bytes("tt1", 10)
    setup.publish_bytes("tt2", 10, now=2000)
    _fleet(setup, "isp-a1", "isp-a2", "isp-a3")
    version = _plan(setup.write_config())["plan"]
    plans = {
        name: read_plan(setup.client, setup.config.bucket, version, name, None)
        for name in ("isp-a1", "isp-a2", "isp-a3")
    }
    masters: dict[str, set[str]] = {}
    for name, plan in plans.items():
        assert [peer.id for peer in plan.peers] == list(plans)
        assert plan.timezone == "Europe/Berlin"
        for item in plan.objects:
            holders = [plan.peers[at].id for at in item.holders]
            assert name in holders
            assert all(item.key in {one.key for one in plans[other].objects} for other in holders)
            masters.setdefault(item.key, set()).add(holders[0])
    assert len(masters) == 6
    assert all(len(names) == 1 for names in masters.values()), "everybody names the same master"


def test_an_explanation_says_who_holds_what_and_why(setup: Setup) -> None:
    setup.publish_bytes("tt1", 10)
    setup.publish_bytes("german", 10, countries=("DE",))
    _fleet(setup, "isp-a1", "isp-a2")
    config = setup.write_config()
    _plan(config)
    told = _plan(config, "--explain", "tt1", "isp-a")
    video = next(item for item in told["objects"] if item["key"] == "tt1/video.mp4")
    assert video["appliances"]
    assert "most wanted" in video["why"]
    told = _plan(config, "--explain", "german", "isp-a")
    assert not told["licensed"]
    assert {item["why"] for item in told["objects"]} == {"not licensed in a site without a country"}
    done = fill("plan", "--explain", "tt1", "isp-a", "--config", config)
    assert "tt1/video.mp4" in done.stdout
    for title, site, says in (("tt9", "isp-a", "title 'tt9'"), ("tt1", "isp-z", "site 'isp-z'")):
        done = fill("plan", "--explain", title, site, "--config", config)
        assert done.returncode == Exit.USAGE
        assert says in last_line(done)


def test_a_difference_is_what_the_next_plan_brings(setup: Setup) -> None:
    setup.publish_bytes("tt1", 3 * MIB)
    _fleet(setup, "isp-a1", "isp-a2")
    config = setup.write_config()
    first = _plan(config)["plan"]
    setup.publish_bytes("tt2", 2 * MIB, now=2000)
    second = _plan(config)
    assert second["before"] == first
    (change,) = _plan(config, "--diff", first, second["plan"])["sites"]
    copies = sum(1 for row in second["appliances"] if row["added_bytes"] > 0)
    assert change["added_bytes"] == sum(row["added_bytes"] for row in second["appliances"])
    assert 2 * MIB * copies <= change["added_bytes"] < 2 * MIB * copies + 1000
    assert 2 * MIB <= change["outside_bytes"] < 2 * MIB + 1000
    assert sum(change["by_hour"]) == change["added_bytes"]
    back = _plan(config, "--diff", second["plan"], first)["sites"][0]
    assert back["removed_bytes"] == change["added_bytes"]
    assert _plan(config, "--diff", first, first)["sites"] == []
    done = fill("plan", "--diff", first, "20200101T000000Z-000000", "--config", config)
    assert done.returncode == Exit.USAGE
    assert "there is no such plan" in last_line(done)
    bucket, moved = setup.config.bucket, "20260101T000000Z-000000"
    raw = setup.client.get_object(Bucket=bucket, Key=index_key(first))["Body"].read()
    setup.client.put_object(Bucket=bucket, Key=index_key(moved), Body=raw)
    done = fill("plan", "--rollback", moved, "--config", config)
    assert done.returncode == Exit.FAILED
    assert f"is the index of version {first}, not of {moved}" in last_line(done)


def test_a_plan_is_rolled_back_by_one_command(setup: Setup, storekeeper: StorekeeperThread) -> None:
    setup.publish_bytes("tt1", 10)
    first = setup.plan()["plan"]
    while (second := setup.plan()["plan"]) < first:
        pass  # of the same second: chance puts them in order
    config = setup.write_config()
    assert _latest(setup) == second
    assert _plan(config, "--rollback") == {"before": second, "plan": first}
    assert _latest(setup) == first
    done = fill("run", "--json", "--config", config)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["plan"] == first
    assert _plan(config, "--rollback", second)["plan"] == second
    done = fill("plan", "--rollback", "20200101T000000Z-000000", "--config", config)
    assert done.returncode == Exit.FAILED
    assert "there is no such plan" in last_line(done)
    assert _latest(setup) == second


def test_a_plan_of_what_the_origin_lost_is_not_published(setup: Setup) -> None:
    setup.publish_bytes("tt1", 10)
    first = setup.plan()["plan"]
    setup.publish_bytes("tt2", 10)
    setup.client.delete_object(Bucket=setup.config.bucket, Key="media/tt2/video.mp4")
    done = fill("plan", "--config", setup.write_config())
    assert done.returncode == Exit.FAILED
    assert "media/tt2/video.mp4: is not there at the origin" in last_line(done)
    assert _latest(setup) == first


def test_a_document_that_was_changed_after_the_plan_is_refused(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    setup.publish_bytes("tt1", 10)
    version = setup.plan()["plan"]
    bucket = setup.config.bucket
    for key in (objects_key(version), site_key(version, "isp-a")):
        raw = setup.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        setup.client.put_object(Bucket=bucket, Key=key, Body=raw + b" ")
        done = fill("run", "--config", setup.write_config())
        assert done.returncode == Exit.FAILED
        assert f"{key}: is not the document that the plan was made with" in last_line(done)
        setup.client.put_object(Bucket=bucket, Key=key, Body=raw)
    assert fill("run", "--config", setup.write_config()).returncode == 0
    listed = setup.client.list_objects_v2(Bucket=bucket, Prefix=f"plans/{version}/")["Contents"]
    assert {item["Key"] for item in listed} == {
        index_key(version),
        objects_key(version),
        site_key(version, "isp-a"),
        titles_key(version, "isp-a"),
        f"plans/{version}/{APPLIANCE}.json",
    }
