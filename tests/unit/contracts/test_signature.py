"""A document is believed as its signer wrote it, byte for byte, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey

from contracts.documents import BadDocument, encode
from contracts.plan import Peer, Plan, PlannedObject, verified_plan
from contracts.signature import ALGORITHM, SignatureKeys, protected_header
from daemon.config import ConfigError
from fill.signing import Signer, make_key, public_path

KEY = OKPKey.generate_key(ALGORITHM)
SIGNER = Signer(KEY)
OLD, NEW = "20261121T060000Z-0a1b2c", "20261122T060000Z-0a1b2c"
RAW = encode(Plan(OLD, "isp-a1", "isp-a", OLD, ()))


def _jwks(*keys: Any) -> bytes:
    return json.dumps(
        {"keys": [{**key.as_dict(private=False), "kid": key.thumbprint()} for key in keys]}
    ).encode()


KEYS = SignatureKeys.from_jwks(_jwks(OKPKey.generate_key(ALGORITHM), KEY))


def test_a_signed_plan_is_read() -> None:
    assert verified_plan(RAW, SIGNER.sign(RAW), KEYS, "p", OLD, "isp-a1").appliance == "isp-a1"


@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
def test_no_byte_can_be_changed(index: int, mask: int) -> None:
    changed = bytearray(RAW)
    changed[index] ^= mask
    with pytest.raises(BadDocument, match="signature is wrong"):
        KEYS.verify(bytes(changed), SIGNER.sign(RAW), "p")


def test_a_large_document_can_be_signed() -> None:
    raw = b"x" * (8 << 20)
    KEYS.verify(raw, SIGNER.sign(raw), "p")


def _forged(**changes: Any) -> bytes:
    header = protected_header(KEY.thumbprint()) | changes
    header = {name: value for name, value in header.items() if value is not None}
    return jws.detach_content(jws.serialize_compact(header, RAW, KEY, algorithms=["Ed25519"])).encode()


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"\xff",
        b"a..b",
        SIGNER.sign(b"something else"),
        SIGNER.sign(RAW)[:-3],
        SIGNER.sign(RAW).replace(b"..", b".e30."),
        b"." + SIGNER.sign(RAW),
        Signer(OKPKey.generate_key(ALGORITHM)).sign(RAW),
        _forged(typ="JWT"),
        _forged(kid="somebody"),
        _forged(kid=None),
        _forged(x5u="https://example.net/"),
    ],
)
def test_a_signature_that_is_not_the_planners_is_refused(signature: bytes) -> None:
    with pytest.raises(BadDocument, match=r"^p: "):
        KEYS.verify(RAW, signature, "p")


def test_a_plan_that_was_signed_once_does_not_pass_for_another() -> None:
    signature = SIGNER.sign(RAW)
    with pytest.raises(BadDocument, match="of version"):
        verified_plan(RAW, signature, KEYS, "p", NEW, "isp-a1")
    with pytest.raises(BadDocument, match="the plan of 'isp-a1'"):
        verified_plan(RAW, signature, KEYS, "p", OLD, "isp-a2")


@pytest.mark.parametrize("raw", [b"{}", b"[]", b'{"keys": []}', b"\xff", _jwks(ECKey.generate_key("P-256"))])
def test_only_a_set_of_ed25519_public_keys_is_taken(raw: bytes) -> None:
    with pytest.raises(ValueError):
        SignatureKeys.from_jwks(raw)


def test_a_holder_that_is_no_peer_is_refused() -> None:
    item = PlannedObject("tt1/v.mp4", 1, "r", holders=(1,))
    with pytest.raises(ValueError, match="a holder at place 1 of 1"):
        Plan(OLD, "isp-a1", "isp-a", OLD, (item,), peers=(Peer("isp-a1", "http://192.0.2.1:80"),))


def test_the_signing_key_is_made_once_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "planner" / "plan-signing.jwk"
    first = make_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert make_key(path) == first
    keys = SignatureKeys.from_jwks(public_path(path).read_bytes())
    keys.verify(RAW, Signer.load(path).sign(RAW), "p")


def test_a_planner_with_a_new_key_believes_what_the_old_one_signed(tmp_path: Path) -> None:
    path = tmp_path / "plan-signing.jwk"
    make_key(path)
    before = Signer.load(path).sign(RAW)
    path.unlink()
    make_key(path)
    signer = Signer.load(path)
    signer.public().verify(RAW, before, "p")
    signer.public().verify(RAW, signer.sign(RAW), "p")
    public_path(path).write_bytes(_jwks(ECKey.generate_key("P-256")).replace(b'"P-256"', b'"P-999"'))
    with pytest.raises(ConfigError, match=r"plan-signing\.jwks: "):
        Signer.load(path)
