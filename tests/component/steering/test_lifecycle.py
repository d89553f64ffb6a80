"""How steering starts, or says in one line why not; reloads; stops; and does without S3."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.documents import encode
from contracts.problem import Problem
from tests.component.steering.conftest import TITLES
from tests.component.steering.service import (
    BOXES,
    HOST,
    Bucket,
    Relay,
    Service,
    fleet,
    is_problem,
    wait_until,
)
from tests.waiting import PATIENCE_S


def one_line(service: Service, *arguments: str) -> tuple[int, str]:
    """Exit code and the only line that the command said."""
    done = service.run(*arguments)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return done.returncode, lines[0]


def test_serve_without_init_says_what_to_run(tmp_path: Path, bucket: Bucket) -> None:
    service = Service(tmp_path, bucket)
    service.write()
    code, line = one_line(service, "serve")
    assert code == 2
    assert line == f"steering: {tmp_path}/state/signing.jwk: no signing key there: run `steering init`"


def test_a_port_in_use_is_one_line(stopped: Service) -> None:
    with socket.create_server((HOST, stopped.port)):
        code, line = one_line(stopped, "serve")
    assert code == 1
    assert line.startswith(f"steering: listen: {HOST}:{stopped.port}: ")
    assert "in use" in line


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"listen": "127.0.0.1:99999"}, "listen: 99999 is not a port: 1 to 65535"),
        ({"listen": "127.0.0.1:0"}, "listen: 0 is not a port: 1 to 65535"),
        ({"listen": "127.0.0.999:80"}, "listen: '127.0.0.999' is not an IPv4 or IPv6 address"),
        ({"listen": "[1:2]:80"}, "listen: '1:2' is not an IPv4 or IPv6 address"),
        ({"listen": "localhost:80"}, "listen: "),
        ({"listn": "127.0.0.1:80"}, "listn: no such key; did you mean 'listen'?"),
        ({"token_ttl_s": 59}, "token_ttl_s: "),
        ({"requests_per_s": 0}, "requests_per_s: "),
        ({"state_dir": "relative"}, "state_dir: "),
        ({"fleet": "/nowhere/fleet.yaml"}, "/nowhere/fleet.yaml: cannot be read: No such file or directory"),
        ({"origin": {"credentials_file": "/nowhere"}}, "origin.credentials_file: /nowhere: no such file"),
        ({"origin": {"bucket": "B"}}, "origin.bucket: "),
        ({"public_url": "http://host/path"}, "public_url: "),
    ],
)
def test_a_wrong_configuration_is_one_line(stopped: Service, changes: dict[str, Any], says: str) -> None:
    stopped.write(**changes)
    code, line = one_line(stopped, "serve")
    assert code == 2
    assert says in line


def test_credentials_that_are_no_credentials_are_one_line(stopped: Service, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("no section\n")
    stopped.write(origin={"credentials_file": str(tmp_path / "credentials")})
    code, line = one_line(stopped, "serve")
    assert code == 2
    assert str(tmp_path / "credentials") in line


def test_a_state_directory_that_cannot_be_made_is_one_line(tmp_path: Path, bucket: Bucket) -> None:
    (tmp_path / "state").write_text("a file")
    service = Service(tmp_path, bucket)
    service.write()
    code, line = one_line(service, "init")
    assert code in {1, 2}
    assert f"{tmp_path}/state" in line


def test_init_tells_the_key_once(tmp_path: Path, bucket: Bucket) -> None:
    service = Service(tmp_path, bucket)
    service.write()
    first, again, more = (service.run("init", *extra) for extra in ((), (), ("--new-key",)))
    assert [done.returncode for done in (first, again, more)] == [0, 0, 0]
    assert "API key, shown this once: " in first.stdout
    assert "API keys exist; --new-key adds one" in again.stdout
    assert "API key, shown this once: " in more.stdout
    assert first.stdout != more.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told_and_says_nothing_is_wrong(stopped: Service, number: signal.Signals) -> None:
    with stopped.running():
        stopped.wait_ready()
        # A connection that is idle, and one in the middle of a request, hold nothing up for long.
        with stopped.connect() as idle, stopped.connect() as busy:
            idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: s\r\n\r\n")
            idle.recv(100)
            busy.sendall(b"POST /v1/steer HTTP/1.1\r\nHost: s\r\nContent-Length: 10\r\n\r\n{")
            assert stopped.process is not None
            stopped.process.send_signal(number)
            assert stopped.process.wait(PATIENCE_S) == 0
    assert stopped.logged("stopped")
    assert "Traceback" not in stopped.log
    assert stopped.logged("content read")[0]["titles"] == len(TITLES)


def reload(service: Service, event: str) -> dict[str, Any]:
    before = len(service.logged(event))
    assert service.process is not None
    service.process.send_signal(signal.SIGHUP)
    wait_until(event, lambda: len(service.logged(event)) > before)
    return service.logged(event)[-1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sites: [", "not YAML"),
        ("sites: 7", "sites: expected"),
        ("sitez: []", "sitez: no such key; did you mean 'sites'?"),
        (yaml.safe_dump({"sites": fleet()["sites"] * 2}), "two sites have the same id"),
        (None, "cannot be read"),
    ],
)
def test_a_broken_fleet_file_keeps_the_old_one_and_says_so(
    service: Service, text: str | None, says: str
) -> None:
    service.beat()
    if text is None:
        service.fleet_file.unlink()
    else:
        service.fleet_file.write_text(text)
    refused = reload(service, "reload refused, fleet and API keys stay as they were")
    assert says in refused["why"]
    assert str(service.fleet_file) in refused["why"]
    assert refused["level"] == "error"
    assert [item["appliance"] for item in service.steer(count=10).json["candidates"]] != []
    assert len(service.get("/v1/fleet").json["appliances"]) == 3
    service.fleet_file.write_text(yaml.safe_dump(fleet("isp-a2")))
    assert reload(service, "reloaded")["appliances"] == 2
    assert [row["state"] for row in service.get("/v1/fleet").json["appliances"]].count("joining") == 0


def test_an_appliance_that_leaves_the_fleet_file_is_a_stranger(service: Service) -> None:
    service.beat()
    body = encode(service.message("isp-a2"))
    service.fleet_file.write_text(yaml.safe_dump(fleet("isp-a2")))
    reload(service, "reloaded")
    assert service.send(body, by="isp-a2").status == 403
    service.beat("isp-a1", "ixp-b1")
    assert {item["appliance"] for item in service.steer().json["candidates"]} == {"isp-a1", "ixp-b1"}


def test_an_appliance_that_joins_holds_what_the_present_plan_gives_it(stopped: Service) -> None:
    """It need not wait for the next night's plan."""
    stopped.fleet_file.write_text(yaml.safe_dump(fleet("isp-a2")))
    with stopped.running():
        stopped.wait_ready()
        stopped.fleet_file.write_text(yaml.safe_dump(fleet()))
        reload(stopped, "reloaded")

        def holds() -> bool:
            stopped.beat()
            candidates = stopped.steer().json["candidates"]
            return any(
                item["appliance"] == "isp-a2" and "holds the title" in item["reason"] for item in candidates
            )

        wait_until("isp-a2 holds the title", holds)


def test_an_added_api_key_works_after_a_reload_and_the_old_one_still_does(service: Service) -> None:
    old = service.key
    service.key = service.run("init", "--new-key").stdout.split()[-1]
    assert service.get("/v1/fleet").status == 401
    assert reload(service, "reloaded")["api_keys"] == 2
    assert service.get("/v1/fleet").status == 200
    assert service.ask("/v1/fleet", authorization=f"Bearer {old}").status == 200


def test_a_key_permits_its_scopes_until_it_is_removed(service: Service) -> None:
    first = service.key
    added = service.run(
        "keys", "add", "--config", str(service.config), "studio", "--scopes", "steer", "--json"
    )
    service.key = json.loads(added.stdout)["api_key"]
    reload(service, "reloaded")
    assert service.steer().status == 503, "it may ask; nobody serves"
    for answer in (
        service.get("/v1/fleet"),
        service.ask("/v1/revoke", b'{"session": "abcdefgh"}', authorization=f"Bearer {service.key}"),
    ):
        is_problem(answer, Problem.SCOPE, "the key studio does not have the scope")
    removed = service.run("keys", "remove", "--config", str(service.config), "key-1", "--json")
    assert removed.returncode == 0, removed.stderr
    reload(service, "reloaded")
    assert service.steer().status == 503
    assert service.ask("/v1/fleet", authorization=f"Bearer {first}").status == 401


@pytest.fixture
def relayed(stopped: Service) -> Any:
    """A service that reaches S3 through a relay, which is still closed."""
    port = int(str(stopped.bucket.config.endpoint_url).rstrip("/").rpartition(":")[2])
    relay = Relay(port)
    stopped.write(origin={"endpoint_url": relay.url})
    with stopped.running():
        yield stopped, relay
    relay.close()


def test_without_s3_at_the_start_it_waits_and_without_it_later_it_goes_on(
    relayed: tuple[Service, Relay],
) -> None:
    service, relay = relayed
    wait_until("S3 was tried", lambda: service.logged("content not read"))
    ready = service.ask("/readyz")
    assert ready.status == 503
    assert "the catalog could not be read from S3 yet" in ready.json["detail"]
    assert service.ask("/healthz").status == 200
    service.send(encode(service.message()))
    answer = service.steer()
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert "the catalog was not read yet" in answer.json["detail"]
    assert "does not answer" in service.get("/v1/fleet").json["content_error"]

    relay.open()
    service.wait_ready()
    service.beat()
    before = service.steer().json["candidates"]
    assert len(before) == 3

    relay.close()
    wait_until("it is noticed", lambda: service.get("/v1/fleet").json["content_error"] is not None)
    service.beat()
    assert len(service.steer().json["candidates"]) == 3
    ready = service.ask("/readyz")
    assert ready.status == 200
    assert b"cannot be read now" in ready.body
    fleet_now = service.get("/v1/fleet").json
    assert fleet_now["catalog"] is not None
    assert fleet_now["content_age_s"] >= 0

    # Said once, however often it was tried since; it may have gone away in the middle, between two documents.
    whys = [line["why"] for line in service.logged("content not read")[1:]]
    assert len(whys) == len(set(whys)) <= 2

    relay.open()
    wait_until("S3 answers again", lambda: service.logged("S3 answers again"))
    assert service.get("/v1/fleet").json["content_error"] is None

    wait_until("it is kept", (service.root / "state" / "content.kept").exists)
    relay.close()
    assert service.process is not None
    service.process.terminate()
    service.process.wait(PATIENCE_S)
    with service.running():  # without S3
        ready = service.ask("/readyz")
        assert ready.status == 200
        assert b"S3 was not read since the start, and cannot be read now" in ready.body
        service.beat()
        assert len(service.steer().json["candidates"]) == 3


def test_a_request_that_s3_never_answers_does_not_hold_up_the_end(relayed: tuple[Service, Relay]) -> None:
    service, relay = relayed
    relay.muted.set()
    relay.open()
    assert relay.asked.wait(PATIENCE_S)
    assert service.process is not None
    service.process.send_signal(signal.SIGTERM)
    # The read timeout of this service is a minute.
    assert service.process.wait(PATIENCE_S) == 0
    assert "Traceback" not in service.log


def test_a_newer_catalog_and_plan_are_taken_up(service: Service) -> None:
    version = service.bucket.publish({"tt1": None, "tt2": None})
    plan = service.bucket.plan(dict.fromkeys(BOXES, ("tt1", "tt2")), version)
    wait_until("the new plan", lambda: service.get("/v1/fleet").json["plan"] == plan)
    service.beat()
    assert service.steer(title="tt2").status == 200
    assert service.steer(title="tt-de", country="DE").status == 404


def test_one_document_that_cannot_be_believed_does_not_keep_the_others_from_being_read(
    service: Service,
) -> None:
    version = service.bucket.publish(
        {"tt1": None, "tt-de": ("DE",), "tt2": None, "tt3": None}, broken=("tt-de", "tt2")
    )
    wait_until("the new catalog", lambda: service.get("/v1/fleet").json["catalog"] == version)
    service.beat()
    assert service.steer(title="tt3").status == 200
    # The one that was known before stays as it was, for Austria too; the other is not known.
    assert service.steer(title="tt-de", country="AT").status == 200
    assert service.steer(title="tt2").status == 404
    refused = service.get("/v1/fleet").json["refused_documents"]
    assert set(refused) == {f"catalog/{version}/titles/{title}.json" for title in ("tt-de", "tt2")}
    assert len(service.logged("document refused")) == 2
    table = service.run("fleet", STEERING_KEY=service.key).stdout
    assert f"refused: catalog/{version}/titles/tt2.json: " in table


def test_a_catalog_that_is_broken_altogether_keeps_the_old_one(service: Service) -> None:
    before = service.get("/v1/fleet").json["catalog"]
    service.bucket.put("catalog/latest", b'{"version": "../../etc/passwd"}')
    wait_until("it is noticed", lambda: service.get("/v1/fleet").json["refused_documents"])
    assert "catalog/latest" in service.get("/v1/fleet").json["refused_documents"]
    assert service.get("/v1/fleet").json["catalog"] == before
    service.beat()
    assert service.steer().status == 200


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(
    stopped: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        with stopped.running():
            seen = [notified.recv(100) for _ in range(4)]
        assert seen == [b"READY=1"] + [b"WATCHDOG=1"] * 3
        while (last := notified.recv(100)) == b"WATCHDOG=1":
            pass
        assert last == b"STOPPING=1"
