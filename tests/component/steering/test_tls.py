"""Steering's own TLS, and callers that show a certificate: real certificates, real connections."""

from __future__ import annotations

import http.client
import json
import signal
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from cryptography import x509

from contracts.problem import Problem
from tests import commands
from tests.appliance import running
from tests.certificates import Authority
from tests.component.steering.service import IDENTITIES, VIEWER, Answer, Service, is_problem, wait_until
from tests.component.steering.test_enrolling import BOX, code_of, oca_init

START = json.dumps({"client_ip": VIEWER, "title": "tt1"}).encode()


class Secure:
    """A service over TLS, the authority that signed its certificate, and the one of its callers."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service = service
        self.opened = ExitStack()
        self.server = Authority(folder, "server-ca")
        self.callers = Authority(folder, "callers-ca")
        self.files = self.server.issue("steering")
        self.service.tls = ssl.create_default_context(cafile=self.server.file)
        self.service.write(
            tls={
                "certificate_file": str(self.files[0]),
                "key_file": str(self.files[1]),
                "client_ca_file": str(self.callers.file),
            }
        )

    def connect(self, tls: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
        """Closed with the test."""
        return self.opened.enter_context(closing(self.service.connection(tls)))

    def shows(self, authority: Authority, name: str, *names: x509.GeneralName) -> ssl.SSLContext:
        """What a caller with a certificate of these names connects with."""
        context = ssl.create_default_context(cafile=self.server.file)
        context.load_cert_chain(*authority.issue(name, list(names)))
        return context


@pytest.fixture
def secure(stopped: Service, tmp_path: Path) -> Iterator[Secure]:
    made = Secure(stopped, tmp_path)
    with stopped.running():
        stopped.wait_ready()
        stopped.beat()
        with made.opened:
            yield made


def over(
    connection: http.client.HTTPConnection, path: str, body: bytes | None = None, key: str | None = None
) -> Answer:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    connection.request("GET" if body is None else "POST", path, body, headers)
    got = connection.getresponse()
    return Answer(got.status, {name.lower(): value for name, value in got.getheaders()}, got.read())


def test_starts_heartbeats_and_all_else_on_one_connection_over_tls(secure: Secure) -> None:
    service = secure.service
    connection = secure.connect()
    for _ in range(3):
        assert over(connection, "/v1/steer", START, service.key).status == 200
    assert over(connection, "/v1/fleet", key=service.key).json["appliances"]  # handed over to the framework
    assert over(connection, "/v1/steer", START, service.key).status == 200
    is_problem(over(connection, "/v1/steer", START), Problem.UNAUTHORISED)
    with service.connect() as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP/1.1 200")

    # Commands, to a service whose certificate an authority of one's own signed.
    asked = ("fleet", "--json", "--key", service.key)
    done = service.run(*asked, "--ca", str(secure.server.file))
    assert done.returncode == 0, done.stderr
    done = service.run(*asked)
    assert done.returncode == 1
    assert "its certificate is not believed" in done.stderr
    done = service.run(*asked, "--ca", str(secure.files[1]))
    assert done.returncode == 2
    assert done.stderr.startswith(f"steering: --ca {secure.files[1]}: ")


def test_a_certificate_stands_for_a_key_with_its_scopes(secure: Secure) -> None:
    service = secure.service
    service.keys("add", "studio", "--certificate", "DNS:studio.example.net", "--scopes", "steer")
    service.keys("add", "old", "--certificate", "CN:old-service")
    service.reload()
    studio = secure.shows(secure.callers, "studio", x509.DNSName("studio.example.net"))
    connection = secure.connect(studio)
    assert over(connection, "/v1/steer", START).status == 200  # the fast way
    is_problem(over(connection, "/v1/fleet"), Problem.SCOPE, "studio")  # and the framework's
    assert over(connection, "/v1/steer", START).status == 200
    # What is said in the request counts before what the connection showed.
    is_problem(over(connection, "/v1/steer", START, "wrong"), Problem.UNAUTHORISED)
    assert over(connection, "/v1/fleet", key=service.key).status == 200
    # A heartbeat is an appliance's, whatever certificate it comes with.
    assert over(connection, "/v1/heartbeat", b"{}").status == 401

    old = secure.connect(secure.shows(secure.callers, "old-service"))
    assert over(old, "/v1/fleet").status == 200
    for stranger in (
        secure.shows(secure.callers, "stranger", x509.DNSName("other.example.net")),
        # A common name is no name beside others.
        secure.shows(secure.callers, "old-service", x509.DNSName("other.example.net")),
        service.tls,
    ):
        assert over(secure.connect(stranger), "/v1/steer", START).status == 401
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        over(
            secure.connect(secure.shows(secure.server, "studio", x509.DNSName("studio.example.net"))),
            "/v1/steer",
            START,
        )

    service.keys("remove", "studio")
    service.reload()
    assert over(connection, "/v1/steer", START).status == 401  # on a connection that was let in before, too


def test_a_reload_takes_up_another_certificate_and_breaks_no_connection(secure: Secure) -> None:
    service = secure.service
    before = secure.connect()
    assert over(before, "/v1/steer", START, service.key).status == 200
    authority = Authority(secure.files[0].parent, "next-ca")
    issued = authority.issue("next")
    for ours, new in zip(secure.files, issued, strict=True):
        ours.write_bytes(new.read_bytes())
    service.reload()
    with pytest.raises(ssl.SSLCertVerificationError):
        service.ask("/healthz")
    service.tls = ssl.create_default_context(cafile=authority.file)
    assert service.ask("/healthz").status == 200
    assert over(before, "/v1/steer", START, service.key).status == 200

    secure.files[1].write_text("no key")
    assert service.process is not None
    service.process.send_signal(signal.SIGHUP)
    wait_until("it refuses", lambda: any("reload refused" in line["event"] for line in _events(service)))
    assert str(secure.files[0]) in service.log
    assert service.ask("/healthz").status == 200


def _events(service: Service) -> list[dict[str, str]]:
    return [json.loads(line) for line in service.log.splitlines() if line.endswith("}")]


def test_an_appliance_enrols_and_beats_over_tls_and_believes_nobody_else(
    secure: Secure, tmp_path: Path
) -> None:
    service = secure.service
    root = tmp_path / "box"
    (root / "state").mkdir(parents=True)
    (root / "state" / "identity.jwk").write_text(json.dumps(IDENTITIES[BOX]._key.as_dict(private=True)))
    (root / "state" / "identity.jwk").chmod(0o600)
    steering = {"urls": [service.url], "heartbeat_interval_s": 0.2, "ca_file": str(secure.server.file)}
    with running(root, appliance=BOX, steering=steering) as appliance:
        wait_until("it is heard", lambda: _heard(service))
        done = commands.run("oca", "doctor", "--config", appliance.root / "oca.yaml", "--json")
        found = {item["check"]: item for item in json.loads(done.stdout)}
        assert found[f"steering {service.url}"]["ok"], found

    enrolled = oca_init(tmp_path / "new", service.url, code_of(service), steering=steering)
    assert enrolled.returncode == 0, enrolled.stderr
    other = {**steering, "ca_file": str(secure.callers.file)}
    refused = oca_init(tmp_path / "other", service.url, code_of(service), steering=other)
    assert refused.returncode == 1
    assert "its certificate is not believed" in refused.stderr
    missing = oca_init(
        tmp_path / "missing", service.url, "A" * 26, steering={**steering, "ca_file": "/nowhere"}
    )
    assert missing.returncode == 2
    assert "steering.ca_file: /nowhere: No such file" in missing.stderr


def _heard(service: Service) -> bool:
    boxes = {box["id"]: box for box in service.get("/v1/fleet").json["appliances"]}
    return boxes[BOX]["connections"] == 0  # not what the test itself has said in its name
