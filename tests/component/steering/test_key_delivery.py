"""Another signing key, and another root key, reach a real appliance with its heartbeats; no token is refused meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.appliance import Appliance, restarted, running
from tests.component.oca.test_serving import ask
from tests.component.steering.service import IDENTITIES, Service, wait_until
from tests.component.steering.test_enrolling import BOX, code_of, oca_init

KEY = "tt1/master.m3u8"


class Fleet:
    """A service, and one appliance that has its root key and no key of tokens."""

    def __init__(self, service: Service, appliance: Appliance) -> None:
        self.service = service
        self.appliance = appliance
        self.state = service.root / "state"

    def rotate(self, step: str, *more: str) -> dict[str, Any]:
        """What the command says, once the service has read what it changed."""
        done = self.service.run("rotate", step, "--json", *more)
        assert done.returncode == 0, done.stderr
        self.service.reload()
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def token(self, session: str) -> str:
        answer = self.service.steer(session=session)
        assert answer.status == 200, answer.body
        return str(answer.json["token"])

    def follows(self, version: int) -> None:
        """Waits until the appliance has this key set, as steering knows."""
        wait_until(f"it has version {version}", lambda: self.version() == version)

    def version(self) -> int | None:
        boxes = {box["id"]: box for box in self.service.get("/v1/fleet").json["appliances"]}
        found: int | None = boxes[BOX]["keys"]
        return found


def status(appliance: Appliance, signed: str) -> int:
    return ask(appliance, target=f"/URISigningPackage={signed}/{KEY}").status


@pytest.fixture
def fleet(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    root = tmp_path_factory.mktemp("box")
    (root / "state").mkdir()
    (root / "state" / "identity.jwk").write_text(json.dumps(IDENTITIES[BOX]._key.as_dict(private=True)))
    (root / "state" / "identity.jwk").chmod(0o600)
    (root / "root.jwks").write_bytes((service.root / "state" / "root.jwks").read_bytes())
    auth = {"required": True, "roots_file": str(root / "root.jwks")}
    steering = {"urls": [service.url], "heartbeat_interval_s": 0.2}
    with running(root, appliance=BOX, auth=auth, steering=steering) as appliance:
        appliance.put(KEY, b"#EXTM3U\n")
        made = Fleet(service, appliance)
        wait_until("it has a first key set", made.version)
        yield made


def test_keys_come_with_heartbeats_and_go_with_them(fleet: Fleet, tmp_path: Path) -> None:
    service, appliance = fleet.service, fleet.appliance
    old = fleet.token("session-old")
    wait_until("the first key has come", lambda: status(appliance, old) == 200)

    fleet.follows(fleet.rotate("begin")["version"])
    fleet.rotate("finish")
    new = fleet.token("session-new")
    assert new.partition(".")[0] != old.partition(".")[0]
    assert (status(appliance, new), status(appliance, old)) == (200, 200)
    assert fleet.rotate("retire")["retired"] == []
    assert len(fleet.rotate("retire", "--now")["retired"]) == 1
    wait_until("the old key is refused", lambda: status(appliance, old) == 403)
    assert status(appliance, new) == 200

    # The root key goes into a safe, and is replaced there.
    safe = tmp_path / "safe" / "root.jwk"
    safe.parent.mkdir()
    (fleet.state / "root.jwk").rename(safe)
    done = service.run("rotate", "begin")
    assert done.returncode == 2
    assert "root.jwk: the root key is not there: --root FILE" in done.stderr
    assert not (fleet.state / "signing-next.jwk").exists()
    fleet.follows(fleet.rotate("root", "--root", str(safe))["version"])
    (safe.parent / "root-previous.jwk").unlink()
    last = fleet.rotate("begin", "--root", str(safe))["version"]
    fleet.follows(last)

    # What another root signed is refused, and said.
    for name in ("root.jwks", "keyset.json"):
        (fleet.state / name).unlink()
    assert service.run("init").returncode == 0
    service.reload()
    wait_until("it says so", lambda: "key set refused" in (appliance.root / "log").read_text())
    assert fleet.version() == last
    assert f"have not come to {BOX}" in service.run("fleet", "--key", service.key).stdout

    # Nobody has to be asked again after a restart.
    appliance.stop()
    config = appliance.root / "oca.yaml"
    config.write_text(config.read_text().replace(service.url, "http://127.0.0.1:9"))
    with restarted(appliance.root) as again:
        assert (status(again, new), status(again, old)) == (200, 403)


def test_enrolment_brings_the_root_key_and_the_set_in_force(service: Service, tmp_path: Path) -> None:
    root, state, code = tmp_path / "box", service.root / "state", code_of(service)
    kept = (state / "keyset.json").read_bytes()
    (state / "keyset.json").write_text("{")
    done = oca_init(root, service.url, code, roots_file=str(root / "root.jwks"))
    assert done.returncode == 1
    assert "the keys cannot be read now" in done.stderr
    (state / "keyset.json").write_bytes(kept)
    done = oca_init(root, service.url, code, roots_file=str(root / "root.jwks"))  # the code was not used
    assert done.returncode == 0, done.stderr
    assert "the root keys" in done.stdout
    assert json.loads((root / "root.jwks").read_text()) == json.loads((state / "root.jwks").read_text())
    taken = json.loads((root / "state" / "keyset.json").read_text())
    assert taken["signed"] == json.loads((state / "keyset.json").read_text())
