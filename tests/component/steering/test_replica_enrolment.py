"""Codes, keys and revocations given at one replica, or at a machine that has none, hold at all of them."""

from __future__ import annotations

from pathlib import Path

from contracts.documents import encode
from oca.identity import Identity
from tests.component.steering.replicas import Replicas
from tests.component.steering.service import Bucket, Service, fleet, wait_until
from tests.component.steering.test_enrolling import BOX, beats, code_of, oca_init, row


def revoked_sessions(service: Service, knows: str = "") -> list[str]:
    """What an appliance hears of this replica that has the list of version ``knows``."""
    answer = service.send(encode(service.message("isp-a2", revocations=knows)), by="isp-a2")
    return [] if answer.json["revocations"] is None else list(answer.json["revocations"]["sessions"])


def test_codes_keys_and_revocations_are_every_replica_s(replicas: Replicas, tmp_path: Path) -> None:
    document = fleet()
    del document["sites"][0]["appliances"][0]["public_key"]
    one, two = replicas.start("one", document), replicas.start("two", document)
    # The command is run beside the first, and the code is used at the second.
    code = code_of(one)
    assert not (one.root / "state" / "steering.sqlite").exists()
    done = oca_init(tmp_path / "box", two.url, code)
    assert done.returncode == 0, done.stderr
    identity = Identity.load(BOX, tmp_path / "box" / "state" / "identity.jwk")
    wait_until("the first knows the key", lambda: beats(one, identity).status == 200)
    assert beats(two, identity).status == 200

    revoked = two.run("revoke", BOX)
    assert revoked.returncode == 0, revoked.stderr
    for service in (one, two):
        wait_until("it is refused", lambda service=service: beats(service, identity).status == 403)
        wait_until("it is out", lambda service=service: row(service)["state"] == "down")
    assert oca_init(tmp_path / "box", one.url, code).returncode == 1
    late = replicas.start("late", document)
    assert beats(late, identity).status == 403
    assert oca_init(tmp_path / "box", late.url, code_of(late)).returncode == 0
    for service in (one, two, late):
        wait_until("it is in again", lambda service=service: beats(service, identity).status == 200)

    # A session that one of them revokes is told to every appliance, by a replica that comes later too.
    authorization = f"Bearer {one.key}"
    assert one.ask("/v1/revoke", b'{"session": "session-bad"}', authorization=authorization).status == 200
    assert revoked_sessions(one) == ["session-bad"]
    wait_until("the other tells it too", lambda: revoked_sessions(two) == ["session-bad"])
    wait_until("and the late one", lambda: revoked_sessions(late) == ["session-bad"])
    again = late.ask("/v1/revoke", b'{"session": "session-two"}', authorization=authorization)
    assert again.status == 200
    wait_until("all of it", lambda: revoked_sessions(one) == ["session-bad", "session-two"])

    # Without NATS nothing is promised, and answers go on.
    replicas.nats.stop()
    try:
        refused = one.ask("/v1/revoke", b'{"session": "session-bad"}', authorization=authorization)
        assert refused.status == 503, refused.body
        assert "cannot be kept now" in refused.json["detail"]
        assert revoked_sessions(one) == ["session-bad", "session-two"]
    finally:
        replicas.nats.start()
    revoke = (b'{"session": "session-three"}', authorization)
    wait_until("again", lambda: one.ask("/v1/revoke", revoke[0], authorization=revoke[1]).status == 200)
    wait_until("everywhere", lambda: "session-three" in revoked_sessions(two))


def test_without_nats_a_command_says_so_and_changes_nothing(tmp_path: Path, bucket: Bucket) -> None:
    service = Service(tmp_path, bucket)
    service.write(store={"engine": "nats", "servers": ["nats://127.0.0.1:9"]})
    done = service.run("revoke", BOX, "--json")
    assert done.returncode == 1
    assert "NATS: no answer within 5 s of nats://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "state").exists()
