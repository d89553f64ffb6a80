"""`plans/latest` puts a plan in force by the planner's word, and never one that is older than what was obeyed."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OKPKey

from contracts.catalog import MAX_LATEST_BYTES, decode_latest
from contracts.documents import BadDocument, encode
from contracts.inforce import (
    PLANS,
    InForce,
    decode_in_force,
    latest_document,
    next_issued_at,
    to_obey,
)
from contracts.signature import ALGORITHM
from contracts.signature import TYP as DOCUMENT
from fill.signing import Signer
from tests.unit.contracts.forging import b64, signed

KEY = OKPKey.generate_key(ALGORITHM)
SIGNER = Signer(KEY)
KEYS = SIGNER.public()
OLD, NEW = "20261121T060000Z-0a1b2c", "20261122T060000Z-0a1b2c"
NOW = 1_795_312_800
HEADER = {"typ": PLANS.typ, "alg": ALGORITHM, "kid": KEY.thumbprint()}


def _document(
    version: str = OLD, issued_at: int = NOW, signer: Signer = SIGNER, typ: str = PLANS.typ
) -> bytes:
    statement = InForce(version, issued_at)
    return latest_document(statement, signer.enclose(encode(statement), typ))


def _changed(**changes: Any) -> bytes:
    return json.dumps(json.loads(_document()) | changes).encode()


def _holding(payload: str | bytes, header: dict[str, Any] | str = HEADER) -> bytes:
    """A document whose signature is right, whatever is signed."""
    return _changed(signed=signed(payload, header, KEY))


def test_what_the_planner_says_is_obeyed() -> None:
    assert to_obey(PLANS, _document(), KEYS, None) == InForce(OLD, NOW)


def test_whoever_knows_no_keys_reads_the_version() -> None:
    assert decode_latest(_document(), "x").version == OLD
    assert to_obey(PLANS, _document(), None, InForce(NEW, NOW + 1)) == InForce(OLD, 0)
    assert to_obey(PLANS, latest_document(InForce(OLD, NOW), ""), None, None).version == OLD


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (_changed(signed=""), "is not signed"),
        (encode(InForce(OLD, NOW)), "is not signed"),
        (_changed(version=NEW), f"says {NEW} ({NOW}), and what is signed in it {OLD} ({NOW})"),
        (_changed(issued_at=NOW + 1), "what is signed in it"),
        (_document(signer=Signer(OKPKey.generate_key(ALGORITHM))), "a key that is not known here"),
        (_document(typ=DOCUMENT), "not one of such a document"),
        (_changed(signed=SIGNER.sign(encode(InForce(OLD, NOW))).decode().strip()), "is not a JWS"),
        (_changed(signed="a.b.c"), "is not a JWS"),
        (_changed(signed="\ud800"), "latest"),
        (_changed(signed=f"{b64(b'[]')}.{b64(b'{}')}.{'A' * 86}"), "its signature is"),
        (_changed(signed=f"{b64(b'{')}.{b64(b'{}')}.{'A' * 86}"), "its signature is"),
        (_holding(encode(InForce(OLD, NOW)), HEADER | {"b64": False, "crit": ["b64"]}), "not one of such"),
        (
            _holding(encode(InForce(OLD, NOW)), HEADER | {"jwk": KEY.as_dict(private=False)}),
            "not one of such",
        ),
        (_holding(encode(InForce(OLD, NOW)), HEADER | {"kid": ["a"]}), "not known here"),
        (_holding("{"), "truncated"),
        (_holding('{"issued_at":1,"contract":1}'), "version"),
        (_holding(encode({"version": "latest", "issued_at": NOW})), "version"),
        (_holding(encode({"version": OLD, "issued_at": -1})), "issued_at"),
        (_holding(encode({"version": OLD, "issued_at": 1 << 62})), "issued_at"),
        (_holding(encode({"version": OLD, "issued_at": 1.5})), "issued_at"),
        (_holding(encode({"version": OLD, "issued_at": NOW, "contract": 99})), "contract version 99"),
        (_document() + b" " * MAX_LATEST_BYTES, "at most"),
        (_changed(signed="a" * MAX_LATEST_BYTES), "at most"),
        (b"", "latest"),
        (b"\xff", "latest"),
        (b"[" * 3000, "latest"),
    ],
)
def test_what_somebody_else_wrote_is_refused_in_words_that_name_it(raw: bytes, says: str) -> None:
    with pytest.raises(BadDocument, match=r"^plans/latest: ") as refused:
        decode_in_force(PLANS, raw, KEYS)
    assert says in str(refused.value)


SIGNED = json.loads(_document())["signed"]


@given(st.integers(0, len(SIGNED) - 1), st.sampled_from("Aa0-_.=" + "\n"))
def test_no_letter_of_the_signature_can_be_changed_to_say_something_else(at: int, letter: str) -> None:
    changed = SIGNED[:at] + letter + SIGNED[at + 1 :]
    try:
        found = decode_in_force(PLANS, _changed(signed=changed), KEYS)
    except BadDocument:
        return
    assert found == InForce(OLD, NOW)  # base64 has bits to spare in its last letter


def test_later_programs_may_say_more() -> None:
    payload = {"version": OLD, "issued_at": NOW, "contract": 1, "reason": "rolled back"}
    assert decode_in_force(PLANS, _holding(encode(payload)), KEYS) == InForce(OLD, NOW)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (InForce(NEW, NOW), None),
        (InForce(NEW, NOW + 1), None),  # said again
        (InForce(OLD, NOW + 1), None),  # a rollback
        (InForce(OLD, NOW - 1), "somebody put an old one back"),  # its replay
        (InForce(NEW, NOW - 1), "somebody put an old one back"),
        (InForce(OLD, NOW), "in the same second"),
    ],
)
def test_only_what_is_newer_than_what_was_obeyed_is_obeyed(found: InForce, says: str | None) -> None:
    raw, obeyed = _document(found.version, found.issued_at), InForce(NEW, NOW)
    if says is None:
        assert to_obey(PLANS, raw, KEYS, obeyed) == found
        return
    with pytest.raises(BadDocument) as refused:
        to_obey(PLANS, raw, KEYS, obeyed)
    assert says in refused.value.why
    assert found.version in refused.value.why


def test_after_unsigned_plans_any_signed_one_is_obeyed() -> None:
    assert to_obey(PLANS, _document(), KEYS, InForce(NEW)).version == OLD


@given(st.lists(st.floats(0, 2 * NOW), max_size=20))
def test_whatever_the_planners_clock_does_what_it_says_next_is_obeyed(clocks: list[float]) -> None:
    before, obeyed = 0, None
    for number, now in enumerate(clocks):
        before = next_issued_at(now, before)
        obeyed = to_obey(PLANS, _document((OLD, NEW)[number % 2], before), KEYS, obeyed)
        assert obeyed.issued_at == before > 0, "0 is not signed"
    assert next_issued_at(NOW, NOW - 9) == NOW


def test_the_statement_stands_beside_its_signature_for_all_to_read() -> None:
    assert msgspec.json.decode(_document(), type=dict)["version"] == OLD
    assert set(json.loads(_document())) == {"version", "issued_at", "contract", "signed"}
