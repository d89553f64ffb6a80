"""An appliance enrols with a code, beats with its own key, is revoked and out at once: real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from joserfc.jwk import OKPKey

from contracts.documents import encode
from contracts.enrol import AUDIENCE, PATH, EnrolRequest
from contracts.fleet import PublicKey
from contracts.problem import Problem
from oca.identity import Identity
from tests.component.steering.service import IDENTITIES, Answer, Service, fleet, is_problem, wait_until

BOX = "isp-a1"


def oca_init(
    root: Path, url: str, code: str, steering: dict[str, Any] | None = None, **auth: str
) -> subprocess.CompletedProcess[str]:
    (root / "disk").mkdir(exist_ok=True, parents=True)
    config = root / "oca.yaml"
    document = {
        "appliance": BOX,
        "state_dir": str(root / "state"),
        "run_dir": str(root / "run"),
        "disks": [{"path": str(root / "disk"), "capacity_bytes": 10**8}],
        "origin": {"bucket": "nowhere"},
        "require_signed_catalog": False,
        "auth": {"keys_file": str(root / "steering.jwks"), **auth},
        **({} if steering is None else {"steering": steering}),
    }
    config.write_text(yaml.safe_dump(document))
    command = [
        sys.executable,
        "-m",
        "oca",
        "init",
        "--config",
        str(config),
        "--enrol",
        code,
        "--steering",
        url,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def code_of(service: Service, *more: str) -> str:
    done = service.run("enrol", BOX, "--json", *more)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["code"])


def beats(service: Service, identity: Identity) -> Answer:
    body = encode(service.message(BOX))
    return service.send(body, token=identity.token("steering", time.time(), body))


def row(service: Service) -> dict[str, Any]:
    return next(item for item in service.get("/v1/fleet").json["appliances"] if item["id"] == BOX)


@pytest.fixture
def keyless(stopped: Service) -> Service:
    """A service whose fleet file has no key of the appliance."""
    document = fleet()
    del document["sites"][0]["appliances"][0]["public_key"]
    stopped.fleet_file.write_text(yaml.safe_dump(document))
    return stopped


def test_an_appliance_enrols_is_answered_and_is_revoked_at_once(keyless: Service, tmp_path: Path) -> None:
    root = tmp_path / "box"
    with keyless.running():
        keyless.wait_ready()
        assert beats(keyless, IDENTITIES[BOX]).status == 403
        code = code_of(keyless)
        done = oca_init(root, keyless.url, code)
        assert done.returncode == 0, done.stderr
        assert f"{BOX} is enrolled" in done.stdout
        assert json.loads((root / "steering.jwks").read_text())["keys"]
        identity = Identity.load(BOX, root / "state" / "identity.jwk")
        assert beats(keyless, identity).json["state"] == "serving"
        assert keyless.steer().json["candidates"][0]["appliance"] == BOX

        revoked = keyless.run("revoke", BOX)
        assert revoked.returncode == 0, revoked.stderr
        wait_until("it is refused", lambda: beats(keyless, identity).status == 403)
        assert (row(keyless)["state"], row(keyless)["state_reason"]) == ("down", "its key was revoked")
        assert keyless.steer().status == 503
    with keyless.running():
        keyless.wait_ready()
        assert beats(keyless, identity).status == 403
        assert row(keyless)["state"] == "down"
        assert oca_init(root, keyless.url, code).returncode == 1
        assert oca_init(root, keyless.url, code_of(keyless)).returncode == 0
        assert beats(keyless, identity).status == 200
        assert row(keyless)["state"] == "serving"


def test_a_key_of_the_fleet_file_can_be_revoked_too(service: Service) -> None:
    service.beat()
    assert service.run("revoke", BOX, "--json").returncode == 0
    wait_until("it is refused", lambda: beats(service, IDENTITIES[BOX]).status == 403)
    assert service.steer().json["candidates"][0]["appliance"] != BOX


def test_a_code_is_used_up_only_when_what_it_gives_can_be_kept(service: Service, tmp_path: Path) -> None:
    code = code_of(service)
    done = oca_init(tmp_path / "box", service.url, code, keys_file="/proc/no/such/steering.jwks")
    assert done.returncode == 2
    assert "the code was not used" in done.stderr
    assert oca_init(tmp_path / "box", service.url, code).returncode == 0


def test_an_appliance_that_is_not_in_the_fleet_file_gets_no_code(service: Service) -> None:
    done = service.run("enrol", "isp-z9")
    assert done.returncode == 2
    assert "isp-z9: not in" in done.stderr
    assert service.run("enrol", BOX, "--hours", "0").returncode == 2
    assert service.run("revoke").returncode == 2


def test_who_guesses_learns_nothing_and_is_slowed_down(service: Service) -> None:
    key = OKPKey.generate_key("Ed25519")
    identity = Identity(BOX, key)
    public = identity.public_key()
    code_of(service)

    def guess(appliance: str, by: Identity = identity, audience: str = AUDIENCE) -> Answer:
        asked = EnrolRequest(appliance, PublicKey(public["kty"], public["crv"], public["x"]), "A" * 26)
        body = encode(asked)
        return service.ask(PATH, body, authorization=f"Bearer {by.token(audience, time.time(), body)}")

    wrong = guess(BOX)
    is_problem(wrong, Problem.IDENTITY_REFUSED, "the code is wrong")
    stranger = guess("isp-z9", Identity("isp-z9", key))
    assert (stranger.status, stranger.json["detail"]) == (wrong.status, wrong.json["detail"])
    is_problem(
        guess(BOX, Identity(BOX, OKPKey.generate_key("Ed25519"))), Problem.IDENTITY_REFUSED, "signature"
    )
    is_problem(guess(BOX, audience="steering"), Problem.IDENTITY_REFUSED, "somebody else")
    statuses = [guess(BOX).status for _ in range(20)]
    assert statuses.count(429) >= 5
    assert set(statuses) == {403, 429}
