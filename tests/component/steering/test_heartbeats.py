"""Steering believes an appliance, and nobody who pretends to be one."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from joserfc import jws
from joserfc.jwk import OKPKey

from contracts.documents import encode
from contracts.heartbeat import AUDIENCE, MAX_HEARTBEAT_BYTES, PATH
from contracts.token import CLOCK_SKEW_S, IDENTITY_ALGORITHM, IDENTITY_TYP, identity_claims
from oca.identity import Identity
from tests.component.steering.service import IDENTITIES, Service
from tests.waiting import until


def refused(service: Service, why: str, body: bytes, **how: Any) -> None:
    answer = service.send(body, **how)
    assert answer.status == 403, answer.body
    assert answer.json["type"] == "urn:nearcast:problem:identity-refused"
    assert why in answer.json["detail"]


def test_a_heartbeat_is_answered_with_the_state_and_the_newest_plan(shared: Service) -> None:
    answer = shared.send(encode(shared.message()))
    assert answer.status == 200
    plan = shared.get("/v1/fleet").json["plan"]
    assert plan is not None
    assert answer.json == {
        "state": "serving",
        "plan": plan,
        "revocations": None,
        "routes": 0,
        "session": None,
        "keys": None,
        "contract": 1,
    }
    assert shared.send(encode(shared.message(draining=True))).json["state"] == "draining"


def test_a_heartbeat_that_is_sent_again_is_refused(shared: Service) -> None:
    body = encode(shared.message())
    assert shared.send(body).status == 200
    refused(shared, "was heard already", body)


def test_a_heartbeat_of_an_ended_boot_is_refused(shared: Service) -> None:
    old = encode(shared.message(boot="a" * 16))
    made = time.time() - 5
    shared.send(old, at=made)
    assert shared.send(encode(shared.message(boot="b" * 16))).status == 200
    again = encode(msgspec.json.decode(old) | {"sequence": shared.sequence + 1})
    refused(shared, "was heard already", again, at=made)


def test_a_token_is_good_for_its_message_alone(shared: Service) -> None:
    body = encode(shared.message())
    token = IDENTITIES["isp-a1"].token(AUDIENCE, time.time(), body)
    refused(shared, "made for another message", body + b" ", token=token)
    refused(shared, "made for another message", body, token=IDENTITIES["isp-a1"].token(AUDIENCE, time.time()))


def test_an_appliance_speaks_for_itself_alone(shared: Service) -> None:
    refused(shared, "isp-a2 speaks for isp-a1", encode(shared.message("isp-a1")), by="isp-a2")


def test_a_stranger_and_a_forger_are_refused(shared: Service) -> None:
    body = encode(shared.message())
    stranger = Identity("isp-z9", OKPKey.generate_key("Ed25519")).token(AUDIENCE, time.time(), body)
    refused(shared, "names a key that is not known here", body, token=stranger)
    forged = Identity("isp-a1", OKPKey.generate_key("Ed25519")).token(AUDIENCE, time.time(), body)
    refused(shared, "signature is wrong", body, token=forged)
    for_parent = IDENTITIES["isp-a1"].token("ixp-b1", time.time(), body)
    refused(shared, "made out to somebody else", body, token=for_parent)


def test_a_viewers_token_is_no_identity(shared: Service) -> None:
    shared.beat()
    viewer = shared.steer().json["token"]
    refused(shared, "another type", encode(shared.message()), token=viewer)


@pytest.mark.parametrize("token", ["x", "a.b.c", "." * 3000, "\xff"])
def test_what_is_no_token_is_refused(shared: Service, token: str) -> None:
    refused(shared, "", encode(shared.message()), token=token)


@pytest.mark.parametrize("authorization", [None, "", "Basic eDp5", "Bearer"])
def test_a_heartbeat_without_an_identity_is_refused(shared: Service, authorization: str | None) -> None:
    answer = shared.ask(PATH, encode(shared.message()), authorization=authorization)
    assert answer.status == 401


@pytest.mark.parametrize(
    ("ahead_s", "why"),
    [
        (CLOCK_SKEW_S + 60, "it is not valid yet: the clock of its signer and the clock here disagree"),
        (-120, "it was made too long ago: the clock of its signer and the clock here disagree"),
    ],
)
def test_a_clock_that_is_wrong_is_the_reason_that_the_appliance_is_told(
    shared: Service, ahead_s: float, why: str
) -> None:
    """It logs the detail of the answer (oca.heartbeat), so its operator reads this sentence."""
    refused(shared, why, encode(shared.message()), at=time.time() + ahead_s)


@pytest.mark.parametrize("ahead_s", [CLOCK_SKEW_S - 5, -40])
def test_a_clock_that_is_a_little_wrong_does_no_harm(shared: Service, ahead_s: float) -> None:
    assert shared.send(encode(shared.message()), at=time.time() + ahead_s).status == 200


def test_a_token_for_a_year_is_refused(shared: Service) -> None:
    body = encode(shared.message())
    claims = identity_claims("isp-a1", AUDIENCE, time.time(), ttl_s=365 * 86400, body=body)
    header = {"typ": IDENTITY_TYP, "alg": IDENTITY_ALGORITHM, "kid": "isp-a1"}
    key = IDENTITIES["isp-a1"]._key
    token = jws.serialize_compact(header, json.dumps(claims), key, algorithms=[IDENTITY_ALGORITHM])
    refused(shared, "a claim that it must have", body, token=token)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"sequence": 0}, "sequence"),
        ({"boot": "x"}, "boot"),
        ({"tx_bps": -1}, "tx_bps"),
        ({"disks": [{"path": "/d"}]}, "disks"),
        ({"plan": {"version": "latest", "planned_bytes": 1, "held_bytes": 1}}, "plan"),
        ({"appliance": "../x"}, "appliance"),
    ],
)
def test_a_wrong_field_of_an_appliance_is_named(shared: Service, changes: dict[str, Any], field: str) -> None:
    answer = shared.send(encode(msgspec.to_builtins(shared.message()) | changes))
    assert answer.status == 422
    assert answer.json["field"] == field


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b'{"x":' * 100_000, b'{"x":' + b"[" * 1_000_000, b'{"contract": 2}']
)
def test_an_appliance_that_sends_nonsense_is_told_so(shared: Service, body: bytes) -> None:
    assert shared.send(body).status == 422


def test_a_newer_appliance_is_told_that_steering_is_older(shared: Service) -> None:
    answer = shared.send(encode(shared.message(contract=2)))
    assert answer.status == 422
    assert "contract version 2" in answer.json["detail"]


def test_what_a_newer_appliance_adds_is_passed_over(shared: Service) -> None:
    added = msgspec.to_builtins(shared.message()) | {"fan_rpm": 3000}
    assert shared.send(encode(added)).status == 200


def test_an_oversized_heartbeat_is_refused_and_the_largest_allowed_is_read(shared: Service) -> None:
    body = encode(shared.message())
    assert shared.send(body.ljust(MAX_HEARTBEAT_BYTES)).status == 200
    with shared.connect() as sock:
        token = IDENTITIES["isp-a1"].token(AUDIENCE, time.time(), b"")
        head = f"POST {PATH} HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer {token}\r\n"
        sock.sendall(f"{head}Content-Length: {MAX_HEARTBEAT_BYTES + 1}\r\n\r\n".encode())
        assert b" 413 " in sock.recv(4096).partition(b"\r\n")[0]


def test_a_stranger_is_refused_before_its_body_is_read(shared: Service) -> None:
    """Not a byte of the announced two megabytes was sent, and the answer is there."""
    with shared.connect() as sock:
        head = f"POST {PATH} HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer a.b.c\r\n"
        sock.sendall(f"{head}Content-Length: {MAX_HEARTBEAT_BYTES}\r\n\r\n".encode())
        assert b" 403 " in sock.recv(4096).partition(b"\r\n")[0]


def test_heartbeats_are_counted_by_how_they_ended(shared: Service) -> None:
    shared.beat()
    shared.send(b"{}", token="x")
    page = shared.ask("/metrics").body
    assert b'steering_heartbeats_total{outcome="taken"}' in page
    assert b'steering_heartbeats_total{outcome="identity_refused"}' in page


def test_an_appliance_that_falls_silent_leaves_the_answers_and_comes_back(service: Service) -> None:
    service.beat()

    def offered() -> set[str]:
        # Of one session: each new one would be counted as load.
        return {item["appliance"] for item in service.steer(session="of-a-while").json["candidates"]}

    assert offered() == {"isp-a1", "isp-a2", "ixp-b1"}

    def silent() -> bool:
        service.beat("isp-a2", "ixp-b1")
        return "isp-a1" not in offered()

    until(silent)
    service.beat("isp-a2", "ixp-b1")
    state = {row["id"]: row["state"] for row in service.get("/v1/fleet").json["appliances"]}
    assert state == {"isp-a1": "suspect", "isp-a2": "serving", "ixp-b1": "serving"}
    service.beat()
    assert offered() == {"isp-a1", "isp-a2", "ixp-b1"}
