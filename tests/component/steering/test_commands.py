"""What `steering fleet` and `steering explain` print, and how they fail."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from contracts.players import NetworkPlayers, Players
from tests import commands
from tests.component.steering.service import HOST, VIEWER, Service
from tests.ports import free_port


def test_the_fleet_as_a_table(shared: Service) -> None:
    shared.beat()
    shared.beat("isp-a2", draining=True)
    done = shared.run("fleet", STEERING_KEY=shared.key)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == [
        "APPLIANCE",
        "SITE",
        "TIER",
        "STATE",
        "HEARD",
        "SENDING",
        "OF",
        "PLAN",
        "DONE",
        "ROUTES",
    ]
    assert [line.split()[:4] for line in lines[1:4]] == [
        ["isp-a1", "isp-a", "isp", "serving"],
        ["isp-a2", "isp-a", "isp", "draining"],
        ["ixp-b1", "ixp-b", "ixp", "serving"],
    ]
    assert "1.0 Mb/s" in lines[1]
    assert "1.0 Gb/s" in lines[1]
    assert lines[1].split()[-2:] == ["100%", "0"]
    assert lines[-1].startswith("catalog 2026")


def test_the_fleet_names_who_starves(shared: Service) -> None:
    networks = tuple(NetworkPlayers(f"192.0.{number}.0/24", 100, 60) for number in range(5))
    shared.beat("isp-a1", players=Players(10_000, 310, (*networks, NetworkPlayers("198.51.100.0/24", 1, 1))))
    shared.beat("isp-a2", players=Players(480, 60))
    lines = shared.run("fleet", STEERING_KEY=shared.key).stdout.splitlines()
    shared.beat()
    assert [line for line in lines if "starve" in line or "more" in line] == [
        *(f"isp-a1: players of 192.0.{number}.0/24 starve: 60 of 100 sessions" for number in range(3)),
        "isp-a1: and of 2 networks more (--json has them)",
        "isp-a2: 60 of all its 480 sessions starve",
    ]


def test_the_fleet_for_machines(shared: Service) -> None:
    done = shared.run("fleet", "--json", "--key", shared.key)
    assert done.returncode == 0, done.stderr
    assert [box["id"] for box in json.loads(done.stdout)["appliances"]] == ["isp-a1", "isp-a2", "ixp-b1"]


def test_an_explanation_as_a_table(shared: Service) -> None:
    shared.beat()
    done = shared.run("explain", "--client-ip", "10.0.0.1", "--title", "tt1", STEERING_KEY=shared.key)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["PLACE", "APPLIANCE", "STATE", "ANSWERED", "REASON"]
    assert lines[1].split(maxsplit=4) == [
        *("1", "ixp-b1", "serving", "yes"),
        "ixp site ixp-b, announces the client's /1, holds the title",
    ]
    assert lines[2].split()[:3] == ["-", "isp-a1", "serving"]
    assert "announces no prefix that holds the client" in lines[2]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("--title", "tt2"), "Nothing is answered (unknown_title): No such title."),
        (("--title", "tt-de"), "Nothing is answered (not_licensed): the question names no country."),
        (("--title", "tt-de", "--country", "FR"), "Nothing is answered (not_licensed): FR."),
    ],
)
def test_an_explanation_says_first_that_nothing_is_answered(
    shared: Service, asked: tuple[str, ...], says: str
) -> None:
    done = shared.run("explain", "--client-ip", VIEWER, *asked, STEERING_KEY=shared.key)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == says


def test_an_explanation_for_machines(shared: Service) -> None:
    shared.beat()
    done = shared.run(
        "explain",
        "--client-ip",
        VIEWER,
        "--title",
        "tt1",
        "--session",
        "session-7",
        "--json",
        STEERING_KEY=shared.key,
    )
    found = json.loads(done.stdout)
    assert found["outcome"] == "answered"
    answered = [item["appliance"] for item in shared.steer(session="session-7").json["candidates"]]
    assert {item["appliance"] for item in found["considered"] if item["answered"]} == set(answered)
    assert found["considered"][0]["appliance"] == answered[0]


def failed(service: Service, *arguments: str, **environment: str) -> tuple[int, str]:
    done = service.run(*arguments, **({"STEERING_KEY": service.key} | environment))
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return done.returncode, lines[0]


def test_a_service_that_is_down_is_one_line(shared: Service) -> None:
    url = f"http://{HOST}:{free_port()}"
    code, line = failed(shared, "fleet", "--url", url)
    assert (code, line) == (1, f"steering: steering does not answer at {url}: connection refused")


def test_a_wrong_key_is_one_line(shared: Service) -> None:
    code, line = failed(shared, "fleet", STEERING_KEY="wrong")
    assert code == 2
    assert line.startswith(f"steering: the API key was refused by http://{HOST}:{shared.port}: ")
    assert "wrong" not in line


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("", "no API key: --key or the environment variable STEERING_KEY"),
        ("a\nb", "holds a character"),
        ("\xe9", "holds"),
    ],
)
def test_a_key_that_is_none_is_one_line_without_the_key(shared: Service, key: str, says: str) -> None:
    code, line = failed(shared, "fleet", STEERING_KEY=key)
    assert code == 2
    assert says in line


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1",
        "127.0.0.1:7080",
        "http:/x",
        "http://[::1",
        "http://127.0.0.1:x",
        "nonsense",
    ],
)
def test_an_address_that_is_none_is_one_line(shared: Service, url: str) -> None:
    code, line = failed(shared, "fleet", "--url", url)
    assert code == 2
    assert line == f"steering: --url {url}: http://HOST:PORT or https://HOST:PORT is expected"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (
            ("--client-ip", "nonsense", "--title", "tt1"),
            "client_ip: 'nonsense' is not an IPv4 or IPv6 address",
        ),
        (("--client-ip", VIEWER, "--title", "../x"), "$.title"),
    ],
)
def test_a_question_of_nonsense_is_one_line(shared: Service, asked: tuple[str, ...], says: str) -> None:
    code, line = failed(shared, "explain", *asked)
    assert code == 2
    assert says in line


@contextmanager
def other_server(status: int, body: bytes, **headers: str) -> Iterator[tuple[str, list[str]]]:
    """Something that is not steering; the paths that it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer((HOST, free_port()), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"appliances": 7}', b""])
def test_something_else_that_answers_is_one_line(shared: Service, body: bytes) -> None:
    with other_server(200, body) as (url, _):
        code, line = failed(shared, "fleet", "--url", url)
    assert (code, line) == (1, f"steering: what answers at {url} is not steering, or another version of it")


def test_the_key_is_not_carried_along_a_redirect(shared: Service) -> None:
    with (
        other_server(200, b"{}") as (elsewhere, asked),
        other_server(302, b"", Location=elsewhere + "/v1/fleet") as (url, _),
    ):
        code, line = failed(shared, "fleet", "--url", url)
    assert (code, line) == (1, f"steering: {url} answered 302")
    assert asked == []


@pytest.mark.parametrize("command", [[], ["flet"], ["explain"], ["serve", "--port", "1"]])
def test_wrong_usage_exits_2(command: list[str]) -> None:
    done = commands.run("steering", *command)
    assert done.returncode == 2
    assert "usage: steering" in done.stderr
