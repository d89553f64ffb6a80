"""From the planner's key to the agent that believes nobody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.cli import Exit
from tests.component.fill.conftest import APPLIANCE, Setup, StorekeeperThread, fill, last_line


def _config(setup: Setup, agent: dict[str, Any], planner: dict[str, Any]) -> Path:
    path = setup.write_config()
    document = yaml.safe_load(path.read_text())
    for section, changes in (("agent", agent), ("planner", planner)):
        del document[section]["require_signature"]
        document[section] |= changes
    path.write_text(yaml.safe_dump(document))
    return path


def _signed(setup: Setup) -> Path:
    """A configuration whose key is made and whose first plan is published."""
    key = setup.folder / "planner" / "plan-signing.jwk"
    config = _config(setup, {"plan_key": str(key.with_suffix(".jwks"))}, {"signing_key": str(key)})
    setup.publish_bytes("tt1", 10)
    setup.write_fleet()
    for command in ("init-key", "plan"):
        done = fill(command, "--config", config)
        assert done.returncode == 0, done.stderr
    return config


def _plan_key(setup: Setup) -> str:
    listed = setup.client.list_objects_v2(Bucket=setup.config.bucket, Prefix="plans/")["Contents"]
    (key,) = [item["Key"] for item in listed if item["Key"].endswith(f"{APPLIANCE}.json")]
    return key


def test_a_signed_plan_is_carried_out(setup: Setup, storekeeper: StorekeeperThread) -> None:
    done = fill("run", "--config", _signed(setup))
    assert done.returncode == 0, done.stderr
    assert "3 objects filled" in done.stdout


@pytest.mark.parametrize("forgery", ["changed", "no signature"])
def test_a_plan_that_somebody_else_wrote_is_refused(
    setup: Setup, storekeeper: StorekeeperThread, forgery: str
) -> None:
    config = _signed(setup)
    key, bucket = _plan_key(setup), setup.config.bucket
    if forgery == "changed":
        raw = setup.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        setup.client.put_object(Bucket=bucket, Key=key, Body=raw + b" ")
    else:
        setup.client.delete_object(Bucket=bucket, Key=key + ".sig")
    done = fill("run", "--config", config)
    assert done.returncode == Exit.FAILED
    said = {"changed": "its signature is wrong", "no signature": "is not signed"}[forgery]
    assert said in last_line(done)
    assert key in last_line(done)
    assert storekeeper.store.plan is None


def test_without_a_key_neither_side_works_unless_told_to(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    setup.publish_bytes("tt1", 10)
    setup.write_fleet()
    config = _config(setup, {}, {})
    for command, key in (
        ("plan", "planner.signing_key"),
        ("run", "agent.plan_key"),
        ("status", "agent.plan_key"),
        ("init-key", "planner.signing_key"),
    ):
        done = fill(command, "--config", config)
        assert done.returncode == Exit.USAGE, command
        assert f"{key}: missing" in last_line(done)
