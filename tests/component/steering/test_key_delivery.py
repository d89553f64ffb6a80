"""Another signing key reaches a real appliance with its heartbeats, and no token is refused meanwhile."""

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


def rotate(service: Service, step: str, *more: str) -> dict[str, Any]:
    done = service.run("rotate", step, "--json", *more)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def token(service: Service, session: str) -> str:
    answer = service.steer(session=session)
    assert answer.status == 200, answer.body
    return str(answer.json["token"])


def status(appliance: Appliance, signed: str) -> int:
    return ask(appliance, target=f"/URISigningPackage={signed}/{KEY}").status


def version(service: Service) -> int | None:
    """Of the key set that the appliance has, as steering knows."""
    boxes = {box["id"]: box for box in service.get("/v1/fleet").json["appliances"]}
    found: int | None = boxes[BOX]["keys"]
    return found


@pytest.fixture
def appliance(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """It has the root key, and no key of steering's."""
    root = tmp_path_factory.mktemp("box")
    (root / "state").mkdir()
    (root / "state" / "identity.jwk").write_text(json.dumps(IDENTITIES[BOX]._key.as_dict(private=True)))
    (root / "state" / "identity.jwk").chmod(0o600)
    auth = {"required": True, "roots_file": str(service.root / "state" / "root.jwks")}
    steering = {"urls": [service.url], "heartbeat_interval_s": 0.2}
    with running(root, appliance=BOX, auth=auth, steering=steering) as made:
        made.put(KEY, b"#EXTM3U\n")
        wait_until("it has a first key set", lambda: version(service))
        yield made


def test_keys_come_with_heartbeats_and_go_with_them(service: Service, appliance: Appliance) -> None:
    old = token(service, "session-old")
    wait_until("the first key has come", lambda: status(appliance, old) == 200)

    published = rotate(service, "begin")["version"]
    assert version(service) != published
    service.reload()
    wait_until("the next key has come", lambda: version(service) == published)
    rotate(service, "finish")
    service.reload()
    new = token(service, "session-new")
    assert new.partition(".")[0] != old.partition(".")[0]
    assert (status(appliance, new), status(appliance, old)) == (200, 200)

    assert rotate(service, "retire")["retired"] == []
    assert len(rotate(service, "retire", "--now")["retired"]) == 1
    service.reload()
    wait_until("the old key is refused", lambda: status(appliance, old) == 403)
    assert status(appliance, new) == 200

    # Nobody has to be asked again after a restart.
    root = appliance.root
    appliance.stop()
    assert service.process is not None
    config = (root / "oca.yaml").read_text().replace(service.url, "http://127.0.0.1:9")
    (root / "oca.yaml").write_text(config)
    with restarted(root) as again:
        assert (status(again, new), status(again, old)) == (200, 403)


def test_the_root_key_is_replaced_and_lies_elsewhere(
    service: Service, appliance: Appliance, tmp_path: Path
) -> None:
    safe = tmp_path / "safe"
    safe.mkdir()
    state = service.root / "state"
    (state / "root.jwk").rename(safe / "root.jwk")
    done = service.run("rotate", "begin")
    assert done.returncode == 2
    assert "root.jwk: the root key is not there: --root FILE" in done.stderr
    assert not (state / "signing-next.jwk").exists()

    replaced = rotate(service, "root", "--root", str(safe / "root.jwk"))["version"]
    (safe / "root-previous.jwk").unlink()
    service.reload()
    wait_until("the appliance knows the next root", lambda: version(service) == replaced)
    later = rotate(service, "begin", "--root", str(safe / "root.jwk"))["version"]
    service.reload()
    wait_until("and believes it", lambda: version(service) == later)


def test_what_another_root_signed_is_refused_and_said(service: Service, appliance: Appliance) -> None:
    before, signed = version(service), token(service, "session-old")
    state = service.root / "state"
    for name in ("root.jwk", "root.jwks", "keyset.json"):
        (state / name).unlink()
    assert service.run("init").returncode == 0
    service.reload()
    wait_until("it says so", lambda: "key set refused" in (appliance.root / "log").read_text())
    assert version(service) == before
    assert status(appliance, signed) == 200
    fleet = service.run("fleet", "--key", service.key)
    assert f"have not come to {BOX}" in fleet.stdout


def test_enrolment_brings_the_root_key_and_the_set_in_force(service: Service, tmp_path: Path) -> None:
    root = tmp_path / "box"
    done = oca_init(root, service.url, code_of(service), roots_file=str(root / "root.jwks"))
    assert done.returncode == 0, done.stderr
    assert "the root keys" in done.stdout
    state = service.root / "state"
    assert json.loads((root / "root.jwks").read_text()) == json.loads((state / "root.jwks").read_text())
    kept = json.loads((root / "state" / "keyset.json").read_text())
    assert kept["signed"] == json.loads((state / "keyset.json").read_text())
