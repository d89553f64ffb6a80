"""A session is taken back: at a real appliance, whose steering is real too."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from contracts.problem import Problem
from tests.appliance import running
from tests.component.oca.test_serving import ask
from tests.component.steering.service import IDENTITIES, Service, is_problem, wait_until
from tests.processes import below

KEY = "tt1/master.m3u8"


def test_a_revoked_session_ends_at_the_appliance_and_stays_ended_over_restarts(
    service: Service, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("revoke")
    (root / "state").mkdir()
    private = IDENTITIES["isp-a1"]._key.as_dict(private=True)
    (root / "state" / "identity.jwk").write_text(json.dumps(private))
    (root / "state" / "identity.jwk").chmod(0o600)
    auth = {"required": True, "keys_file": str(service.root / "state" / "signing.jwks")}
    steering = {"urls": [f"http://127.0.0.1:{service.port}"], "heartbeat_interval_s": 0.2}
    with running(root, appliance="isp-a1", auth=auth, steering=steering) as appliance:
        appliance.put(KEY, b"#EXTM3U\n")
        wait_until("it is a candidate", lambda: service.steer().status == 200)
        good, bad = service.steer(session="session-good").json, service.steer(session="session-bad").json

        def status(answer: dict[str, str]) -> int:
            return ask(appliance, target=f"/URISigningPackage={answer['token']}/{KEY}").status

        for _ in range(3):  # the later ones are known by heart
            assert (status(good), status(bad)) == (200, 200)
        done = service.run("revoke", "--session", "session-bad", "--key", service.key)
        assert done.returncode == 0, done.stderr
        wait_until("the appliance has heard it", lambda: status(bad) == 403)
        refused = ask(appliance, target=f"/URISigningPackage={bad['token']}/{KEY}")
        assert b"it was revoked" in refused.body
        assert status(good) == 200
        for child in below(appliance.process.pid):
            child.kill()
        wait_until("the appliance has heard it again", lambda: _refused(status, bad))
        assert status(good) == 200


def _refused(status: Callable[[dict[str, str]], int], answer: dict[str, str]) -> bool:
    try:
        return status(answer) == 403
    except (OSError, IndexError):
        return False  # between two workers


def test_what_is_no_session_is_refused(shared: Service) -> None:
    authorization = f"Bearer {shared.key}"
    for body in (b'{"session": ""}', b'{"session": "../../x"}', b'{"session": 5}'):
        answer = shared.ask("/v1/revoke", body, authorization=authorization)
        is_problem(answer, Problem.BAD_FIELD, field="session")
    good = b'{"session": "12345678"}'
    assert shared.ask("/v1/revoke", good, authorization="Bearer wrong").status == 401
    assert time.time() < shared.ask("/v1/revoke", good, authorization=authorization).json["until"]
