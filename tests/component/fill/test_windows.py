"""Outside its window a fill does what is urgent, says what waits, and ends with 3."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import yaml

from contracts import plan as plans
from daemon.cli import Exit
from fill.agent.window import DAYS
from fill.s3documents import put_document, read_plan
from tests.component.fill.conftest import APPLIANCE, Setup, StorekeeperThread, fill, last_line

MIB = 1 << 20


def _closed(setup: Setup) -> Path:
    """A configuration whose only window is in three days."""
    day = DAYS[(datetime.now(UTC) + timedelta(days=3)).weekday()]
    path = setup.write_config()
    document = yaml.safe_load(path.read_text())
    document["agent"] |= {
        "windows": [{"start": "03:00", "end": "07:00", "days": [day]}],
        "timezone": "Europe/Berlin",
        "metrics_file": str(setup.folder / "fill.prom"),
    }
    path.write_text(yaml.safe_dump(document))
    return path


def test_outside_the_window_only_what_is_urgent_is_fetched(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    setup.publish_bytes("tt1", MIB)
    version = setup.plan()["plan"]
    config = _closed(setup)
    nothing = fill("run", "--json", "--config", config)
    assert nothing.returncode == Exit.PARTLY, nothing.stderr
    assert "3 objects wait: the window opens " in last_line(nothing)
    assert json.loads(nothing.stdout)["waiting"] == 3
    assert not list(storekeeper.store.index)

    bucket = setup.config.bucket
    plan = read_plan(setup.client, bucket, version, APPLIANCE, None)
    objects = tuple(
        msgspec.structs.replace(item, urgent=item.key == "tt1/video.mp4") for item in plan.objects
    )
    urgent = msgspec.structs.replace(plan, objects=objects, placement=None)
    put_document(setup.client, bucket, plans.plan_key(version, APPLIANCE), msgspec.json.encode(urgent))
    some = fill("run", "--json", "--config", config)
    assert some.returncode == Exit.PARTLY, some.stderr
    assert [entry.key for entry in storekeeper.store.index] == ["tt1/video.mp4"]
    assert "fill_waiting_objects 2\n" in (setup.folder / "fill.prom").read_text()

    preview = json.loads(fill("run", "--dry-run", "--json", "--config", config).stdout)
    assert sorted(move["key"] for move in preview["moves"]) == ["tt1/manifest.mpd", "tt1/master.m3u8"]
    assert {move["source"] for move in preview["moves"]} == {"outside"}
    assert fill("run", "--now", "--config", config).returncode == Exit.DONE
    assert "fill_running 0\n" in (setup.folder / "fill.prom").read_text()


def test_a_time_zone_that_does_not_exist_is_named(setup: Setup, storekeeper: StorekeeperThread) -> None:
    setup.publish_bytes("tt1", 10)
    setup.plan()
    config = _closed(setup)
    config.write_text(config.read_text().replace("Europe/Berlin", "Europe/Atlantis"))
    done = fill("run", "--config", config)
    assert done.returncode == Exit.USAGE
    assert "agent.timezone: 'Europe/Atlantis' is no IANA time zone" in last_line(done)
