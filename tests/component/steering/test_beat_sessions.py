"""After a signed hello a MAC vouches for heartbeats, until steering restarts or takes the appliance's key back."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from joserfc.jwk import OKPKey

from contracts.beatsession import BeatSession, agree, credentials, draw_share, share_of
from contracts.documents import encode
from contracts.heartbeat import AUDIENCE, MAX_HEARTBEAT_BYTES, PATH
from contracts.problem import Problem
from oca.identity import Identity
from tests.component.steering.service import IDENTITIES, Answer, Service, is_problem, wait_until
from tests.component.steering.test_failover import two_boxes

BOX = "isp-a1"


class Speaker:
    """An appliance that has said hello."""

    def __init__(self, service: Service, name: str = BOX, identity: Identity | None = None) -> None:
        self.service, self.name = service, name
        private = draw_share()
        hello = share_of(private)
        body = encode(service.message(name, hello=hello))
        token = (identity or IDENTITIES[name]).token(AUDIENCE, time.time(), body)
        self.opened = service.send(body, token=token)
        assert self.opened.status == 200, self.opened.body
        session = BeatSession(**self.opened.json["session"])
        self.session = session.name
        self.key = agree(
            private, session.share, appliance=name, session=session.name, hello=hello, answer=session.share
        )

    def says(self, body: bytes | None = None, *, at: float | None = None, padding: int = 0) -> Answer:
        sent = encode(self.service.message(self.name)) + b" " * padding if body is None else body
        made = credentials(self.session, self.key, int(time.time() if at is None else at), sent)
        return self.service.send(sent, token=made)


@pytest.mark.parametrize("padding", [0, 100_000], ids=["short", "long"])
def test_after_its_hello_an_appliance_sends_macs(shared: Service, padding: int) -> None:
    speaker = Speaker(shared)
    for _ in range(3):
        answer = speaker.says(padding=padding)
        assert (answer.status, answer.json["state"], answer.json["session"]) == (200, "serving", None)


def test_a_session_vouches_for_its_appliance_its_messages_and_now(shared: Service) -> None:
    one, other = Speaker(shared), Speaker(shared, "isp-a2")
    body = encode(shared.message())
    made = credentials(one.session, one.key, int(time.time()), body)
    is_problem(shared.send(body + b" ", token=made), Problem.BEAT_SESSION, "not of this message")
    forged = credentials(one.session, other.key, int(time.time()), body)
    is_problem(shared.send(body, token=forged), Problem.BEAT_SESSION)
    is_problem(other.says(body), Problem.IDENTITY_REFUSED, "isp-a2 speaks for isp-a1")
    is_problem(one.says(body, at=time.time() - 90), Problem.IDENTITY_REFUSED, "too long ago")
    is_problem(one.says(body, at=time.time() + 90), Problem.IDENTITY_REFUSED, "not valid yet")
    assert one.says(body).status == 200
    is_problem(one.says(body), Problem.IDENTITY_REFUSED, "was heard already")


def test_a_session_that_is_not_known_is_told_apart(shared: Service) -> None:
    ended = Speaker(shared)
    now = Speaker(shared)
    refused = ended.says()
    is_problem(refused, Problem.BEAT_SESSION)
    assert refused.status == 401
    assert now.says().status == 200
    page = shared.ask("/metrics").body
    assert b'steering_heartbeats_total{outcome="beat_session"}' in page
    assert re.search(rb"^steering_heartbeat_sessions [1-3]\.0$", page, re.MULTILINE)


def test_a_hello_that_is_not_signed_opens_nothing(shared: Service) -> None:
    speaker = Speaker(shared)
    answer = speaker.says(encode(shared.message(hello=share_of(draw_share()))))
    assert (answer.status, answer.json["session"]) == (200, None)
    assert speaker.says().status == 200


def test_a_hello_of_no_use_is_a_heartbeat_all_the_same(shared: Service) -> None:
    answer = shared.send(encode(shared.message(hello="A" * 43)))
    assert (answer.status, answer.json["session"]) == (200, None)
    is_problem(shared.send(encode(shared.message(hello="x"))), Problem.BAD_FIELD, field="hello")


def test_a_stranger_to_all_sessions_is_refused_before_its_body_is_read(shared: Service) -> None:
    with shared.connect() as sock:
        token = credentials("A" * 22, b"k", int(time.time()), b"")
        head = f"POST {PATH} HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer {token}\r\n"
        sock.sendall(f"{head}Content-Length: {MAX_HEARTBEAT_BYTES}\r\n\r\n".encode())
        assert b" 401 " in sock.recv(4096).partition(b"\r\n")[0]


def test_a_session_ends_with_the_key_that_opened_it(service: Service) -> None:
    one, other = Speaker(service), Speaker(service, "isp-a2")
    assert service.run("revoke", BOX).returncode == 0
    wait_until("it is refused", lambda: one.says().status == 401)
    assert other.says().status == 200
    is_problem(service.send(encode(service.message(BOX))), Problem.IDENTITY_REFUSED)


def test_another_key_in_the_fleet_file_ends_it_too_and_the_same_does_not(service: Service) -> None:
    one, other = Speaker(service), Speaker(service, "isp-a2")
    text = service.fleet_file.read_text()
    key = Identity(BOX, OKPKey.generate_key("Ed25519"))
    service.fleet_file.write_text(text.replace(IDENTITIES[BOX].public_key()["x"], key.public_key()["x"]))
    assert service.process is not None
    service.process.send_signal(1)
    wait_until("it is read", lambda: service.logged("reloaded"))
    assert one.says().status == 401
    assert other.says().status == 200
    assert Speaker(service, BOX, key).says().status == 200


def test_real_appliances_have_sessions_and_say_hello_again_after_a_restart(
    stopped: Service, tmp_path: Path
) -> None:
    def counted(outcome: str) -> float:
        page = stopped.ask("/metrics").body.decode()
        found = re.search(rf'^steering_heartbeats_total{{outcome="{outcome}"}} (\S+)$', page, re.MULTILINE)
        return 0.0 if found is None else float(found[1])

    def sessions() -> bool:
        return "\nsteering_heartbeat_sessions 2.0\n" in stopped.ask("/metrics").body.decode()

    def heard() -> dict[str, float]:
        rows = stopped.get("/v1/fleet").json["appliances"]
        return {row["id"]: row["heartbeat_age_s"] for row in rows if row["heartbeat_age_s"] is not None}

    with two_boxes(stopped, tmp_path) as boxes:
        wait_until("both have a session", sessions)
        before = counted("taken")
        wait_until("they go on", lambda: counted("taken") > before + 3)
        assert counted("beat_session") == 0
        assert stopped.process is not None
        stopped.process.terminate()
        stopped.process.wait(20)
        with stopped.running():
            stopped.wait_ready()
            wait_until("both have a session again", sessions)
            assert counted("beat_session") >= 1
            before = counted("taken")
            wait_until("they go on", lambda: counted("taken") > before + 3)
            assert heard().keys() == boxes.keys()
