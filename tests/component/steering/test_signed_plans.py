"""Steering with the planner's public key believes no other plan, and none that is older than what it obeyed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contracts import plan
from contracts.documents import encode, signature_key
from contracts.inforce import PLANS, InForce
from daemon.config import ConfigError
from fill.signing import Signer, make_key, public_path, signed_latest
from steering import keptcontent
from steering.config import load_config
from steering.content import Content, ContentReader, Trusted, load_keys
from tests.component.steering.conftest import TITLES
from tests.component.steering.service import BOXES, Bucket, Service, wait_until


def _sign(bucket: Bucket, signer: Signer, version: str, appliance: str) -> None:
    key = plan.plan_key(version, appliance)
    raw = bucket.client.get_object(Bucket=bucket.config.bucket, Key=key)["Body"].read()
    bucket.put(signature_key(key), signer.sign(raw))


def _say(signer: Signer, version: str, issued_at: int) -> bytes:
    return signed_latest(PLANS, InForce(version, issued_at), signer)


def _trusting(folder: Path) -> Trusted:
    return Trusted(load_keys("plan_key", str(public_path(folder / "plan.jwk"))))


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    make_key(tmp_path / "plan.jwk")
    return Signer.load(tmp_path / "plan.jwk")


def _signed_plan(bucket: Bucket, signer: Signer, catalog: str, *appliances: str) -> str:
    """A plan that is signed for these; of all it says that they hold tt1."""
    version = bucket.plan(dict.fromkeys(BOXES, ("tt1",)), catalog)
    for name in appliances:
        _sign(bucket, signer, version, name)
    return version


def test_only_signed_plans_are_believed(bucket: Bucket, tmp_path: Path, signer: Signer) -> None:
    trusted = _trusting(tmp_path)
    version = _signed_plan(bucket, signer, bucket.publish(TITLES), "isp-a1", "isp-a2")
    bucket.put(plan.LATEST_KEY, _say(signer, version, 1))
    key = plan.plan_key(version, "isp-a2")
    raw = bucket.client.get_object(Bucket=bucket.config.bucket, Key=key)["Body"].read()
    bucket.put(key, raw + b" ")
    read = ContentReader(bucket.config, trusted).read(Content(), BOXES)
    assert any(read.planned[version, "isp-a1"])
    assert not any(read.planned[version, "isp-a2"])
    assert not any(read.planned[version, "ixp-b1"])
    assert "its signature is wrong" in read.refused[key]
    assert "is not signed" in read.refused[plan.plan_key(version, "ixp-b1")]
    assert not ContentReader(bucket.config).read(Content(), BOXES).refused


def test_a_latest_that_is_not_to_be_obeyed_leaves_in_force_what_was(
    bucket: Bucket, tmp_path: Path, signer: Signer
) -> None:
    reader = ContentReader(bucket.config, _trusting(tmp_path))
    catalog = bucket.publish(TITLES)
    first = _signed_plan(bucket, signer, catalog, *BOXES)
    nothing = reader.read(Content(), BOXES)
    assert (nothing.catalog, nothing.plan) == (catalog, None), "the catalog is read all the same"
    assert "is not signed" in nothing.refused[plan.LATEST_KEY]
    second = _signed_plan(bucket, signer, catalog, *list(BOXES)[:2])
    bucket.put(plan.LATEST_KEY, _say(signer, second, 20))
    known = reader.read(nothing, list(BOXES)[:1])
    assert (known.plan, known.plan_issued_at, known.refused) == (second, 20, {})

    bucket.publish(TITLES)
    for raw, says in (
        (_say(signer, first, 19), "somebody put an old one back"),
        (_say(signer, first, 20), "in the same second"),
        (encode(InForce(first, 21)), "is not signed"),
        (b"{", "truncated"),
        (b" " * 5000, "at most 4096 are read"),
    ):
        bucket.put(plan.LATEST_KEY, raw)
        kept = reader.read(known, BOXES)
        assert (kept.plan, kept.plan_issued_at) == (second, 20)
        assert says in kept.refused.pop(plan.LATEST_KEY)
        assert any(kept.planned[second, "isp-a2"]), "of an appliance that joined since"
        assert list(kept.refused) == [plan.plan_key(second, "ixp-b1")]
    bucket.client.delete_object(Bucket=bucket.config.bucket, Key=plan.LATEST_KEY)
    assert reader.read(known, BOXES).plan == second

    bucket.put(plan.LATEST_KEY, _say(signer, first, 21))
    back = reader.read(known, BOXES)
    assert (back.plan, back.plan_issued_at, back.refused) == (first, 21, {})


def test_a_restart_forgets_nothing_and_whoever_looks_sees_it(
    stopped: Service, bucket: Bucket, tmp_path: Path, signer: Signer
) -> None:
    stopped.write(plan_key=str(public_path(tmp_path / "plan.jwk")))
    catalog = bucket.publish(TITLES)
    first, second = (_signed_plan(bucket, signer, catalog, *BOXES) for _ in range(2))
    bucket.put(plan.LATEST_KEY, _say(signer, second, 20))
    kept, source = (
        stopped.root / "state" / keptcontent.FILE_NAME,
        keptcontent.source_for(load_config(stopped.config)),
    )
    with stopped.running():
        wait_until("it is kept", lambda: keptcontent.obeyed(kept, source, PLANS) == InForce(second, 20))
    bucket.put(plan.LATEST_KEY, _say(signer, first, 19))
    with stopped.running():
        refused = wait_until_refused(stopped)
        assert "somebody put an old one back" in refused
        assert stopped.get("/v1/fleet").json["plan"] == second
        metrics = stopped.ask("/metrics").body.decode().splitlines()
        assert "steering_refused_documents 1.0" in metrics
        assert "steering_plan_issued_timestamp_seconds 20.0" in metrics
        (logged,) = stopped.logged("document refused")
        assert logged["key"] == plan.LATEST_KEY
        shown = stopped.run("fleet", STEERING_KEY=stopped.key)
        assert f"plan {second}, put in force " in shown.stdout
        assert f"refused: {refused}" in shown.stdout
        done = stopped.run("doctor", "--json")
        findings = {item["check"]: item for item in json.loads(done.stdout)}
        assert findings["planner's key"] == {"check": "planner's key", "ok": False, "detail": refused}
        bucket.put(plan.LATEST_KEY, _say(signer, first, 21))
        wait_until("the rollback is obeyed", lambda: stopped.get("/v1/fleet").json["plan"] == first)
        assert stopped.get("/v1/fleet").json["refused_documents"] == {}


def wait_until_refused(service: Service) -> str:
    """What it says of ``plans/latest``."""
    documents: dict[str, str] = {}

    def is_told() -> bool:
        documents.update(service.get("/v1/fleet").json["refused_documents"])
        return plan.LATEST_KEY in documents

    wait_until("it refuses", is_told)
    return documents[plan.LATEST_KEY]


def test_a_key_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"plan_key: .*none\.jwks: No such file"):
        load_keys("plan_key", str(tmp_path / "none.jwks"))
