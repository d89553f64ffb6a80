"""A ring takes public keys of the two kinds that are used here, and nothing else."""

from __future__ import annotations

import json

import pytest
from joserfc.jwk import ECKey

from contracts.token import KeyRing, verify_viewer
from tests.unit.contracts.forging import NOW, STEERING, viewer


@pytest.mark.parametrize(
    ("jwks", "why"),
    [
        ("[]", "not a JWK Set"),
        ('{"keys": {}}', "not a JWK Set"),
        ('{"keys": [1]}', "without a kid"),
        ('{"keys": [{"kty": "EC"}]}', "without a kid"),
        (json.dumps({"keys": [STEERING.as_dict(private=True) | {"kid": "k"}]}), "private key"),
        (json.dumps({"keys": [STEERING.as_dict(private=False) | {"kid": "k"}] * 2}), "two keys"),
        ('{"keys": [{"kid": "k", "kty": "oct", "k": "AAAA"}]}', "only EC P-256 and OKP Ed25519"),
        (
            json.dumps({"keys": [ECKey.generate_key("P-384").as_dict(private=False) | {"kid": "k"}]}),
            "only EC P-256 and OKP Ed25519",
        ),
        (
            json.dumps({"keys": [{"kid": "k", "kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43}]}),
            "not a usable key",
        ),
        ('{"keys": [{"kid": "k", "kty": "OKP", "crv": "Ed25519", "x": "AAAA"}]}', "not a usable key"),
        ("{", "Expecting"),
    ],
)
def test_a_ring_of_unsuitable_keys_is_refused(jwks: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        KeyRing.from_jwks(jwks.encode())


def test_a_ring_is_read_from_a_jwk_set() -> None:
    ring = KeyRing.from_jwks(json.dumps({"keys": [STEERING.as_dict(private=False) | {"kid": "k1"}]}).encode())
    assert len(ring) == 1
    assert verify_viewer(viewer(), ring, NOW).title == "tt1"
