"""From the planner's key to the agent that believes nobody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from joserfc.jwk import OKPKey

from contracts.inforce import PLANS, InForce, SignedLatest
from contracts.plan import LATEST_KEY
from daemon.cli import Exit
from fill.catalog import Trust
from fill.publish.index import Signing
from fill.signing import Signer, make_key, signed_latest
from tests.appliance import running
from tests.component.fill.conftest import APPLIANCE, Setup, StorekeeperThread, fill, last_line
from tests.processes import below, with_role
from tests.waiting import PATIENCE_S, until


def _config(setup: Setup, agent: dict[str, Any], planner: dict[str, Any]) -> Path:
    path = setup.write_config()
    document = yaml.safe_load(path.read_text())
    for section, changes in (("agent", agent), ("planner", planner)):
        del document[section]["require_signature"]
        document[section] |= changes
    path.write_text(yaml.safe_dump(document))
    return path


def _signed(setup: Setup, **agent: Any) -> Path:
    """A configuration whose key is made and whose first plan is published."""
    key = setup.folder / "planner" / "plan-signing.jwk"
    agent |= {"plan_key": str(key.with_suffix(".jwks"))}
    config = _config(setup, agent, {"signing_key": str(key)})
    # The catalog is signed too, with the same key.
    config.write_text(config.read_text() + f"catalog_key: {agent['plan_key']}\n")
    make_key(key)
    signer = Signer.load(key)
    setup.signing = Signing(signer, Trust(signer.public()), 1000)
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


def _latest(setup: Setup) -> bytes:
    return setup.client.get_object(Bucket=setup.config.bucket, Key=LATEST_KEY)["Body"].read()


def _put_latest(setup: Setup, raw: bytes) -> None:
    setup.client.put_object(Bucket=setup.config.bucket, Key=LATEST_KEY, Body=raw)


def _says(raw: bytes) -> InForce:
    return msgspec.json.decode(raw, type=SignedLatest)


def test_a_signed_plan_is_carried_out(setup: Setup, storekeeper: StorekeeperThread) -> None:
    done = fill("run", "--config", _signed(setup))
    assert done.returncode == 0, done.stderr
    assert "3 objects filled" in done.stdout


@pytest.mark.parametrize("forgery", ["changed", "no signature", "unsigned latest", "another's latest"])
def test_a_plan_that_somebody_else_wrote_is_refused(
    setup: Setup, storekeeper: StorekeeperThread, forgery: str
) -> None:
    config = _signed(setup)
    key, bucket = _plan_key(setup), setup.config.bucket
    if forgery == "changed":
        raw = setup.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        setup.client.put_object(Bucket=bucket, Key=key, Body=raw + b" ")
    elif forgery == "no signature":
        setup.client.delete_object(Bucket=bucket, Key=key + ".sig")
    else:
        key, stranger = LATEST_KEY, Signer(OKPKey.generate_key("Ed25519"))
        statement = InForce(_says(_latest(setup)).version, 1 << 33)
        _put_latest(
            setup, signed_latest(PLANS, statement, None if forgery == "unsigned latest" else stranger)
        )
    done = fill("run", "--config", config)
    assert done.returncode == Exit.FAILED
    said = {
        "changed": "its signature is wrong",
        "another's latest": "it is signed with a key that is not known here",
    }
    assert said.get(forgery, "is not signed") in last_line(done)
    assert key in last_line(done)
    assert storekeeper.store.plan is None


def test_an_old_latest_that_is_put_back_is_refused_and_a_rollback_obeyed(
    setup: Setup, tmp_path: Path
) -> None:
    """Also by an appliance whose storekeeper was killed in between."""
    root, metrics = tmp_path / "appliance", tmp_path / "fill.prom"
    root.mkdir()
    with running(root, appliance=APPLIANCE, origin=msgspec.to_builtins(setup.config)) as appliance:
        socket = str(root / "run" / "ingest.sock")
        config = _signed(setup, ingest_socket=socket, metrics_file=str(metrics))

        def obeys(wanted: bytes, *, refuses: bytes | None = None) -> None:
            done = fill("run", "--json", "--config", config)
            assert done.returncode == (Exit.DONE if refuses is None else Exit.FAILED), done.stderr
            summary = json.loads(done.stdout)
            said = _says(wanted)
            assert (summary["plan"], summary["issued_at"]) == (said.version, said.issued_at)
            assert f"fill_plan_issued_timestamp_seconds {said.issued_at}" in metrics.read_text()
            assert f"fill_latest_refused {int(refuses is not None)}" in metrics.read_text()
            if refuses is not None:
                assert "somebody put an old one back" in last_line(done)
                assert _says(refuses).version in last_line(done)

        first = _latest(setup)
        setup.publish_bytes("tt2", 10)
        assert fill("plan", "--config", config).returncode == 0
        second = _latest(setup)
        obeys(second)

        (killed,) = below(appliance.process.pid, with_role("store"))
        killed.kill()
        killed.wait(PATIENCE_S)
        until(lambda: fill("status", "--json", "--config", config).returncode == 0)
        _put_latest(setup, first)
        obeys(second, refuses=first)
        shown = fill("status", "--config", config)
        assert shown.returncode == Exit.FAILED
        assert f"{_says(second).version} " in shown.stdout
        assert "by the planner's signature" in shown.stdout
        assert "somebody put an old one back" in last_line(shown)

        _put_latest(setup, second)
        assert fill("plan", "--rollback", _says(first).version, "--config", config).returncode == 0
        back = _latest(setup)
        assert _says(back).version == _says(first).version
        obeys(back)
        _put_latest(setup, second)
        obeys(back, refuses=second)


def test_a_latest_that_the_planner_did_not_sign_is_replaced_by_its_next(
    setup: Setup, storekeeper: StorekeeperThread
) -> None:
    config = _signed(setup)
    version = _says(_latest(setup)).version
    _put_latest(setup, signed_latest(PLANS, InForce(version, 1 << 33), None))
    done = fill("plan", "--rollback", "--config", config)
    assert done.returncode == Exit.FAILED
    assert "plans/latest: is not signed" in last_line(done)
    done = fill("plan", "--config", config)
    assert done.returncode == 0, done.stderr
    assert "latest plan not believed, taken for none" in done.stderr
    assert _says(_latest(setup)).issued_at < 1 << 33
    assert fill("run", "--config", config).returncode == 0


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
