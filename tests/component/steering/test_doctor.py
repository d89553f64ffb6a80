"""`steering doctor` finds what is wrong before callers do, and says how to mend it."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import yaml

from tests.certificates import Authority
from tests.component.steering.service import Service


def examined(service: Service, *more: str) -> dict[str, dict[str, Any]]:
    """What it finds, by check; its exit code says whether anything is wrong."""
    done = service.run("doctor", "--json", *more)
    found = {item["check"]: item for item in json.loads(done.stdout)}
    assert done.returncode == (0 if all(item["ok"] for item in found.values()) else 1), done.stderr
    return found


def wrong(service: Service, *more: str) -> dict[str, str]:
    return {check: item["detail"] for check, item in examined(service, *more).items() if not item["ok"]}


def test_nothing_is_wrong_with_a_service_that_runs(shared: Service) -> None:
    assert wrong(shared) == {}
    done = shared.run("doctor")
    assert done.returncode == 0
    assert "FAIL" not in done.stdout
    assert "2 sites, 3 appliances" in done.stdout


def test_each_mistake_has_its_line(stopped: Service, tmp_path: Path) -> None:
    state = stopped.root / "state"
    service = f"service {stopped.url}"
    keys = json.loads((state / "api_keys.json").read_text())
    keys["keys"].append({"name": "studio", "hash": "0" * 64, "expires_at": 1})
    (state / "api_keys.json").write_text(json.dumps(keys))
    (state / "signing.jwk").chmod(0o644)
    stopped.fleet_file.write_text("sites: [{id: a}]")
    stopped.write(
        origin={"bucket": "no-such-bucket"},
        geoip=str(tmp_path / "none.mmdb"),
        plan_key=str(tmp_path / "none.jwks"),
        store={"engine": "nats", "servers": ["nats://127.0.0.1:9"]},
    )
    found = wrong(stopped)
    assert found.keys() == {
        *("fleet file", "signing key", "API keys", "store", "origin", "planner's key", "geoip", service)
    }
    assert "fleet.yaml:1" in found["fleet file"]
    assert "chmod 600" in found["signing key"]
    assert found["API keys"] == "studio: ended, and its callers are refused; `steering keys remove NAME`"
    assert "no answer within 5 s of nats://127.0.0.1:9" in found["store"]
    assert "no-such-bucket" in found["origin"]

    assert found[service] == "does not answer: connection refused"


def test_keys_that_the_root_key_has_not_signed_and_callers_without_tls(stopped: Service) -> None:
    state = stopped.root / "state"
    (state / "root.jwk").rename(state / "elsewhere.jwk")
    published = json.loads((state / "signing.jwks").read_text())
    published["keys"].append({**published["keys"][0], "kid": "another"})
    (state / "signing.jwks").write_text(json.dumps(published))
    keys = json.loads((state / "api_keys.json").read_text())
    keys["keys"].append({"name": "player", "certificate": "DNS:player.example.net"})
    (state / "api_keys.json").write_text(json.dumps(keys))
    found = wrong(stopped)
    assert "run `steering rotate sign`" in found["keys for appliances"]
    assert "player: a client certificate, and tls.client_ca_file is not set" in found["API keys"]
    done = stopped.run("rotate", "sign", "--root", str(state / "elsewhere.jwk"))
    assert done.returncode == 0, done.stderr
    assert "keys for appliances" not in wrong(stopped)


def test_a_service_over_tls(stopped: Service, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    certificate, key = authority.issue("steering", days=300)
    stopped.tls = ssl.create_default_context(cafile=authority.file)
    stopped.write(tls={"certificate_file": str(certificate), "key_file": str(key)})
    with stopped.running():
        stopped.wait_ready()
        assert wrong(stopped, "--ca", str(authority.file)) == {}
        assert "its certificate is not believed" in wrong(stopped)[f"service {stopped.url}"]


def test_a_configuration_that_is_none_is_one_line(stopped: Service) -> None:
    document = yaml.safe_load(stopped.config.read_text())
    stopped.config.write_text(yaml.safe_dump(document | {"tlss": {}}))
    done = stopped.run("doctor")
    assert done.returncode == 2
    assert "tlss: no such key; did you mean 'tls'?" in done.stderr
