"""Steering with the planner's public key believes no other plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts import plan
from contracts.signature import SignatureKeys
from daemon.config import ConfigError
from fill.planning.signing import PlanSigner, make_key, public_path
from steering.content import Content, ContentReader, load_plan_keys
from tests.component.steering.conftest import TITLES
from tests.component.steering.service import BOXES, Bucket


def _sign(bucket: Bucket, signer: PlanSigner, version: str, appliance: str) -> None:
    key = plan.plan_key(version, appliance)
    raw = bucket.client.get_object(Bucket=bucket.config.bucket, Key=key)["Body"].read()
    bucket.put(plan.signature_key(key), signer.sign(raw))


def test_only_signed_plans_are_believed(bucket: Bucket, tmp_path: Path) -> None:
    make_key(tmp_path / "plan.jwk")
    signer = PlanSigner.load(tmp_path / "plan.jwk")
    keys: SignatureKeys = load_plan_keys(public_path(tmp_path / "plan.jwk"))
    version = bucket.plan(dict.fromkeys(BOXES, ("tt1",)), bucket.publish(TITLES))
    _sign(bucket, signer, version, "isp-a1")
    _sign(bucket, signer, version, "isp-a2")
    key = plan.plan_key(version, "isp-a2")
    raw = bucket.client.get_object(Bucket=bucket.config.bucket, Key=key)["Body"].read()
    bucket.put(key, raw + b" ")
    read = ContentReader(bucket.config, keys).read(Content(), BOXES)
    assert any(read.planned[version, "isp-a1"])
    assert not any(read.planned[version, "isp-a2"])
    assert not any(read.planned[version, "ixp-b1"])
    assert "its signature is wrong" in read.refused[key]
    assert "is not signed" in read.refused[plan.plan_key(version, "ixp-b1")]
    assert not ContentReader(bucket.config).read(Content(), BOXES).refused


def test_a_key_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"plan_key: .*none\.jwks: No such file"):
        load_plan_keys(tmp_path / "none.jwks")
